//! Squared distances to prototypes.

/// `[episodes, queries, ways, features]`, as the shaders' last binding.
pub type PrototypeShape = [usize; 4];

/// `logits[e, q, n] = -sum_d (query[e, q, d] - prototypes[e, n, d])^2`
///
/// # Panics
/// When a slice is shorter than `shape` says.
pub fn prototype_logits(
    query: &[f32],
    prototypes: &[f32],
    logits: &mut [f32],
    shape: PrototypeShape,
) {
    let [episodes, queries, ways, features] = shape;
    for row in 0..episodes * queries {
        let q = &query[row * features..][..features];
        let first_way = row / queries * ways;
        for way in 0..ways {
            let p = &prototypes[(first_way + way) * features..][..features];
            logits[row * ways + way] = -squared_distance(q, p);
        }
    }
}

/// Eight partial sums, so that the compiler may use SIMD without reordering a float sum by itself.
pub(super) fn squared_distance(a: &[f32], b: &[f32]) -> f32 {
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

/// `grad_query[e, q, d] = -2 sum_n grad[e, q, n] (query[e, q, d] - prototypes[e, n, d])`
///
/// # Panics
/// When a slice is shorter than `shape` says.
pub fn prototype_logits_grad_query(
    query: &[f32],
    prototypes: &[f32],
    grad: &[f32],
    grad_query: &mut [f32],
    shape: PrototypeShape,
) {
    let [episodes, queries, ways, features] = shape;
    grad_query[..episodes * queries * features].fill(0.0);
    for row in 0..episodes * queries {
        let q = &query[row * features..][..features];
        let out = &mut grad_query[row * features..][..features];
        for way in 0..ways {
            let p = &prototypes[(row / queries * ways + way) * features..][..features];
            let g = -2.0 * grad[row * ways + way];
            for ((out, q), p) in out.iter_mut().zip(q).zip(p) {
                *out += g * (q - p);
            }
        }
    }
}

/// `grad_prototypes[e, n, d] = 2 sum_q grad[e, q, n] (query[e, q, d] - prototypes[e, n, d])`
///
/// # Panics
/// When a slice is shorter than `shape` says.
pub fn prototype_logits_grad_prototypes(
    query: &[f32],
    prototypes: &[f32],
    grad: &[f32],
    grad_prototypes: &mut [f32],
    shape: PrototypeShape,
) {
    let [episodes, queries, ways, features] = shape;
    grad_prototypes[..episodes * ways * features].fill(0.0);
    for row in 0..episodes * queries {
        let q = &query[row * features..][..features];
        for way in 0..ways {
            let start = (row / queries * ways + way) * features;
            let g = 2.0 * grad[row * ways + way];
            let p = &prototypes[start..][..features];
            for ((out, q), p) in grad_prototypes[start..][..features]
                .iter_mut()
                .zip(q)
                .zip(p)
            {
                *out += g * (q - p);
            }
        }
    }
}
