//! What a set of labelled images offers its readers.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::image_shape::ImageShape;

/// Images sorted into classes.
///
/// Values lie in `0..=1`; ink (or light) is 1. Reading is deterministic: the same class and example are the
/// same bytes, at any time and from any thread.
pub trait Dataset: Send + Sync {
    /// How many classes there are.
    fn class_count(&self) -> usize;

    /// A name for people; an index out of range has a name, too, but means nothing.
    fn class_name(&self, class: usize) -> String;

    /// How many examples `class` has; 0 where there is no such class.
    fn class_len(&self, class: usize) -> usize;

    /// The shape that every image has.
    fn image_shape(&self) -> ImageShape;

    /// Writes one image as `[channels, height, width]` to `out`.
    ///
    /// # Errors
    ///
    /// If there is no such class or example, or `out` is not `image_shape().len()` long.
    fn read(&self, class: usize, example: usize, out: &mut [f32]) -> Result<()>;
}

/// The checks that every [`Dataset::read`] begins with.
///
/// # Errors
/// When there is no such class or example, and when `out` is not as long as an image.
pub fn check_read(
    dataset: &(impl Dataset + ?Sized),
    class: usize,
    example: usize,
    out: &[f32],
) -> Result<()> {
    let classes = dataset.class_count();
    if class >= classes {
        return Err(Error::invalid("read_image", "there is no such class")
            .expected(format!("a class below {classes}"))
            .got(class));
    }
    let examples = dataset.class_len(class);
    if example >= examples {
        let name = dataset.class_name(class);
        return Err(
            Error::invalid("read_image", format!("class {name} has no such example"))
                .expected(format!("an example below {examples}"))
                .got(example),
        );
    }
    let shape = dataset.image_shape();
    if out.len() != shape.len() {
        return Err(
            Error::invalid("read_image", "the room for the image has the wrong length")
                .expected(format!("{} values for {shape}", shape.len()))
                .got(out.len()),
        );
    }
    Ok(())
}

macro_rules! forward_dataset {
    ($($pointer:ty),+) => {$(
        impl<D: Dataset + ?Sized> Dataset for $pointer {
            fn class_count(&self) -> usize {
                (**self).class_count()
            }
            fn class_name(&self, class: usize) -> String {
                (**self).class_name(class)
            }
            fn class_len(&self, class: usize) -> usize {
                (**self).class_len(class)
            }
            fn image_shape(&self) -> ImageShape {
                (**self).image_shape()
            }
            fn read(&self, class: usize, example: usize, out: &mut [f32]) -> Result<()> {
                (**self).read(class, example, out)
            }
        }
    )+};
}

forward_dataset!(&D, Box<D>, Arc<D>);
