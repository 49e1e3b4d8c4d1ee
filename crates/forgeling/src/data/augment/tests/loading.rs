use super::*;
use crate::data::{Dataset, Loader, LoaderConfig, MixedBatch};

/// Whatever comes of an epoch, by the number of the image.
fn rendered(
    data: &ImageSet,
    augmentation: &Augmentation,
    workers: usize,
    batch_size: usize,
    epoch: usize,
) -> Vec<(Vec<f32>, usize, f32)> {
    let config = LoaderConfig {
        batch_size,
        workers,
        seed: 5,
        ..Default::default()
    };
    let loader = Loader::new(data.clone(), config).unwrap();
    let mut loader = loader.augmented(augmentation.clone()).unwrap();
    let mut images = vec![(Vec::new(), 0, 0.0); data.image_count()];
    for number in 0..=epoch {
        for _ in 0..loader.batches_per_epoch() {
            let MixedBatch {
                images: found,
                mixed,
            } = pollster::block_on(loader.next_mixed()).unwrap();
            let pixels = found.images.chunks_exact(found.shape.len());
            for (place, (&label, pixels)) in found.labels.iter().zip(pixels).enumerate() {
                let second = mixed.as_ref().map_or((label, 1.0), |mixed| {
                    (mixed.labels[place], mixed.shares[place])
                });
                if number == epoch {
                    images[label] = (pixels.to_vec(), second.0, second.1);
                }
            }
        }
    }
    images
}

#[test]
fn an_image_is_changed_alike_whatever_batch_and_worker_it_meets() {
    let data = set(ImageShape::new(3, 9, 7), 23);
    let with_cutmix = Augmentation {
        steps: vec![Step::Flip(Flip::default()), Step::Cutmix(Cutmix::default())],
    };
    for augmentation in [everything(), with_cutmix] {
        let alone = rendered(&data, &augmentation, 1, 4, 1);
        assert!(alone == rendered(&data, &augmentation, 4, 4, 1));
        assert!(alone == rendered(&data, &augmentation, 0, 9, 1));
        assert!(
            alone != rendered(&data, &augmentation, 1, 4, 0),
            "an epoch repeats another"
        );
        let mut plain = vec![0.0; data.image_shape().len()];
        data.read(3, 0, &mut plain).unwrap();
        assert_ne!(alone[3].0, plain);
        for (pixels, _, share) in &alone {
            assert!((0.0..=1.0).contains(share));
            assert!(pixels.iter().all(|x| (-1e-6..=1.0 + 1e-6).contains(x)));
        }
    }
}

#[test]
fn steps_that_are_never_taken_change_nothing() {
    let still = Augmentation {
        steps: vec![
            Step::Affine(RandomAffine {
                probability: 0.0,
                ..Default::default()
            }),
            Step::Flip(Flip { probability: 0.0 }),
            Step::Crop(Crop {
                padding: 0,
                fill: Fill::Zeros,
            }),
            Step::ResizedCrop(ResizedCrop {
                scale: [1.0; 2],
                ratio: [1.0; 2],
            }),
            Step::Colour(ColourJitter {
                brightness: 0.0,
                contrast: 0.0,
                saturation: 0.0,
                hue: 0.0,
            }),
            Step::Cutout(Cutout {
                probability: 0.0,
                ..Default::default()
            }),
            Step::Erase(Erase {
                probability: 0.0,
                ..Default::default()
            }),
            Step::Mixup(Mixup {
                probability: 0.0,
                ..Default::default()
            }),
        ],
    };
    let data = set(ImageShape::new(3, 8, 8), 5);
    for (image, (pixels, second, share)) in rendered(&data, &still, 1, 2, 0).iter().enumerate() {
        let mut plain = vec![0.0; data.image_shape().len()];
        data.read(image, 0, &mut plain).unwrap();
        assert_eq!((pixels, *second, *share), (&plain, image, 1.0));
    }
}

#[test]
fn half_of_the_images_are_flipped() {
    let shape = ImageShape::new(1, 1, 2);
    let data = set(shape, 2000);
    let found = rendered(&data, &one(Step::Flip(Flip::default())), 2, 100, 0);
    let flipped = found.iter().enumerate().filter(|(image, (pixels, ..))| {
        let mut plain = [0.0; 2];
        data.read(*image, 0, &mut plain).unwrap();
        *pixels != plain
    });
    // Few have two equal pixels; the deviation is 22.
    let flipped = flipped.count();
    assert!((880..=1110).contains(&flipped), "{flipped}");
}

#[test]
fn mixtures_have_the_labels_and_shares_of_what_they_show() {
    let shape = ImageShape::new(2, 6, 5);
    let data = set(shape, 60);
    let image = |number: usize| {
        let mut pixels = vec![0.0; shape.len()];
        data.read(number, 0, &mut pixels).unwrap();
        pixels
    };
    let mixup = Mixup {
        alpha: 1.0,
        probability: 1.0,
    };
    for (own, (pixels, other, share)) in rendered(&data, &one(Step::Mixup(mixup)), 1, 7, 0)
        .iter()
        .enumerate()
    {
        let pairs = image(own).into_iter().zip(image(*other));
        for (found, (own, other)) in pixels.iter().zip(pairs) {
            assert!((found - (share * own + (1.0 - share) * other)).abs() < 1e-6);
        }
    }
    let cutmix = Cutmix {
        alpha: 1.0,
        probability: 1.0,
    };
    let mixed = rendered(&data, &one(Step::Cutmix(cutmix)), 1, 7, 0);
    for (own, (pixels, other, share)) in mixed.iter().enumerate() {
        let (own_pixels, theirs) = (image(own), image(*other));
        assert!((0..shape.len()).all(|i| pixels[i] == own_pixels[i] || pixels[i] == theirs[i]));
        if own != *other {
            // Noise in 8 bits agrees in both channels of no pixel, or of hardly one.
            let left = (0..30)
                .filter(|i| pixels[*i] == own_pixels[*i] && pixels[i + 30] == own_pixels[i + 30]);
            assert!((left.count() as f32 / 30.0 - share).abs() < 0.04, "{share}");
        }
    }
    assert!(mixed.iter().any(|(_, _, share)| *share < 0.4));

    // What came before is done to the other image too, with its own draws; what comes after, to the mixture.
    let flip = Step::Flip(Flip::default());
    let flipped = rendered(&data, &one(flip), 1, 7, 0);
    let both = Augmentation {
        steps: vec![flip, Step::Mixup(mixup)],
    };
    for (own, (pixels, other, share)) in rendered(&data, &both, 1, 7, 0).iter().enumerate() {
        let pairs = flipped[own].0.iter().zip(&flipped[*other].0);
        for (found, (own, other)) in pixels.iter().zip(pairs) {
            assert!((found - (share * own + (1.0 - share) * other)).abs() < 1e-6);
        }
    }
}

#[test]
fn a_loader_that_mixes_gives_no_single_labels() {
    let config = LoaderConfig::default();
    let loader = || Loader::new(set(ImageShape::new(1, 4, 4), 3), config).unwrap();
    let mixup = one(Step::Mixup(Mixup::default()));
    let mut mixing = loader().augmented(mixup.clone()).unwrap();
    let error = pollster::block_on(mixing.next()).unwrap_err();
    assert!(error.to_string().contains("mixed"), "{error}");
    let mut plain = loader();
    pollster::block_on(plain.next()).unwrap();
    let error = plain.augmented(mixup).unwrap_err();
    assert!(error.to_string().contains("at work"), "{error}");
}
