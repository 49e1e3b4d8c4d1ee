//! Networks that tell images apart: using them.

use forgeling::data::{ImageShape, Preparation, Standardization};
use forgeling::nn::graph::Graph;
use forgeling::train::{ModelCard, SavedNetwork};
use serde::Serialize;
use wasm_bindgen::prelude::*;

use crate::Device;
use crate::convert::{JsResult, failure, object};

/// A trained network from a file.
#[wasm_bindgen]
pub struct Network {
    device: forgeling::Device,
    saved: SavedNetwork,
}

#[derive(Serialize)]
struct Config<'a> {
    model: &'a str,
    input: ImageShape,
    classes: &'a [String],
    network: &'a Graph,
    pictures: Option<Preparation>,
    normalization: Option<&'a Standardization>,
    card: &'a ModelCard,
}

#[wasm_bindgen]
impl Network {
    /// A network from the bytes of a model file.
    pub async fn load(device: &Device, bytes: Vec<u8>) -> JsResult<Network> {
        let device = device.0.clone();
        let saved = SavedNetwork::from_bytes(&bytes, &device).map_err(failure)?;
        Ok(Self { device, saved })
    }

    /// The names of the classes.
    #[wasm_bindgen(getter)]
    pub fn classes(&self) -> Vec<String> {
        self.saved.classes.clone()
    }

    /// What the network is made from: its name as `model`, `input`, `classes`, its graph as `network`, and what the file
    /// says of its pictures and of where it is from.
    #[wasm_bindgen(getter)]
    pub fn config(&self) -> JsResult<JsValue> {
        object(&Config {
            model: &self.saved.model,
            input: self.saved.input(),
            classes: &self.saved.classes,
            network: self.saved.network.graph(),
            pictures: self.saved.pictures,
            normalization: self.saved.normalization.as_ref(),
            card: &self.saved.card,
        })
    }

    /// Values of an example: channels, height and width.
    #[wasm_bindgen(getter)]
    pub fn input(&self) -> JsResult<JsValue> {
        object(&self.saved.input())
    }

    /// The network layer by layer: shapes, values and multiply-adds.
    pub fn summary(&self) -> JsResult<JsValue> {
        object(&self.saved.network.graph().summary())
    }

    /// How it was trained.
    #[wasm_bindgen(getter)]
    pub fn training(&self) -> JsResult<JsValue> {
        object(&self.saved.history)
    }

    /// The probability of each class for each example, example by example.
    pub async fn predict(&self, values: Vec<f32>) -> JsResult<Vec<f32>> {
        let found = self.saved.probabilities(values, &self.device);
        found.await.map_err(failure)
    }
}
