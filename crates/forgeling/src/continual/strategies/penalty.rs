//! What holds parameters where they were.

use burn::tensor::Tensor;

use super::by_parameter::{ByParameter, each, misfit};
use crate::device::TensorDevice;
use crate::error::{Error, Result};
use crate::nn::Network;
use crate::train::parts::Sections;

/// `Σ F (θ − c)² + rest`, over all parameters `θ` that are trained: `F` is how important each is.
#[derive(Debug, Clone, Default)]
pub(super) struct Penalty {
    /// `F`; empty as long as there is no penalty.
    pub importance: ByParameter,
    /// `c`
    pub centre: ByParameter,
    /// What is left where penalties with several centres were added, `[1]`.
    rest: Option<Tensor<1>>,
}

impl Penalty {
    /// The penalty times `factor`, `[1]`; 0 as long as there is none.
    ///
    /// # Errors
    /// When the model has not the parameters that it had.
    pub fn loss(&self, model: &Network, factor: f64) -> Result<Tensor<1>> {
        let (mut sum, mut met, mut device) = (None, 0, None);
        each(model, None, |parameter| {
            device.get_or_insert_with(|| parameter.value.device());
            let kept = (
                self.importance.get(parameter.name),
                self.centre.get(parameter.name),
            );
            let (Some(importance), Some(centre)) = kept else {
                return;
            };
            if centre.dims() != parameter.value.dims() {
                return;
            }
            met += 1;
            let apart = parameter.value - beside(centre);
            let penalty = (beside(importance) * apart.square()).sum();
            sum = Some(match sum.take() {
                Some(sum) => sum + penalty,
                None => penalty,
            });
        });
        if met != self.importance.len() {
            return Err(misfit(self.importance.len(), met));
        }
        let Some(mut sum) = sum else {
            let device = device.ok_or_else(nothing_trained)?;
            return Ok(Tensor::zeros([1], &device));
        };
        if let Some(rest) = &self.rest {
            sum = sum + beside(rest);
        }
        Ok(sum * factor)
    }

    /// Its gradient, `2 F (θ − c)`, of the parameters that it holds.
    pub fn gradient(&self, model: &Network) -> ByParameter {
        let values = ByParameter::trained(model);
        let importance = self.importance.clone();
        importance.map(
            |name, importance| match (values.get(name), self.centre.get(name)) {
                (Some(value), Some(centre)) => importance * (value.clone() - centre.clone()) * 2.0,
                _ => importance * 0.0,
            },
        )
    }

    /// One more penalty, `Σ F (θ − θ*)²`, beside those there are.
    ///
    /// Two penalties on a parameter are one about the mean of their centres, weighted by importance, and a rest that does
    /// not depend on it: `A (θ − c)² + F (θ − θ*)² = (A + F) (θ − c')² + A F / (A + F) (θ* − c)²` with
    /// `c' = c + F / (A + F) (θ* − c)`. So nothing is lost, and a context takes no more memory or time than the first. The
    /// mean is rounded once for each context, as if weights had been moved by half of their last place. Sums of `F`, `F θ*`
    /// and `F θ*²` would do as well for the gradient, but not for the loss, which is a small difference of them.
    pub fn add(&mut self, importance: &ByParameter, values: &ByParameter) {
        for (name, more) in importance.iter() {
            let Some(value) = values.get(name) else {
                continue;
            };
            let (old, centre) = match (self.importance.get(name), self.centre.get(name)) {
                (Some(old), Some(centre)) => (old.clone(), centre.clone()),
                _ => {
                    self.importance.set(name, more.clone());
                    self.centre.set(name, value.clone());
                    continue;
                }
            };
            let sum = old.clone() + more.clone();
            // Where nothing is important yet, the mean does not matter, but must be a number.
            let share = more.clone() / sum.clone().clamp_min(f32::MIN_POSITIVE);
            let apart = value.clone() - centre.clone();
            let rest = (old * share.clone() * apart.clone().square()).sum();
            self.rest = Some(match self.rest.take() {
                Some(sum) => sum + rest,
                None => rest,
            });
            self.importance.set(name, sum);
            self.centre.set(name, centre + share * apart);
        }
    }

    /// One penalty in the place of the one there is.
    pub fn set(&mut self, importance: ByParameter, centre: ByParameter) {
        *self = Self {
            importance,
            centre,
            rest: None,
        };
    }

    /// Bytes on the device.
    pub fn bytes(&self) -> u64 {
        let rest = self.rest.as_ref().map_or(0, |_| 4);
        self.importance.bytes() + self.centre.bytes() + rest
    }

    pub fn save(&self, to: &mut Sections) -> Result<()> {
        self.importance.save("importance", to)?;
        self.centre.save("centre", to)?;
        to.set("has rest", &self.rest.is_some())?;
        if let Some(rest) = &self.rest {
            to.set_tensor("rest", rest.clone());
        }
        Ok(())
    }

    pub fn load(from: &Sections, device: &TensorDevice) -> Result<Self> {
        let rest = match from.get("has rest")? {
            true => Some(from.tensor("rest", device)?),
            false => None,
        };
        Ok(Self {
            importance: ByParameter::load("importance", from, device)?,
            centre: ByParameter::load("centre", from, device)?,
            rest,
        })
    }
}

/// A tensor that is not tracked, to be computed with beside those that are.
fn beside(constant: &Tensor<1>) -> Tensor<1> {
    Tensor::from_inner(constant.clone())
}

/// The error of a network that there is nothing to hold of.
pub(super) fn nothing_trained() -> Error {
    Error::invalid("penalty", "the network has no trained parameter")
        .expected("a network on a device with autodiff")
}
