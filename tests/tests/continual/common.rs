//! A set whose images say which they are, and checkpoints that stay in memory.

use forgeling::Result;
use forgeling::continual::{ContinualBatch, Kind, Scenario, ScenarioConfig, Setting};
use forgeling::data::{ImageBatch, ImageSet, ImageShape};
use forgeling::train::Source;
pub use forgeling_tests::checkpoints::Memory;

pub const SHAPE: ImageShape = ImageShape::new(1, 2, 2);

/// So many examples of each class; the images are the class, the example and two constants.
pub fn numbered(lens: &[usize]) -> ImageSet {
    let mut set = ImageSet::new(SHAPE).unwrap();
    for (class, len) in lens.iter().enumerate() {
        let added = set.add_class(format!("class {class}"), None).unwrap();
        for example in 0..*len {
            let image = [class as u8, example as u8, 200, 255];
            set.push(added, &image).unwrap();
        }
    }
    set
}

/// Class and example of each image.
pub fn numbers(batch: &ImageBatch) -> Vec<(usize, usize)> {
    let byte = |value: f32| (value * 255.0).round() as usize;
    let images = batch.images.chunks_exact(batch.shape.len());
    images
        .map(|image| (byte(image[0]), byte(image[1])))
        .collect()
}

pub fn config(kind: Kind, setting: Setting, class_order: Option<u64>) -> ScenarioConfig {
    ScenarioConfig {
        kind,
        setting,
        class_order,
    }
}

/// Of classes with so many examples to train on, and three to test with.
pub fn scenario(lens: &[usize], config: ScenarioConfig) -> Result<Scenario> {
    Scenario::new(numbered(lens), numbered(&vec![3; lens.len()]), config)
}

/// Batches until the end of the epoch.
pub fn epoch(source: &mut impl Source<Batch = ContinualBatch>) -> Vec<ContinualBatch> {
    let next = || pollster::block_on(source.next()).unwrap();
    std::iter::from_fn(next).collect()
}
