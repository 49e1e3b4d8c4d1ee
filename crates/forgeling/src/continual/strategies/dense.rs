//! Gradients of single examples through layers of neurons, for whole batches at once.
//!
//! The gradient of an example for a weight is the product of what its neuron takes, `a_i`, and of how much the example's
//! loss changes with what the neuron gives, `δ_j`. A sum of squares over examples is then a product of matrices,
//! `Σ_n (a_ni δ_nj)² = ((a²)ᵀ δ²)_ij`, and one of magnitudes likewise: no gradient of a single example is ever made.

use std::f64::consts::{FRAC_1_SQRT_2, PI};

use burn::tensor::activation::{gelu, relu, relu6};
use burn::tensor::{Tensor, TensorData};

use super::by_parameter::ByParameter;
use super::importance::Of;
use crate::data::ImageBatch;
use crate::error::{Error, Result};
use crate::nn::graph::{Layer, Shape, Wire};
use crate::nn::{Network, Values};
use crate::ops::{Activation, linear};

/// A network of layers of neurons and activations one after the other, without autodiff.
pub(super) struct Dense {
    /// Values of an example.
    inputs: usize,
    steps: Vec<Step>,
}

enum Step {
    Neurons(Box<Neurons>),
    Relu,
    Relu6,
    Gelu,
}

struct Neurons {
    /// The name of the node.
    name: String,
    /// `[inputs, outputs]`
    weight: Tensor<2>,
    /// `[outputs]`
    bias: Option<Tensor<1>>,
    /// Whether weight and bias are.
    trained: [bool; 2],
}

impl Dense {
    /// The network, if it is one of these.
    pub fn of(network: &Network) -> Option<Self> {
        let graph = network.graph();
        let mut steps = Vec::new();
        for (place, node) in graph.nodes().iter().enumerate() {
            let before = match place {
                0 => Wire::Input,
                _ => Wire::Node(place - 1),
            };
            if node.inputs != [before] {
                return None;
            }
            steps.push(match node.layer {
                // Images lie in memory as they are flattened.
                Layer::Flatten => continue,
                Layer::Relu => Step::Relu,
                Layer::Relu6 => Step::Relu6,
                Layer::Gelu => Step::Gelu,
                // Those of tokens are not the layer's of an example.
                Layer::Linear(linear)
                    if matches!(graph.shape(before), Shape::Values(_)) && !linear.int8 =>
                {
                    let Some(Values::Linear(values)) = network.values(place) else {
                        return None;
                    };
                    let (weight, bias) = (values.weight.val(), values.bias.as_ref());
                    let bias = bias.map(|bias| bias.val());
                    let biased = bias.as_ref().is_some_and(Tensor::is_require_grad);
                    Step::Neurons(Box::new(Neurons {
                        name: node.name.clone(),
                        trained: [weight.is_require_grad(), biased],
                        weight: weight.without_autodiff(),
                        bias: bias.map(Tensor::without_autodiff),
                    }))
                }
                _ => return None,
            });
        }
        let ends = graph.output() + 1 == graph.nodes().len();
        let has_neurons = steps.iter().any(|step| matches!(step, Step::Neurons(_)));
        (ends && has_neurons).then(|| Self {
            inputs: graph.input().len(),
            steps,
        })
    }

    /// The forward pass of a batch.
    ///
    /// # Errors
    /// When the images do not fit the network.
    pub fn forward(&self, images: &ImageBatch) -> Result<Passed<'_>> {
        let (count, values) = (images.labels.len(), images.shape.len());
        let first = self.steps.iter().find_map(|step| match step {
            Step::Neurons(neurons) => Some(neurons.weight.device()),
            _ => None,
        });
        let (true, Some(device)) = (values == self.inputs, first) else {
            return Err(
                Error::invalid("importance", "the images do not fit the network")
                    .expected(format!("{} values", self.inputs))
                    .got(images.shape),
            );
        };
        let data = TensorData::new(images.images.clone(), [count, values]);
        let mut x = Tensor::<2>::from_data(data, &device);
        let mut taken = Vec::with_capacity(self.steps.len());
        for step in &self.steps {
            taken.push(x.clone());
            x = match step {
                Step::Neurons(neurons) => {
                    let (weight, bias) = (neurons.weight.clone(), neurons.bias.clone());
                    linear(x, weight, bias, Activation::None)?
                }
                Step::Relu => relu(x),
                Step::Relu6 => relu6(x),
                Step::Gelu => gelu(x),
            };
        }
        let slopes = self.steps.iter().zip(&taken);
        Ok(Passed {
            slopes: slopes.map(|(step, x)| step.slope(x)).collect(),
            sums: self.steps.iter().map(|_| None).collect(),
            steps: &self.steps,
            taken,
            outputs: x,
        })
    }
}

impl Step {
    /// How much its output changes with its input, of an activation.
    fn slope(&self, x: &Tensor<2>) -> Option<Tensor<2>> {
        let above = |bound: f32| x.clone().greater_elem(bound).float();
        match self {
            Self::Neurons(_) => None,
            Self::Relu => Some(above(0.0)),
            // At both bounds it is 1, as burn has it.
            Self::Relu6 => Some(x.clone().greater_equal_elem(0.0).float() - above(6.0)),
            Self::Gelu => {
                let below = ((x.clone() * FRAC_1_SQRT_2).erf() + 1.0) * 0.5;
                let density = (x.clone().square() * -0.5).exp() * (1.0 / (2.0 * PI).sqrt());
                Some(below + x.clone() * density)
            }
        }
    }
}

/// A forward pass, to go back through as often as wanted.
pub(super) struct Passed<'a> {
    steps: &'a [Step],
    /// What each step took, `[examples, inputs]`.
    taken: Vec<Tensor<2>>,
    slopes: Vec<Option<Tensor<2>>>,
    /// Of what all passes back came to a layer with, `[examples, outputs]`.
    sums: Vec<Option<Tensor<2>>>,
    /// `[examples, outputs]`
    pub outputs: Tensor<2>,
}

impl Passed<'_> {
    /// Goes back from how much each example's loss changes with its outputs, `[examples, outputs]`.
    pub fn backward(&mut self, mut deltas: Tensor<2>, of: Of) {
        let first = |step: &Step| matches!(step, Step::Neurons(_));
        let first = self.steps.iter().position(first).unwrap_or(0);
        for (place, step) in self.steps.iter().enumerate().skip(first).rev() {
            match (step, &self.slopes[place]) {
                (Step::Neurons(neurons), _) => {
                    let more = of.each(deltas.clone());
                    let sum = &mut self.sums[place];
                    *sum = Some(match sum.take() {
                        Some(sum) => sum + more,
                        None => more,
                    });
                    if place > first {
                        deltas = deltas.matmul(neurons.weight.clone().transpose());
                    }
                }
                (_, Some(slope)) => deltas = deltas * slope.clone(),
                (_, None) => (),
            }
        }
    }

    /// Adds what all passes back came to, summed over the examples.
    pub fn add_to(self, sums: &mut ByParameter, of: Of) {
        for ((step, sum), taken) in self.steps.iter().zip(self.sums).zip(self.taken) {
            let (Step::Neurons(neurons), Some(sum)) = (step, sum) else {
                continue;
            };
            let [weight, bias] = neurons.trained;
            let [_, outputs] = sum.dims();
            if bias {
                let name = format!("{}.bias", neurons.name);
                sums.add(&name, sum.clone().sum_dim(0).reshape([outputs]));
            }
            if weight {
                let [_, inputs] = taken.dims();
                let all = of.each(taken).transpose().matmul(sum);
                let name = format!("{}.weight", neurons.name);
                sums.add(&name, all.reshape([inputs * outputs]));
            }
        }
    }
}
