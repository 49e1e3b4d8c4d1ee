//! Attention on the CPU back end.

use burn::backend::Flex;
use burn::backend::TensorMetadata;
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;

use super::{AttentionBackward, AttentionForward, AttentionGradients, AttentionOps, Weighing};
use crate::ops::cpu::attention::{self as cpu, AttentionShape, Tokens};
use crate::ops::cpu_tensors::{tensor, with_values};

fn shape_of(query: &FlexTensor, key: &FlexTensor, weighing: Weighing) -> AttentionShape {
    let shape = query.shape();
    AttentionShape {
        batches: shape[0],
        heads: shape[1],
        queries: shape[2],
        keys: key.shape()[2],
        width: shape[3],
        causal: weighing.causal,
        scale: weighing.scale,
    }
}

/// The tensor itself if each number lies beside the next, whatever the order of batches, heads and tokens.
fn in_lines(tensor: FlexTensor) -> FlexTensor {
    let strides = tensor.layout().strides();
    if strides[3] == 1 && strides.iter().all(|&stride| stride >= 0) {
        tensor
    } else {
        tensor.to_contiguous()
    }
}

fn tokens(tensor: &FlexTensor) -> Tokens<'_> {
    let layout = tensor.layout();
    let stride = |axis: usize| layout.strides()[axis].unsigned_abs();
    Tokens {
        values: &tensor.storage::<f32>()[layout.start_offset()..],
        strides: [stride(0), stride(1), stride(2)],
    }
}

/// Whether a token's heads lie closer together than a head's tokens.
fn tokens_first(tensor: &FlexTensor) -> bool {
    let strides = tensor.layout().strides();
    strides[1] < strides[2]
}

/// A tensor of `values` that lies as `like` does.
fn assemble(values: Vec<f32>, like: &FlexTensor) -> FlexTensor {
    let shape = like.shape();
    if tokens_first(like) {
        tensor(values, [shape[0], shape[2], shape[1], shape[3]]).permute(&[0, 2, 1, 3])
    } else {
        tensor(values, shape)
    }
}

impl AttentionOps for Flex {
    fn softmax_attention(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        value: FloatTensor<Self>,
        weighing: Weighing,
    ) -> AttentionForward<Self> {
        let shape = shape_of(&query, &key, weighing);
        let [query, key, value] = [query, key, value].map(in_lines);
        let [q, k, v] = [&query, &key, &value].map(tokens);
        let (output, lse) = cpu::forward(q, k, v, shape, tokens_first(&query));
        AttentionForward {
            output: assemble(output, &query),
            lse: tensor(lse, [shape.batches, shape.heads, shape.queries]),
        }
    }
}

impl AttentionBackward for Flex {
    fn softmax_attention_backward(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        value: FloatTensor<Self>,
        output: FloatTensor<Self>,
        lse: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        weighing: Weighing,
    ) -> AttentionGradients<Self> {
        let shape = shape_of(&query, &key, weighing);
        let all = [query, key, value, output, grad].map(in_lines);
        let inputs = all.each_ref().map(tokens);
        let order = [&all[0], &all[1], &all[2]].map(tokens_first);
        let [dq, dk, dv] = with_values([&lse], |[lse]| cpu::backward(inputs, lse, shape, order));
        AttentionGradients {
            query: assemble(dq, &all[0]),
            key: assemble(dk, &all[1]),
            value: assemble(dv, &all[2]),
        }
    }
}
