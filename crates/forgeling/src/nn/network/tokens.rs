//! What layers of tokens do.

use std::sync::Arc;

use burn::tensor::Tensor;

use super::PatchValues;
use super::int8::{Ground, Role};
use crate::error::Result;
use crate::nn::graph::Attention;
use crate::nn::quantize::rounded;
use crate::nn::{LinearLayer, Pass};
use crate::ops::{Activation, AttentionOptions, Int8Layer, attention, linear};

/// `[batch, channels, rows, columns]` to `[batch * tokens, width]`.
pub(super) fn patched(
    values: &PatchValues,
    int8: Option<&Arc<Int8Layer>>,
    size: usize,
    images: Tensor<4>,
    pass: &Pass<'_>,
) -> Result<Tensor<2>> {
    let [batch, channels, height, width] = images.dims();
    let (rows, columns) = (height / size, width / size);
    let tokens = rows * columns;
    let patches = images
        .reshape([batch, channels, rows, size, columns, size])
        .permute([0, 2, 4, 1, 3, 5])
        .reshape([batch * tokens, channels * size * size]);
    let embedded = match int8 {
        Some(own) => own.linear(patches),
        None => {
            let bias = Some(values.bias.val());
            let weight = rounded(&values.weight, values.weight_scale.as_ref(), 1)?;
            linear(patches, weight, bias, Activation::None)?
        }
    };
    let described = embedded.dims()[1];
    let mut embedded = embedded.reshape([batch, tokens, described]);
    if let Some(class_token) = &values.class_token {
        let first = pass.input(class_token.val()).unsqueeze::<3>();
        embedded = Tensor::cat(vec![first.repeat_dim(0, batch), embedded], 1);
    }
    let tokens = embedded.dims()[1];
    let positions = pass.input(values.positions.val()).unsqueeze::<3>();
    Ok((embedded + positions).reshape([batch * tokens, described]))
}

/// What one of attention's layers gives.
pub(super) fn projected(
    ground: Ground<'_>,
    (node, role): (usize, Role),
    layer: &LinearLayer,
    rows: Tensor<2>,
) -> Result<Tensor<2>> {
    match ground.int8(node, role) {
        Some(own) => Ok(own.linear(rows)),
        None => layer.forward(rows, Activation::None),
    }
}

/// What the heads see, side by side, of queries, keys and values `[rows, inner]`; tokens of an example only see each other.
pub(super) fn attended(
    parts: [Tensor<2>; 3],
    tokens: usize,
    Attention { heads, scale, .. }: Attention,
) -> Result<Tensor<2>> {
    let [rows, inner] = parts[0].dims();
    let sizes = [rows / tokens, tokens, heads, inner / heads];
    let [query, key, value] = parts.map(|part| part.reshape(sizes).swap_dims(1, 2));
    let options = AttentionOptions {
        scale,
        ..Default::default()
    };
    let seen = attention(query, key, value, options)?;
    Ok(seen.swap_dims(1, 2).reshape([rows, inner]))
}
