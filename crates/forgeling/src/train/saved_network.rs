//! Model files of networks that tell images or sounds apart.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::data::{ImageShape, Preparation, SoundPreparation, Standardization};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::nn::Network;
use crate::nn::graph::Graph;
use crate::train::storage::Packings;
use crate::train::{Confidence, ModelCard, Storage, Validation, model_file, predict, weights};

/// How a [`SavedNetwork`] was trained.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TrainingHistory {
    /// Optimizer steps.
    pub steps: usize,
    /// Times through the data.
    pub epochs: usize,
    /// Examples.
    pub examples: usize,
    /// How it does on data it was not trained on, if that was looked at.
    pub validation: Option<Validation>,
}

/// A network with the names of its classes, as a model file holds it.
#[derive(Debug, Clone)]
pub struct SavedNetwork {
    /// What it is called: its name in the [catalog](crate::nn::catalog), `graph` of one of the user's own.
    pub model: String,
    /// The name of each class.
    pub classes: Vec<String>,
    /// How pictures become its inputs, where that is known.
    pub pictures: Option<Preparation>,
    /// How sounds become its inputs, if it was trained on sounds.
    pub sounds: Option<SoundPreparation>,
    /// How the channels of its images are standardised before the network sees them; `None` where they stay within 0 and 1.
    pub normalization: Option<Standardization>,
    /// Where it is from.
    pub card: ModelCard,
    /// How it was trained.
    pub history: TrainingHistory,
    /// How far its answers can be believed, if [`calibrate`](Self::calibrate) found out.
    pub confidence: Option<Confidence>,
    /// How its file stores the values of the network; [`stored_as`](Self::stored_as) rounds them to that.
    pub storage: Storage,
    /// The network.
    pub network: Network,
}

/// The `config` of the file's header.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileConfig {
    pub model: String,
    pub network: Graph,
    pub classes: Vec<String>,
    #[serde(default, skip_serializing_if = "ModelCard::is_empty")]
    pub card: ModelCard,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub normalization: Option<Standardization>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<Confidence>,
    #[serde(default, skip_serializing_if = "Storage::is_f32")]
    pub storage: Storage,
}

impl SavedNetwork {
    /// What its files say they hold; see [`model_file::architecture`].
    pub const ARCHITECTURE: &str = "classifier";

    /// The images that it takes.
    pub fn input(&self) -> ImageShape {
        self.network.graph().image_shape()
    }

    /// Values within 0 and 1 of images, one after the other, as the network takes them.
    ///
    /// # Errors
    /// When these are not whole images.
    pub fn normalized(&self, mut images: Vec<f32>) -> Result<Vec<f32>> {
        if let Some(constants) = &self.normalization {
            constants.apply_to_images(self.input(), &mut images)?;
        }
        Ok(images)
    }

    /// The [`probabilities`](predict::probabilities) of the classes for each image; `images` holds one after the other,
    /// with values within 0 and 1.
    ///
    /// # Errors
    /// As there.
    pub async fn probabilities(&self, images: Vec<f32>, device: &Device) -> Result<Vec<f32>> {
        let images = self.normalized(images)?;
        predict::probabilities(&self.network, self.input(), &images, device).await
    }

    /// The bytes of a model file; see [`model_file`]. Values that its [`storage`](Self::storage) does not hold, as training
    /// leaves them, are rounded.
    ///
    /// # Errors
    /// When there is not one name for each class, when the device fails, or a weight is not finite or beyond what the storage
    /// holds.
    pub async fn to_bytes(&self) -> Result<Vec<u8>> {
        self.check("save_model")?;
        let config = FileConfig {
            model: self.model.clone(),
            network: self.network.graph().clone(),
            classes: self.classes.clone(),
            normalization: self.normalization.clone(),
            card: self.card.clone(),
            confidence: self.confidence.clone(),
            storage: self.storage,
        };
        let header = model_file::Header::new(Self::ARCHITECTURE, config, self.history)
            .with_pictures(self.pictures)
            .with_sounds(self.sounds);
        let tensors = weights::collect(&self.network).await?;
        let packing = Packings::new(self.storage, self.network.graph(), &tensors);
        model_file::encode_packed(header, &tensors, &|tensor| packing.of(tensor))
    }

    /// A network from the bytes of a model file.
    ///
    /// # Errors
    /// When the bytes are cut off, of another architecture, or do not fit their own configuration.
    pub fn from_bytes(bytes: &[u8], device: &Device) -> Result<Self> {
        const OPERATION: &str = "load_model";
        let (header, tensors) = model_file::decode_scaled::<FileConfig, TrainingHistory>(
            bytes,
            Self::ARCHITECTURE,
            |config| config.network.int8_weights(),
        )?;
        let FileConfig {
            model,
            network,
            classes,
            normalization,
            card,
            confidence,
            storage,
        } = header.config;
        // The sizes the header claims must be those of the file before anything of that size is made.
        let claimed = network.counts().all();
        let present: u64 = tensors.iter().map(|some| some.values.len() as u64).sum();
        if claimed != present {
            let message = "the weights do not fit the network";
            return Err(Error::bad_data(OPERATION, message)
                .expected(format!("{claimed} values"))
                .got(present));
        }
        let network = Network::new(&network, 0, device);
        let loaded = Self {
            model,
            network: weights::load(network, tensors)?,
            pictures: header.pictures,
            sounds: header.sounds,
            history: header.summary,
            classes,
            normalization,
            card,
            confidence,
            storage,
        };
        loaded.check(OPERATION)?;
        Ok(loaded)
    }

    /// Writes a model file, whole or not at all.
    ///
    /// # Errors
    /// As [`to_bytes`](Self::to_bytes), and when the file cannot be written.
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

    fn check(&self, operation: &'static str) -> Result<()> {
        if let Some(confidence) = &self.confidence {
            confidence.validate(self.input().channels)?;
        }
        if let Some(constants) = &self.normalization {
            constants.check_channels(self.input())?;
        }
        if let Some(sounds) = &self.sounds {
            let shape = sounds.input_shape()?;
            if shape != self.input() {
                let message = "the network takes no such spectrograms";
                return Err(Error::bad_data(operation, message)
                    .expected(self.input())
                    .got(shape));
            }
        }
        let outputs = self.network.graph().output_shape().len();
        if self.classes.len() == outputs {
            return Ok(());
        }
        Err(
            Error::bad_data(operation, "there is not one name for each class")
                .expected(format!("{outputs} names"))
                .got(self.classes.len()),
        )
    }
}

#[cfg(test)]
mod tests {
    use burn::module::Module;

    use super::*;
    use crate::DeviceChoice;
    use crate::nn::catalog::{MODELS, ModelConfig};
    use crate::train::ModelDescription;

    fn cpu() -> Device {
        pollster::block_on(Device::open(DeviceChoice::Cpu)).unwrap()
    }

    #[test]
    fn saved_networks_come_back_and_wrong_ones_do_not() {
        let device = cpu();
        for entry in &MODELS {
            let name = entry.name;
            let config = |width: usize| {
                let mut config = ModelConfig::new(name).unwrap();
                config.input = match entry.input.height {
                    1 => ImageShape::new(1, 1, 16),
                    _ => ImageShape::new(1, 16, 16),
                };
                config.classes = 3;
                // Of which the last hidden layer has an eighth.
                let width = if name == "dual_mlp_large" {
                    8 * width
                } else {
                    width
                };
                config.options.insert("width".into(), width);
                config.graph().unwrap()
            };
            let graph = config(4);
            let network = Network::new(&graph, 3, &device);
            let mut saved = SavedNetwork {
                model: name.into(),
                classes: ["a", "b", "c"].map(String::from).to_vec(),
                pictures: Some(Preparation::DRAWINGS),
                sounds: None,
                normalization: Some(Standardization {
                    mean: vec![0.1307],
                    deviation: vec![0.3081],
                }),
                card: ModelCard {
                    source: Some("a test".into()),
                    ..Default::default()
                },
                history: TrainingHistory::default(),
                confidence: None,
                storage: Default::default(),
                network,
            };
            let bytes = pollster::block_on(saved.to_bytes()).unwrap();
            let back = SavedNetwork::from_bytes(&bytes, &device).unwrap();
            assert_eq!(back.network.graph(), &graph, "{name}");
            assert_eq!(back.classes, saved.classes);
            assert_eq!(back.pictures, saved.pictures);
            assert_eq!(back.normalization, saved.normalization);
            // The same logits, bit for bit, which are not those without standardising.
            let images: Vec<f32> = (0..2 * 256).map(|i| (i % 91) as f32 / 90.0).collect();
            let answers = |saved: &SavedNetwork| {
                let network = saved.network.valid();
                let logits = saved.logits(&network, images.clone(), &device);
                pollster::block_on(logits).unwrap()
            };
            assert_eq!(answers(&back), answers(&saved), "{name}");
            let plain = SavedNetwork {
                normalization: None,
                ..saved.clone()
            };
            assert_ne!(answers(&back), answers(&plain), "{name}");
            assert_eq!(back.card, saved.card);
            let said = ModelDescription::from_bytes(&bytes).unwrap();
            assert_eq!((&said.network, &said.card), (&graph, &saved.card), "{name}");
            assert_eq!((&said.classes, said.calibrated), (&saved.classes, false));
            let values =
                |saved: &SavedNetwork| pollster::block_on(weights::collect(&saved.network));
            let found = values(&back).unwrap();
            assert_eq!(found, values(&saved).unwrap());
            // The names that the graph says are those of the file.
            let named: Vec<_> = found
                .iter()
                .map(|tensor| (&tensor.name, &tensor.shape))
                .collect();
            let mut said: Vec<_> = graph.tensors().collect();
            said.sort_by(|a, b| a.0.cmp(&b.0));
            let mut named: Vec<_> = named
                .into_iter()
                .map(|(name, shape)| (name.clone(), shape.clone()))
                .collect();
            named.sort();
            let said: Vec<_> = said
                .into_iter()
                .map(|(name, value)| (name, value.sizes))
                .collect();
            assert_eq!(named, said);
            let cut = SavedNetwork::from_bytes(&bytes[..bytes.len() - 4], &device);
            assert!(cut.unwrap_err().is_bad_input());
            // A header that claims more than the file holds is refused before anything is made.
            let claims = FileConfig {
                model: name.into(),
                network: config(64),
                classes: saved.classes.clone(),
                normalization: None,
                card: ModelCard::default(),
                confidence: None,
                storage: Default::default(),
            };
            let header = model_file::Header::new(SavedNetwork::ARCHITECTURE, claims, saved.history);
            let wrong = model_file::encode(&header, &found).unwrap();
            let error = SavedNetwork::from_bytes(&wrong, &device).unwrap_err();
            assert!(error.to_string().contains("do not fit"), "{error}");
            saved.classes.pop();
            let error = pollster::block_on(saved.to_bytes()).unwrap_err();
            assert!(error.is_bad_input());
        }
    }
}
