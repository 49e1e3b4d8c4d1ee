//! The parameters of many tasks.

use burn::tensor::{Gradients, Tensor};

/// One tensor `[tasks, values]` for each parameter of a program, in its order.
#[derive(Debug, Clone)]
pub struct Weights(Vec<Tensor<2>>);

impl Weights {
    /// The parameters of a program, `[values]` each, the same for so many tasks.
    pub fn shared(parameters: &[Tensor<1>], tasks: usize) -> Self {
        let each = |parameter: &Tensor<1>| {
            let [values] = parameter.dims();
            parameter.clone().reshape([1, values]).repeat_dim(0, tasks)
        };
        Self(parameters.iter().map(each).collect())
    }

    /// Tensors `[tasks, values]`, one for each parameter.
    pub fn new(tensors: Vec<Tensor<2>>) -> Self {
        Self(tensors)
    }

    /// One tensor for each parameter.
    pub fn tensors(&self) -> &[Tensor<2>] {
        &self.0
    }

    /// The tensors, of which some may be exchanged.
    pub fn tensors_mut(&mut self) -> &mut [Tensor<2>] {
        &mut self.0
    }

    /// How many parameters.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no parameter.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes the parameters from the one numbered `start` on away, and gives them.
    #[must_use]
    pub fn split_off(&mut self, start: usize) -> Self {
        Self(self.0.split_off(start))
    }

    /// `change` of each tensor.
    #[must_use]
    pub fn map(&self, change: impl FnMut(Tensor<2>) -> Tensor<2>) -> Self {
        Self(self.0.iter().cloned().map(change).collect())
    }

    /// `join` of each tensor and the one at its place in `other`.
    #[must_use]
    pub fn zip(
        &self,
        other: &Self,
        mut join: impl FnMut(Tensor<2>, Tensor<2>) -> Tensor<2>,
    ) -> Self {
        let pairs = self.0.iter().cloned().zip(other.0.iter().cloned());
        Self(pairs.map(|(a, b)| join(a, b)).collect())
    }

    /// `self + factor * other`
    #[must_use]
    pub fn add_scaled(&self, other: &Self, factor: f64) -> Self {
        self.zip(other, |a, b| a + b * factor)
    }

    /// `self - other`
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        self.zip(other, |a, b| a - b)
    }

    /// The scalar product of each task's parameters with those of another, `[tasks, 1]`.
    pub fn dot(&self, other: &Self) -> Option<Tensor<2>> {
        let products = self.0.iter().zip(&other.0);
        products
            .map(|(a, b)| (a.clone() * b.clone()).sum_dim(1))
            .reduce(|a, b| a + b)
    }

    /// The values alone, without how they came about.
    #[must_use]
    pub fn detach(&self) -> Self {
        self.map(Tensor::detach)
    }

    /// New leaves with these values, whose gradients can be asked for.
    #[must_use]
    pub fn leaves(&self) -> Self {
        self.map(|tensor| tensor.detach().require_grad())
    }

    /// The gradients of [`leaves`](Self::leaves); zeros where there is none.
    #[must_use]
    pub fn gradients(&self, gradients: &Gradients) -> Self {
        self.map(|tensor| match tensor.grad(gradients) {
            Some(gradient) => Tensor::from_inner(gradient),
            None => tensor.detach().zeros_like(),
        })
    }
}
