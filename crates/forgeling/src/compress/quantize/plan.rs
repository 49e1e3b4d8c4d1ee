//! Which layers work in 8 bits, and where values are rounded.

use std::collections::HashSet;
use std::fmt;

use serde::Serialize;

use super::{OPERATION, QuantizationConfig};
use crate::error::{Error, Result};
use crate::nn::graph::{
    Attention, Builder, Conv2d, Graph, Layer, Linear, Node, Patches, Quantize, Wire,
};

/// A layer with values that stays in f32.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FloatLayer {
    /// Its name.
    pub layer: String,
    /// What it is.
    pub kind: &'static str,
    /// Why.
    pub reason: &'static str,
}

/// Which layers of a network work in 8 bits: convolutions, layers of neurons, patches and the projections of attention. What
/// they take is rounded, once for all that take it; what a convolution gives, after its activation, too, unless it is the
/// network's output. Norms, GELU, softmax and sums are computed in f32.
#[derive(Debug, Clone, PartialEq)]
pub struct QuantizationPlan {
    graph: Graph,
    layers: Vec<String>,
    float: Vec<FloatLayer>,
}

/// A layer in 8 bits, if it can work so.
fn in_8_bits(layer: Layer) -> Option<Layer> {
    Some(match layer {
        Layer::Conv2d(conv) => Layer::Conv2d(Conv2d { int8: true, ..conv }),
        Layer::Linear(linear) => Layer::Linear(Linear {
            int8: true,
            ..linear
        }),
        Layer::Patches(patches) => Layer::Patches(Patches {
            int8: true,
            ..patches
        }),
        Layer::Attention(attention) => Layer::Attention(Attention {
            int8: true,
            ..attention
        }),
        _ => return None,
    })
}

impl QuantizationPlan {
    /// Plans it for a graph in f32, whose batch norms are [folded](super::fold_batch_norms) where they can be.
    ///
    /// # Errors
    /// When a number is out of range, there is no layer of a name that is to stay, no layer that can work in 8 bits, or the
    /// graph already has some that do.
    pub fn new(graph: &Graph, config: &QuantizationConfig) -> Result<Self> {
        config.validate()?;
        let nodes = graph.nodes();
        for name in &config.float_layers {
            if graph.find(name).is_none() {
                let message = "there is no layer of this name to leave in f32";
                return Err(Error::invalid(OPERATION, message).got(format!("'{name}'")));
            }
        }
        if let Some(node) = nodes
            .iter()
            .find(|node| matches!(node.layer, Layer::Quantize(_)))
        {
            let message = format!("layer '{}' already rounds values", node.name);
            return Err(Error::invalid(OPERATION, message).expected("a network in f32"));
        }
        let stays = |node: &Node| config.float_layers.contains(&node.name);
        let changed = |node: &Node| match stays(node) {
            true => None,
            false => in_8_bits(node.layer),
        };
        let (mut layers, mut float) = (Vec::new(), Vec::new());
        for (place, node) in nodes.iter().enumerate() {
            if changed(node).is_some() {
                layers.push(node.name.clone());
            } else if !graph.parameters(place).is_empty() {
                float.push(FloatLayer {
                    layer: node.name.clone(),
                    kind: node.layer.kind(),
                    reason: match (stays(node), node.layer) {
                        (true, _) => "asked for",
                        (_, Layer::BatchNorm(_)) => "does not follow a convolution alone",
                        _ => "computed in f32",
                    },
                });
            }
        }
        if layers.is_empty() {
            return Err(Error::invalid(OPERATION, "no layer can work in 8 bits")
                .expected("a convolution, a layer of neurons, patches or attention"));
        }
        let rounded = rounded(graph, |node| changed(node).is_some());
        let mut builder = Builder::new(graph.input())?;
        // Where what each node gave comes from now.
        let mut wires: Vec<Wire> = Vec::with_capacity(nodes.len());
        let round = |builder: &mut Builder, before: &str, wire: Wire| {
            builder.add(Node {
                name: builder.free(&format!("{before}_rounded")),
                layer: Layer::Quantize(Quantize::default()),
                inputs: vec![wire],
                stream: 0,
            })
        };
        let mut input = Wire::Input;
        if rounded.contains(&Wire::Input) {
            input = round(&mut builder, "input", Wire::Input)?;
        }
        for (place, node) in nodes.iter().enumerate() {
            let moved = |wire: &Wire| match *wire {
                Wire::Input => input,
                Wire::Node(before) => wires[before],
            };
            let mut wire = builder.add(Node {
                layer: changed(node).unwrap_or(node.layer),
                inputs: node.inputs.iter().map(moved).collect(),
                ..node.clone()
            })?;
            if rounded.contains(&Wire::Node(place)) {
                wire = round(&mut builder, &node.name, wire)?;
            }
            wires.push(wire);
        }
        let place = |node: usize| match wires[node] {
            Wire::Node(place) => place,
            Wire::Input => 0,
        };
        Ok(Self {
            graph: builder.ending_at(place(graph.output()), place(graph.features()))?,
            layers,
            float,
        })
    }

    /// The graph, with layers that round values, whose zero points are not known yet.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The layers that work in 8 bits.
    pub fn layers(&self) -> &[String] {
        &self.layers
    }

    /// The layers with values that do not.
    pub fn float_layers(&self) -> &[FloatLayer] {
        &self.float
    }

    /// Bytes of all values, with weights in 8 bits and all else in 32, and of the same network in f32.
    pub fn bytes(&self) -> [u64; 2] {
        let int8 = self.graph.int8_weights();
        let mut bytes = [0; 2];
        for (name, value) in self.graph.tensors() {
            let count = value.len() as u64;
            bytes[0] += count * if int8.contains_key(&name) { 1 } else { 4 };
            if !value.is_scale() {
                bytes[1] += 4 * count;
            }
        }
        bytes
    }
}

/// What is to be rounded.
fn rounded(graph: &Graph, int8: impl Fn(&Node) -> bool) -> HashSet<Wire> {
    let nodes = graph.nodes();
    let readers = graph.readers();
    let taken = nodes.iter().filter(|node| int8(node));
    let mut rounded: HashSet<Wire> = taken.map(|node| graph.origin(node.inputs[0])).collect();
    // After a convolution, too, so that nothing else is done to its sums than to round them.
    for (place, node) in nodes.iter().enumerate() {
        if !(int8(node) && matches!(node.layer, Layer::Conv2d(_))) {
            continue;
        }
        let mut last = place;
        if let [next] = readers[place][..]
            && matches!(nodes[next].layer, Layer::Relu | Layer::Relu6)
        {
            last = next;
        }
        if last != graph.output() {
            rounded.insert(Wire::Node(last));
        }
    }
    rounded
}

impl fmt::Display for QuantizationPlan {
    /// The layers, and what they come to.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "8 bits: {}", self.layers.join(", "))?;
        for FloatLayer {
            layer,
            kind,
            reason,
        } in &self.float
        {
            writeln!(f, "f32: {layer} ({kind}): {reason}")?;
        }
        let [after, before] = self.bytes();
        let left = 100.0 * after as f64 / before.max(1) as f64;
        write!(f, "{after} bytes of values, {left:.1} % of {before}")
    }
}
