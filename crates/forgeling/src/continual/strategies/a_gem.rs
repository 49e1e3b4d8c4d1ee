//! Averaged gradient episodic memory.

use burn::module::Module;
use burn::optim::GradientsParams;
use serde::{Deserialize, Serialize};

use super::replayed::{check_examples, cross_entropy, first};
use crate::continual::{ContinualBatch, Head};
use crate::device::TensorDevice;
use crate::error::Result;
use crate::nn::{Network, Normalization, Pass};
use crate::train::parts::{
    GradientRule, Method, Needs, Part, RunState, Sections, StepContext, gradients,
};

/// Below this square of its norm the gradient on examples of before counts as 0.
const SMALLEST: f32 = 1e-30;

/// How [`AGem`] replays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AGemConfig {
    /// Examples of before at each step, or as many as there are.
    pub examples: usize,
}

/// Averaged gradient episodic memory: part `a-gem` of a run, which changes the gradient `g` of the loss where a step along
/// it would make the loss on examples of before larger,
///
/// `g ← g − (g·r / r·r) r` if `g·r < 0`,
///
/// where `r` is the gradient of the mean cross entropy on those examples; then the changed gradient and `r` are orthogonal.
/// Chaudhry et al., "Efficient lifelong learning with A-GEM", ICLR 2019 (arXiv 1812.00420).
///
/// It keeps nothing but the run's buffer. A step costs a forward and a backward pass on the examples more, in f32 and with the
/// batch norms' statistics of these examples, which do not go into the running ones (in Mammoth and in van de Ven's code they
/// do). Van de Ven adds 1e-7 to `r·r`.
///
/// How the memory is filled matters: van de Ven keeps 100 random examples of each class when a context ends, which is
/// [`Policy::PerClassAtEnd`](crate::continual::Policy::PerClassAtEnd) with
/// [`Budget::PerClass`](crate::continual::Budget::PerClass)`(100)`. Mammoth adds a single mini-batch of each context to its
/// memory (10 examples in its MNIST protocol), however large the buffer may be; the paper keeps as many of each class.
#[derive(Debug, Clone)]
pub struct AGem {
    head: Head,
    config: AGemConfig,
}

impl AGem {
    /// For a network with this head.
    ///
    /// # Errors
    /// When no example is asked for.
    pub fn new(head: Head, config: AGemConfig) -> Result<Self> {
        check_examples("a_gem", config.examples)?;
        Ok(Self { head, config })
    }
}

impl RunState for AGem {
    fn save(&self, _to: &mut Sections) -> Result<()> {
        Ok(())
    }

    fn load(&mut self, _from: &Sections, _device: &TensorDevice) -> Result<()> {
        Ok(())
    }
}

impl Part<Network> for AGem {
    fn name(&self) -> &'static str {
        "a-gem"
    }

    fn needs(&self) -> Needs {
        Needs {
            replayed: self.config.examples,
            ..Needs::default()
        }
    }
}

/// Takes away from `gradients` what points against `reference`.
pub(super) fn project(
    model: &Network,
    gradients: &mut GradientsParams,
    reference: &GradientsParams,
) {
    let product = gradients::dot(model, gradients, reference);
    let square = gradients::dot(model, reference, reference);
    // Without a parameter in common there is nothing to take away.
    let (Some(product), Some(square)) = (product, square) else {
        return;
    };
    // All on the device: where the product is not negative, what is added is 0.
    let factor = product.clamp_max(0.0).neg() / square.clamp_min(SMALLEST);
    gradients::add(model, gradients, reference, &factor);
}

impl GradientRule<Network, ContinualBatch> for AGem {
    fn apply(
        &mut self,
        step: &StepContext<'_, ContinualBatch>,
        model: &Network,
        gradients: &mut GradientsParams,
    ) -> Result<()> {
        let Some(old) = first(step.replayed, self.config.examples) else {
            return Ok(());
        };
        let Some(device) = model.devices().into_iter().next() else {
            return Ok(());
        };
        let mut pass = Pass::new(Normalization::Batch, &device.autodiff());
        let loss = cross_entropy(&self.head, model, &old, &mut pass)?;
        let reference = pass.backward(loss, model)?;
        project(model, gradients, &reference);
        Ok(())
    }
}

impl Method<Network, ContinualBatch> for AGem {
    fn rule(&mut self) -> Option<&mut dyn GradientRule<Network, ContinualBatch>> {
        Some(self)
    }

    fn on_replica(&self) -> Option<Box<dyn Method<Network, ContinualBatch> + Send>> {
        Some(Box::new(self.clone()))
    }
}
