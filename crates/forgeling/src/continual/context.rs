//! The examples of one context.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use super::transform::Transform;
use crate::data::{Dataset, ImageShape, check_read};
use crate::error::Result;

/// The examples of one context, whose classes are counted from 0.
#[derive(Clone)]
pub struct Context {
    pub(super) data: Arc<dyn Dataset>,
    pub(super) index: usize,
    pub(super) classes: Vec<usize>,
    pub(super) labels: Range<usize>,
    pub(super) transform: Transform,
}

impl Context {
    /// Which one it is.
    pub fn index(&self) -> usize {
        self.index
    }

    /// The labels of its classes.
    pub fn labels(&self) -> Range<usize> {
        self.labels.clone()
    }

    /// How many examples there are.
    pub fn example_count(&self) -> usize {
        let lens = self.classes.iter().map(|&class| self.data.class_len(class));
        lens.sum()
    }

    /// The share of the examples that the largest class has: how often always the same answer is right.
    pub fn chance(&self) -> f64 {
        let lens = self.classes.iter().map(|&class| self.data.class_len(class));
        lens.max().unwrap_or(0) as f64 / self.example_count().max(1) as f64
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("index", &self.index)
            .field("classes", &self.classes)
            .field("labels", &self.labels)
            .finish_non_exhaustive()
    }
}

impl Dataset for Context {
    fn class_count(&self) -> usize {
        self.classes.len()
    }

    fn class_name(&self, class: usize) -> String {
        let class = self.classes.get(class).copied();
        self.data.class_name(class.unwrap_or(usize::MAX))
    }

    fn class_len(&self, class: usize) -> usize {
        let class = self.classes.get(class);
        class.map_or(0, |&class| self.data.class_len(class))
    }

    fn image_shape(&self) -> ImageShape {
        self.transform.shape(self.data.image_shape())
    }

    fn read(&self, class: usize, example: usize, out: &mut [f32]) -> Result<()> {
        check_read(self, class, example, out)?;
        let class = self.classes[class];
        if self.transform.is_none() {
            return self.data.read(class, example, out);
        }
        let shape = self.data.image_shape();
        let mut image = vec![0.0; shape.len()];
        self.data.read(class, example, &mut image)?;
        self.transform.apply(shape, &image, out);
        Ok(())
    }
}
