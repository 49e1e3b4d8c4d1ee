//! Sine regression after Finn, Abbeel and Levine, *Model-Agnostic Meta-Learning*, 2017, section 5.1: MAML against a
//! network that was trained on all waves at once.

use burn::module::Module;
use burn::tensor::{Tensor, TensorData};
use forgeling::data::tasks::{Sine, SineConfig, SineTasks};
use forgeling::data::{Task, TaskSource};
use forgeling::device::Readback;
use forgeling::meta::gradient::{GradientLearner, InnerConfig, Maml, MamlConfig};
use forgeling::meta::{FewShot, Side, Stack, TaskLoss};
use forgeling::nn::graph::Shape;
use forgeling::nn::zoo::MlpConfig;
use forgeling::nn::{Network, Normalization, Pass};
use forgeling::report::LineChart;
use forgeling::train::{
    HardwareConfig, HardwareManager, Objective, Outcome, Trainer, TrainerConfig,
};
use forgeling::{Device, DeviceChoice, Result};

use super::networks::neurons;

/// How long to train, and on how many waves to test. The rest is the paper's: 10 points of a wave, two layers of 40
/// neurons, one inner step at a rate of 0.01 in training, and Adam at 1e-3 on 25 waves at a time.
#[derive(Debug, Clone, Copy)]
pub struct Regression {
    /// Optimizer steps of each network; 70,000 in the paper.
    pub steps: usize,
    /// Waves to test on.
    pub tests: usize,
    /// Of weights and waves.
    pub seed: u64,
}

/// What came out.
#[derive(Debug, Clone)]
pub struct Figures {
    /// Mean squared error after so many steps as the place says, from 0 on.
    pub maml: Vec<f64>,
    /// The same of the network that was trained on all waves at once, at the best of several rates.
    pub pretrained: Vec<f64>,
    /// That rate.
    pub rate: f64,
    /// A wave with what both make of it.
    pub chart: LineChart,
    /// The errors over the steps.
    pub errors: LineChart,
}

/// Gradient steps in the test.
pub const STEPS: usize = 10;
const WAVES: usize = 25;
const RATE: f64 = 0.01;
/// Tried on waves apart from the test's.
const RATES: [f64; 6] = [0.001, 0.003, 0.01, 0.02, 0.05, 0.1];

impl Regression {
    /// Trains both networks and tests them. `progress` is told how many of all optimizer steps are done, and the loss.
    ///
    /// # Errors
    /// When training diverges.
    pub fn run(self, mut progress: impl FnMut(usize, f64)) -> Result<Figures> {
        let device = pollster::block_on(Device::open(DeviceChoice::Cpu))?;
        let maml = GradientLearner::new(self.network(&device)?, inner(RATE, 1)?, false);
        let maml = self.train(maml, &TaskLoss, &device, &mut progress)?;
        let pretrained =
            self.train(self.network(&device)?, &AllAtOnce, &device, |step, loss| {
                progress(self.steps + step, loss);
            })?;
        let (maml, pretrained) = (maml.network.valid(), pretrained.valid());

        let tests = self.waves(self.tests, 100, 2)?;
        let trials = self.waves(self.tests / 2, 100, 3)?;
        let mut best = (f64::INFINITY, RATE);
        for rate in RATES {
            let error = error(&pretrained, rate, STEPS, &trials)?;
            if error < best.0 {
                best = (error, rate);
            }
        }
        let rate = best.1;
        let errors = |network: &Network, rate| -> Result<Vec<f64>> {
            (0..=STEPS)
                .map(|steps| error(network, rate, steps, &tests))
                .collect()
        };
        let (of_maml, of_pretrained) = (errors(&maml, RATE)?, errors(&pretrained, rate)?);
        let points = |values: &[f64]| -> Vec<(f64, f64)> {
            values
                .iter()
                .enumerate()
                .map(|(step, error)| (step as f64, *error))
                .collect()
        };
        let errors = LineChart::new("gradient steps", "mean squared error")
            .series("MAML", points(&of_maml))
            .series("pretrained on all waves", points(&of_pretrained));
        Ok(Figures {
            maml: of_maml,
            pretrained: of_pretrained,
            rate,
            chart: self.wave(&maml, &pretrained, rate)?,
            errors,
        })
    }

    fn network(&self, device: &Device) -> Result<Network> {
        let config = MlpConfig {
            input: Shape::Values(1),
            hidden: vec![40, 40],
            classes: 1,
        };
        Ok(Network::new(&config.graph()?, self.seed, device))
    }

    fn source(&self, queries: usize, stream: u64) -> Result<SineTasks> {
        SineTasks::new(SineConfig {
            support: 10,
            queries,
            seed: self.seed.wrapping_mul(16).wrapping_add(stream),
        })
    }

    fn waves(&self, count: usize, queries: usize, stream: u64) -> Result<Vec<Task>> {
        let mut source = self.source(queries, stream)?;
        (0..count).map(|_| next(&mut source)).collect()
    }

    fn train<M: forgeling::train::Trainable, O: Objective<M, Batch = Vec<Task>>>(
        &self,
        mut model: M,
        objective: &O,
        device: &Device,
        mut progress: impl FnMut(usize, f64),
    ) -> Result<M> {
        let manager = HardwareManager::on(device.clone(), HardwareConfig::default())?;
        let mut trainer = Trainer::new(TrainerConfig::default(), manager)?;
        let mut source = self.source(10, 1)?;
        for step in 1..=self.steps {
            let batch: Result<Vec<Task>> = (0..WAVES).map(|_| next(&mut source)).collect();
            let batches = [batch?];
            let done = trainer.step_on(&mut model, objective, &batches);
            let done = pollster::block_on(done)?;
            progress(step, done.loss);
        }
        Ok(model)
    }

    /// One wave from its 10 points.
    fn wave(&self, maml: &Network, pretrained: &Network, rate: f64) -> Result<LineChart> {
        let mut source = self.source(1, 4)?;
        let wave = Sine {
            amplitude: 4.0,
            phase: 1.0,
        };
        let shown = source.task_of(wave)?;
        let xs: Vec<f32> = (0..=100).map(|step| step as f32 / 10.0 - 5.0).collect();
        let targets = xs.iter().map(|&x| wave.value(x)).collect();
        let query = forgeling::data::Examples {
            inputs: xs.clone(),
            targets: forgeling::data::Targets::Values(targets),
        };
        let task = Task::new(shown.shape(), 1, shown.support().clone(), query)?;
        let curve = |network: &Network, rate, steps| -> Result<Vec<(f64, f64)>> {
            let ys = predictions(network, rate, steps, std::slice::from_ref(&task))?;
            Ok(xs
                .iter()
                .zip(ys)
                .map(|(&x, y)| (f64::from(x), f64::from(y)))
                .collect())
        };
        let truth = xs.iter().map(|&x| (f64::from(x), f64::from(wave.value(x))));
        let known = shown.support().inputs.iter();
        let known = known.map(|&x| (f64::from(x), f64::from(wave.value(x))));
        Ok(LineChart::new("x", "y")
            .dashed("truth", truth)
            .points("10 points", known)
            .series("MAML, 0 steps", curve(maml, RATE, 0)?)
            .series("MAML, 1 step", curve(maml, RATE, 1)?)
            .series("MAML, 10 steps", curve(maml, RATE, STEPS)?)
            .series("pretrained, 10 steps", curve(pretrained, rate, STEPS)?))
    }
}

fn next(source: &mut SineTasks) -> Result<Task> {
    Ok(source.next_task()?.expect("there is no end of waves"))
}

fn inner(rate: f64, steps: usize) -> Result<Maml> {
    Maml::new(MamlConfig {
        inner: InnerConfig {
            steps,
            test_steps: None,
            rate,
        },
        ..Default::default()
    })
}

fn predictions(network: &Network, rate: f64, steps: usize, tasks: &[Task]) -> Result<Vec<f32>> {
    let mut all = Vec::new();
    for stack in Stack::of(tasks) {
        let outputs = if steps == 0 {
            let device = neurons(network, "layers.0").weight.val().device();
            let mut pass = Pass::new(Normalization::Running, &device);
            let inputs = stack.images(&[Side::Query], &pass);
            network.forward(inputs, &mut pass)?.unsqueeze()
        } else {
            let learner = GradientLearner::new(network.clone(), inner(rate, steps)?, false);
            learner.predict(&stack, Normalization::Running)?
        };
        let [values] = pollster::block_on(Readback::new().with(outputs).run())?;
        all.extend(values);
    }
    Ok(all)
}

/// The mean squared error after so many gradient steps.
fn error(network: &Network, rate: f64, steps: usize, tasks: &[Task]) -> Result<f64> {
    let values = predictions(network, rate, steps, tasks)?;
    let mut targets = Vec::new();
    for stack in Stack::of(tasks) {
        targets.extend(stack.targets(Side::Query));
    }
    let squares = values
        .iter()
        .zip(&targets)
        .map(|(a, b)| f64::from(a - b).powi(2));
    Ok(squares.sum::<f64>() / values.len() as f64)
}

/// The squared error on all points of all waves: no task is told from another.
struct AllAtOnce;

impl Objective<Network> for AllAtOnce {
    type Batch = Vec<Task>;

    fn forward<'a>(
        &self,
        model: &'a Network,
        batch: &Vec<Task>,
        pass: &mut Pass<'a>,
    ) -> Result<Outcome> {
        let mut inputs: Vec<f32> = Vec::new();
        let mut targets = Vec::new();
        for stack in Stack::of(batch) {
            for side in [Side::Support, Side::Query] {
                for task in stack.tasks() {
                    let examples = match side {
                        Side::Support => task.support(),
                        Side::Query => task.query(),
                    };
                    inputs.extend(&examples.inputs);
                }
                targets.extend(stack.targets(side));
            }
        }
        let count = targets.len();
        let outputs = model.forward_rows(pass.values(TensorData::new(inputs, [count, 1])), pass)?;
        let targets: Tensor<2> = pass.values(TensorData::new(targets, [count, 1]));
        let difference = outputs - targets;
        Ok(Outcome {
            loss: (difference.clone() * difference).mean(),
            predictions: None,
        })
    }
}
