//! Depthwise convolutions by themselves, with our operations and with stock ones of burn.

use burn::tensor::{Device as Tensors, Tensor, TensorData};
use forgeling::ops::{Conv2dOptions, Implementation, conv2d, set_implementation};
use forgeling::{Device, Readback};
use forgeling_tests::waves;

use crate::runner::{Contestant, OURS, Result, Turn, description, timed};

/// What is measured.
#[derive(Debug, Clone, Copy)]
pub struct Work {
    pub channels: usize,
    /// Rows and columns.
    pub kernel: usize,
    pub stride: usize,
    /// Whether the gradients of images and weights are measured too.
    pub training: bool,
}

/// Layers of MobileNetV2 and EfficientNet-Lite0, the smallest first.
pub const WORKS: [Work; 4] = [
    Work::new(96, 3, 1, false),
    Work::new(96, 3, 1, true),
    Work::new(144, 5, 2, false),
    Work::new(144, 5, 2, true),
];

impl Work {
    const IMAGES: usize = 8;
    const SIZE: usize = 56;

    const fn new(channels: usize, kernel: usize, stride: usize, training: bool) -> Self {
        Self {
            channels,
            kernel,
            stride,
            training,
        }
    }

    /// For the table.
    pub fn name(&self) -> String {
        let Self {
            channels,
            kernel,
            stride,
            training,
        } = self;
        let passes = if *training {
            "forward and both gradients"
        } else {
            "forward"
        };
        format!(
            "Depthwise convolution {kernel}x{kernel}, stride {stride}, [{}, {channels}, {size}, {size}], {passes}",
            Self::IMAGES,
            size = Self::SIZE
        )
    }

    const fn images(&self) -> [usize; 4] {
        [Self::IMAGES, self.channels, Self::SIZE, Self::SIZE]
    }

    const fn weight(&self) -> [usize; 4] {
        [self.channels, 1, self.kernel, self.kernel]
    }

    /// The images, then the weights.
    pub fn values(&self) -> impl Iterator<Item = f32> {
        let (images, weight) = (self.images(), self.weight());
        let [images, weight] = [images, weight].map(|shape| waves(shape.iter().product(), 1.0));
        images.into_iter().chain(weight)
    }
}

/// A convolution on one device.
pub struct Convolution {
    name: String,
    description: String,
    implementation: Implementation,
    device: Tensors,
    images: Tensor<4>,
    weight: Tensor<4>,
    work: Work,
}

impl Convolution {
    pub fn ours(work: Work, device: &Device) -> Self {
        Self::new(OURS, Implementation::Own, work, device)
    }

    pub fn composite(name: &str, work: Work, device: &Device) -> Self {
        Self::new(name, Implementation::Composite, work, device)
    }

    fn new(name: &str, implementation: Implementation, work: Work, device: &Device) -> Self {
        let tensors = if work.training {
            device.autodiff()
        } else {
            device.tensors().clone()
        };
        let mut values = work.values();
        let [images, weight] = [work.images(), work.weight()].map(|shape| {
            let values: Vec<f32> = values.by_ref().take(shape.iter().product()).collect();
            Tensor::from_data(TensorData::new(values, shape), &tensors)
        });
        Self {
            name: name.to_owned(),
            description: description(device),
            implementation,
            device: tensors,
            images,
            weight,
            work,
        }
    }

    /// Gives the sum of the result where there are gradients, which need one number, and its first value elsewhere.
    fn step(&self) -> Result<f64> {
        let Work {
            channels,
            kernel,
            stride,
            training,
        } = self.work;
        let options = Conv2dOptions {
            stride: [stride; 2],
            padding: [kernel / 2; 2],
            groups: channels,
        };
        let (images, weight) = (self.images.clone(), self.weight.clone());
        let loss = if training {
            let (images, weight) = (images.require_grad(), weight.require_grad());
            let loss = conv2d(images.clone(), weight.clone(), None, options)?.sum();
            let gradients = loss.backward();
            if images.grad(&gradients).is_none() || weight.grad(&gradients).is_none() {
                return Err("a gradient is missing".into());
            }
            loss
        } else {
            let y = conv2d(images, weight, None, options)?;
            y.slice([0..1, 0..1, 0..1, 0..1]).reshape([1])
        };
        let [loss] = pollster::block_on(Readback::new().with(loss).run())?;
        Ok(f64::from(loss[0]))
    }
}

impl Contestant for Convolution {
    fn name(&self) -> &str {
        &self.name
    }

    fn device(&self) -> &str {
        &self.description
    }

    fn turn(&mut self, steps: usize) -> Result<Turn> {
        set_implementation(self.implementation);
        let turn = timed(&self.device, steps, || self.step());
        set_implementation(Implementation::Own);
        turn
    }
}
