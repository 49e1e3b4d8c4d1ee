//! Published weights, as models of this library.
//!
//! - [`WeightFile`]: safetensors and the files of `torch.save`, which may come from strangers.
//! - [`KeyMap`]: what a publisher calls the values of a network; [`key_maps`]: those that are known.
//! - [`ImportPlan`]: which tensor goes where, and every name that does not fit.
//!
//! ```no_run
//! use forgeling::import::{ImportConfig, ImportPlan, WeightFile};
//! use forgeling::{Device, DeviceChoice};
//!
//! # pollster::block_on(async {
//! let bytes = std::fs::read("resnet18-f37072fd.pth").unwrap();
//! let file = WeightFile::read(&bytes)?;
//! let plan = ImportPlan::new(&file, &ImportConfig::new("resnet18"))?;
//! plan.check()?;
//! let device = Device::open(DeviceChoice::Cpu).await?;
//! let model = plan.apply(&file, 0, &device).await?;
//! model.save("resnet18.safetensors").await?;
//! # Ok::<(), forgeling::Error>(()) }).unwrap();
//! ```

mod key_map;
mod maps;
mod pickle;
mod plan;
mod pytorch;
mod stored;
mod weight_file;

pub use key_map::KeyMap;
pub use maps::key_maps;
pub use plan::{Head, ImportConfig, ImportPlan, Misfit, class_names};
pub use weight_file::{WeightFile, WeightFormat};

use crate::error::Error;

/// A file of weights that is not what it claims to be.
fn bad(message: impl Into<String>) -> Error {
    Error::bad_data("read_weights", message)
}

fn twice(name: &str) -> Error {
    let name = shown(name.as_bytes());
    bad(format!("two tensors have the name '{name}'"))
}

/// Bytes of a stranger in a message: some of them, and no control characters.
fn shown(bytes: &[u8]) -> String {
    const MOST: usize = 200;
    let text = bytes[..bytes.len().min(MOST)].escape_ascii().to_string();
    if bytes.len() > MOST {
        text + "…"
    } else {
        text
    }
}
