//! Which channels go.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::groups::ChannelGroup;
use super::{ChannelGroups, PruningConfig, Ranking};
use crate::nn::graph::{Graph, Layer};

/// Groups with their scores, from which channels are chosen.
pub(super) struct Ranked<'a> {
    groups: &'a ChannelGroups,
    scores: &'a [Option<f64>],
    each: Vec<Counts>,
    /// Groups whose channels compete.
    classes: Vec<Vec<usize>>,
    limits: Limits,
}

/// How many channels a group has, and may lose.
struct Counts {
    /// Channels that it had before anything was removed.
    original: usize,
    now: usize,
    least: usize,
    /// It keeps a multiple of so many.
    multiple: usize,
    /// Whether its channels can be compared.
    ranked: bool,
}

impl<'a> Ranked<'a> {
    /// `scores` are those of channels by their numbers; `original` is the network before anything was removed, in whose
    /// channels fractions and floors are told.
    pub fn new(
        graph: &Graph,
        groups: &'a ChannelGroups,
        scores: &'a [Option<f64>],
        config: &PruningConfig,
        (original, before): (&Graph, &ChannelGroups),
    ) -> Self {
        let key = |graph: &Graph, group: &ChannelGroup| -> Vec<(String, usize)> {
            let layers = group.layers.iter();
            layers
                .map(|&(node, times)| (graph.nodes()[node].name.clone(), times))
                .collect()
        };
        let mut originals: HashMap<_, usize> = HashMap::new();
        for group in before.groups() {
            *originals.entry(key(original, group)).or_default() += group.channels.len();
        }
        let each: Vec<Counts> = groups
            .groups()
            .iter()
            .map(|group| {
                let now = group.channels.len();
                let original = originals.get(&key(graph, group)).copied().unwrap_or(now);
                let floor = (config.floor * original as f64).ceil() as usize;
                Counts {
                    original,
                    now,
                    least: floor.clamp(1, now),
                    multiple: config.round_to
                        / divisor(config.round_to, width(graph, groups, group)),
                    ranked: group
                        .numbers
                        .iter()
                        .all(|&number| scores[number as usize].is_some()),
                }
            })
            .collect();
        let ranked = (0..each.len()).filter(|&group| each[group].ranked);
        let classes = match config.ranking_for(original) {
            Ranking::Local => ranked.map(|group| vec![group]).collect(),
            Ranking::Global => vec![ranked.collect()],
            Ranking::Isomorphic => {
                let mut classes: BTreeMap<Kind, Vec<usize>> = BTreeMap::new();
                for group in ranked {
                    let kind = kind(graph, groups, &groups.groups()[group]);
                    classes.entry(kind).or_default().push(group);
                }
                classes.into_values().collect()
            }
        };
        Self {
            groups,
            scores,
            each,
            classes,
            limits: Limits::new(groups, config.floor),
        }
    }

    /// Whether no channel can be compared.
    pub fn is_empty(&self) -> bool {
        self.classes.iter().all(Vec::is_empty)
    }

    /// For each channel whether it goes when this fraction of all goes.
    pub fn removed(&self, fraction: f64) -> Vec<bool> {
        let mut kept: Vec<usize> = self.each.iter().map(|group| group.now).collect();
        for class in &self.classes {
            let of = |count: fn(&Counts) -> usize| -> usize {
                class.iter().map(|&group| count(&self.each[group])).sum()
            };
            let (original, now) = (of(|group| group.original), of(|group| group.now));
            let left = ((1.0 - fraction) * original as f64).round() as usize;
            let mut over = now.saturating_sub(left);
            let mut all: Vec<(f64, u32, usize)> = Vec::with_capacity(now);
            for &group in class {
                let numbers = &self.groups.groups()[group].numbers;
                all.extend(
                    numbers
                        .iter()
                        .map(|&number| (self.score(number), number, group)),
                );
            }
            all.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            for (_, _, group) in all {
                if over > 0 && kept[group] > self.each[group].least {
                    kept[group] -= 1;
                    over -= 1;
                }
            }
        }
        let mut removed = vec![false; self.groups.count()];
        let mut limits = self.limits.clone();
        for ((group, counts), kept) in self.groups.groups().iter().zip(&self.each).zip(kept) {
            let mut over = counts.now - counts.rounded(kept);
            let mut numbers = group.numbers.clone();
            numbers.sort_by(|&a, &b| self.score(a).total_cmp(&self.score(b)).then(a.cmp(&b)));
            for number in numbers {
                if over > 0 && limits.allow(number) {
                    removed[number as usize] = true;
                    over -= 1;
                }
            }
        }
        removed
    }

    fn score(&self, number: u32) -> f64 {
        self.scores[number as usize].unwrap_or(f64::INFINITY)
    }
}

impl Counts {
    /// The nearest multiple to what would be kept, at least one of them and not below the floor; all where there are fewer.
    fn rounded(&self, kept: usize) -> usize {
        let (multiple, now) = (self.multiple, self.now);
        if kept == now || now < multiple {
            return now;
        }
        let nearest = (2 * kept + multiple) / (2 * multiple);
        let nearest = nearest.clamp(1, now / multiple);
        let least = self.least.div_ceil(multiple);
        (nearest.max(least) * multiple).min(now)
    }
}

/// How many channels of a layer one of a group is; of heads, how many numbers.
fn width(graph: &Graph, groups: &ChannelGroups, group: &ChannelGroup) -> usize {
    let layers = group.layers.iter().map(|&(node, times)| {
        if !matches!(graph.nodes()[node].layer, Layer::Attention(_)) {
            return times;
        }
        let inner = groups.axis(node, "project.weight", 0).unwrap_or_default();
        let own = inner.iter().filter(|channel| **channel == group.numbers[0]);
        own.count()
    });
    layers.fold(0, divisor).max(1)
}

/// The greatest common divisor; of 0 and another, the other.
fn divisor(a: usize, b: usize) -> usize {
    match b {
        0 => a,
        b => divisor(b, a % b),
    }
}

/// Kinds of layers, with their values and axes, that make and take channels, in their order.
type Kind = Vec<(&'static str, &'static str, usize)>;

fn kind(graph: &Graph, groups: &ChannelGroups, group: &ChannelGroup) -> Kind {
    let first = group.numbers[0];
    let axes = groups.axes.iter();
    let own = axes.filter(|axis| axis.channels.contains(&first));
    own.map(|axis| (graph.nodes()[axis.node].layer.kind(), axis.field, axis.axis))
        .collect()
}

/// How many channels each value between two layers may still lose.
#[derive(Clone)]
struct Limits {
    /// Of each value.
    rest: Vec<usize>,
    /// In which values a channel is, and how often.
    of: HashMap<u32, Vec<(usize, usize)>>,
}

impl Limits {
    fn new(groups: &ChannelGroups, floor: f64) -> Self {
        let mut limits = Self {
            rest: Vec::new(),
            of: HashMap::new(),
        };
        let mut seen: HashSet<&[u32]> = HashSet::new();
        for wire in &groups.wires {
            if !seen.insert(wire) {
                continue;
            }
            let mut times: BTreeMap<u32, usize> = BTreeMap::new();
            for &channel in wire {
                *times.entry(channel).or_default() += 1;
            }
            let least = ((floor * wire.len() as f64).ceil() as usize).max(1);
            for (channel, times) in times {
                let own = limits.of.entry(channel).or_default();
                own.push((limits.rest.len(), times));
            }
            limits.rest.push(wire.len().saturating_sub(least));
        }
        limits
    }

    /// Takes a channel away, if every value that has it may lose it.
    fn allow(&mut self, channel: u32) -> bool {
        let own = self.of.get(&channel).map_or(&[][..], |own| own);
        if own.iter().any(|&(wire, times)| self.rest[wire] < times) {
            return false;
        }
        for &(wire, times) in own {
            self.rest[wire] -= times;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_rounded_to_the_nearest_multiple_and_never_to_none() {
        let counts = |now, least, multiple| Counts {
            original: now,
            now,
            least,
            multiple,
            ranked: true,
        };
        for (now, least, multiple, kept, expected) in [
            (64, 7, 8, 35, 32),
            (64, 7, 8, 36, 40),
            (64, 7, 8, 61, 64),
            (64, 7, 8, 64, 64),
            (64, 1, 8, 1, 8),
            (64, 17, 8, 17, 24),
            (20, 2, 8, 19, 16),
            (6, 1, 8, 3, 6),
            (10, 1, 1, 4, 4),
            (10, 4, 1, 4, 4),
        ] {
            let found = counts(now, least, multiple).rounded(kept);
            assert_eq!(found, expected, "{kept} of {now} by {multiple}");
        }
        assert_eq!([divisor(8, 12), divisor(8, 1), divisor(0, 6)], [4, 1, 6]);
    }
}
