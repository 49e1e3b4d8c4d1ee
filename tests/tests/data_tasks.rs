//! Sources of tasks: which tasks they give, where they go on, and what they refuse.

use std::ops::RangeInclusive;

use forgeling::data::tasks::{
    EpisodeList, EpisodeTasks, SineConfig, SineTasks, UnevenConfig, UnevenTasks,
};
use forgeling::data::{
    Dataset, EpisodeSampler, Glyphs, ImageShape, Queries, RandomAffine, Rng, Shots, Split,
    TableSet, Targets, Task, TaskPlan, TaskSource, Ways,
};
use forgeling::{Error, Result};
use forgeling_tests::task_digests::{DIGESTS, digests, even, glyphs, tabular, uneven, waves};

fn take(source: &mut dyn TaskSource, count: usize) -> Vec<Task> {
    let next = |_| source.next_task().unwrap().unwrap();
    (0..count).map(next).collect()
}

fn sampler(ways: usize, shots: usize, queries: usize, seed: u64) -> EpisodeSampler {
    EpisodeSampler::new(
        Ways::new(ways).unwrap(),
        Shots::new(shots).unwrap(),
        Queries::new(queries).unwrap(),
        seed,
    )
}

#[test]
fn tasks_are_those_of_every_platform() {
    assert_eq!(digests().unwrap(), DIGESTS);
}

fn sources() -> Vec<(&'static str, Box<dyn TaskSource>)> {
    let list = EpisodeList::draw("", &mut uneven().unwrap(), &glyphs().unwrap(), 9).unwrap();
    vec![
        ("even", Box::new(even().unwrap())),
        ("uneven", Box::new(uneven().unwrap())),
        ("tabular", Box::new(tabular().unwrap())),
        ("waves", Box::new(waves().unwrap())),
        ("list", Box::new(list.tasks(glyphs().unwrap()).unwrap())),
    ]
}

#[test]
fn a_resumed_source_goes_on_with_the_tasks_that_would_have_come() {
    for ((name, mut first), (_, mut second)) in sources().into_iter().zip(sources()) {
        take(&mut *first, 3);
        let text = first.state().to_string();
        let expected = take(&mut *first, 4);
        second
            .resume(&serde_json::from_str(&text).unwrap())
            .unwrap();
        assert_eq!(take(&mut *second, 4), expected, "{name}");
        assert_ne!(expected[0], expected[1], "{name}");
    }
}

#[test]
fn states_of_other_sources_are_refused_and_change_nothing() {
    let states: Vec<_> = sources().iter().map(|(_, source)| source.state()).collect();
    let foreign = |index: usize| {
        let others = states
            .iter()
            .enumerate()
            .filter(move |(other, _)| *other != index);
        others.map(|(_, state)| state.clone())
    };
    for (index, (name, mut source)) in sources().into_iter().enumerate() {
        let before = source.state();
        let damaged = [serde_json::json!(null), serde_json::json!([1, 2])];
        for state in foreign(index).chain(damaged) {
            let error = source.resume(&state).expect_err(name);
            assert!(error.is_bad_input(), "{error}");
            assert_eq!(source.state(), before);
        }
    }
    let mut other = UnevenTasks::new(glyphs().unwrap(), UnevenConfig::default()).unwrap();
    let error = other.resume(&uneven().unwrap().state()).unwrap_err();
    assert!(error.to_string().contains("of other tasks"), "{error}");
}

/// What a run of training draws: the sampler's own episodes, augmented by numbers of a stream of their own.
#[test]
fn episodes_are_the_samplers_own() {
    let glyphs = Glyphs::new(1, Split::Train, 20).unwrap();
    let augment = RandomAffine::default();
    for count in [1, 3] {
        let mut tasks = EpisodeTasks::new(&glyphs, sampler(4, 2, 3, 7), Some(augment), 9).unwrap();
        let mut own = sampler(4, 2, 3, 7);
        let mut rng = Rng::new(9).fork(1);
        for _ in 0..3 {
            let mut batch = own.sample_batch(&glyphs, count).unwrap();
            augment.apply(batch.shape, &mut batch.support, &mut rng);
            augment.apply(batch.shape, &mut batch.query, &mut rng);
            let drawn = match count {
                1 => vec![tasks.next_task().unwrap().unwrap()],
                _ => tasks.batch(count).unwrap().tasks().unwrap(),
            };
            assert_eq!(drawn, batch.tasks().unwrap());
        }
    }
    let mut plain = EpisodeTasks::new(&glyphs, sampler(4, 2, 3, 7), None, 9).unwrap();
    let expected = sampler(4, 2, 3, 7).sample_batch(&glyphs, 5).unwrap();
    assert_eq!(take(&mut plain, 5), expected.tasks().unwrap());
}

#[test]
fn uneven_tasks_fill_their_ranges() {
    let config = UnevenConfig {
        queries: 2..=4,
        ..Default::default()
    };
    let glyphs = Glyphs::new(1, Split::Train, 20).unwrap();
    let mut tasks = UnevenTasks::new(&glyphs, config).unwrap();
    tasks.check().unwrap();
    let plans: Vec<TaskPlan> = (0..600).map(|_| tasks.plan().unwrap()).collect();
    let filled = |numbers: Vec<usize>, range: RangeInclusive<usize>| {
        let share = numbers.len() / range.clone().count();
        for number in range.clone() {
            let times = numbers.iter().filter(|&&n| n == number).count();
            assert!(
                (share * 7 / 10..share * 13 / 10).contains(&times),
                "{number}: {times}"
            );
        }
        assert!(numbers.iter().all(|number| range.contains(number)));
    };
    filled(plans.iter().map(|plan| plan.classes.len()).collect(), 3..=7);
    let lens = |side: fn(&TaskPlan) -> &Vec<Vec<usize>>| {
        plans.iter().flat_map(side).map(Vec::len).collect()
    };
    filled(lens(|plan| &plan.support), 1..=10);
    filled(lens(|plan| &plan.query), 2..=4);
    for plan in &plans {
        let mut classes = plan.classes.clone();
        classes.sort_unstable();
        classes.dedup();
        assert_eq!(classes.len(), plan.classes.len());
        for (support, query) in plan.support.iter().zip(&plan.query) {
            assert!(query.iter().all(|example| !support.contains(example)));
        }
    }
}

#[test]
fn plans_are_those_of_the_tasks() {
    let (mut tasks, mut plans) = (uneven().unwrap(), uneven().unwrap());
    for task in take(&mut tasks, 6) {
        let plan = plans.plan().unwrap();
        assert_eq!(task.plan(), Some(&plan));
        let ways = plan.support.iter().enumerate();
        let labels = ways.flat_map(|(way, list)| vec![way; list.len()]);
        assert_eq!(
            task.support().classes().unwrap(),
            labels.collect::<Vec<_>>()
        );
    }
}

#[test]
fn waves_are_what_a_figure_draws() {
    let config = SineConfig {
        support: 5,
        queries: 7,
        seed: 3,
    };
    let (mut tasks, mut drawn) = (
        SineTasks::new(config).unwrap(),
        SineTasks::new(config).unwrap(),
    );
    for task in take(&mut tasks, 4) {
        let wave = drawn.draw();
        assert_eq!(drawn.task_of(wave).unwrap(), task);
        for (side, count) in [(task.support(), 5), (task.query(), 7)] {
            let expected = side.inputs.iter().map(|&x| wave.value(x)).collect();
            assert_eq!(side.targets, Targets::Values(expected));
            assert_eq!(side.len(task.shape()), count);
        }
    }
}

#[test]
fn rows_of_tables_are_not_changed() {
    let names = ["a", "a", "b", "b"];
    let table = TableSet::from_rows(2, &names, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]).unwrap();
    let mut tasks = EpisodeTasks::new(&table, sampler(2, 1, 1, 0), None, 0).unwrap();
    let task = tasks.next_task().unwrap().unwrap();
    let plan = task.plan().unwrap();
    for (way, &class) in plan.classes.iter().enumerate() {
        let first = (4 * class + 2 * plan.support[way][0] + 1) as f32;
        assert_eq!(
            task.support().inputs[2 * way..2 * way + 2],
            [first, first + 1.0]
        );
    }
    let config = UnevenConfig {
        ways: 2..=2,
        shots: 1..=1,
        queries: 1..=1,
        ..Default::default()
    };
    let mut uneven = UnevenTasks::new(&table, config).unwrap();
    assert_eq!(
        uneven.next_task().unwrap().unwrap().shape(),
        ImageShape::new(1, 1, 2)
    );
}

/// One class has fewer examples, and one example a pixel that is not a number.
#[derive(Debug)]
struct Spoilt {
    lens: Vec<usize>,
    bad: Option<(usize, usize)>,
}

impl Dataset for Spoilt {
    fn class_count(&self) -> usize {
        self.lens.len()
    }

    fn class_name(&self, class: usize) -> String {
        format!("kind {class}")
    }

    fn class_len(&self, class: usize) -> usize {
        self.lens[class]
    }

    fn image_shape(&self) -> ImageShape {
        ImageShape::new(1, 1, 2)
    }

    fn read(&self, class: usize, example: usize, out: &mut [f32]) -> Result<()> {
        let bad = self.bad == Some((class, example));
        out.fill(if bad { f32::NAN } else { 0.5 });
        Ok(())
    }
}

#[track_caller]
fn stays(source: &mut dyn TaskSource, reason: &str) -> Error {
    let before = source.state();
    let error = source.next_task().expect_err(reason);
    assert!(error.is_bad_input(), "{error}");
    assert!(error.to_string().contains(reason), "{error}");
    assert_eq!(source.state(), before);
    error
}

#[test]
fn sets_that_are_too_small_are_refused_and_nothing_is_drawn() {
    let set = Spoilt {
        lens: vec![4, 4, 3],
        bad: None,
    };
    let ranges = |ways, shots| UnevenConfig {
        ways,
        shots,
        queries: 2..=2,
        ..Default::default()
    };
    stays(
        &mut EpisodeTasks::new(&set, sampler(4, 1, 1, 0), None, 0).unwrap(),
        "fewer classes than an episode (expected 4 or more, got 3)",
    );
    stays(
        &mut UnevenTasks::new(&set, ranges(1..=4, 1..=1)).unwrap(),
        "fewer classes than an episode may have (expected 4 or more, got 3)",
    );
    let mut tasks = EpisodeTasks::new(&set, sampler(3, 2, 2, 0), None, 0).unwrap();
    let reason =
        "class kind 2 has too few examples (expected 4 (2 to learn from, 2 to classify), got 3)";
    assert_eq!(
        stays(&mut tasks, reason).to_string(),
        tasks.check().unwrap_err().to_string()
    );
    let mut tasks = UnevenTasks::new(&set, ranges(3..=3, 1..=2)).unwrap();
    let reason = "class kind 2 has too few examples (expected 4 (up to 2 to learn from, 2 to classify), got 3)";
    assert_eq!(
        stays(&mut tasks, reason).to_string(),
        tasks.check().unwrap_err().to_string()
    );
    let range = RangeInclusive::new;
    for bad in [
        ranges(0..=3, 1..=1),
        ranges(range(3, 2), 1..=1),
        ranges(1..=1, 0..=0),
    ] {
        let error = UnevenTasks::new(&set, bad).unwrap_err();
        assert!(error.is_bad_input(), "{error}");
    }
    let huge = UnevenConfig {
        ways: 1..=usize::MAX,
        shots: 1..=usize::MAX,
        queries: 1..=usize::MAX,
        ..Default::default()
    };
    stays(&mut UnevenTasks::new(&set, huge).unwrap(), "fewer classes");
}

#[test]
fn pixels_that_are_no_numbers_are_refused_and_nothing_is_drawn() {
    let set = Spoilt {
        lens: vec![2, 2],
        bad: Some((1, 0)),
    };
    let reason = "example 0 of class kind 1 is not finite (got NaN)";
    let augment = Some(RandomAffine::default());
    stays(
        &mut EpisodeTasks::new(&set, sampler(2, 1, 1, 0), augment, 0).unwrap(),
        reason,
    );
    let config = UnevenConfig {
        ways: 2..=2,
        shots: 1..=1,
        queries: 1..=1,
        augment,
        seed: 0,
    };
    stays(&mut UnevenTasks::new(&set, config).unwrap(), reason);
    let plan = TaskPlan {
        classes: vec![0, 1],
        support: vec![vec![0], vec![0]],
        query: vec![vec![1], vec![]],
    };
    let list = EpisodeList::new("", &[plan], &set).unwrap();
    stays(&mut list.tasks(&set).unwrap(), reason);
}

#[test]
fn configurations_are_json() {
    let json = r#"{"ways": {"start": 2, "end": 4}, "seed": 9}"#;
    let config: UnevenConfig = serde_json::from_str(json).unwrap();
    assert_eq!((config.ways, config.shots, config.seed), (2..=4, 1..=10, 9));
    assert!(serde_json::from_str::<UnevenConfig>(r#"{"way": 3}"#).is_err());
    assert!(serde_json::from_str::<SineConfig>(r#"{"support": 5}"#).is_ok());
}
