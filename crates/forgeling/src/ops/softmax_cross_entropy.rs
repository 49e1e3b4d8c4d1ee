//! Cross entropy of a softmax, with its gradient in the same pass.

use std::sync::Arc;

use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::tensor::FloatTensor;
use burn::backend::wgpu::CubeBackend;
use burn::backend::{
    Autodiff, AutodiffBackend, Backend, Dispatch, ExtensionType, Flex, TensorMetadata,
    backend_extension,
};
use burn::tensor::{DType, Shape, Tensor};
use forgeling_shaders::SOFTMAX_CROSS_ENTROPY;

use super::check::not_empty;
use super::cpu::loss as cpu;
use super::cpu_tensors::{tensor, with_values};
use super::implementation::composite;
use super::launch::{Grid, Launch, f32s, has_kernels};
use super::plan::admit_op;
use super::reference::{self, wide};
use super::tape;
use crate::error::{Error, Result};

/// Mean cross entropy in nats, `-1/R sum_r log softmax(logits[r])[labels[r]]`.
///
/// Shapes: `logits [rows, classes]`, `labels` one class of each row, result `[1]`, in f32 if the logits are of half
/// precision. Differentiable; the gradient, `(softmax(logits[r]) - onehot(labels[r])) / R`, is computed in the same
/// pass.
///
/// # Errors
/// When there is no row or class, not one label for each row, or a label is no class.
pub fn softmax_cross_entropy(logits: Tensor<2>, labels: &[usize]) -> Result<Tensor<1>> {
    const OPERATION: &str = "softmax_cross_entropy";
    let [rows, classes] = logits.dims();
    let got = format_args!("logits {:?}", logits.dims());
    not_empty(OPERATION, &[rows, classes], got)?;
    if labels.len() != rows {
        return Err(Error::invalid(OPERATION, "not one label for each row")
            .expected(format!("{rows} labels"))
            .got(labels.len()));
    }
    if let Some(label) = labels.iter().find(|&&label| label >= classes) {
        return Err(Error::invalid(OPERATION, "a label is no class")
            .expected(format!("labels below {classes}"))
            .got(label));
    }
    let logits = wide(logits);
    let countable = i32::try_from(rows * classes).is_ok();
    if logits.dtype() != DType::F32 || !countable || !has_kernels(&logits.device(), DType::F32) {
        return composite(OPERATION, logits.dtype(), || {
            reference::softmax_cross_entropy(logits, labels)
        });
    }
    admit_op(OPERATION, &logits.device(), |sim| {
        sim.softmax_cross_entropy(sim.given(&logits)).map(drop)
    })?;
    let forward =
        <Dispatch as LossOps>::softmax_cross_entropy(logits.into_dispatch(), labels.into());
    Ok(Tensor::from_dispatch(forward.loss))
}

/// The loss, and its gradient with respect to the logits.
#[derive(ExtensionType)]
pub(crate) struct LossForward<B: Backend> {
    pub loss: FloatTensor<B>,
    pub gradient: FloatTensor<B>,
}

#[backend_extension(Autodiff, Cube, Flex)]
pub(crate) trait LossOps: Backend {
    fn softmax_cross_entropy(logits: FloatTensor<Self>, labels: Arc<[usize]>) -> LossForward<Self>;
}

fn sizes(logits: &Shape, labels: &[usize]) -> Vec<usize> {
    let mut sizes = vec![logits[0], logits[1]];
    sizes.extend_from_slice(labels);
    sizes
}

impl LossOps for CubeBackend {
    fn softmax_cross_entropy(logits: FloatTensor<Self>, labels: Arc<[usize]>) -> LossForward<Self> {
        let shape = logits.shape();
        let [loss, gradient] = Launch {
            kernel: &SOFTMAX_CROSS_ENTROPY,
            sizes: sizes(&shape, &labels),
            inputs: vec![logits],
            outputs: [f32s([1]), f32s(shape)],
            grid: Grid::Workgroups(1),
        }
        .run();
        LossForward { loss, gradient }
    }
}

impl LossOps for Flex {
    fn softmax_cross_entropy(logits: FloatTensor<Self>, labels: Arc<[usize]>) -> LossForward<Self> {
        let shape = logits.shape();
        let mut loss = vec![0.0];
        let mut gradient = vec![0.0; shape.num_elements()];
        with_values([&logits], |[logits]| {
            let sizes = sizes(&shape, &labels);
            cpu::softmax_cross_entropy(logits, &mut loss, &mut gradient, &sizes);
        });
        LossForward {
            loss: tensor(loss, [1]),
            gradient: tensor(gradient, shape),
        }
    }
}

impl<B: LossOps, C: CheckpointStrategy> LossOps for Autodiff<B, C> {
    fn softmax_cross_entropy(logits: FloatTensor<Self>, labels: Arc<[usize]>) -> LossForward<Self> {
        let ([logits], parents) = tape::open([logits]);
        let LossForward { loss, gradient } = B::softmax_cross_entropy(logits, labels);
        let loss = tape::record::<B, _, 1>(
            parents,
            loss,
            |_| gradient.clone(),
            |gradient, grad, parents| {
                parents.give_with(0, || {
                    B::float_mul(gradient, B::float_reshape(grad, Shape::new([1, 1])))
                });
            },
        );
        LossForward {
            loss,
            gradient: Self::from_inner(gradient),
        }
    }
}
