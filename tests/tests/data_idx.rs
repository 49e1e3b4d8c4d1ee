//! IDX files: the names that MNIST and its relatives come with, gzip, EMNIST's ways, and every malformed input as an error
//! that names file and reason.

mod data_support;

use std::io::Write;
use std::path::Path;

use data_support::{put, refused};
use flate2::{Compression, write::GzEncoder};
use forgeling::ErrorKind;
use forgeling::data::{Dataset, IdxSplit, ImageShape, Limits, idx};
use tempfile::{TempDir, tempdir};

fn idx_bytes(kind: u8, sides: &[u32], body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, kind];
    sides
        .iter()
        .for_each(|side| bytes.extend(side.to_be_bytes()));
    bytes.extend(body);
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gz = GzEncoder::new(Vec::new(), Compression::best());
    gz.write_all(bytes).unwrap();
    gz.finish().unwrap()
}

/// Three images of 2 × 1 with the labels 7, 3, 7.
fn digits() -> (TempDir, Vec<u8>, Vec<u8>) {
    let images = idx_bytes(3, &[3, 2, 1], &[1, 2, 3, 4, 5, 6]);
    (tempdir().unwrap(), images, idx_bytes(1, &[3], &[7, 3, 7]))
}

#[test]
fn idx_finds_and_reads_both_spellings_plain_and_gzipped() {
    let (dir, images, labels) = digits();
    put(dir.path(), "train-images-idx3-ubyte.gz", gzip(&images));
    put(dir.path(), "train-labels.idx1-ubyte", &labels);
    put(dir.path(), "t10k-images.idx3-ubyte.gz", &images);
    put(dir.path(), "t10k-labels-idx1-ubyte", gzip(&labels));
    for split in [IdxSplit::Train, IdxSplit::Test] {
        let set = idx::load(dir.path(), split).unwrap();
        assert_eq!(set.image_shape(), ImageShape::new(1, 2, 1));
        assert_eq!(
            (set.class_name(0), set.class_name(1)),
            ("3".into(), "7".into())
        );
        assert_eq!((set.class_len(0), set.class_len(1)), (1, 2));
        assert_eq!(set.image(1, 1), Some(&[5, 6][..]));
    }
}

#[test]
fn malformed_idx_files_are_refused() {
    let (dir, images, labels) = digits();
    let free = Limits::default();
    let read = |bytes: &[u8]| idx::read_images(put(dir.path(), "f", bytes), &free);
    let file = dir.path().join("f");
    let file = file.to_str().unwrap();
    refused(read(&labels), file, "wrong magic number");
    refused(read(&gzip(&labels)), file, "wrong magic number");
    refused(read(&[]), file, "cannot be read");
    refused(read(&images[..9]), file, "cannot be read");
    refused(read(&images[..images.len() - 1]), file, "do not match");
    refused(read(&[&images[..], &[0]].concat()), file, "do not match");
    refused(read(&idx_bytes(3, &[0, 2, 1], &[])), file, "out of range");
    refused(read(&idx_bytes(3, &[3, 0, 1], &[])), file, "out of range");
    refused(
        read(&idx_bytes(3, &[u32::MAX; 3], &[])),
        file,
        "out of range",
    );
    // A claim within the limits without the bytes to back it must not be allocated first.
    refused(
        read(&idx_bytes(3, &[1_000_000, 28, 28], &[1; 99])),
        file,
        "do not match",
    );
    let packed = gzip(&images);
    refused(read(&packed[..packed.len() - 9]), file, "cannot be read");
    let mut flipped = packed.clone();
    flipped[packed.len() - 5] ^= 1;
    refused(read(&flipped), file, "cannot be read");
    // What unpacks to more than the header says is not unpacked further.
    let bomb = idx_bytes(3, &[3, 2, 1], &vec![0; 8 << 20]);
    refused(read(&gzip(&bomb)), file, "do not match");
    let path = put(dir.path(), "g", &images);
    let limits = Limits {
        total_bytes: 5,
        ..free
    };
    refused(idx::read_images(&path, &limits), "g", "out of range");
    refused(idx::read_labels(&path, &free), "g", "wrong magic number");
}

#[test]
fn idx_pairs_must_match_and_exist() {
    let (dir, images, _) = digits();
    refused(
        idx::load(dir.path(), IdxSplit::Test),
        "t10k-images",
        "missing",
    );
    put(dir.path(), "t10k-images-idx3-ubyte", &images);
    refused(
        idx::load(dir.path(), IdxSplit::Test),
        "t10k-labels",
        "missing",
    );
    put(
        dir.path(),
        "t10k-labels-idx1-ubyte",
        idx_bytes(1, &[2], &[0, 1]),
    );
    let error = refused(
        idx::load(dir.path(), IdxSplit::Test),
        "t10k-labels",
        "one label",
    );
    assert_eq!(
        (error.expectation(), error.found()),
        (Some("3 labels"), Some("2"))
    );
}

/// Two images of 2 × 3 with the labels 1 and 2, or as many of `labels` as there are.
fn put_pair(dir: &Path, images: &str, labels: &str, values: [u8; 2]) {
    let pixels: Vec<u8> = (0..12).collect();
    put(dir, images, idx_bytes(3, &[2, 2, 3], &pixels));
    put(dir, labels, idx_bytes(1, &[2], &values));
}

fn names(set: &impl Dataset) -> Vec<String> {
    (0..set.class_count())
        .map(|class| set.class_name(class))
        .collect()
}

#[test]
fn the_relatives_are_found_by_their_names() {
    let free = Limits::default();
    let spellings = [
        // MNIST, Fashion-MNIST, KMNIST.
        ["", "train-images-idx3-ubyte", "train-labels-idx1-ubyte"],
        ["", "t10k-images.idx3-ubyte", "t10k-labels.idx1-ubyte"],
        ["", "TEST-IMAGES-IDX3-UBYTE", "Test_Labels_idx1_ubyte"],
        // torchvision's folders.
        [
            "MNIST/raw/",
            "t10k-images-idx3-ubyte",
            "t10k-labels-idx1-ubyte",
        ],
        // What lies beside does not matter.
        [
            "",
            "kmnist-train-images-idx3-ubyte",
            "kmnist-train-labels-idx1-ubyte",
        ],
        [
            "",
            "Fashion.MNIST_train-images.idx3-ubyte",
            "fashion-mnist-train-labels-idx1-ubyte",
        ],
    ];
    for [folder, images, labels] in spellings {
        let dir = tempdir().unwrap();
        let (images, labels) = (format!("{folder}{images}"), format!("{folder}{labels}"));
        put_pair(dir.path(), &images, &labels, [4, 0]);
        put(dir.path(), &format!("{folder}mapping.txt"), "no mapping");
        put(dir.path(), ".hidden/x-train-images-idx3-ubyte", "");
        put(dir.path(), "__MACOSX/y-test-images-idx3-ubyte", "");
        let is_test = images.to_lowercase().contains("t10k") || images.contains("TEST");
        let (split, other) = match is_test {
            true => (IdxSplit::Test, IdxSplit::Train),
            false => (IdxSplit::Train, IdxSplit::Test),
        };
        let found = idx::open(dir.path(), split, &free).unwrap();
        assert_eq!(
            found.set.image_shape(),
            ImageShape::new(1, 2, 3),
            "{images}"
        );
        assert_eq!(names(&found.set), ["0", "4"]);
        assert_eq!(found.set.image(1, 0), Some(&[0, 1, 2, 3, 4, 5][..]));
        let notes: &[&str] = if folder.is_empty() {
            &[]
        } else {
            &["read from MNIST/raw"]
        };
        assert_eq!(found.notes, notes, "{images}");
        // The other split is missing, and what is there is named.
        let error = refused(idx::load(dir.path(), other), "idx3-ubyte", "missing");
        let there = Path::new(&images).file_name().unwrap().to_str().unwrap();
        assert!(error.found().unwrap().contains(there), "{error}");
    }
}

#[test]
fn emnist_is_put_right_and_its_classes_are_named() {
    let dir = tempdir().unwrap();
    let pair = [
        "gzip/emnist-letters-train-images-idx3-ubyte",
        "gzip/emnist-letters-train-labels-idx1-ubyte",
    ];
    put_pair(dir.path(), pair[0], pair[1], [3, 1]);
    let load = || idx::open(dir.path(), IdxSplit::Train, &Limits::default());
    let found = load().unwrap();
    // Each image has its columns one after the other; label 0, which does not occur, moves nothing.
    assert_eq!(found.set.image_shape(), ImageShape::new(1, 3, 2));
    assert_eq!(names(&found.set), ["1", "3"]);
    assert_eq!(found.set.image(1, 0), Some(&[0, 3, 1, 4, 2, 5][..]));
    assert_eq!(found.set.image(0, 0), Some(&[6, 9, 7, 10, 8, 11][..]));
    let notes = found.notes.join("; ");
    for note in ["read from gzip", "transposed", "labels run from 1 to 3"] {
        assert!(notes.contains(note), "{notes}");
    }

    let mapping = "gzip/emnist-letters-mapping.txt";
    let map = |text: &str| put(dir.path(), mapping, text);
    map("1 65 97\n2 66 98\r\n3 67 99\n");
    let found = load().unwrap();
    assert_eq!(names(&found.set), ["A", "C"]);
    assert_eq!(
        found.notes[3],
        "classes are named by emnist-letters-mapping.txt"
    );
    map("1 65\n2 66\n");
    refused(
        load(),
        "emnist-letters-mapping.txt",
        "label 3 is not mapped",
    );
    map("1 65\n2 66\n3 65\n");
    refused(load(), "emnist-letters-mapping.txt", "twice");
    for line in ["", "x 3", "1", "1 300", "1 7", "-1 65"] {
        map(&format!("3 67\n{line}\n1 65"));
        match line {
            "" => assert!(load().is_ok()),
            _ => drop(refused(
                load(),
                "emnist-letters-mapping.txt",
                "maps no label",
            )),
        }
    }
}

#[test]
fn of_several_sets_the_path_names_one() {
    let dir = tempdir().unwrap();
    let free = Limits::default();
    for (name, last) in [("emnist-digits", 0), ("emnist-letters", 2)] {
        for split in ["train", "test"] {
            let [images, labels] = ["images-idx3-ubyte", "labels-idx1-ubyte"]
                .map(|what| format!("gzip/{name}-{split}-{what}"));
            put_pair(dir.path(), &images, &labels, [1, last]);
        }
    }
    let path = |end: &str| dir.path().join(end);
    let error = refused(
        idx::load(dir.path(), IdxSplit::Train),
        dir.path().to_str().unwrap(),
        "several sets",
    );
    let choices =
        ["gzip/emnist-digits", "gzip/emnist-letters"].map(|end| path(end).display().to_string());
    assert_eq!(error.expectation(), Some(choices.join(" or ").as_str()));
    // As the error writes it, from above, and in another spelling.
    for end in [
        "gzip/emnist-letters",
        "emnist-letters",
        "gzip/EMNIST_Letters",
    ] {
        for split in [IdxSplit::Train, IdxSplit::Test] {
            assert_eq!(
                names(&idx::load(path(end), split).unwrap()),
                ["1", "2"],
                "{end}"
            );
        }
    }
    let error = refused(
        idx::load(path("gzip/emnist-leters"), IdxSplit::Train),
        "emnist-leters",
        "neither such a folder nor such a set",
    );
    assert_eq!(error.expectation(), Some(choices.join(" or ").as_str()));
    // A folder is taken for itself, even if a set has its name.
    std::fs::create_dir(path("emnist-letters")).unwrap();
    let error = refused(
        idx::load(path("emnist-letters"), IdxSplit::Train),
        "train-images",
        "missing",
    );
    assert_eq!(error.found(), Some("an empty folder"));

    // Files without a prefix are their folder's own; those beside them are mentioned.
    put_pair(
        &path("gzip"),
        "train-images-idx3-ubyte",
        "train-labels-idx1-ubyte",
        [8, 9],
    );
    let found = idx::open(path("gzip"), IdxSplit::Train, &free).unwrap();
    assert_eq!(names(&found.set), ["8", "9"]);
    assert_eq!(
        found.notes,
        [format!("left out: {}", choices.join(" and "))]
    );
}

#[test]
fn sets_in_folders_of_their_own_are_one_or_several() {
    let dir = tempdir().unwrap();
    let pair = |folder: &str, start: &str, labels| {
        let images = format!("{folder}/{start}-images-idx3-ubyte");
        put_pair(
            dir.path(),
            &images,
            &format!("{folder}/{start}-labels-idx1-ubyte"),
            labels,
        );
    };
    pair("a", "train", [0, 1]);
    pair("b", "t10k", [2, 3]);
    let test = idx::open(dir.path(), IdxSplit::Test, &Limits::default()).unwrap();
    assert_eq!(
        (names(&test.set), test.notes),
        (vec!["2".into(), "3".into()], vec!["read from b".to_owned()])
    );
    // With images for training in both folders, these are two sets.
    pair("b", "train", [2, 3]);
    let error = refused(idx::load(dir.path(), IdxSplit::Test), "", "several sets");
    let choices = ["a", "b"].map(|end| dir.path().join(end).display().to_string());
    assert_eq!(error.expectation(), Some(choices.join(" or ").as_str()));
    assert_eq!(
        names(&idx::load(dir.path().join("b"), IdxSplit::Train).unwrap()),
        ["2", "3"]
    );
}

#[test]
fn what_is_there_is_named_where_nothing_is_found() {
    let dir = tempdir().unwrap();
    let image = put(dir.path(), "k49-train-imgs.npz", "");
    put(dir.path(), "photos/1.png", "");
    let error = refused(
        idx::load(dir.path(), IdxSplit::Train),
        "train-images-idx3-ubyte",
        "missing",
    );
    assert_eq!(error.found(), Some("k49-train-imgs.npz and photos"));
    for number in 10..30 {
        put(dir.path(), &format!("{number}.png"), "");
    }
    let error = refused(idx::load(dir.path(), IdxSplit::Train), "", "missing");
    assert!(
        error.found().unwrap().ends_with("17.png and 14 others"),
        "{error}"
    );
    refused(idx::load(&image, IdxSplit::Train), "k49", "not a folder");
    let nowhere = dir.path().join("emnist-letters");
    let error = refused(idx::load(&nowhere, IdxSplit::Train), "emnist-letters", "");
    assert_eq!(error.kind(), ErrorKind::Io, "{error}");
}

#[test]
fn qmnist_labels_are_the_first_of_each_row() {
    let dir = tempdir().unwrap();
    let names_of = [
        "qmnist-train-images-idx3-ubyte",
        "qmnist-train-labels-idx2-int",
    ];
    put_pair(dir.path(), names_of[0], "unused", [0, 0]);
    let rows = |first: [u32; 2]| {
        let mut bytes = vec![0, 0, 12, 2, 0, 0, 0, 2, 0, 0, 0, 3];
        for value in [first[0], 90, 91, first[1], 92, 93] {
            bytes.extend(value.to_be_bytes());
        }
        bytes
    };
    put(dir.path(), names_of[1], gzip(&rows([7, 5])));
    let set = idx::load(dir.path(), IdxSplit::Train).unwrap();
    assert_eq!(names(&set), ["5", "7"]);
    assert_eq!(set.image(1, 0), Some(&[0, 1, 2, 3, 4, 5][..]));
    let load = |bytes: &[u8]| {
        put(dir.path(), names_of[1], bytes);
        idx::load(dir.path(), IdxSplit::Train)
    };
    for wrong in [256, u32::MAX] {
        refused(load(&rows([7, wrong])), names_of[1], "out of range");
    }
    refused(load(&rows([7, 5])[..35]), names_of[1], "do not match");
    refused(
        load(&idx_bytes(1, &[2], &[7, 5])),
        names_of[1],
        "wrong magic number",
    );
}
