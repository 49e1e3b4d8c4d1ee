//! How the backward pass's copies of activations are stored.

mod extension;
mod stored;

use std::cell::Cell;

pub(crate) use extension::{Half, Order, StorageOps, unpack, words};
pub(crate) use stored::{Stored, WORTH_PACKING};

/// How our operations store the f32 activations that their backward pass reads. Arithmetic is f32 whatever it is, and the
/// forward pass is the same bit for bit: only gradients change, by the rounding of what they are computed from.
///
/// Parameters, statistics and tensors of a few KiB stay as they are, and so do activations that are of half precision
/// themselves, and gradients that are differentiated once more, with what their norms read. A tensor that several operations store is packed once. Micikevicius et al., *Mixed Precision Training*,
/// 2018 (arXiv 1710.03740); Kalamkar et al., *A Study of BFLOAT16 for Deep Learning Training*, 2019 (arXiv 1905.12322).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Storage {
    /// As they are. The default.
    #[default]
    Full,
    /// In 16 bits as f16: 11 significant bits. Values beyond 65504 become infinite, and so gradients that are not finite;
    /// NaN stays NaN, and what is not 0 does not become 0. Needs no f16 in shaders.
    F16,
    /// In 16 bits as bf16: 8 significant bits and the range of f32.
    Bf16,
}

thread_local! {
    static CURRENT: Cell<Storage> = const { Cell::new(Storage::Full) };
}

impl Storage {
    /// The one in use on this thread.
    pub fn current() -> Self {
        CURRENT.get()
    }

    /// The format of what is packed, if anything is.
    pub(crate) const fn half(self) -> Option<Half> {
        match self {
            Self::Full => None,
            Self::F16 => Some(Half::F16),
            Self::Bf16 => Some(Half::Bf16),
        }
    }
}

/// Runs `f`, a forward pass, with what it stores for the backward pass stored as `storage` says, on this thread. May be
/// nested; what was in use before is in use again afterwards, after a panic too. The backward pass itself needs no such
/// scope.
///
/// ```
/// use forgeling::ops::{Storage, store_as};
///
/// let inner = store_as(Storage::F16, || {
///     assert_eq!(Storage::current(), Storage::F16);
///     store_as(Storage::Full, Storage::current)
/// });
/// assert_eq!((inner, Storage::current()), (Storage::Full, Storage::Full));
/// ```
pub fn store_as<R>(storage: Storage, f: impl FnOnce() -> R) -> R {
    struct Restore(Storage);
    impl Drop for Restore {
        fn drop(&mut self) {
            CURRENT.set(self.0);
        }
    }
    let _restore = Restore(CURRENT.replace(storage));
    f()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_restores_what_was_in_use() {
        let result = std::panic::catch_unwind(|| store_as(Storage::Bf16, || panic!("on purpose")));
        assert!(result.is_err());
        assert_eq!(Storage::current(), Storage::Full);
        let other = std::thread::scope(|scope| {
            store_as(Storage::F16, || scope.spawn(Storage::current).join())
        });
        assert_eq!(other.unwrap(), Storage::Full, "it is the thread's own");
    }
}
