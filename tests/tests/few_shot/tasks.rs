//! Learners on tasks that are not equal episodes of images: rows of numbers in imbalanced classes, and waves.

use forgeling::data::tasks::{SineConfig, SineTasks, UnevenConfig, UnevenTasks};
use forgeling::data::{Dataset, ImageShape, Split, TableSet, Task, TaskSource};
use forgeling::meta::gradient::{InnerConfig, MamlConfig};
use forgeling::meta::{
    EpisodeTrainer, FitConfig, Learner, LearnerConfig, Method, MethodConfig, Score, TaskEvaluation,
};
use forgeling::nn::graph::Shape;
use forgeling::nn::zoo::MlpConfig;
use forgeling::train::HalvingSchedule;
use forgeling::{Device, DeviceChoice};
use forgeling_tests::methods::glyphs;

/// Rows of each class.
const ROWS: usize = 12;

fn learner(method: MethodConfig, inputs: usize, hidden: Vec<usize>, outputs: usize) -> Learner {
    let device = pollster::block_on(Device::open(DeviceChoice::Cpu)).unwrap();
    let perceptron = MlpConfig {
        input: Shape::Values(inputs),
        hidden,
        classes: outputs,
    };
    let mut network = perceptron.graph().unwrap();
    if !method.method().adapts() {
        network = network.as_encoder();
    }
    let config = LearnerConfig {
        seed: 1,
        ..LearnerConfig::new(method, network)
    };
    Learner::new(&config, &device).unwrap()
}

/// How much ink each row and each column of an invented character has.
fn profiles(split: Split) -> TableSet {
    let glyphs = glyphs(split).unwrap();
    let ImageShape { height, width, .. } = glyphs.image_shape();
    let (mut names, mut values) = (Vec::new(), Vec::new());
    let mut image = vec![0.0; glyphs.image_shape().len()];
    for class in 0..glyphs.class_count() {
        for example in 0..ROWS {
            glyphs.read(class, example, &mut image).unwrap();
            names.push(glyphs.class_name(class));
            values.extend(image.chunks(width).map(|row| row.iter().sum::<f32>()));
            values.extend((0..width).map(|x| image.iter().skip(x).step_by(width).sum::<f32>()));
        }
    }
    TableSet::from_rows(height + width, &names, &values).unwrap()
}

fn train(model: &mut Learner, source: &mut dyn TaskSource, tasks: usize, steps: usize, rate: f64) {
    let config = FitConfig {
        batch_episodes: tasks,
        schedule: HalvingSchedule {
            initial: rate,
            every: 1_000_000,
        },
        ..Default::default()
    };
    let mut trainer = EpisodeTrainer::new(config).unwrap();
    for _ in 0..steps {
        let batch: Vec<Task> = (0..tasks)
            .map(|_| source.next_task().unwrap().unwrap())
            .collect();
        pollster::block_on(trainer.step_on(model, batch)).unwrap();
    }
    assert_eq!(model.history().episodes, tasks * steps);
}

fn evaluate(model: &Learner, mut source: impl TaskSource, names: &TableSet) -> TaskEvaluation {
    let name = |class| names.class_name(class);
    pollster::block_on(model.evaluate_tasks(&mut source, Some(100), false, name)).unwrap()
}

#[test]
fn learners_tell_rows_of_unseen_classes_apart() {
    let (train_rows, constants) = profiles(Split::Train).standardized().unwrap();
    let test_rows = profiles(Split::Test).standardized_by(&constants).unwrap();
    let config = |seed| UnevenConfig {
        ways: 3..=5,
        shots: 1..=4,
        queries: 2..=6,
        seed,
        ..Default::default()
    };
    let mut failed = Vec::new();
    // The least gain of each, about half of what was measured.
    for (method, outputs, least) in [
        (Method::ProtoNet, 32, 0.04),
        (Method::R2d2, 32, 0.04),
        (Method::FoMaml, 5, 0.04),
    ] {
        let features = train_rows.features();
        let mut model = learner(MethodConfig::of(method, 0), features, vec![64], outputs);
        let accuracy = |model: &Learner| {
            let source = UnevenTasks::new(&test_rows, config(1)).unwrap();
            match evaluate(model, source, &test_rows).score {
                Score::Classification(score) => {
                    assert_eq!(score.classes.len(), test_rows.class_count());
                    assert_eq!(score.accuracies.len(), 100);
                    score.accuracy
                }
                Score::Regression(_) => panic!("these are classes"),
            }
        };
        let before = accuracy(&model);
        let mut source = UnevenTasks::new(&train_rows, config(0)).unwrap();
        train(&mut model, &mut source, 4, 150, 3e-3);
        let after = accuracy(&model);
        eprintln!("{method}: {before:.3} to {after:.3}");
        if after < before + least {
            failed.push(format!("{method}: {before:.3} to {after:.3}"));
        }
    }
    assert!(failed.is_empty(), "{failed:?}");
}

#[test]
fn a_learner_continues_waves() {
    let maml = MethodConfig::Maml(MamlConfig {
        inner: InnerConfig {
            steps: 1,
            test_steps: Some(5),
            rate: 0.01,
        },
        ..Default::default()
    });
    let mut model = learner(maml, 1, vec![40, 40], 1);
    let waves = |seed| {
        SineTasks::new(SineConfig {
            seed,
            ..Default::default()
        })
        .unwrap()
    };
    let none = TableSet::from_rows::<&str>(1, &[], &[]).unwrap();
    let error = |model: &Learner| match evaluate(model, waves(1), &none).score {
        Score::Regression(score) => {
            assert_eq!(score.errors.len(), 100);
            score.mean_squared_error
        }
        Score::Classification(_) => panic!("these are numbers"),
    };
    let before = error(&model);
    train(&mut model, &mut waves(0), 25, 500, 3e-3);
    let after = error(&model);
    eprintln!("{before:.3} to {after:.3}");
    assert!(after < 0.5 * before, "{before} to {after}");

    let mut compares = learner(MethodConfig::of(Method::ProtoNet, 0), 1, vec![4], 2);
    let mut trainer = EpisodeTrainer::new(FitConfig::default()).unwrap();
    for tasks in [vec![waves(0).next_task().unwrap().unwrap()], Vec::new()] {
        let stepped = pollster::block_on(trainer.step_on(&mut compares, tasks));
        assert!(stepped.unwrap_err().is_bad_input());
    }
}
