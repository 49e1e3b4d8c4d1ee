//! Activations stored in 16 bits: the same forward pass, gradients close to those of full storage, and less memory. One
//! body for every device, natively and in a browser.

use std::future::{Future, poll_fn};
use std::pin::pin;

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{DType, Device as Tensors, Tensor, TensorData};
use forgeling::device::LaunchCounter;
use forgeling::nn::{Conv4, Conv4Config, Normalization, ResNet18, ResNet18Config};
use forgeling::ops::{
    Activation, AfterNorm, AttentionOptions, Conv2dOptions, EpisodeCounts, Storage, episode_logits,
    linear, softmax_cross_entropy, store_as,
};
use forgeling::train::{Adam, AdamConfig};
use forgeling::{Device, Readback};

use super::blocks_parity::{attend, norm};
use super::conv_parity::{Convolution, batch_normed, convolution};
use super::linear_parity::{layer, products};
use super::ops_parity::{Body, Results, block, running_block, tensor};
use super::values::{assert_close, waves};

/// Both formats with their tolerances.
pub const FORMATS: [(Storage, f32); 2] = [(Storage::F16, 1e-2), (Storage::Bf16, 5e-2)];

/// `future`, every part of which runs under `storage`.
pub async fn under<F: Future>(storage: Storage, future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|context| store_as(storage, || future.as_mut().poll(context))).await
}

/// An operation with sizes that are worth packing.
#[derive(Debug, Clone, Copy)]
pub enum Operation {
    /// A convolution.
    Convolution(Convolution),
    /// A batch norm.
    BatchNorm([usize; 4], bool, AfterNorm),
    /// A convolution block.
    Block([usize; 5]),
    /// A convolution block with running statistics.
    RunningBlock([usize; 5]),
    /// A linear layer.
    Linear([usize; 3], Activation),
    /// Products of matrices.
    Products([usize; 4]),
    /// A layer norm.
    LayerNorm([usize; 2]),
    /// Attention.
    Attention([usize; 5]),
}

const STRIDED: Conv2dOptions = Conv2dOptions {
    stride: [2, 1],
    padding: [1, 1],
    groups: 1,
};

/// Operations with odd and distinct sizes, packed lengths that are odd, and blocks of one and of several groups of
/// images.
pub const OPERATIONS: [Operation; 16] = [
    Operation::Convolution(Convolution {
        x: [3, 7, 19, 17],
        weight: [5, 3, 3],
        options: STRIDED,
        bias: true,
    }),
    Operation::BatchNorm([5, 7, 13, 11], false, AfterNorm::Relu),
    Operation::BatchNorm([3, 8, 16, 15], true, AfterNorm::Relu),
    Operation::BatchNorm([4, 6, 14, 15], true, AfterNorm::Nothing),
    Operation::Block([3, 6, 10, 19, 14]),
    Operation::Block([5, 3, 7, 28, 28]),
    Operation::Block([9, 32, 17, 7, 7]),
    Operation::Block([150, 3, 21, 28, 28]),
    Operation::RunningBlock([3, 6, 10, 19, 14]),
    Operation::RunningBlock([150, 3, 20, 28, 28]),
    Operation::Linear([65, 67, 129], Activation::Relu),
    Operation::Linear([67, 63, 65], Activation::Gelu),
    Operation::Linear([130, 32, 60], Activation::None),
    Operation::Products([3, 33, 47, 31]),
    Operation::LayerNorm([131, 65]),
    Operation::Attention([2, 3, 37, 41, 24]),
];

impl Operation {
    async fn run(self, device: &Tensors) -> Results {
        let (own, single) = (Body::Own, DType::F32);
        match self {
            Self::Convolution(sizes) => convolution(own, sizes, single, device).await,
            Self::BatchNorm(shape, residual, after) => {
                batch_normed(own, (shape, residual, after), single, device).await
            }
            Self::Block(sizes) => block(own, sizes, single, device).await,
            Self::RunningBlock(sizes) => running_block(own, sizes, single, device).await,
            Self::Linear(sizes, end) => layer(own, sizes, (end, true), single, device).await,
            Self::Products(sizes) => products(own, sizes, single, device).await,
            Self::LayerNorm(sizes) => norm(own, sizes, single, device).await,
            Self::Attention(sizes) => {
                let options = AttentionOptions::default();
                attend(own, sizes, options, single, device).await
            }
        }
    }

    /// Checks that storage changes gradients only, and those a little, but some.
    ///
    /// # Panics
    /// When it does not.
    pub async fn check(self, device: &Tensors, name: &str) {
        let full = under(Storage::Full, self.run(device)).await;
        for (storage, tolerance) in FORMATS {
            let got = under(storage, self.run(device)).await;
            let mut differs = false;
            for ((what, got), (_, full)) in got.iter().zip(&full) {
                let what = format!("{what} of {self:?} as {storage:?} on {name}");
                if what.starts_with("grad") {
                    assert_close(&what, got, full, tolerance);
                    differs |= got != full;
                } else {
                    assert_eq!(got, full, "{what}");
                }
            }
            assert!(differs, "{self:?} as {storage:?} on {name} stores nothing");
        }
    }
}

/// `x` as it comes back from being stored: the weight's gradient of a linear layer whose output has the identity for its
/// gradient. Rows and inputs are odd, so that the last word is half empty.
///
/// # Panics
/// When anything fails.
pub async fn come_back(x: &[f32], storage: Storage, device: &Tensors) -> Vec<f32> {
    let (rows, inputs) = (ROUND_TRIP[0], ROUND_TRIP[1]);
    let x = Tensor::<2>::from_data(TensorData::new(x.to_vec(), ROUND_TRIP), device);
    let weight = Tensor::<2>::zeros([inputs, rows], device).require_grad();
    let y = store_as(storage, || {
        linear(x, weight.clone(), None, Activation::None).unwrap()
    });
    let identity = Tensor::<2>::eye(rows, device);
    let gradients = (y * identity).sum().backward();
    let back = weight.grad(&gradients).unwrap().transpose();
    let [values] = Readback::new().with(back).run().await.unwrap();
    values
}

/// Rows and columns of what [`come_back`] takes.
pub const ROUND_TRIP: [usize; 2] = [65, 67];

/// Numbers of every size that a format tells apart, and beyond its smallest.
pub fn numbers() -> Vec<f32> {
    let count = ROUND_TRIP[0] * ROUND_TRIP[1];
    let values = waves(count, 1.0).into_iter().enumerate();
    values
        .map(|(i, value)| value * 2f32.powi(i as i32 % 50 - 34))
        .collect()
}

/// Every parameter's gradient, in the order of the module.
struct Collector<'a> {
    gradients: &'a GradientsParams,
    all: Vec<Tensor<1>>,
}

impl ModuleVisitor for Collector<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.get::<D>(param.id) {
            let length = gradient.shape().num_elements();
            self.all.push(gradient.reshape([length]));
        }
    }
}

async fn gradients_of<M: Module>(model: &M, loss: Tensor<1>) -> (f32, Vec<Vec<f32>>) {
    let gradients = GradientsParams::from_grads(loss.clone().backward(), model);
    let mut collector = Collector {
        gradients: &gradients,
        all: Vec::new(),
    };
    model.visit(&mut collector);
    let mut trip = Readback::new().with(loss);
    for gradient in collector.all {
        trip = trip.with(gradient);
    }
    let mut values = trip.run_all().await.unwrap();
    let loss = values.remove(0)[0];
    (loss, values)
}

/// A network and its batch.
#[derive(Debug, Clone, Copy)]
pub enum Network {
    /// Conv4 with so many filters, on so many episodes of 5 ways, 5 shots and 15 queries of 28×28.
    Conv4 {
        /// Filters of every block.
        filters: usize,
        /// Episodes of a batch.
        episodes: usize,
    },
    /// ResNet-18 of a width, on a batch of images of 32×32.
    ResNet18 {
        /// Channels of the first stage.
        width: usize,
        /// Images of a batch.
        batch: usize,
    },
}

/// A network in training.
enum Model {
    Conv4(Conv4, EpisodeCounts),
    ResNet18(Box<ResNet18>, usize),
}

impl Network {
    fn model(self, device: &Tensors) -> Model {
        match self {
            Self::Conv4 { filters, episodes } => {
                let config = Conv4Config {
                    filters,
                    ..Default::default()
                };
                let counts = EpisodeCounts {
                    episodes,
                    ways: 5,
                    shots: 5,
                    queries: 15,
                };
                Model::Conv4(Conv4::new(&config, device).unwrap(), counts)
            }
            Self::ResNet18 { width, batch } => {
                let config = ResNet18Config {
                    width,
                    ..Default::default()
                };
                Model::ResNet18(Box::new(ResNet18::new(&config, device).unwrap()), batch)
            }
        }
    }

    /// Loss and gradients under `storage`.
    ///
    /// # Panics
    /// When anything fails.
    pub async fn gradients(self, storage: Storage, device: &Tensors) -> (f32, Vec<Vec<f32>>) {
        let model = self.model(device);
        let loss = store_as(storage, || model.loss(DType::F32, device));
        match &model {
            Model::Conv4(model, _) => gradients_of(model, loss).await,
            Model::ResNet18(model, _) => gradients_of(model.as_ref(), loss).await,
        }
    }

    /// The most bytes of a GPU in use during a step of training, not counting those in use before the network was made.
    /// Activations are of `dtype`.
    ///
    /// # Panics
    /// When anything fails, or on the CPU.
    pub async fn peak(self, storage: Storage, dtype: DType, device: &Device) -> u64 {
        let idle = LaunchCounter::on(device);
        drop(Tensor::<1>::zeros([4], &device.tensors().clone()) + 1.0);
        let before = idle.peak_bytes().unwrap();
        drop(idle);
        let mut counter = None;
        // The first step also makes the optimizer's moments.
        self.train(2, storage, dtype, device, |step| {
            if step == 1 {
                counter = Some(LaunchCounter::on(device));
            }
        })
        .await;
        counter.unwrap().peak_bytes().unwrap() - before
    }

    /// Takes so many steps, calling `before` before each.
    ///
    /// # Panics
    /// When anything fails.
    pub async fn train(
        self,
        steps: usize,
        storage: Storage,
        dtype: DType,
        device: &Device,
        mut before: impl FnMut(usize),
    ) {
        let tensors = device.autodiff();
        let mut model = self.model(&tensors);
        let mut optimizer = Adam::new(AdamConfig::default()).unwrap();
        for step in 0..steps {
            before(step);
            model = model.step(storage, dtype, &mut optimizer, &tensors).await;
        }
    }
}

impl Model {
    /// The mean loss of the batch.
    fn loss(&self, dtype: DType, device: &Tensors) -> Tensor<1> {
        match self {
            Self::Conv4(model, counts) => {
                let images = tensor([counts.rows(), 1, 28, 28], 1.0, device).cast(dtype);
                let (features, _) = model.forward(images, Normalization::Batch).unwrap();
                let rows = counts.episodes * counts.ways * counts.queries;
                let labels: Vec<usize> = (0..rows).map(|row| row * 7 % counts.ways).collect();
                let logits = episode_logits(features, *counts).unwrap();
                softmax_cross_entropy(logits.reshape([rows, counts.ways]), &labels).unwrap()
            }
            Self::ResNet18(model, batch) => {
                let images = tensor([*batch, 3, 32, 32], 1.0, device).cast(dtype);
                let (logits, _) = model.forward(images, Normalization::Batch).unwrap();
                let labels: Vec<usize> = (0..*batch).map(|row| row * 7 % 10).collect();
                softmax_cross_entropy(logits, &labels).unwrap()
            }
        }
    }

    async fn step(
        self,
        storage: Storage,
        dtype: DType,
        optimizer: &mut Adam,
        device: &Tensors,
    ) -> Self {
        let loss = store_as(storage, || self.loss(dtype, device));
        let value = loss.clone();
        let gradients = loss.backward();
        let stepped = match self {
            Self::Conv4(model, counts) => {
                let gradients = GradientsParams::from_grads(gradients, &model);
                Self::Conv4(optimizer.step(1e-3, model, gradients), counts)
            }
            Self::ResNet18(model, batch) => {
                let gradients = GradientsParams::from_grads(gradients, model.as_ref());
                let model = optimizer.step(1e-3, *model, gradients);
                Self::ResNet18(Box::new(model), batch)
            }
        };
        let [loss] = Readback::new().with(value).run().await.unwrap();
        assert!(loss[0].is_finite());
        stepped
    }
}
