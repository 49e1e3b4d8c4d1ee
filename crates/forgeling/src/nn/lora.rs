//! Low-rank adapters: a frozen network that learns by small changes of its weights.

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use super::init::uniform;
use crate::device::TensorDevice;
use crate::error::{Error, Result};
use crate::ops::{Activation, linear};
use crate::rng::Rng;

const OPERATION: &str = "lora";

/// A change of a weight matrix `[out, in]` that has few parameters:
///
/// `change = alpha / rank * up down`, `up [out, rank]`, `down [rank, in]`
///
/// `up` starts at 0, so that there is no change at first, and `down` uniform in `±1/sqrt(in)`, as in the authors' code.
/// Hu et al., *LoRA: Low-Rank Adaptation of Large Language Models*, 2021 (arXiv 2106.09685). A convolution's weight
/// `[out, in, height, width]` is the matrix `[out, in * height * width]`.
#[derive(Module, Debug)]
pub struct Lora {
    /// `[out, rank]`
    pub up: Param<Tensor<2>>,
    /// `[rank, in]`
    pub down: Param<Tensor<2>>,
    #[module(skip)]
    scale: f64,
}

impl Lora {
    /// No change yet of a weight `[out, in]`. `alpha` divided by the rank is what the product is multiplied with.
    ///
    /// # Errors
    /// When a size or the rank is zero, or `alpha` is not a positive number.
    pub fn new(
        [output, input]: [usize; 2],
        rank: usize,
        alpha: f64,
        rng: &mut Rng,
        device: &TensorDevice,
    ) -> Result<Self> {
        check(rank, alpha)?;
        if output == 0 || input == 0 {
            return Err(Error::invalid(OPERATION, "an empty weight")
                .expected("every size at least 1")
                .got(format!("[{output}, {input}]")));
        }
        let bound = 1.0 / (input as f32).sqrt();
        Ok(Self {
            up: Param::from_tensor(Tensor::zeros([output, rank], device)),
            down: uniform(rng, [rank, input], bound, device),
            scale: alpha / rank as f64,
        })
    }

    /// The change, `[out, in]`; differentiable in both factors.
    ///
    /// # Errors
    /// As [`linear`].
    pub fn change(&self) -> Result<Tensor<2>> {
        let product = linear(self.up.val(), self.down.val(), None, Activation::None)?;
        Ok(product * self.scale)
    }

    /// The weight of a convolution with this change, `[out, in, height, width]`.
    ///
    /// # Errors
    /// When the change does not fit the weight.
    pub fn changed(&self, weight: Tensor<4>) -> Result<Tensor<4>> {
        let [output, input, height, width] = weight.dims();
        let change = self.change()?;
        if change.dims() != [output, input * height * width] {
            return Err(
                Error::invalid(OPERATION, "the adapter does not fit the weight")
                    .expected(format!("[{output}, {}]", input * height * width))
                    .got(format!("{:?}", change.dims())),
            );
        }
        let change = change.reshape(weight.dims());
        Ok(weight + change)
    }
}

/// Checks what adapters are made with.
///
/// # Errors
/// When the rank is zero or beyond reason, or `alpha` is not a positive number.
pub(crate) fn check(rank: usize, alpha: f64) -> Result<()> {
    /// More than the sizes of any weight that adapters would be worth it for.
    const MOST: usize = 4096;
    if !(1..=MOST).contains(&rank) {
        return Err(Error::invalid(OPERATION, "the rank is out of range")
            .expected(format!("1 to {MOST}"))
            .got(rank));
    }
    if !(alpha.is_finite() && alpha > 0.0) {
        return Err(Error::invalid(OPERATION, "alpha is out of range")
            .expected("a positive number")
            .got(alpha));
    }
    Ok(())
}

/// The values, without how they came about.
pub(crate) fn leaf(weight: Tensor<4>) -> Tensor<4> {
    if weight.device().is_autodiff() {
        Tensor::from_inner(weight.inner())
    } else {
        weight
    }
}
