//! Moments, and a line with ReLU and pooling, whose gradients are differentiable again. Every channel is worked on as a
//! whole, so that all but its first reading finds it in the cache.
//!
//! - `windows`: pooling, and which pixel of a window counts.
//! - `first`: the operations and their gradients.
//! - `second`: the gradients of the batch norm's gradients.

mod first;
mod second;
mod windows;

pub use first::{
    affine_relu_pool, affine_relu_pool_grad, channel_moments, channel_moments_grad, norm_pool_grad,
};
pub use second::Given;

use super::batch_norm::NormShape;
use windows::Windows;

/// Sizes of images `[images, channels, height, width]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolShape {
    pub images: usize,
    pub channels: usize,
    pub height: usize,
    pub width: usize,
}

impl PoolShape {
    /// The shape after pooling.
    pub const fn pooled(self) -> [usize; 4] {
        [self.images, self.channels, self.height / 2, self.width / 2]
    }

    const fn of_planes(self, pixels: usize) -> NormShape {
        NormShape {
            images: self.images,
            channels: self.channels,
            pixels,
        }
    }

    /// The planes of the images.
    const fn full(self) -> NormShape {
        self.of_planes(self.height * self.width)
    }

    /// The planes after pooling.
    const fn half(self) -> NormShape {
        self.of_planes((self.height / 2) * (self.width / 2))
    }

    /// Work space for a plane.
    fn windows(self) -> Windows {
        Windows::new(self.height, self.width)
    }

    /// Pixels of a channel in all images.
    const fn count(self) -> f64 {
        (self.images * self.height * self.width) as f64
    }
}
