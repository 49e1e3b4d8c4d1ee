//! How a learner learns.

use serde::{Deserialize, Serialize};

use crate::continual::{
    AGem, AGemConfig, Budget, Buffer, BufferConfig, ContinualBatch, ContinualLoss, Der, DerConfig,
    Er, ErConfig, Head, HeadKind, NewMask, Policy, ReplayWeight, Si, SiConfig,
};
use crate::data::ImageShape;
use crate::error::{Error, Result};
use crate::nn::Network;
use crate::train::parts::Method;
use crate::train::{Schedule, TrainerConfig};

const OPERATION: &str = "continual_learner";
/// What DER++ weighs answers and labels of before with.
const DARK: (f64, f64) = (0.5, 0.5);
/// How strongly SI holds parameters.
const HOLD: f64 = 1.0;

/// How a [`ContinualLearner`](super::ContinualLearner) keeps what it has learned. All but `Naive` and `Si` keep examples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LearnerStrategy {
    /// Not at all.
    Naive,
    /// [`Er`] with [`ReplayWeight::One`].
    #[default]
    Er,
    /// [`Er`] with [`ReplayWeight::Added`], beside [`NewMask::CurrentClasses`].
    ErAce,
    /// [`Der`] with α = β = 0.5.
    Derpp,
    /// [`AGem`].
    Agem,
    /// [`Si`] with c = 1.
    Si,
}

/// How a [`ContinualLearner`](super::ContinualLearner) learns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ContinualLearnerConfig {
    /// How it keeps what it has learned. Default ER.
    pub strategy: LearnerStrategy,
    /// Which outputs count: [`HeadKind::All`], or [`HeadKind::Growing`], those of the classes that have come, so that others
    /// are no answer. Default growing.
    pub head: HeadKind,
    /// How much it keeps of the examples of before, where it keeps some, in a [reservoir](Policy::Reservoir). Default 500
    /// examples in total.
    pub buffer: Budget,
    /// Examples of before at each step; DER++ takes as many twice. Default 32.
    pub replayed: usize,
    /// Times through the examples of each call. Default 1.
    pub epochs: usize,
    /// New examples of a step; the last one of an epoch may have fewer. Default 32.
    pub batch_size: usize,
    /// Adam's. Default 1e-3.
    pub learning_rate: f64,
    /// Of the first weights, of the order of examples, and of what is kept and replayed. Default 0.
    pub seed: u64,
}

impl Default for ContinualLearnerConfig {
    fn default() -> Self {
        Self {
            strategy: LearnerStrategy::default(),
            head: HeadKind::Growing,
            buffer: Budget::Total(500),
            replayed: 32,
            epochs: 1,
            batch_size: 32,
            learning_rate: 1e-3,
            seed: 0,
        }
    }
}

/// What a strategy adds to training.
pub(super) struct Parts {
    pub objective: ContinualLoss,
    pub method: Option<Box<dyn Method<Network, ContinualBatch>>>,
    pub buffer: Option<Buffer>,
}

impl ContinualLearnerConfig {
    /// Of a trainer that is stopped from outside.
    pub(super) fn trainer(&self) -> Result<TrainerConfig> {
        for (name, count) in [("epochs", self.epochs), ("batch_size", self.batch_size)] {
            if count == 0 {
                return Err(Error::invalid(OPERATION, format!("{name} is out of range"))
                    .expected("1 or more")
                    .got(0));
            }
        }
        Ok(TrainerConfig {
            epochs: Some(usize::MAX),
            schedule: Schedule::Constant {
                rate: self.learning_rate,
            },
            ..Default::default()
        })
    }

    /// What the strategy adds, for images of this shape.
    pub(super) fn parts(&self, head: &Head, shape: ImageShape) -> Result<Parts> {
        let (examples, outputs) = (self.replayed, head.outputs());
        let mut objective = ContinualLoss::new(head.clone());
        let er = |weight| Er::new(head.clone(), ErConfig { examples, weight });
        let (alpha, beta) = DARK;
        let dark = DerConfig {
            examples,
            alpha,
            beta,
        };
        let method: Option<Box<dyn Method<Network, ContinualBatch>>> = match self.strategy {
            LearnerStrategy::Naive => None,
            LearnerStrategy::Er => Some(Box::new(er(ReplayWeight::One)?)),
            LearnerStrategy::ErAce => {
                objective.mask = NewMask::CurrentClasses;
                Some(Box::new(er(ReplayWeight::Added)?))
            }
            LearnerStrategy::Derpp => Some(Box::new(Der::new(head.clone(), dark)?)),
            LearnerStrategy::Agem => {
                Some(Box::new(AGem::new(head.clone(), AGemConfig { examples })?))
            }
            LearnerStrategy::Si => Some(Box::new(Si::of_tasks(SiConfig::new(HOLD))?)),
        };
        let keeps = !matches!(self.strategy, LearnerStrategy::Naive | LearnerStrategy::Si);
        let config = BufferConfig {
            budget: self.buffer,
            policy: Policy::Reservoir,
            logits: match self.strategy {
                LearnerStrategy::Derpp => outputs,
                _ => 0,
            },
            seed: self.seed,
        };
        let buffer = keeps.then(|| Buffer::new(config, shape, outputs));
        Ok(Parts {
            objective,
            method,
            buffer: buffer.transpose()?,
        })
    }
}
