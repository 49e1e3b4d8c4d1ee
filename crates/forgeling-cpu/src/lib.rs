//! implementations of forgeling's operations for the CPU: plain slices in, plain vectors out.
//!
//! They are a crate of their own so that they can be optimized for speed by themselves. `forgeling` is their only
//! caller, and checks the shapes.
//!
//! SIMD comes from `macerator`, which the back end itself uses: the widest instructions of the machine, chosen
//! when it runs (AVX-512, AVX2, SSE4, NEON), and simd128 in WebAssembly. Sums are taken in an order that
//! does not depend on the number of threads, so that results are the same bit for bit from run to run.

#![allow(
    missing_docs,
    reason = "fields and methods are named as what they belong to says"
)]
#![allow(
    clippy::extra_unused_type_parameters,
    reason = "`with_simd` compiles a plain loop anew for each instruction set, which the parameter names"
)]

pub mod activation;
pub mod attention;
pub mod batch_norm;
mod block_shape;
mod bordered;
pub mod conv2d;
pub mod conv_block;
pub mod double;
pub mod episode;
mod exp;
pub mod fake_quantize;
pub mod gemm;
pub mod half;
pub mod int8;
pub mod layer_norm;
pub mod loss;
mod moments;
pub mod norm_pool;
pub mod optimizer;
pub mod pairwise;
pub mod parallel;
mod planes;
pub mod pool;
mod products;
pub mod spd_inverse;
