//! Which strokes a character consists of, and how one drawing of it differs from the next.

use super::stroke::{Point, Primitive, Segment, Stroke, rotate};
use crate::rng::Rng;

/// The side of the square, within the unit square, that an upright character fills.
const BODY: f32 = 0.6;
/// How near a new stroke's points may come to older ones before they count as drawn over.
const NEAR: f32 = 0.13;
/// At how many points of a new stroke that is tried.
const SAMPLES: usize = 7;
/// How far a drawing keeps from the edge of the unit square.
const MARGIN: f32 = 0.05;

/// A character: its strokes within the unit square.
#[derive(Debug, Clone)]
pub(super) struct Program {
    strokes: Vec<Stroke>,
}

/// The lines of one drawing within the unit square, and half the pen's width.
pub(super) struct Drawing {
    pub lines: Vec<Vec<Point>>,
    pub radius: f32,
}

struct Bounds {
    low: Point,
    high: Point,
}

impl Bounds {
    fn of<'a>(points: impl IntoIterator<Item = &'a Point>) -> Self {
        let mut bounds = Self {
            low: Point::new(f32::MAX, f32::MAX),
            high: Point::new(f32::MIN, f32::MIN),
        };
        for point in points {
            bounds.low = Point::new(bounds.low.x.min(point.x), bounds.low.y.min(point.y));
            bounds.high = Point::new(bounds.high.x.max(point.x), bounds.high.y.max(point.y));
        }
        bounds
    }

    fn size(&self) -> Point {
        self.high.minus(self.low)
    }

    fn centre(&self) -> Point {
        self.low.plus(self.high).times(0.5)
    }
}

impl Program {
    /// The character that `rng` invents.
    pub fn invent(rng: &mut Rng) -> Self {
        let target = rng.range(2.5, 4.2);
        let first = Primitive::choose(rng);
        let mut complexity = first.complexity();
        let mut strokes = vec![first.stroke(rng)];
        let mut lines = vec![strokes[0].flatten()];
        while complexity < target && strokes.len() < 4 {
            let dot = strokes.len() > 1 && rng.below(7) == 0;
            let primitive = if dot {
                Primitive::Dot
            } else {
                Primitive::choose(rng)
            };
            let stroke = place(primitive, &lines, rng);
            lines.push(stroke.flatten());
            strokes.push(stroke);
            complexity += primitive.complexity();
        }
        let bounds = Bounds::of(lines.iter().flatten());
        let (size, centre) = (bounds.size(), bounds.centre());
        let scale = BODY / size.x.max(size.y).max(0.5);
        for stroke in &mut strokes {
            stroke.map(|point| point.minus(centre).times(scale).plus(Point::new(0.5, 0.5)));
        }
        Self { strokes }
    }

    /// One person's drawing of the character.
    pub fn draw(&self, rng: &mut Rng) -> Drawing {
        let middle = Point::new(0.5, 0.5);
        let hand = Affine::global(rng);
        let mut lines: Vec<Vec<Point>> = Vec::with_capacity(self.strokes.len());
        for stroke in &self.strokes {
            let mut stroke = stroke.clone();
            let centre = Bounds::of(stroke.nodes.iter().map(|node| &node.at)).centre();
            let own = Affine::local(rng);
            let shift = scatter(rng, 0.03);
            for node in &mut stroke.nodes {
                let wobbled = node.at.minus(centre).plus(scatter(rng, 0.024));
                let placed = own.apply(wobbled).plus(centre).plus(shift);
                node.at = hand.apply(placed.minus(middle));
            }
            lines.push(stroke.flatten());
        }
        // Somewhere on the paper, but on it.
        let bounds = Bounds::of(lines.iter().flatten());
        let size = bounds.size();
        let fit = ((1.0 - 2.0 * MARGIN) / size.x.max(size.y).max(0.1)).min(1.0);
        let (low, high) = (bounds.low.times(fit), bounds.high.times(fit));
        let wish = scatter(rng, 0.065).plus(middle);
        let offset = Point::new(inside(wish.x, low.x, high.x), inside(wish.y, low.y, high.y));
        for point in lines.iter_mut().flatten() {
            *point = point.times(fit).plus(offset);
        }
        Drawing {
            lines,
            radius: rng.range(0.02, 0.032),
        }
    }
}

/// `wish`, or the nearest offset that keeps `low..high` within the margins.
fn inside(wish: f32, low: f32, high: f32) -> f32 {
    wish.min(1.0 - MARGIN - high).max(MARGIN - low)
}

fn scatter(rng: &mut Rng, deviation: f32) -> Point {
    Point::new(rng.normal() * deviation, rng.normal() * deviation)
}

/// A small linear map, by rows.
struct Affine {
    rows: [Point; 2],
}

impl Affine {
    fn new(angle: f32, shear: f32, scale: Point) -> Self {
        let column_x = rotate(Point::new(scale.x, 0.0), angle);
        let column_y = rotate(Point::new(shear * scale.y, scale.y), angle);
        Self {
            rows: [
                Point::new(column_x.x, column_y.x),
                Point::new(column_x.y, column_y.y),
            ],
        }
    }

    /// How a whole drawing is slanted and stretched.
    fn global(rng: &mut Rng) -> Self {
        let (angle, shear) = (rng.normal() * 0.13, rng.normal() * 0.16);
        let size = 1.0 + rng.normal() * 0.11;
        let stretch = rng.normal() * 0.09;
        let scale = Point::new(size * (1.0 + stretch), size * (1.0 - stretch));
        Self::new(angle, shear, Point::new(scale.x.max(0.6), scale.y.max(0.6)))
    }

    /// How one stroke is turned and stretched against the others.
    fn local(rng: &mut Rng) -> Self {
        let angle = rng.normal() * 0.1;
        let scale = Point::new(1.0 + rng.normal() * 0.1, 1.0 + rng.normal() * 0.1);
        Self::new(angle, 0.0, Point::new(scale.x.max(0.5), scale.y.max(0.5)))
    }

    fn apply(&self, point: Point) -> Point {
        let dot = |row: Point| row.x * point.x + row.y * point.y;
        Point::new(dot(self.rows[0]), dot(self.rows[1]))
    }
}

/// A new stroke joined to an older one: of several attempts the one that lies least on what is there and
/// spreads least beyond a square.
fn place(primitive: Primitive, lines: &[Vec<Point>], rng: &mut Rng) -> Stroke {
    let mut best: Option<(f32, Stroke)> = None;
    for _ in 0..8 {
        let mut stroke = primitive.stroke(rng);
        let shrink = rng.range(0.6, 0.95);
        stroke.map(|point| point.times(shrink));
        let line = stroke.flatten();
        let target = anchor(&lines[rng.below(lines.len())], rng);
        let joint = if primitive == Primitive::Dot || rng.below(8) == 0 {
            // Beside it, not on it.
            let away = Point::polar(rng.range(0.22, 0.32), rng.range(0.0, std::f32::consts::TAU));
            line[line.len() / 2].plus(away)
        } else {
            anchor(&line, rng)
        };
        let shift = target.minus(joint);
        let moved: Vec<Point> = line.iter().map(|point| point.plus(shift)).collect();
        let size = Bounds::of(lines.iter().flatten().chain(&moved)).size();
        let (long, short) = (size.x.max(size.y), size.x.min(size.y));
        let mut badness = (long - 1.1).max(0.0) * 2.0 + (long - short) * 0.4;
        if best.as_ref().is_some_and(|(least, _)| badness >= *least) {
            continue;
        }
        let covered = (0..SAMPLES)
            .filter(|&step| near_any(along(&moved, step as f32 / (SAMPLES - 1) as f32), lines))
            .count();
        badness += covered as f32 / SAMPLES as f32;
        stroke.map(|point| point.plus(shift));
        if badness < 0.3 {
            return stroke;
        }
        if best.as_ref().is_none_or(|(least, _)| badness < *least) {
            best = Some((badness, stroke));
        }
    }
    match best {
        Some((_, stroke)) => stroke,
        None => primitive.stroke(rng),
    }
}

/// A point of a line at which strokes tend to meet: an end, the middle, or somewhere between.
fn anchor(line: &[Point], rng: &mut Rng) -> Point {
    let share = match rng.below(6) {
        0 | 1 => 0.0,
        2 | 3 => 1.0,
        4 => 0.5,
        _ => rng.range(0.2, 0.8),
    };
    along(line, share)
}

/// The point at `share` of a line, counted in corners.
fn along(line: &[Point], share: f32) -> Point {
    let last = line.len() - 1;
    let place = share * last as f32;
    let index = (place as usize).min(last.saturating_sub(1));
    let next = line[(index + 1).min(last)];
    let part = place - index as f32;
    line[index].plus(next.minus(line[index]).times(part))
}

fn near_any(point: Point, lines: &[Vec<Point>]) -> bool {
    lines.iter().any(|line| {
        line.windows(2)
            .any(|ends| Segment::new(ends[0], ends[1]).squared_distance(point) < NEAR * NEAR)
    })
}
