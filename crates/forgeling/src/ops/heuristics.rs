//! How operations are cut into launches: measured numbers, in this one place.

use burn::tensor::Device;

use crate::device::is_software;

/// Numbers that depend on the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Heuristics {
    /// Partial statistics of a batch at most. Each lets more workgroups share the convolution, and all of them are
    /// read by every workgroup of the normalisation.
    pub statistics_slots: usize,
    /// Workgroups of the weight gradient at least, if its channels are to lie side by side.
    pub weight_workgroups: usize,
    /// Invocations of a matrix product that are worth splitting its sums for.
    pub product_invocations: usize,
    /// Workgroups that gather gradients at most. Each gives a partial sum of squares, and every invocation of the
    /// optimizer reads them all.
    #[cfg_attr(feature = "fusion", allow(dead_code))]
    pub gather_workgroups: usize,
    /// Workgroups of the optimizer at most.
    #[cfg_attr(feature = "fusion", allow(dead_code))]
    pub update_workgroups: usize,
}

/// In software an invocation of a kernel with barriers costs microseconds: few of them, each doing much.
/// Measured on SwiftShader, Conv4-32, 2026-11-21.
const SOFTWARE: Heuristics = Heuristics {
    statistics_slots: 16,
    weight_workgroups: 8,
    product_invocations: 256,
    gather_workgroups: 4,
    update_workgroups: 4,
};

/// Enough to fill a graphics card; not yet measured on one.
const HARDWARE: Heuristics = Heuristics {
    statistics_slots: 256,
    weight_workgroups: 128,
    product_invocations: 8192,
    gather_workgroups: 64,
    update_workgroups: 1024,
};

impl Heuristics {
    pub fn of(device: &Device) -> Self {
        if is_software(device) {
            SOFTWARE
        } else {
            HARDWARE
        }
    }
}
