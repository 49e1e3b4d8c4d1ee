//! Whole runs of continual learning.
//!
//! - [`Experiment`]: one run, from a seed to its [`Outcome`].
//! - [`Protocol`]: all that it follows from beside data and network; [`Strategy`]: how it keeps what it has learned.
//! - [`Accuracies`]: how well its contexts are known.
//! - `trained`: runs that take steps. `single_pass`: runs in which batches only pass by: `computed`, classifiers in closed
//!   form; `dumb`, a network from nothing at each test.

mod computed;
mod dumb;
mod measured;
mod protocol;
mod single_pass;
mod strategy;
mod trained;

use std::ops::ControlFlow;

use burn::module::Module;
use serde::{Deserialize, Serialize};

use self::computed::Computed;
use self::dumb::Dumb;
pub use self::measured::Accuracies;
pub use self::protocol::{Preset, Protocol};
pub use self::strategy::{FrozenFeatures, GDumbConfig, Strategy, StrategyName};
use super::{ContextScore, Head, HeadKind, InOrder, Scenario, Stream, StreamConfig};
use crate::data::Split;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::nn::Network;
use crate::nn::graph::{Graph, Shape};
use crate::train::{Checkpoints, HardwareManager, Source, TrainEvent};

const OPERATION: &str = "continual_run";
/// Examples of a batch that is tested.
const TEST_BATCH: usize = 500;

/// Seeds of a run that do not depend on each other. The order of classes has its own in
/// [`ScenarioConfig::class_order`](super::ScenarioConfig::class_order).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seeds {
    /// Of the network's initial weights.
    pub weights: u64,
    /// Of the order of examples.
    pub order: u64,
    /// Of what the strategy draws: examples that are kept and replayed, labels, features.
    pub strategy: u64,
}

impl Seeds {
    /// The same for all.
    pub fn all(seed: u64) -> Self {
        Self {
            weights: seed,
            order: seed,
            strategy: seed,
        }
    }
}

/// One run of continual learning.
#[derive(Debug, Clone)]
pub struct Experiment {
    scenario: Scenario,
    graph: Graph,
    protocol: Protocol,
    seeds: Seeds,
    test_every: Option<usize>,
    checkpoint_every: Option<usize>,
    weights: Option<Network>,
}

/// What happens in a run; `ControlFlow::Break` stops it, with everything saved that belongs to a checkpoint.
#[derive(Debug, Clone, Copy)]
pub enum RunEvent<'a> {
    /// In training.
    Training(&'a TrainEvent),
    /// A batch passed by of which something was learned without a step.
    Learned {
        /// Batches so far.
        batches: usize,
        /// Of so many.
        of: usize,
    },
    /// A context was tested.
    Tested {
        /// Steps or batches so far.
        step: usize,
        /// Which one, counted from 0.
        context: usize,
        /// The share of its examples that was told right.
        accuracy: f64,
    },
}

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    /// How well its contexts are known.
    pub accuracies: Accuracies,
    /// Steps of the optimizer.
    pub steps: usize,
    /// Examples that came from the stream.
    pub examples_seen: u64,
    /// Examples that were trained on again.
    pub examples_replayed: u64,
    /// Multiply-adds of the forward and backward passes on these, counted as three forward passes each; what the strategy
    /// computes beside them, such as importance, is not in it.
    pub multiply_adds: u64,
    /// Bytes of the network's values.
    pub model_bytes: u64,
    /// Bytes of the examples that were kept at the end.
    pub buffer_bytes: u64,
    /// Bytes of what else the strategy needs to go on at the end.
    pub state_bytes: u64,
    /// Seconds, tests included, and those of earlier processes.
    pub seconds: f64,
}

/// What [`Experiment::run`] came to.
#[derive(Debug, Clone, PartialEq)]
pub enum Ended {
    /// To its end.
    Finished(Box<Outcome>),
    /// To a stop that was asked for, after so many steps.
    Asked(usize),
}

impl Experiment {
    /// A run on the contexts of a scenario. `graph` has an output for each of the scenario's
    /// [labels](Scenario::outputs).
    ///
    /// # Errors
    /// When the network does not fit the scenario, or the protocol needs what the scenario's setting does not tell.
    pub fn new(scenario: Scenario, graph: Graph, protocol: Protocol, seeds: Seeds) -> Result<Self> {
        let outputs = scenario.outputs();
        if graph.output_shape() != Shape::Values(outputs) {
            return Err(
                Error::invalid(OPERATION, "the network does not fit the scenario")
                    .expected(format!("{outputs} outputs"))
                    .got(graph.output_shape()),
            );
        }
        if graph.image_shape().len() != scenario.image_shape().len() {
            return Err(
                Error::invalid(OPERATION, "the network does not fit the images")
                    .expected(scenario.image_shape())
                    .got(graph.image_shape()),
            );
        }
        let experiment = Self {
            scenario,
            graph,
            protocol,
            seeds,
            test_every: None,
            checkpoint_every: None,
            weights: None,
        };
        experiment.check_strategy()?;
        Ok(experiment)
    }

    /// Tests on all contexts also after so many steps, which shows how accuracy falls within a context and comes back.
    #[must_use]
    pub fn testing_every(mut self, steps: usize) -> Self {
        self.test_every = Some(steps.max(1));
        self
    }

    /// Saves a checkpoint also after so many steps, and not only when contexts end.
    #[must_use]
    pub fn saving_every(mut self, steps: usize) -> Self {
        self.checkpoint_every = Some(steps.max(1));
        self
    }

    /// Begins with these weights, of a network with the same graph, and not with those that the seed gives.
    ///
    /// # Errors
    /// When the network has another graph.
    pub fn from_weights(mut self, network: Network) -> Result<Self> {
        if network.graph() != &self.graph {
            return Err(Error::invalid(
                OPERATION,
                "the weights are of another network",
            ));
        }
        self.weights = Some(network);
        Ok(self)
    }

    /// The scenario.
    pub fn scenario(&self) -> &Scenario {
        &self.scenario
    }

    /// The network.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The protocol.
    pub fn protocol(&self) -> &Protocol {
        &self.protocol
    }

    /// The batches that the run is trained on.
    ///
    /// # Errors
    /// As [`Stream::new`].
    pub fn stream(&self) -> Result<Stream> {
        let config = StreamConfig {
            shows: self.protocol.strategy.shows(),
            pace: self.protocol.pace,
            seed: self.seeds.order,
        };
        Stream::new(self.scenario.clone(), config)
    }

    /// Whether the scenario tells all that stream, head and strategy need to be told.
    fn check_strategy(&self) -> Result<()> {
        let strategy = &self.protocol.strategy;
        let (told, head) = (self.stream()?.provides(), self.head()?);
        let methods = match strategy {
            Strategy::GDumb(_) => return strategy.buffer(self).map(drop),
            Strategy::ClosedForm { .. } => return Ok(()),
            _ => strategy.parts(self, &head)?.methods,
        };
        for method in methods {
            let (needs, name) = (method.needs(), method.name());
            let lacks = |what: &str, expected: &str| {
                let message = format!("the strategy '{name}' needs to be told {what}");
                Err(Error::invalid(OPERATION, message)
                    .expected(expected)
                    .got(format!("the setting {:?}", self.scenario.config().setting)))
            };
            if needs.task_boundaries && !told.task_boundaries {
                return lacks(
                    "where contexts end",
                    "a setting with boundaries: Task, Domain or Class",
                );
            }
            if needs.task_ids && !told.task_ids {
                return lacks(
                    "the context of each example",
                    "the setting Task, which tells it",
                );
            }
        }
        Ok(())
    }

    fn head(&self) -> Result<Head> {
        let head = Head::new(self.protocol.head, &self.scenario)?;
        Ok(head.showing(self.protocol.strategy.shows()))
    }

    /// Takes the run to its end, and gives what it came to. With checkpoints it goes on where it was stopped or killed, and
    /// comes to the same, on the CPU bit for bit.
    ///
    /// # Errors
    /// When the strategy needs what the scenario does not tell, as [`Trainer::fit`](crate::train::Trainer::fit), and when
    /// data cannot be read.
    pub async fn run(
        &self,
        manager: HardwareManager,
        checkpoints: Option<&mut dyn Checkpoints>,
        on_event: impl FnMut(RunEvent<'_>) -> ControlFlow<()>,
    ) -> Result<Ended> {
        match self.protocol.strategy {
            Strategy::GDumb(config) => {
                let learner = Dumb::new(self, config, &manager)?;
                single_pass::run(self, learner, checkpoints, on_event).await
            }
            Strategy::ClosedForm { rule, features } => {
                let learner = Computed::new(self, rule, features, manager.device())?;
                single_pass::run(self, learner, checkpoints, on_event).await
            }
            _ => trained::run(self, manager, checkpoints, on_event).await,
        }
    }

    /// The network before anything is learned.
    fn network(&self, device: &Device) -> Result<Network> {
        Ok(match &self.weights {
            Some(weights) => weights.clone().fork(&device.autodiff()),
            None => Network::new(&self.graph, self.seeds.weights, device),
        })
    }

    /// The test examples of every context.
    fn tests(&self) -> Result<Vec<InOrder>> {
        let contexts = 0..self.scenario.len();
        let test = |context| InOrder::new(&self.scenario, Split::Test, context, TEST_BATCH);
        contexts.map(test).collect()
    }

    /// Whether the same answer cannot be right in two contexts, since the classes of all of them are told apart in tests.
    fn tells_contexts_apart(&self) -> Result<bool> {
        let masked = matches!(
            self.protocol.head,
            HeadKind::PerTask | HeadKind::MaskedAtTest
        );
        let last = self.scenario.labels(self.scenario.len() - 1)?;
        Ok(!masked && self.scenario.labels(0)? != last)
    }

    fn scores(&self) -> Result<Vec<ContextScore>> {
        let score = |context| {
            let context = self.scenario.context(Split::Test, context)?;
            Ok(ContextScore {
                examples: context.example_count(),
                chance: context.chance(),
            })
        };
        (0..self.scenario.len()).map(score).collect()
    }
}
