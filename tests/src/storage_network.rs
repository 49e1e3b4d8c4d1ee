//! Networks in training with activations stored in 16 bits: their gradients, their memory and their time.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{DType, Device as Tensors, Tensor};
use forgeling::device::LaunchCounter;
use forgeling::nn::zoo::{Conv4Config, ResNetConfig};
use forgeling::nn::{self, Normalization};
use forgeling::ops::{EpisodeCounts, Storage, episode_logits, softmax_cross_entropy, store_as};
use forgeling::train::{Adam, AdamConfig};
use forgeling::{Device, Readback};

use super::networks::{features, outputs};
use super::ops_parity::tensor;

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
struct Model {
    network: nn::Network,
    batch: Batch,
}

#[derive(Clone, Copy)]
enum Batch {
    Episodes(EpisodeCounts),
    /// So many.
    Images(usize),
}

impl Network {
    fn model(self, device: &Tensors) -> Model {
        let (graph, batch) = match self {
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
                (config.graph(), Batch::Episodes(counts))
            }
            Self::ResNet18 { width, batch } => {
                let config = ResNetConfig {
                    width,
                    ..Default::default()
                };
                (config.graph(), Batch::Images(batch))
            }
        };
        Model {
            network: nn::Network::on(&graph.unwrap(), 0, device),
            batch,
        }
    }

    /// Loss and gradients under `storage`.
    ///
    /// # Panics
    /// When anything fails.
    pub async fn gradients(self, storage: Storage, device: &Tensors) -> (f32, Vec<Vec<f32>>) {
        let model = self.model(device);
        let loss = store_as(storage, || model.loss(DType::F32, device));
        gradients_of(&model.network, loss).await
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
        match self.batch {
            Batch::Episodes(counts) => {
                let images = tensor([counts.rows(), 1, 28, 28], 1.0, device).cast(dtype);
                let (features, _) = features(&self.network, images, Normalization::Batch).unwrap();
                let rows = counts.episodes * counts.ways * counts.queries;
                let labels: Vec<usize> = (0..rows).map(|row| row * 7 % counts.ways).collect();
                let logits = episode_logits(features, counts).unwrap();
                softmax_cross_entropy(logits.reshape([rows, counts.ways]), &labels).unwrap()
            }
            Batch::Images(batch) => {
                let images = tensor([batch, 3, 32, 32], 1.0, device).cast(dtype);
                let (logits, _) = outputs(&self.network, images, Normalization::Batch).unwrap();
                let labels: Vec<usize> = (0..batch).map(|row| row * 7 % 10).collect();
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
        let gradients = GradientsParams::from_grads(loss.backward(), &self.network);
        let network = optimizer.step(1e-3, self.network, gradients);
        let [loss] = Readback::new().with(value).run().await.unwrap();
        assert!(loss[0].is_finite());
        Self {
            network,
            batch: self.batch,
        }
    }
}
