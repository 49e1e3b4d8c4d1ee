//! How operations are cut into launches: measured numbers, in this one place.

use std::sync::{Mutex, MutexGuard};

use burn::tensor::Device;

use crate::device::is_software;

/// How GPUs' launches are cut: numbers that depend on the device. Results hardly depend on them, times do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heuristics {
    /// Partial statistics of a batch at most. Each lets more workgroups share the convolution, and all of them are
    /// read by every workgroup of the normalisation.
    pub statistics_slots: usize,
    /// Workgroups of the weight gradient at least, if its channels are to lie side by side.
    pub weight_workgroups: usize,
    /// Invocations of a general convolution's weight gradient at least. Where it has fewer, pixels are shared out, and
    /// partial sums added in a second launch.
    pub weight_invocations: usize,
    /// Invocations of a matrix product that are worth splitting its sums for.
    pub product_invocations: usize,
    /// Workgroups that gather gradients at most. Each gives a partial sum of squares, and every invocation of the
    /// optimizer reads them all.
    pub gather_workgroups: usize,
    /// Workgroups of the optimizer at most.
    pub update_workgroups: usize,
}

/// In software an invocation of a kernel with barriers costs microseconds: few of them, each doing much.
/// Measured on SwiftShader, Conv4-32, 2026-11-21.
const SOFTWARE: Heuristics = Heuristics {
    statistics_slots: 16,
    weight_workgroups: 8,
    weight_invocations: 256,
    product_invocations: 256,
    gather_workgroups: 4,
    update_workgroups: 4,
};

/// Enough to fill a graphics card; not yet measured on one.
const HARDWARE: Heuristics = Heuristics {
    statistics_slots: 256,
    weight_workgroups: 128,
    weight_invocations: 1 << 16,
    product_invocations: 8192,
    gather_workgroups: 64,
    update_workgroups: 1024,
};

static CHOSEN: Mutex<Option<Heuristics>> = Mutex::new(None);

fn chosen() -> MutexGuard<'static, Option<Heuristics>> {
    CHOSEN
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Takes `heuristics` on every device from here on, in the whole process, or with `None` the table's again. For
/// experiments: numbers of zero are taken as 1.
pub fn set_heuristics(heuristics: Option<Heuristics>) {
    *chosen() = heuristics.map(|numbers| Heuristics {
        statistics_slots: numbers.statistics_slots.max(1),
        weight_workgroups: numbers.weight_workgroups.max(1),
        gather_workgroups: numbers.gather_workgroups.max(1),
        update_workgroups: numbers.update_workgroups.max(1),
        weight_invocations: numbers.weight_invocations.max(1),
        product_invocations: numbers.product_invocations.max(1),
    });
}

impl Heuristics {
    /// Those in use on `device`: the ones that were [set](set_heuristics), or the table's.
    pub fn of(device: &Device) -> Self {
        chosen().unwrap_or_else(|| {
            if is_software(device) {
                SOFTWARE
            } else {
                HARDWARE
            }
        })
    }
}
