//! How many values a module has.

use std::collections::HashSet;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;
use serde::Serialize;

/// How many values there are: those that training changes apart from the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Counts {
    /// Values that training changes.
    pub trained: u64,
    /// Values that are not trained: running statistics, and what is frozen.
    pub buffers: u64,
}

impl Counts {
    /// Of a module on a device with automatic differentiation; on another one nothing is trained.
    pub fn of<M: Module>(module: &M) -> Self {
        let mut counting = Counting::default();
        module.visit(&mut counting);
        counting.counts
    }

    /// All of them.
    pub fn all(self) -> u64 {
        self.trained + self.buffers
    }
}

#[derive(Default)]
struct Counting {
    counts: Counts,
    seen: HashSet<u64>,
}

impl ModuleVisitor for Counting {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if !self.seen.insert(param.id.val()) {
            return;
        }
        let values = param.shape().num_elements() as u64;
        match param.is_require_grad() {
            true => self.counts.trained += values,
            false => self.counts.buffers += values,
        }
    }
}
