//! Networks as functions of their parameters, each layer with its vector-Jacobian product written out.
//!
//! burn's autodiff is of first order. A learner that differentiates through gradient steps needs the gradient of the
//! inner loss as tensor operations that autodiff can follow: that is what these layers give. Nothing but the gradient
//! learners depends on them.
//!
//! Many tasks, each with parameters of its own, are one computation: a parameter is `[tasks, values]`, maps are
//! `[rows, tasks * channels, height, width]`, convolved in as many groups as there are tasks, and rows of numbers are
//! `[tasks, rows, values]`, multiplied as a batch of matrices.
//!
//! - [`Weights`]: the parameters of all tasks; [`Value`]: what goes through.
//! - [`Primitive`]: one operation with its vector-Jacobian product.
//! - [`Program`]: a graph as a function of its parameters.
//! - [`Loss`]: cross entropy and squared error.

mod layer;
mod loss;
mod program;
mod rows;
mod stock;
mod value;
mod weights;

pub use layer::Primitive;
pub use loss::Loss;
pub use program::{Program, Trace};
pub(super) use stock::positive;
pub use value::Value;
pub use weights::Weights;
