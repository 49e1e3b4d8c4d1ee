//! The JavaScript surface of forgeling: one thin type for each library type, no logic.
//!
//! Nothing here panics: every failure is a JavaScript `Error` with a stable `code`, and `operation`,
//! `expected` and `got` where they are known. Options are plain objects with `camelCase` keys; an unknown
//! key is an error, so that a misspelt option is not silently ignored. The description of a network is passed on as it is.
#![cfg(target_arch = "wasm32")]
#![recursion_limit = "256"]

mod architecture;
mod classifier_trainer;
mod continual;
mod convert;
mod data;
mod device;
mod examples;
mod hooks;
mod mlp;
mod model;
mod network;
mod profile;
mod settings;

use wasm_bindgen::prelude::*;

pub use classifier_trainer::ClassifierTrainer;
pub use continual::Continual;
pub use data::Dataset;
pub use device::{Device, open_device};
pub use mlp::Mlp;
pub use model::{Classifier, ProtoNet, Trainer};
pub use network::Network;
pub use profile::Profiling;

/// Runs when the module is loaded: a panic, which would be a bug of ours, is shown with its place.
#[wasm_bindgen(start)]
pub fn start() {
    console_error_panic_hook::set_once();
}

/// The library's version.
#[wasm_bindgen]
pub fn version() -> String {
    env!("CARGO_PKG_VERSION").into()
}
