//! Images in another light.

use serde::{Deserialize, Serialize};

use super::{OPERATION, within};
use crate::data::channels::luma;
use crate::error::{Error, Result};
use crate::image_shape::ImageShape;
use crate::rng::Rng;

/// Changes brightness, contrast, saturation and hue, in this order.
///
/// Each of the first three has a factor `f`, uniform in `[max(0, 1 - b), 1 + b]` with `b` its number here; results are cut
/// off below 0 and above 1. With the luma `Y(x) = 0.2126 R + 0.7152 G + 0.0722 B` of a pixel `x`, ITU-R BT.709, and its mean
/// over the image:
///
/// - brightness: `f x`;
/// - contrast: `f x + (1 - f) mean(Y)`;
/// - saturation: `f x + (1 - f) Y(x)`;
/// - hue: a turn of HSV's circle, by a share of it that is uniform in `[-hue, hue]`.
///
/// Of grey images, whose luma they are, saturation and hue change nothing. torchvision's `ColorJitter` with another luma and
/// a random order.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ColourJitter {
    /// `b` of the brightness, 0 or more. Default 0.4.
    pub brightness: f32,
    /// `b` of the contrast, 0 or more. Default 0.4.
    pub contrast: f32,
    /// `b` of the saturation, 0 or more. Default 0.4.
    pub saturation: f32,
    /// The largest turn, from 0 to 0.5. Default 0.1.
    pub hue: f32,
}

impl Default for ColourJitter {
    fn default() -> Self {
        Self {
            brightness: 0.4,
            contrast: 0.4,
            saturation: 0.4,
            hue: 0.1,
        }
    }
}

/// The largest `b`.
const MOST: f32 = 10.0;

impl ColourJitter {
    /// # Errors
    /// When a number is out of range, or the images are neither grey nor red, green and blue.
    pub fn validate(&self, shape: ImageShape) -> Result<()> {
        within("the brightness", self.brightness, 0.0, MOST)?;
        within("the contrast", self.contrast, 0.0, MOST)?;
        within("the saturation", self.saturation, 0.0, MOST)?;
        within("the hue", self.hue, 0.0, 0.5)?;
        if !matches!(shape.channels, 1 | 3) {
            return Err(
                Error::invalid(OPERATION, "the images have no colours to change")
                    .expected("1 or 3 channels")
                    .got(shape),
            );
        }
        Ok(())
    }

    /// Changes an image, `[channel, row, column]`.
    pub fn apply(&self, shape: ImageShape, image: &mut [f32], rng: &mut Rng) {
        let mut factor = |b: f32| rng.range((1.0 - b).max(0.0), 1.0 + b);
        let [brightness, contrast, saturation] =
            [self.brightness, self.contrast, self.saturation].map(&mut factor);
        let turn = rng.range(-self.hue, self.hue);
        let plane = shape.height * shape.width;
        if brightness != 1.0 {
            image
                .iter_mut()
                .for_each(|x| *x = (brightness * *x).clamp(0.0, 1.0));
        }
        if contrast != 1.0 {
            let sum: f64 = match shape.channels {
                3 => (0..plane)
                    .map(|place| f64::from(luma(at(image, plane, place))))
                    .sum(),
                _ => image.iter().map(|&x| f64::from(x)).sum(),
            };
            let mean = (sum / plane as f64) as f32;
            image
                .iter_mut()
                .for_each(|x| *x = blended(*x, mean, contrast));
        }
        if shape.channels == 3 && (saturation != 1.0 || turn != 0.0) {
            for place in 0..plane {
                let pixel = at(image, plane, place);
                let grey = luma(pixel);
                let pixel = pixel.map(|x| blended(x, grey, saturation));
                for (channel, value) in turned(pixel, turn).into_iter().enumerate() {
                    image[channel * plane + place] = value;
                }
            }
        }
    }
}

fn at(image: &[f32], plane: usize, place: usize) -> [f32; 3] {
    [0, 1, 2].map(|channel| image[channel * plane + place])
}

fn blended(value: f32, other: f32, factor: f32) -> f32 {
    if factor == 1.0 {
        return value;
    }
    (factor * value + (1.0 - factor) * other).clamp(0.0, 1.0)
}

/// Red, green and blue with HSV's hue turned by this share of its circle.
fn turned([red, green, blue]: [f32; 3], turn: f32) -> [f32; 3] {
    let (most, least) = (red.max(green).max(blue), red.min(green).min(blue));
    let chroma = most - least;
    if turn == 0.0 || chroma <= 0.0 {
        return [red, green, blue];
    }
    // In sixths of the circle from red.
    let hue = if most == red {
        (green - blue) / chroma
    } else if most == green {
        (blue - red) / chroma + 2.0
    } else {
        (red - green) / chroma + 4.0
    };
    let hue = hue + 6.0 * turn;
    // Smith, "Color gamut transform pairs", 1978, in the form without cases.
    [5.0, 3.0, 1.0].map(|offset: f32| {
        let sixth = offset + hue;
        let sixth = sixth - 6.0 * (sixth / 6.0).floor();
        most - chroma * sixth.min(4.0 - sixth).clamp(0.0, 1.0)
    })
}
