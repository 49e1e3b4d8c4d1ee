//! Scales from weights and from what comes by.

use std::collections::BTreeMap;

use burn::module::Module;

use super::fold::fold;
use super::host::HostNetwork;
use super::observer::{Affine, Observed};
use super::smooth::smooth;
use super::{OPERATION, QuantizationConfig, QuantizationPlan, WeightScale};
use crate::device::{Device, Readback};
use crate::error::{Error, Result};
use crate::nn::graph::{Attention, Graph, Layer, Quantize, Shape, Wire};
use crate::nn::{Network, Normalization, Pass};
use crate::ops::Levels;
use crate::train::Objective;

/// A network that works in 8 bits.
#[derive(Debug, Clone)]
pub struct Quantized {
    /// With the scales that were found; its weights are as they were, and are rounded where they are used.
    pub network: Network,
    /// Which layers work in 8 bits.
    pub plan: QuantizationPlan,
}

/// Makes layers of a network work in 8 bits, after training: batch norms are [folded](super::fold_batch_norms), scales of
/// weights are found for each output, and ranges of activations from the batches. Nothing is trained.
///
/// `weight ≈ scale[c] q` with `q` within ±127, `x ≈ scale (q - zero_point)` with `q` within 0 and 255, one scale for all of
/// `x`, and 0 exact. A value that is always 0 has a scale of 1. Scales of weights are large enough for the bias to be a
/// multiple of `scale_x scale[c]` in 32 bits. Jacob et al., *Quantization and Training of Neural Networks for Efficient
/// Integer-Arithmetic-Only Inference*, CVPR 2018 (arXiv 1712.05877).
///
/// # Errors
/// As [`QuantizationPlan::new`]; when there is no batch, a weight or an activation is not finite, or a batch does not fit.
pub async fn quantize<O: Objective<Network>>(
    network: &Network,
    config: &QuantizationConfig,
    objective: &O,
    batches: &[O::Batch],
    device: &Device,
) -> Result<Quantized> {
    if batches.is_empty() {
        return Err(
            Error::invalid(OPERATION, "no batch to find ranges from").expected("one at least")
        );
    }
    let mut host = HostNetwork::read(network).await?;
    fold(&mut host)?;
    let plan = QuantizationPlan::new(&host.graph, config)?;
    host.graph = plan.graph().clone();
    for node in host.graph.clone().nodes() {
        match node.layer {
            Layer::Quantize(_) => host.set(format!("{}.scale", node.name), vec![1], vec![1.0]),
            Layer::Attention(Attention { int8: true, .. }) => {
                host.set(format!("{}.context_scale", node.name), vec![1], vec![1.0]);
            }
            _ => {}
        }
    }
    scale_weights(&mut host, config.weights);
    let mut found = observe(&host, network, objective, batches, device).await?;
    if let Some(alpha) = config.smoothing
        && smooth(&mut host, &found, alpha)
    {
        scale_weights(&mut host, config.weights);
        found = observe(&host, network, objective, batches, device).await?;
    }
    let found = found.into_iter();
    let ranges: BTreeMap<String, Affine> = found
        .map(|(name, seen)| (name, seen.affine(config.observer)))
        .collect();
    for (name, range) in &ranges {
        host.set(name.clone(), vec![1], vec![range.scale]);
    }
    leave_room(&mut host);
    let zero = |name: String| ranges.get(&name).map_or(0, |range| range.zero_point);
    let graph = host.graph.clone();
    host.graph = graph.with_layers(|place, layer| {
        let name = &graph.nodes()[place].name;
        match layer {
            Layer::Quantize(_) => Layer::Quantize(Quantize {
                zero_point: zero(format!("{name}.scale")),
            }),
            Layer::Attention(attention) => Layer::Attention(Attention {
                context_zero_point: zero(format!("{name}.context_scale")),
                ..attention
            }),
            other => other,
        }
    })?;
    Ok(Quantized {
        network: host.network_beside(network)?,
        plan,
    })
}

/// Finds the scales of all weights.
fn scale_weights(host: &mut HostNetwork, by: WeightScale) {
    let graph = host.graph.clone();
    for (place, node) in graph.nodes().iter().enumerate() {
        for (part, axis) in graph.int8_parts(place) {
            let Some(weight) = host.get(&node.name, &format!("{part}weight")) else {
                continue;
            };
            let outputs = weight.shape[axis];
            let inner: usize = weight.shape[axis + 1..].iter().product();
            let mut each = vec![Vec::new(); outputs];
            for (index, value) in weight.values.iter().enumerate() {
                each[index / inner % outputs].push(*value);
            }
            let scales = each.iter().map(|values| scale_of(values, by)).collect();
            let name = format!("{}.{part}weight_scale", node.name);
            host.set(name, vec![outputs], scales);
        }
    }
}

/// The scale of an output's weights.
fn scale_of(weights: &[f32], by: WeightScale) -> f32 {
    /// Parts of the largest weight that are compared by their errors.
    const PARTS: usize = 51;
    let largest = weights.iter().fold(0.0f32, |most, w| most.max(w.abs()));
    let whole = largest / Levels::WEIGHTS.high as f32;
    if !whole.is_normal() {
        return 1.0;
    }
    let error = |scale: f32| -> f64 {
        let errors = weights.iter().map(|&weight| {
            let rounded = Levels::WEIGHTS.nearest(weight, scale) as f32 * scale;
            f64::from(weight - rounded).powi(2)
        });
        errors.sum()
    };
    match by {
        WeightScale::MaxAbs => whole,
        WeightScale::Mse => {
            let parts = (0..PARTS).map(|part| whole * (1.0 - 0.01 * part as f32));
            let errors = parts.map(|scale| (error(scale), scale));
            let best = errors.min_by(|a, b| a.0.total_cmp(&b.0));
            best.map_or(whole, |(_, scale)| scale)
        }
    }
}

/// What comes by where values are rounded, by the names of their scales.
async fn observe<O: Objective<Network>>(
    host: &HostNetwork,
    beside: &Network,
    objective: &O,
    batches: &[O::Batch],
    device: &Device,
) -> Result<BTreeMap<String, Observed>> {
    let network = host.network_beside(beside)?.valid();
    let mut all: BTreeMap<String, Observed> = BTreeMap::new();
    for batch in batches {
        let mut pass = Pass::new(Normalization::Running, device.tensors()).observing(true);
        objective.forward(&network, batch, &mut pass)?;
        let (names, tensors): (Vec<_>, Vec<_>) = pass.take_observed().into_iter().unzip();
        let trip = Readback::new();
        let trip = tensors.into_iter().fold(trip, Readback::with);
        for (name, values) in names.into_iter().zip(trip.run_all().await?) {
            let channels = channels(&host.graph, &name);
            all.entry(name.clone())
                .or_default()
                .see(&values, channels, &name)?;
        }
    }
    Ok(all)
}

/// Channels that lie side by side in what is rounded by the scale of this name.
fn channels(graph: &Graph, scale: &str) -> usize {
    let node = scale
        .rsplit_once('.')
        .and_then(|(node, _)| graph.find(node));
    match node.map(|place| graph.shape(Wire::Node(place))) {
        Some(Shape::Tokens([_, width]) | Shape::Values(width)) if scale.ends_with(".scale") => {
            width
        }
        _ => 1,
    }
}

/// Makes scales of weights so large that no bias, as a multiple of `scale_x scale[c]`, leaves 32 bits.
fn leave_room(host: &mut HostNetwork) {
    /// Half of what 31 bits hold.
    const MOST: f64 = (1 << 30) as f64;
    let graph = host.graph.clone();
    for (place, node) in graph.nodes().iter().enumerate() {
        for (part, _) in graph.int8_parts(place) {
            let site = match part {
                "project." => Some(format!("{}.context_scale", node.name)),
                _ => match graph.origin(node.inputs[0]) {
                    Wire::Node(before) => Some(format!("{}.scale", graph.nodes()[before].name)),
                    Wire::Input => None,
                },
            };
            let input = site.and_then(|site| {
                let (node, field) = site.rsplit_once('.')?;
                host.values(node, field)?.first().copied()
            });
            let bias = host
                .values(&node.name, &format!("{part}bias"))
                .map(<[f32]>::to_vec);
            let (Some(input), Some(bias)) = (input, bias) else {
                continue;
            };
            let field = format!("{part}weight_scale");
            if let Some(scales) = host.values_mut(&node.name, &field) {
                for (scale, bias) in scales.iter_mut().zip(bias) {
                    let least = f64::from(bias.abs()) / (f64::from(input) * MOST);
                    *scale = scale.max(least as f32);
                }
            }
        }
    }
}
