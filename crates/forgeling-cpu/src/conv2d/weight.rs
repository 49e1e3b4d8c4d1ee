//! Gradients of the weights and of the bias.

use std::ops::{Deref, Range};

use super::super::moments::sum;
use super::super::parallel;
use super::ConvShape;
use super::frame::{Aligned, SLACK, bands};
use super::plan::Plan;
use super::tiles::{Pixels, Rows, multiply_rows, unfold};

/// Positions that are summed over together.
const CHUNK_POSITIONS: usize = 1024;
/// Weights of an output channel that a task computes, about.
const TASK_COLUMNS: usize = 96;
/// Tasks at least, if there are so many images. Numbers of their own, since sums are taken in the order of the tasks
/// and must not depend on the machine.
const LEAST_TASKS: usize = 8;

enum Values<'a> {
    /// As they are.
    Borrowed(&'a [f32]),
    /// Images side by side.
    Laid(Aligned),
}

impl Deref for Values<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match self {
            Self::Borrowed(values) => values,
            Self::Laid(values) => values,
        }
    }
}

/// The gradient of the output, `[chunk, channel, position]`, with zeros behind the positions of a chunk.
struct Flow<'a> {
    values: Values<'a>,
    /// Images of a chunk.
    images: usize,
    chunks: usize,
    /// Values of a channel of a chunk, a multiple of 16.
    stride: usize,
}

impl<'a> Flow<'a> {
    fn new(dy: &'a [f32], shape: &ConvShape) -> Self {
        let pixels = shape.out().iter().product::<usize>();
        let images = (CHUNK_POSITIONS / pixels).clamp(1, shape.images);
        let chunks = shape.images.div_ceil(images);
        let stride = (images * pixels).next_multiple_of(16);
        let values = if images == 1 && stride == pixels {
            Values::Borrowed(dy)
        } else {
            let mut values = Aligned::new(chunks * shape.outputs * stride);
            let parts = values
                .chunks_exact_mut(shape.outputs * stride)
                .zip(dy.chunks(images * shape.outputs * pixels))
                .collect();
            parallel::map(parts, |(values, dy): (&mut [f32], &[f32])| {
                for (index, plane) in dy.chunks_exact(pixels).enumerate() {
                    let (image, channel) = (index / shape.outputs, index % shape.outputs);
                    let at = channel * stride + image * pixels;
                    values[at..at + pixels].copy_from_slice(plane);
                }
            });
            Values::Laid(values)
        };
        Self {
            values,
            images,
            chunks,
            stride,
        }
    }
}

/// Some input channels of one group, over some chunks of the images.
struct Task {
    group: usize,
    channels: Range<usize>,
    chunks: Range<usize>,
}

fn tasks(plan: &Plan, chunks: usize) -> Vec<Task> {
    let blocks = (plan.depth * plan.taps).div_ceil(TASK_COLUMNS);
    let block = plan
        .depth
        .div_ceil(blocks.next_multiple_of(2).min(plan.depth));
    let blocks = plan.depth.div_ceil(block);
    let parts = LEAST_TASKS.div_ceil(blocks * plan.groups).min(chunks);
    let mut tasks = Vec::with_capacity(plan.groups * blocks * parts);
    for group in 0..plan.groups {
        for first in (0..plan.depth).step_by(block) {
            for part in 0..parts {
                tasks.push(Task {
                    group,
                    channels: first..plan.depth.min(first + block),
                    chunks: part * chunks / parts..(part + 1) * chunks / parts,
                });
            }
        }
    }
    tasks
}

/// The gradient of the weights, `[out, in / groups, row, column]`.
pub fn weight_gradient(x: &[f32], dy: &[f32], shape: &ConvShape) -> Vec<f32> {
    let plan = Plan::forward(shape);
    let flow = Flow::new(dy, shape);
    let tasks = tasks(&plan, flow.chunks);
    let parts = parallel::map_with(tasks, Space::default, |space, task| {
        let sums = task_gradient(&plan, x, &flow, &task, space);
        (task, sums)
    });
    let columns = plan.depth * plan.taps;
    let mut gradient = vec![0.0; shape.outputs * columns];
    let per_group = parts.len() / plan.groups;
    let rows = gradient.chunks_exact_mut(columns).enumerate().collect();
    parallel::map(rows, |(output, row): (usize, &mut [f32])| {
        let (group, index) = (output / plan.rows, output % plan.rows);
        for (task, sums) in &parts[group * per_group..][..per_group] {
            let width = task.channels.len() * plan.taps;
            let row = &mut row[task.channels.start * plan.taps..][..width];
            for (value, sum) in row.iter_mut().zip(&sums[index * width..][..width]) {
                *value += sum;
            }
        }
    });
    gradient
}

/// Work space of a task. What was there before does no harm: borders stay zero, all else is written anew.
#[derive(Default)]
struct Space {
    /// Source pixels with their borders.
    frames: Aligned,
    /// The pixels below each tap.
    rows: Aligned,
}

fn task_gradient(
    plan: &Plan,
    x: &[f32],
    flow: &Flow<'_>,
    task: &Task,
    space: &mut Space,
) -> Vec<f32> {
    let phase = &plan.phases[0];
    let (plane, pixels) = (plan.frame.plane(), plan.source[0] * plan.source[1]);
    let framed = task.channels.len() * plane;
    let offsets: Vec<usize> = (0..task.channels.len())
        .flat_map(|channel| {
            let taps = phase.taps.iter();
            taps.map(move |tap| channel * plane + plan.frame.offset(tap))
        })
        .collect();
    let columns = offsets.len();
    let Space { frames, rows } = space;
    frames.reserve(flow.images * framed + 2 * SLACK);
    let mut sums = vec![0.0; plan.rows * columns];
    for chunk in task.chunks.clone() {
        let first = chunk * flow.images;
        let images = first..plan.images.min(first + flow.images);
        let at = (chunk * plan.groups + task.group) * plan.rows * flow.stride;
        let flow_rows = &flow.values[at..][..plan.rows * flow.stride];
        let mut filled = 0;
        // Positions of several images are few enough already.
        for band in bands(phase.count) {
            let seen = plan.frame.seen(band.end, &offsets[..phase.taps.len()]);
            for (image, values) in images.clone().zip(frames.chunks_exact_mut(framed)) {
                let channel = (image * plan.groups + task.group) * plan.depth + task.channels.start;
                let source = &x[channel * pixels..][..task.channels.len() * pixels];
                plan.frame.fill(source, plan.source, filled..seen, values);
            }
            filled = seen;
            let [first, positions] =
                [band.start, images.len() * band.len()].map(|rows| rows * phase.count[1]);
            let runs = plan.frame.runs(band, phase.count[1], images.len(), framed);
            let stride = positions.next_multiple_of(16);
            rows.reserve(columns.next_multiple_of(3) * stride + SLACK);
            let pixels = Pixels {
                values: frames,
                runs: &runs,
                offsets: &offsets,
            };
            unfold(pixels, rows, stride);
            let flow = Rows {
                values: &flow_rows[first..],
                stride: flow.stride,
                count: plan.rows,
            };
            multiply_rows(
                flow,
                Rows {
                    values: rows,
                    stride,
                    count: columns,
                },
                &mut sums,
            );
        }
    }
    sums
}

/// The gradient of the bias: the sum of each channel.
pub fn bias_gradient(dy: &[f32], shape: &ConvShape) -> Vec<f32> {
    let pixels = shape.out().iter().product::<usize>();
    let channels = (0..shape.outputs).collect();
    parallel::map(channels, |channel: usize| {
        let planes = (0..shape.images).map(|image| {
            let at = (image * shape.outputs + channel) * pixels;
            f64::from(plain_sum(&dy[at..at + pixels]))
        });
        planes.sum::<f64>() as f32
    })
}

#[macerator::with_simd]
fn plain_sum<S: macerator::Simd>(values: &[f32]) -> f32 {
    sum(values, |value| value)
}
