//! Layers that work in 8 bits, after training.

use burn::tensor::{Tensor, TensorData};
use forgeling::Device;
use forgeling::compress::{
    Observer, QuantizationConfig, QuantizationPlan, Quantized, WeightScale, fold_batch_norms,
    quantize,
};
use forgeling::data::ImageBatch;
use forgeling::export::{OnnxNotes, OnnxOptions, to_onnx};
use forgeling::nn::catalog::{MODELS, ModelConfig};
use forgeling::nn::graph::{Graph, Layer, Wire};
use forgeling::nn::{Network, Normalization, Pass};
use forgeling::train::CrossEntropy;
use forgeling::train::weights::collect;
use forgeling_tests::networks::{outputs, with_change};
use forgeling_tests::{assert_close, waves};
use pollster::block_on;

use crate::common::{answers, cpu, graph, narrow, stirred};

/// A batch that fits, of the images that `answers` sees and one more.
fn batch(graph: &Graph) -> ImageBatch {
    let shape = graph.image_shape();
    ImageBatch {
        shape,
        images: waves(4 * shape.len(), 0.5),
        labels: vec![0, 1, 2, 1],
    }
}

fn quantized(network: &Network, config: &QuantizationConfig) -> forgeling::Result<Quantized> {
    let batches = [batch(network.graph())];
    block_on(quantize(network, config, &CrossEntropy, &batches, &cpu()))
}

/// The distance of answers, by that of the answers from each other.
fn apart(a: &[f32], b: &[f32]) -> f32 {
    let mean = a.iter().sum::<f32>() / a.len() as f32;
    let norm = |values: &mut dyn Iterator<Item = f32>| values.map(|v| v * v).sum::<f32>().sqrt();
    let off = norm(&mut a.iter().zip(b).map(|(a, b)| a - b));
    off / norm(&mut a.iter().map(|a| a - mean))
}

fn norms(graph: &Graph) -> usize {
    let nodes = graph.nodes().iter();
    nodes
        .filter(|node| matches!(node.layer, Layer::BatchNorm(_)))
        .count()
}

#[test]
fn folded_norms_change_nothing_but_the_graph() {
    let device = cpu();
    for entry in &MODELS {
        let graph = narrow(entry.name);
        let network = stirred(&graph, &device);
        let folded = block_on(fold_batch_norms(&network)).unwrap();
        assert_eq!(norms(folded.graph()), 0, "{}", entry.name);
        let (got, expected) = (answers(&folded, &device), answers(&network, &device));
        assert_close(entry.name, &got, &expected, 1e-4);
        assert_eq!(folded.graph().features_shape(), graph.features_shape());
    }
    // A norm of a sum, of what is read twice, and of what is an output stay; one of neurons goes.
    let graph = graph(
        r#"{ "conv2d": { "filters": 3, "kernel": 1 }, "name": "a" }, { "batchNorm": {}, "name": "twice" },
           { "add": {}, "inputs": ["a", "twice"] }, { "batchNorm": {}, "name": "sum" }, "flatten",
           { "linear": { "outputs": 4, "bias": false }, "name": "b" }, { "batchNorm": {}, "name": "gone" }"#,
        &[2, 3, 3],
    );
    let network = stirred(&graph, &device);
    let folded = block_on(fold_batch_norms(&network)).unwrap();
    assert_eq!(norms(folded.graph()), 2);
    assert!(folded.graph().find("gone").is_none());
    let (got, expected) = (answers(&folded, &device), answers(&network, &device));
    assert_close("by hand", &got, &expected, 1e-5);
}

#[test]
fn every_network_works_in_8_bits() {
    let device = cpu();
    for entry in &MODELS {
        let name = entry.name;
        let graph = narrow(name);
        let network = stirred(&graph, &device);
        let Quantized {
            network: small,
            plan,
        } = quantized(&network, &QuantizationConfig::default()).unwrap();
        let (got, expected) = (answers(&small, &device), answers(&network, &device));
        let off = apart(&expected, &got);
        assert!(off > 0.0, "{name}: nothing was rounded");
        assert!(off < 0.06, "{name}: {off} apart");
        // Every layer with values works in 8 bits or is named.
        let graph = small.graph();
        for (place, node) in graph.nodes().iter().enumerate() {
            let rounds = matches!(node.layer, Layer::Quantize(_));
            let named = plan
                .float_layers()
                .iter()
                .any(|float| float.layer == node.name);
            let works = plan.layers().contains(&node.name);
            let holds = !graph.parameters(place).is_empty();
            assert_eq!(holds && !rounds, named || works, "{name}: {}", node.name);
            let weighs = matches!(
                node.layer,
                Layer::Conv2d(_) | Layer::Linear(_) | Layer::Patches(_) | Layer::Attention(_)
            );
            assert_eq!(weighs, works, "{name}: {}", node.name);
        }
        let [after, before] = plan.bytes();
        assert!(
            (after as f64) < 0.5 * before as f64,
            "{name}: {after} of {before}"
        );
        let notes = OnnxNotes::default();
        let exported = block_on(to_onnx(&small, &notes, OnnxOptions::default())).unwrap();
        let rounds = exported.operators["QuantizeLinear"];
        assert!(exported.operators["DequantizeLinear"] > rounds, "{name}");
    }
}

/// What comes of a layer is one of 256 multiples of its scale, 0 among them.
#[test]
fn values_between_layers_are_bytes() {
    let device = cpu();
    for model in ["resnet20", "mobilenet_v2", "vit"] {
        let network = stirred(&narrow(model), &device);
        let small = quantized(&network, &QuantizationConfig::default()).unwrap();
        let small = small.network;
        let images = batch(small.graph());
        for (place, node) in small.graph().nodes().iter().enumerate() {
            let Layer::Quantize(options) = node.layer else {
                continue;
            };
            let part = small.up_to(place);
            let mut pass = Pass::new(Normalization::Running, device.tensors());
            let sizes = [
                4,
                images.shape.channels,
                images.shape.height,
                images.shape.width,
            ];
            let x = TensorData::new(images.images.clone(), sizes);
            let x = Tensor::<4>::from_data(x, device.tensors());
            let y = part.features(x, &mut pass).unwrap();
            let y: Vec<f32> = y.into_data().try_into_vec().unwrap();
            let tensors = block_on(collect(&part)).unwrap();
            let named = format!("{}.scale", node.name);
            let scale = tensors.iter().find(|tensor| tensor.name == named).unwrap();
            let scale = scale.values[0];
            let mut seen = [false; 256];
            for value in y {
                let q = value / scale + f32::from(options.zero_point);
                assert!((q - q.round()).abs() < 1e-2, "{model} {}: {q}", node.name);
                assert!((-0.1..255.1).contains(&q), "{model} {}: {q}", node.name);
                seen[q.round() as usize] = true;
            }
            let used = seen.iter().filter(|seen| **seen).count();
            assert!(used > 20, "{model} {}: {used} steps used", node.name);
        }
    }
}

fn two_layers() -> Graph {
    graph(
        r#"{ "conv2d": { "filters": 5, "kernel": 3 }, "name": "conv" }, "relu", "flatten",
           { "linear": { "outputs": 3 }, "name": "head" }"#,
        &[2, 6, 5],
    )
}

fn filled(network: Network, name: &str, values: impl Fn(usize, f32) -> f32) -> Network {
    with_change(network, name, |old: Tensor<1>| {
        let device = old.device();
        let before: Vec<f32> = old.into_data().try_into_vec().unwrap();
        let length = before.len();
        let new = before.into_iter().enumerate();
        let new: Vec<f32> = new.map(|(place, value)| values(place, value)).collect();
        Tensor::from_data(TensorData::new(new, [length]), &device)
    })
}

fn found(network: &Network, name: &str) -> Vec<f32> {
    let all = block_on(collect(network)).unwrap();
    let own = all.into_iter().find(|tensor| tensor.name == name);
    own.unwrap().values
}

/// ONNX Runtime #22020.
#[test]
fn a_channel_near_zero_leaves_its_bias_whole() {
    let device = cpu();
    let network = stirred(&two_layers(), &device);
    // All weights of the second filter are tiny, and its bias is not.
    let network = filled(network, "conv.weight", |place, value| match place / 18 {
        1 => value * 1e-12,
        _ => value,
    });
    let network = filled(network, "conv.bias", |_, value| value + 3.0);
    for weights in [WeightScale::MaxAbs, WeightScale::Mse] {
        let config = QuantizationConfig {
            weights,
            ..Default::default()
        };
        let small = quantized(&network, &config).unwrap().network;
        let input = found(&small, "input_rounded.scale")[0];
        let scales = found(&small, "conv.weight_scale");
        for (scale, bias) in scales.iter().zip(found(&small, "conv.bias")) {
            let steps = f64::from(bias) / (f64::from(input) * f64::from(*scale));
            assert!(steps.abs() < f64::from(i32::MAX), "{steps}");
        }
        let off = apart(&answers(&network, &device), &answers(&small, &device));
        assert!(off < 0.05, "{off}");
    }
}

/// ONNX Runtime #12470 and #23749.
#[test]
fn nothing_has_steps_of_one_and_nan_is_an_error() {
    let device = cpu();
    let network = stirred(&two_layers(), &device);
    let dark = filled(network.clone(), "conv.bias", |_, _| -100.0);
    for observer in [
        Observer::MinMax,
        Observer::MovingAverage { momentum: 0.9 },
        Observer::Percentile { fraction: 0.999 },
        Observer::Mse,
    ] {
        let config = QuantizationConfig {
            observer,
            ..Default::default()
        };
        let small = quantized(&dark, &config).unwrap().network;
        assert_eq!(found(&small, "relu1_rounded.scale"), [1.0]);
        let got = answers(&small, &device);
        assert_close("dark", &got, &answers(&dark, &device), 1e-6);
    }
    let config = QuantizationConfig::default();
    for bad in [f32::NAN, f32::INFINITY] {
        let broken = filled(network.clone(), "head.weight", |place, value| match place {
            7 => bad,
            _ => value,
        });
        let error = quantized(&broken, &config).unwrap_err();
        assert!(error.to_string().contains("'head.weight'"), "{error}");
        let mut images = batch(network.graph());
        images.images[9] = bad;
        let error = block_on(quantize(
            &network,
            &config,
            &CrossEntropy,
            &[images],
            &device,
        ));
        let error = error.unwrap_err();
        assert!(error.to_string().contains("input_rounded"), "{error}");
    }
}

#[test]
fn what_cannot_be_done_is_named() {
    let device = cpu();
    let network = stirred(&two_layers(), &device);
    let said = |network: &Network, change: fn(&mut QuantizationConfig)| {
        let mut config = QuantizationConfig::default();
        change(&mut config);
        let error = quantized(network, &config).unwrap_err();
        assert!(error.is_bad_input(), "{error}");
        error.to_string()
    };
    let unknown = said(&network, |config| config.float_layers = vec!["tail".into()]);
    assert!(unknown.contains("'tail'"), "{unknown}");
    let all = |config: &mut QuantizationConfig| {
        config.float_layers = vec!["conv".into(), "head".into()];
    };
    assert!(said(&network, all).contains("no layer"));
    assert!(said(&network, |config| config.smoothing = Some(1.5)).contains("smoothing"));
    let wrong = |config: &mut QuantizationConfig| {
        config.observer = Observer::Percentile { fraction: 0.2 };
    };
    assert!(said(&network, wrong).contains("fraction"));
    let config = QuantizationConfig::default();
    let none = block_on(quantize(&network, &config, &CrossEntropy, &[], &device));
    assert!(none.unwrap_err().to_string().contains("no batch"));
    let small = quantized(&network, &config).unwrap().network;
    let again = said(&small, |_| ());
    assert!(again.contains("'input_rounded'"), "{again}");
}

/// torchao #1467.
#[test]
fn layers_that_stay_are_named() {
    let plan = |graph: &Graph, float: &[&str]| {
        let config = QuantizationConfig {
            float_layers: float.iter().map(|name| (*name).into()).collect(),
            ..Default::default()
        };
        QuantizationPlan::new(graph, &config).unwrap()
    };
    let of = |plan: &QuantizationPlan| -> Vec<String> {
        let all = plan.float_layers().iter();
        all.map(|float| format!("{} {} {}", float.layer, float.kind, float.reason))
            .collect()
    };
    let kept = plan(&two_layers(), &["head"]);
    assert_eq!(of(&kept), ["head linear asked for"]);
    assert_eq!(kept.layers(), ["conv"]);
    // What the head takes is as the convolution's values are: rounded all the same.
    assert!(kept.graph().find("relu1_rounded").is_some());
    assert!(
        kept.to_string().contains("head (linear): asked for"),
        "{kept}"
    );
    let vit = plan(&narrow("vit"), &[]);
    assert!(
        of(&vit)
            .iter()
            .all(|said| said.contains("layerNorm computed in f32"))
    );
    assert!(!vit.float_layers().is_empty());
}

/// One channel of a layer norm is a hundred times as large as the others.
#[test]
fn smoothing_spares_the_small_channels() {
    let device = cpu();
    let network = stirred(&narrow("vit"), &device);
    let norm = network
        .graph()
        .find("blocks.0.norm1")
        .map(|_| "blocks.0.norm1");
    let names: Vec<&str> = network
        .graph()
        .nodes()
        .iter()
        .filter(|node| matches!(node.layer, Layer::LayerNorm(_)))
        .map(|node| &node.name[..])
        .collect();
    let norm = norm.unwrap_or(names[0]).to_owned();
    let loud = filled(
        network,
        &format!("{norm}.gamma"),
        |place, value| match place {
            3 => 100.0,
            _ => value,
        },
    );
    let expected = answers(&loud, &device);
    let off = |smoothing: Option<f64>| {
        let config = QuantizationConfig {
            smoothing,
            observer: Observer::MinMax,
            ..Default::default()
        };
        let small = quantized(&loud, &config).unwrap().network;
        apart(&expected, &answers(&small, &device))
    };
    let (plain, smooth) = (off(None), off(Some(0.5)));
    assert!(smooth < 0.6 * plain, "{smooth} of {plain}");
}

#[test]
fn a_network_in_8_bits_can_be_pruned_and_cut() {
    use forgeling::compress::PruningPlan;
    let device = cpu();
    let network = stirred(&narrow("resnet20"), &device);
    let small = quantized(&network, &QuantizationConfig::default()).unwrap();
    let config = crate::common::config(|_| ());
    let plan = block_on(PruningPlan::of(&small.network, &config, None)).unwrap();
    let pruned = plan.apply(&small.network).unwrap();
    assert!(
        answers(&pruned, &device)
            .iter()
            .all(|value| value.is_finite())
    );
    let graph: &Graph = pruned.graph();
    for (place, node) in graph.nodes().iter().enumerate() {
        if let Layer::Conv2d(conv) = node.layer {
            let scale = graph.parameters(place).pop().unwrap();
            assert_eq!(
                (scale.field, scale.sizes),
                ("weight_scale", vec![conv.filters])
            );
        }
    }
    let encoder = small.network.encoder();
    assert!(matches!(
        encoder
            .graph()
            .shape(Wire::Node(encoder.graph().output()))
            .len(),
        1..
    ));
}

/// The same network where gradients could be asked for, which rounds in f32 and multiplies no bytes.
fn in_floats(network: &Network, device: &Device) -> Vec<f32> {
    let tensors = block_on(collect(network)).unwrap();
    let tracked = Network::new(network.graph(), 0, device);
    let tracked = forgeling::train::weights::load(tracked, tensors).unwrap();
    let shape = network.graph().image_shape();
    let sizes = [3, shape.channels, shape.height, shape.width];
    let images = TensorData::new(waves(sizes.iter().product(), 0.5), sizes);
    let images = Tensor::from_data(images, &device.autodiff());
    let (found, _) = outputs(&tracked, images, Normalization::Running).unwrap();
    found.into_data().try_into_vec().unwrap()
}

/// Layers large enough for bytes to pay.
#[test]
fn bytes_and_floats_give_the_same() {
    let device = cpu();
    let wide = [
        ("conv4", &[("width", 64)][..]),
        ("resnet18", &[("width", 32)]),
        ("mobilenet_v2", &[("width", 50)]),
        ("vit", &[("width", 96), ("depth", 2)]),
        ("vit_tiny", &[("depth", 1)]),
        ("mlp", &[("width", 256)]),
    ];
    for (name, options) in wide {
        let mut config = ModelConfig::new(name).unwrap();
        if config.input.height > 32 {
            (config.input.height, config.input.width) = (33, 32);
            if name == "vit_tiny" {
                config.input.height = 32;
            }
        }
        for (option, value) in options {
            config.options.insert((*option).into(), *value);
        }
        let network = stirred(&config.graph().unwrap(), &device);
        let small = quantized(&network, &QuantizationConfig::default()).unwrap();
        let (bytes, floats) = (
            answers(&small.network, &device),
            in_floats(&small.network, &device),
        );
        // Sums differ in their last bits, and so may the side to which a value at the edge goes.
        let off = apart(&floats, &bytes);
        assert!(off < 0.02, "{name}: {off}");
        assert_eq!(bytes, answers(&small.network, &device), "{name}");
    }
}

/// What was packed is not used for other values.
#[test]
fn changed_weights_are_packed_anew() {
    let device = cpu();
    let graph = graph(
        r#""flatten", { "linear": { "outputs": 32 }, "name": "a" }, "relu", { "linear": { "outputs": 32 }, "name": "b" }"#,
        &[3, 10, 10],
    );
    let small = quantized(&stirred(&graph, &device), &QuantizationConfig::default()).unwrap();
    let before = answers(&small.network, &device);
    let half = |network: &Network| filled(network.clone(), "b.weight", |_, value| 0.5 * value);
    let changed = half(&small.network);
    let after = answers(&changed, &device);
    assert!(apart(&before, &after) > 0.1);
    assert!(apart(&in_floats(&changed, &device), &after) < 0.01);
    // And the one before is as it was.
    assert_eq!(answers(&small.network, &device), before);
}

#[test]
fn devices_agree_on_networks_in_8_bits() {
    for device in forgeling_tests::devices() {
        let device: &Device = &device;
        for model in ["resnet20", "vit"] {
            let host = cpu();
            let network = stirred(&narrow(model), &host);
            let small = quantized(&network, &QuantizationConfig::default()).unwrap();
            let tensors = block_on(collect(&small.network)).unwrap();
            let there = Network::on(small.network.graph(), 0, device.tensors());
            let there = forgeling::train::weights::load(there, tensors).unwrap();
            let off = apart(&answers(&small.network, &host), &answers(&there, device));
            // A value on the edge of two steps may go to either.
            assert!(off < 0.05, "{model} on {}: {off}", device.info().name);
        }
    }
}
