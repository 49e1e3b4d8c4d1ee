//! Grey images for networks that take colour, and colour ones for networks that take grey.

use super::dataset::{Dataset, check_read};
use crate::error::{Error, Result};
use crate::image_shape::ImageShape;

/// The images of `D` with another number of channels: grey becomes red, green and blue that are alike; red, green and blue
/// become grey by the luma of ITU-R BT.709, `0.2126 R + 0.7152 G + 0.0722 B`. Grey that was repeated is the same grey again.
///
/// ```
/// use forgeling::data::{Dataset, ImageSet, ImageShape, InChannels};
/// # fn main() -> forgeling::Result<()> {
/// let grey = ImageSet::from_f32(ImageShape::new(1, 1, 2), &["cat"], &[0.0, 1.0])?;
/// let colour = InChannels::new(grey, 3)?;
/// let mut image = [0.5; 6];
/// colour.read(0, 0, &mut image)?;
/// assert_eq!(image, [0.0, 1.0, 0.0, 1.0, 0.0, 1.0]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct InChannels<D> {
    inner: D,
    channels: usize,
}

impl<D: Dataset> InChannels<D> {
    /// The images of `inner` with `channels`; as they are where they have so many already.
    ///
    /// # Errors
    /// When they have others, unless one of the numbers is 1 and the other 3.
    pub fn new(inner: D, channels: usize) -> Result<Self> {
        let found = inner.image_shape().channels;
        if found != channels && !matches!((found, channels), (1, 3) | (3, 1)) {
            let message = format!("images of {found} channels cannot be given {channels}");
            return Err(Error::invalid("convert_channels", message)
                .expected("1 for grey, 3 for red, green and blue"));
        }
        Ok(Self { inner, channels })
    }

    /// The set whose images are converted.
    pub fn inner(&self) -> &D {
        &self.inner
    }
}

/// Red, green and blue as brightness: the luma of ITU-R BT.709, in the units of the values.
pub(super) fn luma([red, green, blue]: [f32; 3]) -> f32 {
    if red == green && green == blue {
        return red;
    }
    // Never above 1: rounding keeps order, and the weights' sum rounds to 1.
    0.2126 * red + 0.7152 * green + 0.0722 * blue
}

impl<D: Dataset> Dataset for InChannels<D> {
    fn class_count(&self) -> usize {
        self.inner.class_count()
    }

    fn class_name(&self, class: usize) -> String {
        self.inner.class_name(class)
    }

    fn class_len(&self, class: usize) -> usize {
        self.inner.class_len(class)
    }

    fn image_shape(&self) -> ImageShape {
        ImageShape {
            channels: self.channels,
            ..self.inner.image_shape()
        }
    }

    fn read(&self, class: usize, example: usize, out: &mut [f32]) -> Result<()> {
        check_read(self, class, example, out)?;
        let inner = self.inner.image_shape();
        if inner.channels == self.channels {
            return self.inner.read(class, example, out);
        }
        let plane = inner.height * inner.width;
        if self.channels == 3 {
            self.inner.read(class, example, &mut out[..plane])?;
            out.copy_within(..plane, plane);
            out.copy_within(..plane, 2 * plane);
            return Ok(());
        }
        let mut image = vec![0.0; inner.len()];
        self.inner.read(class, example, &mut image)?;
        for (place, value) in out.iter_mut().enumerate() {
            *value = luma([image[place], image[plane + place], image[2 * plane + place]]);
        }
        Ok(())
    }
}
