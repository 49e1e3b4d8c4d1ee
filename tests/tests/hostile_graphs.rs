//! Damaged descriptions of networks: an answer or an error that names what is wrong, never a panic, within bounded memory.

#[path = "hostile_support/trial.rs"]
mod trial;

use burn::tensor::{Device, Tensor};
use forgeling::nn::catalog::ModelConfig;
use forgeling::nn::graph::{Graph, Shape};
use forgeling::nn::{MemoryPlan, Network, Normalization, Pass, PlanConfig};
use forgeling::{DeviceChoice, Error};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use trial::Trial;

/// A network with every kind of wire and window.
const MIXED: &str = r#"{ "input": [2, 9, 8], "layers": [
    { "conv2d": { "filters": 4, "kernel": [3, 1], "stride": 2, "padding": 1, "groups": 2 }, "name": "stem" },
    "batchNorm", { "relu6": {}, "name": "a" },
    { "conv2d": { "filters": 4, "kernel": 3, "padding": "same", "bias": false, "initial": "he" }, "name": "b.0" },
    { "batchNorm": {}, "name": "b.0.norm" },
    { "add": {}, "name": "sum", "inputs": ["b.0.norm", "a"] },
    { "maxPool": { "size": 3, "stride": 1, "padding": 1 }, "name": "most" },
    { "meanPool": { "size": 3, "stride": 1, "padding": 1 }, "name": "mean", "inputs": ["sum"] },
    { "concat": {}, "inputs": ["most", "mean"], "name": "both" },
    "flatten", "layerNorm", { "linear": { "outputs": 6, "initial": "glorot" } }, "gelu",
    { "linear": { "outputs": 3, "bias": false }, "stream": 7 }
], "features": "both" }"#;

fn samples() -> Vec<Value> {
    let small = ["mlp", "conv4", "vit", "resnet12"].map(|name| {
        let mut config = ModelConfig::new(name).unwrap();
        config.classes = 3;
        config.options.insert("width".into(), 4);
        json!(config.graph().unwrap())
    });
    let mixed = serde_json::from_str(MIXED).unwrap();
    small.into_iter().chain([mixed]).collect()
}

/// Numbers where sizes are expected.
fn numbers() -> [Value; 14] {
    [
        json!(0),
        json!(1),
        json!(2),
        json!(-1),
        json!(1.5),
        json!(1u64 << 20),
        json!((1u64 << 20) + 1),
        json!(1u64 << 31),
        json!(u32::MAX),
        json!(u64::MAX),
        json!(1e308),
        json!(null),
        json!([3, 3, 3]),
        json!("same"),
    ]
}

/// Every place of a value that is no container, as a path.
fn places(value: &Value, path: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
    match value {
        Value::Object(object) => {
            for (key, inner) in object {
                path.push(key.clone());
                found.push(path.clone());
                places(inner, path, found);
                path.pop();
            }
        }
        Value::Array(items) => {
            for (index, inner) in items.iter().enumerate() {
                path.push(index.to_string());
                found.push(path.clone());
                places(inner, path, found);
                path.pop();
            }
        }
        _ => {}
    }
}

fn at<'a>(value: &'a mut Value, path: &[String]) -> Option<&'a mut Value> {
    value.pointer_mut(
        &path
            .iter()
            .map(|part| format!("/{part}"))
            .collect::<String>(),
    )
}

/// One change of a description.
#[derive(Debug, Clone)]
struct Change {
    kind: usize,
    place: usize,
    other: usize,
}

fn changed(mut graph: Value, change: &Change) -> Value {
    let mut all = Vec::new();
    places(&graph, &mut Vec::new(), &mut all);
    if all.is_empty() {
        return graph;
    }
    let path = all[change.place % all.len()].clone();
    let other = all[change.other % all.len()].clone();
    match change.kind {
        // Another number, or no number.
        0..=2 => {
            let numbers = numbers();
            if let Some(place) = at(&mut graph, &path) {
                *place = numbers[change.other % numbers.len()].clone();
            }
        }
        // What stands elsewhere: names twice, wires to later layers and to themselves, layers within options.
        3..=4 => {
            let copied = at(&mut graph, &other).map(|value| value.clone());
            if let (Some(place), Some(copied)) = (at(&mut graph, &path), copied) {
                *place = copied;
            }
        }
        // Something is missing.
        5 => {
            if let Some((last, parent)) = path.split_last() {
                match at(&mut graph, parent) {
                    Some(Value::Object(object)) => drop(object.remove(last)),
                    Some(Value::Array(items)) => {
                        let index = last.parse().unwrap_or(0).min(items.len().saturating_sub(1));
                        if !items.is_empty() {
                            items.remove(index);
                        }
                    }
                    _ => {}
                }
            }
        }
        // An unknown key, or many layers.
        _ => match at(&mut graph, &path) {
            Some(Value::Object(object)) => drop(object.insert("colour".into(), json!("blue"))),
            Some(Value::Array(items)) if items.len() > 3 => {
                let more = items.clone();
                for _ in 0..change.other % 3000 {
                    items.extend(more.iter().take(2).cloned());
                }
            }
            Some(place) => *place = json!("x".repeat(change.other % 5000)),
            None => {}
        },
    }
    graph
}

/// Small enough to be run here.
fn is_small(graph: &Graph) -> bool {
    let largest = (0..graph.nodes().len())
        .map(|node| graph.shape(forgeling::nn::graph::Wire::Node(node)).len());
    graph.counts().all() < 100_000
        && largest.max().unwrap_or(0) < 50_000
        && graph.multiply_adds() < 50_000_000
}

fn run(graph: &Graph) -> Result<(), Error> {
    let device = Device::flex();
    let network = Network::on(graph, 0, &device);
    let shape = graph.image_shape();
    let dims = [1, shape.channels, shape.height, shape.width];
    let mut pass = Pass::new(Normalization::Running, &device);
    let features = network.features(Tensor::ones(dims, &device), &mut pass)?;
    assert_eq!(
        features.shape().num_elements(),
        graph.features_shape().len()
    );
    if matches!(graph.output_shape(), Shape::Values(_)) {
        let mut pass = Pass::new(Normalization::Batch, &device);
        let output = network.forward(Tensor::ones(dims, &device), &mut pass)?;
        assert_eq!(output.dims(), [1, graph.output_shape().len()]);
    }
    Ok(())
}

fn change() -> impl Strategy<Value = Change> {
    (0usize..7, any::<usize>(), any::<usize>()).prop_map(|(kind, place, other)| Change {
        kind,
        place,
        other,
    })
}

#[test]
fn a_damaged_description_is_an_error_or_a_network() {
    let config = ProptestConfig {
        cases: 400,
        failure_persistence: None,
        ..Default::default()
    };
    let changes = prop::collection::vec(change(), 1..4);
    let cut = prop::option::weighted(0.1, any::<usize>());
    let damaged = (0..samples().len(), changes, cut).prop_map(|(sample, changes, cut)| {
        let sample = samples().swap_remove(sample);
        let mut text = changes.iter().fold(sample, changed).to_string();
        if let Some(cut) = cut {
            let mut end = cut % text.len();
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            text.truncate(end);
        }
        text
    });
    let trial = std::cell::RefCell::new(Trial::new("graph", 64 << 20));
    let checked = TestRunner::new(config).run(&damaged, |text| {
        let mut read = None;
        let result = trial.borrow_mut().read(|| {
            read = Some(Graph::from_json(&text)?);
            Ok(())
        });
        if let Err(problem) = result {
            // Short enough to be read, whatever is in the file.
            let said = problem.to_string();
            prop_assert!(said.len() < 1500, "{said}");
        }
        if let Some(graph) = read {
            let again = Graph::from_json(&graph.to_json()).unwrap();
            prop_assert_eq!(&again, &graph);
            if is_small(&graph) {
                run(&graph).unwrap();
            }
        }
        Ok(())
    });
    checked.unwrap();
    trial.into_inner().end();
}

#[test]
fn the_samples_are_networks() {
    for sample in samples() {
        let graph = Graph::from_json(&sample.to_string()).unwrap();
        run(&graph).unwrap();
        let device = pollster::block_on(forgeling::Device::open(DeviceChoice::Cpu)).unwrap();
        let plan = MemoryPlan::new(&graph, 2, PlanConfig::default(), &device).unwrap();
        assert!(plan.peak > 4 * graph.trained_values());
    }
}

/// What is wrong is said of the layer that it is wrong of.
#[test]
fn errors_name_the_layer_and_the_shapes() {
    let graph = |layers: &str| {
        let text = format!(r#"{{ "input": [1, 8, 8], "layers": {layers} }}"#);
        Graph::from_json(&text).unwrap_err().to_string()
    };
    for (layers, said) in [
        (r#"["linear"]"#, &["layer 1", "linear", "outputs"][..]),
        (
            r#"[{"linear": {"outputs": 3}}]"#,
            &["'linear1'", "flatten", "1×8×8"],
        ),
        (
            r#"[{"conv2d": {"filters": 4, "kernel": 9}}]"#,
            &["'conv2d1'", "9×9", "1×8×8"],
        ),
        (
            r#"[{"conv2d": {"filters": 4, "kernel": 3, "groups": 3}}]"#,
            &["groups", "got 3"],
        ),
        (
            r#"[{"conv2d": {"filtres": 4, "kernel": 3}}]"#,
            &["filtres", "filters"],
        ),
        (
            r#"["relu", {"relu": {}, "name": "relu1"}]"#,
            &["'relu1'", "another"],
        ),
        (
            r#"[{"relu": {}, "inputs": ["later"]}, {"relu": {}, "name": "later"}]"#,
            &["'relu1'", "later", "before"],
        ),
        (
            r#"[{"relu": {}, "inputs": ["relu1"]}]"#,
            &["'relu1'", "before"],
        ),
        (
            r#"["relu", {"relu": {}, "inputs": ["input"]}]"#,
            &["'relu1'", "does not lead"],
        ),
        (
            r#"[{"add": {}, "inputs": ["input"]}]"#,
            &["'add1'", "two inputs"],
        ),
        (
            r#"["flatten", {"add": {}, "inputs": ["flatten1", "input"]}]"#,
            &["'add1'", "64 values", "1×8×8"],
        ),
        (
            r#"[{"patches": {"size": 3, "width": 4}}]"#,
            &["'patches1'", "divide"],
        ),
        (
            r#"["flatten", {"linear": {"outputs": 1048576}}, {"linear": {"outputs": 1048576}}]"#,
            &["'linear2'", "weight"],
        ),
        (r#"["swish"]"#, &["layer 1", "swish", "relu6"]),
        (r#"[]"#, &["no layer"]),
        (r#"[{"relu": {}, "name": "../x"}]"#, &["name", "'../x'"]),
    ] {
        let error = graph(layers);
        for word in said {
            assert!(
                error.contains(word),
                "{layers}: {error} does not say {word}"
            );
        }
    }
    let wide = format!("[{}\"relu\"]", "\"relu\", ".repeat(10_000));
    assert!(graph(&wide).contains("10000"), "{}", graph(&wide));
}

/// Blocks whose names come again, that are left in the middle, or that end in two places, run all the same.
#[test]
fn names_need_not_make_blocks() {
    for layers in [
        r#"[{"relu": {}, "name": "a.0.x"}, {"gelu": {}, "name": "a.0.y"}, {"relu": {}, "name": "other"},
            {"add": {}, "name": "a.0.z", "inputs": ["a.0.x", "other"]}]"#,
        r#"[{"relu": {}, "name": "a.x"}, {"gelu": {}, "name": "a.y"},
            {"add": {}, "name": "sum", "inputs": ["a.x", "a.y"]}]"#,
        r#"[{"relu": {}, "name": "a.x"}, {"add": {}, "name": "a.y", "inputs": ["a.x", "input"]},
            {"add": {}, "name": "sum", "inputs": ["a.y", "input"]}, "flatten", {"linear": {"outputs": 2}}]"#,
        r#"[{"conv2d": {"filters": 2, "kernel": 3, "padding": "same"}, "name": "a.x"}, {"batchNorm": {}, "name": "b.x"},
            {"relu": {}, "name": "b.y"}, {"maxPool": {}, "name": "c"}]"#,
    ] {
        let text = format!(r#"{{ "input": [2, 4, 4], "layers": {layers} }}"#);
        run(&Graph::from_json(&text).unwrap()).unwrap();
    }
}
