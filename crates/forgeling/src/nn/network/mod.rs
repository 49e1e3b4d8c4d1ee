//! A graph with its weights.
//!
//! - [`Network`]: made, run, adapted.
//! - `node_parameters`: what nodes hold.
//! - `part`: what the nodes of an item of the schedule hold, under their names.
//! - `adapted`: with a change of each convolution's weight.
//! - `int8`: layers that multiply bytes.
//! - `mix`: learned weights of a node's inputs.
//! - `normed`: batch norm as a pass asks for it.
//! - `tokens`: what layers of tokens do.
//! - `run`: what each operation does with tensors.
//! - `plan`: the same without tensors, for memory plans.

mod adapted;
mod int8;
mod mix;
mod node_parameters;
mod normed;
mod part;
mod plan;
mod run;
mod tokens;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use burn::module::{
    Content, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper, ModuleVisitor,
};
use burn::tensor::Tensor;

use self::int8::{Ground, Int8Layers};
pub use self::mix::MixValues;
pub use self::node_parameters::{
    AttentionValues, ConvValues, FusedAttentionValues, LinearValues, PatchValues, Values,
};
use self::part::{Held, Part};
use self::run::{Flow, Slots};
use super::Pass;
use super::graph::{Graph, Item, Layer, Schedule, Shape, Wire};
use crate::device::{Device, TensorDevice};
use crate::error::{Error, Result};
use crate::ops::takes_bytes;
use crate::rng::Rng;

/// A network: a [`Graph`] with weights.
///
/// Its values are named `node.field`, for example `blocks.0.norm.gamma`, in files, checkpoints and messages.
///
/// ```
/// use forgeling::burn::tensor::Tensor;
/// use forgeling::{Device, DeviceChoice};
/// use forgeling::nn::zoo::Conv4Config;
/// use forgeling::nn::{Network, Normalization, Pass, absorb};
///
/// # pollster::block_on(async {
/// let device = Device::open(DeviceChoice::Cpu).await?;
/// let graph = Conv4Config { filters: 4, ..Default::default() }.graph()?.with_outputs(5)?;
/// let network = Network::new(&graph, 0, &device);
/// let mut pass = Pass::new(Normalization::Batch, &device.autodiff());
/// let images = Tensor::ones([2, 1, 28, 28], &device.autodiff());
/// let logits = network.forward(images, &mut pass)?;
/// assert_eq!(logits.dims(), [2, 5]);
/// // The statistics of this batch go into those of the norms that found them.
/// let found = pass.take_statistics();
/// drop(pass);
/// let network = absorb(network, found)?;
/// assert_eq!(network.graph().trained_values(), 4 * 9 + 3 * (4 * 4 * 9) + 4 * 3 * 4 + 5 * 5);
/// # Ok::<(), forgeling::Error>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct Network {
    graph: Arc<Graph>,
    schedule: Arc<Schedule>,
    /// What each item of the schedule holds.
    parts: Vec<Part>,
    /// What multiplies bytes, with the values of the parts; shared by all that have the same.
    int8: Arc<OnceLock<Int8Layers>>,
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self
            .graph
            .nodes()
            .iter()
            .map(|node| &node.name[..])
            .collect();
        f.debug_struct("Network")
            .field("input", &self.graph.input())
            .field("nodes", &names)
            .finish_non_exhaustive()
    }
}

impl Network {
    /// A network with weights drawn from a seed, the same on every platform, ready to be trained.
    pub fn new(graph: &Graph, seed: u64, device: &Device) -> Self {
        Self::on(graph, seed, &device.autodiff())
    }

    /// As [`new`](Self::new), on a device of burn's, with or without automatic differentiation.
    pub fn on(graph: &Graph, seed: u64, device: &TensorDevice) -> Self {
        let mut streams: HashMap<u64, Rng> = HashMap::new();
        let mut values = HashMap::new();
        for (place, node) in graph.nodes().iter().enumerate() {
            let rng = streams
                .entry(node.stream)
                .or_insert_with(|| match node.stream {
                    0 => Rng::new(seed),
                    stream => Rng::new(seed).fork(stream),
                });
            let parameters = graph.parameters(place);
            if let Some(drawn) = Values::new(&node.layer, &parameters, rng, device) {
                values.insert(place, drawn);
            }
        }
        Self::of(graph.clone(), values)
    }

    /// A network of values by the places of their nodes.
    pub(crate) fn of(graph: Graph, mut values: HashMap<usize, Values>) -> Self {
        let schedule = Schedule::new(&graph);
        let mut parts = Vec::with_capacity(schedule.items.len());
        for item in &schedule.items {
            let mut places: Vec<usize> = match item {
                Item::Step(step) => step.operation.nodes(),
                Item::Block(region) => region
                    .steps
                    .iter()
                    .flat_map(|step| step.operation.nodes())
                    .collect(),
            };
            places.sort_unstable();
            let held = places.into_iter().filter_map(|node| {
                let name = graph.nodes()[node].name.as_str().into();
                let values = values.remove(&node)?;
                Some(Held { node, name, values })
            });
            parts.push(Part(held.collect()));
        }
        Self {
            graph: Arc::new(graph),
            schedule: Arc::new(schedule),
            parts,
            int8: Arc::default(),
        }
    }

    /// What it does.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// What a node holds, by its place in the graph.
    pub fn values(&self, node: usize) -> Option<&Values> {
        self.parts.iter().find_map(|part| part.of(node))
    }

    /// The same network with what `change` makes of what each node holds, given with the node's place.
    #[must_use]
    pub fn with_values(self, mut change: impl FnMut(usize, Values) -> Values) -> Self {
        let parts = self.parts.into_iter().map(|part| {
            let changed = |held: Held| Held {
                values: change(held.node, held.values),
                ..held
            };
            Part(part.0.into_iter().map(changed).collect())
        });
        Self {
            parts: parts.collect(),
            int8: Arc::default(),
            ..self
        }
    }

    /// The part of the network that makes features, with the same weights.
    #[must_use]
    pub fn encoder(&self) -> Self {
        self.up_to(self.graph.features())
    }

    /// Where each block, or layer of no block, ends: the places of their last nodes, in their order.
    pub fn ends(&self) -> Vec<usize> {
        let items = self.schedule.items.iter();
        let end = |item: &Item| match item {
            Item::Step(step) => step.output,
            Item::Block(region) => region.output,
        };
        items.map(end).collect()
    }

    /// The part of the network that the output of a node depends on, with the same weights.
    #[must_use]
    pub fn up_to(&self, node: usize) -> Self {
        let graph = self.graph.up_to(node);
        let values = graph
            .nodes()
            .iter()
            .enumerate()
            .filter_map(|(place, node)| {
                let values = self.values(self.graph.find(&node.name)?)?;
                Some((place, values.clone()))
            });
        let values = values.collect();
        Self::of(graph, values)
    }

    /// The outputs `[batch, outputs]` of images `[batch, channels, rows, columns]`. A network that takes values is given
    /// the pixels, channel after channel.
    ///
    /// # Errors
    /// When the images do not fit the network, or its output are no values.
    pub fn forward<'a>(&'a self, images: Tensor<4>, pass: &mut Pass<'a>) -> Result<Tensor<2>> {
        let input = self.input(images)?;
        self.values_at(self.graph.output(), input, pass)
    }

    /// The outputs `[batch, outputs]` of rows `[batch, values]`.
    ///
    /// # Errors
    /// When the rows do not fit the network, or its output are no values.
    pub fn forward_rows<'a>(&'a self, rows: Tensor<2>, pass: &mut Pass<'a>) -> Result<Tensor<2>> {
        let [batch, values] = rows.dims();
        if self.graph.input() != Shape::Values(values) || batch == 0 {
            return Err(self.misfit(&rows.dims()));
        }
        self.values_at(self.graph.output(), Flow::Rows(rows), pass)
    }

    /// The features of images as maps `[batch, channels, rows, columns]`; values have one row and column.
    ///
    /// # Errors
    /// When the images do not fit the network.
    pub fn features<'a>(&'a self, images: Tensor<4>, pass: &mut Pass<'a>) -> Result<Tensor<4>> {
        let input = self.input(images)?;
        let features = self.graph.features();
        match self.run(features, input, pass)? {
            Flow::Maps(maps) => Ok(maps),
            Flow::Rows(rows) => {
                let [all, width] = rows.dims();
                let per_example = self.graph.features_shape().len() / width;
                Ok(rows.reshape([all / per_example, per_example * width, 1, 1]))
            }
        }
    }

    fn values_at<'a>(&'a self, node: usize, input: Flow, pass: &mut Pass<'a>) -> Result<Tensor<2>> {
        if !matches!(self.graph.shape(Wire::Node(node)), Shape::Values(_)) {
            let shape = self.graph.shape(Wire::Node(node));
            return Err(
                Error::invalid("network", "the network's output are no values")
                    .expected("a network that ends in values, as `flatten` and `linear` give")
                    .got(shape),
            );
        }
        self.run(node, input, pass)?.rows()
    }

    /// Images as the network takes them.
    fn input(&self, images: Tensor<4>) -> Result<Flow> {
        let [batch, channels, rows, columns] = images.dims();
        let fits = match self.graph.input() {
            Shape::Maps(sizes) => sizes == [channels, rows, columns],
            Shape::Values(values) => values == channels * rows * columns,
            Shape::Tokens([tokens, width]) => [tokens, width] == [rows, columns] && channels == 1,
        };
        if !fits || batch == 0 {
            return Err(self.misfit(&images.dims()));
        }
        Ok(match self.graph.input() {
            Shape::Maps(_) => Flow::Maps(images),
            Shape::Values(_) => Flow::Rows(images.flatten(1, 3)),
            Shape::Tokens([tokens, width]) => Flow::Rows(images.reshape([batch * tokens, width])),
        })
    }

    fn misfit(&self, got: &[usize]) -> Error {
        let sizes: Vec<String> = self
            .graph
            .input()
            .sizes()
            .iter()
            .map(usize::to_string)
            .collect();
        Error::invalid("network", "the images do not fit the network")
            .expected(format!("[batch, {}], of at least one", sizes.join(", ")))
            .got(format!("{got:?}"))
    }

    /// What multiplies bytes, where this input and pass allow it.
    fn int8(&self, input: &Flow, pass: &Pass<'_>) -> Option<&Int8Layers> {
        let nodes = self.graph.nodes();
        let rounds = || {
            nodes
                .iter()
                .any(|node| matches!(node.layer, Layer::Quantize(_)))
        };
        let takes = match input {
            Flow::Maps(maps) => takes_bytes(maps),
            Flow::Rows(rows) => takes_bytes(rows),
        };
        (takes && !pass.is_observing() && rounds()).then(|| {
            let pack = || Int8Layers::new(&self.graph, &self.parts);
            self.int8.get_or_init(pack)
        })
    }

    /// Runs the schedule up to a node that is output or features.
    fn run<'a>(&'a self, until: usize, input: Flow, pass: &mut Pass<'a>) -> Result<Flow> {
        let graph = &*self.graph;
        let ground = Ground {
            graph,
            int8: self.int8(&input, pass),
        };
        let mut slots = Slots::new(graph, input);
        for (item, part) in self.schedule.items.iter().zip(&self.parts) {
            let output = match item {
                Item::Step(step) => {
                    let name = graph.nodes()[step.output].name.as_str();
                    let maps = matches!(graph.shape(Wire::Node(step.output)), Shape::Maps(_));
                    let flow = if maps {
                        let run =
                            |pass: &mut Pass<'a>| part.step(ground, step, &mut slots, pass)?.maps();
                        Flow::Maps(pass.part(name, run)?)
                    } else {
                        let run =
                            |pass: &mut Pass<'a>| part.step(ground, step, &mut slots, pass)?.rows();
                        Flow::Rows(pass.part(name, run)?)
                    };
                    slots.put(step.output, flow);
                    step.output
                }
                Item::Block(region) => {
                    let input = slots.take(region.input.wire, region.input.last)?;
                    let name = region.name.as_str();
                    let run = move |part: &Part, input: Flow, pass: &mut Pass<'_>| {
                        part.region(ground, region, input, pass)
                    };
                    let maps = matches!(graph.shape(Wire::Node(region.output)), Shape::Maps(_));
                    let flow = match (input, maps) {
                        (Flow::Maps(x), true) => {
                            let run = move |part: &Part, x, pass: &mut Pass<'_>| {
                                run(part, Flow::Maps(x), pass)?.maps()
                            };
                            Flow::Maps(pass.block(name, part, x, run)?)
                        }
                        (Flow::Maps(x), false) => {
                            let run = move |part: &Part, x, pass: &mut Pass<'_>| {
                                run(part, Flow::Maps(x), pass)?.rows()
                            };
                            Flow::Rows(pass.block(name, part, x, run)?)
                        }
                        (Flow::Rows(x), true) => {
                            let run = move |part: &Part, x, pass: &mut Pass<'_>| {
                                run(part, Flow::Rows(x), pass)?.maps()
                            };
                            Flow::Maps(pass.block(name, part, x, run)?)
                        }
                        (Flow::Rows(x), false) => {
                            let run = move |part: &Part, x, pass: &mut Pass<'_>| {
                                run(part, Flow::Rows(x), pass)?.rows()
                            };
                            Flow::Rows(pass.block(name, part, x, run)?)
                        }
                    };
                    slots.put(region.output, flow);
                    region.output
                }
            };
            if output == until {
                return slots.take(Wire::Node(until), true);
            }
        }
        Err(Error::invalid(
            "network",
            "the schedule does not reach the output",
        ))
    }
}

/// What burn derives would be named after the order of the parts.
impl Module for Network {
    fn collect_devices(&self, devices: Vec<TensorDevice>) -> Vec<TensorDevice> {
        let parts = self.parts.iter();
        parts.fold(devices, |devices, part| part.collect_devices(devices))
    }

    fn fork(self, device: &TensorDevice) -> Self {
        self.each(|part| part.fork(device))
    }

    fn to_device(self, device: &TensorDevice) -> Self {
        self.each(|part| part.to_device(device))
    }

    fn train(self) -> Self {
        self.each(Module::train)
    }

    fn valid(&self) -> Self {
        Self {
            graph: self.graph.clone(),
            schedule: self.schedule.clone(),
            parts: self.parts.iter().map(Module::valid).collect(),
            // The same values.
            int8: self.int8.clone(),
        }
    }

    fn materialize(self) -> Self {
        self.each(Module::materialize)
    }

    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        for part in &self.parts {
            part.visit(visitor);
        }
    }

    fn map<M: ModuleMapper>(self, mapper: &mut M) -> Self {
        self.each(|part| part.map(mapper))
    }
}

impl Network {
    fn each(self, change: impl FnMut(Part) -> Part) -> Self {
        Self {
            parts: self.parts.into_iter().map(change).collect(),
            int8: Arc::default(),
            ..self
        }
    }
}

impl ModuleDisplayDefault for Network {
    fn content(&self, content: Content) -> Option<Content> {
        let graph = &self.graph;
        content
            .add("input", &graph.input().to_string())
            .add("output", &graph.output_shape().to_string())
            .add("trained values", &graph.trained_values().to_string())
            .optional()
    }

    fn num_params(&self) -> usize {
        Module::num_params(self)
    }
}

impl ModuleDisplay for Network {}
