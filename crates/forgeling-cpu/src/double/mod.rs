//! Sums and symmetric matrices in f64, the same bit for bit on every machine and with any number of threads.
//!
//! Each sum has an order of its own, which depends neither on the vectors of the machine nor on its threads, and products
//! are rounded before they are added, never fused.
//!
//! - `triangle`: where the elements of a symmetric matrix are, and products of rows added to it.
//! - `cholesky`: its factor, and what solves equations.
//! - `dot`: scores of rows for classes.

mod cholesky;
mod dot;
mod triangle;

pub use cholesky::{cholesky, solve};
pub use dot::scores;
pub use triangle::{add_products, elements};

use super::parallel;

/// Multiplications that are not worth another thread.
const SMALL: usize = 1 << 16;

/// `run` of each item, on several threads if there are enough multiplications in `work`.
fn each<T: Send>(items: Vec<T>, work: usize, run: impl Fn(T) + Sync + Send) {
    if work <= SMALL {
        items.into_iter().for_each(run);
    } else {
        parallel::map(items, run);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Between -1 and 1, with all bits of an f64.
    fn values(count: usize) -> Vec<f64> {
        let value = |place: usize| (place as f64 * 12.9898).sin();
        (0..count).map(value).collect()
    }

    /// Around every size that is cut into pieces: panels of 8, blocks of 64, 256 rows at once.
    const SIZES: [(usize, usize); 8] = [
        (1, 1),
        (3, 5),
        (7, 300),
        (8, 2),
        (63, 10),
        (65, 257),
        (131, 512),
        (203, 3),
    ];

    /// So that no machine fuses a product and a sum, or adds in another order.
    #[test]
    fn products_are_added_in_their_order_bit_for_bit() {
        for (width, depth) in SIZES {
            let rows = values(width * depth);
            let mut matrix = vec![0.5; elements(width)];
            add_products(&rows, width, &mut matrix);
            for i in 0..width {
                for j in 0..=i {
                    let mut expected = 0.5;
                    for rows in rows.chunks(256 * width) {
                        let products = rows.chunks_exact(width).map(|row| row[i] * row[j]);
                        expected += products.fold(0.0, |sum, product| sum + product);
                    }
                    assert_eq!(matrix[elements(i) + j], expected, "{width} {depth} {i} {j}");
                }
            }
        }
    }

    #[test]
    fn equations_are_solved() {
        for (width, _) in SIZES {
            let mut matrix = vec![0.0; elements(width)];
            add_products(&values(width * width), width, &mut matrix);
            (0..width).for_each(|place| matrix[elements(place) + place] += 0.1);
            let expected = values(3 * width);
            let at = |i: usize, j: usize| matrix[elements(i.max(j)) + i.min(j)];
            let mut vectors: Vec<f64> = expected
                .chunks_exact(width)
                .flat_map(|x| (0..width).map(move |i| (0..width).map(|j| at(i, j) * x[j]).sum()))
                .collect();
            let mut factor = matrix.clone();
            assert!(cholesky(&mut factor, width));
            solve(&factor, width, &mut vectors);
            for (value, expected) in vectors.iter().zip(&expected) {
                assert!(
                    (value - expected).abs() < 1e-9,
                    "{width}: {value} {expected}"
                );
            }
        }
    }

    #[test]
    fn a_matrix_without_a_factor_is_told() {
        for width in [1, 2, 9, 70, 130] {
            let mut sound = vec![0.0; elements(width)];
            (0..width).for_each(|place| sound[elements(place) + place] = 2.0);
            assert!(cholesky(&mut sound.clone(), width));
            let last = elements(width) - 1;
            for (place, value) in [
                (last, 0.0),
                (last, -1.0),
                (last, f64::NAN),
                (0, f64::INFINITY),
            ] {
                let mut matrix = sound.clone();
                matrix[place] = value;
                assert!(!cholesky(&mut matrix, width), "{width}: {value}");
            }
            if width > 1 {
                // The last row is the first: what is left of its pivot is rounding.
                let mut matrix = sound.clone();
                matrix[elements(width - 1)] = 2.0;
                assert!(!cholesky(&mut matrix, width), "{width}");
                matrix[elements(width - 1)] = f64::NAN;
                assert!(!cholesky(&mut matrix, width), "{width}");
            }
        }
    }

    #[test]
    fn scores_are_sums_in_eight_parts_bit_for_bit() {
        for (rows, width, classes) in [(1, 1, 1), (5, 8, 4), (65, 19, 3), (130, 40, 9)] {
            let inputs: Vec<f32> = values(rows * width).iter().map(|v| *v as f32).collect();
            let (weights, biases) = (values(classes * width), values(classes));
            let mut found = vec![0.0; rows * classes];
            scores(&inputs, &weights, &biases, &mut found);
            for (place, found) in found.into_iter().enumerate() {
                let (row, class) = (place / classes, place % classes);
                let product =
                    |k: usize| f64::from(inputs[row * width + k]) * weights[class * width + k];
                let whole = width / 8 * 8;
                let s: Vec<f64> = (0..8)
                    .map(|part| {
                        (part..whole)
                            .step_by(8)
                            .fold(0.0, |sum, k| sum + product(k))
                    })
                    .collect();
                let sum = ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
                let sum = (whole..width).fold(sum, |sum, k| sum + product(k));
                assert_eq!(found, biases[class] + sum, "{rows} {width} {classes}");
            }
        }
    }
}
