//! Options of layers that work in 8 bits.

use serde::{Deserialize, Serialize};

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

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
pub(super) const fn is_zero(value: &u8) -> bool {
    *value == 0
}
