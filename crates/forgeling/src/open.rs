//! Opening a device: chosen by `device`, and tested by `ops` before it is trusted.

use crate::device::{Device, DeviceChoice};
use crate::error::Result;
use crate::ops::disagreement;

impl Device {
    /// Opens the device that `choice` and this machine give.
    ///
    /// A GPU is compared with the CPU on small gradients before it is used; if they disagree,
    /// [`DeviceChoice::Auto`] takes the CPU and the reason names what disagreed. With `Auto`, the
    /// environment variable `FORGELING_DEVICE` (`cpu`, `gpu`, `gpu:N`) chooses instead, and its `gpu`
    /// also accepts a software adapter.
    ///
    /// # Errors
    /// `Auto` and `Cpu` do not fail, unless `FORGELING_DEVICE` cannot be read or served. A GPU that was
    /// asked for and is missing, cannot be opened or computes wrongly is an error for which
    /// [`Error::is_device`](crate::Error::is_device) holds.
    pub async fn open(choice: DeviceChoice) -> Result<Self> {
        Self::open_tested(choice, disagreement).await
    }
}
