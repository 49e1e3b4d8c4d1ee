//! A scenario as batches.

use std::ops::Range;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::examples::Examples;
use super::scenario::MOST_EXAMPLES;
use super::{ContinualBatch, Kind, Scenario, ScenarioConfig, Setting};
use crate::data::{Rng, Split};
use crate::error::{Error, Result};
use crate::train::Source;
use crate::train::parts::Needs;

const OPERATION: &str = "stream";
const RESUME: &str = "resume_stream";
const ORDER_STREAM: u64 = 3;
const BLUR_STREAM: u64 = 4;

/// How many batches there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Pace {
    /// So many for each context, of examples that are shuffled anew whenever they are used up; what is then left of less
    /// than a batch is passed over, and a context of fewer examples has smaller batches. The way of van de Ven's benchmark.
    Iterations {
        /// Batches.
        iterations: usize,
        /// Examples of a batch.
        batch_size: usize,
    },
    /// All examples of a context so many times, each time shuffled anew; the last batch may have fewer. The way of Mammoth.
    Epochs {
        /// Times.
        epochs: usize,
        /// Examples of a batch.
        batch_size: usize,
    },
}

/// What is trained on at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shows {
    /// One context after the other.
    Each,
    /// Each context with all those before it.
    SoFar,
    /// All contexts at once, as if there were one: a [`Pace`] is that of all of them. There is no boundary then.
    All,
}

/// How a scenario becomes a [`Stream`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamConfig {
    /// What is trained on at a time.
    pub shows: Shows,
    /// How many batches.
    pub pace: Pace,
    /// What the order of the examples follows from, and nothing else.
    pub seed: u64,
}

/// A scenario as batches to train on, to its end. What the scenario's [`Setting`] does not tell is not in them.
///
/// An epoch ends with each context, or with each pass through one where the pace is in epochs; contexts whose boundaries
/// are not told are one epoch together. Train for [`epochs`](Self::epochs) of them.
///
/// ```
/// use forgeling::continual::{Kind, Pace, Scenario, ScenarioConfig, Setting, Shows, Stream, StreamConfig};
/// use forgeling::data::{Glyphs, Split, Subset};
/// use forgeling::train::Source;
///
/// # pollster::block_on(async {
/// let glyphs = || Subset::first(Glyphs::new(1, Split::Train, 4)?, 10);
/// let kind = Kind::split_evenly(4, 2)?;
/// let config = ScenarioConfig { kind, setting: Setting::Class, class_order: None };
/// let scenario = Scenario::new(glyphs()?, glyphs()?, config)?;
/// let pace = Pace::Iterations { iterations: 3, batch_size: 8 };
/// let mut stream = Stream::new(scenario, StreamConfig { shows: Shows::Each, pace, seed: 0 })?;
/// let batch = stream.next().await?.unwrap();
/// assert_eq!((batch.contexts, stream.task(), stream.epochs()), (vec![0; 8], Some(0), 2));
/// # Ok::<(), forgeling::Error>(()) }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct Stream {
    scenario: Scenario,
    config: StreamConfig,
    phases: Vec<Phase>,
    place: Place,
    /// Of the pass that is being dealt out, once it is needed.
    pass: Option<Pass>,
}

/// What is trained on until the next change.
#[derive(Debug, Clone)]
struct Phase {
    contexts: Range<usize>,
    examples: usize,
    /// Examples of a batch.
    size: usize,
    /// Batches until the examples are used up.
    per_pass: usize,
    batches: usize,
}

/// Where a stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    phase: usize,
    /// The next batch of the phase.
    batch: usize,
    /// Whether the last batch of an epoch has been given, but not that it was the last.
    at_end: bool,
}

/// What a checkpoint holds of it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    scenario: ScenarioConfig,
    config: StreamConfig,
    /// Of each phase.
    examples: Vec<usize>,
    place: Place,
}

/// The examples of a phase in one order.
#[derive(Debug, Clone)]
struct Pass {
    phase: usize,
    number: usize,
    examples: Examples,
    order: Vec<u32>,
}

impl Stream {
    /// A stream at its beginning.
    ///
    /// # Errors
    /// When the pace has no batch or no example, more than 2²⁸ examples come together, contexts are to be added up that
    /// nobody is told of, or a scenario whose contexts run into each other is to come more than once.
    pub fn new(scenario: Scenario, config: StreamConfig) -> Result<Self> {
        let refuse = |message: &str| Error::invalid(OPERATION, message);
        let blurred = matches!(scenario.config().kind, Kind::Blurred { .. });
        let (Pace::Iterations {
            iterations: count,
            batch_size,
        }
        | Pace::Epochs {
            epochs: count,
            batch_size,
        }) = config.pace;
        if count == 0 || batch_size == 0 {
            return Err(refuse("the pace has no batch or no example")
                .expected("1 or more")
                .got(format!("{:?}", config.pace)));
        }
        let hidden = scenario.config().setting == Setting::Free;
        if hidden && config.shows == Shows::SoFar {
            return Err(refuse("without boundaries no context is added to others")
                .expected("each context, or all"));
        }
        let once = matches!(config.pace, Pace::Epochs { epochs: 1, .. });
        if blurred && config.shows == Shows::Each && !once {
            return Err(refuse("contexts that run into each other come once")
                .expected("one epoch")
                .got(format!("{:?}", config.pace)));
        }
        let all = 0..scenario.len();
        let phases: Vec<Range<usize>> = match config.shows {
            Shows::All => vec![all],
            // The order is that of the whole.
            Shows::Each if blurred => vec![all],
            Shows::Each => all.map(|context| context..context + 1).collect(),
            Shows::SoFar => all.map(|context| 0..context + 1).collect(),
        };
        let phase = |contexts: Range<usize>| Phase::new(&scenario, contexts, config.pace);
        let phases = phases.into_iter().map(phase).collect::<Result<_>>()?;
        Ok(Self {
            scenario,
            config,
            phases,
            place: Place::default(),
            pass: None,
        })
    }

    /// As configured.
    pub fn config(&self) -> &StreamConfig {
        &self.config
    }

    /// The scenario.
    pub fn scenario(&self) -> &Scenario {
        &self.scenario
    }

    /// Epochs until the end.
    pub fn epochs(&self) -> usize {
        match self.config.pace {
            _ if self.is_one_epoch() => 1,
            Pace::Iterations { .. } => self.phases.len(),
            Pace::Epochs { epochs, .. } => self.phases.len().saturating_mul(epochs),
        }
    }

    /// After how many batches each change is: with [`Shows::Each`] the end of each context, also where nobody is told.
    /// Contexts that run into each other end together.
    pub fn ends(&self) -> Vec<usize> {
        let batches = self.phases.iter().map(|phase| phase.batches);
        let sum = |sum: &mut usize, batches: usize| {
            *sum = sum.saturating_add(batches);
            Some(*sum)
        };
        batches.scan(0, sum).collect()
    }

    /// Whether an epoch's end would tell what the setting does not.
    fn is_one_epoch(&self) -> bool {
        self.scenario.config().setting == Setting::Free && self.config.shows == Shows::Each
    }

    /// Whether the batch that was given last was the last one of an epoch.
    fn ends_epoch(&self) -> bool {
        let Place { phase, batch, .. } = self.place;
        let of = &self.phases[phase];
        match self.config.pace {
            _ if self.is_one_epoch() => batch == of.batches && phase + 1 == self.phases.len(),
            Pace::Iterations { .. } => batch == of.batches,
            Pace::Epochs { .. } => batch.is_multiple_of(of.per_pass),
        }
    }

    /// The examples of a phase in the order of one pass through them.
    fn pass(&self, phase: usize, number: usize) -> Result<Pass> {
        let contexts = self.phases[phase].contexts.clone();
        let examples = Examples::of(&self.scenario, Split::Train, contexts)?;
        let rng = Rng::new(self.config.seed);
        let order = match self.scenario.config().kind {
            Kind::Blurred { overlap, .. } if self.config.shows == Shows::Each => {
                examples.blurred(overlap, &mut rng.fork(BLUR_STREAM))
            }
            _ => {
                let mut order: Vec<u32> = (0..examples.count() as u32).collect();
                let rng = rng.fork(ORDER_STREAM).fork(phase as u64);
                rng.fork(number as u64).shuffle(&mut order);
                order
            }
        };
        Ok(Pass {
            phase,
            number,
            examples,
            order,
        })
    }
}

impl Phase {
    fn new(scenario: &Scenario, contexts: Range<usize>, pace: Pace) -> Result<Self> {
        let mut examples = 0usize;
        for context in contexts.clone() {
            let context = scenario.context(Split::Train, context)?;
            examples = examples.saturating_add(context.example_count());
        }
        if examples > MOST_EXAMPLES {
            return Err(Error::invalid(OPERATION, "too many examples come together")
                .expected(format!("at most {MOST_EXAMPLES}"))
                .got(examples));
        }
        let (size, per_pass, batches) = match pace {
            Pace::Iterations {
                iterations,
                batch_size,
            } => {
                let size = batch_size.min(examples);
                (size, examples / size, iterations)
            }
            Pace::Epochs { epochs, batch_size } => {
                let per_pass = examples.div_ceil(batch_size);
                (batch_size, per_pass, per_pass.saturating_mul(epochs))
            }
        };
        Ok(Self {
            contexts,
            examples,
            size,
            per_pass,
            batches,
        })
    }
}

impl Source for Stream {
    type Batch = ContinualBatch;

    async fn next(&mut self) -> Result<Option<ContinualBatch>> {
        if std::mem::take(&mut self.place.at_end) {
            return Ok(None);
        }
        let Place {
            mut phase,
            mut batch,
            ..
        } = self.place;
        if batch == self.phases[phase].batches {
            (phase, batch) = (phase + 1, 0);
        }
        let Some(of) = self.phases.get(phase) else {
            return Err(Error::invalid(OPERATION, "the stream has come to its end")
                .expected(format!("{} epochs", self.epochs())));
        };
        let (size, number, first) = (of.size, batch / of.per_pass, batch % of.per_pass * of.size);
        let pass = match self.pass.take() {
            Some(pass) if (pass.phase, pass.number) == (phase, number) => pass,
            _ => self.pass(phase, number)?,
        };
        let last = (first + size).min(pass.order.len());
        let needs = self.provides();
        let told = needs.task_boundaries || needs.task_ids;
        let numbers = pass.order[first..last].iter();
        let given = pass
            .examples
            .batch(numbers.map(|&number| number as usize), told);
        self.pass = Some(pass);
        let given = given?;
        batch += 1;
        self.place = Place {
            phase,
            batch,
            at_end: false,
        };
        self.place.at_end = self.ends_epoch();
        Ok(Some(given))
    }

    fn provides(&self) -> Needs {
        let revealed = self.scenario.config().setting.reveals();
        Needs {
            task_boundaries: revealed.task_boundaries && self.config.shows != Shows::All,
            ..revealed
        }
    }

    fn task(&self) -> Option<usize> {
        let Place { phase, batch, .. } = self.place;
        (self.provides().task_boundaries && batch > 0).then_some(phase)
    }

    fn ends_task(&self) -> bool {
        let Place { phase, batch, .. } = self.place;
        self.task().is_some() && batch == self.phases[phase].batches
    }

    fn state(&self) -> Value {
        let state = State {
            scenario: self.scenario.config().clone(),
            config: self.config.clone(),
            examples: self.phases.iter().map(|phase| phase.examples).collect(),
            place: self.place,
        };
        serde_json::to_value(&state).expect("plain numbers and names")
    }

    fn resume(&mut self, state: &Value) -> Result<()> {
        let state = State::deserialize(state).map_err(|error| {
            let message = format!("the state is of another kind of source: {error}");
            Error::bad_data(RESUME, message)
        })?;
        let other = |what: &str, expected: String, got: String| {
            let message = format!("the state is of a stream with another {what}");
            Err(Error::invalid(RESUME, message).expected(expected).got(got))
        };
        if state.scenario != *self.scenario.config() {
            let own = format!("{:?}", self.scenario.config());
            return other("scenario", own, format!("{:?}", state.scenario));
        }
        if state.config != self.config {
            let own = format!("{:?}", self.config);
            return other("configuration", own, format!("{:?}", state.config));
        }
        let examples: Vec<usize> = self.phases.iter().map(|phase| phase.examples).collect();
        if state.examples != examples {
            let own = format!("{examples:?} examples");
            return other("data set", own, format!("{:?}", state.examples));
        }
        let place = state.place;
        let phase = self.phases.get(place.phase);
        if phase.is_none_or(|phase| place.batch > phase.batches) {
            return Err(
                Error::bad_data(RESUME, "the state is behind the stream's end")
                    .got(format!("batch {} of {}", place.batch, place.phase)),
            );
        }
        self.place = place;
        Ok(())
    }
}

/// The examples of one context in their order, each once: to test on, or to look through what was learned. Epoch after epoch
/// is the same. To test on, the context is told in the setting [`Task`](Setting::Task) only.
#[derive(Debug, Clone)]
pub struct InOrder {
    examples: Examples,
    batch_size: usize,
    told: bool,
    task_ids: bool,
    /// The next example.
    next: usize,
}

impl InOrder {
    /// Those to train on, or to test with, in batches of so many.
    ///
    /// # Errors
    /// When there is no such context, or a batch has no example.
    pub fn new(
        scenario: &Scenario,
        split: Split,
        context: usize,
        batch_size: usize,
    ) -> Result<Self> {
        if batch_size == 0 {
            return Err(Error::invalid(OPERATION, "a batch has no example")
                .expected("1 or more")
                .got(0));
        }
        // An empty range would be no error.
        let last = scenario.labels(context).map(|_| context + 1)?;
        let revealed = scenario.config().setting.reveals();
        let told = match split {
            Split::Train => revealed.task_boundaries,
            Split::Test => revealed.task_ids,
        };
        Ok(Self {
            examples: Examples::of(scenario, split, context..last)?,
            batch_size,
            told,
            task_ids: revealed.task_ids,
            next: 0,
        })
    }
}

impl Source for InOrder {
    type Batch = ContinualBatch;

    async fn next(&mut self) -> Result<Option<ContinualBatch>> {
        let last = self.next.saturating_add(self.batch_size);
        let numbers = self.next..last.min(self.examples.count());
        if numbers.is_empty() {
            self.next = 0;
            return Ok(None);
        }
        let next = numbers.end;
        let batch = self.examples.batch(numbers, self.told)?;
        self.next = next;
        Ok(Some(batch))
    }

    fn provides(&self) -> Needs {
        Needs {
            task_ids: self.task_ids,
            ..Default::default()
        }
    }

    fn state(&self) -> Value {
        self.next.into()
    }

    fn resume(&mut self, state: &Value) -> Result<()> {
        let next = usize::deserialize(state).map_err(|error| {
            let message = format!("the state is of another kind of source: {error}");
            Error::bad_data(RESUME, message)
        })?;
        if next > self.examples.count() {
            return Err(Error::bad_data(RESUME, "there are fewer examples")
                .expected(format!("at least {next}"))
                .got(self.examples.count()));
        }
        self.next = next;
        Ok(())
    }
}
