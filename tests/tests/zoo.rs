//! Families of networks: how large they are, what they refuse, and that one step trains all of their values.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device as Tensors, Tensor, TensorData};
use forgeling::data::{ImageShape, Rng};
use forgeling::nn::catalog::ModelConfig;
use forgeling::nn::graph::{Graph, Layer, Shape, Wire};
use forgeling::nn::zoo::{
    Conv4Config, Depth, DualMlpConfig, EfficientNetConfig, IntegrationConfig, MobileNetConfig,
    MultiChannelResNetConfig, ResNetConfig, SequenceConfig, Stem, VitConfig,
};
use forgeling::nn::{Network, Normalization, Pass, absorb};
use forgeling::ops::softmax_cross_entropy;
use forgeling::train::{Adam, AdamConfig};

const PHOTOGRAPH: ImageShape = ImageShape::new(3, 224, 224);

fn named(model: &str, classes: usize, options: &[(&str, usize)]) -> Graph {
    let options = options.iter().map(|(name, value)| ((*name).into(), *value));
    let usual = ModelConfig::new(model).unwrap();
    let config = ModelConfig {
        classes,
        input: match model {
            "mobilenet_v2" => PHOTOGRAPH,
            _ => usual.input,
        },
        options: options.collect(),
        ..usual
    };
    config.graph().unwrap()
}

/// As torchvision, timm and Keras count them; of MobileNetV2 also at half the width.
#[test]
fn trained_values_are_those_of_published_networks() {
    for (model, options, values, buffers) in [
        ("mobilenet_v2", &[("stem", 4)][..], 3_504_872, 34_112),
        (
            "mobilenet_v2",
            &[("stem", 4), ("width", 50)],
            1_968_680,
            18_544,
        ),
        ("efficientnet_lite0", &[], 4_652_008, 42_016),
        ("vit_tiny", &[], 5_717_416, 0),
        ("vit_tiny", &[("fused", 0)], 5_717_416, 0),
        // One token and its position less.
        ("vit_tiny", &[("token", 0)], 5_717_416 - 2 * 192, 0),
        ("vit_small", &[], 22_050_664, 0),
    ] {
        let counts = named(model, 1000, options).counts();
        assert_eq!(
            (counts.trained, counts.buffers),
            (values, buffers),
            "{model} {options:?}"
        );
    }
    assert_eq!(
        VitConfig::tiny(1000).graph().unwrap(),
        named("vit_tiny", 1000, &[])
    );
    assert_eq!(
        VitConfig::small(1000).graph().unwrap(),
        named("vit_small", 1000, &[])
    );
    // By hand: of small images, and of sequences of three channels.
    let norm = |channels: u64| 2 * channels;
    let six = (9 + 1) * 64 + 5 * (64 * 9 + 1) * 64 + 6 * norm(64) + (64 + 1) * 10;
    assert_eq!(named("conv6", 10, &[]).trained_values(), six);
    let convolutions = 3 * 7 * 128 + 128 * 5 * 256 + 256 * 3 * 128;
    let sequence = convolutions + norm(128 + 256 + 128) + (128 + 1) * 10;
    assert_eq!(named("conv1d", 10, &[]).trained_values(), sequence);
}

/// The sides of the maps after the stem and after each change, down to the mean.
fn sides(graph: &Graph) -> Vec<[usize; 2]> {
    let places = 0..graph.nodes().len();
    let shapes = places.map(|place| graph.shape(Wire::Node(place)));
    let mut sides: Vec<_> = shapes
        .filter_map(|shape| match shape {
            Shape::Maps([_, rows, columns]) => Some([rows, columns]),
            _ => None,
        })
        .collect();
    sides.dedup();
    sides
}

#[test]
fn large_images_are_halved_five_times_and_small_ones_three_times() {
    let mobilenet = |size, stem| {
        let input = ImageShape::new(3, size, size);
        let config = MobileNetConfig {
            input,
            stem,
            ..Default::default()
        };
        config.graph().unwrap()
    };
    let efficientnet = |size, stem| {
        let input = ImageShape::new(3, size, size);
        let config = EfficientNetConfig {
            input,
            stem,
            ..Default::default()
        };
        config.graph().unwrap()
    };
    let squares = |sides: &[usize]| sides.iter().map(|&side| [side; 2]).collect::<Vec<_>>();
    for family in [mobilenet, efficientnet] {
        for (size, stem, expected) in [
            (224, Stem::ImageNet, &[112, 56, 28, 14, 7][..]),
            (225, Stem::ImageNet, &[113, 57, 29, 15, 8]),
            (32, Stem::Small, &[32, 16, 8, 4]),
            (28, Stem::Small, &[28, 14, 7, 4]),
            (1, Stem::Small, &[1]),
        ] {
            assert_eq!(sides(&family(size, stem)), squares(expected), "{size}");
        }
    }
    // As torchvision counts with 1,000 classes; TensorFlow's 407 million of EfficientNet-Lite0 are with what is no product.
    let of_ten = |thousand: u64| thousand - 990 * 1280;
    let large = Stem::ImageNet;
    assert_eq!(mobilenet(224, large).multiply_adds(), of_ten(300_774_272));
    assert_eq!(
        efficientnet(224, large).multiply_adds(),
        of_ten(385_187_552)
    );

    let sequence = SequenceConfig {
        input: ImageShape::new(2, 1, 50),
        ..Default::default()
    };
    assert_eq!(sides(&sequence.graph().unwrap()), [[1, 50]]);
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let image = |channels, height, width| ImageShape::new(channels, height, width);
    let mobilenet = |width, input, classes| {
        let config = MobileNetConfig {
            input,
            width,
            classes,
            ..Default::default()
        };
        config.graph()
    };
    let efficientnet = |width, input, classes| {
        let config = EfficientNetConfig {
            input,
            width,
            classes,
            ..Default::default()
        };
        config.graph()
    };
    let mut refused = Vec::new();
    for family in [mobilenet, efficientnet] {
        for width in [0.0, -1.0, 4.5, f64::NAN, f64::INFINITY] {
            refused.push(("width", family(width, image(3, 32, 32), 10)));
        }
        refused.push(("channels", family(1.0, image(0, 32, 32), 10)));
        refused.push(("height", family(1.0, image(3, 5000, 32), 10)));
        refused.push(("classes", family(1.0, image(3, 32, 32), 0)));
    }
    let sequence = |input, filters| {
        let config = SequenceConfig {
            input,
            filters,
            ..Default::default()
        };
        config.graph()
    };
    refused.push(("one row", sequence(image(3, 2, 64), 8)));
    refused.push(("steps", sequence(image(3, 1, 0), 8)));
    refused.push(("filters", sequence(image(3, 1, 64), 0)));
    let vit = VitConfig {
        epsilon: 0.0,
        ..VitConfig::tiny(10)
    };
    refused.push(("epsilon", vit.graph()));
    let option = |model: &str, name: &str, value| {
        let mut config = ModelConfig::new(model).unwrap();
        config.options = BTreeMap::from([(name.to_string(), value)]);
        config.graph()
    };
    refused.push(("1 or 4", option("mobilenet_v2", "stem", 3)));
    refused.push(("1 to 400", option("efficientnet_lite0", "width", 0)));
    // Three heads of 64 numbers.
    refused.push(("heads", option("vit_tiny", "width", 200)));
    for (word, result) in refused {
        let error = result.unwrap_err();
        assert!(
            error.is_bad_input() && error.to_string().contains(word),
            "{word}: {error}"
        );
    }
}

/// One of each family on images of 32×32, or sequences.
fn families() -> Vec<(&'static str, Graph)> {
    let image = ImageShape::new(3, 32, 32);
    let classes = 4;
    let conv6 = Conv4Config {
        channels: 3,
        filters: 8,
        blocks: 6,
        unpooled: 2,
        size: 32,
    };
    let mobilenet = MobileNetConfig {
        input: image,
        classes,
        ..Default::default()
    };
    let efficientnet = EfficientNetConfig {
        input: image,
        stem: Stem::Small,
        classes,
        ..Default::default()
    };
    let sequence = SequenceConfig {
        input: ImageShape::new(3, 1, 32),
        filters: 16,
        classes,
    };
    let vit = |class_token, fused| VitConfig {
        size: 32,
        patch: 8,
        width: 32,
        depth: 2,
        heads: 4,
        hidden: 64,
        class_token,
        fused,
        ..VitConfig::tiny(classes)
    };
    let dual = DualMlpConfig {
        width: 64,
        classes,
        ..Default::default()
    };
    let towers = MultiChannelResNetConfig {
        tower: ResNetConfig {
            depth: Depth::Fifty,
            width: 4,
            classes,
            ..Default::default()
        },
        ..Default::default()
    };
    vec![
        (
            "conv6",
            conv6.graph().unwrap().with_outputs(classes).unwrap(),
        ),
        ("mobilenet", mobilenet.graph().unwrap()),
        ("efficientnet", efficientnet.graph().unwrap()),
        ("sequence", sequence.graph().unwrap()),
        ("vit, fused, class token", vit(true, true).graph().unwrap()),
        ("vit, mean", vit(false, false).graph().unwrap()),
        ("integration", pathways(IntegrationConfig::shallow(), 3)),
        ("integration, base", pathways(IntegrationConfig::base(), 1)),
        (
            "integration, large",
            pathways(IntegrationConfig::large(), 4),
        ),
        ("dual perceptron", dual.graph().unwrap()),
        ("two towers", towers.graph().unwrap()),
    ]
}

/// A narrow one for so many channels.
fn pathways(size: IntegrationConfig, channels: usize) -> Graph {
    let config = IntegrationConfig {
        input: ImageShape::new(channels, 32, 32),
        width: 4,
        classes: 4,
        ..size
    };
    config.graph().unwrap()
}

/// The names of trained values, with the largest part of the gradient of each, if there is one.
struct Found<'a> {
    gradients: &'a GradientsParams,
    path: Vec<String>,
    found: Vec<(String, Option<f32>)>,
}

impl ModuleVisitor for Found<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if param.is_require_grad() {
            let gradient = self.gradients.get::<D>(param.id);
            let largest = gradient.map(|gradient| gradient.abs().max().into_scalar());
            self.found.push((self.path.join("."), largest));
        }
    }
}

#[test]
fn a_step_trains_every_value() {
    let device = Tensors::flex().autodiff();
    for (family, graph) in families() {
        let shape = graph.image_shape();
        let mut rng = Rng::new(7);
        let pixels: Vec<f32> = (0..4 * shape.len()).map(|_| rng.range(-1.0, 1.0)).collect();
        let dims = [4, shape.channels, shape.height, shape.width];
        let images = Tensor::<4>::from_data(TensorData::new(pixels, dims), &device);
        let network = Network::on(&graph, 3, &device);
        let loss_of = |network: &Network| {
            let mut pass = Pass::new(Normalization::Batch, &device);
            let logits = network.forward(images.clone(), &mut pass).unwrap();
            let loss = softmax_cross_entropy(logits, &[0, 2, 1, 3]).unwrap();
            let statistics = pass.take_statistics();
            let gradients = pass.backward(loss.clone(), network).unwrap();
            (loss.into_scalar::<f32>(), statistics, gradients)
        };
        let (before, statistics, gradients) = loss_of(&network);
        let mut found = Found {
            gradients: &gradients,
            path: Vec::new(),
            found: Vec::new(),
        };
        network.visit(&mut found);
        for (name, largest) in &found.found {
            // The norm behind it takes it away again.
            let cancelled =
                family == "conv6" && name.starts_with("blocks") && name.ends_with(".bias");
            assert_eq!(largest.is_none(), cancelled, "{family}: {name}");
            let largest = largest.unwrap_or(1.0);
            assert!(largest > 0.0 && largest.is_finite(), "{family}: {name}");
        }
        let trained = graph.tensors().filter(|(_, value)| value.trained).count();
        assert_eq!(found.found.len(), trained, "{family}");

        let mut adam = Adam::new(AdamConfig::default()).unwrap();
        let network = adam.step(1e-3, network, gradients);
        let (after, ..) = loss_of(&absorb(network, statistics).unwrap());
        assert!(after < before, "{family}: {before} and then {after}");
    }
}

#[test]
fn published_networks_say_their_padding_and_epsilon() {
    let graph = named("efficientnet_lite0", 1000, &[]);
    let text = graph.to_json();
    assert_eq!(Graph::from_json(&text).unwrap(), graph);
    let norms = graph.nodes().iter().filter_map(|node| match node.layer {
        Layer::BatchNorm(norm) => Some(norm.epsilon),
        _ => None,
    });
    assert!(
        norms
            .collect::<Vec<_>>()
            .iter()
            .all(|&epsilon| epsilon == 1e-3)
    );
    // A depthwise convolution of 5×5 and stride 2 on 56×56: one zero above and left, two below and right.
    let place = graph.find("blocks.3.depthwise").unwrap();
    let Layer::Conv2d(conv) = graph.nodes()[place].layer else {
        panic!("no convolution");
    };
    let border = conv.border([56, 56]);
    assert_eq!((border.around, border.beyond), ([1; 2], [1; 2]));
    assert_eq!(
        (conv.kernel, conv.stride, conv.groups),
        ([5; 2], [2; 2], 144)
    );
}
