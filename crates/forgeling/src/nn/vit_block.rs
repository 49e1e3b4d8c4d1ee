//! One block of a Vision Transformer.

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use super::{LayerNorm, Linear};
use crate::data::Rng;
use crate::error::{Error, Result};
use crate::ops::{Activation, AttentionOptions, attention};

/// Attention and a perceptron, each after a norm and added to what it was given:
///
/// `x = x + project(attention(query(n), key(n), value(n)))`, `n = norm(x)`
///
/// `x = x + contract(gelu(expand(norm(x))))`
///
/// Shapes: `[batch * tokens, width]` to the same. Dosovitskiy et al., 2021 (arXiv 2010.11929), equations 2 and 3;
/// Hendrycks and Gimpel, *Gaussian Error Linear Units*, 2016 (arXiv 1606.08415).
#[derive(Module, Debug)]
pub struct VitBlock {
    /// Before the attention.
    pub attention_norm: LayerNorm,
    /// What each token looks for.
    pub query: Linear,
    /// What each token is found by.
    pub key: Linear,
    /// What each token gives.
    pub value: Linear,
    /// From the heads' outputs, side by side, to the width.
    pub project: Linear,
    /// Before the perceptron.
    pub mlp_norm: LayerNorm,
    /// The perceptron's first layer.
    pub expand: Linear,
    /// The perceptron's second layer.
    pub contract: Linear,
    heads: usize,
}

impl VitBlock {
    /// A block with weights drawn from `rng`; `heads` divides `width`.
    pub(super) fn new(
        width: usize,
        heads: usize,
        hidden: usize,
        rng: &mut Rng,
        device: &Device,
    ) -> Self {
        let mut square = || Linear::glorot(width, width, rng, device);
        let [query, key, value, project] = [square(), square(), square(), square()];
        Self {
            attention_norm: LayerNorm::new(width, device),
            query,
            key,
            value,
            project,
            mlp_norm: LayerNorm::new(width, device),
            expand: Linear::glorot(width, hidden, rng, device),
            contract: Linear::glorot(hidden, width, rng, device),
            heads,
        }
    }

    /// The block's output; `batch` is the number of images, whose tokens only see each other.
    ///
    /// # Errors
    /// When there are no rows, they have another width, or they cannot be dealt to the images.
    pub fn forward(&self, hidden: Tensor<2>, batch: usize) -> Result<Tensor<2>> {
        let [rows, width] = hidden.dims();
        if batch == 0 || !rows.is_multiple_of(batch) {
            return Err(
                Error::invalid("vit_block", "the rows cannot be dealt to the images")
                    .expected(format!("a multiple of {batch} rows"))
                    .got(rows),
            );
        }
        let normed = self.attention_norm.forward(hidden.clone())?;
        let split = |layer: &Linear| {
            let heads = [batch, rows / batch, self.heads, width / self.heads];
            let all = layer.forward(normed.clone(), Activation::None)?;
            Ok(all.reshape(heads).swap_dims(1, 2))
        };
        let (query, key, value) = (split(&self.query)?, split(&self.key)?, split(&self.value)?);
        let seen = attention(query, key, value, AttentionOptions::default())?;
        let seen = seen.swap_dims(1, 2).reshape([rows, width]);
        let hidden = hidden + self.project.forward(seen, Activation::None)?;
        let normed = self.mlp_norm.forward(hidden.clone())?;
        let expanded = self.expand.forward(normed, Activation::Gelu)?;
        Ok(hidden + self.contract.forward(expanded, Activation::None)?)
    }
}
