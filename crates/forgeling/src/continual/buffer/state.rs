//! A buffer in a checkpoint.
//!
//! Images, labels, contexts and logits are bytes: as JSON they would be many times as long, as tensors of f32 four times.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::memory::{Memory, Pixels};
use super::{Buffer, BufferConfig};
use crate::data::{ImageShape, Rng};
use crate::device::TensorDevice;
use crate::error::{Error, Result};
use crate::train::parts::{RunState, Sections};

const OPERATION: &str = "load_buffer";

/// All but the examples.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    config: BufferConfig,
    shape: ImageShape,
    classes: usize,
    examples: usize,
    /// Whether images are f32, not bytes.
    floats: bool,
    seen: BTreeMap<u32, u64>,
    full: BTreeSet<u32>,
    storing: Rng,
    drawing: Rng,
}

fn bytes_of<T, const N: usize>(values: &[T], bytes: impl Fn(&T) -> [u8; N]) -> Vec<u8> {
    values.iter().flat_map(bytes).collect()
}

fn words<T>(bytes: &[u8], value: impl Fn([u8; 4]) -> T) -> Option<Vec<T>> {
    let (words, rest) = bytes.as_chunks::<4>();
    rest.is_empty()
        .then(|| words.iter().map(|word| value(*word)).collect())
}

fn bad(message: impl Into<String>) -> Error {
    Error::bad_data(OPERATION, message)
}

/// So many numbers of four bytes.
fn numbers<T>(
    from: &Sections,
    name: &str,
    count: usize,
    value: impl Fn([u8; 4]) -> T,
) -> Result<Vec<T>> {
    let bytes = from.bytes(name)?;
    let values = words(bytes, value).filter(|values| values.len() == count);
    values.ok_or_else(|| {
        bad(format!("'{name}' is not as long as it should be"))
            .expected(format!("{count} numbers of 4 bytes"))
            .got(format!("{} bytes", bytes.len()))
    })
}

fn finite(values: &[f32], name: &str) -> Result<()> {
    match values.iter().all(|value| value.is_finite()) {
        true => Ok(()),
        false => Err(bad(format!("'{name}' holds a value that is not finite"))),
    }
}

impl RunState for Buffer {
    fn save(&self, to: &mut Sections) -> Result<()> {
        let memory = &self.memory;
        let (images, floats) = match &memory.pixels {
            Pixels::Bytes(bytes) => (bytes.clone(), false),
            Pixels::Floats(values) => (bytes_of(values, |value| value.to_le_bytes()), true),
        };
        let kept = Kept {
            config: self.config,
            shape: memory.shape,
            classes: self.classes,
            examples: memory.len(),
            floats,
            seen: self.seen.clone(),
            full: self.full.clone(),
            storing: self.storing.clone(),
            drawing: self.drawing.clone(),
        };
        to.set("buffer", &kept)?;
        to.set_bytes("images", images);
        to.set_bytes(
            "labels",
            bytes_of(&memory.labels, |label| label.to_le_bytes()),
        );
        let contexts = bytes_of(&memory.contexts, |context| context.to_le_bytes());
        to.set_bytes("contexts", contexts);
        if self.config.logits > 0 {
            let counts: Vec<u32> = memory.logits.iter().map(|row| row.len() as u32).collect();
            to.set_bytes(
                "logit counts",
                bytes_of(&counts, |count| count.to_le_bytes()),
            );
            let logits = memory.logits.concat();
            to.set_bytes("logits", bytes_of(&logits, |value| value.to_le_bytes()));
        }
        Ok(())
    }

    /// An error leaves the buffer as it was.
    fn load(&mut self, from: &Sections, _device: &TensorDevice) -> Result<()> {
        let kept: Kept = from.get("buffer")?;
        let own = (self.config, self.memory.shape, self.classes);
        let other = (kept.config, kept.shape, kept.classes);
        if own != other {
            return Err(bad("the buffer is of another configuration")
                .expected(format!("{own:?}"))
                .got(format!("{other:?}")));
        }
        let (count, length) = (kept.examples, kept.shape.len());
        let values = count.checked_mul(length);
        let values = values.ok_or_else(|| bad("there are too many examples").got(count))?;
        let pixels = match kept.floats {
            true => {
                let values = numbers(from, "images", values, f32::from_le_bytes)?;
                finite(&values, "images")?;
                Pixels::Floats(values)
            }
            false => {
                let bytes = from.bytes("images")?;
                if bytes.len() != values {
                    return Err(bad("'images' is not as long as it should be")
                        .expected(format!("{values} bytes"))
                        .got(bytes.len()));
                }
                Pixels::Bytes(bytes.to_vec())
            }
        };
        let labels = numbers(from, "labels", count, u32::from_le_bytes)?;
        if let Some(label) = labels.iter().find(|label| **label as usize >= self.classes) {
            return Err(bad("a label is out of range")
                .expected(format!("a label below {}", self.classes))
                .got(label));
        }
        let contexts = numbers(from, "contexts", count, u32::from_le_bytes)?;
        let logits = self.logits(from, count)?;
        let memory = Memory::of(kept.shape, pixels, labels, contexts, logits);
        if !self.is_within_budget(&memory) {
            return Err(bad("there are more examples than the budget allows")
                .expected(format!("{:?}", self.config.budget))
                .got(count));
        }
        self.memory = memory;
        (self.seen, self.full) = (kept.seen, kept.full);
        (self.storing, self.drawing) = (kept.storing, kept.drawing);
        Ok(())
    }
}

impl Buffer {
    fn logits(&self, from: &Sections, count: usize) -> Result<Vec<Vec<f32>>> {
        if self.config.logits == 0 {
            return Ok(vec![Vec::new(); count]);
        }
        let counts = numbers(from, "logit counts", count, u32::from_le_bytes)?;
        if let Some(count) = counts.iter().find(|n| **n as usize > self.config.logits) {
            return Err(bad("an example has too many logits")
                .expected(format!("at most {}", self.config.logits))
                .got(count));
        }
        let total = counts.iter().map(|count| *count as usize).sum();
        let values = numbers(from, "logits", total, f32::from_le_bytes)?;
        finite(&values, "logits")?;
        let mut rest = &values[..];
        let row = |count: &u32| {
            let (row, others) = rest.split_at(*count as usize);
            rest = others;
            row.to_vec()
        };
        Ok(counts.iter().map(row).collect())
    }
}
