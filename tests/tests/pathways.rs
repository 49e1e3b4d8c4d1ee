//! Networks of colours and luminance: how large they are, what they refuse, that colours are what they learn from, and that
//! their files and records say what they do.

use std::ops::ControlFlow;
use std::sync::Arc;

use forgeling::data::{ImageSet, ImageShape, Loader, LoaderConfig, Rng};
use forgeling::nn::catalog::ModelConfig;
use forgeling::nn::graph::{Graph, Layer, LuminanceStandard};
use forgeling::nn::zoo::{
    Depth, DualMlpConfig, IntegrationConfig, MultiChannelResNetConfig, Pathways, ResNetConfig,
};
use forgeling::nn::{MemoryPlan, Network, PlanConfig};
use forgeling::report::mix_figure;
use forgeling::train::{
    CrossEntropy, Epochs, HardwareConfig, HardwareManager, MixRecord, ModelCard, Run, SavedNetwork,
    Trainer, TrainerConfig, TrainingHistory, probabilities,
};
use forgeling::{Device, DeviceChoice};
use forgeling_tests::checkpoints::Memory;

fn cpu() -> Device {
    pollster::block_on(Device::open(DeviceChoice::Cpu)).unwrap()
}

fn named(model: &str, classes: usize, options: &[(&str, usize)]) -> Graph {
    let options = options.iter().map(|(name, value)| ((*name).into(), *value));
    let config = ModelConfig {
        classes,
        options: options.collect(),
        ..ModelConfig::new(model).unwrap()
    };
    config.graph().unwrap()
}

#[test]
fn trained_values_are_as_published_and_alike_for_one_pathway_and_two() {
    assert_eq!(
        named("dual_mlp_large", 100, &[]).trained_values(),
        5_600_100
    );
    let towers = named("multi_channel_resnet50", 100, &[]);
    assert_eq!(towers.trained_values(), 47_409_252);
    let dual = DualMlpConfig {
        classes: 100,
        ..Default::default()
    };
    assert_eq!(dual.graph().unwrap(), named("dual_mlp_large", 100, &[]));
    let tower = ResNetConfig {
        depth: Depth::Fifty,
        classes: 100,
        ..Default::default()
    };
    let config = MultiChannelResNetConfig {
        tower,
        luminance: LuminanceStandard::Bt709,
    };
    assert_eq!(config.graph().unwrap(), towers);
    for (model, size, values) in [
        ("integration_shallow", IntegrationConfig::shallow(), 176_527),
        ("integration_base", IntegrationConfig::base(), 1_487_890),
        ("integration_large", IntegrationConfig::large(), 23_545_874),
    ] {
        let two = named(model, 10, &[]);
        assert_eq!(two.trained_values(), values, "{model}");
        assert_eq!(size.graph().unwrap(), two);
        for (one, pathways) in [Pathways::RgbLuminance, Pathways::Rgb]
            .into_iter()
            .enumerate()
        {
            let graph = named(model, 10, &[("pathways", one)]);
            let config = IntegrationConfig {
                pathways,
                ..size.clone()
            };
            assert_eq!(config.graph().unwrap(), graph);
            let off = graph.trained_values() as f64 / values as f64 - 1.0;
            println!("{model}, {pathways:?}: {:+.1} %", 100.0 * off);
            assert!(off.abs() < 0.03, "{model}, {pathways:?}: {off}");
            let has = |wanted: &str| graph.nodes().iter().any(|node| node.layer.kind() == wanted);
            assert!(!has("mix"));
            assert_eq!(has("luminance"), pathways == Pathways::RgbLuminance);
        }
    }
}

/// By hand: three stages of one block of 2, 4 and 8 channels, integrated after the first and the last.
#[test]
fn the_previous_representation_is_pooled_and_projected() {
    let config = IntegrationConfig {
        input: ImageShape::new(4, 9, 14),
        width: 2,
        blocks: vec![1; 3],
        integrate_after: vec![1, 3],
        classes: 3,
        ..Default::default()
    };
    let graph = config.graph().unwrap();
    assert_eq!(Graph::from_json(&graph.to_json()).unwrap(), graph);
    let conv =
        |kernel: u64, inputs: u64, outputs: u64| kernel * kernel * inputs * outputs + 2 * outputs;
    let stage = |inputs: u64, outputs: u64| {
        let shortcut = if inputs == outputs {
            0
        } else {
            conv(1, inputs, outputs)
        };
        conv(3, inputs, outputs) + conv(3, outputs, outputs) + shortcut
    };
    let pathways = conv(3, 3, 2) + conv(3, 1, 2) + 2 * (stage(2, 2) + stage(2, 4) + stage(4, 8));
    let first = 2 + conv(1, 4, 2) + conv(1, 2, 2);
    let second = conv(1, 2, 8) + 3 + conv(1, 24, 8) + conv(1, 8, 8);
    assert_eq!(
        graph.trained_values(),
        pathways + first + second + (8 + 1) * 3
    );
    let shape = |name: &str| {
        let place = graph.find(name).unwrap();
        graph.shape(forgeling::nn::graph::Wire::Node(place)).sizes()
    };
    assert_eq!(shape("integrate.1.pool0"), [2, 5, 7]);
    assert_eq!(shape("integrate.1.pool1"), [2, 3, 4]);
    for name in ["integrate.1.previous.norm", "integrate.1.mix", "rgb.2.relu"] {
        assert_eq!(shape(name), [8, 3, 4], "{name}");
    }
    let network = Network::new(&graph, 5, &cpu());
    let weights = pollster::block_on(network.mix_weights()).unwrap();
    let names: Vec<&str> = weights.iter().map(|(name, _)| &name[..]).collect();
    assert_eq!(names, ["integrate.0.mix", "integrate.1.mix"]);
    assert_eq!(weights[0].1, [0.5, 0.5]);
    let [colours, luminance, previous] = weights[1].1[..] else {
        panic!("{weights:?}");
    };
    assert_eq!(colours, luminance);
    assert!(previous > 0.0 && previous <= 0.02, "{weights:?}");
    // All trained values are in the plan of a step.
    let plan = MemoryPlan::new(&graph, 4, PlanConfig::default(), &cpu()).unwrap();
    assert!(plan.peak > 4 * 4 * graph.trained_values());
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let usual = IntegrationConfig::base();
    let after = |stages: &[usize]| {
        let config = IntegrationConfig {
            integrate_after: stages.to_vec(),
            ..usual.clone()
        };
        config.graph()
    };
    let blocks = |blocks: &[usize], after: &[usize]| {
        let config = IntegrationConfig {
            blocks: blocks.to_vec(),
            integrate_after: after.to_vec(),
            ..usual.clone()
        };
        config.graph()
    };
    let channels = |channels: usize| {
        let config = IntegrationConfig {
            input: ImageShape::new(channels, 32, 32),
            ..usual.clone()
        };
        config.graph()
    };
    let width = |width: usize, pathways: Pathways| {
        let config = IntegrationConfig {
            width,
            pathways,
            ..usual.clone()
        };
        config.graph()
    };
    let dual = DualMlpConfig {
        input: ImageShape::new(2, 8, 8),
        ..Default::default()
    };
    let towers = MultiChannelResNetConfig {
        tower: ResNetConfig {
            input: ImageShape::new(5, 8, 8),
            ..Default::default()
        },
        ..Default::default()
    };
    let option = |model: &str, name: &str, value: usize| {
        let mut config = ModelConfig::new(model).unwrap();
        config.options.insert(name.into(), value);
        config.graph()
    };
    for (word, refused) in [
        ("ascending", after(&[1, 1, 3])),
        ("ascending", after(&[2, 1, 3])),
        ("the last of which is 3", after(&[1, 2])),
        ("from 1 to 3", after(&[0, 3])),
        ("from 1 to 3", after(&[1, 2, 4])),
        ("two or more", after(&[3])),
        ("two or more", after(&[])),
        ("2 to 4", blocks(&[1], &[1])),
        ("2 to 4", blocks(&[1; 5], &[1, 5])),
        ("blocks of a stage", blocks(&[1, 0], &[1, 2])),
        ("blocks of a stage", blocks(&[1, 65], &[1, 2])),
        ("colours", channels(2)),
        ("channels", channels(0)),
        ("colours", dual.graph()),
        ("colours", towers.graph()),
        ("width", width(0, Pathways::Two)),
        ("width", width(513, Pathways::Rgb)),
        ("709 or 601", option("integration_base", "luminance", 650)),
        ("3 or 7", option("integration_base", "stem", 5)),
        ("0 to 2", option("integration_base", "pathways", 3)),
        ("709 or 601", option("dual_mlp_large", "luminance", 650)),
        ("1 to 65536", option("dual_mlp_large", "width", 0)),
    ] {
        let error = refused.unwrap_err();
        assert!(
            error.is_bad_input() && error.to_string().contains(word),
            "{word}: {error}"
        );
    }
    let older = named("integration_shallow", 10, &[("luminance", 601)]);
    let Layer::Luminance(luminance) = older.nodes()[0].layer else {
        panic!("no luminance first");
    };
    assert_eq!(luminance.standard, LuminanceStandard::Bt601);
}

const SIZE: ImageShape = ImageShape::new(3, 8, 8);
const TINTS: [[f32; 3]; 3] = [[0.3, 0.0, 0.0], [-0.3, 0.0, 0.0], [0.0, 0.0, 0.4]];

/// Noise as bright in each of three classes, which only the tint tells apart: green makes up for red or blue.
fn tinted(seed: u64, each: usize) -> (Vec<usize>, Vec<f32>) {
    let mut rng = Rng::new(seed);
    let (mut labels, mut pixels) = (Vec::new(), Vec::new());
    for image in 0..3 * each {
        let label = image % 3;
        let [red, _, blue] = TINTS[label];
        let green = -(0.2126 * red + 0.0722 * blue) / 0.7152;
        let light: Vec<f32> = (0..64).map(|_| rng.range(0.35, 0.55)).collect();
        for tint in [red, green, blue] {
            pixels.extend(light.iter().map(|light| light + tint));
        }
        labels.push(label);
    }
    (labels, pixels)
}

fn source(images: &(Vec<usize>, Vec<f32>), shape: ImageShape) -> Epochs {
    let names: Vec<String> = images.0.iter().map(usize::to_string).collect();
    let set = ImageSet::from_f32(shape, &names, &images.1).unwrap();
    let config = LoaderConfig {
        batch_size: 16,
        ..Default::default()
    };
    Epochs::of(Loader::new(Arc::new(set), config).unwrap())
}

fn trainer(epochs: usize) -> Trainer {
    let config = TrainerConfig {
        epochs: Some(epochs),
        ..Default::default()
    };
    let manager = HardwareManager::on(cpu(), HardwareConfig::default()).unwrap();
    Trainer::new(config, manager).unwrap()
}

fn tiny(input: ImageShape) -> Graph {
    let config = IntegrationConfig {
        input,
        width: 6,
        classes: 3,
        ..Default::default()
    };
    config.graph().unwrap()
}

/// The part of images that are told right.
fn accuracy(network: &Network, input: ImageShape, images: &(Vec<usize>, Vec<f32>)) -> f64 {
    let device = cpu();
    let found = probabilities(network, input, &images.1, &device);
    let found = pollster::block_on(found).unwrap();
    let best = |row: &[f32]| (0..3).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap();
    let right = found.chunks(3).zip(&images.0);
    let right = right.filter(|(row, label)| best(row) == **label).count();
    right as f64 / images.0.len() as f64
}

/// As bright as these images, one channel.
fn grey((labels, pixels): &(Vec<usize>, Vec<f32>)) -> (Vec<usize>, Vec<f32>) {
    let images = pixels.chunks(192);
    let grey = images.flat_map(|image| {
        let shares = LuminanceStandard::Bt709.shares().map(|share| share as f32);
        (0..64).map(move |pixel| {
            let colours = shares.iter().enumerate();
            colours
                .map(|(at, share)| share * image[64 * at + pixel])
                .sum::<f32>()
        })
    });
    (labels.clone(), grey.collect())
}

#[test]
fn colours_are_told_apart_where_luminance_cannot_tell() {
    let (train, test) = (tinted(1, 48), tinted(2, 40));
    let learn = |graph: &Graph, images: &(Vec<usize>, Vec<f32>)| {
        let mut network = Network::new(graph, 3, &cpu());
        let mut source = source(images, graph.image_shape());
        let (mut trainer, run) = (trainer(8), Run::on(&mut source));
        let fitted = trainer.fit(&mut network, &CrossEntropy, run, |_| {
            ControlFlow::Continue(())
        });
        pollster::block_on(fitted).unwrap();
        network
    };
    let colours = learn(&tiny(SIZE), &train);
    let found = accuracy(&colours, SIZE, &test);
    let one = ImageShape::new(1, 8, 8);
    let blind = learn(&tiny(one), &grey(&train));
    let guessed = accuracy(&blind, one, &grey(&test));
    println!("with colours {found:.3}, without {guessed:.3}");
    assert!(found > 0.95, "{found}");
    assert!(guessed < 0.55, "{guessed}");

    let saved = SavedNetwork {
        model: "integration_shallow".into(),
        classes: ["0", "1", "2"].map(String::from).to_vec(),
        pictures: None,
        sounds: None,
        normalization: None,
        card: ModelCard::default(),
        history: TrainingHistory::default(),
        confidence: None,
        storage: Default::default(),
        network: colours,
    };
    let bytes = pollster::block_on(saved.to_bytes()).unwrap();
    let back = SavedNetwork::from_bytes(&bytes, &cpu()).unwrap();
    assert_eq!(back.network.graph(), saved.network.graph());
    let answers = |saved: &SavedNetwork| {
        let device = cpu();
        let found = probabilities(&saved.network, SIZE, &test.1, &device);
        pollster::block_on(found).unwrap()
    };
    assert_eq!(answers(&back), answers(&saved));
    let weights = |saved: &SavedNetwork| pollster::block_on(saved.network.mix_weights()).unwrap();
    assert_eq!(weights(&back), weights(&saved));
}

#[test]
fn weights_are_recorded_over_training_and_over_a_pause() {
    let images = tinted(4, 16);
    let graph = tiny(SIZE);
    assert!(MixRecord::new(&Network::new(&named("mlp", 3, &[]), 0, &cpu())).is_none());
    let mut kept = Memory::default();
    let run = |kept: &mut Memory, epochs: usize| {
        let mut network = Network::new(&graph, 3, &cpu());
        let mut record = MixRecord::new(&network).unwrap();
        let mut source = source(&images, SIZE);
        let run = Run::on(&mut source).with_method(&mut record).saved_in(kept);
        let mut trainer = trainer(epochs);
        let fitted = trainer.fit(&mut network, &CrossEntropy, run, |_| {
            ControlFlow::Continue(())
        });
        pollster::block_on(fitted).unwrap();
        let weights = pollster::block_on(network.mix_weights()).unwrap();
        (pollster::block_on(record.curves()).unwrap(), weights)
    };
    run(&mut kept, 2);
    let (paused, weights) = run(&mut kept, 3);
    let (whole, _) = run(&mut Memory::default(), 3);
    assert_eq!(paused, whole);
    let inputs: Vec<_> = whole.iter().map(|curve| &curve.input[..]).collect();
    let expected = [
        "rgb.0",
        "luminance.0",
        "rgb.1",
        "luminance.1",
        "integrate.1.previous",
    ];
    assert_eq!(inputs, expected);
    let last: Vec<f64> = whole.iter().map(|curve| curve.weights[3].1).collect();
    for (curve, found) in last.iter().zip(weights.iter().flat_map(|(_, found)| found)) {
        assert!((curve - f64::from(*found)).abs() < 1e-6);
    }
    for curve in &whole {
        let epochs: Vec<usize> = curve.weights.iter().map(|point| point.0).collect();
        assert_eq!(epochs, [0, 1, 2, 3]);
        assert_ne!(curve.weights[0].1, curve.weights[3].1, "{curve:?}");
    }
    let figure = mix_figure(&whole);
    for name in ["integrate.0: rgb.0", "integrate.1: integrate.1.previous"] {
        assert!(figure.contains(name), "{name}");
    }
}
