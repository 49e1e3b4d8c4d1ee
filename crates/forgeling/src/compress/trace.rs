//! Where each channel of a network goes: from the layer that makes it through all that carries it to all that takes it.

use super::HeadPruning;
use crate::error::{Error, Result};
use crate::nn::graph::{Attention, Conv2d, Graph, Layer, Shape, Wire};

/// The channels that stay whatever is removed: those of the input, of the output, and of protected layers.
pub(super) const FIXED: u32 = 0;

/// What a layer's values along an axis are to the channels of that axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// What makes each channel.
    Filters,
    /// What is made of each channel.
    Inputs,
    /// What a norm multiplies each channel with.
    Scale,
    /// Biases, shifts, statistics and positions.
    Other,
}

/// An axis of a layer's values along which channels lie.
#[derive(Debug, Clone)]
pub(super) struct Axis {
    pub node: usize,
    pub field: &'static str,
    pub axis: usize,
    pub role: Role,
    /// Which channel each index is of.
    pub channels: Vec<u32>,
}

/// A layer that makes channels of its own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Maker {
    pub node: usize,
    /// Its first channel, before channels were tied.
    pub first: u32,
}

/// Channels as they go through a graph. Those that only go together have one number.
#[derive(Debug)]
pub(super) struct Trace {
    pub axes: Vec<Axis>,
    /// The channels of each node's output.
    pub wires: Vec<Vec<u32>>,
    /// In the order of their first channels.
    pub makers: Vec<Maker>,
    /// Which channel each one that was made has become part of: the first of them.
    pub tied: Vec<u32>,
}

impl Trace {
    pub fn of(graph: &Graph, heads: HeadPruning, protected: &[String]) -> Result<Self> {
        let mut tracer = Tracer {
            graph,
            heads,
            parents: vec![FIXED],
            axes: Vec::new(),
            wires: Vec::new(),
            makers: Vec::new(),
        };
        for place in 0..graph.nodes().len() {
            let output = tracer.node(place);
            tracer.wires.push(output);
        }
        tracer.fix_output(graph.output());
        for name in protected {
            let place = graph.find(name).ok_or_else(|| {
                let message = "there is no layer of this name to protect";
                Error::invalid(super::OPERATION, message).got(format!("'{name}'"))
            })?;
            tracer.fix_output(place);
            tracer.fix_made(place);
        }
        Ok(tracer.finish())
    }
}

struct Tracer<'a> {
    graph: &'a Graph,
    heads: HeadPruning,
    /// For each channel one that it is tied to, with a number that is not larger.
    parents: Vec<u32>,
    axes: Vec<Axis>,
    wires: Vec<Vec<u32>>,
    makers: Vec<Maker>,
}

impl Tracer<'_> {
    fn wire(&self, wire: Wire) -> Vec<u32> {
        match wire {
            Wire::Node(node) => self.wires[node].clone(),
            Wire::Input => {
                let channels = match self.graph.input() {
                    Shape::Maps([channels, ..]) => channels,
                    Shape::Tokens([_, width]) => width,
                    Shape::Values(values) => values,
                };
                vec![FIXED; channels]
            }
        }
    }

    /// What the channels of a node's output are.
    fn node(&mut self, place: usize) -> Vec<u32> {
        let node = &self.graph.nodes()[place];
        let mut inputs = node.inputs.iter().map(|wire| self.wire(*wire));
        let first = inputs.next().unwrap_or_default();
        let others: Vec<Vec<u32>> = inputs.collect();
        match node.layer {
            Layer::Conv2d(conv) => self.convolution(place, conv, &first),
            Layer::BatchNorm(_) => {
                self.along(place, ("gamma", 0), Role::Scale, &first);
                for field in ["beta", "running_mean", "running_var"] {
                    self.along(place, (field, 0), Role::Other, &first);
                }
                first
            }
            Layer::LayerNorm(_) => {
                self.along(place, ("gamma", 0), Role::Scale, &first);
                self.along(place, ("beta", 0), Role::Other, &first);
                first
            }
            Layer::Linear(linear) => {
                let made = self.make(place, linear.outputs);
                self.along(place, ("weight", 0), Role::Inputs, &first);
                self.along(place, ("weight", 1), Role::Filters, &made);
                if linear.bias {
                    self.along(place, ("bias", 0), Role::Other, &made);
                }
                self.scaled(place, "weight_scale", &made);
                made
            }
            Layer::Relu
            | Layer::Relu6
            | Layer::Gelu
            | Layer::MaxPool(_)
            | Layer::MeanPool(_)
            | Layer::GlobalMeanPool
            | Layer::FirstToken
            | Layer::Quantize(_) => first,
            Layer::Flatten => match self.graph.shape(node.inputs[0]) {
                // Channel after channel, each with all its pixels.
                Shape::Maps([_, rows, columns]) => first
                    .into_iter()
                    .flat_map(|channel| std::iter::repeat_n(channel, rows * columns))
                    .collect(),
                // Token after token, each with all its channels.
                Shape::Tokens([tokens, _]) => first.repeat(tokens),
                Shape::Values(_) => first,
            },
            Layer::Luminance(_) => {
                self.fix(&first);
                vec![FIXED]
            }
            Layer::Channels(part) => first[part.from..part.from + part.count].to_vec(),
            Layer::Add | Layer::Mix(_) => {
                for other in others {
                    self.tie(&first, &other);
                }
                first
            }
            Layer::Concat => [vec![first], others].concat().concat(),
            Layer::Patches(patches) => {
                let made = self.make(place, patches.width);
                let pixels = patches.size * patches.size;
                let pixels: Vec<u32> = first
                    .into_iter()
                    .flat_map(|channel| std::iter::repeat_n(channel, pixels))
                    .collect();
                self.along(place, ("weight", 0), Role::Inputs, &pixels);
                self.along(place, ("weight", 1), Role::Filters, &made);
                self.along(place, ("bias", 0), Role::Other, &made);
                self.along(place, ("positions", 1), Role::Other, &made);
                if patches.class_token {
                    self.along(place, ("class_token", 1), Role::Other, &made);
                }
                self.scaled(place, "weight_scale", &made);
                made
            }
            Layer::Attention(attention) => self.attention(place, attention, first),
        }
    }

    fn convolution(&mut self, place: usize, conv: Conv2d, input: &[u32]) -> Vec<u32> {
        let made = self.make(place, conv.filters);
        let [inputs, outputs] = [input.len(), conv.filters].map(|all| all / conv.groups);
        if conv.groups > 1 && inputs == 1 {
            // Depthwise: the filters of a channel go with it, and with them their group.
            let own: Vec<u32> = (0..conv.filters)
                .map(|filter| input[filter / outputs])
                .collect();
            self.tie(&own, &made);
        } else {
            // A group that loses a channel is as wide as the others if they lose the one in the same place.
            for group in 1..conv.groups {
                self.tie(&input[..inputs], &input[group * inputs..][..inputs]);
                self.tie(&made[..outputs], &made[group * outputs..][..outputs]);
            }
            self.along(place, ("weight", 1), Role::Inputs, &input[..inputs]);
        }
        self.along(place, ("weight", 0), Role::Filters, &made);
        if conv.bias {
            self.along(place, ("bias", 0), Role::Other, &made);
        }
        self.scaled(place, "weight_scale", &made);
        made
    }

    /// Every head is as wide as the others, in queries, keys and values alike; what comes out is as wide as what goes in.
    fn attention(&mut self, place: usize, attention: Attention, input: Vec<u32>) -> Vec<u32> {
        let head_width = attention.head_width(input.len());
        let inner: Vec<u32> = match self.heads {
            HeadPruning::Dimensions => self.make(place, head_width).repeat(attention.heads),
            HeadPruning::Heads => self
                .make(place, attention.heads)
                .into_iter()
                .flat_map(|head| std::iter::repeat_n(head, head_width))
                .collect(),
        };
        match attention.fused {
            true => {
                let all = inner.repeat(3);
                self.along(place, ("qkv.weight", 0), Role::Inputs, &input);
                self.along(place, ("qkv.weight", 1), Role::Filters, &all);
                self.along(place, ("qkv.bias", 0), Role::Other, &all);
                self.scaled(place, "qkv.weight_scale", &all);
            }
            false => {
                for [weight, bias, scale] in [
                    ["query.weight", "query.bias", "query.weight_scale"],
                    ["key.weight", "key.bias", "key.weight_scale"],
                    ["value.weight", "value.bias", "value.weight_scale"],
                ] {
                    self.along(place, (weight, 0), Role::Inputs, &input);
                    self.along(place, (weight, 1), Role::Filters, &inner);
                    self.along(place, (bias, 0), Role::Other, &inner);
                    self.scaled(place, scale, &inner);
                }
            }
        }
        self.along(place, ("project.weight", 0), Role::Inputs, &inner);
        self.along(place, ("project.weight", 1), Role::Filters, &input);
        self.along(place, ("project.bias", 0), Role::Other, &input);
        self.scaled(place, "project.weight_scale", &input);
        input
    }

    /// Channels that no other layer has.
    fn make(&mut self, node: usize, count: usize) -> Vec<u32> {
        let first = self.parents.len() as u32;
        let made = first..first + count as u32;
        self.parents.extend(made.clone());
        self.makers.push(Maker { node, first });
        made.collect()
    }

    fn along(
        &mut self,
        node: usize,
        (field, axis): (&'static str, usize),
        role: Role,
        channels: &[u32],
    ) {
        self.axes.push(Axis {
            node,
            field,
            axis,
            role,
            channels: channels.to_vec(),
        });
    }

    /// The scales of a node's weights, if these are in 8 bits.
    fn scaled(&mut self, node: usize, field: &'static str, channels: &[u32]) {
        if self.graph.nodes()[node].layer.is_int8() {
            self.along(node, (field, 0), Role::Other, channels);
        }
    }

    /// The first of the channels that one is tied to.
    fn find(&mut self, channel: u32) -> u32 {
        let mut at = channel;
        while self.parents[at as usize] != at {
            let next = self.parents[at as usize];
            self.parents[at as usize] = self.parents[next as usize];
            at = next;
        }
        at
    }

    /// These go with those, one by one.
    fn tie(&mut self, these: &[u32], those: &[u32]) {
        for (&a, &b) in these.iter().zip(those) {
            let [a, b] = [a, b].map(|channel| self.find(channel));
            self.parents[a.max(b) as usize] = a.min(b);
        }
    }

    fn fix(&mut self, channels: &[u32]) {
        self.tie(&vec![FIXED; channels.len()], channels);
    }

    fn fix_output(&mut self, place: usize) {
        let output = self.wires[place].clone();
        self.fix(&output);
    }

    /// Fixes what a node makes, where that is not its output alone.
    fn fix_made(&mut self, place: usize) {
        let ends = self.makers.iter().map(|maker| maker.first).skip(1);
        let ends = ends.chain([self.parents.len() as u32]);
        let ranges = self.makers.iter().zip(ends);
        let own = ranges.filter(|(maker, _)| maker.node == place);
        let made: Vec<u32> = own.flat_map(|(maker, end)| maker.first..end).collect();
        self.fix(&made);
    }

    fn finish(mut self) -> Trace {
        let tied: Vec<u32> = (0..self.parents.len() as u32)
            .map(|channel| self.find(channel))
            .collect();
        let settle = |channels: &mut Vec<u32>| {
            for channel in channels {
                *channel = tied[*channel as usize];
            }
        };
        self.axes
            .iter_mut()
            .for_each(|axis| settle(&mut axis.channels));
        self.wires.iter_mut().for_each(settle);
        Trace {
            axes: self.axes,
            wires: self.wires,
            makers: self.makers,
            tied,
        }
    }
}
