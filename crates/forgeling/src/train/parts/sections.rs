//! What parts keep in a checkpoint.

use std::collections::BTreeMap;

use burn::tensor::{Tensor, TensorData};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::device::{Readback, TensorDevice};
use crate::error::{Error, Result};
use crate::train::Checkpoint;
use crate::train::weights::NamedTensor;

const OPERATION: &str = "run_state";

/// What goes on where another of the same kind and configuration was.
pub trait RunState {
    /// Puts all that changes in a run.
    ///
    /// # Errors
    /// When something cannot be written.
    fn save(&self, to: &mut Sections) -> Result<()>;

    /// Goes on from what [`save`](Self::save) put. After an error the run ends.
    ///
    /// # Errors
    /// When something is missing or of another kind.
    fn load(&mut self, from: &Sections, device: &TensorDevice) -> Result<()>;
}

/// Values, bytes and tensors by name: what one part of a run keeps in a checkpoint.
#[derive(Default)]
pub struct Sections {
    values: BTreeMap<String, Value>,
    bytes: BTreeMap<String, Vec<u8>>,
    tensors: BTreeMap<String, NamedTensor>,
    /// Names and shapes of what is to be read from the device.
    unread: Vec<(String, Vec<usize>)>,
    trip: Readback,
}

impl Sections {
    /// Puts a value, in the place of the one of that name. Numbers keep their bits, if they are finite.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub fn set(&mut self, name: &str, value: &impl Serialize) -> Result<()> {
        let value = serde_json::to_value(value).map_err(|error| {
            Error::invalid(OPERATION, format!("'{name}' cannot be written: {error}"))
        })?;
        self.values.insert(name.into(), value);
        Ok(())
    }

    /// The value of that name.
    ///
    /// # Errors
    /// When there is none, or it is no `T`.
    pub fn get<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        let value = self.values.get(name).ok_or_else(|| missing(name))?;
        T::deserialize(value).map_err(|error| {
            Error::bad_data(OPERATION, format!("'{name}' cannot be read: {error}"))
        })
    }

    /// Puts bytes, in the place of those of that name. They take no more room than they are.
    pub fn set_bytes(&mut self, name: &str, bytes: Vec<u8>) {
        self.bytes.insert(name.into(), bytes);
    }

    /// The bytes of that name.
    ///
    /// # Errors
    /// When there are none.
    pub fn bytes(&self, name: &str) -> Result<&[u8]> {
        let bytes = self.bytes.get(name).ok_or_else(|| missing(name))?;
        Ok(bytes)
    }

    /// Puts a tensor, whose name is new. All tensors of a checkpoint are read from their devices in one trip.
    pub fn set_tensor<const D: usize>(&mut self, name: &str, tensor: Tensor<D>) {
        self.unread.push((name.into(), tensor.dims().to_vec()));
        self.trip = std::mem::take(&mut self.trip).with(tensor);
    }

    /// The tensor of that name, in f32 and not tracked.
    ///
    /// # Errors
    /// When there is none, or it has another number of sides.
    pub fn tensor<const D: usize>(&self, name: &str, device: &TensorDevice) -> Result<Tensor<D>> {
        let found = self.tensors.get(name).ok_or_else(|| missing(name))?;
        let shape: [usize; D] = found.shape.clone().try_into().map_err(|shape| {
            Error::bad_data(OPERATION, format!("tensor '{name}' has another shape"))
                .expected(format!("{D} sides"))
                .got(format!("{shape:?}"))
        })?;
        let data = TensorData::new(found.values.clone(), shape);
        Ok(Tensor::from_data(data, &device.clone().inner()))
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
            && self.bytes.is_empty()
            && self.tensors.is_empty()
            && self.unread.is_empty()
    }

    /// Puts all of it into a checkpoint.
    pub(crate) async fn write(self, part: &str, to: &mut Checkpoint) -> Result<()> {
        let mut tensors: Vec<NamedTensor> = self.tensors.into_values().collect();
        let read = match self.unread.is_empty() {
            true => Vec::new(),
            false => self.trip.run_all().await?,
        };
        for ((name, shape), values) in self.unread.into_iter().zip(read) {
            tensors.push(NamedTensor {
                name,
                shape,
                values,
            });
        }
        to.set_section(&place(part), &self.values)?;
        for (name, bytes) in self.bytes {
            to.bytes.insert(place(part) + "/" + &name, bytes);
        }
        to.tensors.insert(place(part), tensors);
        Ok(())
    }

    /// What [`write`](Self::write) put.
    pub(crate) fn read(part: &str, from: &mut Checkpoint) -> Result<Self> {
        let tensors = from.take_tensors(&place(part))?.into_iter();
        let before = place(part) + "/";
        let own = |name: &String, _: &mut Vec<u8>| name.starts_with(&before);
        let bytes = from.bytes.extract_if(.., own);
        Ok(Self {
            bytes: bytes
                .map(|(name, bytes)| (name[before.len()..].to_string(), bytes))
                .collect(),
            values: from.section(&place(part))?,
            tensors: tensors.map(|one| (one.name.clone(), one)).collect(),
            ..Default::default()
        })
    }

    /// The names of the parts of a checkpoint.
    pub(crate) fn parts(of: &Checkpoint) -> impl Iterator<Item = &str> {
        let names = of.sections.keys();
        names.filter_map(|name| name.strip_prefix(PREFIX))
    }
}

/// Before the name of a part in a checkpoint.
const PREFIX: &str = "part ";

fn place(part: &str) -> String {
    format!("{PREFIX}{part}")
}

fn missing(name: &str) -> Error {
    Error::bad_data(OPERATION, format!("there is no '{name}'"))
}
