//! Convolutions.

use super::kernel::{Kernel, ROWS, Sums, Tile};
use super::linear::spoil;
use super::packed::{BLOCK, Packed, Scaled, TERMS};
use super::round::{Grid, round_to};
use crate::conv2d::ConvShape;
use crate::parallel;

/// Blocks of filters of a task.
const TASK_BLOCKS: usize = 2;

/// Packs weights `[filters, inputs / groups, rows, columns]`: those of each group by themselves.
pub fn pack(weights: &[i8], shape: &ConvShape) -> Vec<Packed> {
    let ([inputs, outputs], taps) = (shape.group(), shape.taps());
    let group = |group: usize| {
        Packed::new([outputs, taps, inputs], |output, tap, input| {
            weights[((group * outputs + output) * inputs + input) * taps + tap]
        })
    };
    (0..shape.groups).map(group).collect()
}

/// `y = multiplier (conv(round(x), weight) + bias)` of `[image, channel, row, column]`; beyond the borders values are 0.
pub fn conv2d(
    x: &[f32],
    shape: &ConvShape,
    grid: Grid,
    packed: &[Packed],
    scaled: Scaled<'_>,
    kernel: Kernel,
) -> Vec<f32> {
    let frame = Frame::new(shape);
    let (bytes, nan) = frame.filled(x, shape, grid);
    let [rows, columns] = shape.out();
    let [_, outputs] = shape.group();
    let pixels = rows * columns;
    // Where the window of each pixel begins, and each tap in it.
    let starts: Vec<usize> = (0..rows)
        .flat_map(|row| (0..columns).map(move |column| [row, column]))
        .map(|[row, column]| frame.place(row * shape.stride[0], column * shape.stride[1]))
        .collect();
    let taps: Vec<usize> = (0..shape.kernel[0])
        .flat_map(|row| (0..shape.kernel[1]).map(move |column| [row, column]))
        .map(|[row, column]| frame.place(row, column))
        .collect();
    let mut y = vec![0.0; shape.images * shape.outputs * pixels];
    let mut tasks = Vec::new();
    for (plane, y) in y.chunks_exact_mut(outputs * pixels).enumerate() {
        for (part, y) in y.chunks_mut(TASK_BLOCKS * BLOCK * pixels).enumerate() {
            tasks.push((plane, part * TASK_BLOCKS, y));
        }
    }
    parallel::map(tasks, |(plane, first, y): (usize, usize, &mut [f32])| {
        let group = plane % shape.groups;
        let packed = &packed[group];
        let bytes = &bytes[plane * frame.len..][..frame.len];
        let filters = y.len() / pixels;
        let own = Scaled {
            bias: &scaled.bias[group * outputs..],
            multiplier: &scaled.multiplier[group * outputs..],
        };
        let all: Vec<usize> = (first * BLOCK..first * BLOCK + filters).collect();
        let terms = all.chunks(BLOCK).map(|filters| {
            let mut terms = Terms {
                filters: filters.len(),
                added: [0; BLOCK],
                multiplier: [0.0; BLOCK],
            };
            for (lane, filter) in filters.iter().enumerate() {
                let (added, multiplier) = own.of(packed, *filter, grid.zero_point);
                (terms.added[lane], terms.multiplier[lane]) = (added, multiplier);
            }
            terms
        });
        let terms: Vec<Terms> = terms.collect();
        let windows = Windows {
            bytes,
            starts: &starts,
            taps: &taps,
        };
        write_filters(&windows, packed, first, &terms, kernel, y);
    });
    spoil(&mut y, &nan);
    y
}

/// What becomes of the sums of a block of filters.
struct Terms {
    filters: usize,
    added: [i32; BLOCK],
    multiplier: [f32; BLOCK],
}

/// What filters see of a group of an image.
struct Windows<'a> {
    bytes: &'a [u8],
    /// Where the window of each pixel begins.
    starts: &'a [usize],
    /// Where each tap is in a window.
    taps: &'a [usize],
}

/// Computes the planes of some blocks of filters.
#[macerator::with_simd]
fn write_filters<'a, S: macerator::Simd>(
    windows: &Windows<'a>,
    packed: &Packed,
    first: usize,
    terms: &[Terms],
    kernel: Kernel,
    y: &mut [f32],
) {
    let pixels = windows.starts.len();
    let mut sums: Sums = [[0; BLOCK]; ROWS];
    let mut scaled = [[0.0; ROWS]; BLOCK];
    for (tile, starts) in windows.starts.chunks(ROWS).enumerate() {
        for (block, terms) in terms.iter().enumerate() {
            let part = Tile {
                x: windows.bytes,
                rows: starts,
                runs: windows.taps,
                quads: packed.quads,
                weights: packed.block(first + block),
            };
            kernel.multiply(&part, &mut sums);
            for lane in 0..BLOCK {
                for row in 0..ROWS {
                    let sum = sums[row][lane] + terms.added[lane];
                    scaled[lane][row] = sum as f32 * terms.multiplier[lane];
                }
            }
            let planes = y[block * BLOCK * pixels..].chunks_exact_mut(pixels);
            for (y, scaled) in planes.take(terms.filters).zip(&scaled) {
                let y = &mut y[tile * ROWS..];
                match y.first_chunk_mut::<ROWS>() {
                    Some(y) => *y = *scaled,
                    None => y.copy_from_slice(&scaled[..starts.len()]),
                }
            }
        }
    }
}

/// Images of bytes with their borders, the channels of a pixel side by side.
struct Frame {
    /// Bytes of a pixel.
    pixel: usize,
    /// Rows and columns with the borders.
    sides: [usize; 2],
    /// Bytes of a group of an image.
    len: usize,
}

impl Frame {
    fn new(shape: &ConvShape) -> Self {
        let pixel = shape.group()[0].next_multiple_of(TERMS);
        let sides = [0, 1].map(|axis| shape.size[axis] + 2 * shape.padding[axis]);
        Self {
            pixel,
            sides,
            len: sides[0] * sides[1] * pixel,
        }
    }

    const fn place(&self, row: usize, column: usize) -> usize {
        (row * self.sides[1] + column) * self.pixel
    }

    /// The frames of all images, group by group, and which of them hold NaN.
    fn filled(&self, x: &[f32], shape: &ConvShape, grid: Grid) -> (Vec<u8>, Vec<bool>) {
        let [inputs, _] = shape.group();
        let [height, width] = shape.size;
        let mut bytes = vec![grid.zero_point; shape.images * shape.groups * self.len];
        let planes = x.chunks_exact(inputs * height * width);
        let tasks = planes.zip(bytes.chunks_exact_mut(self.len)).collect();
        let nan = parallel::map(tasks, |(x, bytes): (&[f32], &mut [u8])| {
            // Four channels at once, since their bytes lie side by side.
            let mut rounded = vec![grid.zero_point; TERMS * height * width];
            let mut nan = false;
            for (quad, planes) in x.chunks(TERMS * height * width).enumerate() {
                nan |= round_to(planes, grid, &mut rounded);
                let (first, others) = rounded.split_at(height * width);
                let (second, others) = others.split_at(height * width);
                let (third, fourth) = others.split_at(height * width);
                for row in 0..height {
                    let at = self.place(row + shape.padding[0], shape.padding[1]) + TERMS * quad;
                    let places = bytes[at..].chunks_mut(self.pixel);
                    let from = row * width..(row + 1) * width;
                    let quads = first[from.clone()].iter().zip(&second[from.clone()]);
                    let quads = quads.zip(third[from.clone()].iter().zip(&fourth[from]));
                    for (place, ((a, b), (c, d))) in places.zip(quads) {
                        place[..TERMS].copy_from_slice(&[*a, *b, *c, *d]);
                    }
                }
            }
            nan
        });
        (bytes, nan)
    }
}
