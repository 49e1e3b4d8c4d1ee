//! Random affine maps of training images, so that few drawings stand for many.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::image_shape::ImageShape;
use crate::rng::Rng;

/// How far a training image may be turned, slanted, stretched and moved.
///
/// Each image gets its own map `p ↦ R(θ) · [[1, ρx], [ρy, 1]] · diag(sx, sy) · p + t` about its centre. Each of
/// the seven parameters is drawn uniformly from its range with [`probability`](Self::probability), and is
/// that of the identity otherwise. Pixels are interpolated bilinearly; beyond the border there is no ink (0).
///
/// Paper: Koch, Zemel and Salakhutdinov, "Siamese neural networks for one-shot image recognition", 2015,
/// section 3.2, whose ranges are the defaults, except for the shift: theirs is 2 of 105 pixels.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RandomAffine {
    /// θ lies within ± this many degrees. Default 10.
    pub rotation: f32,
    /// ρx and ρy lie within ± this. Default 0.3.
    pub shear: f32,
    /// sx and sy lie within 1 ± this. Default 0.2.
    pub scale: f32,
    /// The components of t lie within ± this share of the image's width and height. Default 0.05.
    pub shift: f32,
    /// How likely each parameter is to be drawn at all. Default 0.5.
    pub probability: f32,
}

impl Default for RandomAffine {
    fn default() -> Self {
        Self {
            rotation: 10.0,
            shear: 0.3,
            scale: 0.2,
            shift: 0.05,
            probability: 0.5,
        }
    }
}

impl RandomAffine {
    /// # Errors
    ///
    /// If a range is negative, or so wide that the map could fold or lose the image: a rotation above 180,
    /// a shear, scale or shift of 1 or more, a probability above 1.
    pub fn validate(&self) -> Result<()> {
        let within = |value: f32, limit: f32| (0.0..limit).contains(&value);
        let ranges = [
            ("rotation", self.rotation, 180.0 + f32::EPSILON * 180.0),
            ("shear", self.shear, 1.0),
            ("scale", self.scale, 1.0),
            ("shift", self.shift, 1.0),
            ("probability", self.probability, 1.0 + f32::EPSILON),
        ];
        for (name, value, limit) in ranges {
            if !within(value, limit) {
                return Err(
                    Error::invalid("random_affine", format!("{name} is out of range"))
                        .expected(format!("0 or more, below {limit}"))
                        .got(value),
                );
            }
        }
        Ok(())
    }

    /// Maps each image of `images`, `[image, channel, row, column]`, by a map of its own. An image takes
    /// fourteen numbers of `rng`, however many pixels it has.
    pub fn apply(&self, shape: ImageShape, images: &mut [f32], rng: &mut Rng) {
        if shape.is_empty() {
            return;
        }
        let mut source = vec![0.0; shape.len()];
        for image in images.chunks_exact_mut(shape.len()) {
            let map = self.draw(shape, rng);
            source.copy_from_slice(image);
            let plane = shape.height * shape.width;
            for (from, to) in source.chunks(plane).zip(image.chunks_mut(plane)) {
                map.resample(shape, from, to);
            }
        }
    }

    fn draw(&self, shape: ImageShape, rng: &mut Rng) -> Affine {
        let mut pick = |limit: f32| {
            let (drawn, value) = (rng.unit_f32() < self.probability, rng.range(-limit, limit));
            if drawn { value } else { 0.0 }
        };
        let angle = pick(self.rotation).to_radians();
        let shear = [pick(self.shear), pick(self.shear)];
        let scale = [1.0 + pick(self.scale), 1.0 + pick(self.scale)];
        let shift = [
            pick(self.shift) * shape.width as f32,
            pick(self.shift) * shape.height as f32,
        ];
        let (sin, cos) = (libm::sinf(angle), libm::cosf(angle));
        let sheared = [
            [scale[0], shear[0] * scale[1]],
            [shear[1] * scale[0], scale[1]],
        ];
        let row = |a: f32, b: f32| {
            [
                a * sheared[0][0] + b * sheared[1][0],
                a * sheared[0][1] + b * sheared[1][1],
            ]
        };
        Affine {
            rows: [row(cos, -sin), row(sin, cos)],
            shift,
        }
    }
}

/// `p ↦ rows · p + shift` about an image's centre; x is the column, y the row.
#[derive(Debug)]
pub(crate) struct Affine {
    rows: [[f32; 2]; 2],
    shift: [f32; 2],
}

impl Affine {
    /// A turn by so many degrees, from x to y: clockwise, as rows run downwards.
    pub(crate) fn turn(degrees: f32) -> Self {
        let (sin, cos) = (
            libm::sinf(degrees.to_radians()),
            libm::cosf(degrees.to_radians()),
        );
        Self {
            rows: [[cos, -sin], [sin, cos]],
            shift: [0.0; 2],
        }
    }

    /// Writes the mapped image: each target pixel looks up where it came from.
    pub(crate) fn resample(&self, shape: ImageShape, from: &[f32], to: &mut [f32]) {
        let [[a, b], [c, d]] = self.rows;
        let determinant = a * d - b * c;
        let inverse = [
            [d / determinant, -b / determinant],
            [-c / determinant, a / determinant],
        ];
        let centre = [
            (shape.width as f32 - 1.0) / 2.0,
            (shape.height as f32 - 1.0) / 2.0,
        ];
        for (row, line) in to.chunks_mut(shape.width).enumerate() {
            let y = row as f32 - centre[1] - self.shift[1];
            for (column, value) in line.iter_mut().enumerate() {
                let x = column as f32 - centre[0] - self.shift[0];
                let source_x = inverse[0][0] * x + inverse[0][1] * y + centre[0];
                let source_y = inverse[1][0] * x + inverse[1][1] * y + centre[1];
                *value = bilinear(shape, from, source_x, source_y);
            }
        }
    }
}

/// The largest whole number not above `value`.
fn floor(value: f32) -> i32 {
    let whole = value as i32;
    whole.saturating_sub(i32::from(whole as f32 > value))
}

fn bilinear(shape: ImageShape, plane: &[f32], x: f32, y: f32) -> f32 {
    let (left, top) = (floor(x), floor(y));
    let (right_share, bottom_share) = (x - left as f32, y - top as f32);
    // A negative place becomes a huge one, which is outside, too.
    let at = |column: i32, row: i32| {
        let (column, row) = (column as usize, row as usize);
        let inside = column < shape.width && row < shape.height;
        if inside {
            plane[row * shape.width + column]
        } else {
            0.0
        }
    };
    let (right, bottom) = (left.saturating_add(1), top.saturating_add(1));
    let upper = at(left, top) * (1.0 - right_share) + at(right, top) * right_share;
    let lower = at(left, bottom) * (1.0 - right_share) + at(right, bottom) * right_share;
    upper * (1.0 - bottom_share) + lower * bottom_share
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: ImageShape = ImageShape::new(1, 11, 7);

    /// A plane, which bilinear interpolation reproduces exactly.
    fn slope(column: f32, row: f32) -> f32 {
        0.5 + 0.03 * column - 0.02 * row
    }

    fn sloped() -> Vec<f32> {
        (0..SHAPE.len())
            .map(|index| slope((index % 7) as f32, (index / 7) as f32))
            .collect()
    }

    #[test]
    fn a_mapped_plane_is_the_plane_of_mapped_points() {
        let angle = 0.2f32;
        let map = Affine {
            rows: [
                [1.1 * angle.cos(), -0.9 * angle.sin()],
                [1.1 * angle.sin(), 0.9 * angle.cos()],
            ],
            shift: [0.7, -0.4],
        };
        let (from, mut to) = (sloped(), vec![0.0; SHAPE.len()]);
        map.resample(SHAPE, &from, &mut to);
        let mut compared = 0;
        for (row, column) in (0..11).flat_map(|row| (0..7).map(move |column| (row, column))) {
            let (x, y) = (column as f32 - 3.0, row as f32 - 5.0);
            // Forwards: the source pixel (x, y) lands here.
            let target_x = map.rows[0][0] * x + map.rows[0][1] * y + map.shift[0] + 3.0;
            let target_y = map.rows[1][0] * x + map.rows[1][1] * y + map.shift[1] + 5.0;
            let inside = (1.0..=5.0).contains(&target_x) && (2.0..=8.0).contains(&target_y);
            if inside {
                let found = bilinear(SHAPE, &to, target_x, target_y);
                let wanted = slope(column as f32, row as f32);
                assert!(
                    (found - wanted).abs() < 1e-5,
                    "({column}, {row}): {found} instead of {wanted}"
                );
                compared += 1;
            }
        }
        assert!(compared >= 15, "only {compared} pixels stayed inside");
    }

    #[test]
    fn whole_pixels_are_moved_unchanged_and_what_comes_in_is_empty() {
        let map = Affine {
            rows: [[1.0, 0.0], [0.0, 1.0]],
            shift: [2.0, 1.0],
        };
        let (from, mut to) = (sloped(), vec![9.0; SHAPE.len()]);
        map.resample(SHAPE, &from, &mut to);
        for row in 0..11 {
            for column in 0..7 {
                let wanted = if row < 1 || column < 2 {
                    0.0
                } else {
                    from[(row - 1) * 7 + column - 2]
                };
                assert!((to[row * 7 + column] - wanted).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn ranges_of_nothing_change_nothing() {
        let still = RandomAffine {
            rotation: 0.0,
            shear: 0.0,
            scale: 0.0,
            shift: 0.0,
            probability: 1.0,
        };
        let mut images = [sloped(), sloped()].concat();
        still.apply(SHAPE, &mut images, &mut Rng::new(3));
        assert_eq!(images, [sloped(), sloped()].concat());
    }

    #[test]
    fn a_seed_decides_and_each_image_has_a_map_of_its_own() {
        let map = |seed: u64| {
            let mut images = [sloped(), sloped()].concat();
            RandomAffine::default().apply(SHAPE, &mut images, &mut Rng::new(seed));
            images
        };
        assert_eq!(map(1), map(1));
        assert_ne!(map(1), map(2));
        let images = map(1);
        assert_ne!(images[..SHAPE.len()], images[SHAPE.len()..]);
    }

    #[test]
    fn ranges_that_could_lose_the_image_are_errors() {
        assert!(RandomAffine::default().validate().is_ok());
        for bad in [f32::NAN, -0.1, 1.5] {
            let map = RandomAffine {
                scale: bad,
                ..Default::default()
            };
            let message = map.validate().unwrap_err().to_string();
            assert!(message.contains("scale"), "{message}");
        }
    }
}
