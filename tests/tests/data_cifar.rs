//! CIFAR's binary files: both sets, where they are found, and every malformed file as an error that says which and where.

mod data_support;

use std::fs;
use std::path::Path;

use data_support::{put, refused};
use forgeling::data::{Dataset, ImageShape, Limits, Split, cifar};
use tempfile::{TempDir, tempdir};

const PIXELS: usize = 3 * 32 * 32;

/// A record with these labels; pixels tell it and its places apart.
fn record(labels: &[u8], shade: u8) -> Vec<u8> {
    let pixels = (0..PIXELS).map(|place| shade.wrapping_add((place % 251) as u8));
    labels.iter().copied().chain(pixels).collect()
}

fn names(word: &str, count: usize) -> String {
    let lines: Vec<String> = (0..count).map(|label| format!("{word}{label}\n")).collect();
    lines.concat()
}

/// Two images in each training file, of labels 0 and the file's number; three to test with.
fn ten(dir: &Path) {
    for file in 1..=5u8 {
        let records = [record(&[0], file), record(&[file], 10 * file)].concat();
        put(dir, &format!("data_batch_{file}.bin"), records);
    }
    let tests = [record(&[9], 1), record(&[3], 2), record(&[9], 3)];
    put(dir, "test_batch.bin", tests.concat());
    // As it comes: with an empty line at the end.
    put(dir, "batches.meta.txt", names("kind", 10) + "\n");
}

fn hundred(dir: &Path) {
    let records = [
        record(&[19, 7], 1),
        record(&[0, 99], 2),
        record(&[19, 7], 3),
    ];
    put(dir, "train.bin", records.concat());
    put(dir, "test.bin", record(&[4, 0], 4));
    put(dir, "coarse_label_names.txt", names("coarse", 20));
    put(dir, "fine_label_names.txt", names("fine", 100));
}

fn made(make: fn(&Path)) -> TempDir {
    let dir = tempdir().unwrap();
    make(dir.path());
    dir
}

#[test]
fn all_records_of_cifar_10_are_read_in_order() {
    let dir = made(ten);
    let set = cifar::load(dir.path(), Split::Train).unwrap();
    assert_eq!(set.image_shape(), ImageShape::new(3, 32, 32));
    let lens: Vec<usize> = (0..10).map(|class| set.class_len(class)).collect();
    assert_eq!(lens, [5, 1, 1, 1, 1, 1, 0, 0, 0, 0]);
    assert_eq!(set.class_name(6), "kind6");
    for file in 1..=5u8 {
        let first = set.image(0, usize::from(file) - 1);
        assert_eq!(first, Some(&record(&[], file)[..]));
        let second = set.image(usize::from(file), 0);
        assert_eq!(second, Some(&record(&[], 10 * file)[..]));
    }
    let set = cifar::load(dir.path(), Split::Test).unwrap();
    assert_eq!(
        (set.class_len(9), set.class_len(3), set.image_count()),
        (2, 1, 3)
    );
    assert_eq!(set.image(9, 1), Some(&record(&[], 3)[..]));
}

#[test]
fn classes_of_cifar_100_are_the_fine_ones_in_coarse_groups() {
    let dir = made(hundred);
    let set = cifar::load(dir.path(), Split::Train).unwrap();
    assert_eq!((set.class_count(), set.image_count()), (100, 3));
    assert_eq!(
        (set.class_name(7).as_str(), set.class_group(7)),
        ("fine7", Some("coarse19"))
    );
    assert_eq!(
        (set.class_len(7), set.class_group(99)),
        (2, Some("coarse0"))
    );
    assert_eq!(set.image(99, 0), Some(&record(&[], 2)[..]));
    let set = cifar::load(dir.path(), Split::Test).unwrap();
    assert_eq!((set.class_len(0), set.class_group(0)), (1, Some("coarse4")));
}

#[test]
fn sets_are_found_where_they_unpack_and_two_are_not_guessed_between() {
    let dir = tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    refused(cifar::load(dir.path(), Split::Train), path, "no CIFAR");
    let below = dir.path().join("cifar-10-batches-bin");
    fs::create_dir(&below).unwrap();
    ten(&below);
    assert_eq!(
        cifar::load(dir.path(), Split::Test).unwrap().image_count(),
        3
    );
    let other = dir.path().join("cifar-100-binary");
    fs::create_dir(&other).unwrap();
    hundred(&other);
    refused(cifar::load(dir.path(), Split::Test), path, "both");
    assert_eq!(cifar::load(&other, Split::Test).unwrap().image_count(), 1);
    // What is in the folder itself goes before what is below.
    hundred(dir.path());
    assert_eq!(
        cifar::load(dir.path(), Split::Test).unwrap().class_count(),
        100
    );
    refused(
        cifar::load(dir.path().join("train.bin"), Split::Test),
        "train.bin",
        "not a folder",
    );
}

#[test]
fn malformed_files_are_refused_by_name_and_place() {
    let dir = made(ten);
    let train = || cifar::load(dir.path(), Split::Train);
    let third = "data_batch_3.bin";
    let good = [record(&[0], 3), record(&[3], 30)].concat();
    let with = |bytes: &[u8], words: &str| {
        put(dir.path(), third, bytes);
        refused(train(), third, words);
    };
    with(&good[..2 * 3073 - 1], "at byte 3073 is cut off");
    with(&[&good[..], &[0]].concat(), "at byte 6146 is cut off");
    with(&good[..3072], "at byte 0 is cut off");
    with(&[], "empty");
    with(
        &[record(&[0], 0), record(&[10], 0)].concat(),
        "out of range at byte 3073",
    );
    fs::remove_file(dir.path().join(third)).unwrap();
    refused(train(), third, "missing");
    assert!(
        cifar::load(dir.path(), Split::Test).is_ok(),
        "it needs no training file"
    );
    put(dir.path(), third, &good);
    assert!(train().is_ok());

    let limits = Limits {
        entry_bytes: 3073,
        ..Default::default()
    };
    let small = cifar::load_with(dir.path(), Split::Train, &limits);
    refused(small, "data_batch_1.bin", "too large");
    let limits = Limits {
        total_bytes: 5 * 3073,
        ..Default::default()
    };
    let small = cifar::load_with(dir.path(), Split::Train, &limits);
    refused(small, third, "too much data");

    let meta = "batches.meta.txt";
    put(dir.path(), meta, names("kind", 9));
    refused(train(), meta, "10 lines");
    put(dir.path(), meta, [0xff; 20]);
    refused(train(), meta, "UTF-8");
    put(dir.path(), meta, "a\n".repeat(10));
    refused(train(), meta, "class a already");
    fs::remove_file(dir.path().join(meta)).unwrap();
    refused(train(), meta, "missing");
}

#[test]
fn malformed_labels_of_cifar_100_are_refused() {
    let dir = made(hundred);
    let with = |records: &[Vec<u8>], words: &str| {
        put(dir.path(), "train.bin", records.concat());
        refused(cifar::load(dir.path(), Split::Train), "train.bin", words);
    };
    let good = record(&[3, 7], 1);
    with(
        &[good.clone(), record(&[20, 7], 1)],
        "coarse label is out of range at byte 3074",
    );
    with(
        &[good.clone(), record(&[3, 100], 1)],
        "fine label is out of range at byte 3075",
    );
    with(
        &[good.clone(), record(&[4, 7], 1)],
        "another coarse label at byte 3074",
    );
    with(
        &[record(&[7], 1), record(&[7], 1)],
        "at byte 3074 is cut off",
    );
    fs::remove_file(dir.path().join("fine_label_names.txt")).unwrap();
    refused(
        cifar::load(dir.path(), Split::Train),
        "fine_label_names.txt",
        "missing",
    );
}
