//! Train, adapt and compress small neural networks where the data is: in a web page and on a desktop.
//!
//! ```
//! use std::ops::ControlFlow;
//! use forgeling::{Device, DeviceChoice};
//! use forgeling::data::{Glyphs, Split};
//! use forgeling::meta::{FitConfig, Learner};
//! use forgeling::nn::zoo::Conv4Config;
//!
//! # pollster::block_on(async {
//! let device = Device::open(DeviceChoice::Auto).await?;
//! let encoder = Conv4Config { filters: 8, ..Default::default() }.graph()?;
//! let mut model = Learner::protonet(&encoder, 0, &device)?;
//! let glyphs = Glyphs::new(0, Split::Train, 100)?;
//! let config = FitConfig { episodes: Some(2), ..Default::default() };
//! let summary = model.fit(&glyphs, config, |event| {
//!     println!("episode {}: loss {:.3}", event.episode, event.loss);
//!     ControlFlow::Continue(())
//! }).await?;
//! assert_eq!(summary.episodes, 2);
//! # Ok::<(), forgeling::Error>(()) }).unwrap();
//! ```
//!
//! | module | what it holds |
//! |---|---|
//! | [`device`] | opening a GPU or the CPU, saying why, reading back |
//! | [`data`] | images in classes, loaders, episodes |
//! | [`ops`] | differentiable operations with kernels of our own |
//! | [`nn`] | networks |
//! | [`train`] | events, schedules, model files |
//! | [`meta`] | few-shot learning |
//! | [`continual`] | learning one thing after another: scenarios, buffers, metrics |
//! | [`compress`] | networks that become smaller: pruning |
//! | [`parallel`] | training on several devices and machines |
//! | [`export`] | networks as ONNX |
//! | `import` | published weights, of safetensors and PyTorch (cargo feature `files`) |
//! | `report` | figures and self-contained HTML pages (cargo feature `files`) |
#![deny(missing_docs)]
#![recursion_limit = "256"]

pub mod compress;
pub mod continual;
pub mod data;
pub mod device;
pub mod error;
pub mod export;
mod image_shape;
#[cfg(feature = "files")]
pub mod import;
pub mod meta;
pub mod nn;
mod open;
pub mod ops;
pub mod parallel;
#[cfg(feature = "files")]
pub mod report;
pub mod rng;
pub mod train;

/// The tensors, modules and optimizers that networks stand on, in the version this crate was built with.
pub use burn;
pub use device::{Device, DeviceChoice, Readback};
pub use error::{Error, ErrorKind, Result};
