//! A model of two numbers, and three small methods: an importance penalty, a projection and a reset.

use burn::module::{Module, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device as Tensors, Tensor, TensorData};
use forgeling::data::{Rng, RngState};
use forgeling::nn::{Normalization, Pass};
use forgeling::train::parts::{
    AfterStep, GradientRule, LossTerm, Method, Needs, Part, Replay, RunState, Sections,
    StepContext, Taken, gradients,
};
use forgeling::train::{AnyOptimizer, Objective, Outcome, Source, Trainable};
use forgeling::{Device, Result};
use pollster::block_on;
use serde_json::{Value, json};

use super::common::values;

/// Two numbers that are to be the examples' mean.
#[derive(Module, Debug)]
pub struct Mean {
    pub weights: Param<Tensor<1>>,
}

impl Trainable for Mean {}

pub const FIRST: [f32; 2] = [1.0, 2.0];
pub const RATE: f64 = 0.1;

pub fn mean(device: &Device) -> Mean {
    let first = Tensor::from_data(FIRST, &device.autodiff());
    Mean {
        weights: Param::from_tensor(first),
    }
}

pub type Examples = Vec<[f32; 2]>;

/// Half of the squared distance, averaged over the examples: its gradient is the weights minus the mean.
#[derive(Clone)]
pub struct Distance;

pub fn distance(weights: Tensor<1>, examples: &Examples, device: &Tensors) -> Tensor<1> {
    let count = examples.len();
    let data = TensorData::new(examples.concat(), [count, 2]);
    let apart = weights.unsqueeze::<2>() - Tensor::<2>::from_data(data, device);
    apart.square().sum() / (2.0 * count as f64)
}

impl Objective<Mean> for Distance {
    type Batch = Examples;

    fn forward<'a>(
        &self,
        model: &'a Mean,
        batch: &Examples,
        _pass: &mut Pass<'a>,
    ) -> Result<Outcome> {
        let weights = model.weights.val();
        let device = weights.device();
        Ok(Outcome {
            loss: distance(weights, batch, &device),
            predictions: None,
        })
    }
}

/// Two epochs on the batches of each task.
pub struct Tasks {
    tasks: Vec<Vec<Examples>>,
    epoch: usize,
    next: usize,
}

impl Tasks {
    pub fn new() -> Self {
        let task = |target: f32| {
            let batch = |shift: f32| vec![[target + shift, 1.0], [0.5, target - shift]];
            vec![batch(0.25), batch(1.5)]
        };
        Self {
            tasks: [3.0, -2.0, 0.5].map(task).to_vec(),
            epoch: 0,
            next: 0,
        }
    }
}

impl Source for Tasks {
    type Batch = Examples;

    async fn next(&mut self) -> Result<Option<Examples>> {
        let task = (self.epoch / 2) % self.tasks.len();
        let batch = self.tasks[task].get(self.next).cloned();
        match batch {
            Some(_) => self.next += 1,
            None => (self.epoch, self.next) = (self.epoch + 1, 0),
        }
        Ok(batch)
    }

    fn provides(&self) -> Needs {
        Needs {
            task_boundaries: true,
            ..Default::default()
        }
    }

    fn task(&self) -> Option<usize> {
        Some(self.epoch / 2)
    }

    fn state(&self) -> Value {
        json!([self.epoch, self.next])
    }

    fn resume(&mut self, state: &Value) -> Result<()> {
        let read =
            <[usize; 2]>::try_from(serde_json::from_value::<Vec<usize>>(state.clone()).unwrap());
        [self.epoch, self.next] = read.unwrap();
        Ok(())
    }
}

/// `strength / 2 sum F (w - anchor)^2` over the tasks that are over, as in elastic weight consolidation: Kirkpatrick et
/// al., 2017 (arXiv 1612.00796). `F` is made up: how far the weights are from zero.
#[derive(Default)]
pub struct Ewc {
    /// Importance and anchor.
    pub kept: Option<[Tensor<1>; 2]>,
}

pub const STRENGTH: f64 = 3.0;

impl RunState for Ewc {
    fn save(&self, to: &mut Sections) -> Result<()> {
        to.set("is there", &self.kept.is_some())?;
        if let Some([importance, anchor]) = &self.kept {
            to.set_tensor("importance", importance.clone());
            to.set_tensor("anchor", anchor.clone());
        }
        Ok(())
    }

    fn load(&mut self, from: &Sections, device: &Tensors) -> Result<()> {
        self.kept = match from.get("is there")? {
            true => Some([
                from.tensor("importance", device)?,
                from.tensor("anchor", device)?,
            ]),
            false => None,
        };
        Ok(())
    }
}

impl Part<Mean> for Ewc {
    fn name(&self) -> &str {
        "ewc"
    }

    fn needs(&self) -> Needs {
        Needs {
            task_boundaries: true,
            ..Default::default()
        }
    }

    fn end_task(&mut self, _task: usize, model: &Mean) -> Result<()> {
        let anchor = model.weights.val().inner();
        let more = anchor.clone().abs();
        let importance = match &self.kept {
            Some([importance, _]) => importance.clone() + more,
            None => more,
        };
        self.kept = Some([importance, anchor]);
        Ok(())
    }

    fn bytes(&self) -> u64 {
        16
    }
}

impl LossTerm<Mean, Examples> for Ewc {
    fn loss<'m>(
        &self,
        _step: &StepContext<'_, Examples>,
        model: &'m Mean,
        _batch: &Examples,
        _pass: &mut Pass<'m>,
    ) -> Result<Tensor<1>> {
        let weights = model.weights.val();
        let Some([importance, anchor]) = &self.kept else {
            return Ok(Tensor::zeros([1], &weights.device()));
        };
        let apart = weights - Tensor::from_inner(anchor.clone());
        let importance = Tensor::from_inner(importance.clone());
        Ok((importance * apart.square()).sum() * (STRENGTH / 2.0))
    }
}

impl Method<Mean, Examples> for Ewc {
    fn term(&self) -> Option<&dyn LossTerm<Mean, Examples>> {
        Some(self)
    }

    fn on_replica(&self) -> Option<Box<dyn Method<Mean, Examples> + Send>> {
        Some(Box::new(Self::default()))
    }
}

/// Projects gradients that point away from those of examples of before: Chaudhry et al., *Efficient Lifelong Learning with
/// A-GEM*, 2019 (arXiv 1812.00420).
#[derive(Default)]
pub struct AGem {
    pub projected: usize,
}

impl RunState for AGem {
    fn save(&self, to: &mut Sections) -> Result<()> {
        to.set("projected", &self.projected)
    }

    fn load(&mut self, from: &Sections, _device: &Tensors) -> Result<()> {
        self.projected = from.get("projected")?;
        Ok(())
    }
}

impl Part<Mean> for AGem {
    fn name(&self) -> &str {
        "a-gem"
    }

    fn needs(&self) -> Needs {
        Needs {
            replayed: 2,
            ..Default::default()
        }
    }
}

impl GradientRule<Mean, Examples> for AGem {
    fn apply(
        &mut self,
        step: &StepContext<'_, Examples>,
        model: &Mean,
        gradients: &mut GradientsParams,
    ) -> Result<()> {
        let Some(replayed) = step.replayed else {
            return Ok(());
        };
        let device = model.weights.val().device();
        let mut pass = Pass::new(Normalization::Batch, &device);
        let loss = Distance.forward(model, replayed, &mut pass)?.loss;
        let reference = pass.backward(loss, model)?;
        let along = gradients::dot(model, gradients, &reference).unwrap();
        let length = gradients::dot(model, &reference, &reference).unwrap();
        gradients::add(
            model,
            gradients,
            &reference,
            &(along.clamp_max(0.0) / length).neg(),
        );
        self.projected += 1;
        Ok(())
    }
}

impl Method<Mean, Examples> for AGem {
    fn rule(&mut self) -> Option<&mut dyn GradientRule<Mean, Examples>> {
        Some(self)
    }

    fn on_replica(&self) -> Option<Box<dyn Method<Mean, Examples> + Send>> {
        Some(Box::new(Self::default()))
    }
}

/// The first example of every batch.
#[derive(Default)]
pub struct Firsts(pub Examples);

impl RunState for Firsts {
    fn save(&self, to: &mut Sections) -> Result<()> {
        to.set("examples", &self.0)
    }

    fn load(&mut self, from: &Sections, _device: &Tensors) -> Result<()> {
        self.0 = from.get("examples")?;
        Ok(())
    }
}

impl Replay<Examples> for Firsts {
    fn remember(
        &mut self,
        batch: &Examples,
        _task: Option<usize>,
        answers: Option<&[f32]>,
    ) -> Result<()> {
        assert!(answers.is_none(), "no classes are told apart");
        self.0.extend(batch.first());
        Ok(())
    }

    fn draw(&mut self, examples: usize) -> Result<Option<Examples>> {
        let drawn: Examples = self.0.iter().take(examples).copied().collect();
        Ok((!drawn.is_empty()).then_some(drawn))
    }
}

/// Draws the weights anew after every third step, and has the optimizer forget them.
pub struct Reset {
    rng: Rng,
    /// What it was told of the last step: weights before, and gradients.
    pub seen: Vec<Vec<f32>>,
}

impl Reset {
    pub fn new() -> Self {
        Self {
            rng: Rng::new(5),
            seen: Vec::new(),
        }
    }

    pub fn draw(rng: &mut Rng) -> [f32; 2] {
        [(); 2].map(|()| rng.below(1000) as f32 / 500.0 - 1.0)
    }
}

impl RunState for Reset {
    fn save(&self, to: &mut Sections) -> Result<()> {
        to.set("rng", &self.rng.state())
    }

    fn load(&mut self, from: &Sections, _device: &Tensors) -> Result<()> {
        self.rng = Rng::from_state(from.get::<RngState>("rng")?)?;
        Ok(())
    }
}

impl Part<Mean> for Reset {
    fn name(&self) -> &str {
        "reset"
    }
}

impl AfterStep<Mean, Examples> for Reset {
    fn after(
        &mut self,
        step: &StepContext<'_, Examples>,
        taken: &Taken<'_, Mean>,
        model: &mut Mean,
        optimizer: &mut AnyOptimizer,
    ) -> Result<()> {
        let id = model.weights.id;
        let gradient = taken.gradients.get::<1>(id).unwrap();
        self.seen = vec![values(taken.before), block_on(read(gradient))];
        if step.step % 3 == 2 {
            let drawn = Tensor::from_data(Self::draw(&mut self.rng), &model.weights.val().device());
            model.weights = Param::initialized(id, drawn.require_grad());
            optimizer.forget(id);
        }
        Ok(())
    }
}

impl Method<Mean, Examples> for Reset {
    fn after_step(&mut self) -> Option<&mut dyn AfterStep<Mean, Examples>> {
        Some(self)
    }

    fn on_replica(&self) -> Option<Box<dyn Method<Mean, Examples> + Send>> {
        Some(Box::new(Self::new()))
    }
}

pub async fn read(tensor: Tensor<1>) -> Vec<f32> {
    let [read] = forgeling::Readback::new().with(tensor).run().await.unwrap();
    read
}
