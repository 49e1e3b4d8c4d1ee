//! Counting what is launched on GPUs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use cubecl::logging::{LaunchObservation, LaunchObserver};

use super::lock;

/// Counts the kernels launched on every GPU of this process while it lives, ours and burn's alike.
///
/// One counter at a time: a second one takes over until it is dropped. The CPU back end launches nothing.
#[derive(Debug)]
pub struct LaunchCounter {
    counts: Arc<Counts>,
    _observation: LaunchObservation,
}

#[derive(Debug, Default)]
struct Counts(Mutex<BTreeMap<&'static str, usize>>);

impl LaunchObserver for Counts {
    fn launched(&self, kernel: &'static str) {
        *lock(&self.0).entry(kernel).or_default() += 1;
    }
}

impl LaunchCounter {
    /// A counter at zero.
    #[expect(clippy::new_without_default, reason = "it begins to count")]
    pub fn new() -> Self {
        let counts = Arc::<Counts>::default();
        Self {
            _observation: LaunchObservation::new(counts.clone()),
            counts,
        }
    }

    /// Launches so far.
    pub fn total(&self) -> usize {
        self.by_kernel().values().sum()
    }

    /// Launches so far by the type that made the kernel. Kernels written as text, ours among them, share one type.
    pub fn by_kernel(&self) -> BTreeMap<&'static str, usize> {
        lock(&self.counts.0).clone()
    }
}
