//! How much each channel matters.

use std::collections::HashMap;

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::trace::Role;
use super::{ChannelGroups, OPERATION};
use crate::device::Readback;
use crate::error::{Error, Result};
use crate::nn::Network;
use crate::rng::Rng;
use crate::train::weights::{self, NamedTensor};

/// By what channels are compared.
///
/// A channel `c` lies along several axes of weights: of the layer that makes it, of those that take it, of the norms between.
/// Along each it has a local score, the sum over all weights `w` that belong to it; biases, shifts and positions do not
/// count. Its score is the mean over these axes, divided by the mean score of the channels of its group:
///
/// `score(c) = mean_axes(sum_w(local(w))) / mean_group(mean_axes(sum_w(local(w))))`
///
/// as in Torch-Pruning with its defaults (`group_reduction="mean"`, `normalizer="mean"`): Fang et al., *DepGraph*, CVPR 2023
/// (arXiv 2301.12900). The channels with the lowest scores are removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Criterion {
    /// `|w|`. Li et al., *Pruning Filters for Efficient ConvNets*, ICLR 2017 (arXiv 1608.08710).
    L1,
    /// `w²`.
    L2,
    /// `|γ|` of norms alone; channels without a norm stay. Liu et al., *Network Slimming*, ICCV 2017 (arXiv 1708.06519).
    NormScale,
    /// `|w ∂loss/∂w|`, about how much the loss changes without `w`; gradients are sums over as many examples as the caller
    /// likes. The default. Molchanov et al., *Importance Estimation for Neural Network Pruning*, CVPR 2019 (arXiv
    /// 1906.10771).
    #[default]
    Taylor,
    /// The sum of the distances of a channel's filter to those of all others of its layer, `sum_j ||w_c - w_j||`: what lies
    /// near the geometric median can be replaced by the rest. Of the layers that make a channel alone. He et al., *Filter
    /// Pruning via Geometric Median*, CVPR 2019 (arXiv 1811.00250).
    GeometricMedian,
    /// By lot, to compare with.
    Random {
        /// Which lot.
        seed: u64,
    },
}

/// The score of each channel by its number; `None` of those that cannot be compared.
///
/// # Errors
/// When the device fails, when a weight or a gradient is not finite, and when gradients are needed and are not there.
pub(super) async fn scores(
    network: &Network,
    groups: &ChannelGroups,
    criterion: Criterion,
    gradients: Option<&GradientsParams>,
) -> Result<Vec<Option<f64>>> {
    let held: HashMap<String, NamedTensor> = weights::collect(network)
        .await?
        .into_iter()
        .map(|tensor| (tensor.name.clone(), tensor))
        .collect();
    check(network, &held, "a weight")?;
    if let Criterion::Random { seed } = criterion {
        let mut rng = Rng::new(seed);
        return Ok((0..groups.count()).map(|_| Some(rng.unit_f64())).collect());
    }
    let slopes = match (criterion, gradients) {
        (Criterion::Taylor, Some(gradients)) => read(network, gradients).await?,
        (Criterion::Taylor, None) => {
            let message = "the criterion needs gradients";
            return Err(Error::invalid(OPERATION, message)
                .expected("gradients of the loss")
                .got("none"));
        }
        _ => HashMap::new(),
    };
    check(network, &slopes, "a gradient")?;
    let mut sums = vec![(0.0, 0usize); groups.count()];
    for axis in &groups.axes {
        let counts = match criterion {
            Criterion::NormScale => axis.role == Role::Scale,
            Criterion::GeometricMedian => axis.role == Role::Filters,
            _ => axis.role != Role::Other,
        };
        if !counts {
            continue;
        }
        let node = &network.graph().nodes()[axis.node].name;
        let name = format!("{node}.{}", axis.field);
        let missing = |what: &str| {
            let message = format!("layer '{node}' has no {what} '{}'", axis.field);
            Error::invalid(OPERATION, message)
        };
        let weight = held.get(&name).ok_or_else(|| missing("value"))?;
        let local = match criterion {
            Criterion::GeometricMedian => distances(weight, axis.axis),
            Criterion::Taylor => {
                let slope = slopes.get(&name).ok_or_else(|| missing("gradient for"))?;
                let pairs = weight.values.iter().zip(&slope.values);
                let products = pairs.map(|(w, g)| (f64::from(*w) * f64::from(*g)).abs());
                along(&weight.shape, axis.axis, products)
            }
            Criterion::L2 => {
                let squares = weight.values.iter().map(|w| f64::from(*w).powi(2));
                along(&weight.shape, axis.axis, squares)
            }
            _ => {
                let sizes = weight.values.iter().map(|w| f64::from(w.abs()));
                along(&weight.shape, axis.axis, sizes)
            }
        };
        let mut own: HashMap<u32, f64> = HashMap::new();
        for (&channel, local) in axis.channels.iter().zip(local) {
            *own.entry(channel).or_default() += local;
        }
        for (channel, local) in own {
            let (sum, axes) = &mut sums[channel as usize];
            *sum += local;
            *axes += 1;
        }
    }
    let mean = |&(sum, axes): &(f64, usize)| (axes > 0).then(|| sum / axes as f64);
    let mut scores: Vec<Option<f64>> = sums.iter().map(mean).collect();
    for group in groups.groups() {
        let numbers = || group.numbers.iter().map(|&number| number as usize);
        let all: Vec<f64> = numbers().filter_map(|number| scores[number]).collect();
        let mean = all.iter().sum::<f64>() / all.len().max(1) as f64;
        if mean > 0.0 {
            for number in numbers() {
                scores[number] = scores[number].map(|score| score / mean);
            }
        }
    }
    Ok(scores)
}

/// The sum of `values`, which lie in this shape, for each index along an axis.
fn along(shape: &[usize], axis: usize, values: impl Iterator<Item = f64>) -> Vec<f64> {
    let inner: usize = shape[axis + 1..].iter().product();
    let mut sums = vec![0.0; shape[axis]];
    for (place, value) in values.enumerate() {
        sums[place / inner % shape[axis]] += value;
    }
    sums
}

/// For each index along an axis the sum of the distances of its values to those of all others.
fn distances(weight: &NamedTensor, axis: usize) -> Vec<f64> {
    let (count, all) = (weight.shape[axis], weight.values.len());
    let inner: usize = weight.shape[axis + 1..].iter().product();
    let mut rows = vec![Vec::with_capacity(all / count); count];
    for (place, value) in weight.values.iter().enumerate() {
        rows[place / inner % count].push(*value);
    }
    let mut sums = vec![0.0; count];
    for (index, row) in rows.iter().enumerate() {
        for (other, others) in rows.iter().enumerate().skip(index + 1) {
            let distance = distance(row, others);
            sums[index] += distance;
            sums[other] += distance;
        }
    }
    sums
}

fn distance(a: &[f32], b: &[f32]) -> f64 {
    /// Sums that a processor computes side by side.
    const LANES: usize = 8;
    let (a, a_rest) = a.as_chunks::<LANES>();
    let (b, b_rest) = b.as_chunks::<LANES>();
    let mut lanes = [0.0f32; LANES];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            let apart = a[lane] - b[lane];
            lanes[lane] += apart * apart;
        }
    }
    let rest = a_rest.iter().zip(b_rest).map(|(a, b)| (a - b) * (a - b));
    f64::from(lanes.into_iter().chain(rest).sum::<f32>()).sqrt()
}

/// Whether all is finite; `what` is what is looked at.
fn check(network: &Network, tensors: &HashMap<String, NamedTensor>, what: &str) -> Result<()> {
    for (name, _) in network.graph().tensors() {
        let values = tensors.get(&name).map_or(&[][..], |tensor| &tensor.values);
        if let Some(wrong) = values.iter().find(|value| !value.is_finite()) {
            let (node, field) = split(network, &name);
            let message = format!("layer '{node}' has {what} in '{field}' that is not finite");
            return Err(Error::bad_data(OPERATION, message).got(wrong));
        }
    }
    Ok(())
}

/// The names of the layer and of the value.
fn split<'a>(network: &Network, name: &'a str) -> (&'a str, &'a str) {
    let nodes = network.graph().nodes().iter();
    let own = |node: &str| name.strip_prefix(node)?.strip_prefix('.');
    let found = nodes.filter_map(|node| Some((node.name.len(), own(&node.name)?)));
    // Of `blocks.0.norm.gamma`, which `blocks.0` begins like, too, the node with the longest name.
    let longest = found.max_by_key(|(length, _)| *length);
    longest.map_or((name, name), |(length, field)| (&name[..length], field))
}

/// Gradients by the names of their weights, in one trip.
async fn read(
    network: &Network,
    gradients: &GradientsParams,
) -> Result<HashMap<String, NamedTensor>> {
    let mut visitor = Read {
        path: Vec::new(),
        gradients,
        found: Vec::new(),
        trip: Readback::new(),
    };
    network.visit(&mut visitor);
    let Read { found, trip, .. } = visitor;
    if found.is_empty() {
        return Ok(HashMap::new());
    }
    let read = found.into_iter().zip(trip.run_all().await?);
    let named = |((name, shape), values): ((String, Vec<usize>), Vec<f32>)| {
        let tensor = NamedTensor {
            name: name.clone(),
            shape,
            values,
        };
        (name, tensor)
    };
    Ok(read.map(named).collect())
}

struct Read<'a> {
    path: Vec<String>,
    gradients: &'a GradientsParams,
    found: Vec<(String, Vec<usize>)>,
    trip: Readback,
}

impl ModuleVisitor for Read<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(gradient) = self.gradients.get::<D>(param.id) else {
            return;
        };
        let shape = gradient.dims();
        if shape != param.val().dims() {
            // Of a network before it was pruned.
            return;
        }
        self.found.push((self.path.join("."), shape.to_vec()));
        self.trip = std::mem::take(&mut self.trip).with(gradient);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_scores_follow_the_axis() {
        let values: Vec<f32> = (0..12).map(|i| i as f32).collect();
        let weight = |shape: &[usize]| NamedTensor {
            name: "w".into(),
            shape: shape.to_vec(),
            values: values.clone(),
        };
        let sums = |shape: &[usize], axis| {
            let values = values.iter().map(|v| f64::from(*v));
            along(shape, axis, values)
        };
        assert_eq!(sums(&[3, 4], 0), [6.0, 22.0, 38.0]);
        assert_eq!(sums(&[3, 4], 1), [12.0, 15.0, 18.0, 21.0]);
        assert_eq!(sums(&[2, 3, 2], 1), [14.0, 22.0, 30.0]);
        // Rows 0 1 2 3, 4 5 6 7, 8 9 10 11: 8 between neighbours, 16 between the first and the last.
        assert_eq!(distances(&weight(&[3, 4]), 0), [24.0, 16.0, 24.0]);
        // Columns of three numbers that differ by 1 each.
        let apart = 3f64.sqrt();
        for (found, times) in distances(&weight(&[3, 4]), 1)
            .iter()
            .zip([6.0, 4.0, 4.0, 6.0])
        {
            assert!((found - times * apart).abs() < 1e-6);
        }
        let long = |from: u32| (from..from + 11).map(|i| i as f32).collect::<Vec<f32>>();
        assert!((distance(&long(0), &long(2)) - 44f64.sqrt()).abs() < 1e-6);
    }
}
