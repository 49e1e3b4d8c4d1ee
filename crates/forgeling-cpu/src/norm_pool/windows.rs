//! Windows of 2×2 pixels under a line: the first of the largest values counts, if it is above zero.
//!
//! First neighbours in a row are compared, all pairs of a plane in one long loop, and then the rows.

use macerator::Simd;

use super::super::pool::Slot;

/// Which pixels of a plane count.
#[derive(Default)]
pub struct Route {
    /// Of each pair, all bits where the right one is larger.
    right: Vec<u32>,
    /// Of each window, all bits where one of its upper pixels counts.
    upper: Vec<u32>,
    /// Of each window, all bits where one of its lower pixels counts.
    lower: Vec<u32>,
}

/// Work space for planes of one size.
pub struct Windows {
    height: usize,
    width: usize,
    /// A plane without its odd column.
    even: Vec<[f32; 2]>,
    /// A number of each pair.
    pairs: Vec<f32>,
}

impl Windows {
    pub fn new(height: usize, width: usize) -> Self {
        Self {
            height,
            width,
            even: Vec::new(),
            pairs: Vec::new(),
        }
    }

    const fn columns(&self) -> usize {
        self.width / 2
    }

    /// Finds which pixels of `z` count.
    pub fn find(&mut self, z: &[f32], line: [f32; 2], route: &mut Route) {
        let Self { even, pairs, .. } = self;
        let size = [self.height, self.width];
        let z = pairs_of(z, size, even);
        let windows = z.len() / 2;
        route.right.resize(z.len(), 0);
        route.upper.resize(windows, 0);
        route.lower.resize(windows, 0);
        pairs.resize(z.len(), 0.0);
        compare_pairs(z, line, &mut route.right, pairs);
        let columns = self.width / 2;
        compare_rows(pairs, columns, &mut route.upper, &mut route.lower);
    }

    /// The largest value of each window of `z` under the line and ReLU.
    pub fn pool(&mut self, z: &[f32], line: [f32; 2], pooled: &mut [Slot]) {
        let Self { even, pairs, .. } = self;
        let z = pairs_of(z, [self.height, self.width], even);
        pairs.resize(z.len(), 0.0);
        largest_of_pairs(z, line, pairs);
        largest_of_rows(pairs, self.width / 2, pooled);
    }

    /// Each window's value of `grad` at the pixel that counts, and zero at all other pixels.
    pub fn scatter(&mut self, route: &Route, grad: &[f32], scattered: &mut [f32]) {
        let columns = self.columns();
        let length = 2 * grad.len();
        self.pairs.resize(length, 0.0);
        scatter_rows(grad, route, columns, &mut self.pairs);
        let (rows, odd) = scattered.split_at_mut(self.height / 2 * 2 * self.width);
        odd.fill(0.0);
        if self.width.is_multiple_of(2) {
            let (pairs, _) = rows.as_chunks_mut::<2>();
            scatter_pairs(&self.pairs, &route.right, pairs);
            return;
        }
        self.even.resize(length, [0.0; 2]);
        scatter_pairs(&self.pairs, &route.right, &mut self.even);
        let even = self.even.as_flattened().chunks_exact(2 * columns);
        for (row, even) in rows.chunks_exact_mut(self.width).zip(even) {
            let (values, last) = row.split_at_mut(2 * columns);
            values.copy_from_slice(even);
            last.fill(0.0);
        }
    }

    /// `values` at the pixel of each window that counts, zero where none does.
    pub fn gather(&mut self, route: &Route, values: &[f32], gathered: &mut [Slot]) {
        let columns = self.columns();
        let values = pairs_of(values, [self.height, self.width], &mut self.even);
        self.pairs.resize(values.len(), 0.0);
        gather_pairs(values, &route.right, &mut self.pairs);
        gather_rows(&self.pairs, route, columns, gathered);
    }
}

/// The pairs of a plane that belong to windows.
fn pairs_of<'a>(
    plane: &'a [f32],
    [height, width]: [usize; 2],
    even: &'a mut Vec<[f32; 2]>,
) -> &'a [[f32; 2]] {
    let plane = &plane[..height / 2 * 2 * width];
    if width.is_multiple_of(2) {
        return plane.as_chunks::<2>().0;
    }
    even.clear();
    for row in plane.chunks_exact(width) {
        even.extend_from_slice(row.as_chunks::<2>().0);
    }
    even
}

/// NaN counts as larger than anything.
#[inline(always)]
fn larger(value: f32, than: f32) -> bool {
    value > than || value.is_nan()
}

const fn mask(flag: bool) -> u32 {
    if flag { u32::MAX } else { 0 }
}

/// The value where the mask has bits, zero elsewhere.
#[inline(always)]
fn masked(value: f32, mask: u32) -> f32 {
    f32::from_bits(value.to_bits() & mask)
}

#[macerator::with_simd]
fn compare_pairs<S: Simd>(z: &[[f32; 2]], line: [f32; 2], right: &mut [u32], largest: &mut [f32]) {
    let [scale, shift] = line;
    for ((pair, right), largest) in z.iter().zip(right).zip(largest) {
        let values = [scale * pair[0] + shift, scale * pair[1] + shift];
        let second = larger(values[1], values[0]);
        *right = mask(second);
        *largest = if second { values[1] } else { values[0] };
    }
}

/// As [`compare_pairs`], but for which it is.
#[macerator::with_simd]
fn largest_of_pairs<S: Simd>(z: &[[f32; 2]], line: [f32; 2], largest: &mut [f32]) {
    let [scale, shift] = line;
    for (pair, largest) in z.iter().zip(largest) {
        let values = [scale * pair[0] + shift, scale * pair[1] + shift];
        let second = larger(values[1], values[0]);
        *largest = if second { values[1] } else { values[0] };
    }
}

/// The two rows of each row of windows.
#[inline(always)]
fn row_pairs(pairs: &[f32], columns: usize) -> impl Iterator<Item = (&[f32], &[f32])> {
    pairs
        .chunks_exact(2 * columns)
        .map(move |rows| rows.split_at(columns))
}

#[macerator::with_simd]
fn compare_rows<S: Simd>(largest: &[f32], columns: usize, upper: &mut [u32], lower: &mut [u32]) {
    let masks = upper
        .chunks_exact_mut(columns)
        .zip(lower.chunks_exact_mut(columns));
    for ((above, below), (upper, lower)) in row_pairs(largest, columns).zip(masks) {
        let values = above.iter().zip(below);
        for ((above, below), (upper, lower)) in values.zip(upper.iter_mut().zip(lower)) {
            let second = larger(*below, *above);
            let best = if second { *below } else { *above };
            // What is not a number is let through.
            let dead = mask(best <= 0.0);
            *upper = !(mask(second) | dead);
            *lower = mask(second) & !dead;
        }
    }
}

#[macerator::with_simd]
fn largest_of_rows<S: Simd>(largest: &[f32], columns: usize, pooled: &mut [Slot]) {
    let pooled = pooled.chunks_exact_mut(columns);
    for ((above, below), pooled) in row_pairs(largest, columns).zip(pooled) {
        for ((above, below), pooled) in above.iter().zip(below).zip(pooled) {
            let best = if larger(*below, *above) {
                *below
            } else {
                *above
            };
            pooled.write(if best <= 0.0 { 0.0 } else { best });
        }
    }
}

#[macerator::with_simd]
fn scatter_rows<S: Simd>(grad: &[f32], route: &Route, columns: usize, pairs: &mut [f32]) {
    let masks = route
        .upper
        .chunks_exact(columns)
        .zip(route.lower.chunks_exact(columns));
    let rows = pairs.chunks_exact_mut(2 * columns);
    for ((grad, masks), rows) in grad.chunks_exact(columns).zip(masks).zip(rows) {
        let (above, below) = rows.split_at_mut(columns);
        for ((value, grad), mask) in above.iter_mut().zip(grad).zip(masks.0) {
            *value = masked(*grad, *mask);
        }
        for ((value, grad), mask) in below.iter_mut().zip(grad).zip(masks.1) {
            *value = masked(*grad, *mask);
        }
    }
}

#[macerator::with_simd]
fn scatter_pairs<S: Simd>(pairs: &[f32], right: &[u32], scattered: &mut [[f32; 2]]) {
    for ((scattered, pair), right) in scattered.iter_mut().zip(pairs).zip(right) {
        *scattered = [masked(*pair, !right), masked(*pair, *right)];
    }
}

#[macerator::with_simd]
fn gather_pairs<S: Simd>(values: &[[f32; 2]], right: &[u32], pairs: &mut [f32]) {
    for ((pair, values), right) in pairs.iter_mut().zip(values).zip(right) {
        *pair = if *right == 0 { values[0] } else { values[1] };
    }
}

#[macerator::with_simd]
fn gather_rows<S: Simd>(pairs: &[f32], route: &Route, columns: usize, gathered: &mut [Slot]) {
    let masks = route
        .upper
        .chunks_exact(columns)
        .zip(route.lower.chunks_exact(columns));
    let rows = row_pairs(pairs, columns).zip(masks);
    for (((above, below), masks), gathered) in rows.zip(gathered.chunks_exact_mut(columns)) {
        let masks = masks.0.iter().zip(masks.1);
        let values = above.iter().zip(below).zip(masks);
        for (((above, below), (upper, lower)), gathered) in values.zip(gathered) {
            let bits = above.to_bits() & upper | below.to_bits() & lower;
            gathered.write(f32::from_bits(bits));
        }
    }
}
