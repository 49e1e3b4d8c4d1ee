//! Checkpoints: all that a run of training needs to go on as if it had never stopped.
//!
//! A [`Checkpoint`] is tensors in groups (model, optimizer, average), bytes (images that are kept) and JSON in sections
//! (schedule, scaler, random numbers, place in the data, whatever the caller has). [`Checkpoint::encode`] makes one run of bytes of it, which
//! [`Checkpoint::decode`] takes only if it is whole: a page may keep them in IndexedDB. [`CheckpointStore`] keeps them
//! as files in a folder, the last few and the best.
//!
//! - `bytes`: safetensors with a header and a checksum of ours.
//! - `checksum`: CRC-64.
//! - `store`: a folder of checkpoints.

mod bytes;
mod checksum;
mod store;

use std::collections::{BTreeMap, BTreeSet};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use store::{CheckpointStore, Damaged, Found, Saved};

use super::early_stopping::Goal;
use super::weights::NamedTensor;
use crate::error::{Error, Result};

const OPERATION: &str = "checkpoint";

/// The state of a run of training after a step.
///
/// ```
/// use burn::tensor::Device;
/// use forgeling::data::{Rng, RngState};
/// use forgeling::nn::Network;
/// use forgeling::nn::zoo::MlpConfig;
/// use forgeling::train::{Checkpoint, weights};
///
/// # pollster::block_on(async {
/// let model = Network::on(&MlpConfig::default().graph()?, 0, &Device::flex());
/// let rng = Rng::new(7);
///
/// let mut checkpoint = Checkpoint::new(100);
/// checkpoint.tensors.insert("model".into(), weights::collect(&model).await?);
/// checkpoint.set_section("rng", &rng.state())?;
/// let bytes = checkpoint.encode()?;
///
/// let mut checkpoint = Checkpoint::decode(&bytes)?;
/// assert_eq!(checkpoint.step, 100);
/// let model = weights::load(model, checkpoint.take_tensors("model")?)?;
/// let rng = Rng::from_state(checkpoint.section::<RngState>("rng")?)?;
/// # drop((model, rng));
/// # Ok::<(), forgeling::Error>(()) }).unwrap();
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Checkpoint {
    /// Optimizer steps so far.
    pub step: u64,
    /// What tells the best checkpoint, such as a loss of validation examples. `None` where it was not measured.
    pub metric: Option<f64>,
    /// Everything that is neither tensor nor bytes, by name.
    pub sections: BTreeMap<String, Value>,
    /// Bytes by name, for what would be many times as long as JSON or as f32.
    pub bytes: BTreeMap<String, Vec<u8>>,
    /// Tensors by group and name; decoded ones are in the order of their names. Values keep their bits.
    pub tensors: BTreeMap<String, Vec<NamedTensor>>,
}

impl Checkpoint {
    /// Nothing yet, after so many steps.
    pub fn new(step: u64) -> Self {
        Self {
            step,
            ..Default::default()
        }
    }

    /// Puts a value into a section, in the place of the one that was there. Numbers keep their bits, if they are finite:
    /// others become `null`, as JSON has none.
    ///
    /// # Errors
    /// When the value cannot be written as JSON.
    pub fn set_section(&mut self, name: &str, value: &impl Serialize) -> Result<()> {
        let value = serde_json::to_value(value).map_err(|error| {
            let message = format!("section '{name}' cannot be written: {error}");
            Error::invalid(OPERATION, message)
        })?;
        self.sections.insert(name.into(), value);
        Ok(())
    }

    /// The value of a section.
    ///
    /// # Errors
    /// When there is none, or it is no `T`.
    pub fn section<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        let Some(value) = self.sections.get(name) else {
            return Err(Error::bad_data(
                OPERATION,
                format!("there is no section '{name}'"),
            ));
        };
        T::deserialize(value).map_err(|error| {
            let message = format!("section '{name}' cannot be read: {error}");
            Error::bad_data(OPERATION, message)
        })
    }

    /// The tensors of a group, which is then gone.
    ///
    /// # Errors
    /// When there is none.
    pub fn take_tensors(&mut self, group: &str) -> Result<Vec<NamedTensor>> {
        let tensors = self.tensors.remove(group);
        tensors.ok_or_else(|| {
            Error::bad_data(
                OPERATION,
                format!("there are no tensors of group '{group}'"),
            )
        })
    }

    /// A checkpoint as bytes that any reader of safetensors can open: tensors are named `GROUP/NAME`, bytes are tensors of
    /// bytes named `bytes/NAME`, the metadata key `forgeling_checkpoint` holds everything else as JSON, and the last 8
    /// bytes, a tensor named `checksum`, are the CRC-64/XZ of all others, little endian.
    ///
    /// # Errors
    /// When a value or the metric is not finite, as of a diverged model; when two tensors of a group have one name, a
    /// group has none, one with a `/` or that of bytes, or a tensor has not as many values as its shape says; when it is
    /// larger than 1 GiB, or its JSON than 100 MB.
    pub fn encode(&self) -> Result<Vec<u8>> {
        bytes::encode(self)
    }

    /// The checkpoint of [`Self::encode`]'s bytes.
    ///
    /// # Errors
    /// When they are not exactly those: a byte that is missing, left over or changed is found by the checksum. Also
    /// when they are of another version of the format.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        bytes::decode(bytes)
    }
}

/// Where a [`Trainer`](crate::train::Trainer) saves checkpoints and finds them again: a [`CheckpointStore`], or a place of
/// your own, such as a page's database.
pub trait Checkpoints {
    /// The latest that is whole, and what is wrong with later ones.
    ///
    /// # Errors
    /// When nothing can be read.
    fn latest(&mut self) -> Result<(Option<Checkpoint>, Vec<String>)>;

    /// Keeps a checkpoint; gives where it is, for people.
    ///
    /// # Errors
    /// When it cannot be kept; those that were are still there.
    fn save(&mut self, checkpoint: &Checkpoint) -> Result<String>;
}

/// Which checkpoints are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CheckpointConfig {
    /// How many of the last ones. Default 3.
    pub keep_last: usize,
    /// Whether the one with the best metric is kept too, and what is best. Default `None`: it is not.
    pub keep_best: Option<Goal>,
}

impl Default for CheckpointConfig {
    fn default() -> Self {
        Self {
            keep_last: 3,
            keep_best: None,
        }
    }
}

impl CheckpointConfig {
    /// Checks the numbers.
    ///
    /// # Errors
    /// When none of the last ones is kept.
    pub fn validate(&self) -> Result<()> {
        if self.keep_last == 0 {
            return Err(Error::invalid(OPERATION, "keep_last is out of range")
                .expected("at least 1 checkpoint")
                .got(0));
        }
        Ok(())
    }

    /// The steps of those to be removed, where `saved` are the metrics of all whole checkpoints by their steps, and
    /// `newest` is the one that was saved last, which is never removed.
    pub fn surplus(&self, saved: &BTreeMap<u64, Option<f64>>, newest: u64) -> Vec<u64> {
        let last = saved.keys().rev().take(self.keep_last).copied();
        let mut kept: BTreeSet<u64> = last.chain([newest]).collect();
        kept.extend(self.keep_best.and_then(|goal| best(saved, goal)));
        let steps = saved.keys().copied();
        steps.filter(|step| !kept.contains(step)).collect()
    }
}

/// The step with the best metric; of several, the last.
fn best(saved: &BTreeMap<u64, Option<f64>>, goal: Goal) -> Option<u64> {
    let mut best: Option<(u64, f64)> = None;
    for (step, metric) in saved {
        let Some(metric) = metric.filter(|metric| metric.is_finite()) else {
            continue;
        };
        if best.is_none_or(|(_, other)| !goal.better(other, metric, 0.0)) {
            best = Some((*step, metric));
        }
    }
    best.map(|(step, _)| step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_the_best_and_the_newest_are_kept() {
        let metrics = [Some(0.5), Some(0.2), None, Some(0.2), Some(0.9), Some(0.4)];
        let saved: BTreeMap<u64, Option<f64>> = (1..).zip(metrics).collect();
        let surplus = |keep_last, keep_best, newest| {
            let config = CheckpointConfig {
                keep_last,
                keep_best,
            };
            config.surplus(&saved, newest)
        };
        assert_eq!(surplus(3, None, 6), [1, 2, 3]);
        assert_eq!(surplus(2, Some(Goal::Minimize), 6), [1, 2, 3]);
        assert_eq!(surplus(1, Some(Goal::Maximize), 6), [1, 2, 3, 4]);
        assert_eq!(surplus(1, None, 2), [1, 3, 4, 5]);
        assert!(surplus(9, None, 6).is_empty());
    }

    #[test]
    fn sections_keep_numbers_and_name_what_is_wrong() {
        let mut checkpoint = Checkpoint::new(1);
        let numbers = (u64::MAX, 0.1 + 0.2, f32::MIN_POSITIVE, -0.0);
        checkpoint.set_section("numbers", &numbers).unwrap();
        let text = serde_json::to_string(&checkpoint.sections).unwrap();
        checkpoint.sections = serde_json::from_str(&text).unwrap();
        let back: (u64, f64, f32, f64) = checkpoint.section("numbers").unwrap();
        assert_eq!(back, numbers);
        assert!(back.3.is_sign_negative());
        let wrong = checkpoint.section::<String>("numbers").unwrap_err();
        let missing = checkpoint.section::<String>("nothing").unwrap_err();
        assert!(wrong.to_string().contains("numbers") && missing.to_string().contains("nothing"));
        assert!(checkpoint.take_tensors("model").unwrap_err().is_bad_input());
        let none = CheckpointConfig {
            keep_last: 0,
            ..Default::default()
        };
        assert!(none.validate().unwrap_err().is_bad_input());
    }
}
