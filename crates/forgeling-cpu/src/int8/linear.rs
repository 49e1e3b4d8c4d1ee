//! Layers of neurons.

use super::kernel::{Kernel, ROWS, Sums, Tile};
use super::packed::{BLOCK, Packed, Scaled, TERMS};
use super::round::{Grid, round_to};
use crate::parallel;

/// Rows of a task: enough to read the weights seldom.
const TASK_ROWS: usize = 32;
/// Tasks at least, where there are so many rows or blocks.
const LEAST_TASKS: usize = 8;
/// Products of all outputs below which waking other threads takes longer.
const SMALL: usize = 1 << 18;

/// Packs weights `[inputs, outputs]`.
pub fn pack(weights: &[i8], inputs: usize, outputs: usize) -> Packed {
    Packed::new([outputs, 1, inputs], |output, _, input| {
        weights[input * outputs + output]
    })
}

/// `y = multiplier (round(x) weight + bias)` of rows `[rows, inputs]`: `[rows, outputs]`.
pub fn linear(
    x: &[f32],
    inputs: usize,
    grid: Grid,
    packed: &Packed,
    scaled: Scaled<'_>,
    kernel: Kernel,
) -> Vec<f32> {
    let (rows, outputs) = (x.len() / inputs, packed.outputs);
    let mut y = vec![0.0; rows * outputs];
    let terms: Vec<(i32, f32)> = (0..outputs)
        .map(|output| scaled.of(packed, output, grid.zero_point))
        .collect();
    let pitch = packed.quads * TERMS;
    let bytes = |x: &[f32]| {
        let rows = x.len() / inputs;
        let mut bytes = vec![0; rows * pitch];
        let each = x.chunks_exact(inputs).zip(bytes.chunks_exact_mut(pitch));
        let nan: Vec<bool> = each.map(|(x, bytes)| round_to(x, grid, bytes)).collect();
        (bytes, nan)
    };
    if rows == 1 {
        // The blocks are shared out instead.
        let (bytes, nan) = bytes(x);
        let blocks = packed.outputs.div_ceil(BLOCK);
        let of_task = match inputs * outputs <= SMALL {
            true => blocks,
            false => blocks.div_ceil(LEAST_TASKS),
        };
        let tasks = y
            .chunks_mut(of_task * BLOCK)
            .zip(terms.chunks(of_task * BLOCK));
        type Work<'a> = (usize, (&'a mut [f32], &'a [(i32, f32)]));
        let tasks = tasks.enumerate().collect();
        parallel::map(tasks, |(task, (y, terms)): Work<'_>| {
            let mut sums: Sums = [[0; BLOCK]; ROWS];
            let blocks = y.chunks_mut(BLOCK).zip(terms.chunks(BLOCK));
            for (block, (y, terms)) in (task * of_task..).zip(blocks) {
                let tile = Tile {
                    x: &bytes,
                    rows: &[0],
                    runs: &[0],
                    quads: packed.quads,
                    weights: packed.block(block),
                };
                kernel.multiply(&tile, &mut sums);
                write(&sums[0], terms, y);
            }
        });
        spoil(&mut y, &nan);
        return y;
    }
    let of_task = match rows * inputs * outputs <= SMALL {
        true => rows,
        false => TASK_ROWS.min(rows.div_ceil(LEAST_TASKS)),
    };
    let tasks = x
        .chunks(of_task * inputs)
        .zip(y.chunks_mut(of_task * outputs));
    parallel::map(tasks.collect(), |(x, y): (&[f32], &mut [f32])| {
        let (bytes, nan) = bytes(x);
        let starts: Vec<usize> = (0..x.len() / inputs).map(|row| row * pitch).collect();
        let mut sums: Sums = [[0; BLOCK]; ROWS];
        for (block, terms) in terms.chunks(BLOCK).enumerate() {
            for (tile, rows) in starts.chunks(ROWS).enumerate() {
                let part = Tile {
                    x: &bytes,
                    rows,
                    runs: &[0],
                    quads: packed.quads,
                    weights: packed.block(block),
                };
                kernel.multiply(&part, &mut sums);
                for (row, sums) in (tile * ROWS..).zip(&sums[..rows.len()]) {
                    let at = row * outputs + block * BLOCK;
                    write(sums, terms, &mut y[at..][..terms.len()]);
                }
            }
        }
        spoil(y, &nan);
    });
    y
}

/// What comes of NaN is NaN.
pub(super) fn spoil(y: &mut [f32], nan: &[bool]) {
    let length = y.len() / nan.len().max(1);
    for (y, _) in y
        .chunks_mut(length.max(1))
        .zip(nan)
        .filter(|(_, nan)| **nan)
    {
        y.fill(f32::NAN);
    }
}

fn write(sums: &[i32; BLOCK], terms: &[(i32, f32)], y: &mut [f32]) {
    for ((y, sum), (added, multiplier)) in y.iter_mut().zip(sums).zip(terms) {
        *y = (sum + added) as f32 * multiplier;
    }
}
