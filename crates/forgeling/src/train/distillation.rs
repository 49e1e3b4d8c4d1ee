//! Learning what another network answers.

use burn::module::Module;
use burn::tensor::activation::log_softmax;
use burn::tensor::{Device as TensorDevice, Tensor};
use serde::{Deserialize, Serialize};

use super::objective::logits;
use super::parts::{LossTerm, Method, Part, RunState, Sections, StepContext};
use crate::data::{ImageBatch, MixedBatch};
use crate::error::{Error, Result};
use crate::nn::{Network, Normalization, Pass};

const OPERATION: &str = "distillation";

/// The numbers of [`Distillation`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DistillationConfig {
    /// `T`, by which logits are divided. Default 4.
    pub temperature: f64,
    /// `α`, the share of the teacher's answers in the loss, above 0 and at most 1. Default 0.9.
    pub weight: f64,
}

impl Default for DistillationConfig {
    fn default() -> Self {
        Self {
            temperature: 4.0,
            weight: 0.9,
        }
    }
}

impl DistillationConfig {
    /// Checks the numbers.
    ///
    /// # Errors
    /// When one is out of range.
    pub fn validate(&self) -> Result<()> {
        let Self {
            temperature,
            weight,
        } = *self;
        let squared = (temperature * temperature) as f32;
        let right = [
            (
                "temperature",
                temperature,
                squared.is_normal() && temperature > 0.0,
                "above 0",
            ),
            (
                "weight",
                weight,
                weight > 0.0 && weight <= 1.0,
                "above 0, at most 1",
            ),
        ];
        for (name, value, right, expected) in right {
            if !right {
                let problem = Error::invalid(OPERATION, format!("{name} is out of range"));
                return Err(problem.expected(expected).got(value));
            }
        }
        Ok(())
    }
}

/// A network, the student, is to answer as another does, its teacher; for example a pruned network as the one that it was:
///
/// `loss = (1 - α) objective + α T² mean_b KL(p_b || q_b)` with `p = softmax(teacher / T)` and `q = softmax(student / T)`
///
/// Hinton, Vinyals and Dean, *Distilling the Knowledge in a Neural Network*, 2015 (arXiv 1503.02531). With `T²` the
/// gradients of both parts are of one size, whatever the temperature.
///
/// **Keeps** the teacher. **Costs** two forward passes more at each step, the teacher's without gradients, in f32 and with
/// running statistics, and a backward pass more. What norms find in the second pass of the student does not count again.
#[derive(Debug, Clone)]
pub struct Distillation {
    teacher: Network,
    config: DistillationConfig,
}

impl Distillation {
    /// From a network as it is now.
    ///
    /// # Errors
    /// When a number is out of range.
    pub fn new(teacher: &Network, config: DistillationConfig) -> Result<Self> {
        config.validate()?;
        Ok(Self {
            teacher: teacher.valid(),
            config,
        })
    }

    fn distil<'m>(
        &self,
        student: &'m Network,
        batch: &ImageBatch,
        pass: &mut Pass<'m>,
    ) -> Result<Tensor<1>> {
        let device = self.teacher.devices().into_iter().next();
        let device: TensorDevice =
            device.ok_or_else(|| Error::invalid(OPERATION, "a teacher without values"))?;
        let mut untracked = Pass::new(Normalization::Running, &device);
        let told = logits(&self.teacher, batch, &mut untracked)?;
        let said = pass.uncounted(|pass| logits(student, batch, pass))?;
        if told.dims() != said.dims() {
            let message = "teacher and student have not the same outputs";
            return Err(Error::invalid(OPERATION, message)
                .expected(told.dims()[1])
                .got(said.dims()[1]));
        }
        let [rows, _] = said.dims();
        let temperature = self.config.temperature;
        let told = log_softmax(told / temperature, 1);
        let (told, shares) = (in_graph(told.clone(), &said), in_graph(told.exp(), &said));
        let said = log_softmax(said / temperature, 1);
        let divergence = (shares * (told - said)).sum() / rows as f64;
        Ok(divergence * (self.config.weight * temperature * temperature))
    }
}

/// As a constant beside a tensor that may be tracked.
fn in_graph(tensor: Tensor<2>, beside: &Tensor<2>) -> Tensor<2> {
    match beside.device().is_autodiff() {
        true => Tensor::from_inner(tensor),
        false => tensor,
    }
}

impl RunState for Distillation {
    /// The numbers alone: a run goes on with the same teacher.
    fn save(&self, to: &mut Sections) -> Result<()> {
        to.set("config", &self.config)
    }

    fn load(&mut self, from: &Sections, _device: &TensorDevice) -> Result<()> {
        let config: DistillationConfig = from.get("config")?;
        match config == self.config {
            true => Ok(()),
            false => Err(Error::bad_data(OPERATION, "the run had other numbers")
                .expected(format!("{:?}", self.config))
                .got(format!("{config:?}"))),
        }
    }
}

impl<M> Part<M> for Distillation {
    fn name(&self) -> &str {
        OPERATION
    }

    fn bytes(&self) -> u64 {
        4 * self.teacher.graph().counts().all()
    }
}

/// For batches whose images are found so.
macro_rules! distils {
    ($batch:ty, $of:ident => $images:expr) => {
        impl LossTerm<Network, $batch> for Distillation {
            fn loss<'m>(
                &self,
                _step: &StepContext<'_, $batch>,
                model: &'m Network,
                $of: &$batch,
                pass: &mut Pass<'m>,
            ) -> Result<Tensor<1>> {
                self.distil(model, $images, pass)
            }

            fn objective_weight(&self, _step: &StepContext<'_, $batch>) -> f64 {
                1.0 - self.config.weight
            }
        }

        impl Method<Network, $batch> for Distillation {
            fn term(&self) -> Option<&dyn LossTerm<Network, $batch>> {
                Some(self)
            }
        }
    };
}

distils!(ImageBatch, batch => batch);
distils!(MixedBatch, batch => &batch.images);
