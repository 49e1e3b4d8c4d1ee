//! Small scenarios, networks and runs for tests.

use burn::tensor::Tensor;
use pollster::block_on;

use super::{ContinualBatch, Kind, Scenario, ScenarioConfig, Setting};
use crate::data::{ImageBatch, ImageSet, ImageShape, Rng};
use crate::device::{Device, DeviceChoice, Readback, TensorDevice};
use crate::nn::graph::Shape;
use crate::nn::zoo::MlpConfig;
use crate::nn::{Network, Normalization, Pass};
use crate::train::parts::{RunState, Sections, StepContext};
use crate::train::{Checkpoint, Checkpoints};

pub(super) const SHAPE: ImageShape = ImageShape::new(1, 2, 3);

/// Random images, as many of each class.
fn set(classes: usize, each: usize, seed: u64) -> ImageSet {
    let mut rng = Rng::new(seed);
    let mut set = ImageSet::new(SHAPE).unwrap();
    for class in 0..classes {
        let added = set.add_class(format!("class {class}"), None).unwrap();
        for _ in 0..each {
            let image: Vec<u8> = (0..SHAPE.len()).map(|_| rng.below(256) as u8).collect();
            set.push(added, &image).unwrap();
        }
    }
    set
}

/// Contexts of so many classes, of 9 examples each.
pub(super) fn scenario(setting: Setting, sizes: &[usize]) -> Scenario {
    let kind = match setting {
        Setting::Free => Kind::Blurred {
            sizes: sizes.to_vec(),
            overlap: 0.5,
        },
        _ => Kind::Split {
            sizes: sizes.to_vec(),
        },
    };
    let config = ScenarioConfig {
        kind,
        setting,
        class_order: Some(5),
    };
    let classes = sizes.iter().sum();
    Scenario::new(set(classes, 9, 0), set(classes, 3, 1), config).unwrap()
}

pub(super) fn cpu() -> Device {
    block_on(Device::open(DeviceChoice::Cpu)).unwrap()
}

/// With 5 features.
pub(super) fn network(outputs: usize, seed: u64) -> Network {
    let mlp = MlpConfig {
        input: Shape::Values(SHAPE.len()),
        hidden: vec![5],
        classes: outputs,
    };
    Network::new(&mlp.graph().unwrap(), seed, &cpu())
}

/// Random images with these labels.
pub(super) fn batch(labels: &[usize], contexts: &[usize], seed: u64) -> ContinualBatch {
    let mut rng = Rng::new(seed);
    let images = (0..labels.len() * SHAPE.len()).map(|_| rng.unit_f32());
    ContinualBatch {
        images: ImageBatch {
            shape: SHAPE,
            images: images.collect(),
            labels: labels.to_vec(),
        },
        contexts: contexts.to_vec(),
        logits: Vec::new(),
    }
}

/// The examples of both.
pub(super) fn joined(one: &ContinualBatch, other: &ContinualBatch) -> ContinualBatch {
    ContinualBatch {
        images: ImageBatch {
            shape: one.images.shape,
            images: [&one.images.images[..], &other.images.images].concat(),
            labels: [&one.images.labels[..], &other.images.labels].concat(),
        },
        contexts: [&one.contexts[..], &other.contexts].concat(),
        logits: [&one.logits[..], &other.logits].concat(),
    }
}

pub(super) fn pass<'m>() -> Pass<'m> {
    Pass::new(Normalization::Batch, &cpu().autodiff())
}

/// Without gradients.
pub(super) fn test_pass<'m>() -> Pass<'m> {
    Pass::new(Normalization::Running, cpu().tensors())
}

pub(super) fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    let [values] = block_on(Readback::new().with(tensor).run()).unwrap();
    values
}

pub(super) fn step<'a>(
    examples: usize,
    task: Option<usize>,
    replayed: Option<&'a ContinualBatch>,
) -> StepContext<'a, ContinualBatch> {
    StepContext {
        step: 7,
        epoch: 0,
        task,
        learning_rate: 0.1,
        examples,
        replayed,
    }
}

/// Gives `to` what `from` keeps, by way of a checkpoint.
pub(super) fn through_a_checkpoint(from: &impl RunState, to: &mut impl RunState) {
    let mut sections = Sections::default();
    from.save(&mut sections).unwrap();
    let mut checkpoint = Checkpoint::new(1);
    block_on(sections.write("part", &mut checkpoint)).unwrap();
    let mut read = Checkpoint::decode(&checkpoint.encode().unwrap()).unwrap();
    let sections = Sections::read("part", &mut read).unwrap();
    let device: TensorDevice = cpu().tensors().clone();
    to.load(&sections, &device).unwrap();
}

/// `−log softmax(row)[label]` over the outputs that `counts` says.
pub(super) fn cross_entropy(row: &[f32], label: usize, counts: impl Fn(usize) -> bool) -> f64 {
    let counting = row.iter().enumerate().filter(|(output, _)| counts(*output));
    let sum: f64 = counting.map(|(_, z)| f64::from(*z).exp()).sum();
    sum.ln() - f64::from(row[label])
}

/// Checkpoints in memory.
#[derive(Default)]
pub(super) struct InMemory(pub Vec<Vec<u8>>);

impl Checkpoints for InMemory {
    fn latest(&mut self) -> crate::Result<(Option<Checkpoint>, Vec<String>)> {
        let last = self.0.last().map(|bytes| Checkpoint::decode(bytes));
        Ok((last.transpose()?, Vec::new()))
    }

    fn save(&mut self, checkpoint: &Checkpoint) -> crate::Result<String> {
        self.0.push(checkpoint.encode()?);
        Ok(String::new())
    }
}
