//! Networks that are exported.

use forgeling::compress::{Criterion, PruningConfig, PruningPlan, QuantizationConfig, quantize};
use forgeling::data::{ImageBatch, ImageShape, Rng};
use forgeling::nn::Network;
use forgeling::nn::catalog::{Entry, MODELS, ModelConfig};
use forgeling::nn::graph::Graph;
use forgeling::train::CrossEntropy;
use forgeling::train::weights::{NamedTensor, collect, load};
use forgeling::{Device, DeviceChoice};

/// The network whose adapters are merged, by which the last bits of its weights are the CPU's.
pub const ADAPTED: &str = "adapted";

/// Layers, options and places of layers that the catalog's networks lack, and names that tensors could have, too.
const GRAPHS: [(&str, &str); 7] = [
    (
        "windows",
        r#"{ "input": [4, 7, 6], "layers": [
        { "conv2d": { "filters": 6, "kernel": [4, 3], "stride": 2, "padding": "sameUpper", "groups": 2 }, "name": "upper" },
        { "batchNorm": { "epsilon": 0.3 } },
        { "meanPool": { "size": 3, "stride": [1, 2], "padding": [0, 1] }, "inputs": ["input"], "name": "mean" },
        { "maxPool": { "size": [3, 2], "stride": [2, 1], "padding": [1, 0] }, "inputs": ["input"], "name": "most" },
        { "conv2d": { "filters": 4, "kernel": [1, 3], "padding": [1, 0], "bias": false }, "inputs": ["most"], "name": "wide" },
        "relu6",
        { "flatten": {}, "inputs": ["batchNorm1"], "name": "p" }, { "flatten": {}, "inputs": ["mean"], "name": "q" },
        { "flatten": {}, "inputs": ["relu61"], "name": "r" },
        { "concat": {}, "inputs": ["p", "q", "r", "p"], "name": "joined" },
        { "batchNorm": { "epsilon": 0.2 }, "name": "a.weight" }, "gelu", { "layerNorm": { "epsilon": 0.25 } },
        { "linear": { "outputs": 5, "bias": false }, "name": "a" } ] }"#,
    ),
    (
        "tokens",
        r#"{ "input": [2, 6, 9], "layers": [
        { "patches": { "size": 3, "width": 12, "classToken": true }, "name": "x" },
        { "attention": { "heads": 3, "fused": true }, "name": "y" }, { "add": {}, "inputs": ["x", "y", "y"], "name": "sum" },
        { "attention": { "heads": 2 }, "name": "z" }, { "mix": {}, "inputs": ["x", "sum", "z"], "name": "mixed" },
        { "linear": { "outputs": 4, "bias": false }, "name": "few" },
        { "concat": {}, "inputs": ["mixed", "few"], "name": "side" }, { "layerNorm": { "epsilon": 1e-6 } },
        { "firstToken": {}, "name": "first" }, { "globalMeanPool": {}, "inputs": ["side"], "name": "mean" },
        { "flatten": {}, "inputs": ["few"], "name": "flat" },
        { "concat": {}, "inputs": ["first", "mean", "flat"] }, { "linear": { "outputs": 3 } } ] }"#,
    ),
    (
        "rows",
        r#"{ "input": [5, 8], "layers": [ { "attention": { "heads": 4 } }, "gelu", "flatten", { "linear": { "outputs": 3 } } ] }"#,
    ),
    (
        "values",
        r#"{ "input": [9], "layers": [ { "flatten": {}, "name": "same" }, { "linear": { "outputs": 6 }, "name": "a" },
        { "linear": { "outputs": 6, "bias": false }, "inputs": ["same"], "name": "b" },
        { "mix": { "lastShare": 0.1 }, "inputs": ["a", "b"] }, { "add": {}, "inputs": ["a", "mix1"], "name": "logits" } ] }"#,
    ),
    (
        "colours",
        r#"{ "input": [3, 5, 4], "layers": [
        { "luminance": { "standard": "bt601", "mean": [0.5, 0.4, 0.3], "deviation": [0.2, 0.3, 0.4] }, "name": "grey" },
        { "channels": { "from": 1, "count": 2 }, "inputs": ["input"], "name": "two" },
        { "concat": {}, "inputs": ["grey", "two"], "name": "three" },
        { "mix": {}, "inputs": ["three", "input"] }, "globalMeanPool" ] }"#,
    ),
    (
        "plain_grey",
        r#"{ "input": [3, 2, 2], "layers": [ "luminance", "flatten" ] }"#,
    ),
    ("nothing", r#"{ "input": [4], "layers": [ "flatten" ] }"#),
];

pub fn cpu() -> Device {
    pollster::block_on(Device::open(DeviceChoice::Cpu)).unwrap()
}

/// A small network of each of the catalog's.
pub fn small(entry: &Entry) -> Graph {
    let mut config = ModelConfig::new(entry.name).unwrap();
    config.classes = 5;
    if entry.input.height > 32 {
        config.input = ImageShape::new(entry.input.channels, 48, 48);
    }
    let width = match entry.name {
        "vit_tiny" | "vit_small" | "dual_mlp_large" => 64,
        // Of a hundred.
        "mobilenet_v2" | "efficientnet_lite0" => 25,
        "vit" => 16,
        _ => 4,
    };
    config.options.insert("width".into(), width);
    config.graph().unwrap()
}

/// Weights that let something through, statistics of their own, and adapters that change something.
fn drawn(network: Network) -> Network {
    let mut tensors = pollster::block_on(collect(&network)).unwrap();
    let mut rng = Rng::new(19);
    for NamedTensor {
        name,
        shape,
        values,
    } in &mut tensors
    {
        let inputs = match shape[..] {
            [inputs, _] => inputs,
            _ => shape.iter().skip(1).product(),
        };
        let he = (6.0 / inputs as f64).sqrt() as f32;
        for value in values {
            let unit = rng.range(-1.0, 1.0);
            *value = match name.rsplit('.').next().unwrap() {
                "weight" => he * unit,
                "gamma" => 0.75 + 0.25 * unit,
                "running_var" => 1.0 + 0.5 * unit,
                _ => 0.25 * unit,
            };
        }
    }
    load(network, tensors).unwrap()
}

/// Networks that work in 8 bits.
pub fn int8_networks() -> Vec<(String, Network)> {
    let device = cpu();
    let names = [
        "mlp",
        "conv4",
        "resnet18",
        "mobilenet_v2",
        "vit",
        "integration_shallow",
    ];
    let small = names.map(|name| {
        let graph = small(Entry::find(name).unwrap());
        let network = drawn(Network::on(&graph, 0, device.tensors()));
        let shape = graph.image_shape();
        let mut rng = Rng::new(3);
        let batch = ImageBatch {
            shape,
            images: (0..16 * shape.len())
                .map(|_| rng.range(-1.0, 2.0))
                .collect(),
            labels: vec![0; 16],
        };
        let (config, batches) = (QuantizationConfig::default(), [batch]);
        let found = quantize(&network, &config, &CrossEntropy, &batches, &device);
        let found = pollster::block_on(found).unwrap();
        (format!("{name}_int8"), found.network)
    });
    small.into()
}

/// Networks that are exported as they are, by their names.
pub fn networks() -> Vec<(String, Network)> {
    let device = cpu();
    let of = |graph: &Graph| drawn(Network::on(graph, 0, device.tensors()));
    let mut all: Vec<_> = MODELS
        .iter()
        .map(|entry| (entry.name.into(), of(&small(entry))))
        .collect();
    for (name, graph) in GRAPHS {
        let graph = Graph::from_json(graph).unwrap_or_else(|error| panic!("{name}: {error}"));
        all.push((name.into(), of(&graph)));
    }
    // What makes images a quarter as large has borders of its own where their sides are odd.
    let mut odd = ModelConfig::new("efficientnet_lite0").unwrap();
    odd.input = ImageShape::new(3, 45, 58);
    odd.options.insert("width".into(), 25);
    all.push(("odd".into(), of(&odd.graph().unwrap())));
    // Half of the channels gone, and of attention half of each head's numbers, whose scale stays.
    for name in ["resnet18", "vit"] {
        let whole = of(&small(Entry::find(name).unwrap()));
        let config = PruningConfig {
            criterion: Criterion::L2,
            ..Default::default()
        };
        let plan = pollster::block_on(PruningPlan::of(&whole, &config, None)).unwrap();
        all.push((format!("pruned {name}"), plan.apply(&whole).unwrap()));
    }
    let adapted = Network::on(&small(Entry::find("conv4").unwrap()), 0, device.tensors());
    let adapted = adapted.adapted(2, 4.0, 0).unwrap();
    all.push((ADAPTED.into(), drawn(adapted)));
    all
}
