//! Gradients that are differentiable again, against their composite references, the definition and difference quotients.

mod common;
mod convolution;
mod norm_pool;
