//! The rule of stochastic gradient descent.

use burn::tensor::Tensor;
use forgeling_cpu::optimizer::{SgdFactors, sgd};
use forgeling_shaders::{Kernel, SGD};

use super::Rule;

/// The numbers of a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct SgdRule {
    pub rate: f64,
    /// 0 for none; no velocity is kept then.
    pub momentum: f64,
    pub nesterov: bool,
    pub weight_decay: f64,
}

impl Rule for SgdRule {
    fn moments(&self) -> &'static [&'static str] {
        // In f32, as the kernel sees it.
        if self.momentum as f32 > 0.0 {
            &["velocity"]
        } else {
            &[]
        }
    }

    fn kernel(&self) -> &'static Kernel {
        &SGD
    }

    fn numbers(&self) -> Vec<f64> {
        let nesterov = f64::from(u8::from(self.nesterov));
        vec![self.rate, self.weight_decay, self.momentum, nesterov]
    }

    fn update(
        &self,
        values: &mut [f32],
        gradients: &[f32],
        moments: &mut [&mut [f32]],
        _steps: u64,
        scales: [f32; 2],
    ) {
        let factors = SgdFactors {
            scales,
            rate: self.rate as f32,
            decay: self.weight_decay as f32,
            momentum: self.momentum as f32,
            nesterov: self.nesterov,
        };
        let mut none: [f32; 0] = [];
        let velocity = match moments {
            [velocity] => &mut **velocity,
            _ => &mut none,
        };
        sgd(values, gradients, velocity, &factors);
    }

    fn factors(&self, _time: &Tensor<1>) -> Vec<Tensor<1>> {
        Vec::new()
    }

    fn compose(
        &self,
        value: Tensor<1>,
        gradient: Tensor<1>,
        moments: &[Tensor<1>],
        _factors: &[Tensor<1>],
    ) -> (Tensor<1>, Vec<Tensor<1>>) {
        let gradient = gradient + value.clone() * self.weight_decay;
        let Some(old) = moments.first() else {
            return (value - gradient * self.rate, Vec::new());
        };
        let velocity = old.clone() * self.momentum + gradient.clone();
        let direction = if self.nesterov {
            gradient + velocity.clone() * self.momentum
        } else {
            velocity.clone()
        };
        (value - direction * self.rate, vec![velocity])
    }
}
