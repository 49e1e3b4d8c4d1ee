//! Networks with a change of each convolution's weight, and without.

use burn::module::Module;
use burn::tensor::Tensor;

use super::{ConvValues, Network, Values};
use crate::error::{Error, Result};
use crate::nn::lora::{Lora, leaf};
use crate::nn::quantize::rounded;
use crate::rng::Rng;

impl Network {
    /// The network, frozen, with a [`Lora`] of every convolution that changes nothing yet, whose `down` are drawn from a
    /// seed. They are trained if the network is on a device with autodiff. Batch norm then uses the running statistics in
    /// training, too, and leaves them as they are: what is adapted to a few images is to answer each image by itself.
    ///
    /// # Errors
    /// As [`Lora::new`].
    pub fn adapted(self, rank: usize, alpha: f64, seed: u64) -> Result<Self> {
        let mut rng = Rng::new(seed);
        let mut problem = None;
        let frozen = self.no_grad().with_values(|_, values| match values {
            Values::Conv(values) => match values.clone().adapted(rank, alpha, &mut rng) {
                Ok(adapted) => Values::Conv(adapted),
                Err(error) => {
                    problem.get_or_insert(error);
                    Values::Conv(values)
                }
            },
            Values::BatchNorm(norm) => Values::BatchNorm(norm.frozen()),
            other => other,
        });
        match problem {
            Some(error) => Err(error),
            None => Ok(frozen),
        }
    }

    /// A plain network with the changed weights, which gives the same as this one, and is not frozen.
    ///
    /// # Errors
    /// When an adapter does not fit its weight.
    pub fn merged(&self) -> Result<Self> {
        let mut problem = None;
        let merged = self.clone().with_values(|_, values| match values {
            Values::Conv(values) => match values.merged() {
                Ok(merged) => Values::Conv(merged),
                Err(error) => {
                    problem.get_or_insert(error);
                    Values::Conv(values)
                }
            },
            Values::BatchNorm(norm) => Values::BatchNorm(norm.thawed()),
            other => other.set_require_grad(true),
        });
        match problem {
            Some(error) => Err(error),
            None => Ok(merged),
        }
    }
}

impl ConvValues {
    /// The weight, rounded where it is to be, with its change if there is one.
    ///
    /// # Errors
    /// When the adapter does not fit the weight.
    pub fn weight(&self) -> Result<Tensor<4>> {
        let weight = rounded(&self.weight, self.weight_scale.as_ref(), 0)?;
        match &self.lora {
            None => Ok(weight),
            Some(lora) => lora.changed(weight),
        }
    }

    fn adapted(self, rank: usize, alpha: f64, rng: &mut Rng) -> Result<Self> {
        if self.weight_scale.is_some() {
            let message = "a layer whose weights are in 8 bits takes no adapter";
            return Err(Error::invalid("lora", message).expected("a network in f32"));
        }
        let weight = self.weight.val();
        let [outputs, inputs, rows, columns] = weight.dims();
        let sizes = [outputs, inputs * rows * columns];
        let lora = Some(Lora::new(sizes, rank, alpha, rng, &weight.device())?);
        Ok(Self { lora, ..self })
    }

    fn merged(&self) -> Result<Self> {
        let weight = leaf(self.weight()?);
        Ok(Self {
            weight: self.weight.clone().map(|_| weight).set_require_grad(true),
            bias: self.bias.clone().map(|bias| bias.set_require_grad(true)),
            weight_scale: self.weight_scale.clone(),
            lora: None,
        })
    }
}
