//! The networks that tell images apart, chosen at run time, and their model files.

use std::path::Path;

use burn::module::Module;
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::objective::{Classifier, Trainable};
use super::{Validation, model_file, weights};
use crate::data::ImageShape;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::nn::{
    BatchStatistics, Conv4Classifier, Conv4Config, Mlp, MlpConfig, Pass, Planned,
    PlannedClassifier, ResNet18, ResNet18Config,
};
use crate::ops::Heuristics;
use crate::ops::plan::{PlannedPrecision, Shaped, Simulation};

const ARCHITECTURE: &str = "classifier";
const OPERATION: &str = "network_config";

/// Which network tells images apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkKind {
    /// [`Mlp`] with one hidden layer.
    Mlp,
    /// [`Conv4Classifier`].
    Conv4,
    /// [`ResNet18`].
    ResNet18,
}

impl NetworkKind {
    /// All of them, the smallest first.
    pub const ALL: [Self; 3] = [Self::Mlp, Self::Conv4, Self::ResNet18];

    /// The name in JSON, model files and on command lines.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mlp => "mlp",
            Self::Conv4 => "conv4",
            Self::ResNet18 => "resnet18",
        }
    }

    /// The width that the network usually has: 128 neurons, or 64 channels.
    pub const fn usual_width(self) -> usize {
        match self {
            Self::Mlp => 128,
            Self::Conv4 | Self::ResNet18 => 64,
        }
    }

    /// The images that the network is usually shown: 28×28 in grey, or of ResNet-18 32×32 in color.
    pub const fn usual_input(self) -> ImageShape {
        match self {
            Self::Mlp | Self::Conv4 => ImageShape::new(1, 28, 28),
            Self::ResNet18 => ImageShape::new(3, 32, 32),
        }
    }
}

impl std::str::FromStr for NetworkKind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let named = |kind: &Self| kind.name() == text;
        Self::ALL.into_iter().find(named).ok_or_else(|| {
            Error::invalid("parse_network", "unknown network")
                .expected(Self::ALL.map(Self::name).join(", "))
                .got(format!("'{text}'"))
        })
    }
}

impl std::fmt::Display for NetworkKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// A [`Network`] before it is made: what it takes, what it tells apart and how large it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkConfig {
    /// Which network.
    pub kind: NetworkKind,
    /// The images it takes.
    pub input: ImageShape,
    /// How many classes it tells apart.
    pub classes: usize,
    /// Neurons of a perceptron's hidden layer, channels of each of Conv4's blocks or of ResNet-18's first stage.
    pub width: usize,
    /// Seed of the initial weights.
    pub seed: u64,
}

impl NetworkConfig {
    /// A network of its usual width, with the seed 0.
    pub const fn new(kind: NetworkKind, input: ImageShape, classes: usize) -> Self {
        Self {
            kind,
            input,
            classes,
            width: kind.usual_width(),
            seed: 0,
        }
    }

    fn mlp(&self) -> MlpConfig {
        MlpConfig {
            inputs: self.input.len(),
            hidden: vec![self.width],
            classes: self.classes,
            seed: self.seed,
        }
    }

    fn conv4(&self) -> Conv4Config {
        Conv4Config {
            channels: self.input.channels,
            filters: self.width,
            size: self.input.height,
            seed: self.seed,
            ..Default::default()
        }
    }

    fn resnet18(&self) -> ResNet18Config {
        ResNet18Config {
            channels: self.input.channels,
            classes: self.classes,
            width: self.width,
            seed: self.seed,
        }
    }

    /// Checks every size.
    ///
    /// # Errors
    /// When one is zero or beyond reason, and when Conv4 is to take images that are not square or too small.
    pub fn validate(&self) -> Result<()> {
        /// More than any image that these networks are made for.
        const MOST_SIDE: usize = 4096;
        /// The most classes of the networks.
        const MOST_CLASSES: usize = 1 << 16;
        let ImageShape { height, width, .. } = self.input;
        let ranges = [
            ("input height", height, MOST_SIDE),
            ("input width", width, MOST_SIDE),
            ("classes", self.classes, MOST_CLASSES),
        ];
        for (name, value, high) in ranges {
            if !(1..=high).contains(&value) {
                return Err(Error::invalid(OPERATION, format!("{name} is out of range"))
                    .expected(format!("1 to {high}"))
                    .got(value));
            }
        }
        match self.kind {
            NetworkKind::Mlp => self.mlp().validate(),
            NetworkKind::Conv4 if height != width => {
                Err(Error::invalid(OPERATION, "conv4 takes square images")
                    .expected("as many rows as columns")
                    .got(self.input))
            }
            NetworkKind::Conv4 => self.conv4().validate(),
            NetworkKind::ResNet18 => self.resnet18().validate(),
        }
    }

    /// The network, ready to be trained, with weights drawn from the seed.
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub fn build(&self, device: &Device) -> Result<Network> {
        self.validate()?;
        let device = &device.autodiff();
        Ok(match self.kind {
            NetworkKind::Mlp => Network::Mlp(Mlp::new(&self.mlp(), device)?),
            NetworkKind::Conv4 => {
                Network::Conv4(Conv4Classifier::new(&self.conv4(), self.classes, device)?)
            }
            NetworkKind::ResNet18 => Network::ResNet18(ResNet18::new(&self.resnet18(), device)?),
        })
    }

    /// Values that the network holds, running statistics included, without making it.
    fn value_count(&self, device: &Device) -> Result<u64> {
        let heuristics = Heuristics::of(device.tensors());
        let sim = Simulation::new(PlannedPrecision::F32, false, heuristics);
        self.describe(&sim, sim.batch(&self.batch_shape(1)))?;
        let values = |shape: Vec<usize>| {
            let sides = shape.into_iter().map(|side| side as u64);
            sides.fold(1, u64::saturating_mul)
        };
        let parameters = sim.all_parameters().into_iter();
        Ok(parameters.map(|(_, shape, _)| values(shape)).sum())
    }
}

impl Planned for NetworkConfig {
    fn batch_shape(&self, examples: usize) -> Vec<usize> {
        let ImageShape {
            channels,
            height,
            width,
        } = self.input;
        match self.kind {
            NetworkKind::Mlp => vec![examples, self.input.len()],
            NetworkKind::Conv4 | NetworkKind::ResNet18 => vec![examples, channels, height, width],
        }
    }

    fn describe(&self, sim: &Simulation, batch: Shaped) -> Result<Shaped> {
        self.validate()?;
        match self.kind {
            NetworkKind::Mlp => self.mlp().describe(sim, batch),
            NetworkKind::Conv4 => {
                let (encoder, classes) = (self.conv4(), self.classes);
                PlannedClassifier { encoder, classes }.describe(sim, batch)
            }
            NetworkKind::ResNet18 => self.resnet18().describe(sim, batch),
        }
    }
}

/// A network that tells images apart, whichever it is.
///
/// ```
/// use forgeling::data::ImageShape;
/// use forgeling::train::{NetworkConfig, NetworkKind};
/// use forgeling::{Device, DeviceChoice};
///
/// # pollster::block_on(async {
/// let device = Device::open(DeviceChoice::Cpu).await?;
/// let config = NetworkConfig::new(NetworkKind::Mlp, ImageShape::new(1, 8, 8), 10);
/// let network = config.build(&device)?;
/// assert_eq!(network.parameter_count(), 65 * 128 + 129 * 10);
/// # Ok::<(), forgeling::Error>(()) }).unwrap();
/// ```
#[derive(Module, Debug)]
pub enum Network {
    /// A perceptron.
    Mlp(Mlp),
    /// Four blocks of convolution, and a linear layer.
    Conv4(Conv4Classifier),
    /// Eighteen layers with ways around them.
    ResNet18(ResNet18),
}

impl Network {
    /// Number of values, running statistics included.
    pub fn parameter_count(&self) -> usize {
        self.num_params()
    }
}

impl Trainable for Network {
    fn absorb(self, statistics: Vec<BatchStatistics>) -> Self {
        match self {
            Self::Mlp(mlp) => Self::Mlp(mlp),
            Self::Conv4(conv4) => Self::Conv4(conv4.absorb(statistics)),
            Self::ResNet18(resnet) => Self::ResNet18(resnet.absorb(statistics)),
        }
    }
}

impl Classifier for Network {
    fn logits<'a>(&'a self, images: Tensor<4>, pass: &mut Pass<'a>) -> Result<Tensor<2>> {
        match self {
            Self::Mlp(mlp) => mlp.logits(images, pass),
            Self::Conv4(conv4) => conv4.logits(images, pass),
            Self::ResNet18(resnet) => resnet.logits(images, pass),
        }
    }
}

/// How a [`SavedNetwork`] was trained.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkSummary {
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
    /// What it is made from.
    pub config: NetworkConfig,
    /// The name of each class.
    pub classes: Vec<String>,
    /// How it was trained.
    pub summary: NetworkSummary,
    /// The network.
    pub network: Network,
}

/// The `config` of the file's header.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileConfig {
    network: NetworkConfig,
    classes: Vec<String>,
}

impl SavedNetwork {
    /// The bytes of a model file; see [`model_file`].
    ///
    /// # Errors
    /// When there is not one name for each class, when the device fails, or a weight is not finite.
    pub async fn to_bytes(&self) -> Result<Vec<u8>> {
        self.check("save_model")?;
        let config = FileConfig {
            network: self.config,
            classes: self.classes.clone(),
        };
        let header = model_file::Header::new(ARCHITECTURE, config, self.summary);
        model_file::encode(&header, &weights::collect(&self.network).await?)
    }

    /// A network from the bytes of a model file.
    ///
    /// # Errors
    /// When the bytes are cut off, of another architecture, or do not fit their own configuration.
    pub fn from_bytes(bytes: &[u8], device: &Device) -> Result<Self> {
        const OPERATION: &str = "load_model";
        let (header, tensors) =
            model_file::decode::<FileConfig, NetworkSummary>(bytes, ARCHITECTURE)?;
        let FileConfig { network, classes } = header.config;
        // The sizes the header claims must be those of the file before anything of that size is made.
        let claimed = network.value_count(device)?;
        let present: u64 = tensors.iter().map(|some| some.values.len() as u64).sum();
        if claimed != present {
            let message = "the weights do not fit the configuration";
            return Err(Error::bad_data(OPERATION, message)
                .expected(format!("{claimed} values"))
                .got(present));
        }
        let loaded = Self {
            network: weights::load(network.build(device)?, tensors)?,
            config: network,
            summary: header.summary,
            classes,
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
        if self.classes.len() == self.config.classes {
            return Ok(());
        }
        Err(
            Error::bad_data(operation, "there is not one name for each class")
                .expected(format!("{} names", self.config.classes))
                .got(self.classes.len()),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DeviceChoice;

    fn cpu() -> Device {
        pollster::block_on(Device::open(DeviceChoice::Cpu)).unwrap()
    }

    fn small(kind: NetworkKind) -> NetworkConfig {
        NetworkConfig {
            width: 4,
            seed: 3,
            ..NetworkConfig::new(kind, ImageShape::new(1, 16, 16), 3)
        }
    }

    #[test]
    fn saved_networks_come_back_and_wrong_ones_do_not() {
        let device = cpu();
        for kind in NetworkKind::ALL {
            let config = small(kind);
            let network = config.build(&device).unwrap();
            let count = network.parameter_count() as u64;
            assert_eq!(config.value_count(&device).unwrap(), count, "{kind}");
            let mut saved = SavedNetwork {
                config,
                classes: ["a", "b", "c"].map(String::from).to_vec(),
                summary: NetworkSummary::default(),
                network,
            };
            let bytes = pollster::block_on(saved.to_bytes()).unwrap();
            let back = SavedNetwork::from_bytes(&bytes, &device).unwrap();
            assert_eq!((back.config, &back.classes), (config, &saved.classes));
            let values =
                |saved: &SavedNetwork| pollster::block_on(weights::collect(&saved.network));
            assert_eq!(values(&back).unwrap(), values(&saved).unwrap());
            let cut = SavedNetwork::from_bytes(&bytes[..bytes.len() - 4], &device);
            assert!(cut.unwrap_err().is_bad_input());
            // A header that claims more than the file holds is refused before anything is made.
            saved.config.width = 1 << 9;
            let wrong = pollster::block_on(saved.to_bytes()).unwrap();
            let error = SavedNetwork::from_bytes(&wrong, &device).unwrap_err();
            assert!(error.to_string().contains("do not fit"), "{error}");
            saved.classes.pop();
            assert!(
                pollster::block_on(saved.to_bytes())
                    .unwrap_err()
                    .is_bad_input()
            );
        }
    }

    #[test]
    fn sizes_out_of_range_are_errors() {
        let right = small(NetworkKind::Conv4);
        let wide = ImageShape::new(1, 16, 32);
        for wrong in [
            NetworkConfig { width: 0, ..right },
            NetworkConfig {
                classes: 0,
                ..right
            },
            NetworkConfig {
                input: ImageShape::new(1, 8, 8),
                ..right
            },
            NetworkConfig {
                input: wide,
                ..right
            },
            NetworkConfig {
                input: ImageShape::new(0, 16, 16),
                ..right
            },
        ] {
            assert!(wrong.validate().unwrap_err().is_bad_input(), "{wrong:?}");
        }
        let resnet = NetworkConfig {
            input: wide,
            ..small(NetworkKind::ResNet18)
        };
        assert!(resnet.validate().is_ok());
        assert!("vgg".parse::<NetworkKind>().unwrap_err().is_bad_input());
    }
}
