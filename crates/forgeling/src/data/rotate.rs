//! Each class four times, turned by quarters: the usual way to get more classes out of characters
//! (Santoro et al., "Meta-learning with memory-augmented neural networks", 2016).

use serde::{Deserialize, Serialize};

use super::dataset::{Dataset, check_read};
use crate::error::{Error, Result};
use crate::image_shape::ImageShape;

/// By how much an image is turned, counter-clockwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Turn {
    /// Not at all.
    None,
    /// 90°.
    Quarter,
    /// 180°.
    Half,
    /// 270°.
    ThreeQuarters,
}

impl Turn {
    /// All four, in the order of [`Rotated`]'s classes.
    pub const ALL: [Self; 4] = [Self::None, Self::Quarter, Self::Half, Self::ThreeQuarters];

    /// The angle in degrees.
    pub const fn degrees(self) -> u32 {
        match self {
            Self::None => 0,
            Self::Quarter => 90,
            Self::Half => 180,
            Self::ThreeQuarters => 270,
        }
    }

    /// Turns a square image in place.
    fn apply(self, side: usize, pixels: &mut [f32]) {
        match self {
            Self::None => {}
            Self::Quarter => {
                transpose(side, pixels);
                for row in 0..side / 2 {
                    for column in 0..side {
                        pixels.swap(row * side + column, (side - 1 - row) * side + column);
                    }
                }
            }
            Self::Half => pixels.reverse(),
            Self::ThreeQuarters => {
                transpose(side, pixels);
                pixels.chunks_mut(side).for_each(<[f32]>::reverse);
            }
        }
    }
}

fn transpose(side: usize, pixels: &mut [f32]) {
    for row in 0..side {
        for column in 0..row {
            pixels.swap(row * side + column, column * side + row);
        }
    }
}

/// Each class of `D` four times: class `4 * c + q` is class `c` turned by `q` quarters.
#[derive(Debug, Clone)]
pub struct Rotated<D> {
    inner: D,
}

impl<D: Dataset> Rotated<D> {
    /// # Errors
    ///
    /// If the images are not square, or there are too many classes to count four times.
    pub fn new(inner: D) -> Result<Self> {
        let shape = inner.image_shape();
        if shape.height != shape.width {
            return Err(Error::invalid(
                "rotate_classes",
                "a turned image keeps its shape only if square",
            )
            .expected("height equal to width")
            .got(shape));
        }
        if inner.class_count().checked_mul(4).is_none() {
            return Err(
                Error::invalid("rotate_classes", "too many classes").got(inner.class_count())
            );
        }
        Ok(Self { inner })
    }

    /// The class of the inner set and the turn that `class` stands for.
    pub fn origin(&self, class: usize) -> (usize, Turn) {
        (class / 4, Turn::ALL[class % 4])
    }

    /// The set that is turned.
    pub fn inner(&self) -> &D {
        &self.inner
    }
}

impl<D: Dataset> Dataset for Rotated<D> {
    fn class_count(&self) -> usize {
        self.inner.class_count() * 4
    }

    fn class_name(&self, class: usize) -> String {
        let (inner, turn) = self.origin(class);
        format!("{} at {}°", self.inner.class_name(inner), turn.degrees())
    }

    fn class_len(&self, class: usize) -> usize {
        self.inner.class_len(self.origin(class).0)
    }

    fn image_shape(&self) -> ImageShape {
        self.inner.image_shape()
    }

    fn read(&self, class: usize, example: usize, out: &mut [f32]) -> Result<()> {
        check_read(self, class, example, out)?;
        let (inner, turn) = self.origin(class);
        self.inner.read(inner, example, out)?;
        let side = self.image_shape().width;
        for channel in out.chunks_mut(side * side) {
            turn.apply(side, channel);
        }
        Ok(())
    }
}
