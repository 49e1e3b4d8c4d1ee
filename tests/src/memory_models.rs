//! Training steps whose memory is measured, of networks whose memory is planned.

use std::collections::BTreeMap;

use burn::module::Module;
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::{DType, Tensor, TensorData};
use forgeling::device::{MemoryMonitor, MemoryPhase};
use forgeling::nn::{
    Conv4, Conv4Config, MemoryPlan, Mlp, MlpConfig, Normalization, Pass, PlanConfig, Planned,
    PlannedEpisodes, ResNet18, ResNet18Config, Vit, VitConfig,
};
use forgeling::ops::plan::{PlannedOptimizer, PlannedPrecision};
use forgeling::ops::{EpisodeCounts, Storage, episode_logits, softmax_cross_entropy, store_as};
use forgeling::train::{Adam, AdamConfig, Sgd, SgdConfig};
use forgeling::{Device, Readback};

use crate::waves;

/// A network that can be planned and trained.
pub struct Model {
    /// What it is called.
    pub name: &'static str,
    kind: Kind,
    /// Examples of a batch.
    pub batch: usize,
    /// Whether all modes are worth their time.
    pub small: bool,
}

enum Kind {
    Conv4(PlannedEpisodes),
    Mlp(MlpConfig),
    ResNet(ResNet18Config),
    Vit(VitConfig),
}

/// All of them, on batches that are small but let activations count.
pub fn models() -> Vec<Model> {
    let conv4 = |filters| {
        let encoder = Conv4Config {
            filters,
            ..Default::default()
        };
        Kind::Conv4(PlannedEpisodes {
            encoder,
            ways: 5,
            shots: 1,
            queries: 5,
        })
    };
    let mlp = |hidden: &[usize]| {
        Kind::Mlp(MlpConfig {
            hidden: hidden.to_vec(),
            ..Default::default()
        })
    };
    let resnet = |width| {
        Kind::ResNet(ResNet18Config {
            width,
            ..Default::default()
        })
    };
    let model = |name, kind, batch| Model {
        name,
        kind,
        batch,
        small: !["64", "width 32"]
            .iter()
            .any(|end| str::ends_with(name, end)),
    };
    vec![
        model("Conv4-32", conv4(32), 2),
        model("Conv4-64", conv4(64), 1),
        model("Mlp 128", mlp(&[128]), 512),
        model("Mlp 1024, 1024", mlp(&[1024, 1024]), 256),
        model("ResNet-18, width 16", resnet(16), 32),
        model("ResNet-18, width 32", resnet(32), 16),
        model("ResNet-18, width 64", resnet(64), 3),
        model("Vit", Kind::Vit(VitConfig::default()), 16),
    ]
}

/// Bytes at most in each phase.
pub type Phases = BTreeMap<MemoryPhase, u64>;

/// What is trained with.
enum Optimizer {
    Adam(Adam),
    Sgd(Sgd),
}

impl Optimizer {
    fn new(optimizer: PlannedOptimizer) -> Self {
        let sgd = |momentum| {
            let config = SgdConfig {
                momentum,
                ..Default::default()
            };
            Self::Sgd(Sgd::new(config).unwrap())
        };
        match optimizer {
            PlannedOptimizer::Adam => Self::Adam(Adam::new(AdamConfig::default()).unwrap()),
            PlannedOptimizer::Momentum => sgd(0.9),
            PlannedOptimizer::Sgd => sgd(0.0),
        }
    }
}

impl Model {
    /// What the plan says.
    pub fn plan(&self, config: PlanConfig, device: &Device) -> MemoryPlan {
        fn plan(model: &impl Planned, batch: usize, config: PlanConfig, on: &Device) -> MemoryPlan {
            MemoryPlan::new(model, batch, config, on).unwrap()
        }
        match &self.kind {
            Kind::Conv4(kind) => plan(kind, self.batch, config, device),
            Kind::Mlp(kind) => plan(kind, self.batch, config, device),
            Kind::ResNet(kind) => plan(kind, self.batch, config, device),
            Kind::Vit(kind) => plan(kind, self.batch, config, device),
        }
    }

    /// The most bytes that two steps on a GPU had in use, in each phase.
    pub fn measure(&self, config: PlanConfig, device: &Device) -> Phases {
        let on = device.autodiff();
        let labels = vec![1; self.batch];
        match &self.kind {
            Kind::Conv4(kind) => {
                let counts = EpisodeCounts {
                    episodes: self.batch,
                    ways: kind.ways,
                    shots: kind.shots,
                    queries: kind.queries,
                };
                let rows = self.batch * kind.ways * kind.queries;
                let labels: Vec<usize> = (0..rows).map(|row| row % kind.ways).collect();
                let shape = kind.batch_shape(self.batch);
                let make = || Conv4::new(&kind.encoder, &on).unwrap();
                measured(make, &shape, config, device, |model, images, pass| {
                    let features = model.forward_with(images, pass).unwrap();
                    let logits = episode_logits(features, counts).unwrap();
                    let logits = logits.reshape([rows, kind.ways]);
                    let loss = softmax_cross_entropy(logits.clone(), &labels).unwrap();
                    (logits, loss)
                })
            }
            Kind::Mlp(kind) => {
                let shape = [self.batch, 1, 1, kind.inputs];
                let make = || Mlp::new(kind, &on).unwrap();
                measured(make, &shape, config, device, |model, images, pass| {
                    let logits = model.forward_with(images.flatten(1, 3), pass).unwrap();
                    loss(logits, &labels, pass)
                })
            }
            Kind::ResNet(kind) => {
                let shape = kind.batch_shape(self.batch);
                let make = || ResNet18::new(kind, &on).unwrap();
                measured(make, &shape, config, device, |model, images, pass| {
                    let logits = model.forward_with(images, pass).unwrap();
                    loss(logits, &labels, pass)
                })
            }
            Kind::Vit(kind) => {
                let shape = kind.batch_shape(self.batch);
                let make = || Vit::new(kind, &on).unwrap();
                measured(make, &shape, config, device, |model, images, pass| {
                    let logits = model.forward_with(images, pass).unwrap();
                    loss(logits, &labels, pass)
                })
            }
        }
    }
}

fn loss(logits: Tensor<2>, labels: &[usize], pass: &Pass<'_>) -> (Tensor<2>, Tensor<1>) {
    let logits = pass.output(logits);
    let loss = softmax_cross_entropy(logits.clone(), labels).unwrap();
    (logits, loss)
}

fn measured<M: Module>(
    make: impl FnOnce() -> M,
    shape: &[usize],
    config: PlanConfig,
    device: &Device,
    run: impl for<'a> Fn(&'a M, Tensor<4>, &mut Pass<'a>) -> (Tensor<2>, Tensor<1>),
) -> Phases {
    let shape: [usize; 4] = shape.try_into().unwrap();
    let before = device.memory().in_use;
    let mut monitor = MemoryMonitor::watching(device);
    let mut optimizer = Optimizer::new(config.optimizer);
    let mut model = make();
    let dtype = match config.precision {
        PlannedPrecision::F16 => DType::F16,
        _ => DType::F32,
    };
    let storage = match config.precision {
        PlannedPrecision::Packed16 => Storage::F16,
        _ => Storage::Full,
    };
    for _ in 0..2 {
        let mut pending: Option<(GradientsParams, _, _, _)> = None;
        for _ in 0..1 + usize::from(config.accumulating) {
            let mut pass = Pass::new(Normalization::Batch, &device.autodiff())
                .computing_in(dtype)
                .checkpointing(config.checkpointing);
            let values = waves(shape.iter().product(), 1.0);
            let images = pass.values(TensorData::new(values, shape));
            monitor.end(MemoryPhase::Data);
            let (logits, loss) = store_as(storage, || run(&model, images, &mut pass));
            monitor.end(MemoryPhase::Forward);
            let logits = logits.without_autodiff();
            let statistics = pass.take_statistics();
            let gradients = pass.backward(loss.clone(), &model).unwrap();
            let sum = match pending.take() {
                None => gradients,
                Some((earlier, ..)) => {
                    let mut sum = GradientsAccumulator::new();
                    sum.accumulate(&model, earlier);
                    sum.accumulate(&model, gradients);
                    sum.grads()
                }
            };
            pending = Some((sum, logits, loss, statistics));
            monitor.end(MemoryPhase::Backward);
        }
        let (gradients, logits, loss, _statistics) = pending.unwrap();
        let moved = match &mut optimizer {
            Optimizer::Adam(adam) => adam.step(1e-3, model.clone(), gradients),
            Optimizer::Sgd(sgd) => sgd.step(1e-3, model.clone(), gradients),
        };
        monitor.end(MemoryPhase::Step);
        let trip = Readback::new().with(logits).with(loss);
        pollster::block_on(trip.run::<2>()).unwrap();
        monitor.end(MemoryPhase::Readback);
        model = moved;
    }
    let phases = monitor.report().phases.iter();
    phases
        .map(|(phase, seen)| (*phase, seen.peak - before))
        .collect()
}
