//! A network without some of its channels.

use std::collections::{BTreeMap, HashMap};

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Int, Tensor, TensorData};

use super::groups::places;
use super::{ChannelGroups, OPERATION};
use crate::error::{Error, Result};
use crate::nn::graph::{Attention, Conv2d, Graph, Layer, Linear, Patches, Wire};
use crate::nn::{Network, Values};
use crate::train::{AnyOptimizer, in_place_of};

/// What is left along the axes of a node's values.
type Kept = HashMap<&'static str, Vec<(usize, Vec<usize>)>>;

/// Which channels go, and what is left then.
#[derive(Debug)]
pub(super) struct Cut {
    pub graph: Graph,
    /// Of a node's values by their names, what is left along each axis that loses something.
    kept: BTreeMap<usize, Kept>,
}

impl Cut {
    /// `removed` says of each channel whether it goes.
    ///
    /// # Errors
    /// When a layer would have no channel left.
    pub fn new(graph: &Graph, groups: &ChannelGroups, removed: &[bool]) -> Result<Self> {
        let stays = |channel: u32| !removed[channel as usize];
        let axes = groups.axes.iter().map(|axis| (axis.node, &axis.channels));
        let wires = groups.wires.iter().enumerate();
        for (node, channels) in wires.chain(axes) {
            if !channels.iter().any(|&channel| stays(channel)) {
                let name = &graph.nodes()[node].name;
                let message = format!("layer '{name}' would have no channel left");
                return Err(Error::invalid(OPERATION, message)
                    .expected("at least one of its channels to stay")
                    .got(format!("all {} removed", channels.len())));
            }
        }
        let mut kept: BTreeMap<usize, Kept> = BTreeMap::new();
        for axis in &groups.axes {
            let left = places(&axis.channels, stays);
            if left.len() < axis.channels.len() {
                let node = kept.entry(axis.node).or_default();
                node.entry(axis.field).or_default().push((axis.axis, left));
            }
        }
        let resizing = Resizing {
            graph,
            groups,
            removed,
        };
        Ok(Self {
            graph: resizing.graph()?,
            kept,
        })
    }

    /// The network that is left, on the same device, frozen where it was.
    pub fn network(&self, network: &Network) -> Result<Network> {
        let mut values = HashMap::new();
        for (place, node) in network.graph().nodes().iter().enumerate() {
            let Some(held) = network.values(place) else {
                continue;
            };
            if matches!(held, Values::Conv(conv) if conv.lora.is_some()) {
                let message = format!("layer '{}' has an adapter", node.name);
                return Err(Error::invalid(OPERATION, message)
                    .expected("a network whose adapters are merged"));
            }
            let held = held.clone();
            let held = match self.kept.get(&place) {
                Some(kept) => held.map(&mut Slice {
                    path: Vec::new(),
                    kept,
                }),
                None => held,
            };
            values.insert(place, held);
        }
        Ok(Network::of(self.graph.clone(), values))
    }

    /// Tells the optimizer of `network` what is left; an error changes nothing.
    pub fn optimizer(&self, network: &Network, optimizer: &mut AnyOptimizer) -> Result<()> {
        let mut changed = optimizer.clone();
        for (place, kept) in &self.kept {
            let Some(held) = network.values(*place) else {
                continue;
            };
            let mut shrink = Shrink {
                path: Vec::new(),
                kept,
                optimizer: &mut changed,
                problem: None,
            };
            held.visit(&mut shrink);
            if let Some(problem) = shrink.problem {
                return Err(problem);
            }
        }
        *optimizer = changed;
        Ok(())
    }
}

struct Slice<'a> {
    path: Vec<String>,
    kept: &'a Kept,
}

impl ModuleMapper for Slice<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(axes) = self.kept.get(&self.path.join(".")[..]) else {
            return param;
        };
        param.map(|old| {
            let mut left = old.clone().without_autodiff();
            for (axis, kept) in axes {
                let indices: Vec<i32> = kept.iter().map(|&index| index as i32).collect();
                let indices = TensorData::new(indices, [kept.len()]);
                let indices = Tensor::<1, Int>::from_data(indices, &left.device());
                left = left.select(*axis, indices);
            }
            in_place_of(&old, left)
        })
    }
}

struct Shrink<'a> {
    path: Vec<String>,
    kept: &'a Kept,
    optimizer: &'a mut AnyOptimizer,
    problem: Option<Error>,
}

impl ModuleVisitor for Shrink<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(axes) = self.kept.get(&self.path.join(".")[..]) else {
            return;
        };
        let mut all: Vec<Vec<usize>> = param.val().dims().map(|side| (0..side).collect()).into();
        for (axis, kept) in axes {
            all[*axis].clone_from(kept);
        }
        if let Err(problem) = self.optimizer.shrink(param.id, &all) {
            self.problem.get_or_insert(problem);
        }
    }
}

/// Writes the sizes of what is left into layers.
struct Resizing<'a> {
    graph: &'a Graph,
    groups: &'a ChannelGroups,
    removed: &'a [bool],
}

impl Resizing<'_> {
    fn graph(&self) -> Result<Graph> {
        self.graph
            .with_layers(|place, layer| self.layer(place, layer))
    }

    fn layer(&self, place: usize, layer: Layer) -> Layer {
        match layer {
            Layer::Conv2d(conv) => Layer::Conv2d(self.convolution(place, conv)),
            Layer::Linear(linear) => Layer::Linear(Linear {
                outputs: self.along(place, "weight", 1),
                ..linear
            }),
            Layer::Patches(patches) => Layer::Patches(Patches {
                width: self.along(place, "weight", 1),
                ..patches
            }),
            Layer::Channels(mut part) => {
                if let Wire::Node(before) = self.graph.nodes()[place].inputs[0] {
                    let input = &self.groups.wires[before];
                    part.count = self.left(&input[part.from..part.from + part.count]);
                    part.from = self.left(&input[..part.from]);
                }
                Layer::Channels(part)
            }
            Layer::Attention(attention) => Layer::Attention(self.attention(place, attention)),
            // These are as wide as what they take.
            Layer::BatchNorm(_)
            | Layer::LayerNorm(_)
            | Layer::Relu
            | Layer::Relu6
            | Layer::Gelu
            | Layer::MaxPool(_)
            | Layer::MeanPool(_)
            | Layer::GlobalMeanPool
            | Layer::FirstToken
            | Layer::Flatten
            | Layer::Luminance(_)
            | Layer::Add
            | Layer::Mix(_)
            | Layer::Concat
            | Layer::Quantize(_) => layer,
        }
    }

    fn convolution(&self, place: usize, conv: Conv2d) -> Conv2d {
        let input = self.graph.input_shapes(place)[0].sizes()[0];
        let depthwise = conv.groups > 1 && input == conv.groups;
        let filters = self.along(place, "weight", 0);
        Conv2d {
            filters,
            // Each channel has as many filters as before.
            groups: match depthwise {
                true => filters / (conv.filters / conv.groups),
                false => conv.groups,
            },
            ..conv
        }
    }

    fn attention(&self, place: usize, attention: Attention) -> Attention {
        let node = &self.graph.nodes()[place];
        let width = self.graph.shape(node.inputs[0]).sizes()[1];
        let before = attention.head_width(width);
        let inner = self.groups.axis(place, "project.weight", 0);
        let inner = inner.unwrap_or_default();
        let stays = |&channel: &u32| !self.removed[channel as usize];
        let heads = inner.chunks_exact(before);
        let heads = heads.filter(|head| head.iter().any(stays)).count();
        let after = self.left(inner) / heads.max(1);
        let left = self.groups.wires[place]
            .iter()
            .filter(|channel| stays(channel));
        let usual = left.count() == heads * after && attention.head_width.is_none();
        Attention {
            heads,
            head_width: (!usual).then_some(after),
            scale: match after == before {
                true => attention.scale,
                false => Some(attention.scale.unwrap_or(1.0 / (before as f64).sqrt())),
            },
            ..attention
        }
    }

    fn along(&self, place: usize, field: &str, axis: usize) -> usize {
        self.groups
            .axis(place, field, axis)
            .map_or(0, |channels| self.left(channels))
    }

    fn left(&self, channels: &[u32]) -> usize {
        let stays = |channel: &&u32| !self.removed[**channel as usize];
        channels.iter().filter(stays).count()
    }
}
