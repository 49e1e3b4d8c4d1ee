//! Characters in pen on paper, photographed.

use forgeling::data::{Dataset, Glyphs, Rng, Split};

use super::Photograph;
use super::light::{Clouds, Colour, Light, Scene, dimmed, hsv, mixed, smooth};

/// Rows and columns that the characters are drawn with.
const SIZE: usize = 256;
/// How far from the middle of a line the distance to it is known.
const REACH: usize = 24;
/// Short and long side of a photograph.
const SIDES: [usize; 2] = [480, 640];
const CHARACTERS: usize = 1 << 20;

pub(super) fn photograph(alphabet: u64, class: usize, example: usize) -> Photograph {
    let glyphs = Glyphs::new(alphabet ^ 0x70e4_0000, Split::Test, CHARACTERS)
        .and_then(|glyphs| glyphs.with_size(SIZE))
        .unwrap();
    let mut rng = Rng::new(alphabet).fork(class as u64).fork(example as u64);
    let mut image = vec![0.0; SIZE * SIZE];
    glyphs
        .read(class % CHARACTERS, example, &mut image)
        .unwrap();
    let line = Line::new(&image);

    let [width, height] = if rng.below(3) == 0 {
        [SIDES[1], SIDES[0]]
    } else {
        SIDES
    };
    let paper = Paper::random(width, height, &mut rng);
    let view = View::random(&line, &paper, &mut rng);
    let pen = Pen::random(&line, view.scale, &mut rng);
    let mut scene = Scene::paint(width, height, |x, y| {
        let [u, v] = view.back(x, y);
        pen.over(paper.at(x, y), line.distance(u, v) * view.scale, x, y)
    });
    let dim = rng.below(4) == 0;
    let exposure = if dim { rng.range(0.5, 0.65) } else { 1.0 };
    scene.light(&Light::random(exposure, 0.5, &mut rng));
    scene.blur(rng.range(0.4, 1.4));
    scene.develop(rng.range(3.0, 10.0), &mut rng)
}

/// The middle line of a character, which a pen of any width may follow.
struct Line {
    /// Distance of each place from the middle line, up to [`REACH`].
    distances: Vec<f32>,
    /// Left, top, right and bottom of the ink.
    bounds: [f32; 4],
    /// Half the width that the character was drawn with.
    radius: f32,
}

impl Line {
    fn new(image: &[f32]) -> Self {
        let ink: Vec<bool> = image.iter().map(|value| *value > 0.5).collect();
        let places = || (0..SIZE * SIZE).filter(|at| ink[*at]);
        let (columns, rows) = (
            || places().map(|at| at % SIZE),
            || places().map(|at| at / SIZE),
        );
        let middle = thinned(&ink);
        let length = middle.iter().filter(|on| **on).count().max(1);
        Self {
            distances: distances(&middle),
            bounds: [
                columns().min().unwrap_or(0) as f32,
                rows().min().unwrap_or(0) as f32,
                columns().max().unwrap_or(SIZE) as f32 + 1.0,
                rows().max().unwrap_or(SIZE) as f32 + 1.0,
            ],
            // A diagonal has fewer pixels than its length, by up to 1.4.
            radius: places().count() as f32 / length as f32 / 2.2,
        }
    }

    fn distance(&self, x: f32, y: f32) -> f32 {
        let (x, y) = (x - 0.5, y - 0.5);
        let last = (SIZE - 1) as f32;
        if !(0.0..last).contains(&x) || !(0.0..last).contains(&y) {
            return REACH as f32;
        }
        let at = y as usize * SIZE + x as usize;
        let (u, v) = (x.fract(), y.fract());
        let row = |at: usize| self.distances[at] * (1.0 - u) + self.distances[at + 1] * u;
        row(at) * (1.0 - v) + row(at + SIZE) * v
    }
}

/// Lines of one pixel, by taking away border pixels whose loss breaks nothing (Zhang and Suen, 1984).
fn thinned(ink: &[bool]) -> Vec<bool> {
    let mut ink = ink.to_vec();
    loop {
        let mut changed = false;
        for second in [false, true] {
            let mut gone = Vec::new();
            for at in 0..SIZE * SIZE {
                let (x, y) = (at % SIZE, at / SIZE);
                if !ink[at] || x == 0 || y == 0 || x + 1 == SIZE || y + 1 == SIZE {
                    continue;
                }
                // Clockwise from above.
                let around = [
                    at - SIZE,
                    at - SIZE + 1,
                    at + 1,
                    at + SIZE + 1,
                    at + SIZE,
                    at + SIZE - 1,
                    at - 1,
                    at - SIZE - 1,
                ]
                .map(|at| ink[at]);
                let count = around.iter().filter(|on| **on).count();
                let starts = (0..8)
                    .filter(|i| !around[*i] && around[(i + 1) % 8])
                    .count();
                let [up, _, right, _, down, _, left, _] = around;
                let holds = if second {
                    up && left && (right || down)
                } else {
                    right && down && (up || left)
                };
                if (2..=6).contains(&count) && starts == 1 && !holds {
                    gone.push(at);
                }
            }
            changed |= !gone.is_empty();
            gone.into_iter().for_each(|at| ink[at] = false);
        }
        if !changed {
            return ink;
        }
    }
}

/// How far each place is from the nearest one of `points`, up to [`REACH`].
fn distances(points: &[bool]) -> Vec<f32> {
    let nearest = |values: &[f32], start: usize, step: usize, i: usize| {
        let range = i.saturating_sub(REACH)..(i + REACH + 1).min(SIZE);
        range
            .map(|j| values[start + j * step] + (i.abs_diff(j) as f32).powi(2))
            .fold((REACH * REACH) as f32, f32::min)
    };
    let far = (REACH * REACH) as f32;
    let start: Vec<f32> = points
        .iter()
        .map(|on| if *on { 0.0 } else { far })
        .collect();
    let along: Vec<f32> = (0..SIZE * SIZE)
        .map(|at| nearest(&start, at / SIZE * SIZE, 1, at % SIZE))
        .collect();
    (0..SIZE * SIZE)
        .map(|at| nearest(&along, at % SIZE, SIZE, at / SIZE).sqrt())
        .collect()
}

/// Where on the photograph the character is, and how it is tilted.
struct View {
    centre: [f32; 2],
    /// Pixels of the photograph for one of the character.
    scale: f32,
    rotation: [f32; 2],
    /// By how much the scale changes over a pixel.
    tilt: [f32; 2],
    middle: [f32; 2],
}

impl View {
    fn random(line: &Line, paper: &Paper, rng: &mut Rng) -> Self {
        let [left, top, right, bottom] = line.bounds;
        let [width, height] = [right - left, bottom - top];
        let short = paper.sides[0].min(paper.sides[1]);
        let side = rng.range(0.3, 0.7) * short;
        let scale = side / width.max(height);
        let angle = rng.range(-8.0, 8.0) * std::f32::consts::PI / 180.0;
        let tilt = [0, 1].map(|_| rng.range(-0.12, 0.12) / side);
        // Room for the turned and tilted box and for the pen.
        let centre = [0, 1].map(|axis| {
            let [low, high] = paper.free[axis];
            let half = [width, height][axis] * scale * 0.5 + 0.1 * side + 4.0;
            let (low, high) = (low + half, high - half);
            if low < high {
                rng.range(low, high)
            } else {
                (low + high) * 0.5
            }
        });
        Self {
            centre,
            scale,
            rotation: [angle.cos(), angle.sin()],
            tilt,
            middle: [(left + right) * 0.5, (top + bottom) * 0.5],
        }
    }

    /// The place in the character that is seen at a place of the photograph.
    fn back(&self, x: f32, y: f32) -> [f32; 2] {
        let [x, y] = [x - self.centre[0], y - self.centre[1]];
        let [cos, sin] = self.rotation;
        let [x, y] = [x * cos + y * sin, y * cos - x * sin];
        let near = self.scale * (1.0 + x * self.tilt[0] + y * self.tilt[1]).max(0.2);
        [x / near + self.middle[0], y / near + self.middle[1]]
    }
}

/// What the line is drawn with.
struct Pen {
    colour: Colour,
    /// In pixels of the photograph.
    radius: f32,
    /// How much of the paper shows through.
    gaps: f32,
    grain: f32,
    clouds: Clouds,
}

impl Pen {
    /// Black, blue, red or a pencil, from 3 pixels wide to as wide as the character was drawn.
    fn random(line: &Line, scale: f32, rng: &mut Rng) -> Self {
        let (thin, thick) = (1.5, (line.radius * scale).max(1.6));
        let (colour, gaps) = match rng.below(20) {
            0..9 => (hsv(rng.unit_f32(), 0.15, rng.range(0.06, 0.2)), 0.03),
            9..15 => {
                let hue = rng.range(0.58, 0.68);
                (hsv(hue, rng.range(0.6, 0.9), rng.range(0.35, 0.65)), 0.08)
            }
            15..17 => {
                let hue = rng.range(-0.04, 0.03);
                (hsv(hue, rng.range(0.7, 0.9), rng.range(0.6, 0.8)), 0.08)
            }
            _ => (hsv(rng.unit_f32(), 0.05, rng.range(0.25, 0.4)), 0.3),
        };
        let share = rng.unit_f32();
        Self {
            colour,
            radius: thin + (thick - thin) * share * share,
            gaps,
            grain: 0.5,
            clouds: Clouds(rng.next_u64()),
        }
    }

    /// The colour of a place on `paper` that is `distance` pixels from the middle of the line.
    fn over(&self, paper: Colour, distance: f32, x: f32, y: f32) -> Colour {
        if distance > self.radius * 1.2 + 1.0 {
            return paper;
        }
        // The hand presses more here and less there.
        let radius = self.radius * (0.85 + 0.3 * self.clouds.at(x / 40.0, y / 40.0));
        let grain = self.clouds.at(x * self.grain + 1000.0, y * self.grain);
        let cover = (radius - distance + 0.5).clamp(0.0, 1.0) * (1.0 - 2.0 * self.gaps * grain);
        mixed(paper, self.colour, cover)
    }
}

/// A page, perhaps ruled, perhaps with the desk beyond its edges.
struct Paper {
    sides: [f32; 2],
    /// From where to where the page goes, in columns and in rows.
    free: [[f32; 2]; 2],
    /// How far an edge is from being upright, for each pixel along it.
    slant: f32,
    colour: Colour,
    desk: Colour,
    /// Distance of the ruled lines, their strength and their slope.
    rules: Option<[f32; 3]>,
    clouds: Clouds,
}

impl Paper {
    fn random(width: usize, height: usize, rng: &mut Rng) -> Self {
        let sides = [width as f32, height as f32];
        let white = rng.range(200.0, 235.0) / 255.0;
        let warmth = rng.range(-0.05, 0.05);
        let mut free = [[0.0, sides[0]], [0.0, sides[1]]];
        let mut slant = 0.0;
        if rng.below(4) == 0 {
            slant = rng.range(-0.05, 0.05);
            let first = rng.below(2);
            for axis in 0..1 + rng.below(2) {
                let axis = (first + axis) % 2;
                let depth = rng.range(0.05, 0.14) * sides[axis];
                match rng.below(2) {
                    0 => free[axis][0] = depth,
                    _ => free[axis][1] -= depth,
                }
            }
        }
        let rules = (rng.below(8) == 0).then(|| {
            let distance = rng.range(26.0, 48.0);
            [distance, rng.range(0.1, 0.3), rng.range(-0.08, 0.08)]
        });
        Self {
            sides,
            free,
            slant,
            colour: [white * (1.0 + warmth), white, white * (1.0 - warmth)],
            desk: hsv(
                rng.range(0.02, 0.12),
                rng.range(0.1, 0.6),
                rng.range(0.12, 0.4),
            ),
            rules,
            clouds: Clouds(rng.next_u64()),
        }
    }

    fn at(&self, x: f32, y: f32) -> Colour {
        // Fibres.
        let mut paper = dimmed(self.colour, 0.985 + 0.03 * self.clouds.at(x / 3.0, y / 3.0));
        if let Some([distance, strength, slope]) = self.rules {
            let from_line = ((y + slope * x).rem_euclid(distance) - distance * 0.5).abs();
            let cover = (1.3 - from_line).clamp(0.0, 1.0) * strength;
            paper = mixed(paper, [0.25, 0.4, 0.7], cover);
        }
        let across = [x, y];
        let along = [y - self.sides[1] * 0.5, self.sides[0] * 0.5 - x];
        let mut on_paper: f32 = 1.0;
        for axis in 0..2 {
            let at = across[axis] + self.slant * along[axis];
            let [low, high] = self.free[axis];
            if low > 0.0 {
                on_paper *= smooth(low - 1.0, low + 1.0, at);
            }
            if high < self.sides[axis] {
                on_paper *= 1.0 - smooth(high - 1.0, high + 1.0, at);
            }
        }
        if on_paper == 1.0 {
            return paper;
        }
        let wood = 0.8 + 0.4 * self.clouds.at(x / 60.0, y / 4.0);
        mixed(dimmed(self.desk, wood), paper, on_paper)
    }
}
