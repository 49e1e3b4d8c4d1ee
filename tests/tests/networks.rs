//! The networks of the zoo, and few-shot methods on a Conv4, against the modules that there were before graphs: initial
//! values, logits, gradients, running statistics and memory plans on the CPU, and the launches of a training step.
//!
//! `golden/networks.json` was recorded with these modules (`Mlp`, `Conv4Classifier`, `ResNet18`, `Vit`) at commit 3d5a78f;
//! families that came later were recorded when they came.
//! On a CPU that adds in the same order as the one that recorded it, every bit is the same; on others, all but rounding.
//!
//! `FORGELING_BLESS=1 cargo test --release --workspace --exclude xtask --test networks` records it anew, which is right
//! only where an operation is meant to round, launch or allocate in another way.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::{Mutex, PoisonError};

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Tensor, TensorData};
use forgeling::data::{Dataset, ImageShape, Rng, Split};
use forgeling::device::{DeviceKind, LaunchCounter};
use forgeling::meta::{FewShot, Learner, LearnerOptions, Method, Stack};
use forgeling::nn::graph::{Graph, Shape};
use forgeling::nn::zoo::{
    Conv4Config, EfficientNetConfig, IntegrationConfig, MlpConfig, MobileNetConfig, ResNetConfig,
    SequenceConfig, Stem, VitConfig,
};
use forgeling::nn::{
    BatchStatistics, MemoryPlan, Network, Normalization, Pass, PlanConfig, absorb,
};
use forgeling::ops::plan::PlannedPrecision;
use forgeling::ops::softmax_cross_entropy;
use forgeling::train::weights::collect;
use forgeling::train::{Adam, AdamConfig};
use forgeling::{Device, DeviceChoice, Readback};
use forgeling_tests::{devices, methods, wave, waves};
use serde_json::{Map, Value, json};

/// From the package's folder, where cargo starts tests.
const GOLDEN: &str = "golden/networks.json";
/// Of all weights.
const SEED: u64 = 3;
/// Images of a pass.
const BATCH: usize = 6;
/// Images of a batch whose memory is planned.
const PLANNED: usize = 16;
/// How far sums may be off where the CPU rounds in another way, in norms of what is summed.
const ROUNDING: f64 = 1e-3;

fn graphs() -> [(&'static str, Graph); 10] {
    let mlp = MlpConfig {
        hidden: vec![128, 32],
        ..Default::default()
    };
    let conv4 = Conv4Config {
        filters: 8,
        ..Default::default()
    };
    let odd = Conv4Config {
        channels: 3,
        filters: 12,
        size: 33,
        ..Default::default()
    };
    let resnet = ResNetConfig {
        width: 8,
        ..Default::default()
    };
    let vit = VitConfig {
        width: 16,
        depth: 2,
        heads: 2,
        hidden: 48,
        classes: 7,
        ..Default::default()
    };
    let class_token = VitConfig {
        class_token: true,
        fused: true,
        epsilon: 1e-6,
        ..vit.clone()
    };
    let mobilenet = MobileNetConfig {
        input: ImageShape::new(1, 16, 16),
        width: 0.25,
        ..Default::default()
    };
    let efficientnet = EfficientNetConfig {
        input: ImageShape::new(3, 16, 14),
        stem: Stem::Small,
        width: 0.25,
        ..Default::default()
    };
    let sequence = SequenceConfig {
        filters: 8,
        ..Default::default()
    };
    let integration = IntegrationConfig {
        input: ImageShape::new(3, 16, 14),
        width: 4,
        blocks: vec![1; 3],
        integrate_after: vec![1, 3],
        ..Default::default()
    };
    let classifier = |encoder: Conv4Config| encoder.graph()?.with_outputs(5);
    let graphs = [
        ("mlp", mlp.graph()),
        ("conv4", classifier(conv4)),
        ("conv4_odd", classifier(odd)),
        ("resnet18", resnet.graph()),
        ("vit", vit.graph()),
        ("vit_class_token", class_token.graph()),
        ("mobilenet", mobilenet.graph()),
        ("efficientnet", efficientnet.graph()),
        ("sequence", sequence.graph()),
        ("integration", integration.graph()),
    ];
    graphs.map(|(name, graph)| (name, graph.unwrap()))
}

/// What a forward and backward pass gives.
struct Passed {
    logits: Value,
    gradients: Value,
    statistics: Vec<BatchStatistics>,
}

/// Logits and the loss of all images.
fn forward<'a>(network: &'a Network, pass: &mut Pass<'a>) -> (Tensor<2>, Tensor<1>) {
    let [channels, height, width] = match network.graph().input() {
        Shape::Maps(sizes) => sizes,
        values => [1, 1, values.len()],
    };
    let classes = network.graph().output_shape().len();
    let mut rng = Rng::new(SEED);
    let count = BATCH * channels * height * width;
    let pixels: Vec<f32> = (0..count).map(|_| rng.unit_f32()).collect();
    let images = pass.values(TensorData::new(pixels, [BATCH, channels, height, width]));
    let logits = network.forward(images, pass).unwrap();
    let labels: Vec<usize> = (0..BATCH).map(|image| image % classes).collect();
    let loss = softmax_cross_entropy(pass.output(logits.clone()), &labels).unwrap();
    (logits, loss)
}

fn pass(network: &Network, normalization: Normalization, cut: bool) -> Passed {
    let mut pass = Pass::new(normalization, &cpu().autodiff()).checkpointing(cut);
    let (logits, loss) = forward(network, &mut pass);
    let statistics = pass.take_statistics();
    let gradients = pass.backward(loss, network).unwrap();
    let mut found = Found(&gradients, Vec::new());
    network.visit(&mut found);
    Passed {
        logits: digest(&[Some(read(logits))]),
        gradients: digest(&found.1),
        statistics,
    }
}

/// All that the CPU says of it.
fn measure(graph: &Graph) -> Value {
    let network = Network::new(graph, SEED, &cpu());
    let plain = pass(&network, Normalization::Batch, false);
    let cut = pass(&network, Normalization::Batch, true);
    let absorbed = absorb(network.clone(), plain.statistics).unwrap();
    let running = pass(&absorbed, Normalization::Running, false);
    json!({
        "initial": values(&network),
        "batch": { "logits": plain.logits, "gradients": plain.gradients },
        "checkpointed": { "logits": cut.logits, "gradients": cut.gradients },
        "absorbed": values(&absorbed),
        "absorbed_checkpointed": values(&absorb(network, cut.statistics).unwrap()),
        "running": { "logits": running.logits, "gradients": running.gradients },
        "plans": plans(graph),
    })
}

/// The most bytes of a training step and of each of its phases, for each way of training.
fn plans(graph: &Graph) -> Value {
    use PlannedPrecision::{F16, F32, Packed16};
    let mut plans = Map::new();
    for (precision, name) in [(F32, "f32"), (F16, "f16"), (Packed16, "packed16")] {
        for (checkpointing, accumulating) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let config = PlanConfig {
                precision,
                checkpointing: checkpointing == 1,
                accumulating: accumulating == 1,
                ..Default::default()
            };
            let plan = MemoryPlan::new(graph, PLANNED, config, &cpu()).unwrap();
            let mut name = name.to_owned();
            name += ["", ", checkpointed"][checkpointing];
            name += ["", ", accumulated"][accumulating];
            plans.insert(name, json!({ "peak": plan.peak, "phases": plan.phases }));
        }
    }
    plans.into()
}

/// The launches of a training step by their kernels.
fn launches(graph: &Graph, device: &Device) -> Value {
    let on = device.autodiff();
    let mut network = Network::on(graph, SEED, &on);
    let mut adam = Adam::new(AdamConfig::default()).unwrap();
    let mut step = || {
        let counter = LaunchCounter::new();
        let mut pass = Pass::new(Normalization::Batch, &on);
        let (_, loss) = forward(&network, &mut pass);
        let statistics = pass.take_statistics();
        let gradients = pass.backward(loss.clone(), &network).unwrap();
        let moved = adam.step(1e-3, network.clone(), gradients);
        network = absorb(moved, statistics).unwrap();
        assert!(read(loss)[0].is_finite());
        json!({ "total": counter.total(), "kernels": counter.by_kernel() })
    };
    // The first step also brings the parameters into order.
    step();
    step()
}

/// A learner after three steps on two episodes each: its values, and its answers to other tasks.
fn few_shot(method: Method) -> Value {
    let data = methods::glyphs(Split::Train).unwrap();
    let options = LearnerOptions {
        method,
        filters: Some(8),
        size: data.image_shape().width,
        seed: SEED,
        ways: 3,
        classes: data.class_count(),
        // MAML++ then keeps running statistics of each inner step.
        transductive: method == Method::MamlPP,
        ..Default::default()
    };
    let mut learner = Learner::new(&options.config().unwrap(), &cpu()).unwrap();
    let initial = values(learner.model());
    let fit = methods::fit().unwrap();
    let fitted = pollster::block_on(learner.fit(&data, fit, |_| ControlFlow::Continue(())));
    assert_eq!(fitted.unwrap().steps, methods::STEPS);
    let tasks = methods::tasks(2).unwrap();
    let frozen = learner.model().valid();
    let answers = Stack::of(&tasks).into_iter().map(|stack| {
        let logits = frozen.predict(&stack, Normalization::Running);
        Some(read(logits.unwrap()))
    });
    let answers: Vec<_> = answers.collect();
    json!({
        "initial": initial,
        "trained": values(learner.model()),
        "logits": digest(&answers),
    })
}

fn cpu() -> Device {
    pollster::block_on(Device::open(DeviceChoice::Cpu)).unwrap()
}

fn read<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    let [values] = pollster::block_on(Readback::new().with(tensor).run()).unwrap();
    values
}

/// The gradient of each parameter in the order of the module, where there is one.
struct Found<'a>(&'a GradientsParams, Vec<Option<Vec<f32>>>);

impl ModuleVisitor for Found<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.1.push(self.0.get::<D>(param.id).map(read));
    }
}

/// All values of a module, trained or not, in its order.
fn values<M: Module>(module: &M) -> Value {
    let tensors = pollster::block_on(collect(module)).unwrap();
    let values: Vec<_> = tensors.into_iter().map(|t| Some(t.values)).collect();
    digest(&values)
}

/// Of all bits, in FNV-1a, and two sums that rounding hardly changes. A tensor that is not there counts as one value.
fn digest(tensors: &[Option<Vec<f32>>]) -> Value {
    let (mut hash, mut squares, mut mixed) = (0xcbf2_9ce4_8422_2325_u64, 0.0, 0.0);
    let words = tensors.iter().flat_map(|tensor| match tensor {
        Some(values) => values.iter().map(|value| value.to_bits()).collect(),
        None => vec![u32::MAX],
    });
    for (place, word) in words.enumerate() {
        for byte in word.to_le_bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
        if word != u32::MAX {
            let value = f64::from(f32::from_bits(word));
            squares += value * value;
            mixed += value * wave(place, 1.0);
        }
    }
    json!({ "digest": format!("{hash:016x}"), "norm": f64::sqrt(squares), "mixed": mixed })
}

/// What depends on the order in which this CPU adds, and on no operation of ours.
fn arithmetic() -> Value {
    let tensors = cpu().tensors().clone();
    let values = |count, phase| Tensor::<1>::from_floats(&*waves(count, phase), &tensors);
    let [a, b] = [values(64 * 5000, 1.0), values(5000 * 32, 2.0)];
    let product = a.clone().reshape([64, 5000]).matmul(b.reshape([5000, 32]));
    digest(&[Some(read(product)), Some(read(a.sum()))])["digest"].clone()
}

/// Compares a section of the golden values with what was found, or records it.
fn check(section: &str, found: &Value) {
    static FILE: Mutex<()> = Mutex::new(());
    let _alone = FILE.lock().unwrap_or_else(PoisonError::into_inner);
    let text = std::fs::read(GOLDEN).unwrap_or_else(|_| b"{}".into());
    let mut golden: Value = serde_json::from_slice(&text).unwrap();
    let arithmetic = arithmetic();
    if std::env::var_os("FORGELING_BLESS").is_some() {
        golden["arithmetic"] = arithmetic.clone();
        golden[section] = found.clone();
        let text = serde_json::to_string_pretty(&golden).unwrap();
        std::fs::write(GOLDEN, text + "\n").unwrap();
    }
    let exact = arithmetic == golden["arithmetic"];
    if !exact {
        eprintln!("{section}: compared but for rounding, as this CPU adds in another order");
    }
    let mut wrong = Vec::new();
    compare(section, found, &golden[section], exact, &mut wrong);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn compare(path: &str, found: &Value, golden: &Value, exact: bool, wrong: &mut Vec<String>) {
    let equal = match (found.as_object(), golden.as_object()) {
        (Some(_), Some(_)) if golden.get("digest").is_some() => {
            // Random draws are the same everywhere.
            let near = !exact && !path.ends_with("initial") && near(found, golden);
            found["digest"] == golden["digest"] || near
        }
        (Some(a), Some(b)) => {
            for key in a.keys().chain(b.keys()).collect::<BTreeSet<_>>() {
                let path = format!("{path}.{key}");
                compare(&path, &found[key], &golden[key], exact, wrong);
            }
            true
        }
        _ => found == golden,
    };
    if !equal {
        wrong.push(format!("{path}: {found} instead of {golden}"));
    }
}

/// Whether two digests are of the same values but for rounding.
fn near(found: &Value, golden: &Value) -> bool {
    let number = |value: &Value, key: &str| value[key].as_f64().unwrap();
    let allowed = ROUNDING * number(golden, "norm");
    let off = |key| (number(found, key) - number(golden, key)).abs();
    off("norm") <= allowed && off("mixed") <= allowed
}

#[test]
fn networks_compute_and_plan_as_before() {
    let found = graphs().map(|(name, graph)| (name.to_owned(), measure(&graph)));
    check("networks", &Map::from_iter(found).into());
}

#[test]
fn few_shot_methods_learn_as_before() {
    let found = Method::ALL.map(|method| (method.name().to_owned(), few_shot(method)));
    check("few_shot", &Map::from_iter(found).into());
}

/// Only this test launches anything, since launches of the whole process are counted. What is launched depends on the
/// adapter: golden values are of a software GPU.
#[test]
fn training_steps_launch_what_they_did_before() {
    let software = |device: &Device| device.info().kind == DeviceKind::SoftwareGpu;
    let devices: Vec<_> = devices().into_iter().filter(software).collect();
    if devices.is_empty() {
        eprintln!("skipped launches: no software GPU");
    }
    for device in devices {
        let found = graphs().map(|(name, graph)| (name.to_owned(), launches(&graph, &device)));
        check("launches", &Map::from_iter(found).into());
    }
}
