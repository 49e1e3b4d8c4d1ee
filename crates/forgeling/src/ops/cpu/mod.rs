//! Bodies for the CPU back end: plain slices in, plain vectors out.
//!
//! SIMD comes from `macerator`, which the back end itself uses: the widest instructions of the machine, chosen
//! when it runs (AVX-512, AVX2, SSE4, NEON), and simd128 in WebAssembly. Sums are taken in an order that
//! does not depend on the number of threads, so that results are the same bit for bit from run to run.

#![allow(
    clippy::extra_unused_type_parameters,
    reason = "`with_simd` compiles a plain loop anew for each instruction set, which the parameter names"
)]

pub(super) mod activation;
pub(super) mod attention;
pub(super) mod batch_norm;
mod block_shape;
mod bordered;
pub(super) mod conv2d;
pub(super) mod conv_block;
pub(super) mod episode;
mod exp;
pub(super) mod gemm;
pub(super) mod half;
pub(super) mod layer_norm;
pub(super) mod loss;
mod moments;
pub(super) mod norm_pool;
pub(super) mod pairwise;
pub(super) mod parallel;
mod planes;
pub(super) mod pool;
mod products;
pub(super) mod spd_inverse;
