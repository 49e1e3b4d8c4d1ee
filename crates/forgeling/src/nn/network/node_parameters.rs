//! What the nodes of a network hold.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::Tensor;

use super::mix::MixValues;
use crate::device::TensorDevice;
use crate::nn::graph::{Attention, Initial, Layer, Parameter};
use crate::nn::init::{buffer, constant, uniform};
use crate::nn::{BatchNorm, LayerNorm, LinearLayer, Lora, QuantizeValues};
use crate::ops::Levels;
use crate::rng::Rng;

/// Of a convolution.
#[derive(Module, Debug)]
pub struct ConvValues {
    /// `[filters, inputs / groups, rows, columns]`
    pub weight: Param<Tensor<4>>,
    /// `[filters]`; has no gradient before a batch norm with the statistics of a batch, which cancels it.
    pub bias: Option<Param<Tensor<1>>>,
    /// `[filters]`, where it works in 8 bits.
    pub weight_scale: Option<Param<Tensor<1>>>,
    /// A change of the weight, where the network is adapted.
    pub lora: Option<Lora>,
}

/// Of a layer of neurons.
#[derive(Module, Debug)]
pub struct LinearValues {
    /// `[inputs, outputs]`
    pub weight: Param<Tensor<2>>,
    /// `[outputs]`
    pub bias: Option<Param<Tensor<1>>>,
    /// `[outputs]`, where it works in 8 bits.
    pub weight_scale: Option<Param<Tensor<1>>>,
}

/// Of patches.
#[derive(Module, Debug)]
pub struct PatchValues {
    /// `[channels * size * size, width]`
    pub weight: Param<Tensor<2>>,
    /// `[width]`
    pub bias: Param<Tensor<1>>,
    /// `[tokens, width]`
    pub positions: Param<Tensor<2>>,
    /// `[1, width]`
    pub class_token: Option<Param<Tensor<2>>>,
    /// `[width]`, where they work in 8 bits.
    pub weight_scale: Option<Param<Tensor<1>>>,
}

/// Of attention.
#[derive(Module, Debug)]
pub struct AttentionValues {
    /// What each token looks for.
    pub query: LinearLayer,
    /// What each token is found by.
    pub key: LinearLayer,
    /// What each token gives.
    pub value: LinearLayer,
    /// From the heads' outputs, side by side, to the width.
    pub project: LinearLayer,
    /// `[1]`, of what the heads have seen, where it works in 8 bits.
    pub context_scale: Option<Param<Tensor<1>>>,
}

/// Of attention whose queries, keys and values come of one layer.
#[derive(Module, Debug)]
pub struct FusedAttentionValues {
    /// To queries, keys and values side by side.
    pub qkv: LinearLayer,
    /// From the heads' outputs, side by side, to the width.
    pub project: LinearLayer,
    /// `[1]`, of what the heads have seen, where it works in 8 bits.
    pub context_scale: Option<Param<Tensor<1>>>,
}

/// What one node holds.
#[derive(Debug, Clone)]
#[allow(
    clippy::large_enum_variant,
    reason = "on 64 bits only; tensors are handles, and burn's modules are not boxed"
)]
pub enum Values {
    /// A convolution's.
    Conv(ConvValues),
    /// A batch norm's.
    BatchNorm(BatchNorm),
    /// A layer norm's.
    LayerNorm(LayerNorm),
    /// Neurons'.
    Linear(LinearValues),
    /// Patches'.
    Patches(PatchValues),
    /// Attention's.
    Attention(AttentionValues),
    /// Attention's, where queries, keys and values come of one layer.
    FusedAttention(FusedAttentionValues),
    /// A mix's.
    Mix(MixValues),
    /// Those of a layer that rounds values.
    Quantize(QuantizeValues),
}

/// Standard deviation of the first positions and of a class token.
const POSITIONS: f32 = 0.02;

impl Values {
    /// What a node with this layer and these values holds at first; `None` if it holds nothing.
    pub fn new(
        layer: &Layer,
        parameters: &[Parameter],
        rng: &mut Rng,
        device: &TensorDevice,
    ) -> Option<Self> {
        let size = |place: usize, axis: usize| parameters[place].sizes[axis];
        Some(match layer {
            Layer::Conv2d(conv) => {
                let sizes = [0, 1, 2, 3].map(|axis| size(0, axis));
                let [filters, depth, rows, columns] = sizes;
                let window = rows * columns;
                let bound = bound(conv.initial, depth * window, filters * window);
                ConvValues {
                    weight: uniform(rng, sizes, bound, device),
                    bias: conv
                        .bias
                        .then(|| bias(conv.initial, rng, filters, bound, device)),
                    weight_scale: scale(conv.int8, filters, bound, device),
                    lora: None,
                }
                .into()
            }
            Layer::Linear(linear) => {
                let sizes = [0, 1].map(|axis| size(0, axis));
                let [inputs, outputs] = sizes;
                let bound = bound(linear.initial, inputs, outputs);
                LinearValues {
                    weight: uniform(rng, sizes, bound, device),
                    bias: linear
                        .bias
                        .then(|| bias(linear.initial, rng, outputs, bound, device)),
                    weight_scale: scale(linear.int8, outputs, bound, device),
                }
                .into()
            }
            Layer::BatchNorm(_) => Self::BatchNorm(BatchNorm::new(size(0, 0), device)),
            Layer::LayerNorm(_) => Self::LayerNorm(LayerNorm::new(size(0, 0), device)),
            Layer::Patches(patches) => {
                let sizes = [0, 1].map(|axis| size(0, axis));
                let positions = [0, 1].map(|axis| size(2, axis));
                let bound = bound(Initial::Glorot, sizes[0], sizes[1]);
                let weight = uniform(rng, sizes, bound, device);
                let mut small = |sizes| uniform(rng, sizes, POSITIONS * 3f32.sqrt(), device);
                Self::Patches(PatchValues {
                    weight,
                    bias: constant(sizes[1], 0.0, device),
                    positions: small(positions),
                    class_token: patches.class_token.then(|| small([1, sizes[1]])),
                    weight_scale: scale(patches.int8, sizes[1], bound, device),
                })
            }
            Layer::Attention(Attention {
                fused: true, int8, ..
            }) => {
                let [width, all] = [0, 1].map(|axis| size(0, axis));
                let inner = all / 3;
                // Each of the three starts as it would by itself.
                let bound = bound(Initial::Glorot, width, inner);
                Self::FusedAttention(FusedAttentionValues {
                    qkv: LinearLayer {
                        weight: uniform(rng, [width, all], bound, device),
                        bias: constant(all, 0.0, device),
                        weight_scale: scale(*int8, all, bound, device),
                    },
                    project: neurons(*int8, [inner, width], rng, device),
                    context_scale: int8.then(|| buffer(1, 1.0, device)),
                })
            }
            Layer::Attention(Attention { int8, .. }) => {
                let [width, inner] = [0, 1].map(|axis| size(0, axis));
                let mut part = || neurons(*int8, [width, inner], rng, device);
                let [query, key, value] = [part(), part(), part()];
                Self::Attention(AttentionValues {
                    query,
                    key,
                    value,
                    project: neurons(*int8, [inner, width], rng, device),
                    context_scale: int8.then(|| buffer(1, 1.0, device)),
                })
            }
            Layer::Mix(mix) => Self::Mix(MixValues::new(mix.logits(size(0, 0)), device)),
            Layer::Quantize(_) => Self::Quantize(QuantizeValues::new(device)),
            Layer::Relu
            | Layer::Relu6
            | Layer::Gelu
            | Layer::MaxPool(_)
            | Layer::MeanPool(_)
            | Layer::GlobalMeanPool
            | Layer::FirstToken
            | Layer::Flatten
            | Layer::Luminance(_)
            | Layer::Channels(_)
            | Layer::Add
            | Layer::Concat => return None,
        })
    }
}

/// Steps of weights in 8 bits, of which 127 reach as far as the largest that can be drawn.
fn scale(
    int8: bool,
    outputs: usize,
    bound: f32,
    device: &TensorDevice,
) -> Option<Param<Tensor<1>>> {
    let step = bound / Levels::WEIGHTS.high as f32;
    int8.then(|| buffer(outputs, step, device))
}

/// A layer of neurons of an attention.
fn neurons(
    int8: bool,
    [inputs, outputs]: [usize; 2],
    rng: &mut Rng,
    device: &TensorDevice,
) -> LinearLayer {
    let bound = bound(Initial::Glorot, inputs, outputs);
    LinearLayer {
        weight_scale: scale(int8, outputs, bound, device),
        ..LinearLayer::glorot(inputs, outputs, rng, device)
    }
}

/// Weights are uniform between this and its negative.
fn bound(initial: Initial, inputs: usize, outputs: usize) -> f32 {
    match initial {
        Initial::Uniform => 1.0 / (inputs as f32).sqrt(),
        Initial::He => (6.0 / outputs as f32).sqrt(),
        Initial::Glorot => (6.0 / (inputs + outputs) as f32).sqrt(),
    }
}

fn bias(
    initial: Initial,
    rng: &mut Rng,
    outputs: usize,
    bound: f32,
    device: &TensorDevice,
) -> Param<Tensor<1>> {
    match initial {
        Initial::Uniform => uniform(rng, [outputs], bound, device),
        Initial::He | Initial::Glorot => constant(outputs, 0.0, device),
    }
}

impl From<ConvValues> for Values {
    fn from(values: ConvValues) -> Self {
        Self::Conv(values)
    }
}

impl From<LinearValues> for Values {
    fn from(values: LinearValues) -> Self {
        Self::Linear(values)
    }
}

/// The same call for whichever there is.
macro_rules! each {
    ($self:expr, $values:ident => $call:expr) => {
        match $self {
            Self::Conv($values) => $call,
            Self::BatchNorm($values) => $call,
            Self::LayerNorm($values) => $call,
            Self::Linear($values) => $call,
            Self::Patches($values) => $call,
            Self::Attention($values) => $call,
            Self::FusedAttention($values) => $call,
            Self::Mix($values) => $call,
            Self::Quantize($values) => $call,
        }
    };
}

/// The same change of whichever there is.
macro_rules! changed {
    ($self:expr, $values:ident => $call:expr) => {
        match $self {
            Self::Conv($values) => Self::Conv($call),
            Self::BatchNorm($values) => Self::BatchNorm($call),
            Self::LayerNorm($values) => Self::LayerNorm($call),
            Self::Linear($values) => Self::Linear($call),
            Self::Patches($values) => Self::Patches($call),
            Self::Attention($values) => Self::Attention($call),
            Self::FusedAttention($values) => Self::FusedAttention($call),
            Self::Mix($values) => Self::Mix($call),
            Self::Quantize($values) => Self::Quantize($call),
        }
    };
}

/// burn's own derivation would put the kind into every name.
impl Module for Values {
    fn collect_devices(&self, devices: Vec<TensorDevice>) -> Vec<TensorDevice> {
        each!(self, values => values.collect_devices(devices))
    }

    fn fork(self, device: &TensorDevice) -> Self {
        changed!(self, values => values.fork(device))
    }

    fn to_device(self, device: &TensorDevice) -> Self {
        changed!(self, values => values.to_device(device))
    }

    fn train(self) -> Self {
        changed!(self, values => values.train())
    }

    fn valid(&self) -> Self {
        changed!(self, values => values.valid())
    }

    fn materialize(self) -> Self {
        changed!(self, values => values.materialize())
    }

    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        each!(self, values => values.visit(visitor));
    }

    fn map<M: ModuleMapper>(self, mapper: &mut M) -> Self {
        changed!(self, values => values.map(mapper))
    }
}
