//! The examples of a page's own that a classifier is trained on.

use forgeling::data::{Dataset, ImageShape, check_read};
use forgeling::{Error, Result};

const OPERATION: &str = "add_examples";

/// Examples by class: images, or rows of plain numbers.
#[derive(Clone)]
pub struct Examples {
    shape: ImageShape,
    names: Vec<String>,
    /// Of each class, one after the other.
    values: Vec<Vec<f32>>,
}

impl Examples {
    /// None yet.
    pub fn new(shape: ImageShape, names: Vec<String>) -> Self {
        Self {
            shape,
            values: vec![Vec::new(); names.len()],
            names,
        }
    }

    /// Adds examples, whose values come one after the other, with a label each: all of them or, after an error, none.
    pub fn add(&mut self, values: &[f32], labels: &[u32]) -> Result<()> {
        self.check(values, labels.len())?;
        let classes = self.names.len();
        if let Some(label) = labels.iter().find(|&&label| label as usize >= classes) {
            return Err(Error::invalid(OPERATION, "a label is no class")
                .expected(format!("a class below {classes}"))
                .got(label));
        }
        for (example, &label) in values.chunks_exact(self.shape.len()).zip(labels) {
            self.values[label as usize].extend_from_slice(example);
        }
        Ok(())
    }

    /// Checks that these are so many whole examples of finite values.
    fn check(&self, values: &[f32], count: usize) -> Result<()> {
        let length = self.shape.len();
        if count == 0 {
            return Err(Error::invalid(OPERATION, "no example").expected("at least 1"));
        }
        if count.checked_mul(length) != Some(values.len()) {
            return Err(Error::invalid(OPERATION, "not one label for each example")
                .expected(format!("{count} examples of {}", self.shape))
                .got(format!("{} values", values.len())));
        }
        let Some(place) = values.iter().position(|value| !value.is_finite()) else {
            return Ok(());
        };
        let message = format!("example {} has a value that is not finite", place / length);
        Err(Error::bad_data(OPERATION, message).got(values[place]))
    }

    /// How many there are of each class.
    pub fn counts(&self) -> Vec<u32> {
        let count = |values: &Vec<f32>| (values.len() / self.shape.len()) as u32;
        self.values.iter().map(count).collect()
    }
}

impl Dataset for Examples {
    fn class_count(&self) -> usize {
        self.names.len()
    }

    fn class_name(&self, class: usize) -> String {
        let name = self.names.get(class).cloned();
        name.unwrap_or_else(|| format!("class {class}"))
    }

    fn class_len(&self, class: usize) -> usize {
        let values = self.values.get(class);
        values.map_or(0, |values| values.len() / self.shape.len())
    }

    fn image_shape(&self) -> ImageShape {
        self.shape
    }

    fn read(&self, class: usize, example: usize, out: &mut [f32]) -> Result<()> {
        check_read(self, class, example, out)?;
        let length = self.shape.len();
        out.copy_from_slice(&self.values[class][example * length..][..length]);
        Ok(())
    }
}
