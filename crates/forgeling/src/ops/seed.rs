//! A root from which a backward pass goes on with a gradient that is known.

use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::tensor::FloatTensor;
use burn::backend::wgpu::CubeBackend;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, TensorMetadata, backend_extension};
use burn::tensor::{Tensor, TensorData};

use super::tape;

/// A scalar whose backward pass gives `y` the gradient `gradient`, an untracked tensor of its shape and dtype: that of
/// `sum(y * gradient)`, with nothing computed.
pub(crate) fn seed<const D: usize>(y: Tensor<D>, gradient: Tensor<D>) -> Tensor<1> {
    let gradient = Tensor::from_inner(gradient);
    Tensor::from_dispatch(<Dispatch as SeedOps>::root(
        y.into_dispatch(),
        gradient.into_dispatch(),
    ))
}

#[backend_extension(Autodiff, Cube, Flex)]
pub(crate) trait SeedOps: Backend {
    fn root(y: FloatTensor<Self>, gradient: FloatTensor<Self>) -> FloatTensor<Self>;
}

impl SeedOps for CubeBackend {
    fn root(y: FloatTensor<Self>, _gradient: FloatTensor<Self>) -> FloatTensor<Self> {
        nothing::<Self>(&y)
    }
}

impl SeedOps for Flex {
    fn root(y: FloatTensor<Self>, _gradient: FloatTensor<Self>) -> FloatTensor<Self> {
        nothing::<Self>(&y)
    }
}

/// A number that nobody looks at.
fn nothing<B: Backend>(y: &FloatTensor<B>) -> FloatTensor<B> {
    let zero = TensorData::full_dtype([1], 0.0, y.dtype());
    B::float_from_data(zero, &y.device())
}

impl<B: SeedOps, C: CheckpointStrategy> SeedOps for Autodiff<B, C> {
    fn root(y: FloatTensor<Self>, gradient: FloatTensor<Self>) -> FloatTensor<Self> {
        let ([y], parents) = tape::open([y]);
        let gradient = gradient.into_primitive();
        let root = B::root(y, gradient.clone());
        tape::record::<B, _, 1>(
            parents,
            root,
            |_| gradient,
            |gradient, _, parents| parents.give(0, gradient),
        )
    }
}
