//! Examples that are pushed.

use std::ops::ControlFlow;

use forgeling::continual::{
    Budget, ContinualLearner, ContinualLearnerConfig, HeadKind, LearnerStrategy,
};
use forgeling::data::{Dataset, Glyphs, ImageBatch, ImageShape, Split};
use forgeling::nn::graph::Graph;
use forgeling::nn::zoo::MlpConfig;
use forgeling::train::{Checkpoint, HardwareConfig, HardwareManager, StopReason, TrainEvent};
use forgeling::{Device, DeviceChoice, Error, Result};
use pollster::block_on;

const CLASSES: usize = 6;
const EPOCHS: usize = 20;
const SHAPE: ImageShape = ImageShape::new(1, 12, 12);
const STRATEGIES: [LearnerStrategy; 6] = [
    LearnerStrategy::Naive,
    LearnerStrategy::Er,
    LearnerStrategy::ErAce,
    LearnerStrategy::Derpp,
    LearnerStrategy::Agem,
    LearnerStrategy::Si,
];
/// In no order, so that a label is not how many came before it. One never comes.
const TASKS: [[usize; 2]; 2] = [[5, 1], [0, 3]];

/// Examples of these classes, from the one with this number on.
fn glyphs(labels: &[usize], first: usize, each: usize) -> ImageBatch {
    let data = Glyphs::new(0, Split::Train, CLASSES).unwrap();
    let data = data.with_size(SHAPE.height).unwrap();
    let mut batch = ImageBatch {
        shape: SHAPE,
        images: Vec::new(),
        labels: Vec::new(),
    };
    for example in first..first + each {
        for &label in labels {
            let start = batch.images.len();
            batch.images.resize(start + SHAPE.len(), 0.0);
            let image = &mut batch.images[start..];
            data.read(label, example, image).unwrap();
            batch.labels.push(label);
        }
    }
    batch
}

fn manager() -> HardwareManager {
    let device = block_on(Device::open(DeviceChoice::Cpu)).unwrap();
    HardwareManager::on(device, HardwareConfig::default()).unwrap()
}

fn graph() -> Graph {
    let config = MlpConfig {
        input: SHAPE.into(),
        hidden: vec![32],
        classes: CLASSES,
    };
    config.graph().unwrap()
}

fn config(strategy: LearnerStrategy) -> ContinualLearnerConfig {
    ContinualLearnerConfig {
        strategy,
        buffer: Budget::Total(30),
        replayed: 10,
        epochs: EPOCHS,
        batch_size: 10,
        seed: 3,
        ..Default::default()
    }
}

fn learner(config: ContinualLearnerConfig) -> ContinualLearner {
    ContinualLearner::new(&graph(), config, manager()).unwrap()
}

fn learn(learner: &mut ContinualLearner, images: &ImageBatch) {
    block_on(learner.learn(images.clone(), |_| ControlFlow::Continue(()))).unwrap();
}

/// Two pushes of a task, and its end.
fn task(learner: &mut ContinualLearner, labels: &[usize]) -> Vec<f64> {
    learn(learner, &glyphs(labels, 0, 20));
    learn(learner, &glyphs(labels, 20, 15));
    let row = block_on(learner.end_task(Some(glyphs(labels, 35, 25))));
    row.unwrap().to_vec()
}

/// All that it comes to, but for the time.
fn state(learner: &ContinualLearner) -> Checkpoint {
    let mut checkpoint = Checkpoint::decode(&block_on(learner.save()).unwrap()).unwrap();
    assert!(checkpoint.sections.remove("time").is_some());
    checkpoint
}

#[test]
fn what_is_replayed_is_not_forgotten() {
    let mut after = Vec::new();
    for strategy in STRATEGIES {
        let mut learner = learner(config(strategy));
        let rows = TASKS.map(|labels| task(&mut learner, &labels));
        assert_eq!(learner.accuracy_matrix(), rows);
        assert_eq!(rows.each_ref().map(Vec::len), [1, 2]);
        println!("{strategy:?}: {rows:?}");
        // Half would be right by chance.
        assert!(rows[0][0] > 0.75, "{strategy:?}: {rows:?}");
        after.push(rows[1][0]);
        let keeps = !matches!(strategy, LearnerStrategy::Naive | LearnerStrategy::Si);
        assert_eq!(learner.buffer().map(|kept| kept.len()), keeps.then_some(30));
    }
    let [naive, er, er_ace, derpp, ..] = after[..] else {
        panic!("one for each strategy")
    };
    for replays in [er, er_ace, derpp] {
        assert!(replays > naive + 0.3, "{after:?}");
    }
}

#[test]
fn it_goes_on_from_bytes_bit_for_bit() {
    for strategy in STRATEGIES {
        let mut first = learner(config(strategy));
        learn(&mut first, &glyphs(&TASKS[0], 0, 20));
        // In the middle of a task, then between two.
        for labels in [TASKS[0], TASKS[1]] {
            let bytes = block_on(first.save()).unwrap();
            let mut other = ContinualLearner::load(&bytes, manager()).unwrap();
            assert_eq!(state(&other), state(&first), "{strategy:?}");
            task(&mut first, &labels);
            task(&mut other, &labels);
            assert_eq!(state(&other), state(&first), "{strategy:?}");
            assert_eq!(other.accuracy_matrix(), first.accuracy_matrix());
            let images = glyphs(&[0, 1, 2, 3, 4, 5], 70, 2).images;
            let probabilities = |of: &ContinualLearner| block_on(of.probabilities(&images));
            assert_eq!(
                probabilities(&other).unwrap(),
                probabilities(&first).unwrap()
            );
        }
    }
}

#[test]
fn bytes_are_the_state_and_a_little() {
    let mut learner = learner(config(LearnerStrategy::Derpp));
    for labels in TASKS {
        let _ = task(&mut learner, &labels);
    }
    let weights = 4 * graph().counts().all() as usize;
    // Of the tests, images in f32 with label and context.
    let tests = 2 * 50 * (4 * SHAPE.len() + 8);
    let kept = learner.buffer().unwrap().bytes();
    let bytes = block_on(learner.save()).unwrap().len();
    let least = 3 * weights + tests + kept;
    assert!(
        (least..least + 8_000).contains(&bytes),
        "{bytes} of {least}"
    );
}

#[test]
fn damaged_bytes_are_refused() {
    let mut learner = learner(config(LearnerStrategy::Si));
    task(&mut learner, &TASKS[0]);
    let bytes = block_on(learner.save()).unwrap();
    let refused = |bytes: &[u8]| ContinualLearner::load(bytes, manager()).unwrap_err();
    for place in (0..bytes.len()).step_by(bytes.len() / 40) {
        let mut damaged = bytes.clone();
        damaged[place] ^= 4;
        assert!(refused(&damaged).is_bad_input(), "byte {place}");
        assert!(refused(&bytes[..place]).is_bad_input(), "cut at {place}");
    }
    let other = Checkpoint::new(0).encode().unwrap();
    assert!(refused(&other).to_string().contains("learner"));
    // Whole, but of a learner that cannot be.
    let changed = |section: &str, pointer: &str, value: serde_json::Value| {
        let mut checkpoint = Checkpoint::decode(&bytes).unwrap();
        let section = checkpoint.sections.get_mut(section).unwrap();
        *section.pointer_mut(pointer).unwrap() = value;
        refused(&checkpoint.encode().unwrap())
    };
    for (pointer, value) in [
        ("/matrix", serde_json::json!([[1.5]])),
        ("/matrix", serde_json::json!([[0.5, 0.5]])),
        ("/tests", serde_json::json!([49])),
        ("/config/strategy", serde_json::json!("er")),
        ("/config/seed", serde_json::json!("none")),
        ("/config/head", serde_json::json!("per_task")),
    ] {
        let error = changed("learner", pointer, value);
        assert!(error.is_bad_input(), "{pointer}: {error}");
    }
}

#[test]
fn classes_that_never_came_are_no_answer() {
    let images = glyphs(&[0, 1, 2, 3, 4, 5], 60, 20).images;
    let mut growing = learner(config(LearnerStrategy::ErAce));
    assert!(block_on(growing.classify(&images)).is_err());
    let mut all = learner(ContinualLearnerConfig {
        head: HeadKind::All,
        ..config(LearnerStrategy::ErAce)
    });
    block_on(all.classify(&images)).unwrap();
    let mut come: Vec<usize> = Vec::new();
    for labels in TASKS {
        task(&mut growing, &labels);
        come.extend(labels);
        let found = block_on(growing.probabilities(&images)).unwrap();
        for row in found.chunks_exact(CLASSES) {
            for (class, probability) in row.iter().enumerate() {
                assert_eq!(*probability == 0.0, !come.contains(&class), "{row:?}");
            }
            assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-5, "{row:?}");
        }
        let answers = block_on(growing.classify(&images)).unwrap();
        assert_eq!(answers.len(), 120);
        assert!(answers.iter().all(|answer| come.contains(answer)));
        task(&mut all, &labels);
    }
    let found = block_on(all.probabilities(&images)).unwrap();
    assert!(found.iter().all(|probability| *probability > 0.0));
    // Its test may have what is not there yet.
    let mut early = learner(config(LearnerStrategy::Er));
    learn(&mut early, &glyphs(&TASKS[0], 0, 20));
    let row = block_on(early.end_task(Some(glyphs(&[2], 0, 20)))).unwrap();
    assert_eq!(row, [0.0]);
}

#[test]
fn a_call_is_so_many_epochs_or_ends_when_asked_to() {
    let mut learner = learner(config(LearnerStrategy::Agem));
    let images = glyphs(&TASKS[0], 0, 12);
    let mut events = Vec::new();
    let learned = learner.learn(images.clone(), |event| {
        events.push(event.clone());
        ControlFlow::Continue(())
    });
    let summary = block_on(learned).unwrap();
    // 24 examples are 3 batches.
    assert_eq!(
        (summary.steps, summary.epochs, summary.reason),
        (3 * EPOCHS, EPOCHS, StopReason::Finished)
    );
    let epochs = events.iter().filter(
        |event| matches!(event, TrainEvent::Epoch { accuracy: Some(share), .. } if *share > 0.0),
    );
    assert_eq!(epochs.count(), EPOCHS);
    let stopped = TrainEvent::Stopped {
        step: 3 * EPOCHS,
        reason: StopReason::Finished,
    };
    assert_eq!(events.last(), Some(&stopped));
    let learned = learner.learn(images.clone(), |event| match event {
        TrainEvent::Step(step) if step.step == 3 * EPOCHS + 4 => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    let summary = block_on(learned).unwrap();
    assert_eq!(
        (summary.steps, summary.reason),
        (3 * EPOCHS + 4, StopReason::Asked)
    );
    // Without tests a row has no column more.
    assert!(block_on(learner.end_task(None)).unwrap().is_empty());
    learn(&mut learner, &images);
    assert_eq!(block_on(learner.end_task(Some(images))).unwrap().len(), 1);
    assert_eq!(learner.accuracy_matrix().len(), 2);
}

#[test]
fn bad_examples_change_nothing() {
    let mut learner = learner(config(LearnerStrategy::Derpp));
    let refused = |result: Result<()>, words: &str| {
        let error: Error = result.unwrap_err();
        let text = error.to_string();
        assert!(error.is_bad_input() && text.contains(words), "{text}");
    };
    let ended = |learner: &mut ContinualLearner, test| block_on(learner.end_task(test)).map(drop);
    refused(ended(&mut learner, None), "learn");
    learn(&mut learner, &glyphs(&TASKS[0], 0, 20));
    let before = state(&learner);
    let good = glyphs(&TASKS[1], 0, 3);
    let mut label = good.clone();
    label.labels[2] = CLASSES;
    let mut shape = good.clone();
    shape.shape = ImageShape::new(1, 9, 16);
    let mut fewer = good.clone();
    fewer.labels.pop();
    let mut value = good.clone();
    value.images[SHAPE.len() * 4] = f32::NAN;
    let none = ImageBatch {
        images: Vec::new(),
        labels: Vec::new(),
        ..good
    };
    for (images, words) in [
        (label, "below 6"),
        (shape, "12"),
        (fewer, "5 images"),
        (value, "example 4"),
        (none, "no example"),
    ] {
        let classified = block_on(learner.classify(&images.images));
        assert_eq!(
            classified.is_err(),
            matches!(words, "example 4" | "no example")
        );
        let learned = block_on(learner.learn(images.clone(), |_| ControlFlow::Continue(())));
        refused(learned.map(drop), words);
        refused(ended(&mut learner, Some(images)), words);
        assert!(state(&learner) == before, "{words}");
    }
    assert!(block_on(learner.classify(&[0.0; 5])).is_err());
    let usual = config(LearnerStrategy::Er);
    for wrong in [
        ContinualLearnerConfig {
            head: HeadKind::PerTask,
            ..usual.clone()
        },
        ContinualLearnerConfig {
            replayed: 0,
            ..usual.clone()
        },
        ContinualLearnerConfig {
            epochs: 0,
            ..usual.clone()
        },
        ContinualLearnerConfig {
            batch_size: 0,
            ..usual.clone()
        },
        ContinualLearnerConfig {
            learning_rate: f64::NAN,
            ..usual.clone()
        },
        ContinualLearnerConfig {
            buffer: Budget::Bytes(100),
            ..usual
        },
    ] {
        let made = ContinualLearner::new(&graph(), wrong, manager());
        refused(made.map(drop), "");
    }
    let unknown = serde_json::from_str::<ContinualLearnerConfig>(r#"{ "bufer": 1 }"#);
    assert!(unknown.unwrap_err().to_string().contains("bufer"));
    let read = r#"{ "strategy": "er_ace", "head": "all", "buffer": { "bytes": 9000 } }"#;
    let read: ContinualLearnerConfig = serde_json::from_str(read).unwrap();
    assert_eq!(
        (read.strategy, read.buffer, read.replayed),
        (LearnerStrategy::ErAce, Budget::Bytes(9000), 32)
    );
}
