//! Networks as ONNX: what the files hold, read back with a reader of their encoding that knows nothing of their writer, and
//! what ONNX Runtime computes with them.
//!
//! `cargo xtask onnx` installs ONNX's checker and ONNX Runtime, and runs this with `FORGELING_ONNX_PYTHON`, the Python that
//! has them. `golden/onnx.json` keeps what they agreed with, so that a change shows without them, too:
//!
//! `FORGELING_BLESS=1 cargo test --release --workspace --exclude xtask --test onnx` records it anew, which is right only after
//! `cargo xtask onnx` has passed.

mod networks;
mod reader;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;
use std::process::Command;

use burn::tensor::{Tensor, TensorData, f16};
use forgeling::data::{PictureKind, Preparation, Rng, Standardization};
use forgeling::export::{OnnxModel, OnnxNotes, OnnxOptions, StoredPrecision, to_onnx};
use forgeling::nn::catalog::{Entry, MODELS, ModelConfig};
use forgeling::nn::graph::{Graph, Parameter, Shape};
use forgeling::nn::{Network, Normalization};
use forgeling::train::weights::{collect, load};
use forgeling_tests::networks::outputs;
use forgeling_tests::skipped;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use self::networks::{ADAPTED, cpu, int8_networks, networks, small};
use self::reader::{Field, Message};

/// From the package's folder, where cargo starts tests.
const GOLDEN: &str = "golden/onnx.json";
const SCRIPT: &str = "golden/onnx_check.py";
const PYTHON: &str = "FORGELING_ONNX_PYTHON";
const BATCHES: [usize; 2] = [1, 7];
/// Enough of them to count in how many the largest output is another.
const MANY: usize = 200;
const PRECISIONS: [(StoredPrecision, &str); 2] =
    [(StoredPrecision::F32, "f32"), (StoredPrecision::F16, "f16")];

fn notes(network: &Network) -> OnnxNotes {
    let outputs = network.graph().output_shape().len();
    OnnxNotes {
        model: "test".into(),
        classes: (0..outputs)
            .map(|class| format!("\"class\" {class}"))
            .collect(),
        ..Default::default()
    }
}

fn exported(network: &Network, precision: StoredPrecision) -> OnnxModel {
    let options = OnnxOptions { precision };
    pollster::block_on(to_onnx(network, &notes(network), options)).unwrap()
}

/// Looks at a file as a reader would, and gives its metadata.
fn inspect(model: &OnnxModel, network: &Network) -> BTreeMap<String, String> {
    let graph = network.graph();
    let file = Message::read(&model.bytes);
    assert_eq!((file.integer(1), file.text(2)), (9, "forgeling"));
    assert_eq!(file.text(3), env!("CARGO_PKG_VERSION"));
    let opset = file.message(8);
    assert_eq!((opset.text(1), opset.integer(2)), ("", 20));
    let contents = file.message(7);
    let [input, output] = [11, 12].map(|field| contents.message(field));
    let sizes = |shape: Shape| -> Vec<i64> {
        let sizes = shape.sizes().into_iter();
        sizes.map(|size| size as i64).collect()
    };
    assert_eq!(input.sizes(), sizes(graph.input()));
    assert_eq!(output.sizes(), sizes(graph.output_shape()));
    assert_eq!(
        (input.text(1), output.text(1)),
        (&*model.input.name, &*model.output.name)
    );

    let mut known = HashSet::from([input.text(1)]);
    let (mut weights, mut unused) = (BTreeMap::new(), BTreeSet::new());
    for tensor in contents.messages(5) {
        let (name, sizes) = (tensor.text(8), tensor.integers(1));
        assert!(known.insert(name), "'{name}' is there twice");
        unused.insert(name);
        let each = match tensor.integer(2) {
            1 => 4,
            7 => 8,
            10 => 2,
            other => panic!("'{name}' is of type {other}"),
        };
        let count = sizes.iter().product::<i64>() as usize;
        assert_eq!(tensor.bytes(9).len(), each * count, "{name}");
        if !name.contains('/') {
            weights.insert(name, count);
        }
    }
    let mut operators = BTreeMap::new();
    let mut names = HashSet::new();
    for node in contents.messages(1) {
        assert!(
            names.insert(node.text(3)),
            "'{}' is there twice",
            node.text(3)
        );
        for name in node.texts(1) {
            assert!(known.contains(name), "'{name}' is not there yet");
            unused.remove(name);
        }
        for name in node.texts(2) {
            assert!(known.insert(name), "'{name}' is there twice");
            unused.insert(name);
        }
        *operators.entry(node.text(4)).or_insert(0) += 1;
    }
    assert!(unused.remove(output.text(1)));
    assert!(unused.is_empty(), "nobody takes {unused:?}");
    assert_eq!(operators, model.operators);
    for value in contents.messages(13) {
        assert!(known.contains(value.text(1)) && !value.sizes().is_empty());
    }
    // All values but those of mixes, which are written as weights.
    let expected = graph
        .tensors()
        .filter(|(name, _)| !name.ends_with(".logits"));
    let expected: Vec<_> = expected.map(|(name, value)| (name, value.len())).collect();
    let expected = expected.iter().map(|(name, count)| (&**name, *count));
    assert_eq!(weights, expected.collect());
    let entries = file.messages(14).into_iter();
    entries
        .map(|entry| (entry.text(1).into(), entry.text(2).into()))
        .collect()
}

#[test]
fn every_network_is_a_file_that_hangs_together() {
    for (name, network) in networks() {
        let [wide, narrow] = PRECISIONS.map(|(precision, _)| {
            let model = exported(&network, precision);
            let metadata = inspect(&model, &network);
            let classes: Vec<String> = serde_json::from_str(&metadata["classes"]).unwrap();
            assert_eq!(classes, notes(&network).classes, "{name}");
            model
        });
        let casts = narrow.operators.get("Cast").copied().unwrap_or_default();
        let halved = network.graph().tensors();
        let halved = halved.filter(|(name, value)| is_halved(name, value));
        assert_eq!(casts, halved.count(), "{name}");
        assert!(!wide.operators.contains_key("Cast"), "{name}");
    }
}

#[test]
fn networks_of_usual_size_are_exported_twice_alike() {
    let device = cpu();
    for entry in &MODELS {
        let graph = ModelConfig::new(entry.name).unwrap().graph().unwrap();
        let network = Network::on(&graph, 0, device.tensors());
        let model = exported(&network, StoredPrecision::F32);
        inspect(&model, &network);
        let again = exported(&network, StoredPrecision::F32);
        assert!(model.bytes == again.bytes, "{}", entry.name);
        let values = graph.counts().all() as usize;
        let beside = model.bytes.len() - 4 * values;
        assert!(
            beside < 200_000,
            "{}: {beside} bytes beside the values",
            entry.name
        );
        let narrow = exported(&network, StoredPrecision::F16).bytes.len();
        assert!(
            narrow < model.bytes.len() * 11 / 20 + 40_000,
            "{}: {narrow}",
            entry.name
        );
    }
}

#[test]
fn encoders_and_what_is_known_of_a_model_are_written() {
    let device = cpu();
    let graph = small(Entry::find("resnet20").unwrap()).encoder();
    let network = Network::on(&graph, 0, device.tensors());
    let known = OnnxNotes {
        model: "resnet20".into(),
        normalization: Some(Standardization {
            mean: vec![0.5, 0.25, 0.125],
            deviation: vec![1.0, 2.0, 4.0],
        }),
        pictures: Some(Preparation {
            kind: PictureKind::Pictures,
            ..Preparation::DRAWINGS
        }),
        ..Default::default()
    };
    let export = |known: &OnnxNotes, network: &Network| {
        pollster::block_on(to_onnx(network, known, OnnxOptions::default()))
    };
    let model = export(&known, &network).unwrap();
    assert_eq!(model.input.to_string(), "images [batch, 3, 32, 32]");
    assert_eq!(model.output.to_string(), "features [batch, 16]");
    let metadata = inspect(&model, &network);
    let keys: Vec<&str> = metadata.keys().map(String::as_str).collect();
    assert_eq!(keys, ["deviation", "input", "mean", "model", "pictures"]);
    assert_eq!(metadata["mean"], "[0.5,0.25,0.125]");
    assert_eq!(metadata["input"], "[3,32,32]");
    let text = Message::read(&model.bytes).text(6);
    assert!(text.contains("mean [0.5, 0.25, 0.125]"), "{text}");

    let others = OnnxNotes {
        classes: vec!["a".into()],
        ..Default::default()
    };
    let error = export(&others, &network).unwrap_err();
    assert!(
        error.to_string().contains("expected 16 names, got 1"),
        "{error}"
    );
    let mut grey = known.clone();
    grey.normalization = Some(Standardization {
        mean: vec![0.5],
        deviation: vec![1.0],
    });
    assert!(export(&grey, &network).unwrap_err().is_bad_input());
    let broken = network.with_values(|_, values| {
        use burn::module::{Module, ModuleMapper, Param};
        struct Nan;
        impl ModuleMapper for Nan {
            fn map_float<const D: usize>(&mut self, value: Param<Tensor<D>>) -> Param<Tensor<D>> {
                value.map(|value| value * f32::NAN)
            }
        }
        values.map(&mut Nan)
    });
    let error = export(&known, &broken).unwrap_err();
    assert!(error.to_string().contains("not finite"), "{error}");
}

/// What f16 cannot hold stays as it is, and so do running statistics and what is small.
#[test]
fn values_beyond_f16_stay_f32() {
    let device = cpu();
    let graph = Graph::from_json(
        r#"{ "input": [64], "layers": [ { "batchNorm": {}, "name": "norm" }, { "linear": { "outputs": 64 }, "name": "a" },
        { "linear": { "outputs": 63 }, "name": "b" } ] }"#,
    );
    let network = Network::on(&graph.unwrap(), 0, device.tensors());
    let mut tensors = pollster::block_on(collect(&network)).unwrap();
    let bias = tensors.iter_mut().find(|tensor| tensor.name == "a.bias");
    bias.unwrap().values[1] = 65_520.0;
    let network = load(network, tensors).unwrap();
    let model = exported(&network, StoredPrecision::F16);
    let tensors = Message::read(&model.bytes).message(7).messages(5);
    let wide = tensors.iter().filter(|tensor| tensor.integer(2) == 1);
    let wide: Vec<&str> = wide.map(|tensor| tensor.text(8)).collect();
    assert_eq!(
        wide,
        ["norm.running_mean", "norm.running_var", "a.bias", "b.bias"]
    );
    assert_eq!(model.operators["Cast"], 4);
}

/// Whether a file in f16 holds a value in 16 bits. The weights that a mix gives are written, not what they come of.
fn is_halved(name: &str, value: &Parameter) -> bool {
    value.trained && value.len() >= 64 && !name.ends_with(".logits")
}

/// The network whose weights are those that a file in f16 holds.
fn rounded(network: &Network) -> Network {
    let merged = network.merged().unwrap();
    let names = merged.graph().tensors();
    let names = names.filter(|(name, value)| is_halved(name, value));
    let names: HashSet<String> = names.map(|(name, _)| name).collect();
    let mut tensors = pollster::block_on(collect(&merged)).unwrap();
    for tensor in tensors
        .iter_mut()
        .filter(|tensor| names.contains(&tensor.name))
    {
        for value in &mut tensor.values {
            *value = f16::from_f32(*value).to_f32();
        }
    }
    load(merged, tensors).unwrap()
}

/// Writes a model, examples, and what this library computes of them.
fn write(folder: &Path, name: &str, model: &OnnxModel, network: &Network, batches: &[usize]) {
    let device = cpu();
    std::fs::write(folder.join(format!("{name}.onnx")), &model.bytes).unwrap();
    let shape = network.graph().image_shape();
    for &batch in batches {
        let sizes = [batch, shape.channels, shape.height, shape.width];
        let mut rng = Rng::new(batch as u64);
        let count = sizes.iter().product();
        let images: Vec<f32> = (0..count).map(|_| rng.range(-1.0, 2.0)).collect();
        let tensor = Tensor::from_data(TensorData::new(images.clone(), sizes), device.tensors());
        let (output, _) = outputs(network, tensor, Normalization::Running).unwrap();
        let output: Vec<f32> = output.into_data().try_into_vec().unwrap();
        // What is the same for all examples would say nothing.
        let largest = output
            .iter()
            .fold(0.0f32, |most, value| most.max(value.abs()));
        let apart = output.iter().zip(&output[output.len() / batch..]);
        let apart = apart.fold(0.0f32, |most, (a, b)| most.max((a - b).abs()));
        assert!(
            largest.is_finite() && (batch == 1 || apart > 0.01 * largest),
            "{name}"
        );
        for (kind, values) in [("input", images), ("output", output)] {
            let bytes: Vec<u8> = values.into_iter().flat_map(f32::to_le_bytes).collect();
            std::fs::write(folder.join(format!("{name}.{batch}.{kind}")), bytes).unwrap();
        }
    }
}

#[test]
fn onnx_runtime_computes_the_same() {
    let Some(python) = std::env::var_os(PYTHON) else {
        return skipped("ONNX Runtime", &format!("{PYTHON} is not set"));
    };
    let folder = tempfile::tempdir().unwrap();
    for (name, network) in networks() {
        let [wide, narrow] = PRECISIONS.map(|(precision, _)| exported(&network, precision));
        write(folder.path(), &name, &wide, &network, &BATCHES);
        let name = format!("{name}_f16");
        write(folder.path(), &name, &narrow, &rounded(&network), &BATCHES);
    }
    for (name, network) in int8_networks() {
        let model = exported(&network, StoredPrecision::F32);
        let batches = [BATCHES[0], BATCHES[1], MANY];
        write(folder.path(), &name, &model, &network, &batches);
    }
    let status = Command::new(python).arg(SCRIPT).arg(folder.path()).status();
    assert!(status.unwrap().success());
}

/// ONNX Runtime makes one integer operator of a convolution only if it stands between values that are rounded.
#[test]
fn layers_in_8_bits_stand_between_rounded_values() {
    for (name, network) in int8_networks() {
        let model = exported(&network, StoredPrecision::F32);
        let contents = Message::read(&model.bytes).message(7);
        let nodes = contents.messages(1);
        let maker = |value: &str| {
            let made = |node: &&Message<'_>| node.texts(2).contains(&value);
            nodes.iter().find(made).map(|node| node.text(4))
        };
        let takers = |value: &str| -> Vec<&str> {
            let takes = nodes.iter().filter(|node| node.texts(1).contains(&value));
            takes.map(|node| node.text(4)).collect()
        };
        let (mut products, passed) = (0, ["MaxPool", "Flatten", "Gather", "Slice"]);
        for node in &nodes {
            if !["Conv", "Gemm", "MatMul"].contains(&node.text(4)) {
                continue;
            }
            let inputs = node.texts(1);
            if maker(inputs[1]) != Some("DequantizeLinear") {
                // Scores, what the heads see, and how bright colours are.
                let float = ["scores", "seen", "luminance"];
                let named = float.iter().any(|part| node.text(3).contains(part));
                assert!(named, "{name}: {}", node.text(3));
                continue;
            }
            products += 1;
            let from = maker(inputs[0]).unwrap();
            let known = from == "DequantizeLinear" || passed.contains(&from);
            // Patches are cut out of what was rounded.
            let cut = from == "Reshape" && inputs[0].ends_with("rows.Reshape");
            assert!(known || cut, "{name}: {from}");
            if let Some(bias) = inputs.get(2) {
                assert_eq!(maker(bias), Some("DequantizeLinear"), "{name}");
            }
            let outputs = takers(node.texts(2)[0]);
            if node.text(4) == "Conv" && !outputs.contains(&"Reshape") {
                let next = outputs[0];
                assert!(
                    outputs.len() == 1 && ["QuantizeLinear", "Relu", "Clip"].contains(&next),
                    "{name}: {outputs:?}"
                );
            }
        }
        assert!(products > 1, "{name}");
        for tensor in contents.messages(5) {
            // smart-turn #33: numbers in 32 bits have no zero point.
            if tensor.integer(2) == 6 {
                let [reader] = takers(tensor.text(8))[..] else {
                    panic!("{name}")
                };
                let own = |node: &&Message<'_>| node.texts(1).contains(&tensor.text(8));
                let node = nodes.iter().find(own).unwrap();
                assert_eq!(
                    (reader, node.texts(1).len()),
                    ("DequantizeLinear", 2),
                    "{name}"
                );
            }
        }
    }
}

/// Of all of a file but the version of its producer.
fn digest(model: &OnnxModel) -> String {
    let mut hash = Sha256::new();
    for (number, field) in Message::read(&model.bytes).0 {
        match field {
            _ if number == 3 => {}
            Field::Integer(value) => hash.update(value.to_le_bytes()),
            Field::Bytes(bytes) => hash.update(bytes),
        }
    }
    let bytes = hash.finalize();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn files_are_those_that_onnx_runtime_agreed_with() {
    let mut found = serde_json::Map::new();
    let same_everywhere = |(name, _): &(String, Network)| name != ADAPTED;
    for (name, network) in networks().into_iter().filter(same_everywhere) {
        let mut entry = serde_json::Map::new();
        for (precision, precision_name) in PRECISIONS {
            let model = exported(&network, precision);
            if precision == StoredPrecision::F32 {
                let counted = model.operators.iter();
                let counted = counted.map(|(operator, count)| format!("{count} {operator}"));
                let operators: Vec<String> = counted.collect();
                entry.insert("operators".into(), json!(operators.join(", ")));
            }
            entry.insert(precision_name.into(), json!(digest(&model)));
        }
        found.insert(name, entry.into());
    }
    let found = Value::Object(found);
    if std::env::var_os("FORGELING_BLESS").is_some() {
        let text = serde_json::to_string_pretty(&found).unwrap();
        std::fs::write(GOLDEN, text + "\n").unwrap();
    }
    let golden: Value = serde_json::from_slice(&std::fs::read(GOLDEN).unwrap()).unwrap();
    let [ours, theirs] = [&found, &golden].map(|value| value.as_object().unwrap());
    let names: BTreeSet<_> = ours.keys().chain(theirs.keys()).collect();
    let wrong = names
        .into_iter()
        .filter(|&name| ours.get(name) != theirs.get(name));
    let wrong = wrong.map(|name| format!("{name}: {} instead of {}", found[name], golden[name]));
    let wrong: Vec<String> = wrong.collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
