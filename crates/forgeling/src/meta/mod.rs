//! Few-shot learning: a network that classifies from a handful of examples.
//!
//! - [`ProtoNet`]: an encoder whose class prototypes are means of features.
//! - [`EpisodeTrainer`] and [`ProtoNet::fit`]: training on episodes, step by step or in one call.
//! - [`PrototypeLoss`]: what it minimises, for a [`Trainer`](crate::train::Trainer) of your own.
//! - [`ProtoNet::evaluate`]: accuracy on unseen classes with a confidence interval.
//! - [`FewShot`]: what every method is; [`TaskLoss`]: what it minimises; [`Stack`]: tasks side by side.
//! - [`MetricLearner`]: an encoder with a [`MetricHead`]: [`Prototypes`], [`Matching`], [`Relation`], [`Ridge`] or
//!   [`Centroids`]; [`SimpleShot`]: a classifier with the last of these.
//! - [`Scores`]: accuracy by task and by class, calibration, likelihood; squared errors.
//! - [`Classifier`]: the trained network with a user's own examples.

mod classifier;
mod evaluate;
mod few_shot;
mod fit;
pub mod functional;
pub mod gradient;
mod metric;
mod objective;
mod protonet;
mod score;
mod simple_shot;
mod stack;
mod warm_up;

pub use classifier::{Classifier, Prediction};
pub use evaluate::{EvaluateConfig, Evaluation};
pub use few_shot::{FewShot, TaskLoss};
pub use fit::{EpisodeTrainer, FitConfig, FitSummary};
pub use metric::{
    Centroids, Distance, Embedded, Matching, MetricHead, MetricLearner, Prototypes, Relation, Ridge,
};
pub use objective::PrototypeLoss;
pub use protonet::{ProtoNet, TrainingSummary};
pub use score::{
    Calibration, CalibrationBin, Classification, Regression, Score, Scores, Tally, confusion,
};
pub use simple_shot::SimpleShot;
pub use stack::{Side, Stack};
pub use warm_up::WarmUpEvent;
