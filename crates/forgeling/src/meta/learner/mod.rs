//! A few-shot learner of any method: made, saved and read.
//!
//! - [`Method`], [`LearnerConfig`]: which.
//! - [`LearnerOptions`]: the same by a few plain settings.
//! - [`Model`]: the networks of all methods.
//! - [`Learner`]: one of them on its device.

mod config;
mod model;
mod options;

use std::path::Path;

use serde::{Deserialize, Serialize};

pub use self::config::{LearnerConfig, Method, MethodConfig};
pub use self::model::{AnyGradientMethod, Head, Model};
pub use self::options::LearnerOptions;
use crate::data::{Dataset, ImageShape, Preparation, Task};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::meta::{Distance, MetricLearner, Prototypes};
use crate::nn::Counts;
use crate::nn::graph::Graph;
use crate::train::{SavedNetwork, model_file, weights};

/// Training images whose mean SimpleShot centers by.
const CENTERED: usize = 2000;

/// A few-shot network with all that belongs to it.
///
/// [`LearnerConfig`] says which method it is of, on which network.
///
/// ```
/// use std::ops::ControlFlow;
///
/// use forgeling::data::{Glyphs, Split};
/// use forgeling::meta::{FitConfig, Learner, LearnerConfig, Method, MethodConfig};
/// use forgeling::nn::zoo::Conv4Config;
/// use forgeling::{Device, DeviceChoice};
///
/// # pollster::block_on(async {
/// let device = Device::open(DeviceChoice::Cpu).await?;
/// let network = Conv4Config { filters: 4, ..Default::default() }.graph()?;
/// let config = LearnerConfig::new(MethodConfig::of(Method::Maml, 0), network);
/// let mut maml = Learner::new(&config, &device)?;
/// let glyphs = Glyphs::new(0, Split::Train, 100)?;
/// let fit = FitConfig { batch_episodes: 4, episodes: Some(8), ..Default::default() };
/// let summary = maml.fit(&glyphs, fit, |_| ControlFlow::Continue(())).await?;
/// assert_eq!(summary.steps, 2);
/// # Ok::<(), forgeling::Error>(()) }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct Learner {
    pub(super) model: Model,
    pub(super) config: LearnerConfig,
    pub(super) device: Device,
    pub(super) history: MetaTrainingHistory,
    pictures: Option<Preparation>,
}

/// How a model was trained, kept in its file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct MetaTrainingHistory {
    /// Episodes trained on in all.
    pub episodes: usize,
    /// Classes in each of them.
    pub ways: usize,
    /// Support examples of each class.
    pub shots: usize,
    /// Query examples of each class.
    pub queries: usize,
    /// Seed of the episodes.
    pub seed: u64,
    /// Loss over the last steps.
    pub loss: f64,
    /// Query accuracy over the last steps, as a fraction.
    pub accuracy: f64,
    /// Seconds of training in all.
    pub seconds: f64,
    /// The names of the classes trained on, if they are known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<String>,
}

impl Learner {
    /// What its files say they hold; see [`model_file::architecture`].
    pub const ARCHITECTURE: &str = "few-shot";

    /// An untrained model.
    ///
    /// # Errors
    /// When the configuration is not valid.
    pub fn new(config: &LearnerConfig, device: &Device) -> Result<Self> {
        Ok(Self {
            model: Model::new(config, device)?,
            config: config.clone(),
            device: device.clone(),
            history: MetaTrainingHistory::default(),
            pictures: None,
        })
    }

    /// An untrained prototypical network on this encoder, with weights drawn from a seed: Snell, Swersky and Zemel, 2017
    /// (arXiv 1703.05175).
    ///
    /// # Errors
    /// Never for now: graphs are checked when they are made.
    pub fn protonet(encoder: &Graph, seed: u64, device: &Device) -> Result<Self> {
        let config = LearnerConfig {
            seed,
            ..LearnerConfig::new(MethodConfig::default(), encoder.clone())
        };
        Self::new(&config, device)
    }

    /// The configuration.
    pub fn config(&self) -> &LearnerConfig {
        &self.config
    }

    /// Which method it is of.
    pub fn method(&self) -> Method {
        self.config.method.method()
    }

    /// The shape of the images, or rows of numbers, that it takes.
    pub fn input_shape(&self) -> ImageShape {
        self.config.network.image_shape()
    }

    /// The network.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The device the network lives on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// How it was trained so far.
    pub fn history(&self) -> &MetaTrainingHistory {
        &self.history
    }

    /// How pictures become its inputs, where that is known.
    pub fn pictures(&self) -> Option<Preparation> {
        self.pictures
    }

    /// Says how pictures become its inputs; its file keeps that.
    pub fn set_pictures(&mut self, pictures: Preparation) {
        self.pictures = Some(pictures);
    }

    /// Says which classes it was trained on; its file keeps their names.
    pub fn set_classes(&mut self, classes: Vec<String>) {
        self.history.classes = classes;
    }

    /// How many values it has, heads included.
    pub fn counts(&self) -> Counts {
        Counts::of(&self.model)
    }

    /// Does what a method needs once training is over: SimpleShot takes the mean feature of the training images. The other
    /// methods need nothing. [`fit`](Self::fit) calls it.
    ///
    /// # Errors
    /// When `data` does not fit the network.
    pub fn finish(&mut self, data: &dyn Dataset) -> Result<()> {
        self.check(data.image_shape(), "fit")?;
        match &mut self.model {
            Model::SimpleShot(model) => model.center(data, CENTERED),
            Model::Metric(_) | Model::Gradient(_) => Ok(()),
        }
    }

    /// The bytes of a model file; see [`model_file`].
    ///
    /// # Errors
    /// When the device fails or a weight is not finite.
    pub async fn to_bytes(&self) -> Result<Vec<u8>> {
        let header = model_file::Header::new(Self::ARCHITECTURE, &self.config, &self.history)
            .with_pictures(self.pictures);
        model_file::encode(&header, &weights::collect(&self.model).await?)
    }

    /// A prototypical network on the features of a network that was trained for something else, such as an encoder with
    /// published weights. It takes images as that network does, standardised by the same constants.
    ///
    /// # Errors
    /// When the network has no features.
    pub fn frozen(saved: SavedNetwork, device: &Device) -> Result<Self> {
        let graph = saved.network.graph();
        if graph.features() == graph.output() {
            return Err(
                Error::invalid("frozen_encoder", "the network has no features")
                    .expected("a hidden layer"),
            );
        }
        let encoder = saved.network.encoder();
        let config = LearnerConfig {
            normalization: saved.normalization,
            ..LearnerConfig::new(MethodConfig::default(), encoder.graph().clone())
        };
        config.validate()?;
        let head = Head::Prototypes(Prototypes::new(Distance::default(), &device.autodiff()));
        Ok(Self {
            model: Model::Metric(MetricLearner { encoder, head }),
            config,
            device: device.clone(),
            history: MetaTrainingHistory {
                classes: saved.classes,
                ..Default::default()
            },
            pictures: saved.pictures,
        })
    }

    /// A model from the bytes of a model file; a classifier's gives a [`frozen`](Self::frozen) encoder.
    ///
    /// # Errors
    /// When the bytes are cut off, of another architecture, or do not fit their own configuration.
    pub fn from_bytes(bytes: &[u8], device: &Device) -> Result<Self> {
        if model_file::architecture(bytes)? == SavedNetwork::ARCHITECTURE {
            return Self::frozen(SavedNetwork::from_bytes(bytes, device)?, device);
        }
        let (header, tensors) =
            model_file::decode::<LearnerConfig, MetaTrainingHistory>(bytes, Self::ARCHITECTURE)?;
        let model_file::Header {
            config,
            summary: history,
            pictures,
            ..
        } = header;
        config.validate()?;
        // The sizes the header claims must not be beyond those of the file before anything of that size is made.
        let claimed = config.least_values()?;
        let present: u64 = tensors
            .iter()
            .map(|tensor| tensor.values.len() as u64)
            .sum();
        if claimed > present {
            return Err(
                Error::bad_data("load_model", "the weights do not fit the configuration")
                    .expected(format!("{claimed} values"))
                    .got(present),
            );
        }
        let model = weights::load(Model::new(&config, device)?, tensors)?;
        Ok(Self {
            model,
            config,
            device: device.clone(),
            history,
            pictures,
        })
    }

    /// Writes a model file; an older one at `path` is replaced only when the new one is whole.
    ///
    /// # Errors
    /// When the device fails, a weight is not finite, or the file cannot be written.
    pub async fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let bytes = self.to_bytes().await.map_err(|error| error.path(path))?;
        model_file::write_atomically(path, &bytes)
    }

    /// Reads a model file.
    ///
    /// # Errors
    /// When the file cannot be read or is not a whole model file of this kind.
    pub fn load(path: impl AsRef<Path>, device: &Device) -> Result<Self> {
        let path = path.as_ref();
        Self::from_bytes(&model_file::read(path)?, device).map_err(|error| error.path(path))
    }

    /// Tasks as the network takes their images.
    pub(super) fn prepared(&self, tasks: Vec<Task>) -> Result<Vec<Task>> {
        match &self.config.normalization {
            None => Ok(tasks),
            Some(constants) => {
                let tasks = tasks.into_iter();
                tasks.map(|task| task.standardized(constants)).collect()
            }
        }
    }

    /// Whether it compares squared Euclidean distances to prototypes.
    pub(super) fn euclidean(&self) -> bool {
        let distance = Distance::Euclidean;
        self.config.method == MethodConfig::ProtoNet { distance }
    }

    /// Whether inputs of a shape fit this network.
    pub(super) fn check(&self, got: ImageShape, operation: &'static str) -> Result<()> {
        let expected = self.input_shape();
        if expected == got {
            return Ok(());
        }
        Err(
            Error::invalid(operation, "the images do not fit the network")
                .expected(expected)
                .got(got),
        )
    }
}
