//! Depthwise convolution: each channel by a kernel of its own.
//!
//! There is no sum over channels that a matrix product could take. A plane is copied into a frame, whose border needs
//! no test of any pixel, and goes from the innermost cache through all taps to the result.

use macerator::{Scalar, Simd, Vector, vload_unaligned, vstore_unaligned};

use super::super::parallel;
use super::super::pool::{Slot, slots, written};
use super::ConvShape;
use super::finish::Finish;
use super::frame::{Aligned, Phase, SLACK};
use super::plan::Plan;

/// Rows of a register tile.
const TILE_ROWS: usize = 4;
/// Vectors of each of its rows.
const TILE_VECTORS: usize = 2;
/// Taps whose sums the registers hold.
const TILE_TAPS: usize = 9;
/// Values of the planes of a task, about.
const TASK_VALUES: usize = 1 << 14;
/// Lanes of the widest vectors.
const MOST_LANES: usize = 16;

/// `y = bias + conv(x, weight)`, of `[image, channel, row, column]`; no bias if it is empty.
pub fn forward(x: &[f32], weight: &[f32], bias: &[f32], shape: &ConvShape) -> Vec<f32> {
    gather(&Plan::forward(shape), x, weight, bias, None)
}

/// `y = finish(conv(x, weight))`
pub fn finished(x: &[f32], weight: &[f32], finish: &Finish<'_>, shape: &ConvShape) -> Vec<f32> {
    gather(&Plan::forward(shape), x, weight, &[], Some(finish))
}

/// The gradient of `x`.
pub fn input_gradient(dy: &[f32], weight: &[f32], shape: &ConvShape) -> Vec<f32> {
    gather(&Plan::input_gradient(shape), dy, weight, &[], None)
}

/// The gradient of the weights, `[channel, row, column]`: of each channel one image after the other.
pub fn weight_gradient(x: &[f32], dy: &[f32], shape: &ConvShape) -> Vec<f32> {
    let plan = Plan::forward(shape);
    let (taps, [rows, columns]) = (Taps::new(&plan, &plan.phases[0]), shape.out());
    let (pixels, of_source) = (rows * columns, plan.source[0] * plan.source[1]);
    let pitch = columns.next_multiple_of(MOST_LANES);
    let mut gradient = vec![0.0; plan.groups * plan.taps];
    let channels = gradient.chunks_exact_mut(plan.taps).enumerate().collect();
    let space = || [room(&plan), Aligned::new(rows * pitch)];
    let add = |space: &mut _, (channel, sums): (usize, &mut [f32])| {
        for plane in (channel..plan.images * plan.groups).step_by(plan.groups) {
            let image = &x[plane * of_source..][..of_source];
            let dy = &dy[plane * pixels..][..pixels];
            add_plane(&plan, &taps, image, dy, space, sums);
        }
    };
    parallel::map_with(channels, space, add);
    gradient
}

/// Adds what one plane gives to the gradient of its kernel.
#[macerator::with_simd]
fn add_plane<S: Simd>(
    plan: &Plan,
    taps: &Taps,
    image: &[f32],
    dy: &[f32],
    space: &mut [Aligned; 2],
    sums: &mut [f32],
) {
    let [frame, flow] = space;
    plan.frame
        .fill(image, plan.source, 0..plan.frame.rows(), frame);
    let [rows, columns] = taps.phase.count;
    let pitch = columns.next_multiple_of(MOST_LANES);
    // What lies behind the columns stays zero.
    for (flow, dy) in flow.chunks_exact_mut(pitch).zip(dy.chunks_exact(columns)) {
        flow[..columns].copy_from_slice(dy);
    }
    let below = taps.below(plan, frame, 0);
    add_products::<S>(below, &flow[..rows * pitch], pitch, sums);
}

/// A frame for planes of the source.
fn room(plan: &Plan) -> Aligned {
    let more = (TILE_ROWS - 1) * plan.frame.step() * plan.frame.row();
    Aligned::new(plan.frame.plane() + more + SLACK)
}

/// A phase with its taps row by row and column by column of the frame.
struct Taps {
    phase: Phase,
    offsets: Vec<usize>,
    /// Taps side by side.
    columns: usize,
}

impl Taps {
    fn new(plan: &Plan, phase: &Phase) -> Self {
        let mut phase = phase.clone();
        // Backward they come in the opposite order.
        if phase.taps.first().map(|tap| tap.at) > phase.taps.last().map(|tap| tap.at) {
            phase.taps.reverse();
        }
        let first = phase.taps.first().map(|tap| tap.at[0]);
        let side_by_side = phase.taps.iter().filter(|tap| Some(tap.at[0]) == first);
        let offsets = phase.taps.iter().map(|tap| plan.frame.offset(tap));
        Self {
            offsets: offsets.collect(),
            columns: side_by_side.count(),
            phase,
        }
    }

    fn below<'a>(&'a self, plan: &Plan, frame: &'a [f32], first: usize) -> Below<'a> {
        let (row, step) = (plan.frame.row(), plan.frame.step());
        Below {
            frame: &frame[first * step * row..],
            row,
            step,
            offsets: &self.offsets,
            columns: self.columns,
        }
    }
}

fn gather(
    plan: &Plan,
    source: &[f32],
    weight: &[f32],
    bias: &[f32],
    finish: Option<&Finish<'_>>,
) -> Vec<f32> {
    let (pixels, of_source) = (plan.target_len(), plan.source[0] * plan.source[1]);
    let mut target = slots(plan.images * plan.groups * pixels);
    let phases = plan.phases.iter();
    let phases: Vec<_> = phases.map(|phase| Taps::new(plan, phase)).collect();
    let many = TASK_VALUES.div_ceil(pixels + of_source);
    let tasks = target.chunks_mut(many * pixels).enumerate().collect();
    let most = plan.target[1].next_multiple_of(TILE_VECTORS * MOST_LANES);
    let space = || Space {
        frame: room(plan),
        weights: Vec::new(),
        sums: Aligned::new(TILE_ROWS * most),
    };
    parallel::map_with(tasks, space, |space, (task, planes): (_, &mut [Slot])| {
        for (index, target) in planes.chunks_exact_mut(pixels).enumerate() {
            let plane = task * many + index;
            let channel = plane % plan.groups;
            space.weights.clear();
            let weight = &weight[channel * plan.taps..][..plan.taps];
            for tap in phases.iter().flat_map(|taps| &taps.phase.taps) {
                space.weights.push(weight[tap.index]);
            }
            let bias = bias.get(channel).copied().unwrap_or(0.0);
            let image = &source[plane * of_source..][..of_source];
            let plane = Plane {
                index: plane,
                image,
                bias,
                finish,
            };
            gather_plane(plan, &phases, plane, space, target);
        }
    });
    // SAFETY: the phases cover all pixels of a plane, and the tasks all planes.
    unsafe { written(target) }
}

/// Work space of a task. What was there before does no harm: borders stay zero, all else is written anew.
struct Space {
    frame: Aligned,
    /// Those of each phase.
    weights: Vec<f32>,
    /// Of a tile's rows.
    sums: Aligned,
}

/// A channel of an image.
#[derive(Clone, Copy)]
struct Plane<'a> {
    /// Its number among all of the result.
    index: usize,
    image: &'a [f32],
    bias: f32,
    finish: Option<&'a Finish<'a>>,
}

/// One plane, a few rows after the other, so that memory is read, computed with and written at the same time.
#[macerator::with_simd]
fn gather_plane<'a, S: Simd>(
    plan: &Plan,
    phases: &[Taps],
    plane: Plane<'a>,
    space: &mut Space,
    target: &mut [Slot],
) {
    let Space {
        frame,
        weights,
        sums,
    } = space;
    let mut filled = 0;
    let most = plan.phases.first().map_or(0, |phase| phase.count[0]);
    for first in (0..most).step_by(TILE_ROWS) {
        let seen = phases
            .iter()
            .map(|taps| plan.frame.seen(first + TILE_ROWS, &taps.offsets));
        let seen = seen.max().unwrap_or(0).max(filled);
        plan.frame
            .fill_rows(plane.image, plan.source, filled..seen, frame);
        filled = seen;
        let mut weights = &weights[..];
        for taps in phases {
            let of_phase;
            (of_phase, weights) = weights.split_at(taps.offsets.len());
            let [rows, columns] = taps.phase.count;
            if first >= rows {
                continue;
            }
            let pitch = columns.next_multiple_of(TILE_VECTORS * MOST_LANES);
            let sums = &mut sums[..TILE_ROWS * pitch];
            let below = taps.below(plan, frame, first);
            weigh::<S>(below, of_phase, plane.bias, sums, pitch);
            match plane.finish {
                Some(finish) => {
                    let channel = plane.index % plan.groups;
                    for (y, sums) in (first..rows).zip(sums.chunks_exact(pitch)) {
                        let from = y * columns;
                        let before = plane.index * plan.target_len() + from;
                        let target = &mut target[from..][..columns];
                        finish.write_here(&sums[..columns], channel, before, target);
                    }
                }
                None => scatter(plan, &taps.phase, first, sums, target),
            }
        }
    }
}

/// Copies a tile's sums to the pixels of a phase, from its row `first` on.
fn scatter(plan: &Plan, phase: &Phase, first: usize, sums: &[f32], target: &mut [Slot]) {
    let [rows, columns] = phase.count;
    let width = plan.target[1];
    let sums = sums.chunks_exact(sums.len() / TILE_ROWS);
    for (y, sums) in (first..rows).zip(sums) {
        let row = &mut target[(phase.first[0] + y * plan.spread[0]) * width..][..width];
        if plan.spread[1] == 1 {
            row.write_copy_of_slice(&sums[..columns]);
            continue;
        }
        let places = row[phase.first[1]..].iter_mut().step_by(plan.spread[1]);
        for (place, sum) in places.zip(sums) {
            place.write(*sum);
        }
    }
}

/// The pixels below each tap: those of tap `t` from `offsets[t]` on.
#[derive(Clone, Copy)]
struct Below<'a> {
    frame: &'a [f32],
    /// Values from row to row of the frame.
    row: usize,
    /// Rows of the frame from one row of positions to the next.
    step: usize,
    offsets: &'a [usize],
    /// Taps side by side.
    columns: usize,
}

impl Below<'_> {
    /// Whether whole vectors of so many rows lie in the frame.
    #[inline(always)]
    fn hold(&self, rows: usize, pitch: usize) -> bool {
        let last = self.offsets.iter().max();
        let first = (rows - 1) * self.step * self.row;
        last.is_none_or(|last| first + pitch + last <= self.frame.len())
    }

    /// Each value that is read goes to all rows of positions that see it.
    #[inline(always)]
    unsafe fn add<S: Simd>(
        &self,
        weights: &[f32],
        x: usize,
        values: &mut [[Vector<S, f32>; TILE_VECTORS]; TILE_ROWS],
    ) {
        let rows = weights.len() / self.columns;
        for y in 0..(TILE_ROWS - 1) * self.step + rows {
            for tap in 0..self.columns {
                unsafe {
                    let at = y * self.row + x + self.offsets.get_unchecked(tap);
                    let mut pixels = [0f32.splat::<S>(); TILE_VECTORS];
                    for (v, pixels) in pixels.iter_mut().enumerate() {
                        let at = self.frame.as_ptr().add(at + v * f32::lanes::<S>());
                        *pixels = vload_unaligned(at);
                    }
                    for (row, values) in values.iter_mut().enumerate() {
                        let place = y.wrapping_sub(row * self.step);
                        if place < rows {
                            let weight = weights.get_unchecked(place * self.columns + tap);
                            let weight = weight.splat::<S>();
                            for (value, pixels) in values.iter_mut().zip(pixels) {
                                *value = pixels.mul_add(weight, *value);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// `sums[y, x] = bias + sum_t weights[t] below[t][y, x]`, for the rows of a tile of `pitch` values each.
#[inline(always)]
fn weigh<S: Simd>(below: Below<'_>, weights: &[f32], bias: f32, sums: &mut [f32], pitch: usize) {
    let lanes = f32::lanes::<S>();
    let width = TILE_VECTORS * lanes;
    assert!(pitch.is_multiple_of(width) && sums.len() == TILE_ROWS * pitch);
    assert!(below.hold(TILE_ROWS, pitch));
    for x in (0..pitch).step_by(width) {
        let mut values = [[bias.splat::<S>(); TILE_VECTORS]; TILE_ROWS];
        // SAFETY: the frame was found to hold all that is read, and there are so many rows of whole vectors.
        unsafe {
            if !weights.is_empty() {
                below.add(weights, x, &mut values);
            }
            for (row, values) in values.into_iter().enumerate() {
                for (v, value) in values.into_iter().enumerate() {
                    let at = row * pitch + x + v * lanes;
                    vstore_unaligned(sums.as_mut_ptr().add(at), value);
                }
            }
        }
    }
}

/// `sums[t] += sum_{y, x} flow[y, x] below[t][y, x]`, for rows of `pitch` values that are zero at their end.
#[inline(always)]
fn add_products<S: Simd>(below: Below<'_>, flow: &[f32], pitch: usize, sums: &mut [f32]) {
    let Below { frame, offsets, .. } = below;
    let down = below.step * below.row;
    let lanes = f32::lanes::<S>();
    assert!(pitch.is_multiple_of(lanes) && below.hold(flow.len() / pitch, pitch));
    for (offsets, sums) in offsets.chunks(TILE_TAPS).zip(sums.chunks_mut(TILE_TAPS)) {
        // Where there are fewer taps the last is repeated; what comes of that is not looked at.
        let mut all = [offsets[offsets.len() - 1]; TILE_TAPS];
        all[..offsets.len()].copy_from_slice(offsets);
        let mut totals: [Vector<S, f32>; TILE_TAPS] = [0f32.splat(); TILE_TAPS];
        for (y, flow) in flow.chunks_exact(pitch).enumerate() {
            for x in (0..pitch).step_by(lanes) {
                // SAFETY: a row is of whole vectors, and the frame was found to hold those below.
                unsafe {
                    let flow = vload_unaligned::<S, f32>(flow.as_ptr().add(x));
                    for (total, offset) in totals.iter_mut().zip(all) {
                        let at = frame.as_ptr().add(y * down + x + offset);
                        *total = vload_unaligned::<S, f32>(at).mul_add(flow, *total);
                    }
                }
            }
        }
        for (sum, total) in sums.iter_mut().zip(totals) {
            *sum += total.reduce_add();
        }
    }
}

#[cfg(all(test, feature = "rayon"))]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_threads_does_not_show() {
        let shape = ConvShape {
            images: 7,
            groups: 5,
            inputs: 5,
            outputs: 5,
            size: [33, 47],
            kernel: [5, 5],
            stride: [2, 2],
            padding: [2, 1],
        };
        let waves = |count: usize| -> Vec<f32> { (0..count).map(|i| (i as f32).sin()).collect() };
        let [height, width] = shape.out();
        let x = waves(7 * 5 * 33 * 47);
        let (weight, dy) = (waves(5 * 25), waves(7 * 5 * height * width));
        let bits =
            |values: Vec<f32>| -> Vec<u32> { values.into_iter().map(f32::to_bits).collect() };
        let with = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            pool.build().unwrap().install(|| {
                [
                    forward(&x, &weight, &weight[..5], &shape),
                    input_gradient(&dy, &weight, &shape),
                    weight_gradient(&x, &dy, &shape),
                ]
                .map(bits)
            })
        };
        assert_eq!(with(1), with(3));
    }
}
