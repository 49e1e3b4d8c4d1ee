//! Networks that are stored in fewer bits.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::model_file::{Packing, has_whole_groups};
use super::weights::NamedTensor;
use super::{SavedNetwork, weights};
use crate::error::Result;
use crate::nn::graph::Graph;

/// How a model file stores the values of its network. In memory they are f32 all the same: what is read can be run and
/// trained as ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Storage {
    /// As they are, in 32 bits.
    #[default]
    F32,
    /// All in 16 bits, as the nearest f16: 11 significant bits, up to 65504.
    F16,
    /// All in 16 bits, as the nearest bf16: 8 significant bits, and the range of f32.
    Bf16,
    /// Weights of layers in 4.5 bits: [`Packing::Int4`]. All else, and weights with fewer than 32 values for an output, as
    /// [`F16`](Self::F16).
    Int4,
}

impl Storage {
    /// How a tensor is packed. Weights are called so by the last part of their name.
    pub fn packing(self, tensor: &NamedTensor) -> Packing {
        match self {
            Self::F32 => Packing::F32,
            Self::F16 => Packing::F16,
            Self::Bf16 => Packing::Bf16,
            Self::Int4 => {
                let is_weight = tensor.name.rsplit('.').next() == Some("weight");
                match is_weight && has_whole_groups(&tensor.shape) {
                    true => Packing::Int4,
                    false => Packing::F16,
                }
            }
        }
    }

    pub(super) fn is_f32(&self) -> bool {
        *self == Self::F32
    }
}

impl std::fmt::Display for Storage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::Int4 => "int4",
        })
    }
}

/// How the tensors of a network are packed: weights of layers that work in 8 bits as they are used, their scales and those of
/// activations whole, all else as the storage says.
pub(super) struct Packings {
    storage: Storage,
    int8: BTreeMap<String, Packing>,
    scales: BTreeSet<String>,
}

impl Packings {
    /// Of a graph with these values.
    pub fn new(storage: Storage, graph: &Graph, tensors: &[NamedTensor]) -> Self {
        let values = |name: &String| {
            let mut own = tensors.iter().filter(|tensor| tensor.name == *name);
            own.next().map(|tensor| tensor.values.clone())
        };
        let weights = graph.int8_weights().into_iter();
        let int8 = weights.filter_map(|(weight, (scale, axis))| {
            let scales = values(&scale)?;
            Some((weight, Packing::Int8 { scales, axis }))
        });
        let fields = graph.tensors().filter(|(_, value)| value.is_scale());
        Self {
            storage,
            int8: int8.collect(),
            scales: fields.map(|(name, _)| name).collect(),
        }
    }

    /// Of a tensor.
    pub fn of(&self, tensor: &NamedTensor) -> Packing {
        match self.int8.get(&tensor.name) {
            Some(packing) => packing.clone(),
            None if self.scales.contains(&tensor.name) => Packing::F32,
            None => self.storage.packing(tensor),
        }
    }
}

impl SavedNetwork {
    /// The same to be stored in so many bits, with the values that its file will hold: what is measured of it is what is
    /// saved. Its history and confidence stay as they are; [`calibrate`](Self::calibrate) finds the latter anew.
    ///
    /// # Errors
    /// When the device fails, or a value is not finite or beyond what the storage holds.
    pub async fn stored_as(self, storage: Storage) -> Result<Self> {
        let mut tensors = weights::collect(&self.network).await?;
        let packings = Packings::new(storage, self.network.graph(), &tensors);
        for tensor in &mut tensors {
            tensor.values = packings.of(tensor).rounded(tensor)?;
        }
        Ok(Self {
            network: weights::load(self.network, tensors)?,
            storage,
            ..self
        })
    }
}
