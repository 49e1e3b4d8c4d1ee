//! Networks tell invented gestures apart by rows of a sensor.

use std::f64::consts::TAU;
use std::ops::ControlFlow;

use forgeling::data::{ImageSet, ImageShape, Queries, Rng, Shots, Ways};
use forgeling::meta::{EvaluateConfig, FitConfig, Learner};
use forgeling::nn::zoo::SequenceConfig;

use crate::{cpu, trained};

const STEPS: usize = 64;
const SHAPE: ImageShape = ImageShape::new(3, 1, STEPS);

/// What a hand with a sensor of three axes does.
#[derive(Debug, Clone, Copy)]
enum Gesture {
    /// Turns from the axis to the next, or the other way round.
    Circle { axis: usize, left: bool },
    /// There and back along an axis.
    Shake { axis: usize },
    /// Once from one side of an axis to the other.
    Tilt { axis: usize },
}

fn gestures() -> Vec<Gesture> {
    (0..3)
        .flat_map(|axis| {
            [
                Gesture::Circle { axis, left: false },
                Gesture::Circle { axis, left: true },
                Gesture::Shake { axis },
                Gesture::Tilt { axis },
            ]
        })
        .collect()
}

/// One of random tempo, size, begin and noise: axis after axis, with values within 0 and 1.
fn rows(gesture: Gesture, rng: &mut Rng) -> Vec<f32> {
    let size = f64::from(rng.range(0.15, 0.35));
    let turns = f64::from(rng.range(1.5, 3.5));
    let begin = f64::from(rng.range(0.0, 1.0));
    let middle = f64::from(rng.range(0.3, 0.7));
    let side = if rng.below(2) == 0 { 1.0 } else { -1.0 };
    let rest = [(); 3].map(|()| f64::from(rng.range(0.4, 0.6)));
    let mut values = Vec::with_capacity(3 * STEPS);
    for (own, rest) in rest.iter().enumerate() {
        for step in 0..STEPS {
            let part = step as f64 / STEPS as f64;
            let angle = TAU * (turns * part + begin);
            let moved = match gesture {
                Gesture::Circle { axis, .. } if own == axis => angle.cos(),
                Gesture::Circle { axis, left } if own == (axis + 1) % 3 => {
                    if left {
                        angle.sin()
                    } else {
                        -angle.sin()
                    }
                }
                Gesture::Shake { axis } if own == axis => (2.0 * angle).sin(),
                Gesture::Tilt { axis } if own == axis => side * (8.0 * (part - middle)).tanh(),
                _ => 0.0,
            };
            let noise = 0.03 * f64::from(rng.normal());
            values.push((rest + size * moved + noise).clamp(0.0, 1.0) as f32);
        }
    }
    values
}

/// So many of each gesture.
fn set(gestures: &[Gesture], each: usize, seed: u64) -> ImageSet {
    let (mut names, mut values) = (Vec::new(), Vec::new());
    for (index, &gesture) in gestures.iter().enumerate() {
        let mut rng = Rng::new(seed).fork(index as u64);
        for _ in 0..each {
            names.push(format!("{gesture:?}"));
            values.extend(rows(gesture, &mut rng));
        }
    }
    ImageSet::from_f32(SHAPE, &names, &values).unwrap()
}

#[test]
fn gestures_are_told_apart() {
    let all = gestures();
    let trained = trained("conv1d", 16, 12, set(&all, 30, 1));
    let (accuracy, of_classes) = trained.accuracy(set(&all, 30, 2));
    eprintln!("gestures: {accuracy} {of_classes:?}");
    assert!(accuracy >= 0.95, "{accuracy} {of_classes:?}");
}

/// Four of them are new, one of each kind.
#[test]
fn new_gestures_are_told_apart_by_few_examples() {
    let all = gestures();
    let is_new = |place: &usize| matches!(place, 0 | 3 | 6 | 9);
    let (new, known): (Vec<usize>, Vec<usize>) = (0..all.len()).partition(is_new);
    let [new, known] =
        [new, known].map(|places| places.iter().map(|&place| all[place]).collect::<Vec<_>>());
    let config = SequenceConfig {
        input: SHAPE,
        filters: 16,
        ..Default::default()
    };
    let mut model = Learner::protonet(&config.graph().unwrap(), 0, &cpu()).unwrap();
    let (ways, shots) = (Ways::new(4).unwrap(), Shots::new(5).unwrap());
    let new = set(&new, 40, 4);
    let evaluate = |model: &Learner| {
        let config = EvaluateConfig {
            ways,
            shots,
            episodes: 50,
            ..Default::default()
        };
        let evaluation = model.evaluate(&new, config);
        pollster::block_on(evaluation).unwrap().accuracy
    };
    let before = evaluate(&model);
    let fit = FitConfig {
        ways,
        shots,
        queries: Queries::new(5).unwrap(),
        episodes: Some(150),
        ..Default::default()
    };
    let known = set(&known, 40, 3);
    let fitted = model.fit(&known, fit, |_| ControlFlow::Continue(()));
    pollster::block_on(fitted).unwrap();
    let after = evaluate(&model);
    eprintln!("new gestures: {before} before, {after} after");
    assert!(after >= 0.85, "{before} before, {after} after");
}
