//! A network's values on the host, where scales are found and norms folded.

use std::collections::BTreeMap;

use burn::module::Module;

use super::OPERATION;
use crate::device::TensorDevice;
use crate::error::{Error, Result};
use crate::nn::Network;
use crate::nn::graph::Graph;
use crate::train::weights::{self, NamedTensor};

/// A network's graph and values.
pub(super) struct HostNetwork {
    pub graph: Graph,
    tensors: BTreeMap<String, NamedTensor>,
}

impl HostNetwork {
    /// Reads a network, whose adapters are merged.
    ///
    /// # Errors
    /// When a value is not finite, or the device fails.
    pub async fn read(network: &Network) -> Result<Self> {
        let found = weights::collect(&network.merged()?).await?;
        for tensor in &found {
            if let Some(bad) = tensor.values.iter().find(|value| !value.is_finite()) {
                let message = format!("'{}' holds a value that is not finite", tensor.name);
                return Err(Error::bad_data(OPERATION, message).got(bad));
            }
        }
        let named = found
            .into_iter()
            .map(|tensor| (tensor.name.clone(), tensor));
        Ok(Self {
            graph: network.graph().clone(),
            tensors: named.collect(),
        })
    }

    /// The network, all of it to be trained, where another one is.
    ///
    /// # Errors
    /// When graph and values do not fit.
    pub fn network_beside(&self, other: &Network) -> Result<Network> {
        // A network without values is nowhere.
        let device = other.devices().into_iter().next();
        let device = device.unwrap_or_else(|| TensorDevice::flex().autodiff());
        let network = Network::on(&self.graph, 0, &device);
        weights::load(network, self.tensors.values().cloned().collect())
    }

    pub fn get(&self, node: &str, field: &str) -> Option<&NamedTensor> {
        self.tensors.get(&format!("{node}.{field}"))
    }

    pub fn values(&self, node: &str, field: &str) -> Option<&[f32]> {
        self.get(node, field).map(|tensor| &tensor.values[..])
    }

    pub fn values_mut(&mut self, node: &str, field: &str) -> Option<&mut Vec<f32>> {
        let tensor = self.tensors.get_mut(&format!("{node}.{field}"));
        tensor.map(|tensor| &mut tensor.values)
    }

    /// Puts values in the place of those of that name.
    pub fn set(&mut self, name: String, shape: Vec<usize>, values: Vec<f32>) {
        let tensor = NamedTensor {
            name: name.clone(),
            shape,
            values,
        };
        self.tensors.insert(name, tensor);
    }

    /// Takes all values of a node away.
    pub fn forget(&mut self, node: &str, fields: &[&str]) {
        for field in fields {
            self.tensors.remove(&format!("{node}.{field}"));
        }
    }
}
