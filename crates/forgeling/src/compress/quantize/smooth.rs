//! Large channels of activations made smaller before they are rounded.

use std::collections::BTreeMap;

use super::host::HostNetwork;
use super::observer::Observed;
use crate::nn::graph::{Graph, Layer};

/// Channels become so many times smaller or larger at most.
const MOST: f64 = 1e4;

/// Gives the outputs of layer norms the factors `1 / s[j]` and the weights that take them `s[j]`, where they go to nothing
/// else, with
///
/// `s[j] = max |x[j]|^alpha / max |weight[j]|^(1 - alpha)`
///
/// so that the network computes the same. Says whether there was such a norm.
pub(super) fn smooth(
    host: &mut HostNetwork,
    seen: &BTreeMap<String, Observed>,
    alpha: f64,
) -> bool {
    let graph = host.graph.clone();
    let mut any = false;
    for (norm, rounding, takers) in places(&graph) {
        let site = format!("{}.scale", graph.nodes()[rounding].name);
        let Some(largest) = seen.get(&site).map(|seen| &seen.largest) else {
            continue;
        };
        let mut weights = vec![0.0f32; largest.len()];
        let parts: Vec<(usize, &str)> = takers
            .iter()
            .flat_map(|&taker| {
                let parts = graph.int8_parts(taker).into_iter();
                parts.map(move |(part, _)| (taker, part))
            })
            // It takes what the heads have seen.
            .filter(|(_, part)| *part != "project.")
            .collect();
        for (taker, part) in &parts {
            let name = &graph.nodes()[*taker].name;
            let values = host
                .values(name, &format!("{part}weight"))
                .unwrap_or_default();
            let width = values.len() / weights.len();
            for (most, row) in weights.iter_mut().zip(values.chunks(width.max(1))) {
                *most = row
                    .iter()
                    .fold(*most, |most, weight| most.max(weight.abs()));
            }
        }
        let factors: Vec<f32> = largest
            .iter()
            .zip(&weights)
            .map(|(&x, &weight)| {
                let [x, weight] = [x, weight].map(f64::from);
                let factor = libm::pow(x, alpha) / libm::pow(weight, 1.0 - alpha);
                // Of a channel that is always 0, nothing is to be moved.
                match x > 0.0 && weight > 0.0 {
                    true => factor.clamp(1.0 / MOST, MOST) as f32,
                    false => 1.0,
                }
            })
            .collect();
        for field in ["gamma", "beta"] {
            if let Some(values) = host.values_mut(&graph.nodes()[norm].name, field) {
                for (value, factor) in values.iter_mut().zip(&factors) {
                    *value /= factor;
                }
            }
        }
        for (taker, part) in parts {
            let name = &graph.nodes()[taker].name;
            if let Some(values) = host.values_mut(name, &format!("{part}weight")) {
                let width = (values.len() / factors.len()).max(1);
                for (row, factor) in values.chunks_mut(width).zip(&factors) {
                    row.iter_mut().for_each(|weight| *weight *= factor);
                }
            }
        }
        any = true;
    }
    any
}

/// Layer norms whose outputs are only rounded and then taken by layers in 8 bits: the norm, what rounds, who takes.
fn places(graph: &Graph) -> Vec<(usize, usize, Vec<usize>)> {
    let nodes = graph.nodes();
    let readers = graph.readers();
    let asked = |place: usize| place == graph.output() || place == graph.features();
    let norms = (0..nodes.len()).filter(|&place| matches!(nodes[place].layer, Layer::LayerNorm(_)));
    norms
        .filter_map(|norm| {
            let [rounding] = readers[norm][..] else {
                return None;
            };
            let rounds = matches!(nodes[rounding].layer, Layer::Quantize(_));
            let all = readers[rounding].clone();
            let in_8_bits = |taker: &usize| match nodes[*taker].layer {
                Layer::Linear(linear) => linear.int8,
                Layer::Attention(attention) => attention.int8,
                _ => false,
            };
            let fits = rounds && all.iter().all(in_8_bits) && !all.is_empty();
            (fits && !asked(norm) && !asked(rounding)).then_some((norm, rounding, all))
        })
        .collect()
}
