//! Every layer that has a vector-Jacobian product: as part of a network, and differentiated twice.

use burn::tensor::{Tensor, TensorData};
use forgeling::data::{Examples, ImageShape, Rng, Targets, Task};
use forgeling::meta::functional::{Program, Value, Weights};
use forgeling::meta::gradient::{
    AdaptedPart, GradientLearner, InnerConfig, Maml, MamlConfig, Order,
};
use forgeling::nn::catalog::{MODELS, ModelConfig};
use forgeling::nn::graph::Graph;
use forgeling::nn::{Network, Normalization, Pass};

use super::common::device;
use super::differences::{check, in_f64};

/// Strides, groups, windows beyond the border, two ways, each activation, with and without biases.
const MIXED: &str = r#"{ "input": [2, 7, 6], "layers": [
    { "conv2d": { "filters": 4, "kernel": [3, 2], "stride": [2, 1], "padding": [1, 0], "groups": 2 }, "name": "stem" },
    { "relu6": {}, "name": "begun" },
    { "conv2d": { "filters": 4, "kernel": 3, "padding": "same", "groups": 4, "bias": false }, "name": "b.0" },
    { "batchNorm": {}, "name": "b.0.norm" },
    { "add": {}, "name": "b.0.sum", "inputs": ["b.0.norm", "begun"] },
    { "relu": {}, "name": "b.0.relu" },
    { "maxPool": { "size": 3, "stride": 2, "padding": 1 }, "name": "most" },
    { "meanPool": { "size": [3, 1], "stride": 2, "padding": [1, 0] }, "name": "mean", "inputs": ["b.0.relu"] },
    { "concat": {}, "name": "both", "inputs": ["most", "mean"] },
    { "conv2d": { "filters": 3, "kernel": 2 } }, "gelu", { "globalMeanPool": {}, "name": "pooled" },
    { "linear": { "outputs": 5, "bias": false } }, "layerNorm", "gelu", { "linear": { "outputs": 3 } }
] }"#;

/// Uneven borders and unusual norms, smooth throughout.
const SMOOTH: &str = r#"{ "input": [2, 7, 6], "layers": [
    { "conv2d": { "filters": 4, "kernel": 3, "stride": 2, "padding": "sameUpper", "bias": false }, "name": "b.0" },
    { "batchNorm": { "epsilon": 0.01 }, "name": "b.0.norm" }, { "gelu": {}, "name": "b.0.gelu" },
    { "conv2d": { "filters": 3, "kernel": 2, "padding": "sameUpper" } }, "gelu",
    "globalMeanPool", { "linear": { "outputs": 5, "bias": false } }, { "layerNorm": { "epsilon": 0.1 } }, "gelu",
    { "linear": { "outputs": 3 } }
] }"#;

fn smooth() -> Graph {
    Graph::from_json(SMOOTH).unwrap()
}

/// Values normed over the batch, which vary more from example to example than pooled ones: difference quotients of norms of
/// little variance are coarse.
const NORMED: &str = r#"{ "input": [1, 3, 2], "layers": [
    "flatten", { "linear": { "outputs": 5, "bias": false } }, "batchNorm", "gelu", { "linear": { "outputs": 3 } }
] }"#;

fn normed() -> Graph {
    Graph::from_json(NORMED).unwrap()
}

fn mixed() -> Graph {
    Graph::from_json(MIXED).unwrap()
}

fn tasks(shape: ImageShape) -> Vec<Task> {
    let mut rng = Rng::new(5);
    let mut examples = |count: usize| Examples {
        inputs: (0..count * shape.len())
            .map(|_| rng.range(-1.0, 1.0))
            .collect(),
        targets: Targets::Classes((0..count).map(|example| example % 3).collect()),
    };
    (0..2)
        .map(|_| {
            let (support, query) = (examples(6), examples(5));
            Task::new(shape, 3, support, query).unwrap()
        })
        .collect()
}

#[test]
fn of_every_layer() {
    check_all(&mixed());
}

#[test]
fn of_uneven_borders_and_unusual_norms() {
    check_all(&smooth());
}

#[test]
fn of_norms_of_values() {
    check_all(&normed());
}

fn check_all(graph: &Graph) {
    let network = in_f64(Network::on(graph, 3, &device()));
    let tasks = tasks(graph.image_shape());
    let inner = InnerConfig {
        steps: 2,
        test_steps: None,
        rate: 0.1,
    };
    for (order, part, transductive) in [
        (Order::Second, AdaptedPart::All, true),
        (Order::Second, AdaptedPart::All, false),
        (Order::Second, AdaptedPart::Head, false),
    ] {
        let method = Maml::new(MamlConfig { inner, order, part }).unwrap();
        let learner = GradientLearner::new(network.clone(), method, transductive);
        check(&learner, &tasks, 0, &format!("{part:?} {transductive}"));
    }
}

/// What gradient learners see is the network itself.
#[test]
fn programs_compute_what_their_networks_do() {
    let device = device().inner();
    let named = MODELS
        .iter()
        .filter(|entry| {
            !["vit", "integration"]
                .iter()
                .any(|refused| entry.name.starts_with(refused))
        })
        .map(|entry| {
            let mut config = ModelConfig::new(entry.name).unwrap();
            if ["dual_mlp_large", "multi_channel_resnet50"].contains(&entry.name) {
                // Of which nothing asks for the luminance.
                config.input.channels = 1;
            }
            config.options.insert("width".into(), 6);
            config.graph().unwrap()
        });
    for graph in named.chain([mixed(), smooth(), normed()]) {
        let network = Network::on(&graph, 3, &device);
        let shape = graph.image_shape();
        let mut rng = Rng::new(1);
        let pixels: Vec<f32> = (0..4 * shape.len()).map(|_| rng.range(-1.0, 1.0)).collect();
        let dims = [4, shape.channels, shape.height, shape.width];
        let images = Tensor::<4>::from_data(TensorData::new(pixels, dims), &device);
        let mut pass = Pass::new(Normalization::Batch, &device);
        let expected = network.forward(images.clone(), &mut pass).unwrap();

        let program = Program::new(&graph).unwrap();
        let weights = Weights::shared(&program.parameters_of(&network).unwrap(), 1);
        let forward = program
            .forward(&weights, Value::Maps(images), None)
            .unwrap();
        assert_eq!(forward.statistics.len(), pass.take_statistics().len());
        let found = forward.output.rows(1).unwrap().squeeze_dim::<2>(0);
        let apart = (found - expected).abs().max().into_scalar::<f32>();
        assert!(apart < 1e-4, "{:?}: {apart:e}", graph.nodes().last());
    }
}

#[test]
fn what_has_no_product_is_refused_by_name() {
    for (model, channels, named) in [
        ("vit", 1, "'embed' (patches)"),
        ("dual_mlp_large", 3, "'luminance' (luminance)"),
        ("dual_mlp_large", 4, "'rgb' (channels)"),
        ("integration_shallow", 1, "'integrate.0.mix' (mix)"),
    ] {
        let mut config = ModelConfig::new(model).unwrap();
        config.input.channels = channels;
        let error = Program::new(&config.graph().unwrap()).unwrap_err();
        assert!(
            error.is_bad_input() && error.to_string().contains(named),
            "{error}"
        );
    }
}

/// Their sizes, in their order.
#[test]
fn parameters_are_those_of_the_layers() {
    let graph = mixed();
    let network = Network::on(&graph, 3, &device());
    let program = Program::new(&graph).unwrap();
    let lengths = program.parameters_of(&network).unwrap().into_iter();
    let lengths: Vec<usize> = lengths.map(|parameter| parameter.dims()[0]).collect();
    assert_eq!(lengths, program.sizes());
    // The norm's own convolution has no bias here, and all others are trained.
    assert_eq!(lengths.iter().sum::<usize>() as u64, graph.trained_values());
}
