//! The invented alphabet: the same bytes everywhere, distinct classes, varied drawings.

use std::collections::BTreeSet;

use forgeling::data::{Dataset, EpisodeSampler, Glyphs, Queries, Shots, Split, Ways};
use sha2::{Digest, Sha256};

fn read(glyphs: &Glyphs, class: usize, example: usize) -> Vec<f32> {
    let mut image = vec![0.0; glyphs.image_shape().len()];
    glyphs.read(class, example, &mut image).unwrap();
    image
}

/// The digest is of this library's own making; what matters is that no platform or release changes it.
#[test]
fn golden_digest() {
    let bytes = Glyphs::golden_bytes().unwrap();
    assert_eq!(bytes.len(), 16 * 4 * 28 * 28 + 3 * 33 * 33);
    let digest: String = Sha256::digest(&bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(digest, include_str!("../golden/glyphs.sha256").trim());
}

#[test]
fn splits_share_no_class_seed() {
    let seeds = |seed, split| -> BTreeSet<u64> {
        let glyphs = Glyphs::new(seed, split, 20_000).unwrap();
        (0..20_000).map(|class| glyphs.class_seed(class)).collect()
    };
    let train = seeds(1, Split::Train);
    assert_eq!(train.len(), 20_000);
    for seed in [0, 1, 2, u64::MAX] {
        assert!(train.is_disjoint(&seeds(seed, Split::Test)));
    }
    assert!(train.is_disjoint(&seeds(2, Split::Train)));
}

#[test]
fn a_drawing_depends_on_class_and_example_only() {
    let few = Glyphs::new(9, Split::Train, 10).unwrap();
    let many = Glyphs::new(9, Split::Train, 1_000_000).unwrap();
    assert_eq!(read(&few, 7, 3), read(&many, 7, 3));
    assert_ne!(read(&few, 7, 3), read(&few, 7, 4));
    assert_ne!(read(&few, 7, 3), read(&few, 8, 3));
    let last = read(&many, 999_999, Glyphs::DRAWINGS - 1);
    assert!(last.iter().any(|&value| value > 0.9));
}

#[test]
fn every_size_holds_ink_within_the_paper() {
    for size in [8, 9, 28, 33, 105, Glyphs::MAX_SIZE] {
        let glyphs = Glyphs::new(3, Split::Test, 40)
            .unwrap()
            .with_size(size)
            .unwrap();
        let classes = if size > 200 { 2 } else { 40 };
        for class in 0..classes {
            let image = read(&glyphs, class, 0);
            assert!(image.iter().all(|value| (0.0..=1.0).contains(value)));
            let ink = image.iter().sum::<f32>() / image.len() as f32;
            assert!(
                (0.01..0.6).contains(&ink),
                "size {size}, class {class}: {ink}"
            );
        }
    }
}

#[test]
fn drawings_keep_from_the_edge() {
    let glyphs = Glyphs::new(3, Split::Train, 1000).unwrap();
    let touching = (0..1000)
        .filter(|&class| {
            let image = read(&glyphs, class, class);
            (0..28).any(|i| {
                [i, 27 * 28 + i, i * 28, i * 28 + 27]
                    .iter()
                    .any(|&p| image[p] > 0.5)
            })
        })
        .count();
    assert_eq!(touching, 0, "so many of 1000 touch the edge");
}

/// The accuracy of the nearest mean image, without learning anything.
fn nearest_mean(glyphs: &Glyphs) -> f64 {
    let [ways, shots, queries] = [5, 5, 5];
    let mut sampler = EpisodeSampler::new(
        Ways::new(ways).unwrap(),
        Shots::new(shots).unwrap(),
        Queries::new(queries).unwrap(),
        1,
    );
    let batch = sampler.sample_batch(glyphs, 200).unwrap();
    let distance = |episode: usize, way: usize, query: &[f32]| -> f32 {
        let images: Vec<_> = (0..shots)
            .map(|shot| batch.support_image(episode, way, shot).unwrap())
            .collect();
        let mean = |pixel: usize| images.iter().map(|i| i[pixel]).sum::<f32>() / shots as f32;
        query
            .iter()
            .enumerate()
            .map(|(p, q)| (q - mean(p)) * (q - mean(p)))
            .sum()
    };
    let mut right = 0;
    for episode in 0..200 {
        for way in 0..ways {
            for query in 0..queries {
                let image = batch.query_image(episode, way, query).unwrap();
                let nearest = (0..ways).min_by(|&a, &b| {
                    distance(episode, a, image).total_cmp(&distance(episode, b, image))
                });
                right += usize::from(nearest == Some(way));
            }
        }
    }
    right as f64 / (200 * ways * queries) as f64
}

/// Pixels alone must tell something, but leave much to learn; chance is 0.2.
#[test]
fn pixels_alone_neither_fail_nor_suffice() {
    let accuracy = nearest_mean(&Glyphs::new(5, Split::Train, 2000).unwrap());
    assert!((0.5..0.75).contains(&accuracy), "{accuracy}");
}

#[test]
fn sheet_shows_the_drawings_in_rows() {
    let glyphs = Glyphs::new(2, Split::Train, 4)
        .unwrap()
        .with_size(9)
        .unwrap();
    let (width, height, pixels) = glyphs.sheet(3, 2).unwrap();
    assert_eq!((width, height, pixels.len()), (18, 27, 18 * 27));
    let image = read(&glyphs, 2, 1);
    for row in 0..9 {
        for column in 0..9 {
            let byte = pixels[(18 + row) * 18 + 9 + column];
            assert_eq!(byte, (image[row * 9 + column] * 255.0).round() as u8);
        }
    }
    assert!(glyphs.sheet(5, 1).is_err());
    assert!(glyphs.sheet(0, 1).is_err() && glyphs.sheet(1, usize::MAX).is_err());
}

#[test]
fn bad_arguments_are_errors() {
    assert!(Glyphs::new(1, Split::Train, 0).is_err());
    let glyphs = Glyphs::new(1, Split::Train, 3).unwrap();
    assert!(glyphs.with_size(7).is_err() && glyphs.with_size(1025).is_err());
    let mut image = vec![0.0; 784];
    assert!(glyphs.read(3, 0, &mut image).is_err());
    assert!(glyphs.read(0, Glyphs::DRAWINGS, &mut image).is_err());
    assert!(glyphs.read(0, 0, &mut image[1..]).is_err());
    assert_eq!(glyphs.class_len(3), 0);
}
