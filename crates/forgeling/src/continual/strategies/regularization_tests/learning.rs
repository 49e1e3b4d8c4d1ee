//! What is left in the end, and whether a run that was stopped goes on as it was.

use super::{Course, Learned, Strategy, pairs, scenario_of};
use crate::continual::testing::InMemory;
use crate::continual::{
    Ewc, EwcConfig, FisherKind, Head, HeadKind, Kind, Lwf, LwfConfig, Mas, MasConfig, PathIntegral,
    Setting, Si, SiConfig,
};

type Made = Option<Box<Strategy>>;

fn ewc(
    course: &Course,
    lambda: f64,
    fisher: FisherKind,
    online: Option<f64>,
) -> impl Fn(Head) -> Made {
    let config = EwcConfig {
        lambda,
        fisher,
        online,
        seed: 1,
    };
    let scenario = course.scenario.clone();
    move |head| Some(Box::new(Ewc::new(config, scenario.clone(), head).unwrap()))
}

fn si(course: &Course, c: f64, path: PathIntegral) -> impl Fn(Head) -> Made {
    let config = SiConfig {
        path,
        ..SiConfig::new(c)
    };
    let scenario = course.scenario.clone();
    move |_| Some(Box::new(Si::new(config, &scenario).unwrap()))
}

fn mas(course: &Course, lambda: f64) -> impl Fn(Head) -> Made {
    let config = MasConfig {
        lambda,
        kind: Default::default(),
        seed: 1,
    };
    let scenario = course.scenario.clone();
    move |head| Some(Box::new(Mas::new(config, scenario.clone(), head).unwrap()))
}

fn lwf(course: &Course, alpha: f64) -> impl Fn(Head) -> Made {
    let config = LwfConfig {
        alpha,
        ..Default::default()
    };
    let scenario = course.scenario.clone();
    move |head| Some(Box::new(Lwf::new(config, scenario.clone(), head).unwrap()))
}

#[test]
fn every_method_keeps_more_of_what_came_first_than_training_alone() {
    let kind = Kind::Permuted {
        contexts: 4,
        padding: 0,
        seed: 3,
    };
    let course = Course {
        scenario: scenario_of(Setting::Domain, kind, 6, 60),
        head: HeadKind::All,
        hidden: 48,
        iterations: 200,
    };
    let alone = course.learn(|_| None).first;
    // Of 6 classes; right after it was learned, 0.8.
    assert!((0.15..0.45).contains(&alone), "{alone}");
    let (exact, sample) = (FisherKind::Exact, FisherKind::Sample);
    let (with, without) = (PathIntegral::WithPenalty, PathIntegral::WithoutPenalty);
    let kept = [
        ("ewc", course.learn(ewc(&course, 100.0, exact, None))),
        (
            "online",
            course.learn(ewc(&course, 100.0, sample, Some(1.0))),
        ),
        ("si", course.learn(si(&course, 10.0, with))),
        ("zenke's", course.learn(si(&course, 10.0, without))),
        ("mas", course.learn(mas(&course, 1.0))),
        ("lwf", course.learn(lwf(&course, 1.5))),
    ];
    for (name, Learned { first, .. }) in kept {
        assert!(first > alone + 0.2, "{name}: {first}, alone {alone}");
    }
    let broken = [
        ("ewc", course.learn(ewc(&course, 0.0, exact, None))),
        ("si", course.learn(si(&course, 0.0, with))),
        ("mas", course.learn(mas(&course, 0.0))),
        ("lwf", course.learn(lwf(&course, 0.0))),
    ];
    for (name, Learned { first, .. }) in broken {
        assert!(first < alone + 0.1, "{name}: {first}, alone {alone}");
    }
}

#[test]
fn a_run_that_was_killed_goes_on_bit_for_bit() {
    let task = (Setting::Task, HeadKind::PerTask);
    let class = (Setting::Class, HeadKind::Growing);
    for (setting, head) in [task, class] {
        let course = Course {
            scenario: pairs(setting, 3, 8),
            head,
            hidden: 8,
            iterations: 6,
        };
        let alone = course.learn(|_| None).weights;
        let methods: [Box<dyn Fn(Head) -> Made>; 5] = [
            Box::new(ewc(&course, 50.0, FisherKind::Exact, None)),
            Box::new(ewc(&course, 50.0, FisherKind::Sample, Some(0.5))),
            Box::new(si(&course, 2.0, PathIntegral::WithoutPenalty)),
            Box::new(mas(&course, 2.0)),
            Box::new(lwf(&course, 1.0)),
        ];
        for method in methods {
            let whole = course.learn(&method).weights;
            assert_ne!(whole, alone);
            for until in [3, 6, 7, 11, 14, 17] {
                let mut checkpoints = InMemory::default();
                course.learn_until(Some(until), &mut checkpoints, &method);
                // What is written when a run is stopped is not there when it is killed.
                checkpoints.0.pop();
                let resumed = course.learn_until(None, &mut checkpoints, &method);
                assert!(resumed.weights == whole, "{setting:?}, step {until}");
            }
        }
    }
}
