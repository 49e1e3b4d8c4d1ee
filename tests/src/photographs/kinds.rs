//! The shapes of objects, in a frame about 1 wide and high: to the right and downwards from the middle.

use std::f32::consts::PI;

use forgeling::data::Rng;

use super::light::{Colour, dimmed, hsv, mixed, smooth};

/// What kind of object.
#[derive(Debug, Clone, Copy)]
pub(super) enum Look {
    Book,
    Mug,
    Plant,
}

/// One object with all that makes it differ from others of its kind.
pub(super) enum Kind {
    Book(Book),
    Mug(Mug),
    Plant(Plant),
}

impl Kind {
    pub fn random(look: Look, rng: &mut Rng) -> Self {
        match look {
            Look::Book => Self::Book(Book::random(rng)),
            Look::Mug => Self::Mug(Mug::random(rng)),
            Look::Plant => Self::Plant(Plant::random(rng)),
        }
    }

    /// The largest angle in which it is seen.
    pub fn turn(&self) -> f32 {
        match self {
            Self::Book(_) => 0.6,
            Self::Mug(_) => 0.35,
            Self::Plant(_) => 0.3,
        }
    }

    /// The colour of a place, if the object covers it.
    pub fn at(&self, u: f32, v: f32) -> Option<Colour> {
        match self {
            Self::Book(book) => book.at(u, v),
            Self::Mug(mug) => mug.at(u, v),
            Self::Plant(plant) => plant.at(u, v),
        }
    }

    /// How deep the object's shadow is on the table, 0 to 1.
    pub fn shadow(&self, u: f32, v: f32) -> f32 {
        let ([x, y], [across, down]) = match self {
            Self::Book(_) => ([0.04, 0.06], [0.52, 0.62]),
            Self::Mug(_) => ([0.05, 0.42], [0.5, 0.2]),
            Self::Plant(_) => ([0.05, 0.46], [0.34, 0.14]),
        };
        let far = ((u - x) / across).powi(2) + ((v - y) / down).powi(2);
        smooth(1.3, 0.3, far)
    }
}

/// Brightness of a place on an upright cylinder, `across` from -1 to 1, lit from `side`.
fn round(across: f32, side: f32) -> f32 {
    let front = (1.0 - across * across).max(0.0).sqrt();
    let gleam = smooth(0.25, 0.0, (across - side * 0.5).abs()) * 0.18;
    0.45 + 0.5 * (front * 0.75 + across * side * 0.6).max(0.0) + gleam
}

fn within(u: f32, v: f32, across: f32, down: f32) -> bool {
    (u / across).powi(2) + (v / down).powi(2) <= 1.0
}

/// Left or right.
fn side(rng: &mut Rng) -> f32 {
    if rng.below(2) == 0 { -1.0 } else { 1.0 }
}

/// A lying book: its cover, and two sides of its block.
pub(super) struct Book {
    cover: Colour,
    print: Colour,
    half: [f32; 2],
    shear: f32,
    /// Where the lower cover lies from the upper one.
    depth: [f32; 2],
    /// Rows of the title and the lower end of the picture, from -1 to 1.
    title: [f32; 3],
}

impl Book {
    fn random(rng: &mut Rng) -> Self {
        // Nine of ten are of warm colours.
        let hue = match rng.below(10) {
            0 => rng.unit_f32(),
            _ => rng.range(-0.06, 0.14),
        };
        let light = rng.below(2) == 0;
        Self {
            cover: hsv(hue, rng.range(0.6, 0.9), rng.range(0.45, 0.85)),
            print: hsv(rng.unit_f32(), 0.3, if light { 0.9 } else { 0.15 }),
            half: [rng.range(0.26, 0.36), rng.range(0.38, 0.46)],
            shear: rng.range(-0.25, 0.25),
            depth: [rng.range(0.02, 0.08) * side(rng), rng.range(0.04, 0.13)],
            title: [
                rng.range(-0.8, -0.3),
                rng.range(0.1, 0.25),
                rng.range(0.0, 0.8),
            ],
        }
    }

    fn at(&self, u: f32, v: f32) -> Option<Colour> {
        let [right, bottom] = self.half;
        let [dx, dy] = self.depth;
        let (a, b) = (u - self.shear * v, v + dy * 0.5);
        if a.abs() <= right && b.abs() <= bottom {
            return Some(self.printed(a / right, b / bottom));
        }
        // The lower edge, whose pages show.
        let deep = (b - bottom) / dy;
        if (0.0..=1.0).contains(&deep) && (a - deep * dx).abs() <= right {
            return Some(self.pages(deep, 0.85));
        }
        let out = a.abs() - right;
        let deep = out / dx.abs();
        if a * dx > 0.0 && (0.0..=1.0).contains(&deep) && (b - deep * dy).abs() <= bottom {
            // The right edge has pages as well, the left one is the spine.
            return Some(if dx > 0.0 {
                self.pages(deep, 0.7)
            } else {
                dimmed(self.cover, 0.55)
            });
        }
        None
    }

    fn printed(&self, a: f32, b: f32) -> Colour {
        let [top, rows, picture] = self.title;
        let line = (b - top) / rows;
        let in_title = a.abs() < 0.7 && (0.0..2.0).contains(&line) && line.fract() < 0.55;
        let in_picture = a.abs() < 0.55 && b > top + 2.0 * rows + 0.1 && b < picture;
        let hinge = if (a + 0.86).abs() < 0.02 { 0.75 } else { 1.0 };
        let colour = if in_title {
            self.print
        } else if in_picture {
            mixed(self.cover, self.print, 0.5)
        } else {
            self.cover
        };
        dimmed(colour, hinge * (0.95 - 0.1 * b))
    }

    fn pages(&self, deep: f32, bright: f32) -> Colour {
        if !(0.1..=0.88).contains(&deep) {
            return dimmed(self.cover, 0.6);
        }
        let sheet = (deep * 40.0).sin() * 0.08;
        dimmed([0.93, 0.9, 0.82], bright + sheet)
    }
}

/// A mug with a handle on one side, seen from a little above.
pub(super) struct Mug {
    glaze: Colour,
    band: Option<(Colour, [f32; 2])>,
    drink: Colour,
    half: f32,
    taper: f32,
    /// Height of the rim's ellipse for its width.
    view: f32,
    handle: f32,
    lit: f32,
}

impl Mug {
    fn random(rng: &mut Rng) -> Self {
        // Most are blue, some white, some of any colour.
        let glaze = match rng.below(10) {
            0 => hsv(rng.unit_f32(), 0.05, rng.range(0.75, 0.98)),
            1..9 => hsv(
                rng.range(0.5, 0.72),
                rng.range(0.45, 0.85),
                rng.range(0.4, 0.9),
            ),
            _ => hsv(rng.unit_f32(), rng.range(0.2, 0.75), rng.range(0.25, 0.9)),
        };
        let band = (rng.below(3) == 0).then(|| {
            let top = rng.range(-0.2, 0.15);
            let colour = hsv(rng.unit_f32(), rng.range(0.1, 0.7), rng.range(0.3, 0.95));
            (colour, [top, top + rng.range(0.08, 0.2)])
        });
        let drink = match rng.below(3) {
            0 => dimmed(glaze, 0.55),
            1 => hsv(rng.range(0.03, 0.09), 0.7, rng.range(0.12, 0.3)),
            _ => [0.55, 0.55, 0.53],
        };
        Self {
            glaze,
            band,
            drink,
            half: rng.range(0.28, 0.36),
            taper: rng.range(-0.02, 0.2),
            view: rng.range(0.15, 0.42),
            handle: side(rng),
            lit: rng.range(-1.0, 1.0),
        }
    }

    fn at(&self, u: f32, v: f32) -> Option<Colour> {
        let u = u + self.handle * 0.08;
        let rim = [self.half, self.half * self.view];
        let top = -0.36;
        if within(u, v - top, rim[0], rim[1]) {
            let inside = within(u, v - top - 0.005, rim[0] * 0.9, rim[1] * 0.86);
            let wall = !within(u, v - top - rim[1] * 0.5, rim[0] * 0.84, rim[1] * 0.8);
            return Some(match (inside, wall) {
                (false, _) => dimmed(self.glaze, 1.08),
                (true, true) => dimmed(self.glaze, 0.6 + 0.15 * u / self.half * -self.lit),
                (true, false) => self.drink,
            });
        }
        let half = self.half * (1.0 - self.taper * (v - top));
        let across = u / half;
        if across.abs() <= 1.0 && v >= top {
            let end = 0.4 + half * self.view * (1.0 - across * across).sqrt() * 0.8;
            if v <= end {
                let mut colour = self.glaze;
                if let Some((band, [from, to])) = self.band {
                    let sag = rim[1] * (1.0 - across * across).sqrt();
                    if (from..=to).contains(&(v - sag)) {
                        colour = band;
                    }
                }
                let foot = 1.0 - 0.25 * smooth(end - 0.08, end, v);
                return Some(dimmed(colour, round(across, self.lit) * foot));
            }
        }
        let (x, y) = (u - self.handle * (self.half + 0.06), v - 0.02);
        if within(x, y, 0.2, 0.26) && !within(x, y, 0.12, 0.17) {
            let lower = smooth(-0.26, 0.26, y);
            return Some(dimmed(self.glaze, 0.95 - 0.4 * lower));
        }
        None
    }
}

/// A plant in a pot.
pub(super) struct Plant {
    pot: Colour,
    half: [f32; 2],
    lit: f32,
    /// Those in front come first.
    leaves: Vec<Leaf>,
}

struct Leaf {
    colour: Colour,
    root: [f32; 2],
    /// Up is [0, -1].
    along: [f32; 2],
    length: f32,
    half: f32,
    bend: f32,
}

impl Plant {
    fn random(rng: &mut Rng) -> Self {
        let hue = match rng.below(8) {
            0 => rng.range(0.88, 1.0),
            _ => rng.range(0.18, 0.42),
        };
        let (saturation, value) = (rng.range(0.5, 0.85), rng.range(0.35, 0.7));
        let half = rng.range(0.07, 0.13);
        let count = 8 + rng.below(7);
        let leaves = (0..count).map(|index| {
            let spread = 2.6 * ((index as f32 + rng.unit_f32()) / count as f32 - 0.5);
            let bright = value * rng.range(0.7, 1.25);
            Leaf {
                colour: hsv(hue + rng.range(-0.02, 0.02), saturation, bright),
                root: [rng.range(-0.07, 0.07), 0.12],
                along: [spread.sin(), -spread.cos()],
                length: rng.range(0.34, 0.62),
                half: half * rng.range(0.8, 1.2),
                bend: rng.range(0.0, 0.25) * spread.signum(),
            }
        });
        let mut leaves: Vec<Leaf> = leaves.collect();
        rng.shuffle(&mut leaves);
        let pot = match rng.below(6) {
            0..2 => hsv(
                rng.range(0.02, 0.07),
                rng.range(0.4, 0.7),
                rng.range(0.4, 0.75),
            ),
            2..5 => hsv(rng.unit_f32(), 0.05, rng.range(0.3, 0.95)),
            _ => hsv(rng.unit_f32(), rng.range(0.2, 0.7), rng.range(0.3, 0.85)),
        };
        Self {
            pot,
            half: [rng.range(0.17, 0.25), rng.range(0.11, 0.17)],
            lit: rng.range(-1.0, 1.0),
            leaves,
        }
    }

    fn at(&self, u: f32, v: f32) -> Option<Colour> {
        if let Some(colour) = self.leaves.iter().find_map(|leaf| leaf.at(u, v)) {
            return Some(colour);
        }
        let [top, bottom] = self.half;
        if within(u, v - 0.1, top * 0.95, 0.04) {
            return Some([0.17, 0.12, 0.08]);
        }
        let rim = (0.1..=0.18).contains(&v);
        let half = if rim {
            top * 1.06
        } else {
            top + (bottom - top) * (v - 0.1) / 0.38
        };
        let across = u / half;
        let end = 0.46 + 0.03 * (1.0 - across * across).max(0.0).sqrt();
        if across.abs() > 1.0 || !(0.1..=end).contains(&v) {
            return None;
        }
        let under = if rim {
            1.0
        } else {
            0.75 + 0.25 * smooth(0.18, 0.24, v)
        };
        Some(dimmed(self.pot, round(across, self.lit) * under))
    }
}

impl Leaf {
    fn at(&self, u: f32, v: f32) -> Option<Colour> {
        let [x, y] = [u - self.root[0], v - self.root[1]];
        let along = (x * self.along[0] + y * self.along[1]) / self.length;
        if !(0.0..=1.0).contains(&along) {
            return None;
        }
        // It hangs down towards its end.
        let across = y * self.along[0] - x * self.along[1] - self.bend * along * along;
        let half = self.half * (PI * along.sqrt()).sin().max(0.12);
        if across.abs() > half {
            return None;
        }
        let share = across / half;
        let rib = if share.abs() < 0.1 { 1.25 } else { 1.0 };
        let fold = if share > 0.0 { 0.8 } else { 1.0 };
        Some(dimmed(self.colour, rib * fold * (0.65 + 0.5 * along)))
    }
}
