//! Objects on a table. The kind is told by the shape; colours lean to one kind or another, and overlap.

use forgeling::data::Rng;

use super::Photograph;
use super::kinds::{Kind, Look};
use super::light::{Clouds, Colour, Light, Scene, dimmed, hsv, mixed, smooth};

/// The kinds of objects.
pub const OBJECTS: [&str; 3] = ["book", "mug", "plant"];

/// Short and long side of a photograph.
const SIDES: [usize; 2] = [240, 320];
/// A pixel is what is seen at these places of it.
const SAMPLES: [[f32; 2]; 4] = [[-0.3, -0.1], [0.1, -0.3], [0.3, 0.1], [-0.1, 0.3]];

pub(super) fn photograph(seed: u64, class: usize, example: usize) -> Photograph {
    let mut rng = Rng::new(seed).fork(class as u64).fork(example as u64);
    let [width, height] = if rng.below(2) == 0 {
        [SIDES[1], SIDES[0]]
    } else {
        SIDES
    };
    let table = Table::random(&mut rng);
    let look = match class {
        0 => Look::Book,
        1 => Look::Mug,
        2 => Look::Plant,
        _ => panic!("class {class} of {}", OBJECTS.len()),
    };
    let kind = Kind::random(look, &mut rng);

    let short = SIDES[0] as f32;
    let size = (0.35 + 0.4 * rng.unit_f32().sqrt().sqrt()) * short;
    let room = (short - size) * 0.2;
    let mut shift = |side: usize| {
        let room = room + (side as f32 - short) * 0.03;
        side as f32 * 0.5 + rng.range(-room, room)
    };
    let centre = [shift(width), shift(height)];
    let angle = rng.range(-1.0, 1.0) * kind.turn();
    let (sin, cos) = angle.sin_cos();
    let place = |x: f32, y: f32| {
        let [x, y] = [(x - centre[0]) / size, (y - centre[1]) / size];
        [x * cos + y * sin, y * cos - x * sin]
    };
    let shade = rng.range(0.3, 0.7);
    let mut scene = Scene::paint(width, height, |x, y| {
        let mut sum = [0.0; 3];
        for [dx, dy] in SAMPLES {
            let (x, y) = (x + dx, y + dy);
            let [u, v] = place(x, y);
            let colour = kind.at(u, v).unwrap_or_else(|| {
                let scale = 1.0 / short;
                dimmed(
                    table.at(x * scale, y * scale),
                    1.0 - shade * kind.shadow(u, v),
                )
            });
            sum = std::array::from_fn(|i| sum[i] + 0.25 * colour[i]);
        }
        sum
    });
    scene.light(&Light::random(rng.range(0.7, 1.15), 0.5, &mut rng));
    scene.blur(rng.range(0.4, 1.3));
    scene.develop(rng.range(3.0, 10.0), &mut rng)
}

#[derive(Debug, Clone, Copy)]
enum Texture {
    Plain,
    Wood,
    Checks,
    Clouds,
}

/// What an object stands on.
struct Table {
    texture: Texture,
    /// The two colours of the texture.
    colours: [Colour; 2],
    /// How many stripes, checks or clouds there are on the short side.
    count: f32,
    turn: [f32; 2],
    clouds: Clouds,
}

impl Table {
    fn random(rng: &mut Rng) -> Self {
        let texture = [
            Texture::Plain,
            Texture::Wood,
            Texture::Checks,
            Texture::Clouds,
        ][rng.below(4)];
        let (hue, saturation) = match texture {
            Texture::Wood => (rng.range(0.07, 0.11), rng.range(0.05, 0.15)),
            _ => (rng.unit_f32(), rng.range(0.0, 0.05)),
        };
        let value = rng.range(0.15, 0.9);
        let other = (value + rng.range(-0.25, 0.25)).clamp(0.08, 1.0);
        let angle = rng.range(0.0, std::f32::consts::PI);
        Self {
            texture,
            colours: [hsv(hue, saturation, value), hsv(hue, saturation, other)],
            count: rng.range(3.0, 12.0),
            turn: [angle.cos(), angle.sin()],
            clouds: Clouds(rng.next_u64()),
        }
    }

    /// The colour at a place, in short sides of the photograph.
    fn at(&self, x: f32, y: f32) -> Colour {
        let [cos, sin] = self.turn;
        let n = self.count;
        let [x, y] = [(x * cos + y * sin) * n, (y * cos - x * sin) * n];
        let clouds = self.clouds;
        let share = match self.texture {
            Texture::Plain => 0.2 * clouds.at(x * 8.0, y * 8.0),
            Texture::Wood => {
                let board = clouds.at(0.0, x.floor() * 7.0) * 0.5;
                let gap = smooth(0.04, 0.0, x.rem_euclid(1.0));
                let grain = clouds.at(x * 9.0 + clouds.at(x, y * 0.7) * 3.0, y * 0.6);
                (board + 0.5 * grain + gap).min(1.5)
            }
            Texture::Checks => {
                let odd = (x.floor() + y.floor()).rem_euclid(2.0);
                odd * 0.9 + 0.1 * clouds.at(x * 10.0, y * 10.0)
            }
            Texture::Clouds => 0.6 * clouds.at(x, y) + 0.4 * clouds.at(x * 3.0 + 50.0, y * 3.0),
        };
        mixed(self.colours[0], self.colours[1], share)
    }
}
