//! Options of layers that work in 8 bits.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Graph, Layer};
use crate::ops::Levels;

/// Options of a layer that rounds values to 8 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Quantize {
    /// Which of 0 to 255 stands for 0. Default 0, as for what comes of ReLU.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub zero_point: u8,
}

impl Quantize {
    /// The integers that values become, with 0 at 0.
    pub const fn levels(&self) -> Levels {
        Levels::activations(self.zero_point)
    }
}

impl Layer {
    /// Whether its weights are in 8 bits.
    pub const fn is_int8(&self) -> bool {
        match self {
            Self::Conv2d(conv) => conv.int8,
            Self::Linear(linear) => linear.int8,
            Self::Patches(patches) => patches.int8,
            Self::Attention(attention) => attention.int8,
            _ => false,
        }
    }
}

impl Graph {
    /// The names of all weights in 8 bits, each with the name of its scales and the axis along which they lie.
    pub fn int8_weights(&self) -> BTreeMap<String, (String, usize)> {
        let nodes = self.nodes().iter().enumerate();
        let all = nodes.flat_map(|(place, node)| {
            let parts = self.int8_parts(place).into_iter();
            parts.map(move |(part, axis)| {
                let weight = format!("{}.{part}weight", node.name);
                let scale = format!("{weight}_scale");
                (weight, (scale, axis))
            })
        });
        all.collect()
    }

    /// What stands before `weight` in the names of a node's weights in 8 bits, such as `query.` or nothing, with the axis of
    /// their outputs.
    pub(crate) fn int8_parts(&self, place: usize) -> Vec<(&'static str, usize)> {
        let axis = match self.nodes()[place].layer {
            Layer::Conv2d(_) => 0,
            _ => 1,
        };
        let fields = self.parameters(place).into_iter();
        let parts = fields.filter_map(|value| value.field.strip_suffix("weight_scale"));
        parts.map(|part| (part, axis)).collect()
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
pub(super) const fn is_zero(value: &u8) -> bool {
    *value == 0
}
