//! Low-rank adapters: a frozen network that learns by small changes of its weights.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};

use super::init::uniform;
use super::{Conv4, ConvBlock, Normalization, Pass};
use crate::data::Rng;
use crate::error::{Error, Result};
use crate::ops::{Activation, linear};

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
        device: &Device,
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

    /// Number of trained values.
    pub fn parameter_count(&self) -> usize {
        self.up.val().shape().num_elements() + self.down.val().shape().num_elements()
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

/// A frozen [`ConvBlock`] whose weight has a [`Lora`].
///
/// Batch norm always uses the running statistics, in training too, and leaves them as they are: what is adapted to a few
/// images is to answer each image by itself.
#[derive(Module, Debug)]
pub struct LoraBlock {
    /// Not trained.
    pub block: ConvBlock,
    /// The change of its weight `[out, in * 9]`.
    pub lora: Lora,
}

impl LoraBlock {
    /// The changed weight, `[out, in, 3, 3]`.
    ///
    /// # Errors
    /// When the adapter does not fit the block.
    pub fn weight(&self) -> Result<Tensor<4>> {
        let weight = self.block.weight.val();
        let [output, input, height, width] = weight.dims();
        let change = self.lora.change()?;
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

    /// The block's output with the changed weight.
    ///
    /// # Errors
    /// When the input does not fit the weight, or is smaller than 2×2.
    pub fn forward_with(&self, input: Tensor<4>, _pass: &mut Pass<'_>) -> Result<Tensor<4>> {
        let (output, _) = self
            .block
            .forward_by(self.weight()?, input, Normalization::Running)?;
        Ok(output)
    }
}

/// A frozen [`Conv4`] that adapts by a [`Lora`] of every convolution.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use forgeling::nn::{Conv4, Conv4Config, LoraConv4, Normalization, Pass};
///
/// let device = Device::flex().autodiff();
/// let conv4 = Conv4::new(&Conv4Config { filters: 8, ..Default::default() }, &device)?;
/// let adapted = LoraConv4::new(conv4, 2, 2.0, 0)?;
/// assert_eq!(adapted.parameter_count(), 2 * (8 + 9) + 3 * 2 * (8 + 8 * 9));
///
/// let images = Tensor::ones([3, 1, 28, 28], &device);
/// let mut pass = Pass::new(Normalization::Running, &device);
/// let features = adapted.maps_with(images.clone(), &mut pass)?.flatten::<2>(1, 3);
/// let (same, _) = adapted.merged()?.forward(images, Normalization::Running)?;
/// assert_eq!(features.into_data(), same.into_data());
/// # Ok::<(), forgeling::Error>(())
/// ```
#[derive(Module, Debug)]
pub struct LoraConv4 {
    /// The blocks from image to features.
    pub blocks: Vec<LoraBlock>,
}

impl LoraConv4 {
    /// The network, frozen, with adapters that change nothing yet, whose `down` are drawn from a seed. They are trained
    /// if the network is on a device with autodiff.
    ///
    /// # Errors
    /// As [`Lora::new`].
    pub fn new(conv4: Conv4, rank: usize, alpha: f64, seed: u64) -> Result<Self> {
        let mut rng = Rng::new(seed);
        let blocks = conv4.no_grad().blocks.into_iter().map(|block| {
            let weight = block.weight.val();
            let [output, input, height, width] = weight.dims();
            let sizes = [output, input * height * width];
            let lora = Lora::new(sizes, rank, alpha, &mut rng, &weight.device())?;
            Ok(LoraBlock { block, lora })
        });
        Ok(Self {
            blocks: blocks.collect::<Result<_>>()?,
        })
    }

    /// The features before they are flattened, as [`Conv4::maps_with`], always with running statistics.
    ///
    /// # Errors
    /// When the images do not have the configured channels, or become too small on the way.
    pub fn maps_with<'a>(&'a self, images: Tensor<4>, pass: &mut Pass<'a>) -> Result<Tensor<4>> {
        let mut hidden = images;
        for (index, block) in self.blocks.iter().enumerate() {
            let name = format_args!("blocks.{index}");
            hidden = pass.block(name, block, hidden, LoraBlock::forward_with)?;
        }
        Ok(hidden)
    }

    /// A plain network with the changed weights, which gives the same features as this one, and is not frozen.
    ///
    /// # Errors
    /// When an adapter does not fit its block.
    pub fn merged(&self) -> Result<Conv4> {
        let blocks = self.blocks.iter().map(|adapted| {
            let weight = leaf(adapted.weight()?);
            let block = adapted.block.clone();
            Ok(ConvBlock {
                weight: block.weight.map(|_| weight).set_require_grad(true),
                bias: block.bias.set_require_grad(true),
                gamma: block.gamma.set_require_grad(true),
                beta: block.beta.set_require_grad(true),
                ..block
            })
        });
        Ok(Conv4 {
            blocks: blocks.collect::<Result<_>>()?,
        })
    }

    /// Number of trained values.
    pub fn parameter_count(&self) -> usize {
        let blocks = self.blocks.iter();
        blocks.map(|block| block.lora.parameter_count()).sum()
    }
}

/// The values, without how they came about.
fn leaf(weight: Tensor<4>) -> Tensor<4> {
    if weight.device().is_autodiff() {
        Tensor::from_inner(weight.inner())
    } else {
        weight
    }
}
