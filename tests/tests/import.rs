//! Published weights: the names of every publisher, what PyTorch says with the same weights, and problems by name.

use std::collections::{BTreeMap, BTreeSet};

use burn::tensor::{Tensor, TensorData};
use forgeling::data::ImageShape;
use forgeling::import::{Head, ImportConfig, ImportPlan, WeightFile, WeightFormat, key_maps};
use forgeling::nn::Normalization;
use forgeling::train::{ModelDescription, Resampling, SavedNetwork, weights};
use forgeling::{Device, DeviceChoice};
use forgeling_tests::assert_close;
use forgeling_tests::networks::outputs;
use serde_json::{Value, json};

type Tensors = BTreeMap<String, Vec<usize>>;

fn golden(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/golden");
    std::fs::read(format!("{folder}/{name}")).unwrap()
}

fn cpu() -> Device {
    pollster::block_on(Device::open(DeviceChoice::Cpu)).unwrap()
}

/// A safetensors file with such tensors, all zeros, of f16 or for those that count of whole numbers.
fn zeros(tensors: &Tensors) -> Vec<u8> {
    let mut header = serde_json::Map::new();
    let mut end = 0;
    for (name, shape) in tensors {
        let (dtype, bytes) = match name.ends_with("num_batches_tracked") {
            true => ("I64", 8),
            false => ("F16", 2),
        };
        let begin = end;
        end += bytes * shape.iter().product::<usize>();
        let tensor = json!({ "dtype": dtype, "shape": shape, "data_offsets": [begin, end] });
        header.insert(name.clone(), tensor);
    }
    let header = Value::Object(header).to_string();
    let length = (header.len() as u64).to_le_bytes();
    let mut bytes = [&length[..], header.as_bytes()].concat();
    bytes.resize(bytes.len() + end, 0);
    bytes
}

fn plan(tensors: &Tensors, config: &ImportConfig) -> ImportPlan {
    ImportPlan::new(&WeightFile::read(&zeros(tensors)).unwrap(), config).unwrap()
}

/// Names and shapes of published models, by model and publisher.
fn published() -> Vec<(String, String, Tensors)> {
    let rows: Vec<Value> = serde_json::from_slice(&golden("published.json")).unwrap();
    let row = |row: &Value| {
        let text = |key: &str| row[key].as_str().unwrap().to_owned();
        let tensors = serde_json::from_value(row["tensors"].clone()).unwrap();
        (text("model"), text("publisher"), tensors)
    };
    rows.iter().map(row).collect()
}

#[test]
fn every_tensor_that_is_published_is_a_value_of_ours_and_the_other_way_round() {
    let all = published();
    for (model, publisher, tensors) in &all {
        let plan = plan(tensors, &ImportConfig::new(model));
        let what = format!("{model} of {publisher}");
        assert_eq!(plan.map.publisher, publisher, "{what}");
        plan.check()
            .unwrap_or_else(|problem| panic!("{what}: {problem}"));
        let (ours, theirs): (BTreeSet<&str>, BTreeSet<&str>) = plan.moves().unzip();
        let counted = |name: &&String| !name.ends_with("num_batches_tracked");
        let expected: BTreeSet<&str> = tensors.keys().filter(counted).map(String::as_str).collect();
        assert_eq!(theirs, expected, "{what}");
        let values: Vec<String> = plan.graph.tensors().map(|(name, _)| name).collect();
        let values: BTreeSet<&str> = values.iter().map(String::as_str).collect();
        assert_eq!(ours, values, "{what}");
        assert_eq!(plan.taken(), expected.len(), "{what}");
        assert_eq!(plan.classes.len(), 1000, "{what}");
    }
    // Each map has been looked at, but for those of the same rules.
    for map in key_maps().filter(|map| map.model != "vit_small") {
        let here = |(model, publisher, _): &&(String, String, Tensors)| {
            (model.as_str(), publisher.as_str()) == (map.model, map.publisher)
        };
        assert!(
            all.iter().any(|row| here(&row)),
            "{} of {}",
            map.model,
            map.publisher
        );
    }
}

fn resnet18() -> Tensors {
    let mut all = published().into_iter();
    let (model, publisher, tensors) = all.next().unwrap();
    assert_eq!((&model[..], &publisher[..]), ("resnet18", "torchvision"));
    tensors
}

#[test]
fn every_problem_is_named() {
    let whole = resnet18();
    let config = ImportConfig::new("resnet18");
    for name in whole
        .keys()
        .filter(|name| !name.ends_with("num_batches_tracked"))
    {
        let mut without = whole.clone();
        without.remove(name);
        let found = plan(&without, &config);
        assert_eq!(
            (&found.missing, found.misfits.len()),
            (&vec![name.clone()], 0)
        );
        let error = found.check().unwrap_err().to_string();
        assert!(error.contains(&format!("1 missing: {name}")), "{error}");

        let mut other = whole.clone();
        other.get_mut(name).unwrap().push(2);
        let found = plan(&other, &config);
        assert_eq!((found.missing.len(), found.misfits.len()), (0, 1), "{name}");
        assert_eq!(&found.misfits[0].name, name);
        let error = found.check().unwrap_err();
        assert!(
            error.is_bad_input() && error.to_string().contains(name),
            "{error}"
        );
    }

    // All kinds together, and what torch counts is nothing to speak of.
    let mut several = whole.clone();
    several.retain(|name, _| !name.ends_with("num_batches_tracked") && !name.starts_with("conv1"));
    several.insert("conv2.weight\u{1b}[2J".into(), vec![1]);
    several.insert("layer1.0.bn1.bias".into(), vec![65]);
    let error = plan(&several, &config).check().unwrap_err().to_string();
    for part in [
        "1 missing: conv1.weight",
        "1 unexpected: conv2.weight\\x1b[2J",
        "1 of another shape: layer1.0.bn1.bias (expected [64], got [65])",
    ] {
        assert!(error.contains(part), "{error}");
    }
    let error = plan(&whole, &ImportConfig::new("resnet34"))
        .check()
        .unwrap_err()
        .to_string();
    assert!(error.contains("layer3.5.bn2.running_var"), "{error}");

    let file = zeros(&whole);
    let file = WeightFile::read(&file).unwrap();
    for (model, word) in [
        ("conv4", "no published weights"),
        ("vgg", "unknown network"),
    ] {
        let error = ImportPlan::new(&file, &ImportConfig::new(model)).unwrap_err();
        assert!(error.to_string().contains(word), "{error}");
    }
}

#[test]
fn a_head_for_other_classes_is_named_or_begins_anew() {
    let whole = resnet18();
    let names = ["cat", "dog"].map(String::from).to_vec();
    let mut config = ImportConfig {
        classes: Some(names.clone()),
        ..ImportConfig::new("resnet18")
    };
    let error = plan(&whole, &config).check().unwrap_err().to_string();
    for part in [
        "fc.weight (expected [2, 512], got [1000, 512])",
        "fc.bias",
        "head is for other classes",
    ] {
        assert!(error.contains(part), "{error}");
    }
    config.head = Head::New;
    for with_head in [true, false] {
        let mut tensors = whole.clone();
        tensors.retain(|name, _| with_head || !name.starts_with("fc."));
        let bytes = zeros(&tensors);
        let file = WeightFile::read(&bytes).unwrap();
        let plan = ImportPlan::new(&file, &config).unwrap();
        plan.check().unwrap();
        assert_eq!(plan.untrained, ["head.weight", "head.bias"]);
        let of = |seed| pollster::block_on(plan.apply(&file, seed, &cpu())).unwrap();
        let model = of(1);
        assert_eq!(model.classes, names);
        let values = |model: &SavedNetwork| {
            let all = pollster::block_on(weights::collect(&model.network)).unwrap();
            let of = |name: &str| {
                all.iter()
                    .find(|tensor| tensor.name == name)
                    .unwrap()
                    .values
                    .clone()
            };
            (of("stem.weight"), of("head.weight"))
        };
        let (stem, head) = values(&model);
        assert!(stem.iter().all(|weight| *weight == 0.0), "of the file");
        assert!(head.iter().any(|weight| *weight != 0.0), "of the seed");
        assert_ne!(values(&of(2)).1, head);
    }
    config.classes = None;
    let file = zeros(&whole);
    let error = ImportPlan::new(&WeightFile::read(&file).unwrap(), &config).unwrap_err();
    assert!(
        error.to_string().contains("names of its classes"),
        "{error}"
    );
}

/// See `golden/weights.py`.
#[test]
fn files_of_every_format_give_pytorchs_outputs() {
    let told: Value = serde_json::from_slice(&golden("weights.json")).unwrap();
    let shape: [usize; 4] = serde_json::from_value(told["shape"].clone()).unwrap();
    let expected: Vec<f32> = serde_json::from_value(told["outputs"].clone()).unwrap();
    let length: usize = shape.iter().product();
    let image = (0..length).map(|i| {
        let i = i as f64;
        ((0.9 * i + 1.0).sin() + (0.0007 * i).cos()) as f32
    });
    let image: Vec<f32> = image.collect();
    let device = cpu();
    for (name, format) in [
        ("weights.pth", WeightFormat::PyTorch),
        ("weights_legacy.pth", WeightFormat::PyTorchLegacy),
        ("weights.safetensors", WeightFormat::Safetensors),
    ] {
        let bytes = golden(name);
        let file = WeightFile::read(&bytes).unwrap_or_else(|problem| panic!("{name}: {problem}"));
        assert_eq!(file.format(), format);
        let config = ImportConfig {
            input: Some(ImageShape::new(shape[1], shape[2], shape[3])),
            options: BTreeMap::from([("width".into(), 1)]),
            source: Some("a test".into()),
            ..ImportConfig::new("resnet18")
        };
        let plan = ImportPlan::new(&file, &config).unwrap();
        let model = pollster::block_on(plan.apply(&file, 0, &device)).unwrap();
        let bytes = pollster::block_on(model.to_bytes()).unwrap();
        let said = ModelDescription::from_bytes(&bytes).unwrap();
        assert_eq!(
            (&said.model[..], &said.classes[..]),
            ("resnet18", &["0", "1", "2"].map(String::from)[..])
        );
        assert_eq!(said.card.resampling, Some(Resampling::Bilinear));
        assert_eq!(said.normalization.unwrap().mean, [0.485, 0.456, 0.406]);
        assert_eq!(said.card.source.as_deref(), Some("a test"));
        let model = SavedNetwork::from_bytes(&bytes, &device).unwrap();
        let images =
            Tensor::<4>::from_data(TensorData::new(image.clone(), shape), &device.autodiff());
        let (logits, _) = outputs(&model.network, images, Normalization::Running).unwrap();
        let logits: Vec<f32> = logits.into_data().try_into_vec().unwrap();
        assert_close(name, &logits, &expected, 1e-5);
    }
}
