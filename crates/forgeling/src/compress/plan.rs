//! What pruning will remove, before it does.

use std::fmt;

use burn::optim::GradientsParams;
use serde::{Deserialize, Serialize};

use super::criterion::scores;
use super::cut::Cut;
use super::ranking::Ranked;
use super::{ChannelGroups, HeadPruning, OPERATION, PruningConfig, PruningTarget};
use crate::error::{Error, Result};
use crate::nn::Network;
use crate::nn::graph::{Graph, Layer, Shape, Wire};
use crate::train::AnyOptimizer;

/// Which channels of a network go, what each layer is left with and what that saves: to be printed, kept as JSON, and
/// applied.
///
/// ```
/// use forgeling::compress::{Criterion, PruningConfig, PruningPlan};
/// use forgeling::nn::Network;
/// use forgeling::nn::zoo::Conv4Config;
/// use forgeling::{Device, DeviceChoice};
///
/// # pollster::block_on(async {
/// let device = Device::open(DeviceChoice::Cpu).await?;
/// let graph = Conv4Config { filters: 8, ..Default::default() }.graph()?.with_outputs(5)?;
/// let network = Network::new(&graph, 0, &device);
/// let config = PruningConfig { criterion: Criterion::L2, ..Default::default() };
/// let plan = PruningPlan::of(&network, &config, None).await?;
/// println!("{plan}");
/// let pruned = plan.apply(&network)?;
/// assert_eq!(pruned.graph().features_shape().len(), 4);
/// assert_eq!(pruned.graph().trained_values(), plan.after.values);
/// # Ok::<(), forgeling::Error>(()) }).unwrap();
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PruningPlan {
    /// What attention loses.
    pub heads: HeadPruning,
    /// The channels that go, group by group; groups that lose none are left out.
    pub groups: Vec<PrunedGroup>,
    /// What each layer that holds values is left with.
    pub layers: Vec<PlannedLayer>,
    /// What the network is.
    pub before: NetworkSize,
    /// What it will be.
    pub after: NetworkSize,
}

/// Channels that go, of layers that make them together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrunedGroup {
    /// The first of the layers that make them.
    pub layer: String,
    /// The others.
    #[serde(default)]
    pub with: Vec<String>,
    /// How many channels the group has.
    #[serde(default)]
    pub channels: usize,
    /// Which channels of the first layer go; of attention, which heads or which numbers of each head.
    pub removed: Vec<usize>,
}

/// A layer before and after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedLayer {
    /// Its name.
    pub layer: String,
    /// Its kind, as in JSON.
    pub kind: String,
    /// Channels of its output; of attention, numbers of all its heads.
    pub channels: [usize; 2],
    /// Trained values.
    pub values: [u64; 2],
    /// Multiplications with additions of an example.
    pub multiply_adds: [u64; 2],
}

/// What a network comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkSize {
    /// Channels that can be removed.
    pub channels: usize,
    /// Trained values.
    pub values: u64,
    /// Multiplications with additions of an example.
    pub multiply_adds: u64,
    /// Bytes of all values in f32, without a file's header.
    pub bytes: u64,
}

impl NetworkSize {
    fn of(graph: &Graph, channels: usize) -> Self {
        Self {
            channels,
            values: graph.trained_values(),
            multiply_adds: graph.multiply_adds(),
            bytes: 4 * graph.counts().all(),
        }
    }

    /// How much of what a target counts.
    pub fn counted(&self, target: PruningTarget) -> u64 {
        match target {
            PruningTarget::Channels(_) => self.channels as u64,
            PruningTarget::Values(_) => self.values,
            PruningTarget::MultiplyAdds(_) => self.multiply_adds,
            PruningTarget::Bytes(_) => self.bytes,
        }
    }
}

impl PruningPlan {
    /// What a configuration removes from a network. `gradients` are those of a loss, summed over as many batches as one likes
    /// ([`loss_gradients`](super::loss_gradients)), for the criterion that needs them. Nothing is changed.
    ///
    /// # Errors
    /// When the configuration is out of range, a protected layer is not there, the target cannot be reached, a weight is not
    /// finite, or the device fails.
    pub async fn of(
        network: &Network,
        config: &PruningConfig,
        gradients: Option<&GradientsParams>,
    ) -> Result<Self> {
        Self::since(network.graph(), network, config, gradients).await
    }

    /// As [`of`](Self::of), of a network that was pruned before: target and floors count from the network's `original`, as
    /// when it is pruned in steps.
    ///
    /// # Errors
    /// As there, and when the original has not the same layers.
    pub async fn since(
        original: &Graph,
        network: &Network,
        config: &PruningConfig,
        gradients: Option<&GradientsParams>,
    ) -> Result<Self> {
        config.validate()?;
        let graph = network.graph();
        let names = |graph: &Graph| -> Vec<String> {
            graph.nodes().iter().map(|node| node.name.clone()).collect()
        };
        if names(original) != names(graph) {
            let message = "the original network has other layers";
            return Err(Error::invalid(OPERATION, message)
                .expected(format!("{} of the same names", graph.nodes().len()))
                .got(original.nodes().len()));
        }
        let groups = |graph| ChannelGroups::of(graph, config.heads, &config.protected);
        let (before, groups) = (groups(original)?, groups(graph)?);
        let scores = scores(network, &groups, config.criterion, gradients).await?;
        let ranked = Ranked::new(graph, &groups, &scores, config, (original, &before));
        if ranked.is_empty() {
            let message = "no channel can be removed";
            return Err(Error::invalid(OPERATION, message)
                .expected("layers that are not protected, and that the criterion can compare"));
        }
        let removed = match config.target {
            PruningTarget::Channels(fraction) => ranked.removed(fraction),
            target => {
                let size = NetworkSize::of(original, before.channels());
                search(graph, &groups, &ranked, target, size)?
            }
        };
        Self::new(graph, config.heads, &groups, &removed)
    }

    /// A plan by hand: the channels of these groups go, which [`PruningPlan::groups`] explains; `with` and `channels` are not
    /// looked at.
    ///
    /// # Errors
    /// When there is no such layer or channel, when it is one of those that stay, and when a layer would have none left.
    pub fn by_hand(graph: &Graph, heads: HeadPruning, removed: &[PrunedGroup]) -> Result<Self> {
        let groups = ChannelGroups::of(graph, heads, &[])?;
        let removed = marked(graph, &groups, removed)?;
        Self::new(graph, heads, &groups, &removed)
    }

    fn new(
        graph: &Graph,
        heads: HeadPruning,
        groups: &ChannelGroups,
        removed: &[bool],
    ) -> Result<Self> {
        let after = Cut::new(graph, groups, removed)?.graph;
        let name = |node: usize| graph.nodes()[node].name.clone();
        let mut pruned = Vec::new();
        for group in groups.groups() {
            let channels = group.channels.iter().zip(&group.numbers);
            let gone = channels.filter(|(_, number)| removed[**number as usize]);
            let mut gone: Vec<usize> = gone.map(|(channel, _)| *channel).collect();
            if gone.is_empty() {
                continue;
            }
            gone.sort_unstable();
            pruned.push(PrunedGroup {
                layer: name(group.first_layer()),
                with: group.layers[1..]
                    .iter()
                    .map(|&(node, _)| name(node))
                    .collect(),
                channels: group.channels.len(),
                removed: gone,
            });
        }
        let places = 0..graph.nodes().len();
        let layers = places.filter(|&place| !graph.parameters(place).is_empty());
        let layers = layers.map(|place| PlannedLayer {
            layer: name(place),
            kind: graph.nodes()[place].layer.kind().into(),
            channels: [graph, &after].map(|graph| channels(graph, place)),
            values: [graph, &after].map(|graph| trained(graph, place)),
            multiply_adds: [graph, &after].map(|graph| graph.multiply_adds_of(place)),
        });
        let left = removed.iter().filter(|removed| !**removed).count() - 1;
        Ok(Self {
            heads,
            layers: layers.collect(),
            groups: pruned,
            before: NetworkSize::of(graph, groups.channels()),
            after: NetworkSize::of(&after, left),
        })
    }

    /// The graph that will be left of this one.
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    pub fn graph(&self, graph: &Graph) -> Result<Graph> {
        Ok(self.cut(graph)?.graph)
    }

    /// The network that is left, with the same names of layers and values, on the same device.
    ///
    /// # Errors
    /// When the plan is of another network, and when the network has adapters.
    pub fn apply(&self, network: &Network) -> Result<Network> {
        self.cut(network.graph())?.network(network)
    }

    /// As [`apply`](Self::apply); of what the optimizer keeps, the part that is left goes on: moments of what stays, and the
    /// number of steps. An error changes nothing.
    ///
    /// # Errors
    /// As there, and when the optimizer is of a network of other shapes.
    pub fn apply_training(
        &self,
        network: &Network,
        optimizer: &mut AnyOptimizer,
    ) -> Result<Network> {
        let cut = self.cut(network.graph())?;
        let pruned = cut.network(network)?;
        cut.optimizer(network, optimizer)?;
        Ok(pruned)
    }

    fn cut(&self, graph: &Graph) -> Result<Cut> {
        // What is protected is only ever left out of a plan.
        let groups = ChannelGroups::of(graph, self.heads, &[])?;
        let found = NetworkSize::of(graph, self.before.channels);
        if found != self.before {
            return Err(Error::invalid(OPERATION, "the plan is of another network")
                .expected(format!("{} trained values", self.before.values))
                .got(found.values));
        }
        let removed = marked(graph, &groups, &self.groups)?;
        Cut::new(graph, &groups, &removed)
    }
}

/// Channels of a node's output; of attention, numbers of all its heads.
fn channels(graph: &Graph, place: usize) -> usize {
    let sizes = match graph.shape(Wire::Node(place)) {
        Shape::Maps([channels, ..]) => channels,
        Shape::Tokens([_, width]) => width,
        Shape::Values(values) => values,
    };
    match graph.nodes()[place].layer {
        Layer::Attention(attention) => attention.inner(sizes),
        _ => sizes,
    }
}

fn trained(graph: &Graph, place: usize) -> u64 {
    let values = graph.parameters(place).into_iter();
    let trained = values.filter(|value| value.trained);
    trained.map(|value| value.len() as u64).sum()
}

/// For each channel whether it is listed.
fn marked(graph: &Graph, groups: &ChannelGroups, listed: &[PrunedGroup]) -> Result<Vec<bool>> {
    let mut removed = vec![false; groups.count()];
    for PrunedGroup {
        layer,
        removed: gone,
        ..
    } in listed
    {
        for &channel in gone {
            let mut own = groups
                .groups()
                .iter()
                .filter(|group| graph.nodes()[group.first_layer()].name == *layer)
                .filter_map(|group| {
                    let place = group.channels.iter().position(|&other| other == channel)?;
                    Some(group.numbers[place])
                });
            let Some(number) = own.next() else {
                let message = format!("layer '{layer}' has no such channel that can be removed");
                return Err(Error::invalid(OPERATION, message)
                    .expected("a channel that this layer is the first to make")
                    .got(channel));
            };
            removed[number as usize] = true;
        }
    }
    Ok(removed)
}

/// The fewest channels, by fractions of all, without which the target is reached.
fn search(
    graph: &Graph,
    groups: &ChannelGroups,
    ranked: &Ranked<'_>,
    target: PruningTarget,
    original: NetworkSize,
) -> Result<Vec<bool>> {
    /// Halvings of the range of fractions, more than any network has channels.
    const HALVINGS: usize = 20;
    let count = original.counted(target);
    let gone = |removed: &[bool]| -> Result<f64> {
        let left = NetworkSize::of(&Cut::new(graph, groups, removed)?.graph, 0);
        Ok(1.0 - left.counted(target) as f64 / count as f64)
    };
    let (mut below, mut enough) = (0.0, 1.0);
    let mut found = ranked.removed(enough);
    let most = gone(&found)?;
    if most < target.fraction() {
        let message = format!("so many {} cannot be removed", target.unit());
        return Err(Error::invalid(OPERATION, message)
            .expected(format!(
                "at most {most:.4} of them, for what floors, rounding and protected layers keep"
            ))
            .got(target.fraction()));
    }
    for _ in 0..HALVINGS {
        let middle = (below + enough) / 2.0;
        let removed = ranked.removed(middle);
        if gone(&removed)? < target.fraction() {
            below = middle;
        } else {
            enough = middle;
            found = removed;
        }
    }
    Ok(found)
}

impl fmt::Display for PruningPlan {
    /// A table of layers, and what they come to.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = ["layer", "channels", "values", "multiply-adds"].map(String::from);
        let pair = |pair: [u64; 2]| match pair {
            [before, after] if before == after => before.to_string(),
            [before, after] => format!("{before} -> {after}"),
        };
        let row = |layer: &PlannedLayer| {
            let channels = layer.channels.map(|channels| channels as u64);
            [
                layer.layer.clone(),
                pair(channels),
                pair(layer.values),
                pair(layer.multiply_adds),
            ]
        };
        let both = |of: fn(&NetworkSize) -> u64| pair([of(&self.before), of(&self.after)]);
        let all = [
            "all".to_string(),
            both(|size| size.channels as u64),
            both(|size| size.values),
            both(|size| size.multiply_adds),
        ];
        let rows = std::iter::once(head).chain(self.layers.iter().map(row));
        let rows: Vec<[String; 4]> = rows.chain([all]).collect();
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
        let widths = [0, 1, 2, 3].map(|column| width(column).unwrap_or(0));
        for [name, channels, values, multiply_adds] in &rows {
            let [a, b, c, d] = widths;
            writeln!(
                f,
                "{name:<a$}  {channels:>b$}  {values:>c$}  {multiply_adds:>d$}"
            )?;
        }
        let left = 100.0 * self.after.bytes as f64 / self.before.bytes.max(1) as f64;
        write!(
            f,
            "{} bytes of values, {left:.1} % of {}",
            self.after.bytes, self.before.bytes
        )
    }
}
