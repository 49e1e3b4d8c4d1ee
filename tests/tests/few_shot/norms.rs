//! Whose statistics MAML++ normalizes queries with.

use forgeling::data::{Examples, Split, Targets, Task};
use forgeling::meta::{AnyGradientMethod, EpisodeTrainer, Learner, LearnerConfig, Method, Model};
use forgeling::{Device, DeviceChoice};
use forgeling_tests::assert_close;
use forgeling_tests::methods::{STEPS, config, fit, glyphs, tasks};

fn trained(transductive: bool) -> Learner {
    let device = pollster::block_on(Device::open(DeviceChoice::Cpu)).unwrap();
    let config = LearnerConfig {
        transductive,
        ..config(Method::MamlPP)
    };
    let mut model = Learner::new(&config, &device).unwrap();
    let data = glyphs(Split::Train).unwrap();
    let mut trainer = EpisodeTrainer::new(fit().unwrap()).unwrap();
    for _ in 0..STEPS {
        pollster::block_on(trainer.step(&mut model, &data)).unwrap();
    }
    model
}

/// The task with one query alone.
fn with_query(task: &Task, query: usize) -> Task {
    let size = task.shape().len();
    let examples = Examples {
        inputs: task.query().inputs[query * size..][..size].to_vec(),
        targets: Targets::Classes(vec![task.query().classes().unwrap()[query]]),
    };
    let support = task.support().clone();
    Task::new(task.shape(), task.outputs(), support, examples).unwrap()
}

#[test]
fn running_statistics_are_kept_by_transductive_training_alone() {
    for transductive in [true, false] {
        let model = trained(transductive);
        let Model::Gradient(learner) = model.model() else {
            panic!("it adapts");
        };
        let AnyGradientMethod::MamlPlusPlus(method) = &learner.method else {
            panic!("it is MAML++");
        };
        let moved = method.running_means.iter().any(|mean| {
            let values: Vec<f32> = mean.val().into_data().try_to_vec().unwrap();
            values.iter().any(|value| value.abs() > 1e-6)
        });
        assert_eq!(moved, transductive);
        assert_eq!(model.config().keeps_running_statistics(), transductive);
    }
}

#[test]
fn a_query_is_answered_by_itself_unless_transductive() {
    let task = &tasks(1).unwrap()[0];
    let answer = |model: &Learner, task: &Task, transductive| {
        let tasks = std::slice::from_ref(task);
        pollster::block_on(model.answer(tasks, transductive))
            .unwrap()
            .remove(0)
    };
    let alone = with_query(task, 1);
    for trained_so in [true, false] {
        let model = trained(trained_so);
        let ways = task.outputs();
        let row = |answers: &[f32]| answers[ways..2 * ways].to_vec();
        let by_itself = answer(&model, &alone, false);
        let among = row(&answer(&model, task, false));
        assert_close("one by one", &among, &by_itself, 1e-4);
        let together = row(&answer(&model, task, true));
        let apart = together
            .iter()
            .zip(&among)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f32::max);
        assert!(apart > 1e-3, "the other queries matter: {apart}");
    }
}
