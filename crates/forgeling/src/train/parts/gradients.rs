//! Gradients of a whole model: sums and products, for [`GradientRule`](super::GradientRule)s. All stays on the device.

use std::collections::HashSet;

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;

/// A copy.
pub fn copy<M: Module>(module: &M, gradients: &GradientsParams) -> GradientsParams {
    map(module, gradients, gradients, |gradient, _| gradient)
}

/// The sum of the products of all numbers of two gradients, `[1]`; `None` where no parameter has both.
pub fn dot<M: Module>(module: &M, a: &GradientsParams, b: &GradientsParams) -> Option<Tensor<1>> {
    let mut visitor = Dot {
        a,
        b,
        seen: HashSet::new(),
        sum: None,
    };
    module.visit(&mut visitor);
    visitor.sum
}

/// Each gradient times `factor`, `[1]`.
pub fn scale<M: Module>(module: &M, gradients: &mut GradientsParams, factor: &Tensor<1>) {
    *gradients = map(module, gradients, gradients, |gradient, _| {
        gradient * factor.clone()
    });
}

/// Adds `others` times `factor`, `[1]`, where both are there.
pub fn add<M: Module>(
    module: &M,
    gradients: &mut GradientsParams,
    others: &GradientsParams,
    factor: &Tensor<1>,
) {
    *gradients = map(module, gradients, others, |gradient, other| match other {
        Some(other) => gradient + other * factor.clone(),
        None => gradient,
    });
}

/// Each gradient, flattened, by a function of it and the other one of its parameter.
fn map<M: Module>(
    module: &M,
    gradients: &GradientsParams,
    others: &GradientsParams,
    function: impl Fn(Tensor<1>, Option<Tensor<1>>) -> Tensor<1>,
) -> GradientsParams {
    let mut visitor = Map {
        gradients,
        others,
        function,
        made: GradientsParams::new(),
    };
    module.visit(&mut visitor);
    visitor.made
}

fn flat<const D: usize>(
    gradients: &GradientsParams,
    param: &Param<Tensor<D>>,
) -> Option<Tensor<1>> {
    let gradient = gradients.get::<D>(param.id)?;
    let length = gradient.shape().num_elements();
    Some(gradient.reshape([length]))
}

struct Map<'a, F> {
    gradients: &'a GradientsParams,
    others: &'a GradientsParams,
    function: F,
    made: GradientsParams,
}

impl<F: Fn(Tensor<1>, Option<Tensor<1>>) -> Tensor<1>> ModuleVisitor for Map<'_, F> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = flat(self.gradients, param) {
            let made = (self.function)(gradient, flat(self.others, param));
            let shape = param.val().dims();
            self.made.register(param.id, made.reshape(shape));
        }
    }
}

struct Dot<'a> {
    a: &'a GradientsParams,
    b: &'a GradientsParams,
    /// A parameter may be found in two places.
    seen: HashSet<ParamId>,
    sum: Option<Tensor<1>>,
}

impl ModuleVisitor for Dot<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if !self.seen.insert(param.id) {
            return;
        }
        if let (Some(a), Some(b)) = (flat(self.a, param), flat(self.b, param)) {
            let product = (a * b).sum();
            self.sum = Some(match self.sum.take() {
                Some(sum) => sum + product,
                None => product,
            });
        }
    }
}
