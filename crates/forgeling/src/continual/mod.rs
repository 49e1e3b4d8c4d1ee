//! Learning one thing after another, and telling how much of it is left.
//!
//! - [`Scenario`]: what is learned after what, of any labelled data set; [`Kind`]: how its contexts differ; [`Setting`]:
//!   what a learner is told, and what it has to tell.
//! - [`Context`]: the examples of one context, a [`Dataset`](crate::data::Dataset).
//! - [`Stream`]: a scenario as batches to train on; [`Pace`]: how many; [`Shows`]: of which contexts. [`InOrder`]: one
//!   context as it is, to test on.
//! - [`ContinualBatch`]: images, and what is known of each.
//! - [`Head`]: which outputs count for which example; [`ContinualLoss`]: the loss on new examples.
//! - [`Buffer`]: examples that are kept within a [`Budget`], chosen by a [`Policy`]; [`ScenarioBuffer`]: with what
//!   it needs when contexts end; [`SharedBuffer`]: one that a strategy fills; [`BufferSource`]: to train on what is kept.
//! - [`Er`], [`Der`], [`AGem`], [`Icarl`]: what is learned again.
//! - [`Ewc`], [`Si`], [`Mas`], [`Lwf`]: methods that keep what was learned without keeping examples.
//! - [`ClosedForm`]: classifiers that are computed, not trained; [`RandomFeatures`]: what they may learn on.
//! - [`Experiment`]: a whole run, as its [`Protocol`] says; [`Preset`]: published protocols.
//! - [`ContinualLearner`]: learns from examples that are pushed, one task after the other.
//! - [`AccuracyMatrix`]: how well each context is known after each; [`Summary`]: what follows from that.
//!
//! A *context* is what is learned for a while: van de Ven, Tuytelaars and Tolias, "Three types of incremental learning",
//! Nature Machine Intelligence, 2022. [`Trainer`](crate::train::Trainer) and its parts call it a task.

mod batch;
mod buffer;
mod closed_form;
mod context;
mod examples;
mod experiment;
mod head;
mod learner;
mod loss;
mod metrics;
mod scenario;
mod source;
mod strategies;
#[cfg(test)]
mod testing;
mod transform;

pub use batch::ContinualBatch;
pub use buffer::{
    Budget, Buffer, BufferConfig, BufferSource, BufferSourceConfig, Policy, ScenarioBuffer,
    SharedBuffer,
};
pub use closed_form::{ClosedForm, ClosedFormRule, RandomFeatures};
pub use context::Context;
pub use experiment::{
    Accuracies, Ended, Experiment, FrozenFeatures, GDumbConfig, Outcome, Preset, Protocol,
    RunEvent, Seeds, Strategy, StrategyName,
};
pub use head::{Head, HeadKind, HeadProgress};
pub use learner::{ContinualLearner, ContinualLearnerConfig, LearnerStrategy};
pub use loss::{ContinualLoss, NewMask, NewWeight};
pub use metrics::{AccuracyMatrix, ContextScore, Summary, Weighting};
pub use scenario::{Kind, Scenario, ScenarioConfig, Setting};
pub use source::{InOrder, Pace, Shows, Stream, StreamConfig};
pub use strategies::{
    AGem, AGemConfig, ByParameter, Der, DerConfig, Distilled, Er, ErConfig, Ewc, EwcConfig,
    FisherKind, Icarl, IcarlConfig, Lwf, LwfConfig, Mas, MasConfig, MasKind, PathIntegral,
    ReplayWeight, Si, SiConfig, fisher_diagonal,
};
