//! The operations as an extension of the back ends that have bodies for them, and on the tape.

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, AutodiffBackend, Backend, ExtensionType, backend_extension};
#[cfg(feature = "fusion")]
use burn::tensor::{DType, Shape};

#[cfg(feature = "fusion")]
use super::specs;

/// Gradients of `affine_relu_pool`.
#[derive(ExtensionType)]
#[extension_type(fusion: cfg(feature = "fusion"))]
pub(crate) struct LineGradients<B: Backend> {
    pub z: FloatTensor<B>,
    pub scale: FloatTensor<B>,
    pub shift: FloatTensor<B>,
}

/// What `norm_pool_grad` gives, and what its backward pass needs besides.
#[derive(ExtensionType)]
#[extension_type(fusion: cfg(feature = "fusion"))]
pub(crate) struct PoolGradients<B: Backend> {
    pub input: FloatTensor<B>,
    /// The gradients of gamma and of beta, `[2, channels]`.
    pub vectors: FloatTensor<B>,
    /// These, means, variances and whatever else the back end wants to find again, a row each.
    pub numbers: FloatTensor<B>,
}

/// Gradients of what `norm_pool_grad` gives.
#[derive(ExtensionType)]
#[extension_type(fusion: cfg(feature = "fusion"))]
pub(crate) struct SecondGradients<B: Backend> {
    pub z: FloatTensor<B>,
    pub gamma: FloatTensor<B>,
    pub grad: FloatTensor<B>,
}

#[backend_extension(Autodiff, Cube, Flex, Fusion: cfg(feature = "fusion"))]
pub(crate) trait NormPoolOps: Backend {
    /// Means and variances, `[2, channels]`.
    #[fusion(dtype = DType::F32, shape = Shape::new([2, z[1]]))]
    fn channel_moments(z: FloatTensor<Self>) -> FloatTensor<Self>;

    #[fusion(dtype = z, shape = z)]
    fn channel_moments_grad(
        z: FloatTensor<Self>,
        moments: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    #[fusion(dtype = z, shape = Shape::new([z[0], z[1], z[2] / 2, z[3] / 2]))]
    fn affine_relu_pool(
        z: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    #[fusion(meta = specs::line)]
    fn affine_relu_pool_grad(
        z: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> LineGradients<Self>;

    #[fusion(meta = specs::first)]
    fn norm_pool_grad(
        z: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> PoolGradients<Self>;

    /// The gradients where `input` has the gradient `flow`, or `vectors` has if `of_vectors`: then there is none of gamma.
    #[allow(clippy::too_many_arguments)]
    #[fusion(meta = specs::second)]
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

#[derive(Debug)]
struct Moments;

impl<B: NormPoolOps> Backward<B, 1> for Moments {
    /// `z` and its moments.
    type State = [FloatTensor<B>; 2];

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let [z, moments] = ops.state;
        let grad = grads.consume::<B>(&ops.node);
        let [parent] = ops.parents;
        if let Some(node) = parent {
            grads.register::<B>(node.id, B::channel_moments_grad(z, moments, grad));
        }
    }
}

/// Parents are `z`, scale and shift.
#[derive(Debug)]
struct Line;

impl<B: NormPoolOps> Backward<B, 3> for Line {
    /// The parents' values.
    type State = [FloatTensor<B>; 3];

    fn backward(
        self,
        ops: Ops<Self::State, 3>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let [z, scale, shift] = ops.state;
        let grad = grads.consume::<B>(&ops.node);
        let line = B::affine_relu_pool_grad(z, scale, shift, grad);
        let gradients = [line.z, line.scale, line.shift];
        for (parent, gradient) in ops.parents.into_iter().zip(gradients) {
            if let Some(node) = parent {
                grads.register::<B>(node.id, gradient);
            }
        }
    }
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
        B: NormPoolOps<FloatTensorPrimitive = T>,
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

/// The gradient of `z`; parents are `z`, gamma and `grad`.
#[derive(Debug)]
struct OfInput;

impl<B: NormPoolOps> Backward<B, 3> for OfInput {
    type State = Kept<FloatTensor<B>>;

    fn backward(
        self,
        ops: Ops<Self::State, 3>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let flow = grads.consume::<B>(&ops.node);
        let second = ops.state.backward::<B>(flow, false);
        let gradients = [second.z, second.gamma, second.grad];
        for (parent, gradient) in ops.parents.into_iter().zip(gradients) {
            if let Some(node) = parent {
                grads.register::<B>(node.id, gradient);
            }
        }
    }
}

/// The gradients of gamma and beta; parents are `z` and `grad`.
#[derive(Debug)]
struct OfVectors;

impl<B: NormPoolOps> Backward<B, 2> for OfVectors {
    type State = Kept<FloatTensor<B>>;

    fn backward(
        self,
        ops: Ops<Self::State, 2>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let flow = grads.consume::<B>(&ops.node);
        let second = ops.state.backward::<B>(flow, true);
        let gradients = [second.z, second.grad];
        for (parent, gradient) in ops.parents.into_iter().zip(gradients) {
            if let Some(node) = parent {
                grads.register::<B>(node.id, gradient);
            }
        }
    }
}

impl<B: NormPoolOps, C: CheckpointStrategy> NormPoolOps for Autodiff<B, C> {
    fn channel_moments(z: FloatTensor<Self>) -> FloatTensor<Self> {
        let (z, node) = z.into_parts();
        let moments = B::channel_moments(z.clone());
        match Moments.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish([z, moments.clone()], moments),
            OpsKind::UnTracked(prep) => prep.finish(moments),
        }
    }

    // Second order is as far as the tape goes here: gradients of gradients are not recorded.
    fn channel_moments_grad(
        z: FloatTensor<Self>,
        moments: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let [z, moments, grad] = [z, moments, grad].map(|tensor| tensor.into_primitive());
        Self::from_inner(B::channel_moments_grad(z, moments, grad))
    }

    fn affine_relu_pool(
        z: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let (z, z_node) = z.into_parts();
        let (scale, scale_node) = scale.into_parts();
        let (shift, shift_node) = shift.into_parts();
        let y = B::affine_relu_pool(z.clone(), scale.clone(), shift.clone());
        let prepared = Line
            .prepare::<C>([z_node, scale_node, shift_node])
            .compute_bound()
            .stateful();
        match prepared {
            OpsKind::Tracked(prep) => prep.finish([z, scale, shift], y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    fn affine_relu_pool_grad(
        z: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> LineGradients<Self> {
        let line = B::affine_relu_pool_grad(
            z.into_primitive(),
            scale.into_primitive(),
            shift.into_primitive(),
            grad.into_primitive(),
        );
        LineGradients {
            z: Self::from_inner(line.z),
            scale: Self::from_inner(line.scale),
            shift: Self::from_inner(line.shift),
        }
    }

    fn norm_pool_grad(
        z: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> PoolGradients<Self> {
        // Both parts are children of these.
        let [(_, z_again), (_, grad_again)] =
            [z.clone(), grad.clone()].map(|tensor| tensor.into_parts());
        let (z, z_node) = z.into_parts();
        let (gamma, gamma_node) = gamma.into_parts();
        let (grad, grad_node) = grad.into_parts();
        let beta = beta.into_primitive();
        let given = (z.clone(), gamma.clone(), beta.clone(), grad.clone());
        let gradients = B::norm_pool_grad(given.0, given.1, given.2, given.3);
        let numbers = Self::from_inner(gradients.numbers.clone());
        let kept = Kept {
            z,
            gamma,
            beta,
            grad,
            numbers: gradients.numbers,
        };
        let prepared = OfInput
            .prepare::<C>([z_node, gamma_node, grad_node])
            .compute_bound()
            .stateful();
        let input = match prepared {
            OpsKind::Tracked(prep) => prep.finish(kept.clone(), gradients.input),
            OpsKind::UnTracked(prep) => prep.finish(gradients.input),
        };
        let prepared = OfVectors
            .prepare::<C>([z_again, grad_again])
            .compute_bound()
            .stateful();
        let vectors = match prepared {
            OpsKind::Tracked(prep) => prep.finish(kept, gradients.vectors),
            OpsKind::UnTracked(prep) => prep.finish(gradients.vectors),
        };
        PoolGradients {
            input,
            vectors,
            numbers,
        }
    }

    fn norm_pool_second(
        z: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        numbers: FloatTensor<Self>,
        flow: FloatTensor<Self>,
        of_vectors: bool,
    ) -> SecondGradients<Self> {
        let kept = Kept {
            z: z.into_primitive(),
            gamma: gamma.into_primitive(),
            beta: beta.into_primitive(),
            grad: grad.into_primitive(),
            numbers: numbers.into_primitive(),
        };
        let second = kept.backward::<B>(flow.into_primitive(), of_vectors);
        SecondGradients {
            z: Self::from_inner(second.z),
            gamma: Self::from_inner(second.gamma),
            grad: Self::from_inner(second.grad),
        }
    }
}
