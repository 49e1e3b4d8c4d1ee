//! A perceptron in training.

use std::cell::RefCell;
use std::rc::Rc;

use forgeling::nn::MlpConfig;
use forgeling::train::MlpTrainer;
use forgeling::{Error, Result};
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

#[wasm_bindgen]
impl Mlp {
    /// An untrained perceptron; `config` may have `inputs`, `hidden`, `classes` and `seed`.
    pub fn create(device: &Device, config: JsValue) -> JsResult<Mlp> {
        let config: MlpConfig = options(&config)?;
        let trainer = MlpTrainer::new(&config, &device.0).map_err(failure)?;
        Ok(Self(Rc::new(RefCell::new(Some(trainer)))))
    }

    /// Number of trained values.
    #[wasm_bindgen(getter, js_name = parameterCount)]
    pub fn parameter_count(&self) -> JsResult<usize> {
        let trainer = self.take("parameter_count")?;
        let count = trainer.model().parameter_count();
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
