//! The same operations composed of stock tensor operations: slower, and true on every device and dtype.

use burn::tensor::Tensor;

/// `logits[e, q, n] = -sum_d (query[e, q, d] - prototypes[e, n, d])^2`, by broadcasting.
///
/// Shapes: `query [E, Q, D]`, `prototypes [E, N, D]`, result `[E, Q, N]`. Needs `E*Q*N*D` numbers of
/// memory in between.
pub fn prototype_logits(query: Tensor<3>, prototypes: Tensor<3>) -> Tensor<3> {
    let difference = query.unsqueeze_dim::<4>(2) - prototypes.unsqueeze_dim::<4>(1);
    difference
        .clone()
        .mul(difference)
        .sum_dim(3)
        .squeeze_dim::<3>(3)
        .neg()
}
