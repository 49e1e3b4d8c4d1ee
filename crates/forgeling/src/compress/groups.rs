//! Channels that go together.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::trace::{Axis, FIXED, Trace};
use crate::error::Result;
use crate::nn::graph::Graph;

/// What attention loses. The width of its tokens is not its own: it goes with that of the layers around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeadPruning {
    /// Numbers of the heads, of all of them those in the same place, in queries, keys and values alike. The scale of the
    /// scores stays what it was. The default, as in Torch-Pruning.
    #[default]
    Dimensions,
    /// Whole heads.
    Heads,
}

/// All channels of a network that can be removed, and what each takes with it.
///
/// A channel is made by a convolution, a layer of neurons, patches or the heads of an attention, and ends where others take
/// it. What is summed or mixed goes together, as do the filters of a channel in a depthwise convolution and the channels in
/// the same place of all groups of a grouped one. A value that is concatenated with others, or with itself, is found at its
/// exact place, and after flattening a channel is a block of rows × columns values. Channels of the input, of the output and
/// of what [`Luminance`](crate::nn::graph::Layer::Luminance) takes always stay.
///
/// Fang et al., *DepGraph: Towards Any Structural Pruning*, CVPR 2023 (arXiv 2301.12900), derives the same from layers; here
/// every single index is followed.
///
/// ```
/// use forgeling::compress::{ChannelGroups, HeadPruning};
/// use forgeling::nn::zoo::ResNetConfig;
///
/// let graph = ResNetConfig::default().graph()?;
/// let groups = ChannelGroups::of(&graph, HeadPruning::default(), &[])?;
/// // The stem and the sums of both blocks of the first stage have the same 64 channels.
/// let first = &groups.groups()[0];
/// let names: Vec<&str> = first.layers.iter().map(|(node, _)| &graph.nodes()[*node].name[..]).collect();
/// assert_eq!(names, ["stem", "blocks.0.second", "blocks.1.second"]);
/// assert_eq!(first.channels.len(), 64);
/// # Ok::<(), forgeling::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct ChannelGroups {
    pub(super) axes: Vec<Axis>,
    /// The channels of each node's output.
    pub(super) wires: Vec<Vec<u32>>,
    groups: Vec<ChannelGroup>,
    count: usize,
}

/// Channels that the same layers make, each by itself: any of them can be removed without another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelGroup {
    /// The layers that make them, by their places in the graph, and how many of a layer's channels one of the group is.
    pub layers: Vec<(usize, usize)>,
    /// Which channels of the first of these layers they are. Those of an attention are its heads, or numbers of a head.
    pub channels: Vec<usize>,
    /// Their numbers among all.
    pub(super) numbers: Vec<u32>,
}

/// Where a channel lies along an axis of a layer's values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The layer's place in the graph.
    pub node: usize,
    /// The value's name within the layer.
    pub field: &'static str,
    /// Which of its axes.
    pub axis: usize,
    /// Where along the axis.
    pub indices: Vec<usize>,
}

impl ChannelGroup {
    /// The place of the layer that makes them first.
    pub fn first_layer(&self) -> usize {
        self.layers[0].0
    }
}

impl ChannelGroups {
    /// Those of a graph, without what the layers of these names make.
    ///
    /// # Errors
    /// When there is no layer of such a name.
    pub fn of(graph: &Graph, heads: HeadPruning, protected: &[String]) -> Result<Self> {
        let Trace {
            mut axes,
            mut wires,
            makers,
            tied,
        } = Trace::of(graph, heads, protected)?;
        // Where each channel is made, in the order of makers and of the channels that each makes.
        let mut made: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        let mut maker = 0;
        for (channel, &first) in tied.iter().enumerate().skip(1) {
            let next = |maker: usize| makers.get(maker + 1).map(|next| next.first as usize);
            while next(maker).is_some_and(|next| next <= channel) {
                maker += 1;
            }
            if first != FIXED {
                made.entry(first).or_default().push(maker);
            }
        }
        let mut numbers = HashMap::from([(FIXED, FIXED)]);
        let mut groups: Vec<ChannelGroup> = Vec::new();
        let mut known: HashMap<Vec<(usize, usize)>, usize> = HashMap::new();
        for (number, (first, by)) in (1u32..).zip(made) {
            numbers.insert(first, number);
            let alike = by.chunk_by(|a, b| a == b);
            let layers: Vec<(usize, usize)> = alike.map(|same| (same[0], same.len())).collect();
            let index = (first - makers[layers[0].0].first) as usize;
            let group = *known.entry(layers).or_insert_with_key(|layers| {
                let layers = layers.iter();
                groups.push(ChannelGroup {
                    layers: layers
                        .map(|&(by, times)| (makers[by].node, times))
                        .collect(),
                    channels: Vec::new(),
                    numbers: Vec::new(),
                });
                groups.len() - 1
            });
            groups[group].channels.push(index);
            groups[group].numbers.push(number);
        }
        let all = axes.iter_mut().map(|axis| &mut axis.channels);
        for channel in all.chain(&mut wires).flatten() {
            *channel = numbers[channel];
        }
        Ok(Self {
            axes,
            wires,
            groups,
            count: numbers.len(),
        })
    }

    /// The groups, in the order of the layers that make their channels.
    pub fn groups(&self) -> &[ChannelGroup] {
        &self.groups
    }

    /// How many channels can be removed.
    pub fn channels(&self) -> usize {
        self.count - 1
    }

    /// Numbers of channels, with the one of those that always stay.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// All that goes with a channel of a group, both by their places.
    pub fn members(&self, group: usize, channel: usize) -> Vec<Member> {
        let number = self.groups[group].numbers[channel];
        let members = self.axes.iter().map(|axis| Member {
            node: axis.node,
            field: axis.field,
            axis: axis.axis,
            indices: places(&axis.channels, |other| other == number),
        });
        members
            .filter(|member| !member.indices.is_empty())
            .collect()
    }

    /// The channels along an axis of a node's values.
    pub(super) fn axis(&self, node: usize, field: &str, axis: usize) -> Option<&[u32]> {
        let found = self.axes.iter();
        let mut found =
            found.filter(|other| (other.node, other.field, other.axis) == (node, field, axis));
        found.next().map(|axis| &axis.channels[..])
    }
}

/// Where along an axis there are such channels.
pub(super) fn places(channels: &[u32], such: impl Fn(u32) -> bool) -> Vec<usize> {
    let all = channels.iter().enumerate();
    all.filter(|(_, channel)| such(**channel))
        .map(|(index, _)| index)
        .collect()
}
