//! What stands between a scene and its picture: light, shadow, a lens and a sensor.

use forgeling::data::Rng;

use super::Photograph;

/// Red, green and blue, as a file stores them (with its gamma), 0 to 1 unless the light is bright.
pub(super) type Colour = [f32; 3];

/// `colour` times `by`.
pub(super) fn dimmed(colour: Colour, by: f32) -> Colour {
    colour.map(|c| c * by)
}

/// `from` where `share` is 0, `to` where it is 1.
pub(super) fn mixed(from: Colour, to: Colour, share: f32) -> Colour {
    std::array::from_fn(|i| from[i] + (to[i] - from[i]) * share)
}

/// From 0 at `low` to 1 at `high` without a corner.
pub(super) fn smooth(low: f32, high: f32, x: f32) -> f32 {
    let t = ((x - low) / (high - low)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

/// The colour of this hue (in turns: 0 red, 1/3 green, 2/3 blue), saturation and value.
pub(super) fn hsv(hue: f32, saturation: f32, value: f32) -> Colour {
    let channel = |shift: f32| {
        let h = (hue + shift).rem_euclid(1.0) * 6.0;
        let pure = ((h - 3.0).abs() - 1.0).clamp(0.0, 1.0);
        value * (1.0 - saturation * (1.0 - pure))
    };
    [channel(0.0), channel(2.0 / 3.0), channel(1.0 / 3.0)]
}

/// A scene before the camera: `width` × `height` colours.
#[derive(Debug, Clone)]
pub(super) struct Scene {
    pub width: usize,
    pub height: usize,
    pub pixels: Vec<Colour>,
}

impl Scene {
    /// Each pixel's colour from its centre, in pixels from the left and from the top.
    pub fn paint(width: usize, height: usize, colour: impl Fn(f32, f32) -> Colour) -> Self {
        let mut pixels = Vec::with_capacity(width * height);
        for row in 0..height {
            for column in 0..width {
                pixels.push(colour(column as f32 + 0.5, row as f32 + 0.5));
            }
        }
        Self {
            width,
            height,
            pixels,
        }
    }

    /// Light that falls off across the scene.
    pub fn light(&mut self, light: &Light) {
        let scale = 1.0 / self.width.max(self.height) as f32;
        for (row, line) in self.pixels.chunks_mut(self.width).enumerate() {
            for (column, pixel) in line.iter_mut().enumerate() {
                *pixel = light.on(*pixel, column as f32 * scale, row as f32 * scale);
            }
        }
    }

    /// Two passes of a box in each direction, whose spread is that of a normal blur of `sigma` pixels.
    pub fn blur(&mut self, sigma: f32) {
        for _ in 0..2 {
            let width = self.width;
            for line in self.pixels.chunks_mut(width) {
                blur_line(line, sigma, 0, 1, width);
            }
            for column in 0..width {
                blur_line(&mut self.pixels, sigma, column, width, self.height);
            }
        }
    }

    /// The picture, with noise of `sigma` of 255.
    pub fn develop(&self, sigma: f32, rng: &mut Rng) -> Photograph {
        let byte = |value: f32, rng: &mut Rng| {
            (value * 255.0 + sigma * noise(rng))
                .round()
                .clamp(0.0, 255.0) as u8
        };
        let mut rgb = Vec::with_capacity(self.pixels.len() * 3);
        for pixel in &self.pixels {
            rgb.extend(pixel.map(|value| byte(value, rng)));
        }
        Photograph {
            width: self.width,
            height: self.height,
            rgb,
        }
    }
}

/// Smooths one line by the weights `side, 1, side` as often as the spread of half of `sigma`² asks for.
fn blur_line(pixels: &mut [Colour], sigma: f32, start: usize, step: usize, count: usize) {
    // The variance of the weights w, 1 - 2w, w is 2w; a quarter is the widest without ringing.
    let mut left = sigma * sigma / 2.0;
    while left > 1e-3 {
        let side = (left / 2.0).min(0.25);
        left -= 2.0 * side;
        let mut before = pixels[start];
        for i in 0..count {
            let at = start + i * step;
            let here = pixels[at];
            let after = pixels[if i + 1 < count { at + step } else { at }];
            pixels[at] =
                std::array::from_fn(|c| here[c] + side * (before[c] + after[c] - 2.0 * here[c]));
            before = here;
        }
    }
}

/// Close to a standard normal value, from one random word.
fn noise(rng: &mut Rng) -> f32 {
    let word = rng.next_u64();
    let sum: u64 = (0..4).map(|i| word >> (16 * i) & 0xffff).sum();
    // The sum of four uniform values has the variance 4/12.
    (sum as f32 / 65536.0 - 2.0) * 1.732
}

/// Where the light comes from, how bright and how warm it is, and what stands in its way.
#[derive(Debug, Clone)]
pub(super) struct Light {
    tint: Colour,
    direction: [f32; 2],
    fall: f32,
    shadow: Option<Shadow>,
}

#[derive(Debug, Clone)]
struct Shadow {
    normal: [f32; 2],
    offset: f32,
    softness: f32,
    depth: f32,
}

impl Light {
    /// Light of the brightness `exposure` that loses up to `fall` of it across the scene; every third has the edge of
    /// a shadow in it.
    pub fn random(exposure: f32, fall: f32, rng: &mut Rng) -> Self {
        let warmth = rng.range(-0.04, 0.04);
        let shadow = (rng.below(3) == 0).then(|| Shadow {
            normal: direction(rng),
            offset: rng.range(-0.3, 0.3),
            softness: rng.range(0.02, 0.15),
            depth: rng.range(0.1, 0.35),
        });
        Self {
            tint: [
                exposure * (1.0 + warmth),
                exposure,
                exposure * (1.0 - warmth),
            ],
            direction: direction(rng),
            fall: rng.range(0.0, fall),
            shadow,
        }
    }

    /// `colour` in this light, where `x` and `y` are 0 to 1 across the scene's long side.
    fn on(&self, colour: Colour, x: f32, y: f32) -> Colour {
        let along = |way: [f32; 2]| (x - 0.5) * way[0] + (y - 0.5) * way[1];
        let mut bright = 1.0 - self.fall * (along(self.direction) + 0.5).clamp(0.0, 1.0);
        if let Some(shadow) = &self.shadow {
            let beyond = along(shadow.normal) - shadow.offset;
            bright *= 1.0 - shadow.depth * smooth(-shadow.softness, shadow.softness, beyond);
        }
        std::array::from_fn(|i| colour[i] * self.tint[i] * bright)
    }
}

/// A way to look, of length 1.
pub(super) fn direction(rng: &mut Rng) -> [f32; 2] {
    let angle = rng.range(0.0, std::f32::consts::TAU);
    [angle.cos(), angle.sin()]
}

/// Clouds: a value from 0 to 1 for every place, smooth over distances of 1.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clouds(pub u64);

impl Clouds {
    /// The value at a place.
    pub fn at(self, x: f32, y: f32) -> f32 {
        let (left, top) = (x.floor(), y.floor());
        let corner = |dx: f32, dy: f32| {
            let key = self.0
                ^ ((left + dx) as i64 as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
                ^ ((top + dy) as i64 as u64).wrapping_mul(0xc2b2_ae3d_27d4_eb4f);
            spread(key)
        };
        let (u, v) = (smooth(0.0, 1.0, x - left), smooth(0.0, 1.0, y - top));
        let line = |dy: f32| corner(0.0, dy) * (1.0 - u) + corner(1.0, dy) * u;
        line(0.0) * (1.0 - v) + line(1.0) * v
    }
}

/// From 0 to 1, unlike that of any other key.
fn spread(key: u64) -> f32 {
    let mut word = key ^ (key >> 32);
    for _ in 0..2 {
        word = word.wrapping_mul(0xd6e8_feb8_6659_fd93);
        word ^= word >> 32;
    }
    (word >> 40) as f32 / (1u32 << 24) as f32
}
