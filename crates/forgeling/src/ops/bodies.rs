//! Which bodies the operations use.

use std::sync::atomic::{AtomicU8, Ordering};

/// What an operation is computed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Bodies {
    /// Our own kernels and CPU bodies where there are some for the device and dtype. The default.
    #[default]
    Own,
    /// The composite [`mod@super::reference`] everywhere, which is plain burn: for comparing the two.
    Composite,
}

static CHOSEN: AtomicU8 = AtomicU8::new(0);

/// Chooses the bodies of all operations from here on, in the whole process.
pub fn set_bodies(bodies: Bodies) {
    CHOSEN.store(bodies as u8, Ordering::Relaxed);
}

/// The bodies in use.
pub fn bodies() -> Bodies {
    if CHOSEN.load(Ordering::Relaxed) == Bodies::Composite as u8 {
        Bodies::Composite
    } else {
        Bodies::Own
    }
}
