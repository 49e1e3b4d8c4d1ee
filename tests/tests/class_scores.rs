//! What a trainer says of each class, with uneven classes.

use std::cell::Cell;

use burn::tensor::{Tensor, TensorData};
use forgeling::data::{ImageBatch, ImageShape};
use forgeling::nn::graph::Shape;
use forgeling::nn::zoo::MlpConfig;
use forgeling::nn::{Network, Pass};
use forgeling::train::{
    Batches, HardwareConfig, HardwareManager, Objective, Outcome, Predictions, Tally, Trainer,
    TrainerConfig, Validation,
};
use forgeling::{Device, DeviceChoice, Result};

const SHAPE: ImageShape = ImageShape::new(1, 1, 2);

/// Gives the answers that it is told to, whatever the model would say: the value of each image.
struct Told {
    classes: usize,
    passes: Cell<usize>,
}

impl Objective<Network> for Told {
    type Batch = ImageBatch;

    fn forward<'a>(
        &self,
        _: &'a Network,
        batch: &ImageBatch,
        pass: &mut Pass<'a>,
    ) -> Result<Outcome> {
        self.passes.set(self.passes.get() + 1);
        let answers = batch.images.chunks(SHAPE.len()).map(|image| image[0]);
        let logit = |answer: f32, class| if class as f32 == answer { 2.0 } else { -1.0 };
        let logits: Vec<f32> = answers
            .flat_map(|answer| (0..self.classes).map(move |class| logit(answer, class)))
            .collect();
        let logits = TensorData::new(logits, [batch.labels.len(), self.classes]);
        let logits: Tensor<2> = pass.values(logits);
        Predictions::cross_entropy(logits, batch.labels.clone())
    }
}

fn batch(answers: &[(usize, usize, usize)]) -> ImageBatch {
    let (mut images, mut labels) = (Vec::new(), Vec::new());
    for &(label, answer, count) in answers {
        for _ in 0..count {
            images.extend([answer as f32, 0.0]);
            labels.push(label);
        }
    }
    ImageBatch {
        shape: SHAPE,
        images,
        labels,
    }
}

/// What comes of batches of (label, answer, how often), in passes of at most `micro_batch`.
fn score(
    batches: &[Vec<(usize, usize, usize)>],
    classes: usize,
    micro_batch: Option<usize>,
) -> (Validation, Vec<Tally>, usize) {
    let device = pollster::block_on(Device::open(DeviceChoice::Cpu)).unwrap();
    let hardware = HardwareConfig {
        micro_batch,
        ..Default::default()
    };
    let manager = HardwareManager::on(device.clone(), hardware).unwrap();
    let trainer = Trainer::new(TrainerConfig::default(), manager).unwrap();
    let config = MlpConfig {
        input: Shape::Values(SHAPE.len()),
        hidden: vec![2],
        classes,
    };
    let graph = config.graph().unwrap();
    let model = Network::new(&graph, 1, &device);
    let told = Told {
        classes,
        passes: Cell::new(0),
    };
    let source = || Batches::new(batches.iter().map(|answers| batch(answers)).collect());
    let scored = pollster::block_on(trainer.score(&model, &told, &mut source())).unwrap();
    let passes = told.passes.get();
    let validation = pollster::block_on(trainer.validate(&model, &told, &mut source())).unwrap();
    assert_eq!(validation, scored.validation);
    (scored.validation, scored.classes, passes)
}

fn tallies(counts: &[(usize, usize)]) -> Vec<Tally> {
    let tally = |&(right, total)| Tally { right, total };
    counts.iter().map(tally).collect()
}

#[test]
fn always_the_larger_class_is_no_better_than_chance() {
    let batches = [vec![(0, 0, 60)], vec![(0, 0, 40), (1, 0, 5)]];
    for (micro_batch, passes) in [(None, 2), (Some(7), 16)] {
        let (validation, classes, taken) = score(&batches, 2, micro_batch);
        assert_eq!(taken, passes);
        assert_eq!(validation.examples, 105);
        assert_eq!(validation.accuracy, Some(100.0 / 105.0));
        assert_eq!(validation.balanced_accuracy, Some(0.5));
        assert_eq!(classes, tallies(&[(100, 100), (0, 5)]));
    }
}

#[test]
fn each_class_that_occurs_counts_alike() {
    // By hand: 3 of 4, 1 of 2, none of class 2, 2 of 5; (0.75 + 0.5 + 0.4) / 3 = 0.55, and 6 of 11.
    let batches = [
        vec![(0, 0, 2), (3, 3, 2), (3, 2, 1)],
        vec![(0, 0, 1), (0, 3, 1), (1, 1, 1), (1, 0, 1), (3, 0, 2)],
    ];
    let (validation, classes, _) = score(&batches, 4, None);
    assert_eq!(classes, tallies(&[(3, 4), (1, 2), (0, 0), (2, 5)]));
    assert_eq!(validation.accuracy, Some(6.0 / 11.0));
    let balanced = validation.balanced_accuracy.unwrap();
    assert!((balanced - 0.55).abs() < 1e-12, "{balanced}");
}

#[test]
fn what_earlier_versions_saved_is_read() {
    let saved = r#"{"loss":0.25,"accuracy":0.5,"examples":3}"#;
    let validation: Validation = serde_json::from_str(saved).unwrap();
    assert_eq!(
        (validation.examples, validation.balanced_accuracy),
        (3, None)
    );
}
