//! A perceptron in training.

use std::cell::RefCell;
use std::rc::Rc;

use forgeling::nn::graph::Shape;
use forgeling::nn::zoo::MlpConfig;
use forgeling::train::MlpTrainer;
use forgeling::{Error, Result};
use serde::Deserialize;
use wasm_bindgen::prelude::*;

use crate::Device;
use crate::convert::{JsResult, failure, options};

/// A multilayer perceptron with its optimizer. The trainer is taken out while a step runs, so that a second call in
/// the meantime is an error instead of a torn model.
#[wasm_bindgen]
pub struct Mlp(Rc<RefCell<Option<MlpTrainer>>>);

impl Mlp {
    fn take(&self, operation: &'static str) -> JsResult<MlpTrainer> {
        self.0.borrow_mut().take().ok_or_else(|| {
            failure(
                Error::invalid(operation, "the perceptron is busy with another call")
                    .expected("one call at a time"),
            )
        })
    }

    fn give_back<T>(&self, trainer: MlpTrainer, result: Result<T>) -> JsResult<T> {
        *self.0.borrow_mut() = Some(trainer);
        result.map_err(failure)
    }
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct MlpOptions {
    inputs: Option<usize>,
    hidden: Option<Vec<usize>>,
    classes: Option<usize>,
    seed: u64,
}

#[wasm_bindgen]
impl Mlp {
    /// An untrained perceptron; `config` may have `inputs`, `hidden`, `classes` and `seed`.
    pub fn create(device: &Device, config: JsValue) -> JsResult<Mlp> {
        let given: MlpOptions = options(&config)?;
        let default = MlpConfig::default();
        let config = MlpConfig {
            input: given.inputs.map_or(default.input, Shape::Values),
            hidden: given.hidden.unwrap_or(default.hidden),
            classes: given.classes.unwrap_or(default.classes),
        };
        let trainer = MlpTrainer::new(&config, given.seed, &device.0).map_err(failure)?;
        Ok(Self(Rc::new(RefCell::new(Some(trainer)))))
    }

    /// Number of values that training changes.
    #[wasm_bindgen(getter, js_name = trainedValues)]
    pub fn trained_values(&self) -> JsResult<f64> {
        let trainer = self.take("trained_values")?;
        let count = trainer.model().graph().trained_values() as f64;
        self.give_back(trainer, Ok(count))
    }

    /// Number of the others: a perceptron has none.
    #[wasm_bindgen(getter, js_name = bufferValues)]
    pub fn buffer_values(&self) -> JsResult<f64> {
        let trainer = self.take("buffer_values")?;
        let count = trainer.model().graph().buffer_values() as f64;
        self.give_back(trainer, Ok(count))
    }

    /// One step of Adam on images with a label each, one after the other; gives the loss before it.
    #[wasm_bindgen(js_name = trainStep)]
    pub async fn train_step(&self, images: Vec<f32>, labels: Vec<u32>, rate: f64) -> JsResult<f64> {
        let mut trainer = self.take("train_step")?;
        let labels: Vec<usize> = labels.into_iter().map(|label| label as usize).collect();
        let result = trainer.step(images, &labels, rate).await;
        self.give_back(trainer, result)
    }

    /// The most probable class of each image.
    pub async fn classify(&self, images: Vec<f32>) -> JsResult<Vec<u32>> {
        let trainer = self.take("classify")?;
        let result = trainer.classify(images).await;
        let classes = self.give_back(trainer, result)?;
        Ok(classes.into_iter().map(|class| class as u32).collect())
    }
}
