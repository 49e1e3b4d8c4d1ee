//! Networks on pictures, with our operations and with stock ones of burn.

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::{Device as Tensors, Tensor, TensorData};
use forgeling::data::ImageShape;
use forgeling::nn::graph::Graph;
use forgeling::nn::zoo::{IntegrationConfig, ResNetConfig};
use forgeling::nn::{Network, Normalization, absorb};
use forgeling::ops::{Implementation, set_implementation, softmax_cross_entropy};
use forgeling::train::{Adam, AdamConfig};
use forgeling::{Device, Readback};
use forgeling_tests::networks::outputs;

use crate::data::{PictureBatch, Pictures};
use crate::runner::{Contestant, OURS, Result, Turn, description, timed};

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// A training step of ResNet-18 with a stem for small pictures.
    ResNet18,
    /// The shallow network of two pathways, in training or only forward, with running statistics.
    Pathways { training: bool },
}

pub const WORKS: [Work; 3] = [
    Work::ResNet18,
    Work::Pathways { training: false },
    Work::Pathways { training: true },
];

impl Work {
    /// For the table.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ResNet18 => "ResNet-18 32x32 batch 32 training step",
            Self::Pathways { training: false } => "Two pathways, shallow, 8x3x224x224, forward",
            Self::Pathways { training: true } => {
                "Two pathways, shallow, 8x3x224x224, training step"
            }
        }
    }

    /// As PyTorch's side calls it.
    pub const fn request(self) -> &'static str {
        match self {
            Self::ResNet18 => "resnet",
            Self::Pathways { training: false } => "pathways 0",
            Self::Pathways { training: true } => "pathways 1",
        }
    }

    /// Its pictures.
    ///
    /// # Errors
    /// When they cannot be drawn.
    pub fn pictures(self) -> Result<Pictures> {
        Ok(match self {
            Self::ResNet18 => Pictures::draw(32, 32, 4)?,
            Self::Pathways { .. } => Pictures::draw(8, 224, 2)?,
        })
    }

    const fn trains(self) -> bool {
        !matches!(self, Self::Pathways { training: false })
    }

    fn graph(self, pictures: &Pictures) -> Result<Graph> {
        let input = ImageShape::new(Pictures::CHANNELS, pictures.size, pictures.size);
        let classes = Pictures::CLASSES;
        let graph = match self {
            Self::ResNet18 => ResNetConfig {
                input,
                classes,
                ..Default::default()
            }
            .graph(),
            Self::Pathways { .. } => IntegrationConfig {
                input,
                classes,
                ..IntegrationConfig::shallow()
            }
            .graph(),
        };
        Ok(graph?)
    }
}

/// A network on one device.
pub struct Running<'a> {
    name: String,
    description: String,
    implementation: Implementation,
    device: Tensors,
    work: Work,
    model: Network,
    optimizer: Adam,
    pictures: &'a Pictures,
    steps: usize,
}

const LEARNING_RATE: f64 = 1e-3;

impl<'a> Running<'a> {
    pub fn ours(work: Work, pictures: &'a Pictures, device: &Device) -> Result<Self> {
        Self::new(OURS, Implementation::Own, work, pictures, device)
    }

    pub fn composite(
        name: &str,
        work: Work,
        pictures: &'a Pictures,
        device: &Device,
    ) -> Result<Self> {
        Self::new(name, Implementation::Composite, work, pictures, device)
    }

    fn new(
        name: &str,
        implementation: Implementation,
        work: Work,
        pictures: &'a Pictures,
        device: &Device,
    ) -> Result<Self> {
        let model = Network::new(&work.graph(pictures)?, 0, device);
        let (model, device_of_images) = match work.trains() {
            true => (model, device.autodiff()),
            false => (model.valid(), device.tensors().clone()),
        };
        Ok(Self {
            name: name.to_owned(),
            description: description(device),
            implementation,
            device: device_of_images,
            work,
            model,
            optimizer: Adam::new(AdamConfig::default())?,
            pictures,
            steps: 0,
        })
    }

    fn step(&mut self, batch: &PictureBatch) -> Result<f64> {
        let Pictures { batch: n, size, .. } = *self.pictures;
        let images = TensorData::new(batch.images.clone(), [n, Pictures::CHANNELS, size, size]);
        let images = Tensor::<4>::from_data(images, &self.device);
        let read = if self.work.trains() {
            let (logits, statistics) = outputs(&self.model, images, Normalization::Batch)?;
            let loss = softmax_cross_entropy(logits, &batch.labels)?;
            let gradients = GradientsParams::from_grads(loss.clone().backward(), &self.model);
            let model = self.model.clone();
            let model = self.optimizer.step(LEARNING_RATE, model, gradients);
            self.model = absorb(model, statistics)?;
            loss
        } else {
            let (logits, _) = outputs(&self.model, images, Normalization::Running)?;
            logits.slice([0..1, 0..1]).reshape([1])
        };
        let [read] = pollster::block_on(Readback::new().with(read).run())?;
        Ok(f64::from(read[0]))
    }

    fn steps(&mut self, steps: usize) -> Result<Turn> {
        timed(&self.device.clone(), steps, || {
            let pictures = self.pictures;
            let read = self.step(&pictures.batches[self.steps % pictures.batches.len()])?;
            self.steps += 1;
            Ok(read)
        })
    }
}

impl Contestant for Running<'_> {
    fn name(&self) -> &str {
        &self.name
    }

    fn device(&self) -> &str {
        &self.description
    }

    fn turn(&mut self, steps: usize) -> Result<Turn> {
        set_implementation(self.implementation);
        let turn = self.steps(steps);
        set_implementation(Implementation::Own);
        turn
    }
}
