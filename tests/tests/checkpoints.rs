//! Folders of checkpoints: what is kept, what is found, and what a broken file costs.

use std::fs;
use std::path::Path;

use forgeling::ErrorKind;
use forgeling::train::weights::NamedTensor;
use forgeling::train::{Checkpoint, CheckpointConfig, CheckpointStore, Goal};
use proptest::prelude::*;
use serde_json::{Value, json};

fn sample(step: u64, metric: Option<f64>) -> Checkpoint {
    let mut checkpoint = Checkpoint::new(step);
    checkpoint.metric = metric;
    checkpoint.set_section("epoch", &(step / 10)).unwrap();
    let values = (0..6).map(|i| step as f32 + i as f32 / 3.0).collect();
    let tensor = NamedTensor {
        name: "layers.0.weight".into(),
        shape: vec![2, 3],
        values,
    };
    checkpoint.tensors.insert("model".into(), vec![tensor]);
    checkpoint
}

fn open(folder: &Path, keep_last: usize, keep_best: Option<Goal>) -> CheckpointStore {
    let config = CheckpointConfig {
        keep_last,
        keep_best,
    };
    CheckpointStore::open(folder, config).unwrap()
}

fn files(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn name(step: u64) -> String {
    format!("checkpoint-{step:012}.safetensors")
}

#[test]
fn the_last_and_the_best_stay() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("runs/one");
    let mut store = open(&folder, 2, Some(Goal::Maximize));
    let empty = store.latest().unwrap();
    assert!(empty.checkpoint.is_none() && empty.damaged.is_empty());
    let metrics = [Some(0.5), Some(0.9), None, Some(0.7), Some(0.8)];
    for (step, metric) in (10..).step_by(10).zip(metrics) {
        let saved = store.save(&sample(step, metric)).unwrap();
        assert!(saved.path.is_file() && saved.problems.is_empty());
        assert_eq!(
            store.latest().unwrap().checkpoint.unwrap(),
            sample(step, metric)
        );
    }
    assert_eq!(files(&folder), [name(20), name(40), name(50)]);
    assert!(store.steps().eq([20, 40, 50]));
    assert_eq!(
        store.best().unwrap().checkpoint.unwrap(),
        sample(20, Some(0.9))
    );

    // Another store of the folder knows the same, and a better one takes the place of the best.
    let mut store = open(&folder, 2, Some(Goal::Maximize));
    let saved = store.save(&sample(60, Some(0.9))).unwrap();
    assert_eq!(
        saved.removed,
        [folder.join(name(20)), folder.join(name(40))]
    );
    assert_eq!(store.best().unwrap().checkpoint.unwrap().step, 60);
    // A run that goes on from an old one keeps what it writes.
    store.save(&sample(5, None)).unwrap();
    assert_eq!(files(&folder), [name(5), name(50), name(60)]);
    assert!(open(&folder, 2, None).best().unwrap_err().is_bad_input());
    let none = CheckpointConfig {
        keep_last: 0,
        keep_best: None,
    };
    assert!(
        CheckpointStore::open(&folder, none)
            .unwrap_err()
            .is_bad_input()
    );
}

#[test]
fn a_cut_at_any_byte_and_any_flipped_bit_cost_one_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut store = open(folder, 3, Some(Goal::Minimize));
    store.save(&sample(1, Some(0.3))).unwrap();
    let newest = store.save(&sample(2, Some(0.2))).unwrap().path;
    let bytes = fs::read(&newest).unwrap();
    let check = |what: &str| {
        for found in [store.latest().unwrap(), store.best().unwrap()] {
            assert_eq!(found.checkpoint, Some(sample(1, Some(0.3))), "{what}");
            assert_eq!(found.damaged.len(), 1, "{what}");
            let damaged = &found.damaged[0];
            assert!(damaged.path == newest && damaged.error.file() == Some(&*newest));
            assert_eq!(damaged.error.kind(), ErrorKind::BadData, "{what}");
        }
    };
    for length in 0..bytes.len() {
        fs::write(&newest, &bytes[..length]).unwrap();
        check(&format!("cut at {length}"));
    }
    for place in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[place] ^= 1 << (place % 8);
        fs::write(&newest, &changed).unwrap();
        check(&format!("byte {place}"));
    }
    fs::write(&newest, vec![0; bytes.len()]).unwrap();
    check("zeros, as after a crash of some file systems");
    fs::write(&newest, &bytes).unwrap();
    assert_eq!(store.latest().unwrap().checkpoint.unwrap().step, 2);
}

#[test]
fn damaged_files_count_for_nothing_and_are_replaced_but_not_removed() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut store = open(folder, 2, None);
    for step in [1, 2] {
        store.save(&sample(step, None)).unwrap();
    }
    fs::write(folder.join(name(7)), b"not a checkpoint").unwrap();
    fs::copy(folder.join(name(2)), folder.join(name(9))).unwrap();
    let mut store = open(folder, 2, None);
    assert!(store.steps().eq([1, 2]));
    let found = store.latest().unwrap();
    assert_eq!(found.checkpoint.unwrap().step, 2);
    let words: Vec<String> = found.damaged.iter().map(|d| d.error.to_string()).collect();
    assert!(
        words.len() == 2 && words[0].contains("another step"),
        "{words:?}"
    );
    store.save(&sample(3, None)).unwrap();
    assert_eq!(files(folder), [name(2), name(3), name(7), name(9)]);
    store.save(&sample(7, None)).unwrap();
    assert_eq!(files(folder), [name(3), name(7), name(9)]);
    assert_eq!(store.latest().unwrap().checkpoint.unwrap().step, 7);
}

#[test]
fn half_written_files_are_removed_and_others_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut store = open(folder, 1, None);
    store.save(&sample(1, None)).unwrap();
    let partial = format!("{}.4711-0.partial", name(2));
    let others = ["notes.txt", "checkpoint-3.safetensors", "other.partial"];
    for file in others.into_iter().chain([&*partial]) {
        fs::write(folder.join(file), b"?").unwrap();
    }
    let mut store = open(folder, 1, None);
    store.save(&sample(2, None)).unwrap();
    let mut expected: Vec<String> = others.map(String::from).to_vec();
    expected.push(name(2));
    expected.sort();
    assert_eq!(files(folder), expected);
}

#[test]
fn what_cannot_be_saved_leaves_all_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut store = open(folder, 1, None);
    store.save(&sample(1, None)).unwrap();
    let mut diverged = sample(2, None);
    diverged.tensors.get_mut("model").unwrap()[0].values[0] = f32::NAN;
    assert!(store.save(&diverged).unwrap_err().is_bad_input());
    // A folder in the place of the file.
    fs::create_dir_all(folder.join(name(3)).join("inside")).unwrap();
    assert_eq!(
        store.save(&sample(3, None)).unwrap_err().kind(),
        ErrorKind::Io
    );
    assert_eq!(files(folder), [name(1), name(3)]);
    let found = store.latest().unwrap();
    assert_eq!(
        (found.checkpoint.unwrap().step, found.damaged.len()),
        (1, 1)
    );
    let file = folder.join("file");
    fs::write(&file, b"?").unwrap();
    let error = CheckpointStore::open(&file, CheckpointConfig::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
}

#[test]
fn all_are_set_aside_where_they_can_be_opened() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut store = open(folder, 2, None);
    assert_eq!(store.set_aside().unwrap(), None);
    assert!(files(folder).is_empty());
    for (number, step) in [(1, 5), (2, 3)] {
        store.save(&sample(step, None)).unwrap();
        fs::write(folder.join(name(9)), b"damaged").unwrap();
        fs::write(folder.join("notes.txt"), b"?").unwrap();
        let aside = store.set_aside().unwrap().unwrap();
        assert_eq!(aside, folder.join(format!("old-{number}")));
        assert_eq!(files(&aside), [name(step), name(9)]);
        assert_eq!(store.steps().count(), 0);
        assert!(store.latest().unwrap().damaged.is_empty());
        let found = open(&aside, 2, None).latest().unwrap();
        assert_eq!(found.checkpoint.unwrap(), sample(step, None));
    }
    assert_eq!(files(folder), ["notes.txt", "old-1", "old-2"]);
}

#[test]
fn those_of_a_run_that_is_over_are_removed_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut store = open(folder, 3, None);
    store.clear().unwrap();
    store.save(&sample(1, None)).unwrap();
    store.save(&sample(2, None)).unwrap();
    fs::write(folder.join(name(9)), b"damaged").unwrap();
    fs::write(folder.join("notes.txt"), b"?").unwrap();
    store.clear().unwrap();
    assert_eq!(files(folder), ["notes.txt"]);
    assert_eq!(store.steps().count(), 0);
    store.save(&sample(1, None)).unwrap();
    assert_eq!(store.latest().unwrap().checkpoint, Some(sample(1, None)));
}

fn finite() -> impl Strategy<Value = f32> {
    any::<u32>().prop_map(|bits| {
        let value = f32::from_bits(bits);
        if value.is_finite() {
            value
        } else {
            f32::from_bits(bits & 0x807f_ffff)
        }
    })
}

proptest! {
    #[test]
    fn any_checkpoint_comes_back(
        step: u64,
        metric in proptest::option::of(-1e300f64..1e300),
        numbers in proptest::collection::vec(-1e300f64..1e300, 0..4),
        text: String,
        tensors in proptest::collection::btree_map(
            "[a-z/. é\"]{0,9}", proptest::collection::vec(finite(), 0..20), 0..5
        ),
    ) {
        let mut checkpoint = Checkpoint::new(step);
        checkpoint.metric = metric;
        checkpoint.sections.insert(text.clone(), json!({ "numbers": numbers, "text": text }));
        let tensor = |(name, values): (String, Vec<f32>)| NamedTensor {
            name,
            shape: vec![1, values.len()],
            values,
        };
        checkpoint.tensors.insert("model".into(), tensors.into_iter().map(tensor).collect());
        let back = Checkpoint::decode(&checkpoint.encode().unwrap()).unwrap();
        prop_assert_eq!(&back, &checkpoint);
        let bits = |checkpoint: &Checkpoint| -> Vec<u32> {
            let tensors = checkpoint.tensors["model"].iter();
            tensors.flat_map(|tensor| tensor.values.iter().map(|v| v.to_bits())).collect()
        };
        prop_assert_eq!(bits(&back), bits(&checkpoint));
        prop_assert!(matches!(&back.sections[&text], Value::Object(_)));
    }

    #[test]
    fn garbage_never_panics(bytes: Vec<u8>) {
        prop_assert!(Checkpoint::decode(&bytes).is_err());
    }
}
