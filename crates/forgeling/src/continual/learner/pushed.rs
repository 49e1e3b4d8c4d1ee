//! Examples that were pushed, as batches.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::continual::ContinualBatch;
use crate::data::{ImageBatch, Rng};
use crate::error::{Error, Result};
use crate::train::Source;
use crate::train::parts::Needs;

const RESUME: &str = "resume_pushed";

/// Epochs of the examples of one call, each time shuffled anew. All are of one task.
pub(super) struct Pushed {
    images: ImageBatch,
    task: usize,
    /// Examples of a batch; the last one of an epoch may have fewer.
    batch_size: usize,
    /// What the order follows from.
    rng: Rng,
    place: Place,
    /// Of the epoch that is being dealt out, once it is needed.
    order: Option<Vec<usize>>,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    epoch: u64,
    /// The next example in the order of the epoch.
    next: usize,
}

impl Pushed {
    pub fn new(images: ImageBatch, task: usize, batch_size: usize, rng: Rng) -> Self {
        Self {
            images,
            task,
            batch_size,
            rng,
            place: Place::default(),
            order: None,
        }
    }
}

impl Source for Pushed {
    type Batch = ContinualBatch;

    async fn next(&mut self) -> Result<Option<ContinualBatch>> {
        let (count, Place { epoch, next }) = (self.images.len(), self.place);
        if next == count {
            let epoch = epoch + 1;
            self.place = Place { epoch, next: 0 };
            self.order = None;
            return Ok(None);
        }
        let order = self.order.get_or_insert_with(|| {
            let mut order: Vec<usize> = (0..count).collect();
            self.rng.fork(epoch).shuffle(&mut order);
            order
        });
        let last = next.saturating_add(self.batch_size).min(count);
        let length = self.images.shape.len();
        let mut batch = ImageBatch {
            shape: self.images.shape,
            images: Vec::with_capacity((last - next) * length),
            labels: Vec::with_capacity(last - next),
        };
        for &example in &order[next..last] {
            let image = &self.images.images[example * length..][..length];
            batch.images.extend_from_slice(image);
            batch.labels.push(self.images.labels[example]);
        }
        self.place.next = last;
        Ok(Some(ContinualBatch::new(batch, None)))
    }

    fn provides(&self) -> Needs {
        Needs {
            task_boundaries: true,
            ..Needs::default()
        }
    }

    fn task(&self) -> Option<usize> {
        Some(self.task)
    }

    fn state(&self) -> Value {
        json!({ "epoch": self.place.epoch, "next": self.place.next })
    }

    fn resume(&mut self, state: &Value) -> Result<()> {
        let place = Place::deserialize(state).map_err(|error| {
            let message = format!("the state is of another kind of source: {error}");
            Error::bad_data(RESUME, message)
        })?;
        if place.next > self.images.len() {
            return Err(Error::bad_data(RESUME, "there are fewer examples")
                .expected(format!("at least {}", place.next))
                .got(self.images.len()));
        }
        (self.place, self.order) = (place, None);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::ImageShape;

    fn source(batch_size: usize) -> Pushed {
        let images = ImageBatch {
            shape: ImageShape::new(1, 1, 2),
            images: (0..14).map(|value| value as f32).collect(),
            labels: (0..7).collect(),
        };
        Pushed::new(images, 2, batch_size, Rng::new(1))
    }

    #[test]
    fn an_epoch_has_every_example_once_in_an_order_of_its_own() {
        let mut source = source(3);
        let mut epochs: Vec<Vec<usize>> = Vec::new();
        for _ in 0..2 {
            let mut labels = Vec::new();
            while let Some(batch) = pollster::block_on(source.next()).unwrap() {
                let ContinualBatch { images, .. } = batch;
                for (row, label) in images.labels.iter().enumerate() {
                    assert_eq!(images.images[2 * row], 2.0 * *label as f32);
                }
                labels.extend(images.labels);
            }
            epochs.push(labels);
        }
        assert_ne!(epochs[0], epochs[1]);
        for mut labels in epochs {
            labels.sort_unstable();
            assert_eq!(labels, [0, 1, 2, 3, 4, 5, 6]);
        }
        assert_eq!(source.task(), Some(2));
    }

    #[test]
    fn it_goes_on_where_another_one_was() {
        let mut whole = source(2);
        for place in 0..12 {
            let mut other = source(2);
            other.resume(&whole.state()).unwrap();
            let next = pollster::block_on(other.next()).unwrap();
            assert_eq!(pollster::block_on(whole.next()).unwrap(), next, "{place}");
        }
        let mut other = source(2);
        assert!(other.resume(&json!({ "epoch": 0, "next": 8 })).is_err());
        assert!(other.resume(&Value::Null).is_err());
    }
}
