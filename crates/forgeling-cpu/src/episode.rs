//! Logits of whole episodes, from the features of support and queries.

use super::pairwise::squared_distance;

/// `[episodes, ways, shots, queries, width]`, as the shaders' last binding.
pub type EpisodeShape = [usize; 5];

/// `prototypes[e, n, d] = mean_k features[(e ways + n) shots + k, d]`
///
/// # Panics
/// When a slice is shorter than `shape` says.
pub fn episode_prototypes(features: &[f32], prototypes: &mut [f32], shape: EpisodeShape) {
    let [episodes, ways, shots, _, width] = shape;
    for class in 0..episodes * ways {
        let prototype = &mut prototypes[class * width..][..width];
        prototype.fill(0.0);
        for row in features[class * shots * width..][..shots * width].chunks_exact(width) {
            for (mean, value) in prototype.iter_mut().zip(row) {
                *mean += value;
            }
        }
        for mean in prototype {
            *mean /= shots as f32;
        }
    }
}

/// `logits[e, q, n] = -sum_d (features[first + e ways queries + q, d] - prototypes[e, n, d])^2`, where the queries
/// lie behind the support, `first = episodes ways shots`.
///
/// # Panics
/// When a slice is shorter than `shape` says.
pub fn episode_logits(
    features: &[f32],
    prototypes: &[f32],
    logits: &mut [f32],
    shape: EpisodeShape,
) {
    let [episodes, ways, shots, queries, width] = shape;
    let supports = episodes * ways * shots;
    for row in 0..episodes * ways * queries {
        let query = &features[(supports + row) * width..][..width];
        let first = row / (ways * queries) * ways;
        for way in 0..ways {
            let prototype = &prototypes[(first + way) * width..][..width];
            logits[row * ways + way] = -squared_distance(query, prototype);
        }
    }
}

/// The gradient of [`episode_logits`] with respect to the features, through the prototypes.
///
/// # Panics
/// When a slice is shorter than `shape` says.
pub fn episode_logits_grad(
    features: &[f32],
    prototypes: &[f32],
    grad: &[f32],
    grad_features: &mut [f32],
    shape: EpisodeShape,
) {
    let [episodes, ways, shots, queries, width] = shape;
    let supports = episodes * ways * shots;
    let (of_support, of_queries) = grad_features.split_at_mut(supports * width);
    of_support.fill(0.0);
    of_queries[..episodes * ways * queries * width].fill(0.0);
    let mut of_prototype = vec![0.0; width];
    for class in 0..episodes * ways {
        let prototype = &prototypes[class * width..][..width];
        let first = class / ways * ways * queries;
        of_prototype.fill(0.0);
        for row in first..first + ways * queries {
            let weight = 2.0 * grad[row * ways + class % ways];
            let query = &features[(supports + row) * width..][..width];
            let of_query = &mut of_queries[row * width..][..width];
            for d in 0..width {
                let flow = weight * (query[d] - prototype[d]);
                of_prototype[d] += flow;
                of_query[d] -= flow;
            }
        }
        for row in of_support[class * shots * width..][..shots * width].chunks_exact_mut(width) {
            for (value, sum) in row.iter_mut().zip(&of_prototype) {
                *value = sum / shots as f32;
            }
        }
    }
}
