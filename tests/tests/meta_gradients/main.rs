//! Meta-gradients in f64 against PyTorch's (`golden/maml.py`), finite differences, and each other.

mod common;
mod differences;
mod graphs;
mod implicit;
mod torch;
