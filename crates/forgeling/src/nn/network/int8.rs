//! Layers that multiply bytes, packed when they are first used.

use std::collections::HashMap;
use std::sync::Arc;

use burn::tensor::Tensor;

use super::Values;
use super::part::Part;
use crate::nn::LinearLayer;
use crate::nn::graph::{Border, Graph, Layer, Shape, Wire};
use crate::ops::{Conv2dOptions, Int8Layer, Int8Values};

/// Which part of a node a layer is: that of a convolution, of neurons or of patches is the only one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// The only one.
    Whole,
    /// Of attention, the first, or all three at once.
    Query,
    /// Of attention, the second.
    Key,
    /// Of attention, the third.
    Value,
    /// Of attention, the last.
    Project,
}

/// The layers of a network that multiply bytes on this machine.
#[derive(Debug, Default)]
pub struct Int8Layers(HashMap<(usize, Role), Arc<Int8Layer>>);

/// A graph, with what runs it in bytes if anything does.
#[derive(Clone, Copy)]
pub struct Ground<'a> {
    pub graph: &'a Graph,
    pub int8: Option<&'a Int8Layers>,
}

impl Ground<'_> {
    /// What runs a layer in bytes.
    pub fn int8(&self, node: usize, role: Role) -> Option<&Arc<Int8Layer>> {
        self.int8?.0.get(&(node, role))
    }
}

/// Values on the CPU.
fn values<const D: usize>(tensor: Tensor<D>) -> Option<Vec<f32>> {
    tensor.without_autodiff().into_data().try_into_vec().ok()
}

impl Int8Layers {
    /// Packs what is faster so.
    pub fn new(graph: &Graph, parts: &[Part]) -> Self {
        let of = |node: usize| parts.iter().find_map(|part| part.of(node));
        let mut all = HashMap::new();
        for (place, node) in graph.nodes().iter().enumerate() {
            let Some(values) = of(place) else { continue };
            let Some(input) = rounded(graph, node.inputs[0], &of) else {
                continue;
            };
            let mut put = |role, layer: Option<Int8Layer>| {
                if let Some(layer) = layer {
                    all.insert((place, role), Arc::new(layer));
                }
            };
            match values {
                Values::Conv(_) => put(Role::Whole, convolution(graph, place, values, input)),
                Values::Linear(own) => {
                    let bias = own.bias.as_ref().map(|bias| bias.val());
                    let scale = own.weight_scale.as_ref().map(|scale| scale.val());
                    put(Role::Whole, neurons(own.weight.val(), scale, bias, input));
                }
                Values::Patches(own) => {
                    let scale = own.weight_scale.as_ref().map(|scale| scale.val());
                    let bias = Some(own.bias.val());
                    put(Role::Whole, neurons(own.weight.val(), scale, bias, input));
                }
                Values::Attention(own) => {
                    for (role, part) in [
                        (Role::Query, &own.query),
                        (Role::Key, &own.key),
                        (Role::Value, &own.value),
                    ] {
                        put(role, of_layer(part, input));
                    }
                    let seen = context(graph, place, own.context_scale.as_ref());
                    put(
                        Role::Project,
                        seen.and_then(|seen| of_layer(&own.project, seen)),
                    );
                }
                Values::FusedAttention(own) => {
                    put(Role::Query, of_layer(&own.qkv, input));
                    let seen = context(graph, place, own.context_scale.as_ref());
                    put(
                        Role::Project,
                        seen.and_then(|seen| of_layer(&own.project, seen)),
                    );
                }
                Values::BatchNorm(_)
                | Values::LayerNorm(_)
                | Values::Mix(_)
                | Values::Quantize(_) => {}
            }
        }
        Self(all)
    }
}

/// Scale and zero point of what was rounded.
type Rounded = (f32, u8);

fn scale_of(scale: Tensor<1>) -> Option<f32> {
    values(scale)?.first().copied()
}

/// How the values of a wire were rounded, if they were.
fn rounded<'a>(
    graph: &Graph,
    wire: Wire,
    of: &impl Fn(usize) -> Option<&'a Values>,
) -> Option<Rounded> {
    let Wire::Node(node) = graph.origin(wire) else {
        return None;
    };
    match (graph.nodes()[node].layer, of(node)) {
        (Layer::Quantize(options), Some(Values::Quantize(own))) => {
            Some((scale_of(own.scale.val())?, options.zero_point))
        }
        _ => None,
    }
}

/// How what the heads have seen is rounded.
fn context(
    graph: &Graph,
    place: usize,
    scale: Option<&burn::module::Param<Tensor<1>>>,
) -> Option<Rounded> {
    match graph.nodes()[place].layer {
        Layer::Attention(options) => Some((scale_of(scale?.val())?, options.context_zero_point)),
        _ => None,
    }
}

fn of_layer(layer: &LinearLayer, input: Rounded) -> Option<Int8Layer> {
    let scale = layer.weight_scale.as_ref().map(|scale| scale.val());
    neurons(layer.weight.val(), scale, Some(layer.bias.val()), input)
}

fn neurons(
    weight: Tensor<2>,
    scale: Option<Tensor<1>>,
    bias: Option<Tensor<1>>,
    (input_scale, zero_point): Rounded,
) -> Option<Int8Layer> {
    let inputs = weight.dims()[0];
    let (weight, scale) = (values(weight)?, values(scale?)?);
    let bias = bias.and_then(values);
    let own = Int8Values {
        weight: &weight,
        weight_scale: &scale,
        bias: bias.as_deref(),
        input_scale,
        zero_point,
    };
    own.linear(inputs)
}

fn convolution(
    graph: &Graph,
    place: usize,
    held: &Values,
    (input_scale, zero_point): Rounded,
) -> Option<Int8Layer> {
    let (Layer::Conv2d(conv), Values::Conv(own)) = (graph.nodes()[place].layer, held) else {
        return None;
    };
    let Shape::Maps([channels, rows, columns]) = graph.shape(graph.nodes()[place].inputs[0]) else {
        return None;
    };
    if own.lora.is_some() {
        return None;
    }
    let Border { around, beyond } = conv.border([rows, columns]);
    let options = Conv2dOptions {
        stride: conv.stride,
        padding: around,
        groups: conv.groups,
    };
    let sizes = own.weight.val().dims();
    let weight = values(own.weight.val())?;
    let scale = values(own.weight_scale.as_ref()?.val())?;
    let bias = own.bias.as_ref().and_then(|bias| values(bias.val()));
    let values = Int8Values {
        weight: &weight,
        weight_scale: &scale,
        bias: bias.as_deref(),
        input_scale,
        zero_point,
    };
    values.conv2d(
        [channels, rows + beyond[0], columns + beyond[1]],
        sizes,
        options,
    )
}
