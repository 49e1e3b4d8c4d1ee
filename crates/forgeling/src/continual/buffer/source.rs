//! What is kept as batches to train on.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Buffer, OPERATION};
use crate::continual::{ContinualBatch, Setting};
use crate::data::{Crop, Rng, augment::Fill};
use crate::error::{Error, Result};
use crate::train::Source;
use crate::train::parts::Needs;

const RESUME: &str = "resume_buffer_source";
const ORDER_STREAM: u64 = 7;
const SHIFT_STREAM: u64 = 8;

/// How a buffer becomes batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BufferSourceConfig {
    /// Examples of a batch; the last one of an epoch may have fewer.
    pub batch_size: usize,
    /// What the setting tells: contexts where a test tells them.
    pub setting: Setting,
    /// By how many pixels an image is moved at most, up or down and left or right, at random each time it is dealt out; zeros
    /// move in. 0 leaves images as they are.
    pub shift: usize,
    /// What the order of the examples and their shifts follow from, and nothing else.
    pub seed: u64,
}

/// Epochs of the examples of a buffer, each time shuffled anew. With a buffer of [`Policy::ClassBalanced`](super::Policy)
/// and a network that begins anew it is GDumb (Prabhu, Torr and Dokania, "GDumb: a simple approach that questions our progress
/// in continual learning", ECCV 2020): nothing is learned while examples come; what was kept is learned at the end, or
/// whenever an answer is asked for. It keeps the buffer and costs its epochs. Published code chooses greedily, and trains
/// with a learning rate that follows warm restarts and, where images are natural, with CutMix.
///
/// A [`Head`](crate::continual::Head) for it is one that [shows all](crate::continual::Head::showing).
#[derive(Debug, Clone)]
pub struct BufferSource {
    buffer: Buffer,
    config: BufferSourceConfig,
    place: Place,
    /// Of the epoch that is being dealt out, once it is needed.
    order: Option<Vec<usize>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    epoch: u64,
    /// The next example in the order of the epoch.
    next: usize,
}

/// What a checkpoint holds of it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    config: BufferSourceConfig,
    examples: usize,
    place: Place,
}

impl BufferSource {
    /// Of what the buffer holds now.
    ///
    /// # Errors
    /// When the buffer or a batch has no example.
    pub fn new(buffer: Buffer, config: BufferSourceConfig) -> Result<Self> {
        if buffer.is_empty() || config.batch_size == 0 {
            return Err(Error::invalid(OPERATION, "nothing to train on")
                .expected("a buffer and batches of 1 example or more")
                .got(format!("{} and {}", buffer.len(), config.batch_size)));
        }
        Ok(Self {
            buffer,
            config,
            place: Place::default(),
            order: None,
        })
    }
}

impl Source for BufferSource {
    type Batch = ContinualBatch;

    async fn next(&mut self) -> Result<Option<ContinualBatch>> {
        let (count, Place { epoch, next }) = (self.buffer.len(), self.place);
        if next == count {
            self.place = Place {
                epoch: epoch + 1,
                next: 0,
            };
            self.order = None;
            return Ok(None);
        }
        let order = self.order.get_or_insert_with(|| {
            let mut order: Vec<usize> = (0..count).collect();
            let rng = Rng::new(self.config.seed).fork(ORDER_STREAM);
            rng.fork(epoch).shuffle(&mut order);
            order
        });
        let last = next.saturating_add(self.config.batch_size).min(count);
        let mut batch = self.buffer.batch(&order[next..last]);
        let by = self.config.shift;
        if by > 0 {
            let rng = Rng::new(self.config.seed).fork(SHIFT_STREAM).fork(epoch);
            let shape = batch.images.shape;
            let images = batch.images.images.chunks_exact_mut(shape.len());
            let crop = Crop {
                padding: by,
                fill: Fill::Zeros,
            };
            for (image, &example) in images.zip(&order[next..last]) {
                let mut rng = rng.fork(example as u64);
                // The window goes the other way than the image.
                let mut draw = || 2 * by - rng.below(2 * by + 1);
                crop.cut(shape, image, [draw(), draw()]);
            }
        }
        self.place.next = last;
        Ok(Some(batch))
    }

    fn provides(&self) -> Needs {
        Needs {
            task_ids: self.config.setting.reveals().task_ids,
            ..Needs::default()
        }
    }

    fn state(&self) -> Value {
        let state = State {
            config: self.config,
            examples: self.buffer.len(),
            place: self.place,
        };
        serde_json::to_value(&state).expect("plain numbers and names")
    }

    fn resume(&mut self, state: &Value) -> Result<()> {
        let state = State::deserialize(state).map_err(|error| {
            let message = format!("the state is of another kind of source: {error}");
            Error::bad_data(RESUME, message)
        })?;
        let (own, other) = (
            (self.config, self.buffer.len()),
            (state.config, state.examples),
        );
        if own != other || state.place.next > state.examples {
            let message = "the state is of another buffer or configuration";
            return Err(Error::invalid(RESUME, message)
                .expected(format!("{own:?}"))
                .got(format!("{other:?}, example {}", state.place.next)));
        }
        self.place = state.place;
        self.order = None;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::continual::{Budget, BufferConfig, Policy};
    use crate::data::{ImageBatch, ImageShape};
    use crate::train::parts::Replay;

    fn source(batch_size: usize) -> BufferSource {
        let config = BufferConfig {
            budget: Budget::Total(7),
            policy: Policy::ClassBalanced,
            logits: 0,
            seed: 1,
        };
        let shape = ImageShape::new(1, 3, 3);
        let mut buffer = Buffer::new(config, shape, 7).unwrap();
        let images = ImageBatch {
            shape,
            // The second row's first pixel is white.
            images: (0..63).map(|at| f32::from(at % 9 == 3)).collect(),
            labels: (0..7).collect(),
        };
        let batch = ContinualBatch::new(images, Some(1));
        buffer.remember(&batch, None, None).unwrap();
        let config = BufferSourceConfig {
            batch_size,
            setting: Setting::Task,
            shift: 1,
            seed: 3,
        };
        BufferSource::new(buffer, config).unwrap()
    }

    fn epoch(source: &mut BufferSource) -> Vec<Vec<usize>> {
        let mut all = Vec::new();
        while let Some(batch) = pollster::block_on(source.next()).unwrap() {
            assert_eq!(batch.contexts, vec![1; batch.images.labels.len()]);
            all.push(batch.images.labels);
        }
        all
    }

    #[test]
    fn an_epoch_has_every_example_once_in_an_order_of_its_own() {
        let mut source = source(3);
        assert!(source.provides().task_ids && !source.provides().task_boundaries);
        let (first, second) = (epoch(&mut source), epoch(&mut source));
        assert_eq!(first.iter().map(Vec::len).collect::<Vec<_>>(), [3, 3, 1]);
        let (mut one, other) = (first.concat(), second.concat());
        assert_ne!(one, other);
        one.sort_unstable();
        assert_eq!(one, [0, 1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn images_are_moved_anew_in_each_epoch() {
        let mut source = source(7);
        let mut seen = std::collections::BTreeMap::new();
        for _ in 0..90 {
            let batch = pollster::block_on(source.next()).unwrap().unwrap();
            for image in batch.images.images.chunks(9) {
                let white: Vec<usize> = (0..9).filter(|&at| image[at] > 0.0).collect();
                *seen.entry(white).or_insert(0) += 1;
            }
            assert!(pollster::block_on(source.next()).unwrap().is_none());
        }
        // Up, not at all or down; right, not at all, or out of sight to the left, each a ninth of 630 times.
        let mut places: Vec<Vec<usize>> = [0, 1, 3, 4, 6, 7].map(|at| vec![at]).into();
        places.insert(0, Vec::new());
        assert!(seen.keys().eq(&places), "{seen:?}");
        for (white, times) in seen {
            let expected = if white.is_empty() { 210 } else { 70 };
            assert!(
                (expected * 2 / 3..expected * 4 / 3).contains(&times),
                "{white:?}: {times}"
            );
        }
    }

    #[test]
    fn it_goes_on_where_another_one_was() {
        let mut whole = source(2);
        let mut batches = Vec::new();
        for place in 0..12 {
            let mut other = source(2);
            other.resume(&whole.state()).unwrap();
            let next = pollster::block_on(other.next()).unwrap();
            batches.push(pollster::block_on(whole.next()).unwrap());
            assert_eq!(batches.last(), Some(&next), "{place}");
        }
        assert!(batches[4].is_none() && batches[9].is_none());
        let mut other = source(3);
        assert!(other.resume(&whole.state()).unwrap_err().is_bad_input());
        assert!(other.resume(&Value::Null).is_err());
    }
}
