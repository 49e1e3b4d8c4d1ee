//! Few-shot learning: a network that classifies from a handful of examples.
//!
//! - [`Learner`]: a model of any [`Method`]; [`LearnerConfig`]: which one.
//! - [`EpisodeTrainer`] and [`Learner::fit`]: training on episodes, step by step or in one call.
//! - [`Learner::evaluate`]: accuracy on unseen classes with a confidence interval.
//! - [`FewShot`]: what every method is; [`TaskLoss`]: what it minimises; [`Stack`]: tasks side by side.
//! - [`MetricLearner`]: an encoder with a [`MetricHead`]: [`Prototypes`], [`Matching`], [`Relation`], [`Ridge`] or
//!   [`Centroids`]; [`SimpleShot`]: a classifier with the last of these.
//! - [`Scores`]: accuracy by task and by class, calibration, likelihood; squared errors.
//! - [`gradient`]: learners that adapt by gradients; [`functional`]: the layers that they differentiate twice.
//! - [`Classifier`]: the trained network with a user's own examples; [`Adaptation`]: what it makes of them; [`Answer`]: what
//!   an image is taken for, and how far that can be believed.

mod classifier;
mod evaluate;
mod few_shot;
mod fit;
mod fit_config;
pub mod functional;
pub mod gradient;
mod learner;
mod metric;
mod score;
mod simple_shot;
mod stack;
mod warm_up;

pub use classifier::{
    AdaptSummary, Adaptation, Classifier, Embedding, FineTuneConfig, FineTuneEvent,
    FineTuneSummary, LoraConfig,
};
pub use evaluate::{EvaluateConfig, Evaluation, TaskEvaluation};
pub use few_shot::{FewShot, TaskByTaskLoss, TaskLoss};
pub use fit::{EpisodeTrainer, FitRun, FitSummary};
pub use fit_config::FitConfig;
pub use learner::{
    AnyGradientMethod, Head, Learner, LearnerConfig, LearnerOptions, MetaTrainingHistory, Method,
    MethodConfig, Model,
};
pub use metric::{
    Centroids, Distance, Embedded, Matching, MetricHead, MetricLearner, Prototypes, Relation, Ridge,
};
pub use score::{
    Calibration, CalibrationBin, Classification, Regression, Score, Scores, Tally, confusion,
};
pub use simple_shot::SimpleShot;
pub use stack::{Side, Stack};
pub use warm_up::WarmUpEvent;

pub use crate::train::{Answer, Prediction};
