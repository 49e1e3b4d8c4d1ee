//! Training steps whose memory is measured, of networks whose memory is planned. One test for every GPU, natively and in
//! a browser.

use std::any::Any;
use std::collections::BTreeMap;

use burn::module::Module;
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::{DType, Tensor, TensorData};
use forgeling::data::ImageShape;
use forgeling::device::{MemoryMonitor, Phase};
use forgeling::nn::graph::Graph;
use forgeling::nn::zoo::{
    Conv4Config, EfficientNetConfig, IntegrationConfig, MlpConfig, ResNetConfig, Stem, VitConfig,
};
use forgeling::nn::{
    MemoryPlan, Network, Normalization, Pass, PlanConfig, Planned, PlannedEpisodes,
};
use forgeling::ops::plan::{PlannedOptimizer, PlannedPrecision};
use forgeling::ops::{EpisodeCounts, Storage, episode_logits, softmax_cross_entropy, store_as};
use forgeling::train::{Adam, AdamConfig, Sgd, SgdConfig};
use forgeling::{Device, Readback};

use crate::values::waves;

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
    /// Of images.
    Classifier(Graph),
    Episodes(PlannedEpisodes),
}

impl Kind {
    fn conv4(filters: usize, shots: usize, queries: usize) -> Self {
        let encoder = Conv4Config {
            filters,
            ..Default::default()
        };
        Self::Episodes(PlannedEpisodes {
            encoder: encoder.graph().unwrap(),
            ways: 5,
            shots,
            queries,
        })
    }

    fn mlp(hidden: &[usize]) -> Self {
        let config = MlpConfig {
            hidden: hidden.to_vec(),
            ..Default::default()
        };
        Self::Classifier(config.graph().unwrap())
    }

    fn resnet(width: usize) -> Self {
        let config = ResNetConfig {
            width,
            ..Default::default()
        };
        Self::Classifier(config.graph().unwrap())
    }

    /// Two convolutions of each channel by itself, each followed by one of single pixels.
    fn separable() -> Self {
        let layers = [(3, 1, 32, 48), (5, 2, 48, 64)].map(|(kernel, stride, inputs, outputs)| {
            format!(
                r#"{{ "conv2d": {{ "filters": {inputs}, "kernel": {kernel}, "stride": {stride}, "padding": "same",
                    "groups": {inputs}, "bias": false }} }}, "batchNorm", "relu",
                {{ "conv2d": {{ "filters": {outputs}, "kernel": 1, "bias": false }} }}, "batchNorm", "relu""#
            )
        });
        let graph = format!(
            r#"{{ "input": [3, 32, 32], "layers": [
                {{ "conv2d": {{ "filters": 32, "kernel": 3, "padding": "same", "bias": false }} }}, "batchNorm", "relu",
                {}, {{ "globalMeanPool": {{}} }}, {{ "linear": {{ "outputs": 10 }} }} ] }}"#,
            layers.join(", ")
        );
        Self::Classifier(Graph::from_json(&graph).unwrap())
    }

    fn vit() -> Self {
        Self::Classifier(VitConfig::default().graph().unwrap())
    }

    fn vit_with_class_token() -> Self {
        let config = VitConfig {
            class_token: true,
            fused: true,
            ..Default::default()
        };
        Self::Classifier(config.graph().unwrap())
    }

    fn efficientnet() -> Self {
        let config = EfficientNetConfig {
            input: ImageShape::new(3, 32, 32),
            stem: Stem::Small,
            width: 0.32,
            ..Default::default()
        };
        Self::Classifier(config.graph().unwrap())
    }

    fn integration() -> Self {
        Self::Classifier(IntegrationConfig::shallow().graph().unwrap())
    }

    fn named(self, name: &'static str, batch: usize) -> Model {
        Model {
            name,
            kind: self,
            batch,
            small: !["64", "width 32", "%"]
                .iter()
                .any(|end| str::ends_with(name, end)),
        }
    }
}

/// All of them, on batches that are small but let activations count.
pub fn models() -> Vec<Model> {
    vec![
        Kind::conv4(32, 1, 5).named("Conv4-32", 2),
        Kind::conv4(64, 1, 5).named("Conv4-64", 1),
        Kind::mlp(&[128]).named("Mlp 128", 512),
        Kind::mlp(&[1024, 1024]).named("Mlp 1024, 1024", 256),
        Kind::resnet(16).named("ResNet-18, width 16", 32),
        Kind::resnet(32).named("ResNet-18, width 32", 16),
        Kind::resnet(64).named("ResNet-18, width 64", 3),
        Kind::separable().named("depthwise separable", 16),
        Kind::vit().named("Vit", 16),
        Kind::vit_with_class_token().named("Vit with a class token", 16),
        Kind::integration().named("two pathways, shallow", 8),
        Kind::efficientnet().named("EfficientNet-Lite0, width 32 %", 8),
    ]
}

/// Networks and batches whose activations outweigh parameters, their gradients and Adam's moments, which no way of
/// saving memory here makes smaller: 11 MB in the larger ResNet-18, 6 MB in the perceptron. `small` ones are for
/// devices that are slower still than a software adapter natively.
pub fn savings(small: bool) -> Vec<Model> {
    let episodes = if small { 2 } else { 4 };
    let (width, images) = if small { (8, 32) } else { (16, 64) };
    let resnet = if small {
        "ResNet-18, width 8"
    } else {
        "ResNet-18, width 16"
    };
    vec![
        Kind::conv4(32, 5, 15).named("Conv4-32, 5-way 5-shot 15-query", episodes),
        Kind::resnet(width).named(resnet, images),
        Kind::mlp(&[256; 4]).named("Mlp 256, 256, 256, 256", 4096),
    ]
}

/// Ways of saving memory that this device has, plain training being the first.
pub fn ways(device: &Device) -> Vec<(&'static str, PlanConfig)> {
    let in_precision = |precision| PlanConfig {
        precision,
        ..Default::default()
    };
    let mut ways = vec![("f32", in_precision(PlannedPrecision::F32))];
    if device.info().f16 {
        ways.push(("f16", in_precision(PlannedPrecision::F16)));
    }
    let checkpointing = PlanConfig {
        checkpointing: true,
        ..Default::default()
    };
    ways.push((
        "stored in 16 bits",
        in_precision(PlannedPrecision::Packed16),
    ));
    ways.push(("checkpointed", checkpointing));
    ways
}

/// Bytes at most in each phase.
pub type Phases = BTreeMap<Phase, u64>;

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
            Kind::Classifier(graph) => plan(graph, self.batch, config, device),
            Kind::Episodes(episodes) => plan(episodes, self.batch, config, device),
        }
    }

    /// The most bytes that two steps on a GPU had in use, in each phase.
    pub async fn measure(&self, config: PlanConfig, device: &Device) -> Phases {
        let before = device.memory().in_use;
        let mut monitor = MemoryMonitor::watching(device);
        let mut training = self.train(config, device);
        for _ in 0..2 {
            let mut end = |phase| {
                monitor.end(phase);
            };
            let Stepped { trip, rest } = training.step(&mut end);
            trip.run_all().await.unwrap();
            monitor.end(Phase::Readback);
            drop(rest);
        }
        let phases = monitor.report().phases.iter();
        phases
            .map(|(phase, seen)| (*phase, seen.peak - before))
            .collect()
    }

    /// A network of this kind in training.
    pub fn train(&self, config: PlanConfig, device: &Device) -> Box<dyn Training> {
        let on = device.autodiff();
        let labels = vec![1; self.batch];
        match &self.kind {
            Kind::Episodes(kind) => {
                let counts = EpisodeCounts {
                    episodes: self.batch,
                    ways: kind.ways,
                    shots: kind.shots,
                    queries: kind.queries,
                };
                let (rows, ways) = (self.batch * kind.ways * kind.queries, kind.ways);
                let labels: Vec<usize> = (0..rows).map(|row| row % ways).collect();
                let shape = kind.batch_shape(self.batch);
                let model = Network::on(&kind.encoder, 0, &on);
                trained(model, &shape, config, device, move |model, images, pass| {
                    let features = model.features(images, pass).unwrap().flatten(1, 3);
                    let logits = episode_logits(features, counts).unwrap();
                    let logits = logits.reshape([rows, ways]);
                    let loss = softmax_cross_entropy(logits.clone(), &labels).unwrap();
                    (logits, loss)
                })
            }
            Kind::Classifier(graph) => {
                let ImageShape {
                    channels,
                    height,
                    width,
                } = graph.image_shape();
                let shape = [self.batch, channels, height, width];
                let model = Network::on(graph, 0, &on);
                trained(model, &shape, config, device, move |model, images, pass| {
                    let logits = model.forward(images, pass).unwrap();
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

/// A network in training.
pub trait Training {
    /// Takes a step, but for its numbers: they are still to be read. `end` hears of each phase's end.
    fn step(&mut self, end: &mut dyn FnMut(Phase)) -> Stepped;
}

/// A step that was taken.
pub struct Stepped {
    /// Brings the logits and the loss.
    pub trip: Readback,
    /// What a trainer keeps until then: it may have to go back.
    pub rest: Box<dyn Any>,
}

struct Trained<M, R> {
    model: M,
    optimizer: Optimizer,
    shape: [usize; 4],
    config: PlanConfig,
    device: Device,
    run: R,
}

fn trained<M: Module + 'static, R>(
    model: M,
    shape: &[usize],
    config: PlanConfig,
    device: &Device,
    run: R,
) -> Box<dyn Training>
where
    R: for<'a> Fn(&'a M, Tensor<4>, &mut Pass<'a>) -> (Tensor<2>, Tensor<1>) + 'static,
{
    Box::new(Trained {
        model,
        optimizer: Optimizer::new(config.optimizer),
        shape: shape.try_into().unwrap(),
        config,
        device: device.clone(),
        run,
    })
}

impl<M: Module + 'static, R> Training for Trained<M, R>
where
    R: for<'a> Fn(&'a M, Tensor<4>, &mut Pass<'a>) -> (Tensor<2>, Tensor<1>),
{
    fn step(&mut self, end: &mut dyn FnMut(Phase)) -> Stepped {
        let Self { model, config, .. } = self;
        let dtype = match config.precision {
            PlannedPrecision::F16 => DType::F16,
            _ => DType::F32,
        };
        let storage = match config.precision {
            PlannedPrecision::Packed16 => Storage::F16,
            _ => Storage::Full,
        };
        let mut pending: Option<(GradientsParams, _, _, _)> = None;
        for _ in 0..1 + usize::from(config.accumulating) {
            let mut pass = Pass::new(Normalization::Batch, &self.device.autodiff())
                .computing_in(dtype)
                .checkpointing(config.checkpointing);
            let values = waves(self.shape.iter().product(), 1.0);
            let images = pass.values(TensorData::new(values, self.shape));
            end(Phase::Data);
            let (logits, loss) = store_as(storage, || (self.run)(model, images, &mut pass));
            end(Phase::Forward);
            let logits = logits.without_autodiff();
            let statistics = pass.take_statistics();
            let gradients = pass.backward(loss.clone(), model).unwrap();
            let sum = match pending.take() {
                None => gradients,
                Some((earlier, ..)) => {
                    let mut sum = GradientsAccumulator::new();
                    sum.accumulate(model, earlier);
                    sum.accumulate(model, gradients);
                    sum.grads()
                }
            };
            pending = Some((sum, logits, loss, statistics));
            end(Phase::Backward);
        }
        let (gradients, logits, loss, statistics) = pending.unwrap();
        let moved = match &mut self.optimizer {
            Optimizer::Adam(adam) => adam.step(1e-3, model.clone(), gradients),
            Optimizer::Sgd(sgd) => sgd.step(1e-3, model.clone(), gradients),
        };
        end(Phase::Step);
        let before = std::mem::replace(model, moved);
        Stepped {
            trip: Readback::new().with(logits.clone()).with(loss.clone()),
            rest: Box::new((before, logits, loss, statistics)),
        }
    }
}
