//! Convolutions that hold the norm which followed them.

use super::host::HostNetwork;
use crate::error::Result;
use crate::nn::Network;
use crate::nn::graph::{Builder, Graph, Layer, Node, Wire};

/// The same network without the batch norms that follow a convolution or a layer of neurons directly, whose weights and biases
/// do what the norms did with their running statistics:
///
/// `weight' = weight γ / sqrt(variance + ε)`, `bias' = (bias - mean) γ / sqrt(variance + ε) + β`
///
/// computed in f64. Other norms stay. The network is on the same device, and all of it is to be trained.
///
/// # Errors
/// When a value is not finite, or the device fails.
pub async fn fold_batch_norms(network: &Network) -> Result<Network> {
    let mut host = HostNetwork::read(network).await?;
    fold(&mut host)?;
    host.network_beside(network)
}

/// The norm that can be folded into each node.
fn norms(graph: &Graph) -> Vec<Option<usize>> {
    let nodes = graph.nodes();
    let readers = graph.readers();
    let folded = nodes.iter().enumerate().map(|(place, node)| {
        let folds = matches!(node.layer, Layer::Conv2d(_) | Layer::Linear(_));
        let asked = place == graph.output() || place == graph.features();
        match readers[place][..] {
            [norm] if folds && !asked && matches!(nodes[norm].layer, Layer::BatchNorm(_)) => {
                Some(norm)
            }
            _ => None,
        }
    });
    folded.collect()
}

/// Folds what can be folded.
pub(super) fn fold(host: &mut HostNetwork) -> Result<()> {
    let graph = host.graph.clone();
    let norms = norms(&graph);
    let mut builder = Builder::new(graph.input())?;
    // Where each node's output comes from then.
    let mut wires: Vec<Wire> = Vec::with_capacity(graph.nodes().len());
    for (place, node) in graph.nodes().iter().enumerate() {
        if norms.contains(&Some(place))
            && let [Wire::Node(before)] = node.inputs[..]
        {
            wires.push(wires[before]);
            continue;
        }
        let layer = match norms[place] {
            None => node.layer,
            Some(norm) => {
                weigh(host, node, &graph.nodes()[norm]);
                with_bias(node.layer)
            }
        };
        let moved = |wire: &Wire| match *wire {
            Wire::Input => Wire::Input,
            Wire::Node(before) => wires[before],
        };
        wires.push(builder.add(Node {
            layer,
            inputs: node.inputs.iter().map(moved).collect(),
            ..node.clone()
        })?);
    }
    let place = |node: usize| match wires[node] {
        Wire::Node(place) => place,
        Wire::Input => 0,
    };
    host.graph = builder.ending_at(place(graph.output()), place(graph.features()))?;
    Ok(())
}

fn with_bias(layer: Layer) -> Layer {
    match layer {
        Layer::Conv2d(conv) => Layer::Conv2d(crate::nn::graph::Conv2d { bias: true, ..conv }),
        Layer::Linear(linear) => Layer::Linear(crate::nn::graph::Linear {
            bias: true,
            ..linear
        }),
        other => other,
    }
}

/// Gives a node's weights what its norm does.
fn weigh(host: &mut HostNetwork, node: &Node, norm: &Node) {
    let Layer::BatchNorm(options) = norm.layer else {
        return;
    };
    let of = |host: &HostNetwork, field: &str| -> Vec<f64> {
        let values = host.values(&norm.name, field).unwrap_or_default();
        values.iter().map(|&value| f64::from(value)).collect()
    };
    let [gamma, beta, mean, variance] =
        ["gamma", "beta", "running_mean", "running_var"].map(|field| of(host, field));
    let factors: Vec<f64> = gamma
        .iter()
        .zip(&variance)
        .map(|(gamma, variance)| gamma / (variance + options.epsilon).sqrt())
        .collect();
    let before = host.values(&node.name, "bias").map(<[f32]>::to_vec);
    let bias = factors.iter().enumerate().map(|(channel, factor)| {
        let bias = before.as_ref().map_or(0.0, |bias| f64::from(bias[channel]));
        ((bias - mean[channel]) * factor + beta[channel]) as f32
    });
    let bias: Vec<f32> = bias.collect();
    let channels = factors.len();
    if let Some(weight) = host.values_mut(&node.name, "weight") {
        // `[filters, ...]` or `[inputs, outputs]`
        let inner = match node.layer {
            Layer::Conv2d(_) => weight.len() / channels,
            _ => 1,
        };
        for (place, value) in weight.iter_mut().enumerate() {
            let factor = factors[place / inner % channels];
            *value = (f64::from(*value) * factor) as f32;
        }
    }
    host.set(format!("{}.bias", node.name), vec![channels], bias);
    host.forget(
        &norm.name,
        &["gamma", "beta", "running_mean", "running_var"],
    );
}
