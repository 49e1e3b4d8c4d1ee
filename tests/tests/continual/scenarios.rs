//! What is learned after what.

use std::collections::BTreeSet;

use forgeling::continual::{InOrder, Kind, Scenario, Setting};
use forgeling::data::{Dataset, ImageSet, ImageShape, Split};
use forgeling::train::Source;

use super::common::{config, epoch, numbered, numbers, scenario};

const LENS: [usize; 10] = [4, 5, 6, 7, 8, 4, 5, 6, 7, 8];

fn split(sizes: &[usize]) -> Kind {
    Kind::Split {
        sizes: sizes.to_vec(),
    }
}

fn all(scenario: &Scenario, half: Split, context: usize) -> Vec<(usize, usize)> {
    let mut source = InOrder::new(scenario, half, context, 4).unwrap();
    let batches = epoch(&mut source);
    batches
        .iter()
        .flat_map(|batch| numbers(&batch.images))
        .collect()
}

#[test]
fn every_example_is_in_exactly_one_context() {
    for sizes in [&[2, 2, 2, 2, 2][..], &[1, 5, 4], &[10]] {
        let scenario = scenario(&LENS, config(split(sizes), Setting::Class, Some(3))).unwrap();
        for (half, lens) in [(Split::Train, LENS), (Split::Test, [3; 10])] {
            let examples: Vec<_> = (0..scenario.len())
                .flat_map(|context| all(&scenario, half, context))
                .collect();
            let different: BTreeSet<_> = examples.iter().copied().collect();
            let count: usize = lens.iter().sum();
            assert_eq!((examples.len(), different.len()), (count, count));
        }
    }
}

#[test]
fn the_order_of_classes_follows_from_its_own_seed_on_every_platform() {
    let order = |seed| {
        let scenario = scenario(&LENS, config(split(&[4, 6]), Setting::Class, seed)).unwrap();
        [scenario.classes(0).unwrap(), scenario.classes(1).unwrap()].concat()
    };
    // By another implementation of the generator, in Python.
    assert_eq!(order(Some(1)), [3, 1, 8, 2, 7, 9, 0, 4, 6, 5]);
    assert_eq!(order(Some(2)), [5, 9, 4, 1, 6, 8, 0, 3, 7, 2]);
    assert_eq!(order(None), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
}

#[test]
fn labels_are_those_of_the_setting() {
    let permuted = Kind::Permuted {
        contexts: 3,
        padding: 0,
        seed: 0,
    };
    for (kind, setting, labels, outputs) in [
        (split(&[3, 2]), Setting::Task, vec![0..3, 3..5], 5),
        (split(&[3, 2]), Setting::Class, vec![0..3, 3..5], 5),
        (split(&[3, 2]), Setting::Free, vec![0..3, 3..5], 5),
        (split(&[3, 2]), Setting::Domain, vec![0..3, 0..2], 3),
        (
            permuted.clone(),
            Setting::Task,
            vec![0..10, 10..20, 20..30],
            30,
        ),
        (permuted.clone(), Setting::Domain, vec![0..10; 3], 10),
        (permuted, Setting::Free, vec![0..10; 3], 10),
    ] {
        let scenario = scenario(&LENS, config(kind, setting, Some(1))).unwrap();
        let found: Vec<_> = (0..scenario.len())
            .map(|context| scenario.labels(context).unwrap())
            .collect();
        assert_eq!((&found, scenario.outputs()), (&labels, outputs));
        for (context, labels) in labels.iter().enumerate() {
            let mut source = InOrder::new(&scenario, Split::Test, context, 100).unwrap();
            let batches = epoch(&mut source);
            let classes = scenario.classes(context).unwrap();
            let given = &batches[0].images;
            let wanted: Vec<usize> = labels.clone().flat_map(|label| [label; 3]).collect();
            assert_eq!(given.labels, wanted);
            if scenario.len() == 2 {
                for ((class, _), label) in numbers(given).iter().zip(&given.labels) {
                    assert_eq!(*class, classes[label - labels.start]);
                }
            }
            // When tested, only the task-incremental setting tells which one it is.
            let told = setting == Setting::Task;
            let contexts = if told {
                vec![context; wanted.len()]
            } else {
                Vec::new()
            };
            assert_eq!(batches[0].contexts, contexts);
            assert_eq!(source.provides().task_ids, told);
        }
    }
}

#[test]
fn permuted_contexts_have_an_order_each_that_is_the_same_everywhere() {
    let image: Vec<u8> = (0..4).collect();
    let set = || {
        let mut set = ImageSet::new(ImageShape::new(1, 2, 2)).unwrap();
        let class = set.add_class("only", None).unwrap();
        set.push(class, &image).unwrap();
        set
    };
    let kind = Kind::Permuted {
        contexts: 2,
        padding: 1,
        seed: 3,
    };
    let scenario = Scenario::new(set(), set(), config(kind, Setting::Domain, None)).unwrap();
    assert_eq!(scenario.image_shape(), ImageShape::new(1, 4, 4));
    let read = |half, context| {
        let mut out = vec![0.0; 16];
        let context = scenario.context(half, context).unwrap();
        context.read(0, 0, &mut out).unwrap();
        out.into_iter()
            .map(|value| value * 255.0)
            .collect::<Vec<f32>>()
    };
    // By another implementation of the generator, in Python: where each pixel of the second context comes from.
    let places = [1, 11, 0, 15, 7, 9, 10, 5, 2, 6, 13, 14, 8, 12, 3, 4];
    let mut padded = [0.0; 16];
    (padded[6], padded[9], padded[10]) = (1.0, 2.0, 3.0);
    let wanted: Vec<f32> = places.iter().map(|place| padded[*place]).collect();
    assert_eq!(read(Split::Train, 1), wanted);
    assert_eq!(read(Split::Test, 1), wanted);
    assert_ne!(read(Split::Train, 0), wanted);
}

#[test]
fn rotated_contexts_turn_the_images() {
    let kind = Kind::Rotated {
        degrees: vec![0.0, 90.0],
    };
    let scenario = scenario(&[2], config(kind, Setting::Domain, None)).unwrap();
    let read = |context| {
        let mut out = vec![0.0; 4];
        let context = scenario.context(Split::Train, context).unwrap();
        context.read(0, 1, &mut out).unwrap();
        out.into_iter()
            .map(|value| (value * 255.0).round() as u8)
            .collect::<Vec<_>>()
    };
    assert_eq!(read(0), [0, 1, 200, 255]);
    assert_eq!(read(1), [1, 255, 0, 200]);
}

#[test]
fn what_makes_no_scenario_is_refused() {
    let refuse = |lens: &[usize], kind: Kind, setting: Setting, words: &str| {
        let error = scenario(lens, config(kind, setting, None)).unwrap_err();
        assert!(
            error.is_bad_input() && error.to_string().contains(words),
            "{error}"
        );
    };
    let class = Setting::Class;
    refuse(&[1; 4], split(&[]), class, "no contexts");
    refuse(
        &[1; 4],
        split(&[2, 0, 1]),
        class,
        "context 1 has no classes",
    );
    refuse(&[1; 4], split(&[2, 3]), class, "more than are left");
    refuse(
        &[1; 4],
        split(&[2, usize::MAX]),
        class,
        "more than are left",
    );
    refuse(&[1, 0, 1], split(&[1, 2]), class, "class 1 has no examples");
    let permuted = |contexts, padding| Kind::Permuted {
        contexts,
        padding,
        seed: 0,
    };
    refuse(&[1], permuted(0, 0), class, "no contexts");
    refuse(&[1], permuted(usize::MAX, 0), class, "too many");
    refuse(&[1], permuted(1, usize::MAX), class, "padding");
    refuse(&[], permuted(1, 0), class, "no class");
    let rotated = |degrees| Kind::Rotated { degrees };
    refuse(&[1], rotated(vec![f32::NAN]), class, "angle");
    refuse(&[1], rotated(Vec::new()), class, "no contexts");
    let blurred = |overlap| Kind::Blurred {
        sizes: vec![1, 1],
        overlap,
    };
    refuse(&[1; 2], blurred(0.5), class, "no boundaries");
    refuse(&[1; 2], blurred(f64::NAN), Setting::Free, "overlap");
    refuse(&[1; 2], blurred(-0.1), Setting::Free, "overlap");
    let both = |train: &[usize], test: &[usize], words: &str| {
        let config = config(split(&[1]), class, None);
        let error = Scenario::new(numbered(train), numbered(test), config).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    };
    both(&[1, 1], &[1], "as many classes");
    both(&[1, 1], &[0, 1], "class 0 has no examples");
    let mut other = ImageSet::new(ImageShape::new(1, 2, 3)).unwrap();
    other.add_class("one", None).unwrap();
    let error = Scenario::new(numbered(&[1]), other, config(split(&[1]), class, None));
    assert!(error.unwrap_err().to_string().contains("not alike"));
    assert!(Kind::split_evenly(10, 3).unwrap_err().is_bad_input());
    assert!(Kind::split_evenly(10, 0).unwrap_err().is_bad_input());
    assert_eq!(Kind::split_evenly(10, 5).unwrap(), split(&[2; 5]));
    let scenario = scenario(&[1; 4], config(split(&[2, 2]), class, None)).unwrap();
    assert!(
        scenario
            .context(Split::Train, 2)
            .unwrap_err()
            .is_bad_input()
    );
    assert!(scenario.labels(2).is_err() && scenario.classes(usize::MAX).is_err());
    assert!(InOrder::new(&scenario, Split::Test, usize::MAX, 1).is_err());
}

#[test]
fn chance_is_the_share_of_the_largest_class() {
    let scenario = scenario(&LENS, config(split(&[2, 8]), Setting::Class, None)).unwrap();
    let chance = |half| scenario.context(half, 0).unwrap().chance();
    assert_eq!(
        (chance(Split::Train), chance(Split::Test)),
        (5.0 / 9.0, 0.5)
    );
}
