//! Forward and input gradient.

use std::ops::Range;

use super::super::parallel;
use super::super::pool::{Slot, slots, written};
use super::ConvShape;
use super::finish::Finish;
use super::frame::{Aligned, Phase, SLACK, bands};
use super::plan::Plan;
use super::tiles::{Pixels, multiply, tile_rows, weigh};

/// Positions that are worked on together: enough to use each weight often, few enough for the cache.
const CHUNK_POSITIONS: usize = 512;
/// Tasks at least, if there are so many images and channels.
const LEAST_TASKS: usize = 8;
/// Ranges of source channels whose weights are packed by themselves.
const PACKING_TASKS: usize = 8;
/// Source channels of a range where their weights lie far apart: few enough for the cache.
const PACKED_CHANNELS: usize = 16;
/// Target channels of a group below which packing pixels does not pay.
const FEW_ROWS: usize = 4;

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

/// Some images and some target channels of one group.
struct Task<'a> {
    group: usize,
    images: Range<usize>,
    rows: Range<usize>,
    /// A slice of each image.
    target: Vec<&'a mut [Slot]>,
}

fn gather(
    plan: &Plan,
    source: &[f32],
    weight: &[f32],
    bias: &[f32],
    finish: Option<&Finish<'_>>,
) -> Vec<f32> {
    let mut target = slots(plan.images * plan.groups * plan.target_len());
    let few = plan.rows < FEW_ROWS;
    let tile = if few { 1 } else { tile_rows() };
    let phases = plan.phases.iter();
    let phases: Vec<_> = phases
        .map(|phase| Packed::new(plan, phase, weight, tile))
        .collect();
    let rows = phases.iter().map(|packed| packed.phase.count[0]).max();
    let columns = plan.phases.first().map_or(0, |phase| phase.count[1]);
    let tasks = tasks(plan, tile, &mut target);
    parallel::map_with(tasks, Space::default, |space, mut task| {
        let mut filled = 0;
        space.reserve(plan, &task);
        // Positions of several images are few enough already.
        for rows in bands([rows.unwrap_or(0), columns]) {
            let seen = phases
                .iter()
                .map(|packed| packed.seen(plan, rows.end))
                .max();
            let seen = seen.unwrap_or(0).max(filled);
            space.fill(plan, source, &task, filled..seen);
            filled = seen;
            for packed in &phases {
                let band = rows.start..rows.end.min(packed.phase.count[0]);
                if !band.is_empty() {
                    space.compute(plan, packed, band.clone(), bias, &task);
                    space.write(plan, packed, band, finish, &mut task);
                }
            }
        }
    });
    // SAFETY: the phases cover all pixels, and the tasks all images and channels.
    unsafe { written(target) }
}

/// A phase with all that its products need.
struct Packed<'a> {
    phase: &'a Phase,
    /// Of each source channel the pixels below each tap.
    offsets: Vec<usize>,
    weights: Vec<f32>,
    /// Target channels of a tile.
    tile: usize,
}

impl<'a> Packed<'a> {
    fn new(plan: &Plan, phase: &'a Phase, weight: &[f32], tile: usize) -> Self {
        let plane = plan.frame.plane();
        let offsets = (0..plan.depth).flat_map(|channel| {
            let taps = phase.taps.iter();
            taps.map(move |tap| channel * plane + plan.frame.offset(tap))
        });
        Self {
            phase,
            offsets: offsets.collect(),
            weights: pack_weights(plan, phase, weight, tile),
            tile,
        }
    }

    /// Rows of the frame that the first `count` rows of positions see.
    fn seen(&self, plan: &Plan, count: usize) -> usize {
        let of_a_channel = self.phase.taps.len().min(self.offsets.len());
        plan.frame.seen(count, &self.offsets[..of_a_channel])
    }

    /// Those of a task.
    fn weights(&self, plan: &Plan, task: &Task<'_>) -> &[f32] {
        let depth = self.offsets.len();
        let first = task.group * plan.rows.next_multiple_of(self.tile) + task.rows.start;
        &self.weights[first * depth..][..task.rows.len().next_multiple_of(self.tile) * depth]
    }
}

/// Weights as the tiles read them: `[group, row / tile, k, tile]` with `k` the taps of each source channel.
fn pack_weights(plan: &Plan, phase: &Phase, weight: &[f32], tile: usize) -> Vec<f32> {
    let depth = plan.depth * phase.taps.len();
    let blocks = plan.rows.div_ceil(tile);
    if depth == 0 {
        return Vec::new();
    }
    let mut packed = vec![0.0; plan.groups * blocks * depth * tile];
    let [row_step, channel_step] = plan.weight_steps;
    let per_group = plan.rows * plan.depth * plan.taps;
    // Forward, the weights of a target channel lie side by side; backward, those of a source channel do.
    let range = if row_step > channel_step {
        plan.depth.div_ceil(PACKING_TASKS)
    } else {
        PACKED_CHANNELS
    };
    let mut parts: Vec<Vec<&mut [f32]>> = Vec::new();
    parts.resize_with(plan.depth.div_ceil(range), Vec::new);
    for block in packed.chunks_exact_mut(depth * tile) {
        let ranges = block.chunks_mut(range * phase.taps.len() * tile);
        for (part, packed) in parts.iter_mut().zip(ranges) {
            part.push(packed);
        }
    }
    let parts = parts.into_iter().enumerate().collect();
    parallel::map(parts, |(part, packed): (usize, Vec<&mut [f32]>)| {
        for (block, packed) in packed.into_iter().enumerate() {
            let weight = &weight[block / blocks * per_group..][..per_group];
            let first = block % blocks * tile;
            let rows = tile.min(plan.rows - first);
            let mut slots = packed.chunks_exact_mut(tile);
            for channel in part * range..plan.depth.min((part + 1) * range) {
                let at = first * row_step + channel * channel_step;
                for (tap, slots) in phase.taps.iter().zip(&mut slots) {
                    for (row, slot) in slots[..rows].iter_mut().enumerate() {
                        *slot = weight[at + tap.index + row * row_step];
                    }
                }
            }
        }
    });
    packed
}

/// Every value is computed by one task in one order, so that the number of tasks does not show in the result.
fn tasks<'a>(plan: &Plan, tile: usize, target: &'a mut [Slot]) -> Vec<Task<'a>> {
    let pixels = plan.target[0] * plan.target[1];
    let positions = plan
        .phases
        .first()
        .map_or(1, |phase| phase.count[0] * phase.count[1]);
    let most = (CHUNK_POSITIONS / positions).max(1);
    let chunks = plan.images.div_ceil(most).next_multiple_of(2);
    let chunk = plan.images.div_ceil(chunks);
    let chunks = plan.images.div_ceil(chunk);
    let parts = LEAST_TASKS.div_ceil(chunks * plan.groups);
    let rows = plan.rows.div_ceil(parts).next_multiple_of(tile.max(16));
    let parts = plan.rows.div_ceil(rows);
    let mut tasks = Vec::with_capacity(chunks * plan.groups * parts);
    for first in (0..plan.images).step_by(chunk) {
        for group in 0..plan.groups {
            for part in 0..parts {
                tasks.push(Task {
                    group,
                    images: first..plan.images.min(first + chunk),
                    rows: part * rows..plan.rows.min((part + 1) * rows),
                    target: Vec::with_capacity(chunk),
                });
            }
        }
    }
    for (index, image) in target.chunks_exact_mut(plan.target_len()).enumerate() {
        let (image_index, group) = (index / plan.groups, index % plan.groups);
        let first = (image_index / chunk * plan.groups + group) * parts;
        for (part, rows) in image.chunks_mut(rows * pixels).enumerate() {
            tasks[first + part].target.push(rows);
        }
    }
    tasks
}

/// Work space of a task. What was there before does no harm: borders stay zero, all else is written anew.
#[derive(Default)]
struct Space {
    /// Source pixels with their borders.
    frames: Aligned,
    sums: Aligned,
}

impl Space {
    fn reserve(&mut self, plan: &Plan, task: &Task<'_>) {
        let framed = plan.depth * plan.frame.plane();
        self.frames.reserve(task.images.len() * framed + 2 * SLACK);
    }

    fn fill(&mut self, plan: &Plan, source: &[f32], task: &Task<'_>, rows: Range<usize>) {
        let per_image = plan.depth * plan.source[0] * plan.source[1];
        let framed = plan.depth * plan.frame.plane();
        let images = task.images.clone();
        for (index, values) in images.zip(self.frames.chunks_exact_mut(framed)) {
            let at = (index * plan.groups + task.group) * per_image;
            let image = &source[at..at + per_image];
            plan.frame.fill(image, plan.source, rows.clone(), values);
        }
    }

    fn compute(
        &mut self,
        plan: &Plan,
        packed: &Packed<'_>,
        band: Range<usize>,
        bias: &[f32],
        task: &Task<'_>,
    ) {
        let [_, columns] = packed.phase.count;
        let images = task.images.len();
        let per_image = plan.depth * plan.frame.plane();
        let runs = plan.frame.runs(band.clone(), columns, images, per_image);
        let pixels = Pixels {
            values: &self.frames,
            runs: &runs,
            offsets: &packed.offsets,
        };
        let first = task.group * plan.rows + task.rows.start;
        let bias = bias.get(first..first + task.rows.len()).unwrap_or(&[]);
        let positions = images * band.len() * columns;
        let stride = stride(positions);
        let length = task.rows.len().next_multiple_of(packed.tile) * stride;
        self.sums.reserve(length);
        let sums = &mut self.sums[..length];
        sums.fill(0.0);
        let weights = packed.weights(plan, task);
        if packed.offsets.is_empty() {
            // Pixels between the places of the kernel get no gradient.
        } else if packed.tile == 1 {
            let weights = weights.chunks_exact(packed.offsets.len());
            for (row, (sums, weights)) in sums.chunks_exact_mut(stride).zip(weights).enumerate() {
                weigh(pixels, weights, bias.get(row).copied().unwrap_or(0.0), sums);
            }
        } else {
            for (row, &bias) in sums.chunks_exact_mut(stride).zip(bias) {
                row.fill(bias);
            }
            multiply(pixels, weights, sums, stride);
        }
    }

    /// The sums of the positions in a band, to the pixels that they are of.
    fn write(
        &self,
        plan: &Plan,
        packed: &Packed<'_>,
        band: Range<usize>,
        finish: Option<&Finish<'_>>,
        task: &mut Task<'_>,
    ) {
        let [_, columns] = packed.phase.count;
        let of_image = band.len() * columns;
        let stride = stride(task.images.len() * of_image);
        let pixels = plan.target[0] * plan.target[1];
        let channels = plan.groups * plan.rows;
        let first = task.group * plan.rows + task.rows.start;
        for (place, target) in task.target.iter_mut().enumerate() {
            let planes = target
                .chunks_exact_mut(pixels)
                .zip(self.sums.chunks_exact(stride));
            for (channel, (plane, sums)) in (first..).zip(planes) {
                let sums = &sums[place * of_image..][..of_image];
                match finish {
                    Some(finish) => {
                        let from = band.start * columns;
                        let image = task.images.start + place;
                        let before = (image * channels + channel) * pixels + from;
                        finish.write(sums, channel, before, &mut plane[from..][..of_image]);
                    }
                    None => scatter(plan, packed.phase, band.start, sums, plane),
                }
            }
        }
    }
}

/// Values from one row of sums to the next.
const fn stride(positions: usize) -> usize {
    positions.next_multiple_of(16) + 16
}

/// Copies sums to the pixels of a phase, from its row `first` on.
fn scatter(plan: &Plan, phase: &Phase, first: usize, sums: &[f32], plane: &mut [Slot]) {
    let columns = phase.count[1];
    if plan.spread == [1, 1] {
        plane[first * columns..][..sums.len()].write_copy_of_slice(sums);
        return;
    }
    let width = plan.target[1];
    for (y, sums) in (first..).zip(sums.chunks_exact(columns)) {
        let row = &mut plane[(phase.first[0] + y * plan.spread[0]) * width..][..width];
        let places = row[phase.first[1]..].iter_mut().step_by(plan.spread[1]);
        for (place, sum) in places.zip(sums) {
            place.write(*sum);
        }
    }
}
