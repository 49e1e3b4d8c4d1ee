//! A network as a value: what it does, without weights and without a device.
//!
//! - [`Graph`], [`Node`]: which layer takes what; [`Builder`]: how one is made.
//! - [`Layer`] and its options: `layer`, `attention`, `pathway`.
//! - [`Shape`]: what goes from node to node, what nodes hold and cost: `shape`.
//! - [`NetworkSummary`]: what a network holds and costs.
//! - `written`: a graph in JSON.
//! - `blocks`: which nodes are a block, by their names.
//! - `schedule`: which neighbours run as one operation, in which order.

mod attention;
mod blocks;
mod builder;
mod layer;
mod pathway;
mod quantize;
mod schedule;
mod shape;
mod summary;
mod written;

use std::collections::HashSet;

pub use attention::Attention;
pub use builder::Builder;
pub use layer::{Border, Conv2d, Initial, Layer, Linear, Norm, Padding, Patches, Window};
pub use pathway::{Channels, Luminance, LuminanceStandard, Mix};
pub use quantize::Quantize;
pub(crate) use schedule::{Item, Operation, Region, Schedule, Step};
use serde::{Deserialize, Serialize};
pub(crate) use shape::is_scale;
pub use shape::{Parameter, Shape};
pub use summary::{LayerSummary, NetworkSummary};

use crate::error::{Error, Result};
use crate::image_shape::ImageShape;
use crate::nn::Counts;

const OPERATION: &str = "graph";
/// More than any network that this library is made for.
const MOST_NODES: usize = 10_000;
/// Values of all nodes together: 2 GiB in f32.
const MOST_VALUES: u64 = 1 << 29;
const LONGEST_NAME: usize = 200;

/// A network described as data: nodes, each with a layer and the nodes that it takes, from an input of one shape to an
/// output.
///
/// A graph is checked when it is made, also one that is read: names are unique, wires lead to nodes before, and every
/// shape fits. All else about a network is derived from it: its forward pass ([`Network`](super::Network)), its memory
/// plan ([`Planned`](super::Planned)), its counts, and its drawing.
///
/// ```
/// use forgeling::nn::graph::{Builder, Conv2d, Layer, Linear, Norm, Shape, Window};
///
/// let mut graph = Builder::new(Shape::Maps([1, 28, 28]))?;
/// graph.then("conv", Layer::Conv2d(Conv2d::new(32, 3)))?;
/// graph.then("norm", Layer::BatchNorm(Norm::default()))?;
/// graph.then("relu", Layer::Relu)?;
/// graph.then("pool", Layer::MaxPool(Window::default()))?;
/// graph.then("flatten", Layer::Flatten)?;
/// graph.then("head", Layer::Linear(Linear::new(10)))?;
/// let graph = graph.finish()?;
/// assert_eq!(graph.output_shape(), Shape::Values(10));
/// assert_eq!(graph.trained_values(), 32 * 9 + 32 + 2 * 32 + (32 * 13 * 13 + 1) * 10);
///
/// // The same as an object, as a page or a file says it.
/// let written = r#"{ "input": [1, 28, 28], "layers": [
///     { "conv2d": { "filters": 32, "kernel": 3 } }, "batchNorm", "relu", "maxPool", "flatten",
///     { "linear": { "outputs": 10 } }
/// ] }"#;
/// let read: forgeling::nn::graph::Graph = serde_json::from_str(written)?;
/// assert_eq!(read.trained_values(), graph.trained_values());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "serde_json::Value", into = "serde_json::Value")]
pub struct Graph {
    input: Shape,
    nodes: Vec<Node>,
    /// Of each node's output.
    shapes: Vec<Shape>,
    output: usize,
    features: usize,
}

/// A layer with its name and what it takes.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Unique in its graph. What comes before the last dots groups nodes to blocks; see [`Graph::block`].
    pub name: String,
    /// What it does.
    pub layer: Layer,
    /// What it takes.
    pub inputs: Vec<Wire>,
    /// Weights of nodes with another number than 0 are drawn from a stream of their own, so that they do not depend on
    /// how many numbers other nodes took.
    pub stream: u64,
}

/// Where a node's input comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wire {
    /// The graph's input.
    Input,
    /// The output of the node with this place, which comes before.
    Node(usize),
}

/// An error of a graph.
fn invalid(message: impl Into<String>) -> Error {
    Error::invalid(OPERATION, message)
}

impl Graph {
    /// The shape of an example.
    pub fn input(&self) -> Shape {
        self.input
    }

    /// The images that the network takes; values are an image of one row, tokens one of a row each.
    pub fn image_shape(&self) -> ImageShape {
        match self.input {
            Shape::Maps([channels, height, width]) => ImageShape::new(channels, height, width),
            Shape::Tokens([tokens, width]) => ImageShape::new(1, tokens, width),
            Shape::Values(values) => ImageShape::new(1, 1, values),
        }
    }

    /// The nodes, each after those that it takes.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The place of the node of this name.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.nodes.iter().position(|node| node.name == name)
    }

    /// The place of the node whose output is the network's.
    pub fn output(&self) -> usize {
        self.output
    }

    /// The place of the node whose output an encoder gives: what the last layer of neurons takes.
    pub fn features(&self) -> usize {
        self.features
    }

    /// What the network's output is.
    pub fn output_shape(&self) -> Shape {
        self.shapes[self.output]
    }

    /// What the features are.
    pub fn features_shape(&self) -> Shape {
        self.shapes[self.features]
    }

    /// The shape at some place.
    pub fn shape(&self, wire: Wire) -> Shape {
        match wire {
            Wire::Input => self.input,
            Wire::Node(node) => self.shapes[node],
        }
    }

    /// The shapes that a node takes.
    pub fn input_shapes(&self, node: usize) -> Vec<Shape> {
        let wires = self.nodes[node].inputs.iter();
        wires.map(|wire| self.shape(*wire)).collect()
    }

    /// What a node holds.
    pub fn parameters(&self, node: usize) -> Vec<Parameter> {
        let inputs = self.input_shapes(node);
        self.nodes[node].layer.parameters(&inputs)
    }

    /// Values that training changes.
    pub fn trained_values(&self) -> u64 {
        self.count(|parameter| parameter.trained)
    }

    /// Values that belong to the network but are not trained: running statistics.
    pub fn buffer_values(&self) -> u64 {
        self.count(|parameter| !parameter.trained)
    }

    /// Both.
    pub fn counts(&self) -> Counts {
        Counts {
            trained: self.trained_values(),
            buffers: self.buffer_values(),
        }
    }

    fn count(&self, counts: impl Fn(&Parameter) -> bool) -> u64 {
        let all = (0..self.nodes.len()).flat_map(|node| self.parameters(node));
        all.filter(counts)
            .map(|parameter| parameter.len() as u64)
            .sum()
    }

    /// Multiplications with additions for one example: those of convolutions, layers of neurons and attention.
    pub fn multiply_adds(&self) -> u64 {
        (0..self.nodes.len())
            .map(|node| self.multiply_adds_of(node))
            .sum()
    }

    /// As [`multiply_adds`](Self::multiply_adds), of one node.
    pub fn multiply_adds_of(&self, node: usize) -> u64 {
        let input = self.shape(self.nodes[node].inputs[0]);
        self.nodes[node]
            .layer
            .multiply_adds(input, self.shapes[node])
    }

    /// The names and sizes of all values, as they stand in files: `node.field`.
    pub fn tensors(&self) -> impl Iterator<Item = (String, Parameter)> {
        self.nodes.iter().enumerate().flat_map(|(place, node)| {
            let parameters = self.parameters(place).into_iter();
            parameters
                .map(move |parameter| (format!("{}.{}", node.name, parameter.field), parameter))
        })
    }

    /// The same network for so many classes: as it is if it has as many outputs, and with a head
    /// ([`with_outputs`](Self::with_outputs)) if it does not end in a layer of neurons.
    ///
    /// # Errors
    /// When it ends in a layer with another number of neurons.
    pub fn for_classes(&self, classes: usize) -> Result<Self> {
        let node = &self.nodes[self.output];
        match node.layer {
            Layer::Linear(linear) if linear.outputs == classes => Ok(self.clone()),
            Layer::Linear(linear) => Err(invalid(format!(
                "layer '{}' (linear) has not one output for each class",
                node.name
            ))
            .expected(classes)
            .got(linear.outputs)),
            _ => self.with_outputs(classes),
        }
    }

    /// The part of the graph that makes features: without what is only needed for the output.
    #[must_use]
    pub fn encoder(&self) -> Self {
        self.up_to(self.features)
    }

    /// The same network, whose output are features: for metric learners that compare the outputs.
    #[must_use]
    pub fn as_encoder(mut self) -> Self {
        self.features = self.output;
        self
    }

    /// The part of the graph that the output of a node depends on, which is then output and features.
    #[must_use]
    pub fn up_to(&self, output: usize) -> Self {
        let mut needed = vec![false; self.nodes.len()];
        needed[output] = true;
        for place in (0..=output)
            .rev()
            .filter(|&place| needed[place])
            .collect::<Vec<_>>()
        {
            mark(&self.nodes, place, &mut needed);
        }
        let mut places = vec![0; self.nodes.len()];
        let (mut nodes, mut shapes) = (Vec::new(), Vec::new());
        for (place, node) in self.nodes.iter().enumerate() {
            if !needed[place] {
                continue;
            }
            places[place] = nodes.len();
            let moved = |wire: &Wire| match wire {
                Wire::Input => Wire::Input,
                Wire::Node(before) => Wire::Node(places[*before]),
            };
            nodes.push(Node {
                inputs: node.inputs.iter().map(moved).collect(),
                ..node.clone()
            });
            shapes.push(self.shapes[place]);
        }
        let output = nodes.len() - 1;
        Self {
            input: self.input,
            nodes,
            shapes,
            output,
            features: output,
        }
    }

    /// The same network for images whose channels were standardised, `(x - mean) / deviation` each: layers of luminance that
    /// take them undo it.
    ///
    /// # Errors
    /// When the images have other channels than the constants, or a constant cannot be used.
    pub fn standardized(mut self, mean: &[f64], deviation: &[f64]) -> Result<Self> {
        let channels = self.image_shape().channels;
        if [mean.len(), deviation.len()] != [channels; 2] {
            return Err(invalid("the images have other channels than the constants")
                .expected(format!("{channels} means and deviations"))
                .got(format!("{} and {}", mean.len(), deviation.len())));
        }
        for node in &mut self.nodes {
            if let Layer::Luminance(luminance) = &mut node.layer
                && node.inputs == [Wire::Input]
            {
                luminance.mean.copy_from_slice(mean);
                luminance.deviation.copy_from_slice(deviation);
                let problem = |problem| invalid(format!("layer '{}': {problem}", node.name));
                luminance.output(self.input).map_err(problem)?;
            }
        }
        Ok(self)
    }

    /// The same network with so many outputs: its last layer of neurons has as many, in f32 where they are others, or where the
    /// output comes of another layer, one named `head` follows, after flattening if need be. Its weights have a stream of their own.
    ///
    /// # Errors
    /// When there is no output, or too many.
    pub fn with_outputs(&self, outputs: usize) -> Result<Self> {
        let mut builder = Builder::from(self);
        if let Layer::Linear(linear) = self.nodes[self.output].layer {
            // Scales belong to the weights that there were.
            let int8 = linear.int8 && linear.outputs == outputs;
            let last = Layer::Linear(Linear {
                outputs,
                int8,
                ..linear
            });
            return self.with_layers(|place, layer| match place == self.output {
                true => last,
                false => layer,
            });
        }
        let mut from = Wire::Node(self.output);
        if !matches!(self.shapes[self.output], Shape::Values(_)) {
            from = builder.add(Node {
                name: builder.free("flatten"),
                layer: Layer::Flatten,
                inputs: vec![from],
                stream: 0,
            })?;
        }
        let head = Node {
            name: builder.free("head"),
            layer: Layer::Linear(Linear::new(outputs)),
            inputs: vec![from],
            stream: HEAD_STREAM,
        };
        builder.add(head)?;
        let output = builder.len() - 1;
        builder.ending_at(output, self.features)
    }

    /// Who takes each node's output; twice where it is taken twice.
    pub(crate) fn readers(&self) -> Vec<Vec<usize>> {
        let mut readers = vec![Vec::new(); self.nodes.len()];
        for (place, node) in self.nodes.iter().enumerate() {
            for wire in &node.inputs {
                if let Wire::Node(before) = *wire {
                    readers[before].push(place);
                }
            }
        }
        readers
    }

    /// Where the values of a wire come from, through layers that pass some of them on as they are.
    pub(crate) fn origin(&self, wire: Wire) -> Wire {
        let mut at = wire;
        while let Wire::Node(node) = at
            && self.nodes[node].layer.passes_on()
        {
            at = self.nodes[node].inputs[0];
        }
        at
    }

    /// The same nodes with what `change` makes of their layers, given with their places.
    ///
    /// # Errors
    /// When a layer does not take what the one before gives.
    pub(crate) fn with_layers(&self, change: impl Fn(usize, Layer) -> Layer) -> Result<Self> {
        let mut builder = Builder::new(self.input)?;
        for (place, node) in self.nodes.iter().enumerate() {
            builder.add(Node {
                layer: change(place, node.layer),
                ..node.clone()
            })?;
        }
        builder.ending_at(self.output, self.features)
    }

    /// The block that a node belongs to: the first part of its name, and the second if that is a number, where that is
    /// not the whole name of a node by itself. `blocks.0.norm` belongs to `blocks.0`.
    pub fn block(&self, node: usize) -> Option<&str> {
        blocks::of(self, node)
    }
}

/// A head's weights do not depend on how many numbers the encoder's took.
pub(super) const HEAD_STREAM: u64 = 1;

fn mark(nodes: &[Node], place: usize, needed: &mut [bool]) {
    let mut next = vec![place];
    while let Some(place) = next.pop() {
        for wire in &nodes[place].inputs {
            if let Wire::Node(before) = *wire
                && !std::mem::replace(&mut needed[before], true)
            {
                next.push(before);
            }
        }
    }
}

/// Whether a name may be one of a node.
fn check_name(name: &str) -> Result<()> {
    let part = |part: &str| {
        let may = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        !part.is_empty() && part.chars().all(may)
    };
    if name.len() > LONGEST_NAME || !name.split('.').all(part) || name == "input" {
        let shown: String = name.chars().take(40).collect();
        return Err(invalid("not a name of a layer")
            .expected("letters, digits, - and _, in parts that dots join, and not 'input'")
            .got(format!("'{shown}'")));
    }
    Ok(())
}

/// Whether no two values have one name.
fn check_tensors(graph: &Graph) -> Result<()> {
    let mut seen = HashSet::new();
    let mut total = 0u64;
    for (name, parameter) in graph.tensors() {
        total += parameter.len() as u64;
        if !seen.insert(name.clone()) {
            return Err(invalid(format!("two values would have the name '{name}'")));
        }
    }
    if total > MOST_VALUES {
        return Err(invalid("too many values")
            .expected(format!("at most {MOST_VALUES}"))
            .got(total));
    }
    Ok(())
}
