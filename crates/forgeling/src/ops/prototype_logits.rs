//! Negative squared distances of queries to class prototypes, batched over episodes.

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::wgpu::{CubeBackend, CubeTensor};
use burn::backend::{
    Autodiff, AutodiffBackend, Backend, Dispatch, Flex, TensorMetadata, backend_extension,
};
use burn::tensor::{DType, Shape, Tensor};
use forgeling_shaders::cpu::{self, PrototypeShape};
use forgeling_shaders::{
    Kernel, PROTOTYPE_LOGITS, PROTOTYPE_LOGITS_GRAD_PROTOTYPES, PROTOTYPE_LOGITS_GRAD_QUERY,
};

use super::bodies::composite;
use super::flex::{tensor, with_values};
use super::launch::{Launch, f32s, has_kernels};
use super::reference;
use crate::error::{Error, Result};

/// Negative squared Euclidean distances of every query to every class prototype of its episode:
///
/// `logits[e, q, n] = -sum_d (query[e, q, d] - prototypes[e, n, d])^2`
///
/// Shapes: `query [E, Q, D]`, `prototypes [E, N, D]`, result `[E, Q, N]`; both inputs of one float dtype
/// and on one device. Differentiable in both. Snell et al., *Prototypical Networks for Few-shot
/// Learning*, 2017 (arXiv 1703.05175).
///
/// On f32 this is one kernel forward and one per gradient; other dtypes use [`mod@reference`].
///
/// # Errors
/// When the episodes or features differ, when a size is zero, or when dtypes differ.
pub fn prototype_logits(query: Tensor<3>, prototypes: Tensor<3>) -> Result<Tensor<3>> {
    const OPERATION: &str = "prototype_logits";
    let [episodes, queries, features] = query.dims();
    let [prototype_episodes, ways, prototype_features] = prototypes.dims();
    if episodes != prototype_episodes || features != prototype_features {
        return Err(Error::invalid(
            OPERATION,
            "query and prototypes differ in episodes or features",
        )
        .expected(format!("prototypes [{episodes}, ways, {features}]"))
        .got(format!("{:?}", prototypes.dims())));
    }
    if [episodes, queries, ways, features].contains(&0) {
        return Err(Error::invalid(OPERATION, "empty input")
            .expected("every size at least 1")
            .got(format!(
                "query {:?}, prototypes {:?}",
                query.dims(),
                prototypes.dims()
            )));
    }
    if query.dtype() != prototypes.dtype() {
        return Err(
            Error::invalid(OPERATION, "query and prototypes differ in dtype")
                .expected(format!("{:?}", query.dtype()))
                .got(format!("{:?}", prototypes.dtype())),
        );
    }
    let largest = (episodes * queries * features)
        .max(episodes * ways * features)
        .max(episodes * queries * ways);
    let own_kernel =
        PROTOTYPE_LOGITS.grid(largest).is_some() && has_kernels(&query.device(), query.dtype());
    if !own_kernel {
        let dtype = query.dtype();
        let reference = || reference::prototype_logits(query, prototypes);
        return composite(OPERATION, dtype, reference);
    }
    let logits = <Dispatch as PrototypeOps>::prototype_logits(
        query.into_dispatch(),
        prototypes.into_dispatch(),
    );
    Ok(Tensor::from_dispatch(logits))
}

#[backend_extension(Autodiff, Cube, Flex, Fusion: cfg(feature = "fusion"))]
pub(crate) trait PrototypeOps: Backend {
    #[fusion(dtype = DType::F32, shape = Shape::new([query[0], query[1], prototypes[1]]))]
    fn prototype_logits(
        query: FloatTensor<Self>,
        prototypes: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    #[fusion(dtype = query, shape = query)]
    fn prototype_logits_grad_query(
        query: FloatTensor<Self>,
        prototypes: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    #[fusion(dtype = prototypes, shape = prototypes)]
    fn prototype_logits_grad_prototypes(
        query: FloatTensor<Self>,
        prototypes: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
}

/// `[episodes, queries, ways, features]` of checked inputs.
fn sizes(query: &Shape, prototypes: &Shape) -> PrototypeShape {
    [query[0], query[1], prototypes[1], query[2]]
}

fn launch(
    kernel: &'static Kernel,
    inputs: Vec<CubeTensor>,
    output: (Shape, DType),
    sizes: PrototypeShape,
) -> CubeTensor {
    let [output] = Launch::per_element(kernel, inputs, output, sizes.to_vec());
    output
}

impl PrototypeOps for CubeBackend {
    fn prototype_logits(
        query: FloatTensor<Self>,
        prototypes: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let sizes = sizes(&query.shape(), &prototypes.shape());
        let output = f32s([sizes[0], sizes[1], sizes[2]]);
        launch(&PROTOTYPE_LOGITS, vec![query, prototypes], output, sizes)
    }

    fn prototype_logits_grad_query(
        query: FloatTensor<Self>,
        prototypes: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let output = (query.shape(), query.dtype());
        let sizes = sizes(&query.shape(), &prototypes.shape());
        launch(
            &PROTOTYPE_LOGITS_GRAD_QUERY,
            vec![query, prototypes, grad],
            output,
            sizes,
        )
    }

    fn prototype_logits_grad_prototypes(
        query: FloatTensor<Self>,
        prototypes: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let output = (prototypes.shape(), prototypes.dtype());
        let sizes = sizes(&query.shape(), &prototypes.shape());
        launch(
            &PROTOTYPE_LOGITS_GRAD_PROTOTYPES,
            vec![query, prototypes, grad],
            output,
            sizes,
        )
    }
}

/// Runs a CPU body over the values of `inputs` into a new tensor of `shape`.
fn on_cpu<const N: usize>(
    inputs: [&FlexTensor; N],
    shape: Shape,
    body: impl FnOnce([&[f32]; N], &mut [f32]),
) -> FlexTensor {
    let mut output = vec![0.0; shape.num_elements()];
    with_values(inputs, |values| body(values, &mut output));
    tensor(output, shape)
}

impl PrototypeOps for Flex {
    fn prototype_logits(
        query: FloatTensor<Self>,
        prototypes: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let sizes = sizes(&query.shape(), &prototypes.shape());
        let shape = Shape::new([sizes[0], sizes[1], sizes[2]]);
        on_cpu(
            [&query, &prototypes],
            shape,
            |[query, prototypes], logits| {
                cpu::prototype_logits(query, prototypes, logits, sizes);
            },
        )
    }

    fn prototype_logits_grad_query(
        query: FloatTensor<Self>,
        prototypes: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let sizes = sizes(&query.shape(), &prototypes.shape());
        on_cpu(
            [&query, &prototypes, &grad],
            query.shape(),
            |[query, prototypes, grad], out| {
                cpu::prototype_logits_grad_query(query, prototypes, grad, out, sizes);
            },
        )
    }

    fn prototype_logits_grad_prototypes(
        query: FloatTensor<Self>,
        prototypes: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let sizes = sizes(&query.shape(), &prototypes.shape());
        on_cpu(
            [&query, &prototypes, &grad],
            prototypes.shape(),
            |[query, prototypes, grad], out| {
                cpu::prototype_logits_grad_prototypes(query, prototypes, grad, out, sizes);
            },
        )
    }
}

#[derive(Debug)]
struct PrototypeLogits;

impl<B: PrototypeOps> Backward<B, 2> for PrototypeLogits {
    type State = (FloatTensor<B>, FloatTensor<B>);

    fn backward(
        self,
        ops: Ops<Self::State, 2>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let [query_node, prototypes_node] = ops.parents;
        let (query, prototypes) = ops.state;
        let grad = grads.consume::<B>(&ops.node);
        if let Some(node) = query_node {
            let value =
                B::prototype_logits_grad_query(query.clone(), prototypes.clone(), grad.clone());
            grads.register::<B>(node.id, value);
        }
        if let Some(node) = prototypes_node {
            let value = B::prototype_logits_grad_prototypes(query, prototypes, grad);
            grads.register::<B>(node.id, value);
        }
    }
}

impl<B: PrototypeOps, C: CheckpointStrategy> PrototypeOps for Autodiff<B, C> {
    fn prototype_logits(
        query: FloatTensor<Self>,
        prototypes: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let (query, query_node) = query.into_parts();
        let (prototypes, prototypes_node) = prototypes.into_parts();
        let logits = B::prototype_logits(query.clone(), prototypes.clone());
        match PrototypeLogits
            .prepare::<C>([query_node, prototypes_node])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => prep.finish((query, prototypes), logits),
            OpsKind::UnTracked(prep) => prep.finish(logits),
        }
    }

    // The tape is first order, as everywhere in burn: the gradients themselves are not recorded.
    fn prototype_logits_grad_query(
        query: FloatTensor<Self>,
        prototypes: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        Self::from_inner(B::prototype_logits_grad_query(
            query.into_primitive(),
            prototypes.into_primitive(),
            grad.into_primitive(),
        ))
    }

    fn prototype_logits_grad_prototypes(
        query: FloatTensor<Self>,
        prototypes: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        Self::from_inner(B::prototype_logits_grad_prototypes(
            query.into_primitive(),
            prototypes.into_primitive(),
            grad.into_primitive(),
        ))
    }
}
