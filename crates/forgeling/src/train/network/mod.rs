//! The networks that tell images apart, chosen at run time.
//!
//! - `saved`: their model files.
//! - `answer`: what they say of images, and how far that can be believed.

mod answer;
mod saved;

use burn::module::Module;
use burn::tensor::Tensor;
pub use saved::{NetworkSummary, SavedNetwork};
use serde::{Deserialize, Serialize};

use super::objective::{Classifier, Trainable};
use crate::data::ImageShape;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::nn::{
    BatchStatistics, Conv4Classifier, Conv4Config, Mlp, MlpConfig, Pass, Planned,
    PlannedClassifier, ResNet18, ResNet18Config,
};
use crate::ops::Heuristics;
use crate::ops::plan::{PlannedPrecision, Shaped, Simulation};

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
#[expect(
    clippy::large_enum_variant,
    reason = "there are few of them, and burn's modules are not boxed"
)]
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

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn small(kind: NetworkKind) -> NetworkConfig {
        NetworkConfig {
            width: 4,
            seed: 3,
            ..NetworkConfig::new(kind, ImageShape::new(1, 16, 16), 3)
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
