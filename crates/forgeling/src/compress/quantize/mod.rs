//! Networks that work in 8 bits.
//!
//! - [`QuantizationConfig`], [`Observer`], [`WeightScale`]: how scales are found.
//! - [`QuantizationPlan`]: which layers work in 8 bits, which do not and why, and where values are rounded.
//! - [`quantize`]: after training, from a few batches.
//! - [`train_quantized`]: training that sees the rounding, with [`LearnedScales`].
//! - [`fold_batch_norms`]: convolutions that hold the norm which followed them.
//! - `smooth`: large channels made smaller before they are rounded.

mod calibrate;
mod config;
mod fold;
mod host;
mod learned;
mod observer;
mod plan;
mod smooth;
mod training;

pub use calibrate::{Quantized, quantize};
pub use config::{QuantizationConfig, WeightScale};
pub use fold::fold_batch_norms;
pub use learned::LearnedScales;
pub use observer::Observer;
pub use plan::{FloatLayer, QuantizationPlan};
pub use training::{QuantizedTraining, train_quantized};

/// In messages.
const OPERATION: &str = "quantize";
