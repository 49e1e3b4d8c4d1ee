//! How a run keeps what it has learned.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Experiment;
use crate::continual::strategies::{
    AGem, AGemConfig, Der, DerConfig, Er, ErConfig, Ewc, EwcConfig, Icarl, IcarlConfig, Lwf,
    LwfConfig, Mas, MasConfig, ReplayWeight, Si, SiConfig,
};
use crate::continual::{
    Buffer, BufferConfig, ClosedFormRule, ContinualBatch, ContinualLoss, Head, NewMask, NewWeight,
    Policy, ScenarioBuffer, SharedBuffer, Shows,
};
use crate::error::{Error, Result};
use crate::nn::Network;
use crate::train::parts::{Method, Replay};

const OPERATION: &str = "continual_strategy";

/// A strategy with its numbers. The names of [`StrategyName`] are short for some of these.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Strategy {
    /// Trains on one context after the other and does nothing against forgetting: what others are to be better than.
    Naive,
    /// Trains on all contexts at once: what others can come near to.
    Joint,
    /// Trains on each context together with all those before it.
    Cumulative,
    /// [`Er`].
    Er(ErConfig),
    /// [`Er`], and new examples do not push old classes away: [`NewMask::CurrentClasses`].
    ErAce(ErConfig),
    /// [`Der`].
    Der(DerConfig),
    /// [`AGem`].
    AGem(AGemConfig),
    /// A network that is trained from nothing on a buffer whenever it is tested.
    GDumb(GDumbConfig),
    /// [`Icarl`].
    Icarl(IcarlConfig),
    /// [`Ewc`]. Its seed is that of the run.
    Ewc(EwcConfig),
    /// [`Si`].
    Si(SiConfig),
    /// [`Mas`]. Its seed is that of the run.
    Mas(MasConfig),
    /// [`Lwf`].
    Lwf(LwfConfig),
    /// [`ClosedForm`](crate::continual::ClosedForm) on features that are not trained.
    ClosedForm {
        /// How classes are told apart.
        rule: ClosedFormRule,
        /// On what.
        features: FrozenFeatures,
    },
}

/// Features that are not trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum FrozenFeatures {
    /// The values of the image.
    Raw,
    /// [`RandomFeatures`](crate::continual::RandomFeatures) of it, so many.
    Random {
        /// How many.
        width: usize,
    },
    /// Those of the run's network as it is at the beginning.
    Network,
}

/// How a network is trained from nothing on a buffer: Prabhu, Torr and Dokania, "GDumb: a simple approach that questions our
/// progress in continual learning", ECCV 2020. Examples are kept balanced over classes as they come; a new network is trained
/// on them for every test. The learning rate goes down from `initial` to `last` along half a cosine.
///
/// It keeps the buffer alone. The authors warm up the rate in the first pass and restart the cosine, norm the outputs, too, and
/// report the best pass on the test set; none of this is done here.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GDumbConfig {
    /// Times through the buffer. Default 128.
    pub passes: usize,
    /// Examples of a batch. Default 16.
    pub batch_size: usize,
    /// The learning rate at the beginning. Default 0.05.
    pub initial: f64,
    /// The learning rate at the end. Default 0.0005.
    pub last: f64,
    /// Pixels by which images are moved at most, see [`BufferSourceConfig`](crate::continual::BufferSourceConfig). Default 4,
    /// as in the authors' code, which crops images of 28 rows at random from padded ones; presets take a seventh of the rows.
    pub shift: usize,
}

impl Default for GDumbConfig {
    fn default() -> Self {
        Self {
            passes: 128,
            batch_size: 16,
            initial: 0.05,
            last: 5e-4,
            shift: 4,
        }
    }
}

/// What a strategy adds to a run.
pub(super) struct Parts {
    pub objective: ContinualLoss,
    pub methods: Vec<Box<dyn Method<Network, ContinualBatch>>>,
    pub kept: Option<Kept>,
}

/// Examples that are kept.
pub(super) enum Kept {
    /// As its policy says.
    ByPolicy(Box<ScenarioBuffer>),
    /// As a strategy chooses.
    Chosen(SharedBuffer),
}

impl Kept {
    pub fn replay(&mut self) -> &mut dyn Replay<ContinualBatch> {
        match self {
            Self::ByPolicy(buffer) => &mut **buffer,
            Self::Chosen(buffer) => buffer,
        }
    }

    pub fn bytes(&self) -> u64 {
        let bytes = match self {
            Self::ByPolicy(buffer) => buffer.buffer().bytes(),
            Self::Chosen(buffer) => buffer.with(|buffer| buffer.bytes()),
        };
        bytes as u64
    }
}

impl Strategy {
    /// What is trained on at a time.
    pub fn shows(&self) -> Shows {
        match self {
            Self::Joint => Shows::All,
            Self::Cumulative => Shows::SoFar,
            _ => Shows::Each,
        }
    }

    /// Whether it keeps examples.
    pub fn keeps_examples(&self) -> bool {
        matches!(
            self,
            Self::Er(_)
                | Self::ErAce(_)
                | Self::Der(_)
                | Self::AGem(_)
                | Self::GDumb(_)
                | Self::Icarl(_)
        )
    }

    /// How many of them a step takes.
    pub fn replayed(&self) -> usize {
        match self {
            Self::Er(ErConfig { examples, .. })
            | Self::ErAce(ErConfig { examples, .. })
            | Self::AGem(AGemConfig { examples })
            | Self::Icarl(IcarlConfig { examples, .. }) => *examples,
            Self::Der(config) if config.beta > 0.0 => 2 * config.examples,
            Self::Der(config) => config.examples,
            _ => 0,
        }
    }

    /// The parts of a run, which takes steps.
    pub(super) fn parts(&self, experiment: &Experiment, head: &Head) -> Result<Parts> {
        let (scenario, seed) = (&experiment.scenario, experiment.seeds.strategy);
        let mut objective = ContinualLoss::new(head.clone());
        let buffer = match self.keeps_examples() {
            true => Some(self.buffer(experiment)?),
            false => None,
        };
        let mut kept = match buffer {
            Some(buffer) => {
                let buffer = ScenarioBuffer::new(buffer, scenario.clone())?;
                Some(Kept::ByPolicy(Box::new(buffer)))
            }
            None => None,
        };
        let method: Option<Box<dyn Method<Network, ContinualBatch>>> = match self {
            Self::Er(config) | Self::ErAce(config) => {
                if config.weight == ReplayWeight::ByContext {
                    objective.weight = NewWeight::ByContext;
                }
                if matches!(self, Self::ErAce(_)) {
                    objective.mask = NewMask::CurrentClasses;
                }
                Some(Box::new(Er::new(head.clone(), *config)?))
            }
            Self::Der(config) => Some(Box::new(Der::new(head.clone(), *config)?)),
            Self::AGem(config) => Some(Box::new(AGem::new(head.clone(), *config)?)),
            Self::Icarl(config) => {
                objective.weight = NewWeight::Zero;
                let buffer = SharedBuffer::new(self.buffer(experiment)?);
                kept = Some(Kept::Chosen(buffer.clone()));
                Some(Box::new(Icarl::new(
                    scenario.clone(),
                    head.clone(),
                    buffer,
                    *config,
                )?))
            }
            Self::Ewc(config) => {
                let config = EwcConfig { seed, ..*config };
                Some(Box::new(Ewc::new(config, scenario.clone(), head.clone())?))
            }
            Self::Si(config) => Some(Box::new(Si::new(*config, scenario)?)),
            Self::Mas(config) => {
                let config = MasConfig { seed, ..*config };
                Some(Box::new(Mas::new(config, scenario.clone(), head.clone())?))
            }
            Self::Lwf(config) => Some(Box::new(Lwf::new(*config, scenario.clone(), head.clone())?)),
            Self::Naive | Self::Joint | Self::Cumulative => None,
            Self::GDumb(_) | Self::ClosedForm { .. } => return Err(self.takes_no_steps()),
        };
        Ok(Parts {
            objective,
            methods: method.into_iter().collect(),
            kept,
        })
    }

    fn takes_no_steps(&self) -> Error {
        Error::invalid(OPERATION, "the strategy is not part of a step").got(format!("{self:?}"))
    }

    /// The buffer of a run that keeps examples.
    pub(super) fn buffer(&self, experiment: &Experiment) -> Result<Buffer> {
        let scenario = &experiment.scenario;
        let Some((budget, policy)) = experiment.protocol.buffer else {
            return Err(Error::invalid(OPERATION, "the strategy keeps examples")
                .expected("a buffer in the protocol")
                .got("none"));
        };
        let config = BufferConfig {
            budget,
            policy,
            logits: match self {
                Self::Der(_) => scenario.outputs(),
                _ => 0,
            },
            seed: experiment.seeds.strategy,
        };
        Buffer::new(config, scenario.image_shape(), scenario.outputs())
    }

    /// Which examples are kept, in van de Ven's benchmark or elsewhere.
    pub(super) fn policy(&self, at_end: bool) -> Policy {
        match self {
            Self::Icarl(_) => Policy::PerClassAtEnd,
            Self::GDumb(_) => Policy::ClassBalanced,
            // Answers are known when examples come, not when a context ends; and new classes are told from old ones by what is
            // replayed alone.
            Self::Der(_) | Self::ErAce(_) => Policy::Reservoir,
            _ if at_end => Policy::PerClassAtEnd,
            _ => Policy::Reservoir,
        }
    }
}

/// The short name of a strategy, as on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StrategyName {
    /// [`Strategy::Naive`].
    Naive,
    /// [`Strategy::Joint`].
    Joint,
    /// [`Strategy::Cumulative`].
    Cumulative,
    /// [`Strategy::Er`].
    Er,
    /// [`Strategy::ErAce`].
    ErAce,
    /// [`Strategy::Der`] without labels.
    Der,
    /// [`Strategy::Der`] with labels.
    Derpp,
    /// [`Strategy::AGem`].
    Agem,
    /// [`Strategy::GDumb`].
    Gdumb,
    /// [`Strategy::Icarl`].
    Icarl,
    /// [`Strategy::Ewc`], a penalty for each context.
    Ewc,
    /// [`Strategy::Ewc`], one penalty that goes on.
    OnlineEwc,
    /// [`Strategy::Si`].
    Si,
    /// [`Strategy::Mas`].
    Mas,
    /// [`Strategy::Lwf`].
    Lwf,
    /// Streaming LDA on random features.
    Slda,
    /// Ridge regression on random features.
    Rff,
    /// The nearest class mean of the network's features as they are at the beginning.
    Ncm,
}

impl StrategyName {
    /// All of them, with how they are written.
    pub const ALL: [(Self, &'static str); 18] = [
        (Self::Naive, "naive"),
        (Self::Joint, "joint"),
        (Self::Cumulative, "cumulative"),
        (Self::Er, "er"),
        (Self::ErAce, "er-ace"),
        (Self::Der, "der"),
        (Self::Derpp, "derpp"),
        (Self::Agem, "agem"),
        (Self::Gdumb, "gdumb"),
        (Self::Icarl, "icarl"),
        (Self::Ewc, "ewc"),
        (Self::OnlineEwc, "online-ewc"),
        (Self::Si, "si"),
        (Self::Mas, "mas"),
        (Self::Lwf, "lwf"),
        (Self::Slda, "slda"),
        (Self::Rff, "rff"),
        (Self::Ncm, "ncm"),
    ];
}

impl fmt::Display for StrategyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = Self::ALL.iter().find(|(name, _)| name == self);
        f.write_str(found.map_or("", |(_, text)| text))
    }
}

impl FromStr for StrategyName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = Self::ALL.iter().find(|(_, name)| *name == text);
        found.map(|(name, _)| *name).ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|(_, name)| *name).collect();
            Error::invalid(OPERATION, "there is no such strategy")
                .expected(names.join(", "))
                .got(format!("'{text}'"))
        })
    }
}
