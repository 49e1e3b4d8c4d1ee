//! What each network of the catalog can be used for: the README's table, of which every cell is tried here. The last column is
//! tried in a browser, by `www/packaging-tests/train.mjs`.

use std::ops::ControlFlow;
use std::path::Path;
use std::{env, fs};

use forgeling::continual::{ContinualLearner, ContinualLearnerConfig};
use forgeling::data::{ImageBatch, ImageSet, ImageShape, Queries, Shots};
use forgeling::meta::{FitConfig, Learner, LearnerConfig, Method, MethodConfig};
use forgeling::nn::Network;
use forgeling::nn::catalog::{Entry, MODELS, ModelConfig};
use forgeling::nn::graph::Graph;
use forgeling::train::{
    AdamConfig, Batches, CrossEntropy, HardwareConfig, HardwareManager, OptimizerConfig, Precision,
    Run, Schedule, TrainEvent, Trainer, TrainerConfig,
};
use forgeling::{Device, DeviceChoice, Result};

const BEGIN: &str = "<!-- what networks can do -->\n";
const END: &str = "<!-- end -->";
const AGAIN: &str = "FORGELING_WRITE=1 cargo test --release --workspace --test capabilities";
const CLASSES: usize = 5;
const EACH: usize = 8;

type Attempt = fn(&Entry, &Device) -> Result<()>;

/// What is tried, by the table's words.
const USES: [(&str, Attempt); 5] = [
    ("supervised", |entry, device| {
        train(entry, device, Precision::F32)
    }),
    ("in 16 bits", |entry, device| {
        train(entry, device, Precision::Bf16)
    }),
    ("few-shot, comparing", |entry, device| {
        few_shot(entry, device, Method::ProtoNet)
    }),
    ("few-shot, adapting", |entry, device| {
        few_shot(entry, device, Method::Maml)
    }),
    ("continual", continual),
];

/// The network as small as it can be told.
fn small(entry: &Entry) -> Graph {
    let mut config = ModelConfig::new(entry.name).unwrap();
    config.input = shape(entry);
    config.classes = CLASSES;
    config.options.insert("width".into(), 8);
    config.graph().unwrap()
}

fn shape(entry: &Entry) -> ImageShape {
    let channels = entry.input.channels;
    match entry.input.height {
        1 => ImageShape::new(channels, 1, 16),
        _ => ImageShape::new(channels, 16, 16),
    }
}

/// Waves of a length of their own for each class.
fn images(entry: &Entry) -> ImageBatch {
    let shape = shape(entry);
    let value = |class: usize, example: usize, place: usize| {
        let phase = (example * 7 + place) as f32 * (class + 1) as f32;
        0.5 + 0.5 * (0.35 * phase).sin()
    };
    let of_image = |image: usize| {
        let (class, example) = (image % CLASSES, image / CLASSES);
        (0..shape.len()).map(move |place| value(class, example, place))
    };
    ImageBatch {
        shape,
        images: (0..CLASSES * EACH).flat_map(of_image).collect(),
        labels: (0..CLASSES * EACH).map(|image| image % CLASSES).collect(),
    }
}

/// Ten steps on one batch, after which its loss is smaller.
fn train(entry: &Entry, device: &Device, precision: Precision) -> Result<()> {
    const STEPS: usize = 10;
    let hardware = HardwareConfig {
        precision,
        ..Default::default()
    };
    let manager = HardwareManager::on(device.clone(), hardware)?;
    let config = TrainerConfig {
        steps: Some(STEPS),
        optimizer: OptimizerConfig::Adam(AdamConfig::default()),
        schedule: Schedule::Constant { rate: 3e-3 },
        ..Default::default()
    };
    let mut network = Network::new(&small(entry), 1, device);
    let mut losses = Vec::new();
    let mut source = Batches::new(vec![images(entry)]);
    let mut trainer = Trainer::new(config, manager)?;
    let fitted = trainer.fit(&mut network, &CrossEntropy, Run::on(&mut source), |event| {
        if let TrainEvent::Step(step) = event {
            losses.push(step.loss);
        }
        ControlFlow::Continue(())
    });
    pollster::block_on(fitted)?;
    let (first, last) = (losses[0], losses[losses.len() - 1]);
    assert!(
        last < first,
        "{} in {precision:?}: {first} to {last}",
        entry.name
    );
    Ok(())
}

/// An episode, and the values that a step on it moves.
fn few_shot(entry: &Entry, device: &Device, method: Method) -> Result<()> {
    let batch = images(entry);
    let labels: Vec<String> = batch.labels.iter().map(usize::to_string).collect();
    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    let data = ImageSet::from_f32(batch.shape, &labels, &batch.images)?;
    let config = LearnerConfig {
        ways: CLASSES,
        ..LearnerConfig::new(MethodConfig::of(method, CLASSES), small(entry))
    };
    let mut learner = Learner::new(&config, device)?;
    let before = pollster::block_on(learner.to_bytes())?;
    let fit = FitConfig {
        shots: Shots::new(2)?,
        queries: Queries::new(2)?,
        batch_episodes: 1,
        episodes: Some(1),
        ..Default::default()
    };
    let summary = pollster::block_on(learner.fit(&data, fit, |_| ControlFlow::Continue(())))?;
    assert!(summary.loss.is_finite(), "{method} on {}", entry.name);
    let after = pollster::block_on(learner.to_bytes())?;
    assert_ne!(before, after, "{method} on {}", entry.name);
    Ok(())
}

/// Two contexts, and the accuracy on both.
fn continual(entry: &Entry, device: &Device) -> Result<()> {
    let manager = HardwareManager::on(device.clone(), HardwareConfig::default())?;
    let config = ContinualLearnerConfig {
        batch_size: 8,
        replayed: 4,
        ..Default::default()
    };
    let mut learner = ContinualLearner::new(&small(entry), config, manager)?;
    let all = images(entry);
    let pixels = all.shape.len();
    for context in 0..2 {
        let wanted = |label: &usize| (*label < 2) == (context == 0);
        let places = all
            .labels
            .iter()
            .enumerate()
            .filter(|(_, label)| wanted(label));
        let places: Vec<usize> = places.map(|(place, _)| place).collect();
        let part = ImageBatch {
            shape: all.shape,
            images: places
                .iter()
                .flat_map(|place| all.images[place * pixels..][..pixels].to_vec())
                .collect(),
            labels: places.iter().map(|&place| all.labels[place]).collect(),
        };
        pollster::block_on(learner.learn(part.clone(), |_| ControlFlow::Continue(())))?;
        pollster::block_on(learner.end_task(Some(part)))?;
    }
    let matrix = learner.accuracy_matrix();
    assert_eq!(matrix.last().map(Vec::len), Some(2), "{}", entry.name);
    Ok(())
}

/// The table as it should be, and why cells are empty.
fn table(device: &Device) -> String {
    let names = USES.map(|(name, _)| name).join(" | ");
    let mut text = format!(
        "| | {names} | in a page |\n|---|{}\n",
        ":-:|".repeat(USES.len() + 1)
    );
    let mut reasons = Vec::new();
    for entry in &MODELS {
        text += &format!("| `{}` |", entry.name);
        for (name, attempt) in USES {
            let cell = match attempt(entry, device) {
                Ok(()) => "✓",
                Err(error) => {
                    // What a network is not made for is said before anything is computed.
                    assert!(error.is_bad_input(), "{} {name}: {error}", entry.name);
                    reasons.push(format!("{}, {name}: {error}", entry.name));
                    "–"
                }
            };
            text += &format!(" {cell} |");
        }
        text += " ✓ |\n";
    }
    for reason in reasons {
        eprintln!("{reason}");
    }
    text
}

#[test]
fn every_cell_of_the_readmes_table_is_true() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let readme = fs::read_to_string(&path).unwrap();
    let begin = readme.find(BEGIN).map(|place| place + BEGIN.len()).unwrap();
    let end = begin + readme[begin..].find(END).unwrap();
    // On GPUs the tests of networks compare every family with the CPU.
    let device = pollster::block_on(Device::open(DeviceChoice::Cpu)).unwrap();
    let found = table(&device);
    if env::var("FORGELING_WRITE").is_ok_and(|value| value == "1") {
        let changed = [&readme[..begin], &found, &readme[end..]].concat();
        fs::write(&path, changed).unwrap();
        return;
    }
    assert_eq!(found, readme[begin..end], "{AGAIN} writes it anew");
}
