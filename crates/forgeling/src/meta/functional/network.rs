//! Layers one after the other.

use std::ops::Range;

use burn::module::ModuleDisplay;
use burn::tensor::Tensor;

use super::{Layer, Value, Weights};
use crate::error::{Error, Result};
use crate::nn::{Conv4Classifier, Mlp};
use crate::ops::Statistics;
use crate::train::Trainable;

/// A network that can be seen as layers with exchangeable parameters.
pub trait Functional: Trainable + ModuleDisplay {
    /// The layers from input to output.
    fn layers(&self) -> Vec<Layer>;

    /// The parameters of these layers, flat and in their order, as autodiff knows them.
    fn parameters(&self) -> Vec<Tensor<1>>;
}

/// A network as a function of its parameters.
#[derive(Debug, Clone)]
pub struct Network {
    layers: Vec<Layer>,
    /// The parameters of each layer.
    places: Vec<Range<usize>>,
}

/// A forward pass, with what its backward pass needs.
#[derive(Debug, Clone)]
pub struct Forward {
    /// What came out.
    pub output: Value,
    /// The statistics of each batch norm, of all tasks, `[tasks * channels]`: tracked like everything else.
    pub statistics: Vec<Statistics>,
    inputs: Vec<Value>,
}

impl Network {
    /// A network of these layers.
    pub fn new(layers: Vec<Layer>) -> Self {
        let mut start = 0;
        let place = |layer: &Layer| {
            start += layer.parameters().len();
            start - layer.parameters().len()..start
        };
        Self {
            places: layers.iter().map(place).collect(),
            layers,
        }
    }

    /// The layers.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// The places of gamma and beta of each batch norm among the parameters.
    pub fn norms(&self) -> Vec<Range<usize>> {
        let layers = self.layers.iter().zip(&self.places);
        layers
            .filter(|(layer, _)| layer.is_norm())
            .map(|(_, place)| place.clone())
            .collect()
    }

    /// Whether the first layer with parameters takes maps, and not rows.
    pub fn takes_maps(&self) -> bool {
        !matches!(self.layers.first(), None | Some(Layer::Linear { .. }))
    }

    /// How many parameters the layers have together.
    pub fn parameters(&self) -> usize {
        self.places.last().map_or(0, |place| place.end)
    }

    /// The layers before the last one with parameters, and that one with all that follows.
    #[must_use]
    pub fn split_head(&self) -> (Self, Self) {
        let has = |layer: &Layer| !layer.parameters().is_empty();
        let head = self.layers.iter().rposition(has).unwrap_or_default();
        let (body, head) = self.layers.split_at(head);
        (Self::new(body.to_vec()), Self::new(head.to_vec()))
    }

    /// Runs the network with the parameters of each task. `given` are the statistics that batch norm uses in place of
    /// the batch's, norm by norm.
    ///
    /// # Errors
    /// When the input, the parameters or the statistics do not fit.
    pub fn forward(
        &self,
        weights: &Weights,
        input: Value,
        given: Option<&[Statistics]>,
    ) -> Result<Forward> {
        self.check(weights)?;
        let mut inputs = Vec::with_capacity(self.layers.len());
        let mut statistics = Vec::new();
        let mut hidden = input;
        for (layer, place) in self.layers.iter().zip(&self.places) {
            let given = match given {
                Some(all) if layer.is_norm() => {
                    Some(all.get(statistics.len()).ok_or_else(|| {
                        Error::invalid("functional_forward", "not statistics for each batch norm")
                            .got(all.len())
                    })?)
                }
                _ => None,
            };
            inputs.push(hidden.clone());
            let (output, used) = layer.forward(hidden, &weights.tensors()[place.clone()], given)?;
            statistics.extend(used);
            hidden = output;
        }
        Ok(Forward {
            output: hidden,
            statistics,
            inputs,
        })
    }

    /// The gradients of all parameters for that of the output, after a forward pass with the batch's own statistics.
    ///
    /// # Errors
    /// When the gradient does not fit.
    pub fn backward(&self, weights: &Weights, forward: &Forward, grad: Value) -> Result<Weights> {
        self.check(weights)?;
        let first = self.places.iter().position(|place| !place.is_empty());
        let mut gradients = Vec::with_capacity(weights.len());
        let mut grad = Some(grad);
        for index in (0..self.layers.len()).rev() {
            let Some(along) = grad.take() else { break };
            let own = &weights.tensors()[self.places[index].clone()];
            // Below the first parameter nothing needs a gradient.
            let further = first.is_some_and(|first| first < index);
            let layer = self.layers[index];
            let (of_input, of_own) = layer.vjp(&forward.inputs[index], own, along, further)?;
            gradients.extend(of_own.into_iter().rev());
            grad = of_input.filter(|_| further);
        }
        gradients.reverse();
        Ok(Weights::new(gradients))
    }

    fn check(&self, weights: &Weights) -> Result<()> {
        let sizes = self.layers.iter().flat_map(|layer| layer.parameters());
        // What follows is another network's.
        let own = weights.tensors().iter().take(self.parameters());
        let own = own.map(|tensor| tensor.dims()[1]);
        if sizes.clone().eq(own.clone()) {
            return Ok(());
        }
        let all = |sizes: Vec<usize>| format!("parameters of {sizes:?} values");
        Err(
            Error::invalid("functional_forward", "the parameters do not fit the layers")
                .expected(all(sizes.collect()))
                .got(all(own.collect())),
        )
    }
}

impl Functional for Conv4Classifier {
    fn layers(&self) -> Vec<Layer> {
        let mut layers = Vec::new();
        for block in &self.encoder.blocks {
            let [outputs, inputs, ..] = block.weight.val().dims();
            layers.extend([
                Layer::Conv2d { inputs, outputs },
                Layer::NormPool { channels: outputs },
            ]);
        }
        let [inputs, outputs] = self.head.weight.val().dims();
        layers.push(Layer::Linear { inputs, outputs });
        layers
    }

    fn parameters(&self) -> Vec<Tensor<1>> {
        let mut parameters = Vec::new();
        for block in &self.encoder.blocks {
            // Batch statistics cancel the convolution's bias.
            let weight = block.weight.val();
            let values = weight.shape().num_elements();
            parameters.extend([
                weight.reshape([values]),
                block.gamma.val(),
                block.beta.val(),
            ]);
        }
        let weight = self.head.weight.val();
        let values = weight.shape().num_elements();
        parameters.extend([weight.reshape([values]), self.head.bias.val()]);
        parameters
    }
}

impl Functional for Mlp {
    fn layers(&self) -> Vec<Layer> {
        let mut layers = Vec::new();
        for layer in &self.layers {
            let [inputs, outputs] = layer.weight.val().dims();
            layers.extend([Layer::Linear { inputs, outputs }, Layer::Relu]);
        }
        // The last layer gives the outputs as they are.
        layers.pop();
        layers
    }

    fn parameters(&self) -> Vec<Tensor<1>> {
        let mut parameters = Vec::new();
        for layer in &self.layers {
            let weight = layer.weight.val();
            let values = weight.shape().num_elements();
            parameters.extend([weight.reshape([values]), layer.bias.val()]);
        }
        parameters
    }
}
