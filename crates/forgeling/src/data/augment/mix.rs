//! Two images as one.

use serde::{Deserialize, Serialize};

use super::rectangle::Rectangle;
use super::{share, within};
use crate::error::Result;
use crate::image_shape::ImageShape;
use crate::rng::Rng;

/// The range of the parameter of Beta.
const LEAST_ALPHA: f32 = 1e-3;
const MOST_ALPHA: f32 = 1e3;

/// Mixes an image with another one of the set, `λ image + (1 - λ) other`, with λ from Beta(α, α); the labels likewise.
/// Zhang et al., *mixup: Beyond Empirical Risk Minimization*, 2018 (arXiv 1710.09412), where the other image is one of the
/// batch, and λ one for all of it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mixup {
    /// α: small ones mix little, 1 is uniform. Default 0.2.
    pub alpha: f32,
    /// How likely. Default 1.
    pub probability: f32,
}

impl Default for Mixup {
    fn default() -> Self {
        Self {
            alpha: 0.2,
            probability: 1.0,
        }
    }
}

impl Mixup {
    /// # Errors
    /// When α is not within 0.001 and 1000, or the probability not within 0 and 1.
    pub fn validate(&self) -> Result<()> {
        within("alpha of mixup", self.alpha, LEAST_ALPHA, MOST_ALPHA)?;
        share("the probability of mixup", self.probability)
    }

    /// Mixes two images, whatever the probability, and gives λ.
    pub fn mix(&self, image: &mut [f32], other: &[f32], rng: &mut Rng) -> f32 {
        let own = beta(self.alpha, rng) as f32;
        for (value, other) in image.iter_mut().zip(other) {
            *value = own * *value + (1.0 - own) * other;
        }
        own
    }
}

/// Puts a rectangle of another image of the set in the place of the same one of an image; the labels count by what is left
/// of the area. The rectangle has `1 - λ` of the area, with λ from Beta(α, α), the sides of the image and a centre that is
/// uniform; what is beyond the border is not there, and the labels count by what *is*. Yun et al., *CutMix*, 2019
/// (arXiv 1905.04899).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cutmix {
    /// α: 1 is uniform. Default 1.
    pub alpha: f32,
    /// How likely. Default 0.5, as in the paper for small images.
    pub probability: f32,
}

impl Default for Cutmix {
    fn default() -> Self {
        Self {
            alpha: 1.0,
            probability: 0.5,
        }
    }
}

impl Cutmix {
    /// # Errors
    /// When α is not within 0.001 and 1000, or the probability not within 0 and 1.
    pub fn validate(&self) -> Result<()> {
        within("alpha of cutmix", self.alpha, LEAST_ALPHA, MOST_ALPHA)?;
        share("the probability of cutmix", self.probability)
    }

    /// Mixes two images, whatever the probability, and gives the share of the first one's area that is left.
    pub fn mix(&self, shape: ImageShape, image: &mut [f32], other: &[f32], rng: &mut Rng) -> f32 {
        let side = (1.0 - beta(self.alpha, rng)).sqrt();
        let [height, width] = [shape.height, shape.width].map(|length| {
            let size = (side * length as f64).round() as usize;
            size.min(length)
        });
        let centre = [rng.below(shape.height), rng.below(shape.width)];
        let part = Rectangle::about(centre, [height, width], shape);
        for line in part.lines(shape) {
            image[line.clone()].copy_from_slice(&other[line]);
        }
        let all = shape.height * shape.width;
        ((all - part.pixels()) as f64 / all as f64) as f32
    }
}

/// A number from Beta(α, α): `a / (a + b)` with `a` and `b` from Gamma(α).
pub(super) fn beta(alpha: f32, rng: &mut Rng) -> f64 {
    let (a, b) = (log_gamma_draw(alpha, rng), log_gamma_draw(alpha, rng));
    1.0 / (1.0 + libm::exp(b - a))
}

/// The logarithm of a number from Gamma(α), which itself may be too small to be told from 0. For α + 1 by Marsaglia and
/// Tsang, *A simple method for generating gamma variables*, 2000, and brought to α by their `U^(1/α)`.
fn log_gamma_draw(alpha: f32, rng: &mut Rng) -> f64 {
    let alpha = f64::from(alpha);
    let d = alpha + 2.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    let drawn = loop {
        let x = f64::from(rng.normal());
        let v = 1.0 + c * x;
        if v <= 0.0 {
            continue;
        }
        let v = v * v * v;
        // In (0, 1], so that the logarithm is finite.
        let u = 1.0 - rng.unit_f64();
        if libm::log(u) < 0.5 * x * x + d - d * v + d * libm::log(v) {
            break d * v;
        }
    };
    libm::log(drawn) + libm::log(1.0 - rng.unit_f64()) / alpha
}
