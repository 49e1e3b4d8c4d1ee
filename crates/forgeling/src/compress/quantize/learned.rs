//! Scales that are trained.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;

use super::OPERATION;
use crate::device::TensorDevice;
use crate::error::{Error, Result};
use crate::nn::Network;
use crate::nn::graph::is_scale;
use crate::train::parts::{AfterStep, Method, Part, RunState, Sections, StepContext, Taken};
use crate::train::{AnyOptimizer, Replace};

const BETAS: [f64; 2] = [0.9, 0.999];
const EPSILON: f64 = 1e-8;

/// Trains the scales of a network in 8 bits by their own rule, and not by the optimizer's: Adam on the logarithms of scales,
///
/// `scale ← scale exp(-rate m / (sqrt(v) + 1e-8))`, with the means `m` and `v` of `g = scale ∂loss/∂scale` and of `g²`,
/// corrected for their start,
///
/// since scales are of very different sizes, must stay above 0, and a step that suits weights is many times too large for them.
/// The gradients are those of Esser et al., *Learned Step Size Quantization*, ICLR 2020 (arXiv 1902.08153), whose factor for
/// the number of values cancels here. After `learning_epochs` scales stay as they are. **Keeps** two numbers for each scale.
#[derive(Debug, Clone)]
pub struct LearnedScales {
    rate: f64,
    learning_epochs: usize,
    epochs: usize,
    steps: usize,
    /// `m` and `v` of all scales one after the other, once there was a step.
    means: Option<[Tensor<1>; 2]>,
}

impl LearnedScales {
    /// For so many epochs at this rate.
    ///
    /// # Errors
    /// When the rate is not above 0 and at most 1.
    pub fn new(rate: f64, learning_epochs: usize) -> Result<Self> {
        if rate > 0.0 && rate <= 1.0 {
            return Ok(Self {
                rate,
                learning_epochs,
                epochs: 0,
                steps: 0,
                means: None,
            });
        }
        Err(
            Error::invalid(OPERATION, "the rate of scales is out of range")
                .expected("above 0, at most 1")
                .got(rate),
        )
    }

    /// The network with scales that have gradients, or that have none.
    #[must_use]
    pub fn tracked(network: Network, tracked: bool) -> Network {
        network.map(&mut Track {
            path: Vec::new(),
            tracked,
        })
    }
}

struct Track {
    path: Vec<String>,
    tracked: bool,
}

impl ModuleMapper for Track {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        match self.path.last().is_some_and(|field| is_scale(field)) {
            true => param.set_require_grad(self.tracked),
            false => param,
        }
    }
}

/// The scales of a network, with their gradients.
struct Scales<'a> {
    path: Vec<String>,
    gradients: &'a GradientsParams,
    ids: Vec<ParamId>,
    values: Vec<Tensor<1>>,
    found: Vec<Tensor<1>>,
}

impl<'a> Scales<'a> {
    fn of(network: &Network, gradients: &'a GradientsParams) -> Self {
        let mut scales = Self {
            path: Vec::new(),
            gradients,
            ids: Vec::new(),
            values: Vec::new(),
            found: Vec::new(),
        };
        network.visit(&mut scales);
        scales
    }
}

impl ModuleVisitor for Scales<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if !self.path.last().is_some_and(|field| is_scale(field)) {
            return;
        }
        let value = param.val().without_autodiff();
        let length = value.shape().num_elements();
        let found = self.gradients.get::<D>(param.id);
        let found = found.map(|found| found.without_autodiff().reshape([length]));
        let value = value.reshape([length]);
        self.found.push(found.unwrap_or_else(|| value.zeros_like()));
        self.values.push(value);
        self.ids.push(param.id);
    }
}

impl RunState for LearnedScales {
    fn save(&self, to: &mut Sections) -> Result<()> {
        to.set("epochs", &self.epochs)?;
        to.set("steps", &self.steps)?;
        if let Some([m, v]) = &self.means {
            to.set_tensor("m", m.clone());
            to.set_tensor("v", v.clone());
        }
        Ok(())
    }

    fn load(&mut self, from: &Sections, device: &TensorDevice) -> Result<()> {
        self.epochs = from.get("epochs")?;
        self.steps = from.get("steps")?;
        self.means = match self.steps {
            0 => None,
            _ => Some([from.tensor("m", device)?, from.tensor("v", device)?]),
        };
        Ok(())
    }
}

impl Part<Network> for LearnedScales {
    fn name(&self) -> &str {
        "learned-scales"
    }

    fn end_epoch(&mut self, epoch: usize, _model: &Network) -> Result<()> {
        self.epochs = epoch;
        Ok(())
    }
}

impl<B> AfterStep<Network, B> for LearnedScales {
    fn after(
        &mut self,
        _step: &StepContext<'_, B>,
        taken: &Taken<'_, Network>,
        model: &mut Network,
        _optimizer: &mut AnyOptimizer,
    ) -> Result<()> {
        let Scales {
            ids, values, found, ..
        } = Scales::of(taken.before, taken.gradients);
        if ids.is_empty() {
            return Ok(());
        }
        let lengths: Vec<usize> = values.iter().map(|value| value.dims()[0]).collect();
        let mut scales = Tensor::cat(values, 0);
        if self.epochs < self.learning_epochs {
            let gradient = Tensor::cat(found, 0) * scales.clone();
            let new = [gradient.clone(), gradient.clone() * gradient];
            let means = self.means.take();
            let means = means.unwrap_or_else(|| new.clone().map(|new| new.zeros_like()));
            let mut means = means.into_iter().zip(new).zip(BETAS);
            let mut next = || {
                let ((mean, new), beta) = means.next().expect("there are two");
                mean * beta + new * (1.0 - beta)
            };
            let [m, v] = [next(), next()];
            self.steps += 1;
            let steps = i32::try_from(self.steps).unwrap_or(i32::MAX);
            let [first, second] = BETAS.map(|beta| 1.0 - beta.powi(steps));
            let change = (m.clone() / first) / ((v.clone() / second).sqrt() + EPSILON);
            self.means = Some([m, v]);
            scales = scales * (change * -self.rate).exp();
        }
        let mut start = 0;
        let new = ids.into_iter().zip(lengths).map(|(id, length)| {
            let part = scales.clone().narrow(0, start, length);
            start += length;
            (id, part)
        });
        let new = new.collect();
        *model = model.clone().map(&mut Replace(new));
        Ok(())
    }
}

impl<B> Method<Network, B> for LearnedScales {
    fn after_step(&mut self) -> Option<&mut dyn AfterStep<Network, B>> {
        Some(self)
    }
}
