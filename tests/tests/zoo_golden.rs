//! Published networks against PyTorch, with the same weights by their publishers' names: logits, loss, gradients and running
//! statistics that `golden/zoo.py` computed in f64. Weights and images are drawn here as they are there.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Tensor, TensorData};
use forgeling::data::ImageShape;
use forgeling::import::{ImportConfig, ImportPlan, WeightFile};
use forgeling::nn::{Network, Normalization, Pass, absorb};
use forgeling::ops::softmax_cross_entropy;
use forgeling::train::weights::collect;
use forgeling::{Device, DeviceChoice, Readback};
use forgeling_tests::{assert_close, devices};
use serde_json::{Value, json};

/// The class of each image.
const LABELS: [usize; 2] = [3, 8];
/// How many values of a tensor are compared.
const KEPT: usize = 16;
/// Of the largest logit, and of the loss.
const FORWARD: f32 = 1e-4;
/// Of the largest gradient of a parameter, and of its norm.
const BACKWARD: f32 = 1e-3;
/// Gradients that are so small beside the largest one of the network are zero but for rounding: a shift between two norms
/// that take their statistics from the batch changes nothing.
const NOTHING: f32 = 1e-9;

/// SplitMix64 that begins with the FNV-1a key of a name.
fn words(name: &str) -> impl Iterator<Item = u64> + use<> {
    let key = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |key, byte| {
        (key ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    (1..).map(move |step: u64| {
        let x = key.wrapping_add(step.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    })
}

/// Multiples of 2^-23 from -1 to 1.
fn units(name: &str, count: usize) -> impl Iterator<Item = f32> + use<> {
    const HALF: f32 = (1 << 23) as f32;
    let words = words(name).take(count);
    words.map(|word| ((word >> 40) as f32 - HALF) / HALF)
}

/// Where the script looked at a tensor.
fn places(name: &str, count: usize) -> Vec<usize> {
    if count <= KEPT {
        return (0..count).collect();
    }
    let drawn = words(&format!("places of {name}")).take(KEPT);
    drawn
        .enumerate()
        .map(|(part, word)| {
            let [start, end] = [part, part + 1].map(|part| count * part / KEPT);
            start + (word % (end - start) as u64) as usize
        })
        .collect()
}

fn number(value: &Value) -> f32 {
    value.as_f64().unwrap() as f32
}

fn numbers(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(number).collect()
}

fn norm(values: &[f32]) -> f32 {
    let squares = values.iter().map(|value| f64::from(*value).powi(2));
    squares.sum::<f64>().sqrt() as f32
}

fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |most, value| most.max(value.abs()))
}

fn read<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    let [values] = pollster::block_on(Readback::new().with(tensor).run()).unwrap();
    values
}

/// A network of the script.
struct Case {
    golden: Value,
    /// Shapes by the publisher's names.
    tensors: BTreeMap<String, Vec<usize>>,
}

/// Values of a network by our names, each with the publisher's.
type Named = BTreeMap<String, (String, Vec<f32>)>;

impl Case {
    fn new(golden: &str) -> Self {
        let golden: Value = serde_json::from_str(golden).unwrap();
        let tensors = serde_json::from_value(golden["tensors"].clone()).unwrap();
        Self { golden, tensors }
    }

    fn input(&self) -> ImageShape {
        let [channels, height, width] =
            serde_json::from_value(self.golden["input"].clone()).unwrap();
        ImageShape::new(channels, height, width)
    }

    /// The network whose tensors are these, by the publisher's names and shapes.
    fn network(&self, values: impl Fn(&str, &[usize]) -> Vec<f32>, device: &Device) -> Imported {
        let (mut header, mut bytes) = (serde_json::Map::new(), Vec::new());
        for (name, shape) in &self.tensors {
            let begin = bytes.len();
            let values = values(name, shape);
            bytes.extend(values.into_iter().flat_map(f32::to_le_bytes));
            let tensor =
                json!({ "dtype": "F32", "shape": shape, "data_offsets": [begin, bytes.len()] });
            header.insert(name.clone(), tensor);
        }
        let header = Value::Object(header).to_string();
        let length = (header.len() as u64).to_le_bytes();
        let bytes = [&length[..], header.as_bytes(), &bytes].concat();
        let file = WeightFile::read(&bytes).unwrap();
        let config = ImportConfig {
            input: Some(self.input()),
            ..ImportConfig::new(self.golden["model"].as_str().unwrap())
        };
        let plan = ImportPlan::new(&file, &config).unwrap();
        let names = plan
            .moves()
            .map(|(ours, theirs)| (ours.into(), theirs.into()));
        Imported {
            names: names.collect(),
            network: pollster::block_on(plan.apply(&file, 0, device))
                .unwrap()
                .network,
        }
    }

    /// Weights of a size that lets something through, and statistics of their own.
    fn weights(&self, name: &str, shape: &[usize]) -> Vec<f32> {
        let units = units(name, shape.iter().product());
        if name.ends_with("running_var") {
            units.map(|unit| 1.0 + 0.5 * unit).collect()
        } else if shape.len() == 1 && name.ends_with("weight") {
            let gain = number(&self.golden["gain"]);
            units.map(|unit| gain * (1.0 + 0.5 * unit)).collect()
        } else if shape[0] == 1 || shape.len() == 1 {
            units.map(|unit| 0.25 * unit).collect()
        } else {
            let inputs: usize = shape[1..].iter().product();
            let bound = (6.0 / inputs as f64).sqrt() as f32;
            units.map(|unit| bound * unit).collect()
        }
    }

    /// For each value of ours, which of the script's places it is, from 1, or 0: the tensors that published weights come
    /// from tell of how they are turned.
    fn marks(&self) -> Named {
        let marked = |name: &str, shape: &[usize]| {
            let mut marks = vec![0.0; shape.iter().product()];
            for (index, place) in places(name, marks.len()).into_iter().enumerate() {
                marks[place] = (index + 1) as f32;
            }
            marks
        };
        let cpu = pollster::block_on(Device::open(DeviceChoice::Cpu)).unwrap();
        let imported = self.network(marked, &cpu);
        imported.named(values(&imported.network))
    }

    /// Compares on every device, with running statistics and where the script has it with those of the batch.
    fn check(&self) {
        let marks = self.marks();
        for device in devices() {
            let imported = self.network(|name, shape| self.weights(name, shape), &device);
            for (mode, normalization) in [
                ("running", Normalization::Running),
                ("batch", Normalization::Batch),
            ] {
                let golden = &self.golden[mode];
                if !golden.is_null() {
                    let what = format!(
                        "{} of {} by {mode} statistics on {}",
                        self.golden["model"],
                        self.input(),
                        device.info().name
                    );
                    self.check_pass(&imported, normalization, golden, (&what, &marks), &device);
                }
            }
        }
    }

    fn check_pass(
        &self,
        imported: &Imported,
        normalization: Normalization,
        golden: &Value,
        (what, marks): (&str, &Named),
        device: &Device,
    ) {
        let network = &imported.network;
        let ImageShape {
            channels,
            height,
            width,
        } = self.input();
        let shape = [LABELS.len(), channels, height, width];
        let images = units(
            &format!("images {}", golden["seed"]),
            shape.iter().product(),
        );
        let images: Vec<f32> = images.map(|unit| 2.0 * unit).collect();
        let mut pass = Pass::new(normalization, &device.autodiff());
        let images = pass.values(TensorData::new(images, shape));
        let logits = network.forward(images, &mut pass).unwrap();
        let loss = softmax_cross_entropy(logits.clone(), &LABELS).unwrap();
        let expected = numbers(&golden["logits"]["values"]);
        let logits = read(logits);
        let off = |(a, b): (&f32, &f32)| (a - b).abs();
        let error = logits.iter().zip(&expected).map(off).fold(0.0, f32::max);
        println!(
            "{what}: logits within {:e} of the largest",
            error / largest(&expected)
        );
        assert_close(&format!("{what}: logits"), &logits, &expected, FORWARD);
        let expected = [number(&golden["loss"])];
        assert_close(
            &format!("{what}: loss"),
            &read(loss.clone()),
            &expected,
            FORWARD,
        );

        let statistics = pass.take_statistics();
        let mut found = Found {
            gradients: &pass.backward(loss, network).unwrap(),
            path: Vec::new(),
            found: Vec::new(),
        };
        network.visit(&mut found);
        let gradients = imported.named(found.found);
        compare(
            &format!("{what}: gradient of "),
            &gradients,
            marks,
            &golden["gradients"],
        );
        if normalization == Normalization::Batch {
            let mut moved = imported.named(values(&absorb(network.clone(), statistics).unwrap()));
            moved.retain(|_, (theirs, _)| theirs.contains("running"));
            compare(
                &format!("{what}: next "),
                &moved,
                marks,
                &golden["statistics"],
            );
        }
    }
}

/// A network with published weights.
struct Imported {
    network: Network,
    /// The publisher's names by ours.
    names: BTreeMap<String, String>,
}

impl Imported {
    fn named(&self, values: Vec<(String, Vec<f32>)>) -> Named {
        let named = values.into_iter().map(|(ours, values)| {
            let theirs = self.names[&ours].clone();
            (ours, (theirs, values))
        });
        named.collect()
    }
}

/// All values, trained or not.
fn values(network: &Network) -> Vec<(String, Vec<f32>)> {
    let tensors = pollster::block_on(collect(network)).unwrap();
    tensors.into_iter().map(|t| (t.name, t.values)).collect()
}

/// Compares norm, largest value and the marked values of each tensor with those of the script, which has as many.
fn compare(what: &str, got: &Named, marks: &Named, golden: &Value) {
    let golden = golden.as_object().unwrap();
    assert_eq!(got.len(), golden.len(), "{what}");
    let of_all = golden.values().map(|tensor| number(&tensor["largest"]));
    let of_all = of_all.fold(0.0, f32::max);
    let (mut worst, mut worst_name) = (0.0, "");
    for (ours, (theirs, values)) in got {
        let golden = &golden[theirs];
        let mut expected = numbers(&golden["values"]);
        let mut seen = vec![f32::NAN; expected.len()];
        for (value, mark) in values.iter().zip(&marks[ours].1) {
            if *mark > 0.0 {
                seen[*mark as usize - 1] = *value;
            }
        }
        seen.push(largest(values));
        expected.push(number(&golden["largest"]));
        let mut scale = number(&golden["largest"]);
        if scale < NOTHING * of_all {
            scale = of_all;
        } else {
            let size = number(&golden["norm"]);
            let error = (norm(values) - size).abs() / size;
            assert!(error <= BACKWARD, "{what}{theirs}: norm off by {error:e}");
        }
        for (value, expected) in seen.iter().zip(&expected) {
            let error = (value - expected).abs() / scale;
            assert!(
                error <= BACKWARD,
                "{what}{theirs}: {value} instead of {expected}, {error:e} of the largest"
            );
            if error > worst {
                (worst, worst_name) = (error, theirs);
            }
        }
    }
    println!("{what}all within {worst:e} of the largest, {worst_name} least");
}

/// The gradient of each parameter that has one, by name.
struct Found<'a> {
    gradients: &'a GradientsParams,
    path: Vec<String>,
    found: Vec<(String, Vec<f32>)>,
}

impl ModuleVisitor for Found<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.get::<D>(param.id) {
            self.found.push((self.path.join("."), read(gradient)));
        }
    }
}

#[test]
fn resnet18_computes_what_pytorch_does() {
    Case::new(include_str!("../golden/zoo_resnet18.json")).check();
}

/// By running statistics only: with those of two images, PyTorch's own f32 is up to 1e-4 and gradients up to a fifth off.
#[test]
fn resnet50_computes_what_pytorch_does() {
    Case::new(include_str!("../golden/zoo_resnet50.json")).check();
}

#[test]
fn efficientnet_lite0_computes_what_pytorch_does() {
    Case::new(include_str!("../golden/zoo_efficientnet_lite0.json")).check();
}

/// Padding is even where sizes are odd.
#[test]
fn efficientnet_lite0_computes_what_pytorch_does_with_odd_sizes() {
    Case::new(include_str!("../golden/zoo_efficientnet_lite0_odd.json")).check();
}

#[test]
fn vit_computes_what_pytorch_does() {
    Case::new(include_str!("../golden/zoo_vit_tiny.json")).check();
}
