//! ResNet-18: what it learns, what it keeps, and that devices agree.

use burn::optim::GradientsParams;
use burn::tensor::{Device as Tensors, Tensor, TensorData};
use forgeling::data::{Dataset, Glyphs, ImageShape, Rng, Split};
use forgeling::nn::graph::{Layer, Node};
use forgeling::nn::zoo::ResNetConfig;
use forgeling::nn::{Network, Normalization, absorb};
use forgeling::ops::{Implementation, set_implementation, softmax_cross_entropy};
use forgeling::train::{Adam, AdamConfig, weights};
use forgeling_tests::networks::{conv, outputs};
use forgeling_tests::ops_parity::tensor;
use forgeling_tests::{assert_close, devices};

const SIZE: usize = 16;
const CLASSES: usize = 3;

fn small() -> ResNetConfig {
    ResNetConfig {
        input: ImageShape::new(1, SIZE, SIZE),
        classes: CLASSES,
        width: 8,
        ..Default::default()
    }
}

fn network(config: &ResNetConfig, seed: u64, device: &Tensors) -> Network {
    Network::on(&config.graph().unwrap(), seed, device)
}

/// Drawn characters of a few classes.
fn batch(images: usize, rng: &mut Rng, device: &Tensors) -> (Tensor<4>, Vec<usize>) {
    let glyphs = Glyphs::new(0, Split::Train, CLASSES)
        .unwrap()
        .with_size(SIZE)
        .unwrap();
    let mut pixels = vec![0.0; images * SIZE * SIZE];
    let labels = pixels
        .chunks_exact_mut(SIZE * SIZE)
        .map(|image| {
            let class = rng.below(CLASSES);
            let instance = rng.below(glyphs.class_len(class));
            glyphs.read(class, instance, image).unwrap();
            class
        })
        .collect();
    let pixels = TensorData::new(pixels, [images, 1, SIZE, SIZE]);
    (Tensor::from_data(pixels, device), labels)
}

fn step(
    model: Network,
    adam: &mut Adam,
    (images, labels): (Tensor<4>, Vec<usize>),
) -> (Network, f32) {
    let (logits, statistics) = outputs(&model, images, Normalization::Batch).unwrap();
    let loss = softmax_cross_entropy(logits, &labels).unwrap();
    let gradients = GradientsParams::from_grads(loss.clone().backward(), &model);
    let loss = loss.into_data().try_into_vec::<f32>().unwrap()[0];
    let model = absorb(adam.step(1e-3, model, gradients), statistics).unwrap();
    (model, loss)
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().unwrap()
}

#[test]
fn it_learns_drawn_characters_and_a_file_gives_it_back() {
    let device = &Tensors::flex().autodiff();
    let mut rng = Rng::new(0);
    let mut model = network(&small(), 1, device);
    let mut adam = Adam::new(AdamConfig::default()).unwrap();
    let mut losses = Vec::new();
    for _ in 0..100 {
        let (next, loss) = step(model, &mut adam, batch(24, &mut rng, device));
        (model, losses) = (next, [losses, vec![loss]].concat());
    }
    let mean = |losses: &[f32]| losses.iter().sum::<f32>() / losses.len() as f32;
    let (early, late) = (mean(&losses[..4]), mean(&losses[96..]));
    assert!(late < 0.5 * early, "{losses:?}");

    // With the statistics gathered on the way, on characters it has not seen.
    let (images, labels) = batch(60, &mut rng, device);
    let logits = |model: &Network| {
        let running = Normalization::Running;
        let (logits, statistics) = outputs(model, images.clone(), running).unwrap();
        assert!(statistics.is_empty());
        values(logits)
    };
    let expected = logits(&model);
    let right = expected
        .chunks_exact(CLASSES)
        .zip(&labels)
        .filter(|(logits, label)| logits.iter().all(|logit| *logit <= logits[**label]));
    let right = right.count();
    assert!(right > 45, "{right} of 60");

    let tensors = pollster::block_on(weights::collect(&model)).unwrap();
    let other = network(&small(), 2, device);
    assert_ne!(logits(&other), expected);
    assert_eq!(logits(&weights::load(other, tensors).unwrap()), expected);
}

/// The sizes of the paper's ResNet-18, with ten classes and a stem of 3×3.
#[test]
fn it_has_the_parameters_it_claims() {
    let device = &Tensors::flex().autodiff();
    let model = network(&ResNetConfig::default(), 0, device);
    let tensors = pollster::block_on(weights::collect(&model)).unwrap();
    let trained = tensors.iter().filter(|t| !t.name.contains("running"));
    let count: usize = trained.map(|t| t.values.len()).sum();
    assert_eq!(count, 11_173_962);
    let nodes = model.graph().nodes().iter();
    let shortcuts = nodes.filter(|node| node.name.ends_with(".shortcut"));
    assert_eq!(shortcuts.count(), 3);
}

#[test]
fn gradients_agree_on_every_device_and_with_stock_operations() {
    let gradients = |device: &Tensors| {
        let config = ResNetConfig {
            input: ImageShape::new(1, 18, 13),
            ..small()
        };
        let model = network(&config, 1, device);
        let images = tensor([5, 1, 18, 13], 1.0, device);
        let (logits, _) = outputs(&model, images, Normalization::Batch).unwrap();
        let direction = tensor(logits.dims(), 2.0, device);
        let gradients = (logits.clone() * direction).sum().backward();
        let nodes = model.graph().nodes().iter();
        let convolutions = nodes.filter(|node| matches!(node.layer, Layer::Conv2d(_)));
        let of = |node: &Node| {
            let weight = conv(&model, &node.name).weight.val();
            values(weight.grad(&gradients).unwrap())
        };
        let mut all = vec![values(logits)];
        all.extend(convolutions.map(of));
        assert_eq!(
            all.len(),
            1 + 1 + 2 * 8 + 3,
            "logits, stem, blocks, shortcuts"
        );
        all
    };
    set_implementation(Implementation::Composite);
    let expected = gradients(&Tensors::flex().autodiff());
    set_implementation(Implementation::Own);
    for device in devices() {
        let got = gradients(&device.autodiff());
        for (index, (got, expected)) in got.iter().zip(&expected).enumerate() {
            let name = format!("tensor {index} on {}", device.info().name);
            // Twenty layers one after the other, each with sums in another order.
            assert_close(&name, got, expected, 1e-3);
        }
    }
}

#[test]
fn sizes_that_do_not_fit_are_errors() {
    let device = &Tensors::flex();
    for (change, word) in [
        (
            ResNetConfig {
                width: 0,
                ..small()
            },
            "width",
        ),
        (
            ResNetConfig {
                width: 513,
                ..small()
            },
            "1 to 512",
        ),
        (
            ResNetConfig {
                classes: 0,
                ..small()
            },
            "classes",
        ),
        (
            ResNetConfig {
                input: ImageShape::new(0, SIZE, SIZE),
                ..small()
            },
            "channels",
        ),
    ] {
        let error = change.graph().unwrap_err();
        assert!(
            error.is_bad_input() && error.to_string().contains(word),
            "{error}"
        );
    }
    let model = network(&small(), 1, device);
    let colours = Tensor::zeros([1, 3, 8, 8], device);
    let error = outputs(&model, colours, Normalization::Running).unwrap_err();
    assert!(error.is_bad_input(), "{error}");
}
