//! Batches made ahead of the training that uses them, the same ones whoever makes them and when.
//!
//! | item | what it is |
//! |---|---|
//! | [`Loader`] | batches of labelled images, epoch after epoch |
//! | [`EpisodeLoader`] | batches of episodes, without end |
//!
//! Everything follows from the seed: an epoch's order is a permutation of its own, and each image's augmentation has random
//! numbers of its own, which follow from the epoch and the image's number in the set. So worker threads may render batches
//! in any order and at any time, and a loader that goes on from a saved state gives the batches that an uninterrupted one
//! would have given.
//!
//! Where there are no threads, as in a browser, batches are rendered when they are asked for, and the page gets its turn
//! every few milliseconds.
//!
//! - `pipeline`: worker threads, and the order in which their work is delivered.
//! - `images`, `episodes`: what is to be made, in which order.
//! - `rendering`: how an image is made: read, changed, standardised.

mod episodes;
mod images;
mod pipeline;
mod rendering;

pub use episodes::{EpisodeLoader, EpisodeLoaderConfig, EpisodeLoaderState};
pub use images::{ImageBatch, Loader, LoaderConfig, LoaderState, MixedBatch, MixedLabels};

use crate::error::{Error, Result};

/// More workers than any machine has use for.
const MOST_WORKERS: usize = 256;
/// More batches than any memory holds.
const MOST_AHEAD: usize = 1 << 16;

/// Streams of random numbers that are forked from a loader's seed.
const ORDER_STREAM: u64 = 1;
const AUGMENT_STREAM: u64 = 2;

/// Checks what both loaders are configured with.
fn check_counts(
    operation: &'static str,
    batch: (&'static str, usize),
    workers: usize,
    prefetch: usize,
) -> Result<()> {
    let ranges = [
        (batch.0, batch.1, 1, usize::MAX),
        ("workers", workers, 0, MOST_WORKERS),
        ("prefetch", prefetch, 1, MOST_AHEAD),
    ];
    for (name, value, low, high) in ranges {
        if !(low..=high).contains(&value) {
            return Err(Error::invalid(operation, format!("{name} is out of range"))
                .expected(match high {
                    usize::MAX => format!("{low} or more"),
                    _ => format!("{low} to {high}"),
                })
                .got(value));
        }
    }
    Ok(())
}
