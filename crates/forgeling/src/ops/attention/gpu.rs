//! Attention on GPUs. Tensors are `[batch, tokens, heads, width]` here: one whose memory already is, as the output of a
//! linear layer, is used as it lies, any other is copied. Kernels take four numbers at a time: other widths are filled
//! up with zeros, which change no score.

use burn::backend::TensorMetadata;
use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::FloatTensor;
use burn::backend::wgpu::{CubeBackend, CubeTensor};
use burn::tensor::{DType, Shape, Slice};
use forgeling_shaders::attention::{QUADS, SPAN};
use forgeling_shaders::{ATTENTION, ATTENTION_GRAD_KEY_VALUE, ATTENTION_GRAD_QUERY, Kernel};

use super::{AttentionBackward, AttentionForward, AttentionGradients, AttentionOps, Weighing};
use crate::ops::launch::{Grid, Launch, f32s, part};

/// Quads of f16 from which a part of a buffer may be bound by itself.
const PART_QUADS: usize = 32;

/// Sizes of an attention, in the order of the kernels' last binding.
#[derive(Clone, Copy)]
struct AttentionShape {
    batches: usize,
    heads: usize,
    queries: usize,
    keys: usize,
    /// Numbers of a token, four each.
    quads: usize,
    causal: bool,
    /// The factor of the scores, as bits.
    scale: u32,
    /// The quad at which the gradient of the values begins.
    values: usize,
}

impl AttentionShape {
    fn sizes(self) -> Vec<usize> {
        vec![
            self.batches,
            self.heads,
            self.queries,
            self.keys,
            self.quads,
            usize::from(self.causal),
            self.scale as usize,
            self.values,
        ]
    }
}

/// Sizes of an attention and of its launches.
struct Plan {
    shape: AttentionShape,
    width: usize,
    stored: DType,
}

impl Plan {
    fn new(query: &CubeTensor, key: &CubeTensor, weighing: Weighing) -> Self {
        let (q, k) = (query.shape(), key.shape());
        let quads = q[3].div_ceil(4);
        Self {
            shape: AttentionShape {
                batches: q[0],
                heads: q[1],
                queries: q[2],
                keys: k[2],
                quads,
                causal: weighing.causal,
                scale: weighing.scale.to_bits(),
                values: (q[0] * q[1] * k[2] * quads).next_multiple_of(PART_QUADS),
            },
            width: q[3],
            stored: query.dtype,
        }
    }

    /// `[batch, heads, tokens, width]` as kernels read it.
    fn enter(&self, tensor: CubeTensor) -> CubeTensor {
        let tensor = CubeBackend::float_permute(tensor, &[0, 2, 1, 3]);
        let mut missing = tensor.shape();
        missing[3] = self.shape.quads * 4 - self.width;
        if missing[3] == 0 {
            return tensor;
        }
        let device = tensor.device();
        let zeros = CubeBackend::float_zeros(missing, &device, self.stored.into());
        CubeBackend::float_cat(vec![tensor, zeros], 3)
    }

    /// The other way.
    fn leave(&self, tensor: CubeTensor) -> CubeTensor {
        let shape = tensor.shape();
        let tensor = if shape[3] == self.width {
            tensor
        } else {
            let part = |axis: usize| Slice::from(0..shape[axis]);
            let slices = [part(0), part(1), part(2), Slice::from(0..self.width)];
            CubeBackend::float_slice(tensor, &slices)
        };
        CubeBackend::float_permute(tensor, &[0, 2, 1, 3])
    }

    fn tokens(&self, count: usize) -> Shape {
        let AttentionShape {
            batches,
            heads,
            quads,
            ..
        } = self.shape;
        Shape::new([batches, count, heads, quads * 4])
    }

    /// A launch with a workgroup for every [`SPAN`] of `tokens`.
    fn launch<const N: usize>(
        &self,
        kernel: &'static Kernel,
        inputs: Vec<CubeTensor>,
        outputs: [(Shape, DType); N],
        tokens: usize,
    ) -> [CubeTensor; N] {
        let heads = self.shape.batches * self.shape.heads;
        let groups = heads * tokens.div_ceil(SPAN) * self.shape.quads.div_ceil(QUADS);
        Launch {
            kernel,
            inputs,
            outputs,
            sizes: self.shape.sizes(),
            grid: Grid::Workgroups(groups),
        }
        .run()
    }
}

impl AttentionOps for CubeBackend {
    fn softmax_attention(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        value: FloatTensor<Self>,
        weighing: Weighing,
    ) -> AttentionForward<Self> {
        let plan = Plan::new(&query, &key, weighing);
        let AttentionShape {
            batches,
            heads,
            queries,
            ..
        } = plan.shape;
        let [output, lse] = plan.launch(
            &ATTENTION,
            [query, key, value].map(|t| plan.enter(t)).to_vec(),
            [
                (plan.tokens(queries), plan.stored),
                f32s([batches, heads, queries]),
            ],
            queries,
        );
        AttentionForward {
            output: plan.leave(output),
            lse,
        }
    }
}

impl AttentionBackward for CubeBackend {
    fn softmax_attention_backward(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        value: FloatTensor<Self>,
        output: FloatTensor<Self>,
        lse: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        weighing: Weighing,
    ) -> AttentionGradients<Self> {
        let plan = Plan::new(&query, &key, weighing);
        let AttentionShape {
            queries,
            keys,
            values,
            ..
        } = plan.shape;
        let [q, k, v, output, grad] =
            [query, key, value, output, grad].map(|tensor| plan.enter(tensor));
        let inputs = vec![q, k, v, output, lse, grad];
        let [dq] = plan.launch(
            &ATTENTION_GRAD_QUERY,
            inputs.clone(),
            [(plan.tokens(queries), plan.stored)],
            queries,
        );
        let length = plan.tokens(keys).num_elements();
        let both = Shape::new([4 * values + length]);
        let [both] = plan.launch(
            &ATTENTION_GRAD_KEY_VALUE,
            inputs,
            [(both, plan.stored)],
            keys,
        );
        let [dk, dv] = [0, 4 * values].map(|start| {
            let gradient = part(&both, start, length);
            plan.leave(CubeBackend::float_reshape(gradient, plan.tokens(keys)))
        });
        AttentionGradients {
            query: plan.leave(dq),
            key: dk,
            value: dv,
        }
    }
}
