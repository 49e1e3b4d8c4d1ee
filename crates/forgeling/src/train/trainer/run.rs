//! What a run of training reads, writes and takes in.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;

use serde_json::Value;

use super::Source;
use crate::error::{Error, Result};
use crate::train::parts::{Method, Parts, Replay, Takes};
use crate::train::{Batch, Checkpoints};

const OPERATION: &str = "fit";

/// What [`Trainer::fit`](super::Trainer::fit) reads, writes and takes in:
/// `Run::on(&mut source).validated_on("held out", &mut other).with_method(&mut method)`.
pub struct Run<'a, S: Source, M> {
    pub(super) source: &'a mut S,
    pub(super) validation: Vec<HeldOut<'a, S::Batch>>,
    judge: Option<String>,
    pub(super) checkpoints: Option<&'a mut dyn Checkpoints>,
    pub(super) parts: Parts<'a, M, S::Batch>,
}

impl<'a, S: Source, M> Run<'a, S, M> {
    /// Trains on these batches.
    pub fn on(source: &'a mut S) -> Self {
        Self {
            source,
            validation: Vec::new(),
            judge: None,
            checkpoints: None,
            parts: Parts::none(),
        }
    }

    /// Validates on an epoch of these too, after every epoch or as
    /// [`validate_every`](super::TrainerConfig::validate_every) says. Events tell the name. The first set drives early
    /// stopping and is in checkpoints and summaries, or the one that [`judged_on`](Self::judged_on) names.
    #[must_use]
    pub fn validated_on(
        mut self,
        name: &str,
        source: &'a mut impl Source<Batch = S::Batch>,
    ) -> Self {
        let name = name.into();
        self.validation.push(HeldOut { name, source });
        self
    }

    /// Which of several validation sets drives early stopping.
    #[must_use]
    pub fn judged_on(mut self, name: &str) -> Self {
        self.judge = Some(name.into());
        self
    }

    /// Goes on from the latest checkpoint there, if there is one, and saves others, after every epoch, at the end, and as
    /// [`checkpoint_every`](super::TrainerConfig::checkpoint_every) says.
    #[must_use]
    pub fn saved_in(mut self, checkpoints: &'a mut dyn Checkpoints) -> Self {
        self.checkpoints = Some(checkpoints);
        self
    }

    /// Trains with a method. Losses that are reported have what it adds; validation is by the objective alone, with the
    /// predictor if there is one.
    #[must_use]
    pub fn with_method(mut self, method: &'a mut dyn Method<M, S::Batch>) -> Self {
        self.parts.methods.push(method);
        self
    }

    /// Keeps examples here for parts that need those of before.
    #[must_use]
    pub fn replaying(mut self, replay: &'a mut dyn Replay<S::Batch>) -> Self {
        self.parts.replay = Some(replay);
        self
    }

    /// Whether what was given goes together, where `takes` takes the steps.
    pub(super) fn check(&mut self, takes: Takes) -> Result<()> {
        let mut names = BTreeSet::new();
        for HeldOut { name, .. } in &self.validation {
            if !names.insert(name) {
                let message = "two validation sets have one name";
                return Err(Error::invalid(OPERATION, message).got(format!("'{name}'")));
            }
        }
        if let Some(judge) = self.judge.as_ref().filter(|judge| !names.contains(judge)) {
            let message = "there is no validation set of that name";
            return Err(Error::invalid(OPERATION, message)
                .expected(format!("one of {names:?}"))
                .got(format!("'{judge}'")));
        }
        self.parts.check(self.source.provides(), takes)
    }

    /// Whether the set of this name drives early stopping, where there is one.
    pub(super) fn judges(&self, name: &str) -> bool {
        let first = self.validation.first().map(|held| &held.name);
        self.judge
            .as_ref()
            .or(first)
            .is_some_and(|judge| judge == name)
    }
}

impl<S: Source, M> Run<'_, S, M>
where
    S::Batch: Batch,
{
    /// Examples of before for the next step, if a part needs some.
    pub(super) fn replayed(&mut self) -> Result<Option<S::Batch>> {
        match (self.parts.replayed(), &mut self.parts.replay) {
            (count @ 1.., Some(replay)) => replay.draw(count),
            _ => Ok(None),
        }
    }

    /// Takes notice of what a step was taken on. `answers` are those to all batches, one after the other.
    pub(super) fn remember(
        &mut self,
        batches: &[S::Batch],
        task: Option<usize>,
        answers: Option<&[f32]>,
    ) -> Result<()> {
        let Some(replay) = &mut self.parts.replay else {
            return Ok(());
        };
        let examples: usize = batches.iter().map(Batch::len).sum();
        let answers = answers.filter(|answers| answers.len().is_multiple_of(examples));
        let mut first = 0;
        for batch in batches {
            let rows = first..first + batch.len();
            first = rows.end;
            let own = answers.map(|answers| {
                let outputs = answers.len() / examples;
                &answers[rows.start * outputs..rows.end * outputs]
            });
            replay.remember(batch, task, own)?;
        }
        Ok(())
    }
}

/// A validation set.
pub(super) struct HeldOut<'a, B> {
    pub name: String,
    pub source: &'a mut dyn AnySource<B>,
}

/// As [`Source`], of whatever type.
pub(super) trait AnySource<B> {
    fn next(&mut self) -> Pin<Box<dyn Future<Output = Result<Option<B>>> + '_>>;
    fn state(&self) -> Value;
    fn resume(&mut self, state: &Value) -> Result<()>;
}

impl<S: Source> AnySource<S::Batch> for S {
    fn next(&mut self) -> Pin<Box<dyn Future<Output = Result<Option<S::Batch>>> + '_>> {
        Box::pin(Source::next(self))
    }

    fn state(&self) -> Value {
        Source::state(self)
    }

    fn resume(&mut self, state: &Value) -> Result<()> {
        Source::resume(self, state)
    }
}

impl<B> Source for HeldOut<'_, B> {
    type Batch = B;

    async fn next(&mut self) -> Result<Option<B>> {
        self.source.next().await
    }

    fn state(&self) -> Value {
        self.source.state()
    }

    fn resume(&mut self, state: &Value) -> Result<()> {
        self.source.resume(state)
    }
}
