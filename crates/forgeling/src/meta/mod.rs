//! Few-shot learning: a network that classifies from a handful of examples.
//!
//! - [`ProtoNet`]: an encoder whose class prototypes are means of features.
//! - [`EpisodeTrainer`] and [`ProtoNet::fit`]: training on episodes, step by step or in one call.
//! - [`PrototypeLoss`]: what it minimises, for a [`Trainer`](crate::train::Trainer) of your own.
//! - [`ProtoNet::evaluate`]: accuracy on unseen classes with a confidence interval.
//! - [`Classifier`]: the trained network with a user's own examples.

mod classifier;
mod evaluate;
mod fit;
mod objective;
mod protonet;
mod warm_up;

pub use classifier::{Classifier, Prediction};
pub use evaluate::{EvaluateConfig, Evaluation};
pub use fit::{EpisodeTrainer, FitConfig, FitSummary};
pub use objective::PrototypeLoss;
pub use protonet::{ProtoNet, TrainingSummary};
pub use warm_up::WarmUpEvent;
