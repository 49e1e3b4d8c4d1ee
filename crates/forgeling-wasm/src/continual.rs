//! Learning one task after the other.

use std::cell::RefCell;

use forgeling::continual::{ContinualLearner, ContinualLearnerConfig};
use forgeling::data::{ImageBatch, ImageShape};
use forgeling::train::{HardwareConfig, HardwareManager};
use forgeling::{Error, Result};
use js_sys::Function;
use serde_json::Value;
use wasm_bindgen::prelude::*;

use crate::Device;
use crate::architecture::classifier;
use crate::convert::{JsResult, failure, object, parse, tree};
use crate::hooks::{tell, turn};
use crate::settings::{hardware, take};

/// A learner with all it needs to go on. It is taken out while it changes, so that a second call in the meantime is an error
/// instead of a torn model.
#[wasm_bindgen]
pub struct Continual {
    input: ImageShape,
    learner: RefCell<Option<ContinualLearner>>,
}

impl Continual {
    fn of(learner: ContinualLearner) -> Self {
        Self {
            input: learner.image_shape(),
            learner: RefCell::new(Some(learner)),
        }
    }

    fn take(&self, operation: &'static str) -> JsResult<ContinualLearner> {
        self.learner.borrow_mut().take().ok_or_else(|| {
            failure(
                Error::invalid(operation, "the learner is busy with another call")
                    .expected("one call at a time"),
            )
        })
    }

    fn give_back<T>(&self, learner: ContinualLearner, result: Result<T>) -> JsResult<T> {
        *self.learner.borrow_mut() = Some(learner);
        result.map_err(failure)
    }

    fn with<T>(
        &self,
        operation: &'static str,
        read: impl FnOnce(&ContinualLearner) -> T,
    ) -> JsResult<T> {
        let learner = self.take(operation)?;
        let value = read(&learner);
        self.give_back(learner, Ok(value))
    }

    fn examples(&self, values: Vec<f32>, labels: Vec<u32>) -> ImageBatch {
        ImageBatch {
            shape: self.input,
            images: values,
            labels: labels.into_iter().map(|label| label as usize).collect(),
        }
    }
}

fn manager(device: &Device, config: HardwareConfig) -> JsResult<HardwareManager> {
    HardwareManager::on(device.0.clone(), config).map_err(failure)
}

#[wasm_bindgen]
impl Continual {
    /// A learner that has learned nothing. `options` has `model`, as of a [`ClassifierTrainer`](crate::ClassifierTrainer),
    /// and `classes`, how many may come, and may have `hardware` and what [`ContinualLearnerConfig`] has.
    pub fn create(device: &Device, options: JsValue) -> JsResult<Continual> {
        let mut given = tree(&options)?;
        let model = given.remove("model");
        let classes = take(&mut given, "classes")?.unwrap_or(0);
        let hardware = hardware(take(&mut given, "hardware")?.unwrap_or_default())?;
        let config: ContinualLearnerConfig = parse(Value::Object(given))?;
        let (_, graph) = classifier(model, classes).map_err(failure)?;
        let learner = ContinualLearner::new(&graph, config, manager(device, hardware)?);
        learner.map(Self::of).map_err(failure)
    }

    /// The learner of [`save`](Self::save)'s bytes. `hardware` is as the option of that name.
    pub fn load(device: &Device, bytes: &[u8], hardware_options: JsValue) -> JsResult<Continual> {
        let config = hardware(tree(&hardware_options)?)?;
        let learner = ContinualLearner::load(bytes, manager(device, config)?);
        learner.map(Self::of).map_err(failure)
    }

    /// Learns examples of the task, whose values come one after the other, with a label each. Before each step `pace` is
    /// called and its promise awaited; `report` is called with each event and says whether to stop.
    pub async fn learn(
        &self,
        values: Vec<f32>,
        labels: Vec<u32>,
        pace: Function,
        report: Function,
    ) -> JsResult<JsValue> {
        let examples = self.examples(values, labels);
        let mut learner = self.take("continual_learn")?;
        let pace = async || turn(&pace).await;
        let learned = learner.learn_paced(examples, &pace, |event| tell(&report, event));
        let learned = learned.await;
        object(&self.give_back(learner, learned)?)
    }

    /// Ends the task and tests on what it has as test examples, if there are some, and on those of all before; gives the new
    /// row of the matrix. Before each pass `pace` is called and its promise awaited.
    #[wasm_bindgen(js_name = endTask)]
    pub async fn end_task(
        &self,
        values: Option<Vec<f32>>,
        labels: Option<Vec<u32>>,
        pace: Function,
    ) -> JsResult<Vec<f64>> {
        let given = values.is_some() || labels.is_some();
        let test =
            given.then(|| self.examples(values.unwrap_or_default(), labels.unwrap_or_default()));
        let mut learner = self.take("end_task")?;
        let pace = async || turn(&pace).await;
        let row = learner.end_task_paced(test, &pace).await;
        let row = row.map(<[f64]>::to_vec);
        self.give_back(learner, row)
    }

    /// Accuracies: a row after each task that has ended, and a column for each that has test examples.
    #[wasm_bindgen(js_name = accuracyMatrix)]
    pub fn accuracy_matrix(&self) -> JsResult<JsValue> {
        object(&self.with("accuracy_matrix", |learner| {
            learner.accuracy_matrix().to_vec()
        })?)
    }

    /// The most probable class of each example.
    pub async fn classify(&self, values: Vec<f32>) -> JsResult<Vec<u32>> {
        let learner = self.take("continual_classify")?;
        let found = learner.classify(&values).await;
        let found = self.give_back(learner, found)?;
        Ok(found.into_iter().map(|class| class as u32).collect())
    }

    /// The probability of each class for each example, example by example.
    pub async fn predict(&self, values: Vec<f32>) -> JsResult<Vec<f32>> {
        let learner = self.take("continual_classify")?;
        let found = learner.probabilities(&values).await;
        self.give_back(learner, found)
    }

    /// All of it as bytes, from which [`load`](Self::load) goes on.
    pub async fn save(&self) -> JsResult<Vec<u8>> {
        let learner = self.take("save_continual_learner")?;
        let bytes = learner.save().await;
        self.give_back(learner, bytes)
    }

    /// How many classes may come.
    #[wasm_bindgen(getter)]
    pub fn classes(&self) -> JsResult<usize> {
        self.with("classes", ContinualLearner::classes)
    }

    /// Steps so far.
    #[wasm_bindgen(getter)]
    pub fn steps(&self) -> JsResult<usize> {
        self.with("steps", ContinualLearner::steps)
    }

    /// Values of an example: channels, height and width.
    #[wasm_bindgen(getter)]
    pub fn input(&self) -> JsResult<JsValue> {
        object(&self.input)
    }
}
