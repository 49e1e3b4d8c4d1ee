//! Images that two sets have in common.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hasher};

use super::dataset::Dataset;
use crate::error::Result;

/// Images of both sets together that are compared at most: beyond that, reading them takes too long for a warning.
const MOST_IMAGES: usize = 200_000;

/// How many images of `b` are identical to an image of `a` in all values, whatever their classes are called; `None` where
/// the sets have more than 200,000 images together, which are not read. An image that `b` has twice counts twice. Images
/// of another shape are other images.
///
/// Reads every image once and keeps 8 bytes for each of `a`, a hash: two different images are taken for the same with a
/// probability below 10⁻⁹ for the largest sets.
///
/// # Errors
/// When an image cannot be read.
pub fn shared_images(a: &dyn Dataset, b: &dyn Dataset) -> Result<Option<usize>> {
    if a.image_shape() != b.image_shape() {
        return Ok(Some(0));
    }
    let images = |data: &dyn Dataset| {
        let lens = (0..data.class_count()).map(|class| data.class_len(class));
        lens.fold(0usize, usize::saturating_add)
    };
    if images(a).saturating_add(images(b)) > MOST_IMAGES {
        return Ok(None);
    }
    let mut of_a = HashSet::new();
    for_each_hash(a, |hash| {
        of_a.insert(hash);
    })?;
    let mut shared = 0;
    for_each_hash(b, |hash| shared += usize::from(of_a.contains(&hash)))?;
    Ok(Some(shared))
}

fn for_each_hash(data: &dyn Dataset, mut take: impl FnMut(u64)) -> Result<()> {
    let mut image = vec![0.0f32; data.image_shape().len()];
    let mut bytes = Vec::with_capacity(4 * image.len());
    for class in 0..data.class_count() {
        for example in 0..data.class_len(class) {
            data.read(class, example, &mut image)?;
            bytes.clear();
            // Adding 0 makes -0 and 0 the same.
            bytes.extend(image.iter().flat_map(|value| (value + 0.0).to_ne_bytes()));
            let mut hasher = DefaultHasher::new();
            hasher.write(&bytes);
            take(hasher.finish());
        }
    }
    Ok(())
}
