//! Register tiles: products of packed weights with packed pixels, and of rows with rows.

use macerator::{Scalar, Simd, Vector, vload_unaligned, vstore_unaligned};

use super::frame::{Aligned, Run, SLACK};

/// Vectors of pixels in a tile.
const MOST_VECTORS: usize = 3;
/// Source values of a panel, so many that it stays in the innermost cache.
const PANEL_DEPTH: usize = 192;

/// Target channels of a tile: as many as the registers hold.
#[macerator::with_simd]
pub fn tile_rows<S: Simd>() -> usize {
    if f32::lanes::<S>() >= 16 { 8 } else { 4 }
}

/// Source pixels as a matrix: row `k` holds, for every position, the value at `offsets[k]` from its base.
#[derive(Clone, Copy)]
pub struct Pixels<'a> {
    /// With [`SLACK`] values at the end that mean nothing.
    pub values: &'a [f32],
    /// In the order of their positions, without a gap.
    pub runs: &'a [Run],
    pub offsets: &'a [usize],
}

impl Pixels<'_> {
    fn positions(&self) -> usize {
        self.runs.last().map_or(0, |run| run.position + run.length)
    }

    fn check(&self) {
        let last = self.runs.iter().map(|run| run.base + run.length).max();
        let reach = last.unwrap_or(0) + self.offsets.iter().max().unwrap_or(&0) + SLACK;
        assert!(reach <= self.values.len());
    }
}

/// Copies vectors of a part of the positions: from where, seen from the first offset, to which position.
fn copies(runs: &[Run], positions: [usize; 2], width: usize, copies: &mut Vec<[usize; 2]>) {
    let [from, to] = positions;
    copies.clear();
    let first = runs.partition_point(|run| run.position + run.length <= from);
    for run in &runs[first..] {
        let (start, end) = (run.position.max(from), (run.position + run.length).min(to));
        if start >= end {
            break;
        }
        let vectors = (start..end).step_by(width);
        copies.extend(vectors.map(|at| [run.base + at - run.position, at - from]));
    }
}

/// Fills rows of `stride` values each. A vector may reach over the end of its run, and of the row; what comes next
/// takes that back, and after the last row there is room.
#[inline(always)]
unsafe fn pack<S: Simd>(
    pixels: Pixels<'_>,
    offsets: &[usize],
    positions: [usize; 2],
    list: &mut Vec<[usize; 2]>,
    rows: *mut f32,
    stride: usize,
) {
    let longest = pixels.runs.first().map_or(0, |run| run.length);
    let values = pixels.values.as_ptr();
    // Short runs are copied as they are: vectors of theirs would overlap.
    let lanes = f32::lanes::<S>();
    let width = if longest <= 4 { 4 } else { lanes };
    copies(pixels.runs, positions, width, list);
    for (k, offset) in offsets.iter().enumerate() {
        let (values, row) = unsafe { (values.add(*offset), rows.add(k * stride)) };
        if longest <= 4 {
            for &[from, to] in list.iter() {
                unsafe {
                    let value = values.add(from).cast::<[f32; 4]>().read_unaligned();
                    row.add(to).cast::<[f32; 4]>().write_unaligned(value);
                }
            }
        } else {
            for &[from, to] in list.iter() {
                unsafe {
                    let value = vload_unaligned::<S, f32>(values.add(from));
                    vstore_unaligned(row.add(to), value);
                }
            }
        }
    }
}

/// `sums[m, p] += sum_k weights[m, k] pixels[k, p]`
///
/// `weights` are `[m / tile_rows, k, tile_rows]`, `sums` has rows of `stride` values, a multiple of 16 and so many
/// that a vector more than there are positions fits.
#[macerator::with_simd]
pub fn multiply<'a, S: Simd>(pixels: Pixels<'a>, weights: &[f32], sums: &mut [f32], stride: usize) {
    pixels.check();
    let lanes = f32::lanes::<S>();
    let depth = pixels.offsets.len();
    let rows = if lanes >= 16 { 8 } else { 4 };
    let vectors = if lanes >= 8 { MOST_VECTORS } else { 2 };
    let blocks = weights.len() / (depth * rows);
    let positions = pixels.positions();
    assert!(positions.next_multiple_of(lanes) <= stride && sums.len() >= blocks * rows * stride);
    let width = vectors * lanes;
    let mut panel = Aligned::new(PANEL_DEPTH * width + SLACK);
    let mut list = Vec::new();
    for first in (0..depth).step_by(PANEL_DEPTH) {
        let offsets = &pixels.offsets[first..depth.min(first + PANEL_DEPTH)];
        for from in (0..positions).step_by(width) {
            let to = positions.min(from + width);
            let tile = Tile {
                depth: offsets.len(),
                panel: panel.as_ptr(),
                width,
                stride,
            };
            // SAFETY: the sizes were checked above; a tile reaches less than a vector over the positions.
            unsafe {
                let start = panel.as_mut_ptr();
                pack::<S>(pixels, offsets, [from, to], &mut list, start, width);
                for block in 0..blocks {
                    let weights = weights.as_ptr().add((block * depth + first) * rows);
                    let sums = sums.as_mut_ptr().add(block * rows * stride + from);
                    match (rows, (to - from).div_ceil(lanes)) {
                        (8, 1) => tile.add::<S, 8, 1>(weights, sums),
                        (8, 2) => tile.add::<S, 8, 2>(weights, sums),
                        (8, _) => tile.add::<S, 8, 3>(weights, sums),
                        (_, 1) => tile.add::<S, 4, 1>(weights, sums),
                        (_, 2) => tile.add::<S, 4, 2>(weights, sums),
                        (_, _) => tile.add::<S, 4, 3>(weights, sums),
                    }
                }
            }
        }
    }
}

struct Tile {
    depth: usize,
    panel: *const f32,
    width: usize,
    stride: usize,
}

impl Tile {
    #[inline(always)]
    unsafe fn add<S: Simd, const M: usize, const V: usize>(
        &self,
        mut weights: *const f32,
        sums: *mut f32,
    ) {
        let lanes = f32::lanes::<S>();
        let mut tile = [[0f32.splat::<S>(); V]; M];
        unsafe {
            for (m, row) in tile.iter_mut().enumerate() {
                for (v, sum) in row.iter_mut().enumerate() {
                    *sum = vload_unaligned::<S, f32>(sums.add(m * self.stride + v * lanes));
                }
            }
            let mut panel = self.panel;
            for _ in 0..self.depth {
                let mut values = [0f32.splat::<S>(); V];
                for (v, value) in values.iter_mut().enumerate() {
                    *value = vload_unaligned::<S, f32>(panel.add(v * lanes));
                }
                for (m, row) in tile.iter_mut().enumerate() {
                    let weight = (*weights.add(m)).splat::<S>();
                    for (sum, value) in row.iter_mut().zip(values) {
                        *sum = value.mul_add(weight, *sum);
                    }
                }
                panel = panel.add(self.width);
                weights = weights.add(M);
            }
            for (m, row) in tile.iter().enumerate() {
                for (v, &sum) in row.iter().enumerate() {
                    vstore_unaligned(sums.add(m * self.stride + v * lanes), sum);
                }
            }
        }
    }
}

/// `sums[p] = start + sum_k weights[k] pixels[k, p]` without packing: for few target channels.
#[macerator::with_simd]
pub fn weigh<'a, S: Simd>(pixels: Pixels<'a>, weights: &[f32], start: f32, sums: &mut [f32]) {
    pixels.check();
    let lanes = f32::lanes::<S>();
    assert!(pixels.offsets.len() == weights.len());
    assert!(sums.len() >= pixels.positions() + lanes);
    for run in pixels.runs {
        for at in (0..run.length).step_by(lanes) {
            let mut sum = start.splat::<S>();
            // SAFETY: the sizes were checked above; a vector reaches less than itself over the run.
            unsafe {
                for (offset, &weight) in pixels.offsets.iter().zip(weights) {
                    let from = pixels.values.as_ptr().add(run.base + at + offset);
                    sum = vload_unaligned::<S, f32>(from).mul_add(weight.splat::<S>(), sum);
                }
                vstore_unaligned(sums.as_mut_ptr().add(run.position + at), sum);
            }
        }
    }
}

/// The pixels as rows of `stride` values, with zeros behind the last position; room for three rows more than that
/// divisible by three.
#[macerator::with_simd]
pub fn unfold<'a, S: Simd>(pixels: Pixels<'a>, rows: &mut [f32], stride: usize) {
    pixels.check();
    let positions = pixels.positions();
    assert!(positions <= stride && rows.len() >= pixels.offsets.len() * stride + SLACK);
    let mut list = Vec::new();
    let all = [0, positions];
    let start = rows.as_mut_ptr();
    // SAFETY: the sizes were checked above; a vector reaches less than `SLACK` over the end.
    unsafe { pack::<S>(pixels, pixels.offsets, all, &mut list, start, stride) };
    for row in rows.chunks_exact_mut(stride).take(pixels.offsets.len()) {
        row[positions..].fill(0.0);
    }
}

/// Rows of values, from one to the next of which there are `stride`.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    pub values: &'a [f32],
    pub stride: usize,
    pub count: usize,
}

/// `sums[m, k] += sum_p a[m, p] b[k, p]`, for all `p` below the stride of `b`, a multiple of 16, which has room for a multiple
/// of three rows.
#[macerator::with_simd]
pub fn multiply_rows<'a, S: Simd>(a: Rows<'a>, b: Rows<'a>, sums: &mut [f32]) {
    let (outputs, length) = (a.count, b.stride);
    assert!(length.is_multiple_of(16) && b.values.len() >= b.count.next_multiple_of(3) * length);
    assert!(outputs == 0 || a.values.len() >= (outputs - 1) * a.stride + length);
    assert!(sums.len() >= outputs * b.count);
    let wide = f32::lanes::<S>() >= 16;
    let mut first = 0;
    while first < outputs {
        let rest = Rows {
            values: &a.values[first * a.stride..],
            ..a
        };
        let sums = &mut sums[first * b.count..];
        // SAFETY: the sizes were checked above.
        unsafe {
            if wide && outputs - first >= 8 {
                add_rows::<S, 8>(rest, b, sums);
                first += 8;
            } else if outputs - first >= 4 {
                add_rows::<S, 4>(rest, b, sums);
                first += 4;
            } else {
                add_rows::<S, 1>(rest, b, sums);
                first += 1;
            }
        }
    }
}

#[inline(always)]
unsafe fn add_rows<S: Simd, const M: usize>(a: Rows<'_>, b: Rows<'_>, sums: &mut [f32]) {
    let lanes = f32::lanes::<S>();
    let Rows { stride, count, .. } = b;
    for column in (0..count).step_by(3) {
        let mut tile = [[0f32.splat::<S>(); 3]; M];
        let b = unsafe { b.values.as_ptr().add(column * stride) };
        for position in (0..stride).step_by(lanes) {
            let values: [Vector<S, f32>; 3] =
                [0, 1, 2].map(|k| unsafe { vload_unaligned(b.add(k * stride + position)) });
            for (m, row) in tile.iter_mut().enumerate() {
                let at = m * a.stride + position;
                let value = unsafe { vload_unaligned::<S, f32>(a.values.as_ptr().add(at)) };
                for (sum, other) in row.iter_mut().zip(values) {
                    *sum = other.mul_add(value, *sum);
                }
            }
        }
        for (m, row) in tile.into_iter().enumerate() {
            let columns = 3.min(count - column);
            let slots = &mut sums[m * count + column..][..columns];
            for (slot, sum) in slots.iter_mut().zip(row) {
                *slot += sum.reduce_add();
            }
        }
    }
}
