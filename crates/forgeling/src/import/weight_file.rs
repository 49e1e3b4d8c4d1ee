//! A file of published weights.

use std::collections::HashSet;

use safetensors::{Dtype, SafeTensors};

use super::pytorch::{Contents, LEGACY, ZIP, read_legacy, read_zip};
use super::stored::{Number, StoredTensor};
use super::{bad, shown, twice};
use crate::error::Result;

/// What data parallel training of PyTorch puts in front of every name.
const PREFIX: &str = "module.";

/// The kind of a file of weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WeightFormat {
    /// Of Hugging Face.
    Safetensors,
    /// Of `torch.save` since PyTorch 1.6: a zip archive.
    PyTorch,
    /// Of `torch.save` before.
    PyTorchLegacy,
}

impl std::fmt::Display for WeightFormat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Safetensors => "safetensors",
            Self::PyTorch => "PyTorch",
            Self::PyTorchLegacy => "PyTorch before 1.6",
        })
    }
}

/// The tensors of a file by name, which stay in its bytes until they are wanted.
///
/// Files come from strangers. No code that a pickle asks for is run, and none of what a file claims is believed: memory
/// is bounded by what the file holds.
#[derive(Debug, Clone)]
pub struct WeightFile<'a> {
    format: WeightFormat,
    pub(super) tensors: Vec<StoredTensor<'a>>,
    pub(super) others: Vec<String>,
}

impl<'a> WeightFile<'a> {
    /// Reads safetensors, or what `torch.save` made of a dictionary of tensors or of a checkpoint that has one under
    /// `state_dict`, `model_state_dict` or `model`. A `module.` in front of every name is taken away.
    ///
    /// # Errors
    /// When it is neither, is damaged, asks for code, or has two tensors of one name.
    pub fn read(bytes: &'a [u8]) -> Result<Self> {
        let (format, Contents { tensors, others }) = if bytes.starts_with(ZIP) {
            (WeightFormat::PyTorch, read_zip(bytes)?)
        } else if bytes.starts_with(LEGACY) {
            (WeightFormat::PyTorchLegacy, read_legacy(bytes)?)
        } else if bytes.get(8) == Some(&b'{') {
            (WeightFormat::Safetensors, read_safetensors(bytes)?)
        } else {
            return Err(bad("neither safetensors nor a file of torch.save")
                .got(shown(&bytes[..bytes.len().min(16)])));
        };
        let mut file = Self {
            format,
            tensors,
            others,
        };
        file.take_prefix();
        let mut seen = HashSet::new();
        if let Some(name) = file.names().find(|name| !seen.insert(*name)) {
            return Err(twice(name));
        }
        Ok(file)
    }

    /// Its kind.
    pub fn format(&self) -> WeightFormat {
        self.format
    }

    /// The names of its tensors and of what stands among them.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let tensors = self.tensors.iter().map(|tensor| tensor.name.as_str());
        tensors.chain(self.others.iter().map(String::as_str))
    }

    /// Name and shape of each tensor.
    pub fn shapes(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.tensors
            .iter()
            .map(|tensor| (tensor.name.as_str(), &tensor.shape[..]))
    }

    fn take_prefix(&mut self) {
        if !self.names().all(|name| name.starts_with(PREFIX)) {
            return;
        }
        let tensors = self.tensors.iter_mut().map(|tensor| &mut tensor.name);
        for name in tensors.chain(&mut self.others) {
            name.drain(..PREFIX.len());
        }
    }
}

fn read_safetensors(bytes: &[u8]) -> Result<Contents<'_>> {
    let file = SafeTensors::deserialize(bytes)
        .map_err(|problem| bad(format!("not a whole safetensors file: {problem}")))?;
    let mut tensors = Vec::new();
    for (name, view) in file.tensors() {
        let number = match view.dtype() {
            Dtype::F16 => Number::F16,
            Dtype::BF16 => Number::Bf16,
            Dtype::F32 => Number::F32,
            Dtype::F64 => Number::F64,
            other => Number::Other(other.bitsize().div_ceil(8) as u8),
        };
        let shape = view.shape().to_vec();
        tensors.push(StoredTensor::whole(name, (number, view.data()), shape)?);
    }
    // The file's header has no order.
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Contents {
        tensors,
        others: Vec::new(),
    })
}
