//! Adam's rule.

use burn::tensor::Tensor;
use forgeling_cpu::optimizer::{AdamFactors, adam};
use forgeling_shaders::{ADAM, Kernel};

use super::Rule;

/// The numbers of a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct AdamRule {
    pub rate: f64,
    pub betas: [f64; 2],
    pub epsilon: f64,
    pub weight_decay: f64,
}

impl AdamRule {
    /// What a parameter keeps of itself.
    fn keep(&self) -> f64 {
        1.0 - self.rate * self.weight_decay
    }

    /// Natural logarithms of the betas. That of zero is so small that its powers are lost beside 1.
    fn logarithms(&self) -> [f64; 2] {
        self.betas.map(|beta| libm::log(beta).max(-80.0))
    }
}

impl Rule for AdamRule {
    fn moments(&self) -> &'static [&'static str] {
        &["mean", "square"]
    }

    fn kernel(&self) -> &'static Kernel {
        &ADAM
    }

    fn numbers(&self) -> Vec<f64> {
        let [beta1, beta2] = self.betas;
        let [logarithm1, logarithm2] = self.logarithms();
        vec![
            self.rate,
            self.keep(),
            beta1,
            1.0 - beta1,
            beta2,
            1.0 - beta2,
            logarithm1,
            logarithm2,
            self.epsilon,
        ]
    }

    fn update(
        &self,
        values: &mut [f32],
        gradients: &[f32],
        moments: &mut [&mut [f32]],
        steps: u64,
        scales: [f32; 2],
    ) {
        let correction = |logarithm: f64| -libm::expm1(steps as f64 * logarithm);
        let [correction1, correction2] = self.logarithms().map(correction);
        let factors = AdamFactors {
            scales,
            keep: self.keep() as f32,
            step: (self.rate / correction1) as f32,
            root: correction2.sqrt() as f32,
            beta1: [self.betas[0] as f32, (1.0 - self.betas[0]) as f32],
            beta2: [self.betas[1] as f32, (1.0 - self.betas[1]) as f32],
            epsilon: self.epsilon as f32,
        };
        if let [first, second] = moments {
            adam(values, gradients, first, second, &factors);
        }
    }

    fn factors(&self, time: &Tensor<1>) -> Vec<Tensor<1>> {
        let [logarithm1, logarithm2] = self.logarithms();
        let correction = |logarithm: f64| -(time.clone() * logarithm).exp() + 1.0;
        let step = correction(logarithm1).recip() * self.rate;
        let root = correction(logarithm2).sqrt();
        vec![step, root]
    }

    fn compose(
        &self,
        value: Tensor<1>,
        gradient: Tensor<1>,
        moments: &[Tensor<1>],
        factors: &[Tensor<1>],
    ) -> (Tensor<1>, Vec<Tensor<1>>) {
        let [beta1, beta2] = self.betas;
        let m = moments[0].clone() * beta1 + gradient.clone() * (1.0 - beta1);
        let v = moments[1].clone() * beta2 + gradient.square() * (1.0 - beta2);
        let denominator = v.clone().sqrt() / factors[1].clone() + self.epsilon;
        let moved = m.clone() * factors[0].clone() / denominator;
        (value * self.keep() - moved, vec![m, v])
    }
}
