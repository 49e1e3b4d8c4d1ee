//! Windows of 2×2 pixels under a line: the first of the largest values counts, if it is above zero.

use macerator::Simd;

use super::super::pool::Slot;

/// A window's pixels, row by row, in lanes.
type Lanes<const B: usize> = [[f32; B]; 4];

/// Which side is larger in each lane: of the upper row, of the lower row, of the rows; and whether nothing counts.
struct Route<const B: usize> {
    right: [[bool; B]; 2],
    below: [bool; B],
    dead: [bool; B],
}

/// NaN counts as larger than anything.
#[inline(always)]
fn larger(value: f32, than: f32) -> bool {
    value > than || value.is_nan()
}

#[inline(always)]
fn pick<T: Copy>(second: bool, values: [T; 2]) -> T {
    if second { values[1] } else { values[0] }
}

/// The windows that begin at column `2 * at` of two rows.
#[inline(always)]
fn lanes<const B: usize>(rows: [&[f32]; 2], at: usize) -> Lanes<B> {
    let mut lanes = [[0.0; B]; 4];
    for (row, values) in rows.into_iter().enumerate() {
        let (pairs, _) = values[2 * at..2 * (at + B)].as_chunks::<2>();
        for (lane, pair) in pairs.iter().enumerate() {
            lanes[2 * row][lane] = pair[0];
            lanes[2 * row + 1][lane] = pair[1];
        }
    }
    lanes
}

/// The line's values in the lanes, which of them counts, and the largest.
#[inline(always)]
fn route<const B: usize>(z: &Lanes<B>, line: [f32; 2]) -> (Route<B>, [f32; B]) {
    let [scale, shift] = line;
    let mut route = Route {
        right: [[false; B]; 2],
        below: [false; B],
        dead: [false; B],
    };
    let mut largest = [0.0; B];
    for lane in 0..B {
        let y = [0, 1, 2, 3].map(|place: usize| scale * z[place][lane] + shift);
        let right = [larger(y[1], y[0]), larger(y[3], y[2])];
        let rows = [pick(right[0], [y[0], y[1]]), pick(right[1], [y[2], y[3]])];
        let below = larger(rows[1], rows[0]);
        let best = pick(below, rows);
        route.right[0][lane] = right[0];
        route.right[1][lane] = right[1];
        route.below[lane] = below;
        // What is not a number is let through.
        route.dead[lane] = best <= 0.0;
        largest[lane] = best;
    }
    (route, largest)
}

/// Calls `$body` with the first window of blocks that cover `$count` windows, and their number as a constant. The last
/// block may begin within the one before: what is written there is written again.
macro_rules! for_blocks {
    ($count:expr, |$at:ident, $block:ident| $body:expr) => {
        match $count {
            count @ 8.. => for_blocks!(@of 8, count, $at, $block, $body),
            count @ 4..=7 => for_blocks!(@of 4, count, $at, $block, $body),
            count => for_blocks!(@of 1, count, $at, $block, $body),
        }
    };
    (@of $size:literal, $all:ident, $at:ident, $block:ident, $body:expr) => {{
        const $block: usize = $size;
        for index in 0..$all.div_ceil($block) {
            let $at = (index * $block).min($all - $block);
            $body
        }
    }};
}

/// The two rows of each row of windows.
#[inline(always)]
fn row_pairs(plane: &[f32], width: usize) -> impl Iterator<Item = [&[f32]; 2]> {
    plane.chunks_exact(2 * width).map(move |rows| {
        let (upper, lower) = rows.split_at(width);
        [upper, lower]
    })
}

/// The largest value of each window under ReLU.
#[macerator::with_simd]
pub fn pool<S: Simd>(z: &[f32], width: usize, line: [f32; 2], pooled: &mut [Slot]) {
    let columns = width / 2;
    for (rows, pooled) in row_pairs(z, width).zip(pooled.chunks_exact_mut(columns)) {
        for_blocks!(columns, |at, BLOCK| {
            let (route, largest) = route::<BLOCK>(&lanes(rows, at), line);
            for (lane, slot) in pooled[at..at + BLOCK].iter_mut().enumerate() {
                slot.write(if route.dead[lane] { 0.0 } else { largest[lane] });
            }
        });
    }
}

/// `values` at the pixel of each window that counts, zero where none does.
#[macerator::with_simd]
pub fn gather<S: Simd>(
    z: &[f32],
    width: usize,
    line: [f32; 2],
    values: &[f32],
    gathered: &mut [Slot],
) {
    let columns = width / 2;
    let pairs = row_pairs(z, width).zip(row_pairs(values, width));
    for ((z, values), gathered) in pairs.zip(gathered.chunks_exact_mut(columns)) {
        for_blocks!(columns, |at, BLOCK| {
            let (route, _) = route::<BLOCK>(&lanes(z, at), line);
            let values = lanes::<BLOCK>(values, at);
            for (lane, slot) in gathered[at..at + BLOCK].iter_mut().enumerate() {
                let value = |place: usize| values[place][lane];
                let rows = [
                    pick(route.right[0][lane], [value(0), value(1)]),
                    pick(route.right[1][lane], [value(2), value(3)]),
                ];
                let value = pick(route.below[lane], rows);
                slot.write(if route.dead[lane] { 0.0 } else { value });
            }
        });
    }
}

/// Each window's value of `grad` at the pixel that counts, and zero at all other pixels.
#[macerator::with_simd]
pub fn scatter<S: Simd>(
    z: &[f32],
    width: usize,
    line: [f32; 2],
    grad: &[f32],
    scattered: &mut [f32],
) {
    let columns = width / 2;
    let mut targets = scattered.chunks_exact_mut(2 * width);
    for ((rows, grad), target) in row_pairs(z, width)
        .zip(grad.chunks_exact(columns))
        .zip(&mut targets)
    {
        let (upper, lower) = target.split_at_mut(width);
        for_blocks!(columns, |at, BLOCK| {
            let (route, _) = route::<BLOCK>(&lanes(rows, at), line);
            let grad = &grad[at..at + BLOCK];
            let places = 2 * at..2 * (at + BLOCK);
            let (upper, _) = upper[places.clone()].as_chunks_mut::<2>();
            let (lower, _) = lower[places].as_chunks_mut::<2>();
            for lane in 0..BLOCK {
                let grad = if route.dead[lane] { 0.0 } else { grad[lane] };
                let rows = [
                    pick(route.below[lane], [grad, 0.0]),
                    pick(route.below[lane], [0.0, grad]),
                ];
                let side = |row: usize| {
                    let right = route.right[row][lane];
                    [pick(right, [rows[row], 0.0]), pick(right, [0.0, rows[row]])]
                };
                upper[lane] = side(0);
                lower[lane] = side(1);
            }
        });
        if width % 2 == 1 {
            upper[width - 1] = 0.0;
            lower[width - 1] = 0.0;
        }
    }
    targets.into_remainder().fill(0.0);
}
