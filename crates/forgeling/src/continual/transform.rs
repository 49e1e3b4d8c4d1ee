//! What a context does to every image.

use std::sync::Arc;

use crate::data::ImageShape;
use crate::data::augment::Affine;

/// What a context does to every image: zeros around it, then a change.
#[derive(Debug, Clone)]
pub(super) struct Transform {
    /// Rows and columns of zeros on each side.
    pub padding: usize,
    pub change: Change,
}

#[derive(Debug, Clone)]
pub(super) enum Change {
    None,
    /// From which place of the padded image each value comes, the same in all channels.
    Permutation(Arc<Vec<u32>>),
    /// Counter-clockwise about the centre.
    Turn {
        degrees: f32,
    },
}

impl Transform {
    pub const NONE: Self = Self {
        padding: 0,
        change: Change::None,
    };

    /// Whether images stay as they are.
    pub fn is_none(&self) -> bool {
        self.padding == 0 && matches!(self.change, Change::None)
    }

    /// The shape of an image of `shape` afterwards.
    pub fn shape(&self, shape: ImageShape) -> ImageShape {
        let wider = |side: usize| side.saturating_add(self.padding.saturating_mul(2));
        ImageShape::new(shape.channels, wider(shape.height), wider(shape.width))
    }

    /// Writes what becomes of an image of `shape` to `out`, which has [`Self::shape`].
    pub fn apply(&self, shape: ImageShape, image: &[f32], out: &mut [f32]) {
        let wide = self.shape(shape);
        let padded = match self.padding {
            0 => image,
            _ => &pad(shape, image, self.padding),
        };
        let plane = wide.height * wide.width;
        let planes = padded.chunks_exact(plane).zip(out.chunks_exact_mut(plane));
        match &self.change {
            Change::None => out.copy_from_slice(padded),
            Change::Permutation(places) => {
                for (from, to) in planes {
                    for (value, &place) in to.iter_mut().zip(places.iter()) {
                        *value = from[place as usize];
                    }
                }
            }
            Change::Turn { degrees } => {
                // Rows run downwards, where the mathematical sense is clockwise.
                let map = Affine::turn(-degrees);
                planes.for_each(|(from, to)| map.resample(wide, from, to));
            }
        }
    }
}

fn pad(shape: ImageShape, image: &[f32], padding: usize) -> Vec<f32> {
    let width = shape.width + 2 * padding;
    let plane = (shape.height + 2 * padding) * width;
    let mut padded = vec![0.0; shape.channels * plane];
    let channels = image.chunks_exact(shape.height * shape.width);
    for (from, to) in channels.zip(padded.chunks_exact_mut(plane)) {
        let rows = to.chunks_exact_mut(width).skip(padding);
        for (from, to) in from.chunks_exact(shape.width).zip(rows) {
            to[padding..padding + shape.width].copy_from_slice(from);
        }
    }
    padded
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: ImageShape = ImageShape::new(2, 2, 3);

    fn image() -> Vec<f32> {
        (1..=12).map(|value| value as f32 / 16.0).collect()
    }

    fn applied(transform: &Transform, shape: ImageShape, image: &[f32]) -> Vec<f32> {
        let mut out = vec![9.0; transform.shape(shape).len()];
        transform.apply(shape, image, &mut out);
        out
    }

    #[test]
    fn padding_keeps_the_image_in_the_middle_of_zeros() {
        let transform = Transform {
            padding: 1,
            ..Transform::NONE
        };
        let out = applied(&transform, SHAPE, &image());
        assert_eq!(transform.shape(SHAPE), ImageShape::new(2, 4, 5));
        let values = out.iter().map(|value| value * 16.0);
        let second: Vec<f32> = values.skip(20).collect();
        let zeros = [0.0; 5];
        let rows = [[0.0, 7.0, 8.0, 9.0, 0.0], [0.0, 10.0, 11.0, 12.0, 0.0]];
        assert_eq!(second, [zeros, rows[0], rows[1], zeros].concat());
    }

    #[test]
    fn a_permutation_is_the_same_in_all_channels() {
        let places = Arc::new(vec![5, 4, 3, 0, 1, 2]);
        let transform = Transform {
            padding: 0,
            change: Change::Permutation(places),
        };
        let out = applied(&transform, SHAPE, &image());
        let values: Vec<f32> = out.iter().map(|value| value * 16.0).collect();
        let wanted = [
            6.0, 5.0, 4.0, 1.0, 2.0, 3.0, 12.0, 11.0, 10.0, 7.0, 8.0, 9.0,
        ];
        assert_eq!(values, wanted);
    }

    #[test]
    fn turns_are_counter_clockwise_and_keep_values_at_right_angles() {
        let turned = |degrees: f32| {
            let transform = Transform {
                padding: 0,
                change: Change::Turn { degrees },
            };
            // Of a square, row by row: 1 2 / 3 4.
            applied(&transform, ImageShape::new(1, 2, 2), &[0.1, 0.2, 0.3, 0.4])
        };
        assert_eq!(turned(0.0), [0.1, 0.2, 0.3, 0.4]);
        for (degrees, wanted) in [
            (90.0, [0.2, 0.4, 0.1, 0.3]),
            (180.0, [0.4, 0.3, 0.2, 0.1]),
            (-90.0, [0.3, 0.1, 0.4, 0.2]),
        ] {
            for (value, wanted) in turned(degrees).into_iter().zip(wanted) {
                assert!(
                    (value - wanted).abs() < 1e-5,
                    "{degrees}: {value}, {wanted}"
                );
            }
        }
    }
}
