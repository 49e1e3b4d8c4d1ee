//! The one road by which values leave a device.
//!
//! Reading is asynchronous because a browser's main thread and workers may not block on the GPU.

use burn::tensor::{Tensor, Transaction};

use super::faults;
use crate::error::{Error, ErrorKind, Result};

/// Reads several tensors in one trip.
///
/// ```
/// # use burn::tensor::Tensor;
/// # use forgeling::{Device, DeviceChoice, Readback};
/// # pollster::block_on(async {
/// let device = Device::open(DeviceChoice::Cpu).await?;
/// let ones = Tensor::<2>::ones([1, 3], device.tensors());
/// let [twos, ones] = Readback::new().with(ones.clone() * 2.0).with(ones).run().await?;
/// assert_eq!((twos, ones), (vec![2.0; 3], vec![1.0; 3]));
/// # Ok::<(), forgeling::Error>(()) }).unwrap();
/// ```
#[must_use = "nothing is read until `run` is awaited"]
#[derive(Default)]
pub struct Readback {
    transaction: Transaction,
    /// Where they come from.
    devices: Vec<burn::tensor::Device>,
}

impl Readback {
    /// An empty trip.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a float tensor of any rank, tracked for gradients or not.
    pub fn with<const D: usize>(mut self, tensor: Tensor<D>) -> Self {
        let device = tensor.device();
        if !self.devices.contains(&device) {
            self.devices.push(device);
        }
        // burn panics where one trip mixes tracked tensors with others.
        self.transaction = self.transaction.register(tensor.without_autodiff());
        self
    }

    /// Reads them all, in the order in which they were added, as f32 in row-major order.
    ///
    /// # Errors
    /// When the device was lost, ran out of memory or a kernel failed.
    ///
    /// # Panics
    /// When `N` is not the number of tensors added.
    pub async fn run<const N: usize>(self) -> Result<[Vec<f32>; N]> {
        let values = self.run_all().await?;
        let got = values.len();
        Ok(values
            .try_into()
            .unwrap_or_else(|_| panic!("{N} tensors expected, {got} were added")))
    }

    /// As [`run_all`](Self::run_all), where the caller cannot wait for a future.
    ///
    /// # Errors
    /// As [`run_all`](Self::run_all), and on a page where the tensors are on a GPU.
    pub(crate) fn run_now(self) -> Result<Vec<Vec<f32>>> {
        super::wait(self.run_all()).unwrap_or_else(|| {
            let message = "a page cannot stop to wait for a GPU";
            Err(Error::new(ErrorKind::Device, "read_back", message).expected("the CPU"))
        })
    }

    /// As [`Readback::run`], for a number of tensors known at run time only.
    ///
    /// # Errors
    /// When the device was lost, ran out of memory or a kernel failed.
    pub async fn run_all(self) -> Result<Vec<Vec<f32>>> {
        let data = self.transaction.execute_async().await;
        // What was computed from a buffer that was not had is read without an error.
        if let Some(fault) = self.devices.iter().find_map(faults::take) {
            return Err(Error::new(ErrorKind::OutOfMemory, "read_back", fault));
        }
        let data = data.map_err(|error| failure(&error))?;
        data.into_iter()
            .map(|data| {
                data.convert::<f32>().try_into_vec().map_err(|error| {
                    Error::new(ErrorKind::Device, "read_back", format!("{error:?}"))
                })
            })
            .collect()
    }
}

/// burn reports every failure as text; memory is told apart by its words.
fn failure(error: &impl std::fmt::Debug) -> Error {
    let message = format!("{error:?}");
    let lower = message.to_lowercase();
    let memory = ["out of memory", "outofmemory", "buffertoobig", "allocation"];
    let kind = if memory.iter().any(|word| lower.contains(word)) {
        ErrorKind::OutOfMemory
    } else {
        ErrorKind::Device
    };
    Error::new(kind, "read_back", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_failures_are_told_apart() {
        assert!(failure(&"Out of memory while allocating 3 GiB").is_out_of_memory());
        assert!(!failure(&"Device lost").is_out_of_memory());
        assert!(failure(&"Device lost").is_device());
    }
}
