//! Training, evaluating and using a few-shot model.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use forgeling::data::{self, Queries, Shots, Ways};
use forgeling::meta::{
    self, Adaptation, EpisodeTrainer, EvaluateConfig, FitConfig, Learner, Method,
};
use forgeling::nn::graph::Graph;
use forgeling::train::HalvingSchedule;
use forgeling::{Error, Result};
use js_sys::Function;
use serde::{Deserialize, Serialize};
use wasm_bindgen::prelude::*;

use crate::architecture::learner;
use crate::convert::{JsResult, failure, object, options, parse, tree};
use crate::hooks::{tell, turn};
use crate::{Dataset, Device};

/// A model that a trainer and the page share. It is taken out while a step or an evaluation runs, so that
/// a second call in the meantime is an error instead of a torn model.
type Shared = Rc<RefCell<Option<Learner>>>;

fn take(shared: &Shared, operation: &'static str) -> JsResult<Learner> {
    shared.borrow_mut().take().ok_or_else(|| {
        failure(
            Error::invalid(operation, "the model is busy with another call")
                .expected("one call at a time"),
        )
    })
}

/// A network that classifies from a handful of examples: of any method, a prototypical one unless said.
#[wasm_bindgen]
pub struct ProtoNet(Shared);

impl ProtoNet {
    fn wrap(model: Learner) -> Self {
        Self(Rc::new(RefCell::new(Some(model))))
    }

    fn with<T>(&self, read: impl FnOnce(&Learner) -> T) -> JsResult<T> {
        let model = take(&self.0, "read_model")?;
        let value = read(&model);
        *self.0.borrow_mut() = Some(model);
        Ok(value)
    }
}

#[derive(Serialize)]
struct Config<'a> {
    method: Method,
    ways: usize,
    seed: u64,
    channels: usize,
    /// `None` if the images are not square.
    size: Option<usize>,
    /// `None` where nobody said how pictures become inputs.
    pictures: Option<data::Preparation>,
    network: &'a Graph,
}

#[derive(Serialize)]
struct Evaluated<'a> {
    accuracy: f64,
    ci95: f64,
    episodes: usize,
    transductive: bool,
    episodes_per_second: f64,
    calibration_error: f64,
    accuracies: &'a [f64],
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
struct EvaluateOptions {
    ways: Option<Ways>,
    shots: Option<Shots>,
    queries: Option<Queries>,
    episodes: Option<usize>,
    seed: Option<u64>,
    transductive: Option<bool>,
}

#[wasm_bindgen]
impl ProtoNet {
    /// An untrained network; see [`learner`] for what `config` may have.
    pub fn create(device: &Device, config: JsValue) -> JsResult<ProtoNet> {
        Learner::new(&learner(&config)?, &device.0)
            .map(Self::wrap)
            .map_err(failure)
    }

    /// A network from the bytes of a model file; a classifier's features are compared.
    pub async fn load(device: &Device, bytes: Vec<u8>) -> JsResult<ProtoNet> {
        Learner::from_bytes(&bytes, &device.0)
            .map(Self::wrap)
            .map_err(failure)
    }

    /// The bytes of a model file.
    pub async fn save(&self) -> JsResult<Vec<u8>> {
        let model = self.with(Clone::clone)?;
        model.to_bytes().await.map_err(failure)
    }

    /// What it is made from: `method`, `ways`, `seed`, `channels` and `size` of the images, how `pictures` become such, and
    /// the graph as `network`.
    #[wasm_bindgen(getter)]
    pub fn config(&self) -> JsResult<JsValue> {
        self.with(|model| {
            let config = model.config();
            let input = model.input_shape();
            object(&Config {
                method: model.method(),
                ways: config.ways,
                seed: config.seed,
                channels: input.channels,
                size: (input.height == input.width).then_some(input.height),
                pictures: model.pictures(),
                network: &config.network,
            })
        })?
    }

    /// The network layer by layer: shapes, values and multiply-adds. What a method has beside it is not among them.
    pub fn summary(&self) -> JsResult<JsValue> {
        let graph = self.with(|model| model.config().graph())?;
        object(&graph.map_err(failure)?.summary())
    }

    /// Does what the method needs after training on `data`; see `Learner::finish`.
    pub fn finish(&self, data: &Dataset) -> JsResult<()> {
        let mut model = take(&self.0, "fit")?;
        let result = model.finish(&*data.0);
        *self.0.borrow_mut() = Some(model);
        result.map_err(failure)
    }

    /// Number of values that training changes, those of the method included.
    #[wasm_bindgen(getter, js_name = trainedValues)]
    pub fn trained_values(&self) -> JsResult<f64> {
        self.with(|model| model.counts().trained as f64)
    }

    /// Number of the others: running statistics.
    #[wasm_bindgen(getter, js_name = bufferValues)]
    pub fn buffer_values(&self) -> JsResult<f64> {
        self.with(|model| model.counts().buffers as f64)
    }

    /// Accuracy on episodes of `data`; `settings` may have `ways`, `shots`, `queries`, `episodes`, `seed` and
    /// `transductive`.
    pub async fn evaluate(&self, data: &Dataset, settings: JsValue) -> JsResult<JsValue> {
        let given: EvaluateOptions = options(&settings)?;
        let default = EvaluateConfig::default();
        let config = EvaluateConfig {
            ways: given.ways.unwrap_or(default.ways),
            shots: given.shots.unwrap_or(default.shots),
            queries: given.queries.unwrap_or(default.queries),
            episodes: given.episodes.unwrap_or(default.episodes),
            seed: given.seed.unwrap_or(default.seed),
            transductive: given.transductive.unwrap_or(default.transductive),
        };
        let data = data.0.clone();
        let model = self.with(Clone::clone)?;
        let found = model.evaluate(&*data, config).await.map_err(failure)?;
        object(&Evaluated {
            accuracy: found.accuracy,
            ci95: found.ci95,
            episodes: found.episodes,
            transductive: found.transductive,
            episodes_per_second: found.episodes_per_second,
            calibration_error: found.details.calibration.expected_error,
            accuracies: &found.details.accuracies,
        })
    }

    /// A classifier for a user's own examples on the network as it is now. `adaptation` has a `name`, and for `head` and
    /// `lora` their settings; without it the model's own method answers. With `mirrored`, features are those of images and
    /// their mirror images.
    pub fn classifier(&self, adaptation: JsValue) -> JsResult<Classifier> {
        let mut given = tree(&adaptation)?;
        let mirrored: Option<bool> = given.remove("mirrored").map(parse).transpose()?;
        let adaptation = if given.is_empty() {
            Adaptation::default()
        } else {
            parse(given.into())?
        };
        let classifier = self.with(|model| match mirrored.unwrap_or(false) {
            true => model.classifier_with(adaptation)?.with_mirrored(),
            false => model.classifier_with(adaptation),
        })?;
        let classifier = classifier.map_err(failure)?;
        Ok(Classifier(Rc::new(RefCell::new(Some(classifier)))))
    }
}

/// One training run, advanced step by step.
#[wasm_bindgen]
pub struct Trainer {
    model: Shared,
    data: Arc<dyn data::Dataset>,
    trainer: Rc<RefCell<Option<EpisodeTrainer>>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
struct TrainOptions {
    ways: Option<Ways>,
    shots: Option<Shots>,
    queries: Option<Queries>,
    batch_episodes: Option<usize>,
    learning_rate: Option<f64>,
    halve_every: Option<usize>,
    augment: bool,
    seed: Option<u64>,
}

impl TrainOptions {
    fn config(self) -> FitConfig {
        let default = FitConfig::default();
        FitConfig {
            ways: self.ways.unwrap_or(default.ways),
            shots: self.shots.unwrap_or(default.shots),
            queries: self.queries.unwrap_or(default.queries),
            batch_episodes: self.batch_episodes.unwrap_or(default.batch_episodes),
            schedule: HalvingSchedule {
                initial: self.learning_rate.unwrap_or(default.schedule.initial),
                every: self.halve_every.unwrap_or(default.schedule.every),
            },
            augment: self.augment.then(data::RandomAffine::default),
            seed: self.seed.unwrap_or(default.seed),
            ..default
        }
    }
}

#[wasm_bindgen]
impl Trainer {
    /// A run on `data`; `settings` may have `ways`, `shots`, `queries`, `batchEpisodes`, `learningRate`,
    /// `halveEvery`, `augment` and `seed`.
    #[wasm_bindgen(constructor)]
    pub fn new(model: &ProtoNet, data: &Dataset, settings: JsValue) -> JsResult<Trainer> {
        let given: TrainOptions = options(&settings)?;
        let trainer = EpisodeTrainer::new(given.config()).map_err(failure)?;
        Ok(Self {
            model: model.0.clone(),
            data: data.0.clone(),
            trainer: Rc::new(RefCell::new(Some(trainer))),
        })
    }

    /// One optimizer step.
    pub async fn step(&self) -> JsResult<JsValue> {
        let mut model = take(&self.model, "step")?;
        let Some(mut trainer) = self.trainer.borrow_mut().take() else {
            *self.model.borrow_mut() = Some(model);
            return Err(failure(Error::invalid("step", "a step is already running")));
        };
        let result = trainer.step(&mut model, &*self.data).await;
        *self.model.borrow_mut() = Some(model);
        *self.trainer.borrow_mut() = Some(trainer);
        object(&result.map_err(failure)?)
    }
}

/// Classifies by the page's own examples.
#[wasm_bindgen]
pub struct Classifier(Rc<RefCell<Option<meta::Classifier>>>);

impl Classifier {
    fn take(&self, operation: &'static str) -> JsResult<meta::Classifier> {
        self.0.borrow_mut().take().ok_or_else(|| {
            failure(Error::invalid(
                operation,
                "the classifier is busy with another call",
            ))
        })
    }

    fn give_back<T>(&self, classifier: meta::Classifier, result: Result<T>) -> JsResult<T> {
        *self.0.borrow_mut() = Some(classifier);
        result.map_err(failure)
    }
}

#[wasm_bindgen]
impl Classifier {
    /// Adds an example: channels × size × size values, ink = 1.
    pub async fn add(&self, label: String, pixels: Vec<f32>) -> JsResult<()> {
        let mut classifier = self.take("add_example")?;
        let result = classifier.add(&label, &pixels).await;
        self.give_back(classifier, result)
    }

    /// Forgets all examples of a label.
    pub fn remove(&self, label: &str) -> JsResult<()> {
        let mut classifier = self.take("remove")?;
        classifier.remove(label);
        self.give_back(classifier, Ok(()))
    }

    /// The labels in the order in which they first came.
    pub fn labels(&self) -> JsResult<Vec<String>> {
        let classifier = self.take("labels")?;
        let labels = classifier.labels().map(str::to_string).collect();
        self.give_back(classifier, Ok(labels))
    }

    /// Adapts to the examples. Before each step of a fine-tuning `pace` is called and its promise awaited; `report` is
    /// called with each epoch and says whether to stop.
    pub async fn adapt(&self, pace: Function, report: Function) -> JsResult<JsValue> {
        let mut classifier = self.take("adapt")?;
        let adapted =
            classifier.adapt_paced(|event| tell(&report, event), async || turn(&pace).await);
        let result = adapted.await;
        object(&self.give_back(classifier, result)?)
    }

    /// All labels with their probabilities, the most probable first.
    pub async fn classify(&self, pixels: Vec<f32>) -> JsResult<JsValue> {
        let mut classifier = self.take("classify")?;
        let result = classifier.classify(&pixels).await;
        object(&self.give_back(classifier, result)?)
    }
}
