//! Squared distances of all pairs.

/// `[batch, rows, others, features]` and the bits of the factor, as the shaders' last binding.
pub type PairwiseShape = [usize; 5];

fn factor(shape: PairwiseShape) -> f32 {
    f32::from_bits(shape[4] as u32)
}

/// `distances[e, q, n] = factor sum_d (a[e, q, d] - b[e, n, d])^2`
///
/// # Panics
/// When a slice is shorter than `shape` says.
pub fn pairwise_sq_distance(a: &[f32], b: &[f32], distances: &mut [f32], shape: PairwiseShape) {
    let [batch, rows, others, features, _] = shape;
    let factor = factor(shape);
    for row in 0..batch * rows {
        let a = &a[row * features..][..features];
        let first_other = row / rows * others;
        for other in 0..others {
            let b = &b[(first_other + other) * features..][..features];
            distances[row * others + other] = factor * squared_distance(a, b);
        }
    }
}

/// Eight partial sums, so that the compiler may use SIMD without reordering a float sum by itself.
pub fn squared_distance(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0f32; 8];
    let (a_chunks, a_rest) = a.as_chunks::<8>();
    let (b_chunks, b_rest) = b.as_chunks::<8>();
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            let difference = a - b;
            *lane += difference * difference;
        }
    }
    let rest: f32 = a_rest
        .iter()
        .zip(b_rest)
        .map(|(a, b)| (a - b) * (a - b))
        .sum();
    lanes.iter().sum::<f32>() + rest
}

/// `grad_a[e, q, d] = 2 factor sum_n grad[e, q, n] (a[e, q, d] - b[e, n, d])`
///
/// # Panics
/// When a slice is shorter than `shape` says.
pub fn pairwise_sq_distance_grad_a(
    a: &[f32],
    b: &[f32],
    grad: &[f32],
    grad_a: &mut [f32],
    shape: PairwiseShape,
) {
    let [batch, rows, others, features, _] = shape;
    let twice = 2.0 * factor(shape);
    grad_a[..batch * rows * features].fill(0.0);
    for row in 0..batch * rows {
        let a = &a[row * features..][..features];
        let out = &mut grad_a[row * features..][..features];
        for other in 0..others {
            let b = &b[(row / rows * others + other) * features..][..features];
            add_difference(out, twice * grad[row * others + other], a, b);
        }
    }
}

/// `grad_b[e, n, d] = -2 factor sum_q grad[e, q, n] (a[e, q, d] - b[e, n, d])`
///
/// # Panics
/// When a slice is shorter than `shape` says.
pub fn pairwise_sq_distance_grad_b(
    a: &[f32],
    b: &[f32],
    grad: &[f32],
    grad_b: &mut [f32],
    shape: PairwiseShape,
) {
    let [batch, rows, others, features, _] = shape;
    let twice = -2.0 * factor(shape);
    grad_b[..batch * others * features].fill(0.0);
    for row in 0..batch * rows {
        let a = &a[row * features..][..features];
        for other in 0..others {
            let start = (row / rows * others + other) * features;
            let out = &mut grad_b[start..][..features];
            add_difference(
                out,
                twice * grad[row * others + other],
                a,
                &b[start..][..features],
            );
        }
    }
}

/// `out += factor (a - b)`
fn add_difference(out: &mut [f32], factor: f32, a: &[f32], b: &[f32]) {
    for ((out, a), b) in out.iter_mut().zip(a).zip(b) {
        *out += factor * (a - b);
    }
}
