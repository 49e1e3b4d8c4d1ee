//! The operations as an extension of the back ends that have implementations for them, and on the tape.

use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, AutodiffBackend, Backend, ExtensionType, backend_extension};

use crate::ops::tape;

/// Gradients of `affine_relu_pool`.
pub(crate) struct LineGradients<B: Backend> {
    pub z: FloatTensor<B>,
    pub scale: FloatTensor<B>,
    pub shift: FloatTensor<B>,
}

/// What `norm_pool_grad` gives, and what its backward pass needs besides.
#[derive(ExtensionType)]
pub(crate) struct PoolGradients<B: Backend> {
    pub input: FloatTensor<B>,
    /// The gradients of gamma and of beta, `[2, channels]`.
    pub vectors: FloatTensor<B>,
    /// These, means, variances and whatever else the back end wants to find again, a row each.
    pub numbers: FloatTensor<B>,
}

/// Gradients of what `norm_pool_grad` gives.
pub(crate) struct SecondGradients<B: Backend> {
    pub z: FloatTensor<B>,
    pub gamma: FloatTensor<B>,
    pub grad: FloatTensor<B>,
}

#[backend_extension(Autodiff, Cube, Flex)]
pub(crate) trait NormPoolOps: Backend {
    /// Means and variances, `[2, channels]`.
    fn channel_moments(z: FloatTensor<Self>) -> FloatTensor<Self>;

    fn affine_relu_pool(
        z: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    fn norm_pool_grad(
        z: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> PoolGradients<Self>;
}

pub(crate) trait NormPoolBackward: NormPoolOps {
    fn channel_moments_grad(
        z: FloatTensor<Self>,
        moments: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    fn affine_relu_pool_grad(
        z: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> LineGradients<Self>;

    /// The gradients where `input` has the gradient `flow`, or `vectors` has if `of_vectors`: then there is none of gamma.
    #[allow(clippy::too_many_arguments)]
    fn norm_pool_second(
        z: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        numbers: FloatTensor<Self>,
        flow: FloatTensor<Self>,
        of_vectors: bool,
    ) -> SecondGradients<Self>;
}

/// What both parts of `norm_pool_grad` read in their backward passes.
#[derive(Debug, Clone)]
struct Kept<T> {
    z: T,
    gamma: T,
    beta: T,
    grad: T,
    numbers: T,
}

impl<T> Kept<T> {
    fn backward<B>(self, flow: T, of_vectors: bool) -> SecondGradients<B>
    where
        B: NormPoolBackward<FloatTensorPrimitive = T>,
    {
        B::norm_pool_second(
            self.z,
            self.gamma,
            self.beta,
            self.grad,
            self.numbers,
            flow,
            of_vectors,
        )
    }
}

impl<B: NormPoolBackward, C: CheckpointStrategy> NormPoolOps for Autodiff<B, C> {
    fn channel_moments(z: FloatTensor<Self>) -> FloatTensor<Self> {
        let ([z], parents) = tape::open([z]);
        let moments = B::channel_moments(z.clone());
        tape::record::<B, _, 1>(
            parents,
            moments,
            |moments| [z, moments.clone()],
            |[z, moments], grad, parents| {
                parents.give_with(0, || B::channel_moments_grad(z, moments, grad));
            },
        )
    }

    fn affine_relu_pool(
        z: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let ([z, scale, shift], parents) = tape::open([z, scale, shift]);
        let y = B::affine_relu_pool(z.clone(), scale.clone(), shift.clone());
        tape::record::<B, _, 3>(
            parents,
            y,
            |_| [z, scale, shift],
            |[z, scale, shift], grad, parents| {
                let line = B::affine_relu_pool_grad(z, scale, shift, grad);
                parents.give_all([line.z, line.scale, line.shift]);
            },
        )
    }

    fn norm_pool_grad(
        z: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> PoolGradients<Self> {
        // The gradients of gamma and beta are children of these, too.
        let (_, of_vectors) = tape::open([z.clone(), grad.clone()]);
        let ([z, gamma, grad], of_input) = tape::open([z, gamma, grad]);
        let beta = beta.into_primitive();
        let PoolGradients {
            input,
            vectors,
            numbers,
        } = B::norm_pool_grad(z.clone(), gamma.clone(), beta.clone(), grad.clone());
        let kept = Kept {
            z,
            gamma,
            beta,
            grad,
            numbers: numbers.clone(),
        };
        let input = tape::record::<B, _, 3>(
            of_input,
            input,
            |_| kept.clone(),
            |kept, flow, parents| {
                let second = kept.backward::<B>(flow, false);
                parents.give_all([second.z, second.gamma, second.grad]);
            },
        );
        let vectors = tape::record::<B, _, 2>(
            of_vectors,
            vectors,
            |_| kept,
            |kept, flow, parents| {
                let second = kept.backward::<B>(flow, true);
                parents.give_all([second.z, second.grad]);
            },
        );
        PoolGradients {
            input,
            vectors,
            numbers: Self::from_inner(numbers),
        }
    }
}
