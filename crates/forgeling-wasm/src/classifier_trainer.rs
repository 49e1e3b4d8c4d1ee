//! Training a classifier on the page's own examples.

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::sync::Arc;

use forgeling::data::{Dataset as _, Loader, LoaderConfig, split_examples};
use forgeling::nn::{MemoryPlan, Network, PlanConfig};
use forgeling::ops::plan::PlannedOptimizer;
use forgeling::train::{
    CrossEntropy, Epochs, HardwareManager, ModelCard, OptimizerConfig, Paced, Run, SavedNetwork,
    StopReason, TrainEvent, TrainSummary, Trainer, TrainerConfig, TrainingHistory, probabilities,
};
use forgeling::{Error, Result};
use js_sys::{Array, Function, Uint8Array};
use wasm_bindgen::prelude::*;

use crate::Device;
use crate::convert::{JsResult, failure, object};
use crate::examples::Examples;
use crate::hooks::{InPage, tell, turn};
use crate::settings::Settings;

/// A classifier in training. What changes is taken out while it does, so that a second call in the meantime is an error
/// instead of a torn model.
#[wasm_bindgen]
pub struct ClassifierTrainer {
    device: forgeling::Device,
    settings: Settings,
    state: RefCell<Option<State>>,
    last: RefCell<Option<Uint8Array>>,
}

struct State {
    examples: Arc<Examples>,
    network: Network,
    trainer: Trainer,
    /// Batches to train on and to validate with, once training has begun on these examples.
    batches: Option<Batches>,
}

struct Batches {
    train: Epochs,
    validation: Option<Epochs>,
}

impl Batches {
    fn new(examples: &Arc<Examples>, settings: &Settings) -> Result<Self> {
        let config = settings.loader;
        let counts = examples.counts();
        if counts.iter().all(|&count| count == 0) {
            return Err(Error::invalid("fit", "there is no example").expected("add some first"));
        }
        if settings.validation == 0.0 {
            let loader = Loader::new(examples.clone(), config)?;
            return Ok(Self {
                train: Epochs::of(loader),
                validation: None,
            });
        }
        let (train, held_out) = split_examples(examples.clone(), settings.validation, config.seed)?;
        let held = (0..held_out.class_count()).any(|class| held_out.class_len(class) > 0);
        let validation = LoaderConfig::validation(config.batch_size);
        let validation = held.then(|| Loader::new(held_out, validation).map(Epochs::of));
        Ok(Self {
            train: Epochs::of(Loader::new(train, config)?),
            validation: validation.transpose()?,
        })
    }
}

impl ClassifierTrainer {
    fn take(&self, operation: &'static str) -> JsResult<State> {
        self.state.borrow_mut().take().ok_or_else(|| {
            failure(
                Error::invalid(operation, "the trainer is busy with another call")
                    .expected("one call at a time"),
            )
        })
    }

    fn give_back<T>(&self, state: State, result: Result<T>) -> JsResult<T> {
        *self.state.borrow_mut() = Some(state);
        result.map_err(failure)
    }

    fn with<T>(&self, operation: &'static str, read: impl FnOnce(&State) -> T) -> JsResult<T> {
        let state = self.take(operation)?;
        let value = read(&state);
        self.give_back(state, Ok(value))
    }

    fn trainer(&self, config: TrainerConfig) -> Result<Trainer> {
        let hardware = self.settings.hardware.clone();
        Trainer::new(config, HardwareManager::on(self.device.clone(), hardware)?)
    }

    /// Trains until a limit, or until `report` asks to stop.
    async fn train(
        &self,
        state: &mut State,
        hooks: Hooks<'_>,
        found: Vec<(String, Uint8Array)>,
    ) -> Result<TrainSummary> {
        if state.batches.is_none() {
            state.batches = Some(Batches::new(&state.examples, &self.settings)?);
        }
        let State {
            network, trainer, ..
        } = state;
        let Some(batches) = &mut state.batches else {
            return Err(Error::invalid("fit", "there is no example"));
        };
        let pace = hooks.pace;
        let turn = async || turn(pace).await;
        let mut source = Paced::new(&mut batches.train, &turn);
        let validation = batches.validation.as_mut();
        let mut validation = validation.map(|batches| Paced::new(batches, &turn));
        let mut checkpoints = InPage {
            found,
            save: hooks.save,
            last: &self.last,
        };
        let mut run = Run::on(&mut source);
        if let Some(validation) = &mut validation {
            run = run.validated_on("held out", validation);
        }
        if hooks.keep {
            run = run.saved_in(&mut checkpoints);
        }
        let on_event = |event: &TrainEvent| tell(hooks.report, event);
        trainer.fit(network, &CrossEntropy, run, on_event).await
    }
}

/// What training calls.
struct Hooks<'a> {
    pace: &'a Function,
    report: &'a Function,
    save: Option<&'a Function>,
    keep: bool,
}

#[wasm_bindgen]
impl ClassifierTrainer {
    /// An untrained network; see [`Settings::read`] for what `options` may have.
    pub fn create(device: &Device, options: JsValue) -> JsResult<ClassifierTrainer> {
        let settings = Settings::read(&options)?;
        let device = device.0.clone();
        let manager = HardwareManager::on(device.clone(), settings.hardware.clone());
        let trainer = manager.and_then(|manager| Trainer::new(settings.trainer.clone(), manager));
        let trainer = trainer.map_err(failure)?;
        let network = Network::new(&settings.network, settings.seed, &device);
        let shape = settings.network.image_shape();
        let examples = Examples::new(shape, settings.classes.clone());
        Ok(Self {
            state: RefCell::new(Some(State {
                examples: Arc::new(examples),
                network,
                trainer,
                batches: None,
            })),
            last: RefCell::new(None),
            settings,
            device,
        })
    }

    /// Adds examples, whose values come one after the other, with a label each.
    pub fn add(&self, values: &[f32], labels: &[u32]) -> JsResult<()> {
        let mut state = self.take("add_examples")?;
        // The batches hold the examples too, and know how many there are.
        state.batches = None;
        let added = Arc::make_mut(&mut state.examples).add(values, labels);
        self.give_back(state, added)
    }

    /// How many examples there are of each class.
    pub fn counts(&self) -> JsResult<Vec<u32>> {
        self.with("count_examples", |state| state.examples.counts())
    }

    /// Trains. Before each batch `pace` is called and its promise awaited; `report` is called with each event and says
    /// whether to stop. With `keep`, training goes on from the first of `found` that is whole, whose `places` tell
    /// where they are, and `save` is called with a step and bytes, if it is given.
    pub async fn fit(
        &self,
        pace: Function,
        report: Function,
        keep: bool,
        save: Option<Function>,
        places: Vec<String>,
        found: Array,
    ) -> JsResult<JsValue> {
        let found = found.iter().map(Uint8Array::unchecked_from_js);
        let found = places.into_iter().zip(found).collect();
        let hooks = Hooks {
            pace: &pace,
            report: &report,
            save: save.as_ref(),
            keep,
        };
        let mut state = self.take("fit")?;
        let result = self.train(&mut state, hooks, found).await;
        object(&self.give_back(state, result)?)
    }

    /// Takes so many steps on a copy of the network, which is then dropped: what they cost is what training costs.
    pub async fn rehearse(&self, steps: usize, pace: Function) -> JsResult<()> {
        let state = self.take("rehearse")?;
        let network = state.network.clone();
        let batches = Batches::new(&state.examples, &self.settings);
        let mut batches = self.give_back(state, batches)?;
        let config = TrainerConfig {
            steps: Some(steps),
            optimizer: self.settings.trainer.optimizer,
            schedule: self.settings.trainer.schedule.clone(),
            accumulate: self.settings.trainer.accumulate,
            ..Default::default()
        };
        let mut trainer = self.trainer(config).map_err(failure)?;
        let turn = async || turn(&pace).await;
        let mut source = Paced::new(&mut batches.train, &turn);
        let mut network = network;
        let run = Run::on(&mut source);
        let nothing = |_: &TrainEvent| ControlFlow::Continue(());
        let taken = trainer.fit(&mut network, &CrossEntropy, run, nothing);
        taken.await.map(drop).map_err(failure)
    }

    /// The latest checkpoint that was kept or gone on from, if there was one.
    pub fn checkpoint(&self) -> Option<Uint8Array> {
        let last = self.last.borrow();
        last.as_ref().map(|bytes| bytes.slice(0, bytes.length()))
    }

    /// The probability of each class for each example, example by example.
    pub async fn predict(&self, values: Vec<f32>) -> JsResult<Vec<f32>> {
        let state = self.take("predict")?;
        let input = self.settings.network.image_shape();
        let found = probabilities(&state.network, input, &values, &self.device).await;
        self.give_back(state, found)
    }

    /// The bytes of a model file.
    pub async fn save(&self) -> JsResult<Vec<u8>> {
        let saved = self.with("save_model", |state| {
            let summary = state.trainer.summary(StopReason::Asked);
            SavedNetwork {
                model: self.settings.model.clone(),
                classes: self.settings.classes.clone(),
                pictures: None,
                sounds: None,
                normalization: None,
                card: ModelCard::default(),
                history: TrainingHistory {
                    steps: summary.steps,
                    epochs: summary.epochs,
                    examples: summary.examples,
                    validation: summary.validation,
                },
                confidence: None,
                storage: Default::default(),
                network: state.network.clone(),
            }
        })?;
        saved.to_bytes().await.map_err(failure)
    }

    /// What a training step takes at most, computed from the shapes.
    pub fn plan(&self, batch: Option<usize>) -> JsResult<JsValue> {
        let trainer = &self.settings.trainer;
        let batch = batch.unwrap_or(self.settings.loader.batch_size);
        let (precision, micro) = self.with("memory_plan", |state| {
            let precision = state.trainer.manager().precision().planned();
            (precision, state.trainer.micro_batch())
        })?;
        let passed = micro.unwrap_or(batch).min(batch);
        let config = PlanConfig {
            precision,
            optimizer: match trainer.optimizer {
                OptimizerConfig::Sgd(sgd) if sgd.momentum > 0.0 => PlannedOptimizer::Momentum,
                OptimizerConfig::Sgd(_) => PlannedOptimizer::Sgd,
                OptimizerConfig::Adam(_) => PlannedOptimizer::Adam,
            },
            checkpointing: self.settings.hardware.gradient_checkpointing,
            accumulating: passed < batch || trainer.accumulate > 1,
        };
        let plan = MemoryPlan::new(&self.settings.network, passed, config, &self.device);
        object(&plan.map_err(failure)?)
    }

    /// What the hardware's configuration came to.
    pub fn report(&self) -> JsResult<JsValue> {
        let (mut report, micro) = self.with("hardware_report", |state| {
            let manager = state.trainer.manager();
            (manager.report(), state.trainer.micro_batch())
        })?;
        report.micro_batch = micro;
        object(&report)
    }

    /// The network layer by layer: shapes, values and multiply-adds.
    pub fn summary(&self) -> JsResult<JsValue> {
        object(&self.settings.network.summary())
    }

    /// Number of values that training changes.
    #[wasm_bindgen(getter, js_name = trainedValues)]
    pub fn trained_values(&self) -> f64 {
        self.settings.network.trained_values() as f64
    }

    /// Number of the others: running statistics.
    #[wasm_bindgen(getter, js_name = bufferValues)]
    pub fn buffer_values(&self) -> f64 {
        self.settings.network.buffer_values() as f64
    }

    /// Steps so far.
    #[wasm_bindgen(getter)]
    pub fn steps(&self) -> JsResult<usize> {
        self.with("steps", |state| state.trainer.steps())
    }

    /// Values of an example: channels, height and width.
    #[wasm_bindgen(getter)]
    pub fn input(&self) -> JsResult<JsValue> {
        object(&self.settings.network.image_shape())
    }
}
