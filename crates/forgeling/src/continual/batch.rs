//! Images, and what is known of each.

use std::ops::Range;

use crate::data::ImageBatch;
use crate::train::Batch;

/// Labelled images of a stream, new or kept from before.
#[derive(Debug, Clone, PartialEq)]
pub struct ContinualBatch {
    /// The images and their labels.
    pub images: ImageBatch,
    /// The context of each image; empty where the setting does not tell.
    pub contexts: Vec<usize>,
    /// What the network answered to each image when it was put into a buffer; empty where no answers are kept. An image
    /// that was kept without has none.
    pub logits: Vec<Vec<f32>>,
}

impl ContinualBatch {
    /// Images of a context that is known, or of contexts that are not.
    pub fn new(images: ImageBatch, context: Option<usize>) -> Self {
        Self {
            contexts: context.map_or_else(Vec::new, |context| vec![context; images.labels.len()]),
            images,
            logits: Vec::new(),
        }
    }
}

/// The elements of a range, or none of a list that has none at all.
fn part<T: Clone>(of: &[T], range: Range<usize>) -> Vec<T> {
    match of.is_empty() {
        true => Vec::new(),
        false => of[range].to_vec(),
    }
}

impl Batch for ContinualBatch {
    fn len(&self) -> usize {
        self.images.len()
    }

    fn part(&self, range: Range<usize>) -> Self {
        Self {
            images: self.images.part(range.clone()),
            contexts: part(&self.contexts, range.clone()),
            logits: part(&self.logits, range),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::ImageShape;

    #[test]
    fn parts_have_what_the_whole_has() {
        let images = ImageBatch {
            shape: ImageShape::new(1, 1, 2),
            images: vec![0.0, 0.1, 1.0, 1.1, 2.0, 2.1],
            labels: vec![5, 6, 7],
        };
        let mut batch = ContinualBatch::new(images.clone(), Some(3));
        batch.logits = vec![vec![1.0], Vec::new(), vec![2.0, 3.0]];
        let [first, rest] = <[_; 2]>::try_from(batch.split(&[1, 2])).unwrap();
        assert_eq!((first.len(), first.contexts), (1, vec![3]));
        assert_eq!(rest.images.images, [1.0, 1.1, 2.0, 2.1]);
        assert_eq!(rest.images.labels, [6, 7]);
        assert_eq!(rest.logits, [Vec::new(), vec![2.0, 3.0]]);
        let hidden = ContinualBatch::new(images, None).part(1..3);
        assert!(hidden.contexts.is_empty() && hidden.logits.is_empty());
        assert_eq!(hidden.len(), 2);
    }
}
