//! Points, pen strokes and the primitive movements that strokes are made of. The y axis points down.

use std::f32::consts::{FRAC_PI_2, FRAC_PI_4, PI, TAU};

use crate::rng::Rng;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Point {
    pub x: f32,
    pub y: f32,
}

impl Point {
    pub const fn new(x: f32, y: f32) -> Self {
        Self { x, y }
    }

    pub fn polar(radius: f32, angle: f32) -> Self {
        Self::new(radius * libm::cosf(angle), radius * libm::sinf(angle))
    }

    pub fn plus(self, other: Self) -> Self {
        Self::new(self.x + other.x, self.y + other.y)
    }

    pub fn minus(self, other: Self) -> Self {
        Self::new(self.x - other.x, self.y - other.y)
    }

    pub fn times(self, factor: f32) -> Self {
        Self::new(self.x * factor, self.y * factor)
    }

    pub fn squared(self) -> f32 {
        self.x * self.x + self.y * self.y
    }
}

/// A straight piece of a line, ready to measure distances from it.
pub(super) struct Segment {
    from: Point,
    along: Point,
    inverse: f32,
}

impl Segment {
    pub fn new(from: Point, to: Point) -> Self {
        let along = to.minus(from);
        let inverse = 1.0 / along.squared().max(1e-12);
        Self {
            from,
            along,
            inverse,
        }
    }

    pub fn squared_distance(&self, point: Point) -> f32 {
        let offset = point.minus(self.from);
        let dot = offset.x * self.along.x + offset.y * self.along.y;
        let t = (dot * self.inverse).clamp(0.0, 1.0);
        offset.minus(self.along.times(t)).squared()
    }
}

/// A point the pen passes; at a corner it changes direction at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Node {
    pub at: Point,
    pub corner: bool,
}

/// One movement of the pen without lifting it.
#[derive(Debug, Clone)]
pub(super) struct Stroke {
    pub nodes: Vec<Node>,
}

/// Segments per curved span between two nodes.
const SEGMENTS: usize = 6;

impl Stroke {
    fn corners(points: impl IntoIterator<Item = Point>) -> Self {
        let corner = true;
        Self {
            nodes: points.into_iter().map(|at| Node { at, corner }).collect(),
        }
    }

    fn curve(points: impl IntoIterator<Item = Point>) -> Self {
        let corner = false;
        Self {
            nodes: points.into_iter().map(|at| Node { at, corner }).collect(),
        }
    }

    /// Moves every node.
    pub fn map(&mut self, change: impl Fn(Point) -> Point) {
        for node in &mut self.nodes {
            node.at = change(node.at);
        }
    }

    /// The corners of a polyline along the stroke: a Catmull-Rom spline between corners.
    pub fn flatten(&self) -> Vec<Point> {
        let nodes = &self.nodes;
        let mut line = Vec::with_capacity(nodes.len() * SEGMENTS);
        line.extend(nodes.first().map(|node| node.at));
        for (index, span) in nodes.windows(2).enumerate() {
            let (from, to) = (span[0], span[1]);
            if !(from.corner && to.corner) {
                let before = match index.checked_sub(1) {
                    Some(before) if !from.corner => nodes[before].at,
                    _ => from.at,
                };
                let after = match nodes.get(index + 2) {
                    Some(after) if !to.corner => after.at,
                    _ => to.at,
                };
                for step in 1..SEGMENTS {
                    let t = step as f32 / SEGMENTS as f32;
                    line.push(catmull_rom([before, from.at, to.at, after], t));
                }
            }
            line.push(to.at);
        }
        line
    }
}

fn catmull_rom([before, from, to, after]: [Point; 4], t: f32) -> Point {
    let axis = |a: f32, b: f32, c: f32, d: f32| {
        let linear = c - a;
        let square = 2.0 * a - 5.0 * b + 4.0 * c - d;
        let cube = 3.0 * (b - c) + d - a;
        0.5 * (2.0 * b + t * (linear + t * (square + t * cube)))
    };
    Point::new(
        axis(before.x, from.x, to.x, after.x),
        axis(before.y, from.y, to.y, after.y),
    )
}

/// The movements of a writing hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Primitive {
    /// A straight line.
    Bar,
    /// A part of an ellipse.
    Arc,
    /// A closed ellipse.
    Loop,
    /// A bar that ends in a small arc.
    Hook,
    /// Two lines that meet at a corner.
    Angle,
    /// Three or four lines, to and fro.
    Zigzag,
    /// An S.
    Wave,
    /// A line that crosses itself in a loop.
    Knot,
    /// An arc that winds inwards.
    Spiral,
    /// A short touch of the pen.
    Dot,
}

impl Primitive {
    /// How often each is chosen, out of 20. Dots come beside other strokes only.
    const FREQUENT: [Self; 20] = [
        Self::Bar,
        Self::Bar,
        Self::Bar,
        Self::Bar,
        Self::Bar,
        Self::Arc,
        Self::Arc,
        Self::Arc,
        Self::Arc,
        Self::Loop,
        Self::Loop,
        Self::Hook,
        Self::Hook,
        Self::Hook,
        Self::Angle,
        Self::Angle,
        Self::Zigzag,
        Self::Wave,
        Self::Knot,
        Self::Spiral,
    ];

    pub fn choose(rng: &mut Rng) -> Self {
        Self::FREQUENT[rng.below(Self::FREQUENT.len())]
    }

    /// How much a stroke of this kind adds to what sets a character apart.
    pub fn complexity(self) -> f32 {
        match self {
            Self::Dot => 0.5,
            Self::Bar => 1.0,
            Self::Arc | Self::Loop | Self::Angle => 1.5,
            Self::Hook | Self::Wave => 2.0,
            Self::Zigzag | Self::Knot | Self::Spiral => 2.5,
        }
    }

    /// A stroke about one unit long or wide, near the origin, in one of the directions a hand prefers.
    pub fn stroke(self, rng: &mut Rng) -> Stroke {
        match self {
            Self::Bar => {
                let half = Point::polar(rng.range(0.3, 0.5), direction(rng));
                Stroke::corners([half.times(-1.0), half])
            }
            Self::Dot => {
                let half = Point::polar(rng.range(0.05, 0.09), direction(rng));
                Stroke::corners([half.times(-1.0), half])
            }
            Self::Arc => {
                let sweep = rng.range(0.8, 1.55) * PI;
                ellipse(rng, sweep, 1.0)
            }
            Self::Loop => {
                let sweep = rng.range(1.02, 1.1) * TAU;
                ellipse(rng, sweep, 1.0)
            }
            Self::Spiral => {
                let sweep = rng.range(1.3, 1.7) * TAU;
                ellipse(rng, sweep, 0.3)
            }
            Self::Hook => hook(rng),
            Self::Angle => {
                let first = direction(rng);
                let turn = sign(rng) * rng.range(0.3, 0.7) * PI;
                let one = Point::polar(rng.range(0.4, 0.8), first + PI);
                let two = Point::polar(rng.range(0.4, 0.7), first + turn);
                Stroke::corners([one, Point::new(0.0, 0.0), two])
            }
            Self::Zigzag => {
                let (along, lines) = (direction(rng), 3 + rng.below(2));
                zigzag(rng, along, lines, Stroke::corners)
            }
            Self::Wave => {
                let along = direction(rng);
                zigzag(rng, along, 3, Stroke::curve)
            }
            Self::Knot => {
                let (turn, flip) = (direction(rng), sign(rng));
                let (width, reach) = (rng.range(0.2, 0.3), rng.range(0.35, 0.5));
                let outline = [
                    (-reach, 0.35),
                    (0.1, 0.05),
                    (width, -0.3),
                    (0.0, -0.5),
                    (-width, -0.3),
                    (-0.1, 0.05),
                    (reach, 0.35),
                ];
                let mut stroke = Stroke::curve(outline.map(|(x, y)| Point::new(x * flip, y)));
                stroke.map(|point| rotate(point, turn));
                stroke
            }
        }
    }
}

pub(super) fn rotate(point: Point, angle: f32) -> Point {
    let (sin, cos) = (libm::sinf(angle), libm::cosf(angle));
    Point::new(point.x * cos - point.y * sin, point.x * sin + point.y * cos)
}

/// One of eight directions, a little off; straight ones twice as often as oblique ones.
fn direction(rng: &mut Rng) -> f32 {
    let straight = rng.below(3) < 2;
    let base = rng.below(4) as f32 * FRAC_PI_2;
    let off = rng.range(-0.12, 0.12);
    base + off + if straight { 0.0 } else { FRAC_PI_4 }
}

fn sign(rng: &mut Rng) -> f32 {
    if rng.below(2) == 0 { 1.0 } else { -1.0 }
}

/// A part of an ellipse whose radius shrinks towards `inner` times itself at the end.
fn ellipse(rng: &mut Rng, sweep: f32, inner: f32) -> Stroke {
    let (rx, ry) = (rng.range(0.25, 0.45), rng.range(0.25, 0.45));
    let (start, clockwise) = (direction(rng), sign(rng));
    let spans = libm::ceilf(sweep / 0.95) as usize;
    Stroke::curve((0..=spans).map(|step| {
        let t = step as f32 / spans as f32;
        let radius = 1.0 + (inner - 1.0) * t;
        let unit = Point::polar(radius, start + clockwise * sweep * t);
        Point::new(unit.x * rx, unit.y * ry)
    }))
}

fn hook(rng: &mut Rng) -> Stroke {
    let (length, radius) = (rng.range(0.5, 0.75), rng.range(0.12, 0.22));
    let (turn, side) = (direction(rng), sign(rng));
    let sweep = rng.range(0.7, 1.2) * PI;
    let mut stroke = Stroke::corners([Point::new(-length, 0.0)]);
    for step in 0..=3 {
        let angle = -FRAC_PI_2 + sweep * step as f32 / 3.0;
        let on_circle = Point::polar(radius, angle).plus(Point::new(0.0, radius));
        stroke.nodes.push(Node {
            at: Point::new(on_circle.x, on_circle.y * side),
            corner: false,
        });
    }
    stroke.map(|point| rotate(point.plus(Point::new(length / 2.0, 0.0)), turn));
    stroke
}

fn zigzag(rng: &mut Rng, along: f32, lines: usize, join: impl Fn(Vec<Point>) -> Stroke) -> Stroke {
    let (pitch, height) = (rng.range(0.2, 0.32), rng.range(0.2, 0.4));
    let flip = sign(rng);
    let points = (0..=lines).map(|index| {
        let x = (index as f32 - lines as f32 / 2.0) * pitch;
        let y = if index.is_multiple_of(2) {
            height
        } else {
            -height
        };
        rotate(Point::new(x, y * flip), along)
    });
    join(points.collect())
}
