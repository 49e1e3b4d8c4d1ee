//! The multilayer perceptron.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::{Linear, Normalization, Pass};
use crate::data::Rng;
use crate::error::{Error, Result};
use crate::ops::Activation;

/// The shape of an [`Mlp`] and the seed of its initial weights.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MlpConfig {
    /// Numbers of an input. Default 784, a grey image of 28×28.
    pub inputs: usize,
    /// Neurons of each hidden layer. Default one layer of 128; none make it a linear classifier.
    pub hidden: Vec<usize>,
    /// Classes. Default 10.
    pub classes: usize,
    /// Seed of the initial weights. Default 0.
    pub seed: u64,
}

impl Default for MlpConfig {
    fn default() -> Self {
        Self {
            inputs: 784,
            hidden: vec![128],
            classes: 10,
            seed: 0,
        }
    }
}

/// More than any model this library is made for; a file that claims more is not one of ours.
const MAX_LAYERS: usize = 64;
const MAX_NEURONS: usize = 1 << 20;
const MAX_WEIGHTS: usize = 1 << 28;

impl MlpConfig {
    /// Inputs and outputs of each layer.
    fn layers(&self) -> impl Iterator<Item = (usize, usize)> {
        let before = [self.inputs].into_iter().chain(self.hidden.iter().copied());
        let after = self.hidden.iter().copied().chain([self.classes]);
        before.zip(after)
    }

    /// Number of values a network of this shape holds; `None` if it overflows.
    pub(crate) fn value_count(&self) -> Option<usize> {
        self.layers().try_fold(0usize, |sum, (input, output)| {
            sum.checked_add(input.checked_add(1)?.checked_mul(output)?)
        })
    }

    /// Checks every size.
    ///
    /// # Errors
    /// When a size is zero or beyond reason.
    pub fn validate(&self) -> Result<()> {
        const OPERATION: &str = "mlp_config";
        let hidden = self.hidden.iter().map(|&neurons| ("hidden", neurons));
        let sizes = [("inputs", self.inputs), ("classes", self.classes)];
        for (name, size) in sizes.into_iter().chain(hidden) {
            if !(1..=MAX_NEURONS).contains(&size) {
                return Err(Error::invalid(OPERATION, format!("{name} is out of range"))
                    .expected(format!("1 to {MAX_NEURONS}"))
                    .got(size));
            }
        }
        if self.hidden.len() > MAX_LAYERS {
            return Err(Error::invalid(OPERATION, "too many hidden layers")
                .expected(format!("at most {MAX_LAYERS}"))
                .got(self.hidden.len()));
        }
        // A product of two sizes fits, and so does the sum of so few.
        let weights: u64 = self.layers().map(|(i, o)| i as u64 * o as u64).sum();
        if weights > MAX_WEIGHTS as u64 {
            return Err(Error::invalid(OPERATION, "too many weights")
                .expected(format!("at most {MAX_WEIGHTS}"))
                .got(weights));
        }
        Ok(())
    }
}

/// A multilayer perceptron: hidden layers with ReLU, then one without, which gives the logits. Rumelhart, Hinton and
/// Williams, *Learning representations by back-propagating errors*, 1986.
///
/// Shapes: `[batch, inputs]` to `[batch, classes]`. One launch for each layer on a GPU.
#[derive(Module, Debug)]
pub struct Mlp {
    /// The layers from input to logits.
    pub layers: Vec<Linear>,
}

impl Mlp {
    /// A perceptron with weights drawn from the configuration's seed.
    ///
    /// # Errors
    /// When the configuration is not valid.
    pub fn new(config: &MlpConfig, device: &Device) -> Result<Self> {
        config.validate()?;
        let mut rng = Rng::new(config.seed);
        let layers = config
            .layers()
            .map(|(input, output)| Linear::new(input, output, &mut rng, device))
            .collect();
        Ok(Self { layers })
    }

    /// The logits.
    ///
    /// # Errors
    /// When the input does not have the configured numbers, or is empty.
    pub fn forward(&self, x: Tensor<2>) -> Result<Tensor<2>> {
        let mut pass = Pass::new(Normalization::Running, &x.device());
        self.forward_with(x, &mut pass)
    }

    /// The logits, in a pass of the caller's.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn forward_with<'a>(&'a self, x: Tensor<2>, pass: &mut Pass<'a>) -> Result<Tensor<2>> {
        let last = self.layers.len() - 1;
        let mut hidden = x;
        for (index, layer) in self.layers.iter().enumerate() {
            let activation = if index < last {
                Activation::Relu
            } else {
                Activation::None
            };
            hidden = pass.block(
                format_args!("layers.{index}"),
                layer,
                hidden,
                move |layer, input, _| layer.forward(input, activation),
            )?;
        }
        Ok(hidden)
    }

    /// Numbers of an input.
    pub fn inputs(&self) -> usize {
        self.layers[0].weight.val().dims()[0]
    }

    /// Number of trained values.
    pub fn parameter_count(&self) -> usize {
        let trained = |layer: &Linear| {
            let [input, output] = layer.weight.val().dims();
            (input + 1) * output
        };
        self.layers.iter().map(trained).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_out_of_range_are_errors_that_name_them() {
        let right = MlpConfig::default();
        let with_hidden = |hidden| MlpConfig {
            hidden,
            ..right.clone()
        };
        let bad = [
            (
                "inputs",
                MlpConfig {
                    inputs: 0,
                    ..right.clone()
                },
            ),
            (
                "classes",
                MlpConfig {
                    classes: usize::MAX,
                    ..right.clone()
                },
            ),
            ("hidden", with_hidden(vec![4, 0])),
            ("layers", with_hidden(vec![1; 65])),
            ("weights", with_hidden(vec![1 << 20, 1 << 20])),
        ];
        for (name, config) in bad {
            let error = Mlp::new(&config, &Device::flex()).unwrap_err();
            assert!(
                error.is_bad_input() && error.to_string().contains(name),
                "{error}"
            );
        }
    }

    #[test]
    fn layers_have_the_configured_sizes() {
        let config = MlpConfig {
            inputs: 7,
            hidden: vec![5, 3],
            classes: 2,
            seed: 1,
        };
        let mlp = Mlp::new(&config, &Device::flex()).unwrap();
        assert_eq!(mlp.parameter_count(), 8 * 5 + 6 * 3 + 4 * 2);
        let logits = mlp.forward(Tensor::ones([4, 7], &Device::flex())).unwrap();
        assert_eq!((logits.dims(), mlp.inputs()), ([4, 2], 7));
        assert!(mlp.forward(Tensor::ones([4, 6], &Device::flex())).is_err());
    }
}
