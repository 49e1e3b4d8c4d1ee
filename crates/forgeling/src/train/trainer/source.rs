//! Where batches come from.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::data::{
    EpisodeBatch, EpisodeLoader, EpisodeLoaderState, ImageBatch, Loader, LoaderState, MixedBatch,
};
use crate::error::{Error, Result};
use crate::train::parts::Needs;

const OPERATION: &str = "resume_source";

/// Batches, epoch after epoch.
#[expect(
    async_fn_in_trait,
    reason = "a page's futures are not sent to other threads"
)]
pub trait Source {
    /// What a step is taken on.
    type Batch;

    /// The next batch, or `None` at the end of an epoch; the call after that begins the next one. A source without end
    /// has one endless epoch.
    ///
    /// # Errors
    /// When the data cannot be read.
    async fn next(&mut self) -> Result<Option<Self::Batch>>;

    /// What it has for the parts of a run. Default nothing: see [`task`](Self::task).
    fn provides(&self) -> Needs {
        Needs::default()
    }

    /// The task of the batch that was given last, where there are tasks. Another task begins with another epoch. Default
    /// `None`.
    fn task(&self) -> Option<usize> {
        None
    }

    /// Whether the batch that was given last was the last one of its task; asked for at the end of an epoch. A source that
    /// cannot know says no, as by default: a task then ends with the first batch of another.
    fn ends_task(&self) -> bool {
        false
    }

    /// Where the source is, from where [`resume`](Self::resume) goes on.
    fn state(&self) -> Value;

    /// Goes on where another source of the same data and configuration was.
    ///
    /// # Errors
    /// When the state is not one of this kind of source.
    fn resume(&mut self, state: &Value) -> Result<()>;
}

/// The epochs of a [`Loader`] that mixes no images.
#[derive(Debug)]
pub struct Epochs {
    loader: Loader,
    /// Whether the last batch of an epoch has been given, but not that it was the last.
    at_end: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EpochsState {
    loader: LoaderState,
    at_end: bool,
}

impl Epochs {
    /// From where the loader is.
    pub fn of(loader: Loader) -> Self {
        let at_end = false;
        Self { loader, at_end }
    }

    /// The loader.
    pub fn loader(&self) -> &Loader {
        &self.loader
    }
}

impl Source for Epochs {
    type Batch = ImageBatch;

    async fn next(&mut self) -> Result<Option<ImageBatch>> {
        if std::mem::take(&mut self.at_end) {
            return Ok(None);
        }
        let batch = self.loader.next().await?;
        self.at_end = self.loader.state().next_batch == 0;
        Ok(Some(batch))
    }

    fn state(&self) -> Value {
        let (loader, at_end) = (self.loader.state(), self.at_end);
        value(&EpochsState { loader, at_end })
    }

    fn resume(&mut self, state: &Value) -> Result<()> {
        let state: EpochsState = parse(state)?;
        self.loader.resume(state.loader)?;
        self.at_end = state.at_end;
        Ok(())
    }
}

/// The epochs of any [`Loader`], with both labels of images that are mixed.
#[derive(Debug)]
pub struct MixedEpochs(Epochs);

impl MixedEpochs {
    /// From where the loader is.
    pub fn of(loader: Loader) -> Self {
        Self(Epochs::of(loader))
    }
}

impl Source for MixedEpochs {
    type Batch = MixedBatch;

    async fn next(&mut self) -> Result<Option<MixedBatch>> {
        if std::mem::take(&mut self.0.at_end) {
            return Ok(None);
        }
        let batch = self.0.loader.next_mixed().await?;
        self.0.at_end = self.0.loader.state().next_batch == 0;
        Ok(Some(batch))
    }

    fn state(&self) -> Value {
        self.0.state()
    }

    fn resume(&mut self, state: &Value) -> Result<()> {
        self.0.resume(state)
    }
}

/// Episodes without end.
impl Source for EpisodeLoader {
    type Batch = EpisodeBatch;

    async fn next(&mut self) -> Result<Option<EpisodeBatch>> {
        Self::next(self).await.map(Some)
    }

    fn state(&self) -> Value {
        value(&Self::state(self))
    }

    fn resume(&mut self, state: &Value) -> Result<()> {
        Self::resume(self, parse::<EpisodeLoaderState>(state)?)
    }
}

/// Batches that are there already, in their order, epoch after epoch.
#[derive(Debug, Clone)]
pub struct Batches<B> {
    batches: Vec<B>,
    /// The place of the next one; behind the last one the end of the epoch.
    next: usize,
}

impl<B> Batches<B> {
    /// These.
    pub fn new(batches: Vec<B>) -> Self {
        Self { batches, next: 0 }
    }
}

impl<B: Clone> Source for Batches<B> {
    type Batch = B;

    async fn next(&mut self) -> Result<Option<B>> {
        let batch = self.batches.get(self.next).cloned();
        self.next = if batch.is_some() { self.next + 1 } else { 0 };
        Ok(batch)
    }

    fn state(&self) -> Value {
        self.next.into()
    }

    fn resume(&mut self, state: &Value) -> Result<()> {
        let next: usize = parse(state)?;
        if next > self.batches.len() {
            return Err(Error::bad_data(OPERATION, "there are fewer batches")
                .expected(format!("at least {next}"))
                .got(self.batches.len()));
        }
        self.next = next;
        Ok(())
    }
}

/// The batches of another source; before each of them something else has its turn, for example the page.
#[derive(Debug)]
pub struct Paced<'a, S, P> {
    source: &'a mut S,
    pace: &'a P,
}

impl<'a, S: Source, P: AsyncFn() -> Result<()>> Paced<'a, S, P> {
    /// `pace` is called and waited for before each batch; where it fails, training ends with its error.
    pub fn new(source: &'a mut S, pace: &'a P) -> Self {
        Self { source, pace }
    }
}

impl<S: Source, P: AsyncFn() -> Result<()>> Source for Paced<'_, S, P> {
    type Batch = S::Batch;

    async fn next(&mut self) -> Result<Option<S::Batch>> {
        (self.pace)().await?;
        self.source.next().await
    }

    fn provides(&self) -> Needs {
        self.source.provides()
    }

    fn task(&self) -> Option<usize> {
        self.source.task()
    }

    fn ends_task(&self) -> bool {
        self.source.ends_task()
    }

    fn state(&self) -> Value {
        self.source.state()
    }

    fn resume(&mut self, state: &Value) -> Result<()> {
        self.source.resume(state)
    }
}

fn value(state: &impl Serialize) -> Value {
    serde_json::to_value(state).expect("plain numbers and names")
}

fn parse<T: serde::de::DeserializeOwned>(state: &Value) -> Result<T> {
    T::deserialize(state).map_err(|error| {
        let message = format!("the state is of another kind of source: {error}");
        Error::bad_data(OPERATION, message)
    })
}
