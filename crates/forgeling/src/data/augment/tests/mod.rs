//! Steps on images made by hand, and in loaders.

mod loading;
mod steps;

use super::*;
use crate::data::ImageSet;

/// Values that are all different, from 0 to below 1.
fn ramp(shape: ImageShape) -> Vec<f32> {
    (0..shape.len())
        .map(|i| i as f32 / shape.len() as f32)
        .collect()
}

fn one(step: Step) -> Augmentation {
    Augmentation { steps: vec![step] }
}

/// Images of as many classes as there are; each has noise of its own, in 8 bits.
fn set(shape: ImageShape, images: usize) -> ImageSet {
    let names: Vec<String> = (0..images).map(|image| format!("{image}")).collect();
    let mut rng = Rng::new(8);
    let pixels = (0..images * shape.len()).map(|_| rng.unit_f32());
    ImageSet::from_f32(shape, &names, &pixels.collect::<Vec<_>>()).unwrap()
}

fn everything() -> Augmentation {
    Augmentation {
        steps: vec![
            Step::Affine(RandomAffine::default()),
            Step::Crop(Crop {
                padding: 2,
                fill: Fill::Reflect,
            }),
            Step::Flip(Flip::default()),
            Step::ResizedCrop(ResizedCrop::default()),
            Step::Colour(ColourJitter::default()),
            Step::Mixup(Mixup::default()),
            Step::Cutout(Cutout {
                size: 3,
                ..Default::default()
            }),
            Step::Erase(Erase::default()),
        ],
    }
}
