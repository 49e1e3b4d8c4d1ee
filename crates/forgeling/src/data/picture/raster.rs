//! Decoded pixels, and their averages over areas.

use crate::data::channels::luma;
use crate::image_shape::ImageShape;

/// Bytes of an image, row by row: 1 (grey), 3 (red, green, blue) or 4 (and opacity) a pixel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Raster {
    pub width: usize,
    pub height: usize,
    pub channels: usize,
    pub pixels: Vec<u8>,
}

/// A part of a raster in its pixels, which may reach beyond it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Area {
    pub left: f32,
    pub top: f32,
    pub width: f32,
    pub height: f32,
}

/// One number for each pixel.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Plane {
    pub width: usize,
    pub height: usize,
    pub values: Vec<f32>,
}

impl Raster {
    /// The pixels of an image, `[channels, height, width]` bytes of 1 or 3 channels.
    pub fn of_planes(shape: ImageShape, image: &[u8]) -> Option<Self> {
        let plane = shape.height * shape.width;
        if !matches!(shape.channels, 1 | 3) || image.len() != shape.len() {
            return None;
        }
        let pixel =
            |index: usize| (0..shape.channels).map(move |channel| image[channel * plane + index]);
        Some(Self {
            width: shape.width,
            height: shape.height,
            channels: shape.channels,
            pixels: (0..plane).flat_map(pixel).collect(),
        })
    }

    /// Whether some of it is more transparent than not.
    pub fn is_see_through(&self) -> bool {
        self.channels == 4 && self.pixels.chunks_exact(4).any(|pixel| pixel[3] < 128)
    }

    /// Red, green and blue from 0 to 255 on a ground of `ground` where the pixel is transparent.
    pub fn rgb(&self, index: usize, ground: u32) -> [f32; 3] {
        let pixel = &self.pixels[index * self.channels..(index + 1) * self.channels];
        match *pixel {
            [grey] => [f32::from(grey); 3],
            [red, green, blue] => [red, green, blue].map(f32::from),
            [red, green, blue, alpha] => [red, green, blue].map(|value| {
                let alpha = u32::from(alpha);
                let mixed = u32::from(value) * alpha + ground * (255 - alpha);
                mixed as f32 / 255.0
            }),
            _ => [0.0; 3],
        }
    }

    /// Brightness, 0 to 255.
    pub fn luma(&self, index: usize, ground: u32) -> f32 {
        luma(self.rgb(index, ground))
    }

    /// What `value` makes of each pixel.
    pub fn plane(&self, value: impl Fn(&Self, usize) -> f32) -> Plane {
        let (width, height) = (self.width, self.height);
        let values = (0..width * height).map(|index| value(self, index));
        Plane {
            width,
            height,
            values: values.collect(),
        }
    }

    /// The opacity of each pixel, 0 to 1.
    pub fn opacity(&self) -> Plane {
        self.plane(|raster, index| match raster.channels {
            4 => f32::from(raster.pixels[index * 4 + 3]) / 255.0,
            _ => 1.0,
        })
    }

    /// The whole, averaged over areas to `width` × `height` pixels of as many channels. What is transparent weighs
    /// nothing, so that its colour does not show.
    pub fn shrink(&self, width: usize, height: usize) -> Self {
        let columns = spans(0.0, self.width as f32, self.width, width);
        let rows = spans(0.0, self.height as f32, self.height, height);
        let channels = self.channels;
        let mut pixels = vec![0; width * height * channels];
        let mut sums = vec![0.0f32; width * channels];
        let mut line = vec![0.0f32; width * channels];
        for (row, parts) in rows.iter().enumerate() {
            sums.fill(0.0);
            for &(source, weight) in parts {
                self.average_row(source, &columns, &mut line);
                for (sum, value) in sums.iter_mut().zip(&line) {
                    *sum += weight * value;
                }
            }
            let out = &mut pixels[row * width * channels..(row + 1) * width * channels];
            for (pixel, sums) in out.chunks_mut(channels).zip(sums.chunks(channels)) {
                let opacity = if channels == 4 { sums[3] / 255.0 } else { 1.0 };
                for (channel, (byte, sum)) in pixel.iter_mut().zip(sums).enumerate() {
                    let value = match channel {
                        3 => *sum,
                        _ if opacity > 0.0 => sum / opacity,
                        _ => 0.0,
                    };
                    *byte = to_byte(value);
                }
            }
        }
        Self {
            width,
            height,
            channels,
            pixels,
        }
    }

    /// One row over areas of columns; colours are weighted by opacity.
    fn average_row(&self, row: usize, columns: &[Vec<(usize, f32)>], line: &mut [f32]) {
        let channels = self.channels;
        line.fill(0.0);
        let start = row * self.width * channels;
        let pixels = &self.pixels[start..start + self.width * channels];
        for (sums, parts) in line.chunks_mut(channels).zip(columns) {
            for &(column, weight) in parts {
                let pixel = &pixels[column * channels..(column + 1) * channels];
                match *pixel {
                    [red, green, blue, alpha] => {
                        let opaque = weight * f32::from(alpha) / 255.0;
                        for (sum, value) in sums.iter_mut().zip([red, green, blue]) {
                            *sum += opaque * f32::from(value);
                        }
                        sums[3] += weight * f32::from(alpha);
                    }
                    _ => {
                        for (sum, &value) in sums.iter_mut().zip(pixel) {
                            *sum += weight * f32::from(value);
                        }
                    }
                }
            }
        }
    }

    /// An area, averaged to `shape`, `[channels, height, width]` from 0 to 255; what is transparent is `ground`, and so
    /// is what lies beyond the raster.
    pub fn resample(&self, area: Area, shape: ImageShape, ground: u32) -> Vec<f32> {
        let beyond = [ground as f32; 3];
        self.resample_on(area, shape, ground, beyond)
    }

    /// As [`resample`](Self::resample), with a colour of its own for what lies beyond.
    pub fn resample_on(
        &self,
        area: Area,
        shape: ImageShape,
        ground: u32,
        beyond: [f32; 3],
    ) -> Vec<f32> {
        let (width, height) = (self.width, self.height);
        let columns = spans(area.left, area.width, width, shape.width);
        let rows = spans(area.top, area.height, height, shape.height);
        let share = |parts: &[(usize, f32)]| parts.iter().map(|part| part.1).sum::<f32>();
        let plane = shape.height * shape.width;
        let mut out = vec![0.0; shape.len()];
        let mut line = vec![0.0f32; shape.channels * shape.width];
        let beyond = match shape.channels {
            1 => vec![luma(beyond)],
            _ => beyond.to_vec(),
        };
        for (row, parts) in rows.iter().enumerate() {
            for &(source, weight) in parts {
                line.fill(0.0);
                for (target, parts) in columns.iter().enumerate() {
                    for &(column, weight) in parts {
                        let index = source * width + column;
                        if shape.channels == 1 {
                            line[target] += weight * self.luma(index, ground);
                        } else {
                            let values = self.rgb(index, ground);
                            for (channel, value) in values.into_iter().enumerate() {
                                line[channel * shape.width + target] += weight * value;
                            }
                        }
                    }
                }
                for (index, value) in line.iter().enumerate() {
                    let (channel, column) = (index / shape.width, index % shape.width);
                    out[channel * plane + row * shape.width + column] += weight * value;
                }
            }
            for (column, inside) in columns.iter().enumerate() {
                let outside = 1.0 - share(parts) * share(inside);
                if outside > 1e-5 {
                    for (channel, value) in beyond.iter().enumerate() {
                        out[channel * plane + row * shape.width + column] += outside * value;
                    }
                }
            }
        }
        out
    }
}

impl Plane {
    /// An area, averaged to `width` × `height` values; what lies beyond the plane is 0.
    pub fn resample(&self, area: Area, width: usize, height: usize) -> Self {
        let columns = spans(area.left, area.width, self.width, width);
        let rows = spans(area.top, area.height, self.height, height);
        let mut values = vec![0.0; width * height];
        for (row, parts) in rows.iter().enumerate() {
            for &(source, weight) in parts {
                let line = &self.values[source * self.width..(source + 1) * self.width];
                for (column, parts) in columns.iter().enumerate() {
                    let sum: f32 = parts
                        .iter()
                        .map(|&(column, share)| share * line[column])
                        .sum();
                    values[row * width + column] += weight * sum;
                }
            }
        }
        Self {
            width,
            height,
            values,
        }
    }

    /// The whole of it.
    pub fn area(&self) -> Area {
        whole(self.width, self.height)
    }
}

/// All of so many pixels.
pub(super) fn whole(width: usize, height: usize) -> Area {
    Area {
        left: 0.0,
        top: 0.0,
        width: width as f32,
        height: height as f32,
    }
}

/// For each of `targets` equal parts of `start..start + length`, the cells of `0..sources` that it lies over, with the
/// share of the part that each has.
fn spans(start: f32, length: f32, sources: usize, targets: usize) -> Vec<Vec<(usize, f32)>> {
    // In f64 the borders of whole numbers of cells are exact enough to leave no slivers.
    let (start, side) = (f64::from(start), f64::from(length) / targets as f64);
    let part = |target: usize| {
        let low = start + target as f64 * side;
        let high = low + side;
        let first = low.max(0.0).floor() as usize;
        let last = (high.ceil().max(0.0) as usize).min(sources);
        let cell = move |cell: usize| {
            let from = low.max(cell as f64);
            let to = high.min(cell as f64 + 1.0);
            ((to - from) / side > 1e-6).then(|| (cell, ((to - from) / side) as f32))
        };
        (first..last).filter_map(cell).collect()
    };
    (0..targets).map(part).collect()
}

/// A value from 0 to 255, rounded.
pub(super) fn to_byte(value: f32) -> u8 {
    value.round().clamp(0.0, 255.0) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grey(width: usize, height: usize, pixels: &[u8]) -> Raster {
        Raster {
            width,
            height,
            channels: 1,
            pixels: pixels.to_vec(),
        }
    }

    #[test]
    fn areas_are_averaged_also_beyond_the_border() {
        let raster = grey(3, 1, &[0, 90, 240]);
        let shape = ImageShape::new(1, 1, 2);
        assert_eq!(raster.resample(whole(3, 1), shape, 0), [30.0, 190.0]);
        assert_eq!(raster.shrink(2, 1).pixels, [30, 190]);
        // Half of the first part and of the last lies outside.
        let area = Area {
            left: -1.0,
            top: 0.0,
            width: 5.0,
            height: 1.0,
        };
        let found = raster.resample(area, ImageShape::new(1, 1, 5), 200);
        assert_eq!(found, [200.0, 0.0, 90.0, 240.0, 200.0]);
        let plane = raster.plane(|raster, index| raster.luma(index, 0));
        assert_eq!(
            plane.resample(area, 5, 1).values,
            [0.0, 0.0, 90.0, 240.0, 0.0]
        );
    }

    #[test]
    fn what_is_transparent_weighs_nothing() {
        let raster = Raster {
            width: 2,
            height: 1,
            channels: 4,
            pixels: vec![200, 100, 0, 255, 9, 9, 9, 0],
        };
        assert!(raster.is_see_through());
        assert_eq!(raster.shrink(1, 1).pixels, [200, 100, 0, 128]);
        assert_eq!(raster.rgb(1, 255), [255.0; 3]);
    }
}
