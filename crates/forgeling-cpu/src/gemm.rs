//! Products of matrices, of which each may lie in memory as it is or transposed.
//!
//! The result is cut into panels of columns as wide as a register tile. A thread takes a panel, packs a block of the
//! right side for it, which then stays in the nearest cache, and runs the tile down the rows. The left side is read
//! where it lies: a tile needs a few of its values at a time, which are close together either way. Each element is
//! summed in the order of the inner dimension, block after block.

use macerator::{Scalar, Simd, Vector, vload_unaligned, vstore_unaligned};

use super::activation::activate;
use super::parallel;

/// Of the inner dimension at most, so that a packed block fits the nearest cache.
const LONGEST_BLOCK: usize = 192;
/// Multiplications that are not worth another thread.
const SMALL: usize = 1 << 16;
/// Tasks at least, where the product is large enough.
const TASKS: usize = 8;
/// Rows of a task at least, if there are several tasks for a panel: each packs the panel anew.
const FEWEST_ROWS: usize = 32;
/// Values of the widest register tile's row.
const WIDEST_TILE: usize = 48;

/// Matrices one after the other: where their values are.
#[derive(Clone, Copy)]
pub struct Matrices<'a> {
    values: &'a [f32],
    /// From one row to the next.
    down: usize,
    /// From one column to the next.
    across: usize,
}

impl<'a> Matrices<'a> {
    /// Matrices of `columns` columns, row by row.
    pub const fn new(values: &'a [f32], columns: usize) -> Self {
        Self {
            values,
            down: columns,
            across: 1,
        }
    }

    /// The transposed matrices, without a copy.
    pub const fn transposed(self) -> Self {
        Self {
            values: self.values,
            down: self.across,
            across: self.down,
        }
    }
}

/// `batch` products of `[rows, inner]` and `[inner, columns]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProductShape {
    pub batch: usize,
    pub rows: usize,
    pub inner: usize,
    pub columns: usize,
}

impl ProductShape {
    /// Of the product that gives the left side's gradient.
    pub fn of_left(self) -> Self {
        Self {
            columns: self.inner,
            inner: self.columns,
            ..self
        }
    }

    /// Of the product that gives the right side's gradient.
    pub fn of_right(self) -> Self {
        Self {
            rows: self.inner,
            inner: self.rows,
            ..self
        }
    }
}

/// What is done to the elements of a product before they are written for the last time.
#[derive(Clone, Copy, Default)]
pub struct End<'a> {
    /// Added to each row.
    pub bias: Option<&'a [f32]>,
    pub relu: bool,
}

/// One panel of columns of some rows of one of the products.
struct Task {
    product: usize,
    rows: [usize; 2],
    columns: [usize; 2],
}

/// The result, of which each task writes its own elements.
#[derive(Clone, Copy)]
struct Out(*mut f32);

// SAFETY: tasks write to elements that no other task has.
unsafe impl Send for Out {}
// SAFETY: as above.
unsafe impl Sync for Out {}

/// `out = end(a b)`
pub fn product(
    shape: ProductShape,
    a: Matrices<'_>,
    b: Matrices<'_>,
    end: End<'_>,
    out: &mut [f32],
) {
    let ProductShape {
        batch,
        rows,
        inner,
        columns,
    } = shape;
    assert!(a.values.len() >= batch * rows * inner && b.values.len() >= batch * inner * columns);
    assert!(out.len() >= batch * rows * columns);
    assert!(end.bias.is_none_or(|bias| bias.len() >= columns));
    let tasks = tasks(shape, panel_width());
    let out = Out(out.as_mut_ptr());
    if batch * rows * inner * columns <= SMALL {
        tasks
            .into_iter()
            .for_each(|task| run(shape, a, b, end, task, out));
    } else {
        parallel::map(tasks, |task| run(shape, a, b, end, task, out));
    }
}

fn tasks(shape: ProductShape, width: usize) -> Vec<Task> {
    let panels = shape.columns.div_ceil(width);
    let wanted = TASKS.div_ceil(panels * shape.batch);
    let chunks = wanted.clamp(1, shape.rows.div_ceil(FEWEST_ROWS));
    let chunk = shape.rows.div_ceil(chunks).next_multiple_of(8);
    let mut tasks = Vec::new();
    for product in 0..shape.batch {
        for first in (0..shape.rows).step_by(chunk) {
            for column in (0..shape.columns).step_by(width) {
                tasks.push(Task {
                    product,
                    rows: [first, (first + chunk).min(shape.rows)],
                    columns: [column, (column + width).min(shape.columns)],
                });
            }
        }
    }
    tasks
}

/// Vectors of a register tile's row: as many as the registers hold.
fn vectors(lanes: usize) -> usize {
    if lanes >= 8 { 3 } else { 2 }
}

#[macerator::with_simd]
fn panel_width<S: Simd>() -> usize {
    let lanes = f32::lanes::<S>();
    vectors(lanes) * lanes
}

#[macerator::with_simd]
fn run<'a, S: Simd>(
    shape: ProductShape,
    a: Matrices<'a>,
    b: Matrices<'a>,
    end: End<'a>,
    task: Task,
    out: Out,
) {
    let lanes = f32::lanes::<S>();
    let columns = task.columns[1] - task.columns[0];
    // SAFETY: the caller checked the lengths, and the tasks lie within them.
    unsafe {
        match columns.div_ceil(lanes) {
            1 => run_panel::<S, 1>(shape, a, b, end, task, out),
            2 => run_panel::<S, 2>(shape, a, b, end, task, out),
            _ => run_panel::<S, 3>(shape, a, b, end, task, out),
        }
    }
}

#[inline(always)]
unsafe fn run_panel<S: Simd, const V: usize>(
    shape: ProductShape,
    a: Matrices<'_>,
    b: Matrices<'_>,
    end: End<'_>,
    task: Task,
    out: Out,
) {
    let ProductShape {
        rows,
        inner,
        columns,
        ..
    } = shape;
    let a_values = &a.values[task.product * rows * inner..];
    let b_values = &b.values[task.product * inner * columns + task.columns[0] * b.across..];
    let [first_row, end_row] = task.rows;
    let stride = V * f32::lanes::<S>();
    let width = task.columns[1] - task.columns[0];
    let blocks = inner.div_ceil(LONGEST_BLOCK);
    let block = inner.div_ceil(blocks);
    // Few rows are not worth packing a panel that can be read where it lies.
    let direct = b.across == 1 && width == stride && end_row - first_row <= 8;
    let mut packed = vec![0.0; if direct { 0 } else { block * stride }];
    let bias = end.bias.map(|bias| &bias[task.columns[0]..task.columns[1]]);
    for first in (0..inner).step_by(block) {
        let length = block.min(inner - first);
        let from = &b_values[first * b.down..];
        let right = if direct {
            (from.as_ptr(), b.down)
        } else {
            pack(from, b, [length, width], stride, &mut packed);
            (packed.as_ptr(), stride)
        };
        let mut row = first_row;
        while row < end_row {
            let left = &a_values[row * a.down + first * a.across..];
            let at = (task.product * rows + row) * columns + task.columns[0];
            let tile = Tile {
                left: left.as_ptr(),
                down: a.down,
                across: a.across,
                right: right.0,
                stride: right.1,
                inner: length,
                columns,
                width,
                fresh: first == 0,
            };
            let remaining = end_row - row;
            let out = unsafe { out.0.add(at) };
            let taken = unsafe {
                if f32::lanes::<S>() >= 16 && remaining >= 8 {
                    tile.run::<S, 8, V>(out);
                    8
                } else if remaining >= 4 {
                    tile.run::<S, 4, V>(out);
                    4
                } else {
                    tile.run::<S, 1, V>(out);
                    1
                }
            };
            if first + length == inner {
                for row in 0..taken {
                    // SAFETY: this row of the panel was written just now, and is this task's alone.
                    let row =
                        unsafe { std::slice::from_raw_parts_mut(out.add(row * columns), width) };
                    finish(row, bias, end.relu);
                }
            }
            row += taken;
        }
    }
}

/// Columns of a block side by side, padded with what was there before, which ends in columns that are not written.
#[inline(always)]
fn pack(from: &[f32], b: Matrices<'_>, size: [usize; 2], stride: usize, packed: &mut [f32]) {
    const LINE: usize = 16;
    let [length, width] = size;
    if b.across == 1 {
        for (k, row) in packed.chunks_exact_mut(stride).take(length).enumerate() {
            row[..width].copy_from_slice(&from[k * b.down..][..width]);
        }
        return;
    }
    for first in (0..length).step_by(LINE) {
        let count = LINE.min(length - first);
        for column in 0..width {
            let from = &from[first * b.down + column * b.across..];
            let to = &mut packed[first * stride + column..];
            for k in 0..count {
                to[k * stride] = from[k * b.down];
            }
        }
    }
}

#[inline(always)]
fn finish(row: &mut [f32], bias: Option<&[f32]>, relu: bool) {
    if let Some(bias) = bias {
        for (value, bias) in row.iter_mut().zip(bias) {
            *value += bias;
        }
    }
    if relu {
        for value in row {
            // NaN stays.
            *value = if *value <= 0.0 { 0.0 } else { *value };
        }
    }
}

/// Some rows of the left side times a block of the right.
struct Tile {
    left: *const f32,
    down: usize,
    across: usize,
    right: *const f32,
    stride: usize,
    inner: usize,
    /// From one row of the result to the next.
    columns: usize,
    /// Columns that are written.
    width: usize,
    /// Whether this is the first block, to which no sum is added.
    fresh: bool,
}

impl Tile {
    #[inline(always)]
    unsafe fn run<S: Simd, const M: usize, const V: usize>(&self, out: *mut f32) {
        let lanes = f32::lanes::<S>();
        let zero = 0f32.splat::<S>();
        let mut sums = [[zero; V]; M];
        let (mut left, mut right) = (self.left, self.right);
        for k in 0..self.inner {
            unsafe {
                let mut values: [Vector<S, f32>; V] = [zero; V];
                for (v, value) in values.iter_mut().enumerate() {
                    *value = vload_unaligned::<S, f32>(right.add(v * lanes));
                }
                for (m, sums) in sums.iter_mut().enumerate() {
                    let factor = (*left.add(m * self.down)).splat::<S>();
                    for (sum, value) in sums.iter_mut().zip(values) {
                        *sum = value.mul_add(factor, *sum);
                    }
                }
                if k + 1 < self.inner {
                    left = left.add(self.across);
                    right = right.add(self.stride);
                }
            }
        }
        let whole = self.width == V * lanes;
        for (m, sums) in sums.into_iter().enumerate() {
            unsafe {
                let row = out.add(m * self.columns);
                let mut values = [0f32; WIDEST_TILE];
                let to = if whole { row } else { values.as_mut_ptr() };
                if !whole && !self.fresh {
                    to.copy_from_nonoverlapping(row, self.width);
                }
                for (v, sum) in sums.into_iter().enumerate() {
                    let at = to.add(v * lanes);
                    let sum = if self.fresh {
                        sum
                    } else {
                        sum + vload_unaligned::<S, f32>(at)
                    };
                    vstore_unaligned(at, sum);
                }
                if !whole {
                    row.copy_from_nonoverlapping(to, self.width);
                }
            }
        }
    }
}

/// The sum of each column.
#[macerator::with_simd]
pub fn column_sums<S: Simd>(values: &[f32], columns: usize) -> Vec<f32> {
    let mut sums = vec![0.0; columns];
    for row in values.chunks_exact(columns) {
        for (sum, value) in sums.iter_mut().zip(row) {
            *sum += value;
        }
    }
    sums
}

/// The activation with this code, of each value.
pub fn activated(values: &[f32], code: usize) -> Vec<f32> {
    values.iter().map(|&value| activate(value, code)).collect()
}

/// `grad` where `output` is above 0, or is not a number; 0 elsewhere.
#[macerator::with_simd]
pub fn relu_gradient<S: Simd>(output: &[f32], grad: &[f32]) -> Vec<f32> {
    let mut out = vec![0.0; grad.len()];
    for ((out, value), grad) in out.iter_mut().zip(output).zip(grad) {
        *out = if *value <= 0.0 { 0.0 } else { *grad };
    }
    out
}
