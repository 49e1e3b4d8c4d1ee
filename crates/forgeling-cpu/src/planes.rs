//! 3×3 convolutions with padding 1 as one long run over all positions of many images.
//!
//! Each channel of a group of images is one row of memory. Every image row is followed by one zero and every
//! image by one row of zeros, which serve as the right border of one and the left (or lower and upper) border
//! of the next. A neighbour is then always the same distance away, whatever the position, so that one
//! register tile fits images of any size: 28×28, 7×7 and 3×3 alike. What falls on a border is
//! computed too and thrown away; that is 7 % of a 28×28 image and 31 % of a 7×7 one.

use macerator::{Scalar, Simd, Vector, vload_unaligned, vstore_unaligned};

/// Most positions that a register tile covers.
const WIDEST_TILE: usize = 48;
/// Taps of a kernel.
pub const TAPS: usize = 9;

/// Where the positions of `images` images of one channel lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Planes {
    pub images: usize,
    pub height: usize,
    pub width: usize,
}

impl Planes {
    /// From a position to the one below it.
    pub const fn row(self) -> usize {
        self.width + 1
    }

    /// From a position to the same one of the next image.
    const fn plane(self) -> usize {
        (self.height + 1) * self.row()
    }

    /// Zeros before the first image: its upper and left border.
    const fn margin(self) -> usize {
        self.row() + 1
    }

    const fn positions(self) -> usize {
        self.images * self.plane()
    }

    /// Values of one channel, borders included.
    pub const fn length(self) -> usize {
        (self.margin() + self.positions() + self.margin() + WIDEST_TILE).next_multiple_of(16)
    }

    /// Where row `y` of `image` begins.
    pub const fn start(self, image: usize, y: usize) -> usize {
        self.margin() + image * self.plane() + y * self.row()
    }
}

/// Weights in the order in which the register tile reads them.
pub struct PackedWeights {
    values: Vec<f32>,
    input: usize,
    output: usize,
    rows: usize,
}

/// Output channels of a register tile: as many as the registers hold.
#[macerator::with_simd]
fn tile_rows<S: Simd>() -> usize {
    if f32::lanes::<S>() >= 16 { 8 } else { 4 }
}

impl PackedWeights {
    /// The weight of an output and an input channel at a tap is `weight(output, input, tap)`.
    pub fn new(output: usize, input: usize, weight: impl Fn(usize, usize, usize) -> f32) -> Self {
        let rows = tile_rows();
        let mut values = Vec::with_capacity(output.next_multiple_of(rows) * input * TAPS);
        for first in (0..output).step_by(rows) {
            for channel in 0..input {
                for tap in 0..TAPS {
                    values.extend((first..first + rows).map(|output_channel| {
                        if output_channel < output {
                            weight(output_channel, channel, tap)
                        } else {
                            0.0
                        }
                    }));
                }
            }
        }
        Self {
            values,
            input,
            output,
            rows,
        }
    }
}

/// `output[o, p] = sum_{i, tap} weight[o, i, tap] input[i, p + tap]`
///
/// `input` is `[input channels, length]` with zeros at the borders, `output` `[output channels, length]`, whose
/// borders are left with values that mean nothing.
pub fn convolve(planes: Planes, input: &[f32], weights: &PackedWeights, output: &mut [f32]) {
    let length = planes.length();
    assert!(input.len() >= weights.input * length && output.len() >= weights.output * length);
    run_convolve(planes, input, weights, output);
}

#[macerator::with_simd]
fn run_convolve<S: Simd>(
    planes: Planes,
    input: &[f32],
    weights: &PackedWeights,
    output: &mut [f32],
) {
    // SAFETY: the caller checked the lengths; a tile reaches at most `WIDEST_TILE` beyond the last position.
    unsafe {
        if weights.rows == 8 {
            convolve_tiles::<S, 8, 3>(planes, input, weights, output);
        } else if f32::lanes::<S>() >= 8 {
            convolve_tiles::<S, 4, 3>(planes, input, weights, output);
        } else {
            // Four lanes come with sixteen registers and, mostly, without fused multiplication and addition.
            convolve_tiles::<S, 4, 2>(planes, input, weights, output);
        }
    }
}

#[inline(always)]
unsafe fn convolve_tiles<S: Simd, const M: usize, const V: usize>(
    planes: Planes,
    input: &[f32],
    weights: &PackedWeights,
    output: &mut [f32],
) {
    let (length, lanes) = (planes.length(), f32::lanes::<S>());
    for (block, first) in (0..weights.output).step_by(M).enumerate() {
        let rows = M.min(weights.output - first);
        let packed = unsafe {
            weights
                .values
                .as_ptr()
                .add(block * weights.input * TAPS * M)
        };
        for position in (0..planes.positions()).step_by(V * lanes) {
            unsafe {
                let tile = convolve_tile::<S, M, V>(
                    input.as_ptr().add(position),
                    weights.input,
                    length,
                    planes.row(),
                    packed,
                );
                for (row, values) in tile.iter().enumerate().take(rows) {
                    let at = (first + row) * length + planes.margin() + position;
                    for (v, &value) in values.iter().enumerate() {
                        vstore_unaligned(output.as_mut_ptr().add(at + v * lanes), value);
                    }
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn convolve_tile<S: Simd, const M: usize, const V: usize>(
    input: *const f32,
    channels: usize,
    length: usize,
    row: usize,
    mut weights: *const f32,
) -> [[Vector<S, f32>; V]; M] {
    let lanes = f32::lanes::<S>();
    let zero = 0f32.splat::<S>();
    let mut sums = [[zero; V]; M];
    for channel in 0..channels {
        for y in 0..3 {
            for x in 0..3 {
                unsafe {
                    let at = input.add(channel * length + y * row + x);
                    let mut values = [zero; V];
                    for (v, value) in values.iter_mut().enumerate() {
                        *value = vload_unaligned::<S, f32>(at.add(v * lanes));
                    }
                    for (m, sums) in sums.iter_mut().enumerate() {
                        let weight = (*weights.add(m)).splat::<S>();
                        for (sum, value) in sums.iter_mut().zip(values) {
                            *sum = value.mul_add(weight, *sum);
                        }
                    }
                    weights = weights.add(M);
                }
            }
        }
    }
    sums
}

/// `gradient[o, i, tap] += sum_p grad[o, p] input[i, p + tap]`
///
/// `grad` is `[output channels, length]` and `input` `[input channels, length]`, both with zeros at the borders;
/// `gradient` is `[output channels, input channels, 9]`.
pub fn add_weight_gradient(
    planes: Planes,
    channels: [usize; 2],
    input: &[f32],
    grad: &[f32],
    gradient: &mut [f32],
) {
    let [outputs, inputs] = channels;
    let length = planes.length();
    assert!(input.len() >= inputs * length && grad.len() >= outputs * length);
    assert!(gradient.len() >= outputs * inputs * TAPS);
    run_weight_gradient(planes, channels, input, grad, gradient);
}

#[macerator::with_simd]
fn run_weight_gradient<S: Simd>(
    planes: Planes,
    channels: [usize; 2],
    input: &[f32],
    grad: &[f32],
    gradient: &mut [f32],
) {
    let wide = f32::lanes::<S>() >= 16;
    let outputs = channels[0];
    let mut first = 0;
    // SAFETY: the caller checked the lengths; the last vector reaches less than `WIDEST_TILE` too far.
    unsafe {
        while first < outputs {
            if wide && outputs - first >= 8 {
                gradient_rows::<S, 8>(planes, first, channels, input, grad, gradient);
                first += 8;
            } else if outputs - first >= 4 {
                gradient_rows::<S, 4>(planes, first, channels, input, grad, gradient);
                first += 4;
            } else {
                gradient_rows::<S, 1>(planes, first, channels, input, grad, gradient);
                first += 1;
            }
        }
    }
}

#[inline(always)]
unsafe fn gradient_rows<S: Simd, const M: usize>(
    planes: Planes,
    first: usize,
    channels: [usize; 2],
    input: &[f32],
    grad: &[f32],
    gradient: &mut [f32],
) {
    let inputs = channels[1];
    let (length, lanes) = (planes.length(), f32::lanes::<S>());
    let zero = 0f32.splat::<S>();
    for channel in 0..inputs {
        for y in 0..3 {
            let mut sums = [[zero; 3]; M];
            for position in (0..planes.positions()).step_by(lanes) {
                unsafe {
                    let at = input
                        .as_ptr()
                        .add(channel * length + position + y * planes.row());
                    let mut values = [zero; 3];
                    for (x, value) in values.iter_mut().enumerate() {
                        *value = vload_unaligned::<S, f32>(at.add(x));
                    }
                    let at = first * length + planes.margin() + position;
                    for (m, sums) in sums.iter_mut().enumerate() {
                        let g = vload_unaligned::<S, f32>(grad.as_ptr().add(at + m * length));
                        for (sum, value) in sums.iter_mut().zip(values) {
                            *sum = value.mul_add(g, *sum);
                        }
                    }
                }
            }
            for (m, sums) in sums.into_iter().enumerate() {
                let at = ((first + m) * inputs + channel) * TAPS + y * 3;
                for (slot, sum) in gradient[at..at + 3].iter_mut().zip(sums) {
                    *slot += sum.reduce_add();
                }
            }
        }
    }
}
