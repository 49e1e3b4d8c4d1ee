//! IDX files: both spellings, gzip, and every malformed input as an error that names file and reason.

mod data_support;

use std::io::Write;

use data_support::{put, refused};
use flate2::{Compression, write::GzEncoder};
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
