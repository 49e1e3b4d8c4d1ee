//! Options of attention.

use serde::{Deserialize, Serialize};

use super::Shape;
use super::layer::is_no;
use super::quantize::is_zero;
use super::shape::check_option;

/// Options of attention. With `inner = heads * head_width`, its values are `weight [width, inner]` and `bias [inner]` of each
/// of `query`, `key` and `value`, and `weight [inner, width]` and `bias [width]` of `project`. Where the first three are
/// fused: `qkv.weight [width, 3 inner]` and `qkv.bias [3 inner]` in their place. In 8 bits each weight has a scale for each
/// output, such as `query.weight_scale [inner]`, and there is `context_scale [1]`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Attention {
    /// Heads, which divide the width unless the heads' own is told.
    pub heads: usize,
    /// Whether queries, keys and values come of one layer of neurons, side by side. Default no.
    #[serde(default, skip_serializing_if = "is_no")]
    pub fused: bool,
    /// Numbers of a query, of a key and of a value of each head. Default the width divided by the heads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head_width: Option<usize>,
    /// The factor of the scores. Default `1 / sqrt(head_width)`; a network that has lost some of its heads' numbers keeps that
    /// of those that it was trained with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<f64>,
    /// Whether its four layers of neurons work in 8 bits, on tokens that were rounded by a
    /// [quantize](super::Layer::Quantize) layer; scores and softmax do not. What the heads have seen is rounded, too. Default no.
    #[serde(default, skip_serializing_if = "is_no")]
    pub int8: bool,
    /// Which of 0 to 255 stands for 0 in what the heads have seen. Default 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub context_zero_point: u8,
}

impl Attention {
    /// So many heads that divide the width, with queries, keys and values by themselves.
    pub const fn new(heads: usize) -> Self {
        Self {
            heads,
            fused: false,
            head_width: None,
            scale: None,
            int8: false,
            context_zero_point: 0,
        }
    }

    /// Numbers of each head, of tokens of this width.
    pub fn head_width(&self, width: usize) -> usize {
        self.head_width.unwrap_or(width / self.heads.max(1))
    }

    /// Numbers of all heads side by side, of tokens of this width.
    pub fn inner(&self, width: usize) -> usize {
        self.heads.saturating_mul(self.head_width(width))
    }

    pub(super) fn output(&self, input: Shape) -> Result<Shape, String> {
        let Shape::Tokens([tokens, width]) = input else {
            return Err(format!("expected tokens, got {input}"));
        };
        let heads = self.heads;
        match self.head_width {
            Some(head_width) => {
                check_option("heads", heads)?;
                check_option("headWidth", head_width)?;
            }
            None if heads == 0 || width % heads != 0 => {
                return Err(format!(
                    "the heads do not divide the width: expected a divisor of {width}, got {heads}"
                ));
            }
            None => {}
        }
        Shape::Tokens([tokens, self.inner(width)]).check()?;
        match self.scale {
            Some(scale) if !(scale as f32).is_finite() || scale as f32 <= 0.0 => Err(format!(
                "the scale is out of range: expected a positive number, got {scale}"
            )),
            _ => Ok(input),
        }
    }

    /// The names and sizes of its values, for tokens of this width, and whether they are trained.
    pub(super) fn values(&self, width: usize) -> Vec<(&'static str, Vec<usize>, bool)> {
        let inner = self.inner(width);
        let layer = |names: [&'static str; 3], inputs: usize, outputs: usize| {
            let [weight, bias, scale] = names;
            let scale = self.int8.then(|| (scale, vec![outputs], false));
            [
                (weight, vec![inputs, outputs], true),
                (bias, vec![outputs], true),
            ]
            .into_iter()
            .chain(scale)
        };
        let mut values = Vec::with_capacity(13);
        match self.fused {
            true => {
                let all = inner.saturating_mul(3);
                let names = ["qkv.weight", "qkv.bias", "qkv.weight_scale"];
                values.extend(layer(names, width, all));
            }
            false => {
                for names in [
                    ["query.weight", "query.bias", "query.weight_scale"],
                    ["key.weight", "key.bias", "key.weight_scale"],
                    ["value.weight", "value.bias", "value.weight_scale"],
                ] {
                    values.extend(layer(names, width, inner));
                }
            }
        }
        let names = ["project.weight", "project.bias", "project.weight_scale"];
        values.extend(layer(names, inner, width));
        values.extend(self.int8.then(|| ("context_scale", vec![1], false)));
        values
    }
}
