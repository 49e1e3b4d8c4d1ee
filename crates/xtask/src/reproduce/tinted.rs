//! Images in gray as colour images of 32×32 in the form of CIFAR-10, white or in hues of one half of the colour circle.

use std::fs;
use std::io::Read;
use std::path::Path;

use flate2::read::GzDecoder;

use super::write;
use crate::error::{Failure, Result};

/// Pixels to each side of an image, and of a record's.
const SIDES: [usize; 2] = [28, 32];
/// Of how much colour a tint is; gray would have 0.
const SATURATION: f64 = 0.8;

/// What colours images get.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Tint {
    White,
    /// Hues from here to half a circle further, evenly spread and without regard to the class.
    HalfFrom(f64),
}

impl Tint {
    /// Red, green and blue of the image with this number, from 0 to 1.
    fn of(self, image: usize) -> [f64; 3] {
        match self {
            Self::White => [1.0; 3],
            // Multiples of the golden ratio fill the range evenly wherever one stops.
            Self::HalfFrom(first) => {
                hue(first + 0.5 * (image as f64 * 0.618_033_988_749_895).fract())
            }
        }
    }
}

/// The colour of full brightness with this hue, in turns from red over green and blue.
fn hue(turns: f64) -> [f64; 3] {
    [5.0, 3.0, 1.0].map(|offset| {
        let place = (offset + 6.0 * turns).rem_euclid(6.0);
        1.0 - SATURATION * place.min(4.0 - place).clamp(0.0, 1.0)
    })
}

/// Makes `to` a folder of CIFAR-10's form of the IDX files in `from`, the training images with one tint and the test images
/// with another; nothing if it is there already.
pub fn make(from: &Path, to: &Path, tints: [Tint; 2]) -> Result<()> {
    const FILES: usize = 5;
    let names = to.join("batches.meta.txt");
    if names.is_file() {
        return Ok(());
    }
    fs::create_dir_all(to).map_err(|cause| Failure::file("create", to, &cause))?;
    let (train, test) = (
        records(from, "train", tints[0])?,
        records(from, "t10k", tints[1])?,
    );
    let part = train.len().div_ceil(FILES);
    for (index, records) in train.chunks(part).enumerate() {
        let file = to.join(format!("data_batch_{}.bin", index + 1));
        write(&file, records.concat())?;
    }
    write(&to.join("test_batch.bin"), test.concat())?;
    // Last, as what tells that the others are there.
    let lines: String = (0..10).map(|class| format!("{class}\n")).collect();
    write(&names, lines)
}

/// The records of one set of images: the label, then the planes of red, green and blue.
fn records(folder: &Path, set: &str, tint: Tint) -> Result<Vec<Vec<u8>>> {
    const HEADERS: [usize; 2] = [16, 8];
    let read = |kind: &str| unpacked(&folder.join(format!("{set}-{kind}-ubyte")));
    let (images, labels) = (read("images-idx3")?, read("labels-idx1")?);
    let whole = |bytes: &[u8], header: usize, each: usize| {
        bytes
            .len()
            .checked_sub(header)
            .filter(|rest| rest.is_multiple_of(each))
            .map(|rest| rest / each)
    };
    let [side, wide] = SIDES;
    let count = whole(&images, HEADERS[0], side * side);
    if count.is_none() || count != whole(&labels, HEADERS[1], 1) {
        let message = format!(
            "{set}'s files in {} are not as many images and labels",
            folder.display()
        );
        return Err(Failure::new(message));
    }
    let images = images[HEADERS[0]..].chunks_exact(side * side);
    let records = images
        .zip(&labels[HEADERS[1]..])
        .enumerate()
        .map(|(index, (image, label))| {
            let mut record = vec![*label];
            for share in tint.of(index) {
                record.extend(plane(image, share));
            }
            debug_assert_eq!(record.len(), 1 + 3 * wide * wide);
            record
        });
    Ok(records.collect())
}

/// The bytes of a file, or of the one that it was packed into by gzip.
fn unpacked(path: &Path) -> Result<Vec<u8>> {
    let packed = path.with_extension("gz");
    if !packed.is_file() {
        return fs::read(path).map_err(|cause| Failure::file("read", path, &cause));
    }
    let mut bytes = Vec::new();
    fs::File::open(&packed)
        .and_then(|file| GzDecoder::new(file).read_to_end(&mut bytes))
        .map_err(|cause| Failure::file("read", &packed, &cause))?;
    Ok(bytes)
}

/// An image in the middle of a plane, times a share.
fn plane(image: &[u8], share: f64) -> Vec<u8> {
    let [side, wide] = SIDES;
    let border = (wide - side) / 2;
    let mut plane = vec![0; wide * wide];
    for (y, row) in image.chunks_exact(side).enumerate() {
        for (x, value) in row.iter().enumerate() {
            plane[(y + border) * wide + x + border] = (share * f64::from(*value)).round() as u8;
        }
    }
    plane
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    #[test]
    fn hues_are_colours_of_the_circle() {
        let rounded = |turns: f64| hue(turns).map(|value| (value * 100.0).round());
        assert_eq!(rounded(0.0), [100.0, 20.0, 20.0]);
        assert_eq!(rounded(1.0 / 6.0), [100.0, 100.0, 20.0]);
        assert_eq!(rounded(1.0 / 3.0), [20.0, 100.0, 20.0]);
        assert_eq!(rounded(2.0 / 3.0), [20.0, 20.0, 100.0]);
        assert_eq!(rounded(1.0), rounded(0.0));
    }

    #[test]
    fn images_become_records_and_halves_of_the_circle_stay_apart() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for (set, count) in [("train", 7u8), ("t10k", 2)] {
            let mut images = vec![0; 16];
            images.extend((0..count).flat_map(|image| vec![100 + image; 784]));
            let labels: Vec<u8> = [0; 8]
                .into_iter()
                .chain((0..count).map(|image| image % 10))
                .collect();
            let path = from.path().join(format!("{set}-images-idx3-ubyte"));
            // As Debian packs them.
            let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
            packed.write_all(&images).unwrap();
            fs::write(path.with_extension("gz"), packed.finish().unwrap()).unwrap();
            fs::write(from.path().join(format!("{set}-labels-idx1-ubyte")), labels).unwrap();
        }
        let made = to.path().join("made");
        make(from.path(), &made, [Tint::White, Tint::HalfFrom(0.5)]).unwrap();
        let read = |name: &str| fs::read(made.join(name)).unwrap();
        assert_eq!(read("data_batch_1.bin").len(), 2 * 3073);
        assert_eq!(read("data_batch_4.bin").len(), 3073);
        let test = read("test_batch.bin");
        assert_eq!((test.len(), test[0], test[3073]), (2 * 3073, 0, 1));
        // The corner is the border; in cyan, half a circle from red, there is least red.
        let middle = 1 + 16 * 32 + 16;
        assert_eq!(
            (
                test[1],
                test[middle],
                test[middle + 1024],
                test[middle + 2048]
            ),
            (0, 20, 100, 100)
        );
        let first = read("data_batch_1.bin");
        assert_eq!([0, 1024, 2048].map(|plane| first[middle + plane]), [100; 3]);
        assert!(make(to.path(), &to.path().join("other"), [Tint::White; 2]).is_err());
    }
}
