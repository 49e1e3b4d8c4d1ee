//! A scenario as batches.

use std::collections::BTreeMap;

use forgeling::continual::{
    ContinualBatch, InOrder, Kind, Pace, Setting, Shows, Stream, StreamConfig,
};
use forgeling::data::{Dataset, Split};
use forgeling::train::parts::Needs;
use forgeling::train::{Batch, Source};
use pollster::block_on;

use super::common::{config, epoch, numbers, scenario};

const LENS: [usize; 6] = [5, 9, 4, 7, 8, 6];

fn sizes(sizes: &[usize]) -> Kind {
    let sizes = sizes.to_vec();
    Kind::Split { sizes }
}

fn stream(kind: Kind, setting: Setting, order: u64, shows: Shows, pace: Pace, seed: u64) -> Stream {
    let scenario = scenario(&LENS, config(kind, setting, Some(order))).unwrap();
    Stream::new(scenario, StreamConfig { shows, pace, seed }).unwrap()
}

fn epochs(epochs: usize, batch_size: usize) -> Pace {
    Pace::Epochs { epochs, batch_size }
}

fn iterations(iterations: usize, batch_size: usize) -> Pace {
    Pace::Iterations {
        iterations,
        batch_size,
    }
}

fn images(batches: &[ContinualBatch]) -> Vec<(usize, usize)> {
    let images = batches.iter().flat_map(|batch| numbers(&batch.images));
    images.collect()
}

#[test]
fn in_epochs_every_example_of_a_context_comes_once_an_epoch() {
    let kind = sizes(&[2, 1, 3]);
    let mut stream = stream(kind, Setting::Class, 1, Shows::Each, epochs(2, 4), 0);
    assert_eq!(stream.epochs(), 6);
    let mut batches = 0;
    for context in 0..3 {
        let classes = stream.scenario().classes(context).unwrap().to_vec();
        let passes = [epoch(&mut stream), epoch(&mut stream)];
        for pass in &passes {
            let mut examples = images(pass);
            examples.sort_unstable();
            let mut wanted: Vec<_> = classes
                .iter()
                .flat_map(|&c| (0..LENS[c]).map(move |e| (c, e)))
                .collect();
            wanted.sort_unstable();
            assert_eq!(examples, wanted);
            for batch in pass {
                assert_eq!(batch.contexts, vec![context; batch.len()]);
            }
            batches += pass.len();
        }
        assert_ne!(images(&passes[0]), images(&passes[1]), "each in its order");
        assert_eq!(
            (stream.ends()[context], stream.task()),
            (batches, Some(context))
        );
    }
    let over = block_on(stream.next()).unwrap_err();
    assert!(over.to_string().contains("its end"), "{over}");
}

#[test]
fn iterations_go_on_with_examples_shuffled_anew() {
    let kind = sizes(&[3, 3]);
    let mut stream = stream(kind, Setting::Domain, 2, Shows::Each, iterations(20, 8), 5);
    assert_eq!((stream.epochs(), stream.ends()), (2, vec![20, 40]));
    for context in 0..2 {
        let batches = epoch(&mut stream);
        assert_eq!(batches.len(), 20);
        assert_eq!(stream.task(), Some(context));
        let per_pass = stream.scenario().context(Split::Train, context).unwrap();
        let count: usize = (0..3).map(|class| per_pass.class_len(class)).sum();
        let mut counts: BTreeMap<_, usize> = BTreeMap::new();
        for pass in batches.chunks(count / 8) {
            let mut examples = images(pass);
            examples.sort_unstable();
            let drawn = examples.len();
            examples.dedup();
            assert_eq!(examples.len(), drawn, "none twice in a pass");
            examples
                .iter()
                .for_each(|one| *counts.entry(*one).or_default() += 1);
        }
        assert_eq!(counts.len(), count, "all in the end");
        assert!(batches.iter().all(|batch| batch.len() == 8));
        assert!(
            batches
                .iter()
                .all(|batch| batch.images.labels.iter().all(|&label| label < 3))
        );
    }
    // A context with fewer examples than a batch.
    let mut small = self::stream(
        sizes(&[1; 6]),
        Setting::Class,
        0,
        Shows::Each,
        iterations(3, 100),
        0,
    );
    let batches = epoch(&mut small);
    assert!(batches.len() == 3 && batches.iter().all(|batch| batch.len() < 10));
}

#[test]
fn the_first_order_is_the_same_everywhere() {
    let lens = [8];
    let scenario = scenario(&lens, config(sizes(&[1]), Setting::Class, None)).unwrap();
    let (shows, pace) = (Shows::Each, epochs(1, 3));
    let mut stream = Stream::new(
        scenario,
        StreamConfig {
            shows,
            pace,
            seed: 5,
        },
    )
    .unwrap();
    let order: Vec<usize> = images(&epoch(&mut stream))
        .iter()
        .map(|(_, e)| *e)
        .collect();
    // By another implementation of the generator, in Python.
    assert_eq!(order, [5, 0, 3, 4, 1, 6, 2, 7]);
}

#[test]
fn orders_of_classes_and_of_examples_have_seeds_of_their_own() {
    let make = |order, seed| {
        let (kind, pace) = (sizes(&[3, 3]), epochs(1, 4));
        let mut stream = stream(kind, Setting::Class, order, Shows::Each, pace, seed);
        let classes = stream.scenario().classes(0).unwrap().to_vec();
        (classes, images(&epoch(&mut stream)))
    };
    let (one, other) = (make(1, 1), make(1, 2));
    assert_eq!(one.0, other.0);
    assert_ne!(one.1, other.1);
    assert_eq!(one, make(1, 1));
    // With other classes, the examples have the same numbers in the same places where the contexts are as long.
    let (kind, pace) = (|| sizes(&[6]), epochs(1, 64));
    let place = |order| {
        let stream = &mut stream(kind(), Setting::Class, order, Shows::Each, pace, 3);
        let first = epoch(stream).remove(0).images;
        let classes = stream.scenario().classes(0).unwrap().to_vec();
        let starts: Vec<usize> = classes
            .iter()
            .scan(0, |sum, &class| {
                *sum += LENS[class];
                Some(*sum - LENS[class])
            })
            .collect();
        let examples = numbers(&first).into_iter().zip(first.labels);
        examples
            .map(|((_, example), label)| starts[label] + example)
            .collect::<Vec<_>>()
    };
    assert_eq!(place(1), place(2));
}

#[test]
fn what_a_setting_does_not_tell_is_not_in_the_stream() {
    let needs = |task_boundaries, task_ids| Needs {
        task_boundaries,
        task_ids,
        replayed: 0,
    };
    for (setting, shows, provides, epochs_in_all) in [
        (Setting::Task, Shows::Each, needs(true, true), 3),
        (Setting::Domain, Shows::SoFar, needs(true, false), 3),
        (Setting::Class, Shows::Each, needs(true, false), 3),
        (Setting::Free, Shows::Each, needs(false, false), 1),
        (Setting::Task, Shows::All, needs(false, true), 1),
        (Setting::Class, Shows::All, needs(false, false), 1),
    ] {
        let mut stream = stream(sizes(&[2, 2, 2]), setting, 1, shows, epochs(1, 5), 0);
        assert_eq!(
            (stream.provides(), stream.epochs()),
            (provides, epochs_in_all)
        );
        let told = provides.task_boundaries || provides.task_ids;
        let mut examples = 0;
        for epoch_number in 0..epochs_in_all {
            for batch in epoch(&mut stream) {
                assert_eq!(batch.contexts.is_empty(), !told);
                examples += batch.len();
            }
            let task = provides.task_boundaries.then_some(epoch_number);
            assert_eq!(stream.task(), task);
        }
        let all: usize = LENS.iter().sum();
        assert!(examples >= all);
        assert_eq!(shows == Shows::SoFar, examples > all);
    }
}

#[test]
fn earlier_contexts_come_with_the_later_ones_where_asked_for() {
    let kind = sizes(&[2, 2, 2]);
    let mut stream = stream(kind, Setting::Class, 1, Shows::SoFar, epochs(1, 7), 0);
    let mut so_far = 0;
    for context in 0..3 {
        let classes = stream.scenario().classes(context).unwrap();
        so_far += classes.iter().map(|&class| LENS[class]).sum::<usize>();
        let batches = epoch(&mut stream);
        let mut contexts: Vec<usize> = batches.iter().flat_map(|b| b.contexts.clone()).collect();
        assert_eq!(contexts.len(), so_far);
        contexts.sort_unstable();
        contexts.dedup();
        assert_eq!(contexts, (0..=context).collect::<Vec<_>>());
    }
}

#[test]
fn blurred_contexts_run_into_each_other_and_every_example_comes_once() {
    let blurred = |overlap| Kind::Blurred {
        sizes: vec![2, 2, 2],
        overlap,
    };
    let labels = |overlap| {
        let pace = epochs(1, 4);
        let mut stream = stream(blurred(overlap), Setting::Free, 1, Shows::Each, pace, 0);
        let batches = epoch(&mut stream);
        let mut examples = images(&batches);
        examples.sort_unstable();
        examples.dedup();
        assert_eq!(examples.len(), LENS.iter().sum::<usize>());
        let labels = batches.into_iter().flat_map(|batch| batch.images.labels);
        labels.map(|label| label / 2).collect::<Vec<usize>>()
    };
    assert!(labels(0.0).is_sorted(), "no overlap");
    let some = labels(0.4);
    assert!(!some.is_sorted());
    // None comes by more than a whole context too early: the third does not run into the first.
    let first_of_last = some.iter().position(|context| *context == 2);
    let last_of_first = some.iter().rposition(|context| *context == 0);
    assert!(first_of_last > last_of_first);
}

#[test]
fn a_stream_goes_on_in_the_middle_of_a_context() {
    let blurred = || Kind::Blurred {
        sizes: vec![3, 3],
        overlap: 0.7,
    };
    for (kind, setting, shows, pace) in [
        (
            sizes(&[2, 4]),
            Setting::Class,
            Shows::Each,
            iterations(9, 4),
        ),
        (sizes(&[2, 4]), Setting::Task, Shows::Each, epochs(2, 4)),
        (sizes(&[2, 4]), Setting::Free, Shows::Each, epochs(2, 4)),
        (sizes(&[2, 4]), Setting::Domain, Shows::SoFar, epochs(2, 4)),
        (sizes(&[2, 4]), Setting::Task, Shows::All, iterations(9, 4)),
        (blurred(), Setting::Free, Shows::Each, epochs(1, 4)),
    ] {
        let make = || stream(kind.clone(), setting, 1, shows, pace, 7);
        let mut whole = make();
        let calls = whole.ends().last().unwrap() + whole.epochs();
        let all: Vec<_> = (0..calls)
            .map(|_| {
                let batch = block_on(whole.next()).unwrap();
                (batch, whole.task(), whole.state().to_string())
            })
            .collect();
        assert!(block_on(whole.next()).is_err(), "{pace:?}");
        for cut in 0..calls {
            let mut other = make();
            if cut > 0 {
                let state = serde_json::from_str(&all[cut - 1].2).unwrap();
                other.resume(&state).unwrap();
                assert_eq!(other.task(), all[cut - 1].1);
            }
            for wanted in &all[cut..] {
                assert_eq!(block_on(other.next()).unwrap(), wanted.0, "from {cut}");
                assert_eq!(other.task(), wanted.1);
            }
        }
    }
}

#[test]
fn states_of_other_streams_are_refused() {
    let make = |order, seed, size| {
        let kind = sizes(&[3, 3]);
        stream(
            kind,
            Setting::Class,
            order,
            Shows::Each,
            epochs(1, size),
            seed,
        )
    };
    let mut stream = make(1, 1, 4);
    epoch(&mut stream);
    let before = stream.state();
    for other in [make(2, 1, 4), make(1, 2, 4), make(1, 1, 5)] {
        assert!(stream.resume(&other.state()).unwrap_err().is_bad_input());
    }
    let mut damaged = before.clone();
    damaged["place"]["batch"] = 1000.into();
    assert!(
        stream
            .resume(&damaged)
            .unwrap_err()
            .to_string()
            .contains("end")
    );
    damaged = before.clone();
    damaged["examples"] = vec![1].into();
    assert!(
        stream
            .resume(&damaged)
            .unwrap_err()
            .to_string()
            .contains("data set")
    );
    assert!(stream.resume(&3.into()).unwrap_err().is_bad_input());
    assert_eq!(stream.state(), before);
    let mut test = InOrder::new(stream.scenario(), Split::Test, 0, 2).unwrap();
    assert!(test.resume(&1000.into()).is_err() && test.resume(&"no".into()).is_err());
    assert!(test.resume(&4.into()).is_ok());
    assert_eq!(epoch(&mut test).len(), 3);
    assert_eq!(epoch(&mut test).len(), 5);
}

#[test]
fn what_makes_no_stream_is_refused() {
    let blurred = Kind::Blurred {
        sizes: vec![3, 3],
        overlap: 0.5,
    };
    let split = sizes(&[3, 3]);
    for (kind, setting, shows, pace, words) in [
        (
            &split,
            Setting::Class,
            Shows::Each,
            epochs(0, 1),
            "no batch",
        ),
        (
            &split,
            Setting::Class,
            Shows::Each,
            iterations(1, 0),
            "no example",
        ),
        (&split, Setting::Free, Shows::SoFar, epochs(1, 1), "added"),
        (
            &blurred,
            Setting::Free,
            Shows::Each,
            epochs(2, 1),
            "come once",
        ),
        (
            &blurred,
            Setting::Free,
            Shows::Each,
            iterations(1, 1),
            "come once",
        ),
    ] {
        let scenario = scenario(&LENS, config(kind.clone(), setting, None)).unwrap();
        let config = StreamConfig {
            shows,
            pace,
            seed: 0,
        };
        let error = Stream::new(scenario, config).unwrap_err();
        assert!(
            error.is_bad_input() && error.to_string().contains(words),
            "{error}"
        );
    }
}
