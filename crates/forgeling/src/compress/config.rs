//! How much is to be removed, and by which rule.

use serde::{Deserialize, Serialize};

use super::{Criterion, HeadPruning, OPERATION};
use crate::error::{Error, Result};
use crate::nn::graph::{Graph, Layer};

/// How a network is pruned. In JSON all may be left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PruningConfig {
    /// How much is removed of what. Default half of the channels.
    pub target: PruningTarget,
    /// By what channels are compared. Default [`Criterion::Taylor`].
    pub criterion: Criterion,
    /// With which others. Default `None`: [`Ranking::Isomorphic`] for networks with attention, otherwise
    /// [`Ranking::Local`].
    pub ranking: Option<Ranking>,
    /// What attention loses. Default numbers of its heads.
    pub heads: HeadPruning,
    /// Layers keep a multiple of so many channels, the *nearest* to what they would keep otherwise and at least one; those
    /// with fewer channels keep all. Default 1.
    pub round_to: usize,
    /// What every layer keeps of its channels at least, from 0 to below 1, and whatever it says one of them; under every
    /// ranking. Default 0.1.
    pub floor: f64,
    /// Names of layers that keep all channels that they make. Default none. The last layer always does.
    pub protected: Vec<String>,
}

impl Default for PruningConfig {
    fn default() -> Self {
        Self {
            target: PruningTarget::Channels(0.5),
            criterion: Criterion::default(),
            ranking: None,
            heads: HeadPruning::default(),
            round_to: 1,
            floor: 0.1,
            protected: Vec::new(),
        }
    }
}

/// Which fraction of what is removed, above 0 and below 1. Half of the channels are about three quarters of the values and of
/// the multiply-adds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PruningTarget {
    /// Channels, of those that can be removed: exactly so many, as far as rounding and floors let it.
    Channels(f64),
    /// Trained values: the fewest channels that make so many.
    Values(f64),
    /// Multiplications with additions of an example: the fewest channels that make so many.
    MultiplyAdds(f64),
    /// Bytes of all values, running statistics too, in f32: the fewest channels that make so many.
    Bytes(f64),
}

impl PruningTarget {
    /// The fraction.
    pub fn fraction(self) -> f64 {
        match self {
            Self::Channels(fraction)
            | Self::Values(fraction)
            | Self::MultiplyAdds(fraction)
            | Self::Bytes(fraction) => fraction,
        }
    }

    /// Another fraction of the same.
    #[must_use]
    pub fn with_fraction(self, fraction: f64) -> Self {
        match self {
            Self::Channels(_) => Self::Channels(fraction),
            Self::Values(_) => Self::Values(fraction),
            Self::MultiplyAdds(_) => Self::MultiplyAdds(fraction),
            Self::Bytes(_) => Self::Bytes(fraction),
        }
    }

    /// What is counted, in words.
    pub const fn unit(self) -> &'static str {
        match self {
            Self::Channels(_) => "channels",
            Self::Values(_) => "trained values",
            Self::MultiplyAdds(_) => "multiply-adds",
            Self::Bytes(_) => "bytes",
        }
    }
}

/// Which channels compete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ranking {
    /// Those of one group: every layer loses the same fraction.
    Local,
    /// All of the network.
    Global,
    /// Those of all groups that the same kinds of layers make and take: each such kind loses the same fraction, however it
    /// is spread over the depth. Fang et al., *Isomorphic Pruning for Vision Models*, ECCV 2024 (arXiv 2407.04616).
    Isomorphic,
}

impl PruningConfig {
    /// Checks the numbers.
    ///
    /// # Errors
    /// When one is out of range.
    pub fn validate(&self) -> Result<()> {
        let fraction = self.target.fraction();
        let out = |what: &str| Error::invalid(OPERATION, format!("{what} is out of range"));
        if !(fraction > 0.0 && fraction < 1.0) {
            return Err(out(&format!("the fraction of {}", self.target.unit()))
                .expected("above 0 and below 1")
                .got(fraction));
        }
        if !(0.0..1.0).contains(&self.floor) {
            return Err(out("floor").expected("0 to below 1").got(self.floor));
        }
        if self.round_to == 0 {
            return Err(out("round_to").expected("at least 1").got(0));
        }
        if matches!(self.target, PruningTarget::Channels(_)) && fraction > 1.0 - self.floor {
            let message = "so many channels cannot be removed";
            return Err(Error::invalid(OPERATION, message)
                .expected(format!(
                    "at most {:.3}, which the floor leaves",
                    1.0 - self.floor
                ))
                .got(fraction));
        }
        Ok(())
    }

    /// The ranking for a graph.
    pub fn ranking_for(&self, graph: &Graph) -> Ranking {
        let attends = |layer: &Layer| matches!(layer, Layer::Attention(_));
        self.ranking.unwrap_or(
            match graph.nodes().iter().any(|node| attends(&node.layer)) {
                true => Ranking::Isomorphic,
                false => Ranking::Local,
            },
        )
    }
}
