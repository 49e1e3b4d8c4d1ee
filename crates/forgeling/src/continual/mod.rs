//! Learning one thing after another, and telling how much of it is left.
//!
//! - [`Scenario`]: what is learned after what, of any labelled data set; [`Kind`]: how its contexts differ; [`Setting`]:
//!   what a learner is told, and what it has to tell.
//! - [`Context`]: the examples of one context, a [`Dataset`](crate::data::Dataset).
//! - [`Stream`]: a scenario as batches to train on; [`Pace`]: how many; [`Shows`]: of which contexts. [`InOrder`]: one
//!   context as it is, to test on.
//! - [`ContinualBatch`]: images, and what is known of each.
//! - [`Buffer`]: examples that are kept within a [`Budget`], chosen by a [`Policy`]; [`ScenarioBuffer`]: with what
//!   it needs when contexts end.
//! - [`AccuracyMatrix`]: how well each context is known after each; [`Summary`]: what follows from that.
//!
//! A *context* is what is learned for a while: van de Ven, Tuytelaars and Tolias, "Three types of incremental learning",
//! Nature Machine Intelligence, 2022. [`Trainer`](crate::train::Trainer) and its parts call it a task.

mod batch;
mod buffer;
mod context;
mod examples;
mod metrics;
mod scenario;
mod source;
mod transform;

pub use batch::ContinualBatch;
pub use buffer::{Budget, Buffer, BufferConfig, Policy, ScenarioBuffer};
pub use context::Context;
pub use metrics::{AccuracyMatrix, ContextScore, Summary, Weighting};
pub use scenario::{Kind, Scenario, ScenarioConfig, Setting};
pub use source::{InOrder, Pace, Shows, Stream, StreamConfig};
