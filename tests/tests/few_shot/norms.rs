//! Whose statistics queries are normalized with.

use forgeling::data::{Examples, Split, Targets, Task};
use forgeling::meta::{
    AnyGradientMethod, EpisodeTrainer, EvaluateConfig, Learner, LearnerConfig, Method, Model,
};
use forgeling::{Device, DeviceChoice};
use forgeling_tests::methods::{STEPS, config, fit, glyphs, tasks};
use forgeling_tests::{assert_close, few_shot};

fn cpu() -> Device {
    pollster::block_on(Device::open(DeviceChoice::Cpu)).unwrap()
}

fn trained(transductive: bool) -> Learner {
    let config = LearnerConfig {
        transductive,
        ..config(Method::MamlPP)
    };
    let mut model = Learner::new(&config, &cpu()).unwrap();
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

/// The mean negative log likelihood of the right classes, of tasks with their answers.
fn likelihood<'a>(answered: impl Iterator<Item = (&'a Task, &'a Vec<f32>)>) -> f64 {
    let (mut sum, mut count) = (0.0, 0);
    for (task, answers) in answered {
        let labels = task.query().classes().unwrap();
        for (row, label) in answers.chunks(task.outputs()).zip(labels) {
            let exponentials = row.iter().map(|logit| f64::from(*logit).exp());
            sum += exponentials.sum::<f64>().ln() - f64::from(row[*label]);
            count += 1;
        }
    }
    sum / f64::from(count)
}

#[test]
fn evaluations_see_one_query_at_a_time_unless_they_say_otherwise() {
    const EPISODES: usize = 12;
    const SEED: u64 = 1;
    let data = glyphs(Split::Test).unwrap();
    let fit = fit().unwrap();
    let sizes = [fit.ways.get(), fit.shots.get(), fit.queries.get()];
    let tasks = few_shot::tasks(&data, sizes, EPISODES, SEED);
    let queries = sizes[0] * sizes[2];
    let alone: Vec<Task> = tasks
        .iter()
        .flat_map(|task| (0..queries).map(|query| with_query(task, query)))
        .collect();
    for method in [Method::ProtoNet, Method::Maml, Method::MamlPP] {
        let model = Learner::new(&config(method), &cpu()).unwrap();
        let by_hand = |tasks: &[Task], transductive| {
            let answers = pollster::block_on(model.answer(tasks, transductive)).unwrap();
            likelihood(tasks.iter().zip(&answers))
        };
        let (apart, together) = (by_hand(&alone, false), by_hand(&tasks, true));
        assert!(
            (apart - together).abs() > 1e-3,
            "{method}: {apart} and {together}"
        );
        for (transductive, expected) in [(false, apart), (true, together)] {
            let config = EvaluateConfig {
                ways: fit.ways,
                shots: fit.shots,
                queries: fit.queries,
                episodes: EPISODES,
                transductive,
                seed: SEED,
            };
            let found = pollster::block_on(model.evaluate(&data, config)).unwrap();
            let got = found.details.negative_log_likelihood;
            let what = format!("{method}, {transductive}: {got} instead of {expected}");
            assert!((got - expected).abs() < 1e-4, "{what}");
            assert_eq!(
                (found.transductive, found.episodes),
                (transductive, EPISODES)
            );
            assert_eq!(found.details.accuracies.len(), EPISODES);
            assert_eq!(found.details.queries, EPISODES * queries);
            let tallies = found.details.classes.values();
            let counted: usize = tallies.map(|tally| tally.total).sum();
            assert_eq!(counted, EPISODES * queries);
        }
    }
}
