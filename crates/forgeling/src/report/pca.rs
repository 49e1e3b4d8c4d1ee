//! Features of many numbers as points of a plane.

use crate::data::Rng;
use crate::error::{Error, Result};

const OPERATION: &str = "pca";
/// Directions that are sought together; the more, the sooner the first two are found.
const BLOCK: usize = 10;
const MOST_ROUNDS: usize = 1000;
/// Of what remains of a direction, against the largest variance.
const EXACT: f64 = 1e-12;

/// Rows, seen in the plane in which they differ most.
#[derive(Debug, Clone, PartialEq)]
pub struct Pca {
    /// Each row's distance from the mean along the first and the second principal component.
    pub points: Vec<(f64, f64)>,
    /// The share of the variance that lies along each of the two; 0 where there is no variance.
    pub explained: [f64; 2],
}

/// Projects rows of equal length onto their first two principal components: the directions of unit length along which
/// their variance is largest, each of which has a positive largest number (by magnitude; of several, the first one). Sums
/// are in double precision, and the result follows from the rows alone.
///
/// ```
/// # fn main() -> forgeling::Result<()> {
/// let plane = forgeling::report::pca(&[vec![0.0, 1.0], vec![0.0, 1.0], vec![3.0, 5.0]])?;
/// assert!((plane.points[2].0 - plane.points[0].0 - 5.0).abs() < 1e-9);
/// assert!((plane.explained[0] - 1.0).abs() < 1e-9);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// When there is no row or no number in it, rows have different lengths, or a number is not finite.
pub fn pca(rows: &[Vec<f32>]) -> Result<Pca> {
    let features = check(rows)?;
    let count = rows.len() as f64;
    let column = |column: usize| rows.iter().map(move |row| f64::from(row[column]));
    let means: Vec<f64> = (0..features)
        .map(|c| column(c).sum::<f64>() / count)
        .collect();
    let center = |row: &Vec<f32>| -> Vec<f64> {
        let values = row.iter().zip(&means);
        values
            .map(|(&value, mean)| f64::from(value) - mean)
            .collect()
    };
    let rows: Vec<Vec<f64>> = rows.iter().map(center).collect();
    // Rows and columns have the same variances; the smaller matrix tells them.
    let few_rows = rows.len() <= features;
    let vectors = if few_rows {
        rows.clone()
    } else {
        transposed(&rows)
    };
    let products: Vec<Vec<f64>> = vectors
        .iter()
        .map(|a| vectors.iter().map(|b| dot(a, b)).collect())
        .collect();
    let total: f64 = (0..products.len())
        .map(|index| products[index][index])
        .sum();
    let mut axes = Vec::new();
    let mut explained = [0.0; 2];
    for (component, (variance, vector)) in first_two(&products).into_iter().enumerate() {
        let mut axis = if few_rows {
            combined(&rows, &vector)
        } else {
            vector
        };
        let length = dot(&axis, &axis).sqrt();
        let largest = axis
            .iter()
            .fold(0.0, |most: f64, value| most.max(value.abs()));
        // Rounding must not decide between numbers that are equally large.
        let first = axis
            .iter()
            .find(|value| value.abs() >= largest * (1.0 - 1e-9));
        let sign = first.map_or(1.0, |value| value.signum());
        if length > 0.0 {
            axis.iter_mut().for_each(|value| *value *= sign / length);
        }
        axes.push(axis);
        if total > 0.0 {
            explained[component] = (variance / total).clamp(0.0, 1.0);
        }
    }
    let along =
        |row: &[f64], component: usize| axes.get(component).map_or(0.0, |axis| dot(row, axis));
    let point = |row: &Vec<f64>| (along(row, 0), along(row, 1));
    Ok(Pca {
        points: rows.iter().map(point).collect(),
        explained,
    })
}

fn check(rows: &[Vec<f32>]) -> Result<usize> {
    let features = rows.first().map_or(0, Vec::len);
    if features == 0 {
        return Err(Error::invalid(
            OPERATION,
            "there is no row, or no number in it",
        ));
    }
    for (index, row) in rows.iter().enumerate() {
        if row.len() != features {
            let message = format!("row {index} has another length than the first one");
            return Err(Error::invalid(OPERATION, message)
                .expected(features)
                .got(row.len()));
        }
        if let Some(value) = row.iter().find(|value| !value.is_finite()) {
            let message = format!("row {index} has a number that is not finite");
            return Err(Error::bad_data(OPERATION, message).got(value));
        }
    }
    Ok(features)
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn transposed(rows: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let column = |column: usize| rows.iter().map(|row| row[column]).collect();
    (0..rows[0].len()).map(column).collect()
}

/// The sum of the vectors, each times its share.
fn combined(vectors: &[Vec<f64>], shares: &[f64]) -> Vec<f64> {
    let mut sum = vec![0.0; vectors[0].len()];
    for (vector, share) in vectors.iter().zip(shares) {
        sum.iter_mut()
            .zip(vector)
            .for_each(|(sum, value)| *sum += share * value);
    }
    sum
}

/// The largest eigenvalues of a symmetric matrix, two or as many as there are, with their vectors: by subspace iteration
/// with Rayleigh-Ritz steps (Golub and Van Loan, "Matrix computations", section 8.2.4).
fn first_two(matrix: &[Vec<f64>]) -> Vec<(f64, Vec<f64>)> {
    let size = matrix.len();
    let mut rng = Rng::new(0);
    let random = |_| (0..size).map(|_| f64::from(rng.normal())).collect();
    let mut basis: Vec<Vec<f64>> = (0..BLOCK.min(size)).map(random).collect();
    let times =
        |vector: &Vec<f64>| -> Vec<f64> { matrix.iter().map(|row| dot(row, vector)).collect() };
    let mut found = Vec::new();
    for _ in 0..MOST_ROUNDS {
        orthonormalize(&mut basis);
        let images: Vec<Vec<f64>> = basis.iter().map(times).collect();
        let small = images
            .iter()
            .map(|image| basis.iter().map(|vector| dot(vector, image)).collect());
        let pairs = eigenpairs(small.collect());
        found = pairs
            .iter()
            .take(2)
            .map(|(value, shares)| (*value, combined(&basis, shares)))
            .collect();
        let largest = pairs[0].0;
        let exact = pairs.iter().take(2).all(|(value, shares)| {
            let (image, vector) = (combined(&images, shares), combined(&basis, shares));
            let rest = image
                .iter()
                .zip(&vector)
                .map(|(image, v)| image - value * v);
            rest.map(|rest| rest * rest).sum::<f64>().sqrt() <= EXACT * largest
        });
        if exact {
            break;
        }
        basis = pairs
            .iter()
            .map(|(_, shares)| combined(&images, shares))
            .collect();
    }
    found
}

/// Makes vectors orthogonal and of unit length; those that depend on the ones before become 0.
fn orthonormalize(vectors: &mut [Vec<f64>]) {
    for index in 0..vectors.len() {
        let (before, rest) = vectors.split_at_mut(index);
        let vector = &mut rest[0];
        let length = dot(vector, vector).sqrt();
        // Twice is enough to undo what rounding leaves.
        for _ in 0..2 {
            for other in before.iter() {
                let share = dot(other, vector);
                vector
                    .iter_mut()
                    .zip(other)
                    .for_each(|(value, other)| *value -= share * other);
            }
        }
        let left = dot(vector, vector).sqrt();
        let scale = if left > 1e-12 * length {
            1.0 / left
        } else {
            0.0
        };
        vector.iter_mut().for_each(|value| *value *= scale);
    }
}

/// All eigenvalues of a small symmetric matrix, the largest first, with their vectors: cyclic Jacobi rotations.
fn eigenpairs(mut matrix: Vec<Vec<f64>>) -> Vec<(f64, Vec<f64>)> {
    let size = matrix.len();
    let one = |row: usize| {
        (0..size)
            .map(|column| f64::from(u8::from(row == column)))
            .collect()
    };
    let mut vectors: Vec<Vec<f64>> = (0..size).map(one).collect();
    for _ in 0..50 {
        let mut rotated = false;
        for (p, q) in (0..size).flat_map(|p| (p + 1..size).map(move |q| (p, q))) {
            let (a, b, c) = (matrix[p][p], matrix[p][q], matrix[q][q]);
            if b.abs() <= 1e-16 * (a.abs() * c.abs()).sqrt() || b == 0.0 {
                continue;
            }
            rotated = true;
            let ratio = (c - a) / (2.0 * b);
            let tangent = ratio.signum() / (ratio.abs() + ratio.hypot(1.0));
            let cosine = 1.0 / tangent.hypot(1.0);
            let sine = tangent * cosine;
            let turn = |x: &mut f64, y: &mut f64| {
                (*x, *y) = (cosine * *x - sine * *y, sine * *x + cosine * *y);
            };
            for row in matrix.iter_mut() {
                let (left, right) = row.split_at_mut(q);
                turn(&mut left[p], &mut right[0]);
            }
            for rows in [&mut matrix, &mut vectors] {
                let (above, below) = rows.split_at_mut(q);
                above[p]
                    .iter_mut()
                    .zip(below[0].iter_mut())
                    .for_each(|(x, y)| turn(x, y));
            }
        }
        if !rotated {
            break;
        }
    }
    let values = (0..size).map(|index| matrix[index][index]);
    let mut pairs: Vec<(f64, Vec<f64>)> = values.zip(vectors).collect();
    pairs.sort_by(|a, b| b.0.total_cmp(&a.0));
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eigenpairs_are_those_of_the_matrix() {
        let matrix = vec![
            vec![4.0, 1.0, -2.0, 0.0],
            vec![1.0, 4.0, 0.5, 3.0],
            vec![-2.0, 0.5, -1.0, 1.0],
            vec![0.0, 3.0, 1.0, 0.0],
        ];
        let pairs = eigenpairs(matrix.clone());
        for (value, vector) in &pairs {
            assert!((dot(vector, vector) - 1.0).abs() < 1e-12);
            for (row, own) in matrix.iter().zip(vector) {
                assert!((dot(row, vector) - value * own).abs() < 1e-12, "{pairs:?}");
            }
        }
        assert!(pairs.windows(2).all(|pair| pair[0].0 >= pair[1].0));
    }

    #[test]
    fn rows_without_variance_are_one_point() {
        for rows in [
            vec![vec![2.0, 7.0]; 3],
            vec![vec![1.0; 5]],
            vec![vec![4.0]; 2],
        ] {
            let plane = pca(&rows).unwrap();
            assert_eq!(plane.points, vec![(0.0, 0.0); rows.len()]);
            assert_eq!(plane.explained, [0.0; 2]);
        }
    }

    #[test]
    fn a_line_has_one_component() {
        let rows: Vec<Vec<f32>> = (0..30)
            .map(|n| vec![n as f32, -2.0 * n as f32, 2.0 * n as f32])
            .collect();
        let plane = pca(&rows).unwrap();
        assert!((plane.explained[0] - 1.0).abs() < 1e-12 && plane.explained[1] < 1e-12);
        for (n, point) in plane.points.iter().enumerate() {
            // Of -2 and 2 the first one is made positive.
            assert!(
                (point.0 + 3.0 * (n as f64 - 14.5)).abs() < 1e-9,
                "{point:?}"
            );
            assert!(point.1.abs() < 1e-9, "{point:?}");
        }
        assert_eq!(
            pca(&[]).unwrap_err().to_string(),
            "pca: there is no row, or no number in it"
        );
    }

    #[test]
    fn bad_rows_are_errors() {
        for rows in [
            vec![vec![]],
            vec![vec![1.0, 2.0], vec![1.0]],
            vec![vec![f32::NAN]],
        ] {
            assert!(pca(&rows).unwrap_err().is_bad_input());
        }
    }
}
