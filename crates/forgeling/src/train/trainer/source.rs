//! Where batches come from.

use serde_json::Value;

use crate::error::Result;

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

    /// Where the source is, from where [`resume`](Self::resume) goes on.
    fn state(&self) -> Value;

    /// Goes on where another source of the same data and configuration was.
    ///
    /// # Errors
    /// When the state is not one of this kind of source.
    fn resume(&mut self, state: &Value) -> Result<()>;
}
