//! Images with zero borders, as [`super::planes`] reads them.

use super::planes::Planes;

/// Work space of one chunk with zero borders, for any number of channels.
pub struct Bordered {
    /// `[channel, length]`
    pub values: Vec<f32>,
    planes: Planes,
}

impl Bordered {
    pub fn new(planes: Planes, channels: usize) -> Self {
        Self {
            values: vec![0.0; channels * planes.length()],
            planes,
        }
    }

    /// Clears it if the last chunk has fewer images: their places are borders now.
    pub fn resize(&mut self, planes: Planes) {
        if planes != self.planes {
            self.values.fill(0.0);
            self.planes = planes;
        }
    }

    /// Copies `[image, channel, row, column]` in.
    pub fn fill(&mut self, images: &[f32], channels: usize) {
        let planes = self.planes;
        let pixels = planes.height * planes.width;
        for (index, plane) in images.chunks_exact(pixels).enumerate() {
            let (image, channel) = (index / channels, index % channels);
            for (y, row) in plane.chunks_exact(planes.width).enumerate() {
                let at = channel * planes.length() + planes.start(image, y);
                self.values[at..at + planes.width].copy_from_slice(row);
            }
        }
    }

    /// Copies `[image, channel, row, column]` out.
    pub fn read(&self, images: &mut [f32], channels: usize) {
        let planes = self.planes;
        let pixels = planes.height * planes.width;
        for (index, plane) in images.chunks_exact_mut(pixels).enumerate() {
            let (image, channel) = (index / channels, index % channels);
            for (y, row) in plane.chunks_exact_mut(planes.width).enumerate() {
                let at = channel * planes.length() + planes.start(image, y);
                row.copy_from_slice(&self.values[at..at + planes.width]);
            }
        }
    }
}
