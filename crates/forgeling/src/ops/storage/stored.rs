//! A tensor as an operation stores it for its backward pass.

use std::any::Any;
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Arc, Weak};

use burn::backend::TensorMetadata;
use burn::backend::autodiff::NodeId;
use burn::tensor::{DType, Shape};

use super::{Half, Order, Storage, StorageOps};

/// Numbers from which a tensor is worth packing.
pub(crate) const WORTH_PACKING: usize = 4096;

/// A tensor as it is, or packed.
#[derive(Debug, Clone)]
pub(crate) enum Stored<T> {
    Full(T),
    Half(Arc<Packed<T>>),
}

/// A tensor in 16 bits.
#[derive(Debug, Clone)]
pub(crate) struct Packed<T> {
    bits: T,
    shape: Shape,
    half: Half,
    order: Order,
}

/// What a packed tensor was made of.
type Key = (NodeId, Half, Order);

thread_local! {
    /// The packed tensors that a forward pass's next operations may store too.
    static SHARED: RefCell<HashMap<Key, Weak<dyn Any + Send + Sync>>> = RefCell::default();
}

/// Entries from which those of dropped tensors are looked for.
const MANY: usize = 256;

impl<T: TensorMetadata + 'static> Stored<T> {
    /// `tensor` as [`Storage::current`] says, packed once for all operations that store this one of the tape's nodes.
    pub fn of_node<B>(tensor: T, node: NodeId, order: Order) -> Self
    where
        B: StorageOps<FloatTensorPrimitive = T>,
    {
        let Some(half) = format_of(&tensor) else {
            return Self::Full(tensor);
        };
        let known = SHARED.with_borrow(|shared| shared.get(&(node, half, order))?.upgrade());
        if let Some(packed) = known.and_then(|known| known.downcast().ok()) {
            return Self::Half(packed);
        }
        let stored = Self::pack::<B>(tensor, half, order);
        stored.share(node);
        stored
    }

    /// `tensor`, which is not on the tape yet, as [`Storage::current`] says. See [`share`](Self::share).
    pub fn of<B>(tensor: T, order: Order) -> Self
    where
        B: StorageOps<FloatTensorPrimitive = T>,
    {
        match format_of(&tensor) {
            Some(half) => Self::pack::<B>(tensor, half, order),
            None => Self::Full(tensor),
        }
    }

    fn pack<B>(tensor: T, half: Half, order: Order) -> Self
    where
        B: StorageOps<FloatTensorPrimitive = T>,
    {
        let shape = tensor.shape();
        Self::Half(Arc::new(Packed {
            bits: B::pack_half(tensor, half, order),
            shape,
            half,
            order,
        }))
    }

    /// Lets the operations to come store this one as the tape's `node`, which it is.
    pub fn share(&self, node: NodeId) {
        let Self::Half(packed) = self else {
            return;
        };
        let weak: Weak<dyn Any + Send + Sync> = Arc::downgrade(packed) as _;
        SHARED.with_borrow_mut(|shared| {
            if shared.len() >= MANY {
                shared.retain(|_, packed| packed.strong_count() > 0);
            }
            shared.insert((node, packed.half, packed.order), weak);
        });
    }

    /// The tensor, in f32 if it was packed.
    pub fn restore<B>(self) -> T
    where
        B: StorageOps<FloatTensorPrimitive = T>,
    {
        match self {
            Self::Full(tensor) => tensor,
            Self::Half(packed) => {
                let packed = Arc::unwrap_or_clone(packed);
                B::unpack_half(packed.bits, packed.shape, packed.half, packed.order)
            }
        }
    }

    /// The tensor, or its bits and their format.
    pub fn into_bits(self) -> (T, Option<Half>) {
        match self {
            Self::Full(tensor) => (tensor, None),
            Self::Half(packed) => {
                let packed = Arc::unwrap_or_clone(packed);
                (packed.bits, Some(packed.half))
            }
        }
    }
}

/// In which format a tensor is to be packed, if at all.
fn format_of(tensor: &impl TensorMetadata) -> Option<Half> {
    let half = Storage::current().half()?;
    let worth = tensor.shape().num_elements() >= WORTH_PACKING;
    (worth && tensor.dtype() == DType::F32).then_some(half)
}
