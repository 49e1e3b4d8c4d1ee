//! ResNet-18: what it learns, what it keeps, and that devices agree.

use burn::optim::GradientsParams;
use burn::tensor::{Device as Tensors, Tensor, TensorData};
use forgeling::data::{Dataset, Glyphs, Rng, Split};
use forgeling::nn::{Normalization, ResNet18, ResNet18Config};
use forgeling::ops::{Bodies, set_bodies, softmax_cross_entropy};
use forgeling::train::{Adam, AdamConfig, weights};
use forgeling_tests::ops_parity::tensor;
use forgeling_tests::{assert_close, devices};

const SIZE: usize = 16;
const CLASSES: usize = 3;

fn small() -> ResNet18Config {
    ResNet18Config {
        channels: 1,
        classes: CLASSES,
        width: 8,
        seed: 1,
    }
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
    model: ResNet18,
    adam: &mut Adam,
    (images, labels): (Tensor<4>, Vec<usize>),
) -> (ResNet18, f32) {
    let (logits, statistics) = model.forward(images, Normalization::Batch).unwrap();
    let loss = softmax_cross_entropy(logits, &labels).unwrap();
    let gradients = GradientsParams::from_grads(loss.clone().backward(), &model);
    let loss = loss.into_data().try_into_vec::<f32>().unwrap()[0];
    let model = adam.step(1e-3, model, gradients).absorb(statistics);
    (model, loss)
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().unwrap()
}

#[test]
fn it_learns_drawn_characters_and_a_file_gives_it_back() {
    let device = &Tensors::flex().autodiff();
    let mut rng = Rng::new(0);
    let mut model = ResNet18::new(&small(), device).unwrap();
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
    let logits = |model: &ResNet18| {
        let (logits, statistics) = model
            .forward(images.clone(), Normalization::Running)
            .unwrap();
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
    let other = ResNet18Config { seed: 2, ..small() };
    let other = ResNet18::new(&other, device).unwrap();
    assert_ne!(logits(&other), expected);
    assert_eq!(logits(&weights::load(other, tensors).unwrap()), expected);
}

/// The sizes of the paper's ResNet-18, with ten classes and a stem of 3×3.
#[test]
fn it_has_the_parameters_it_claims() {
    let device = &Tensors::flex().autodiff();
    let model = ResNet18::new(&ResNet18Config::default(), device).unwrap();
    let tensors = pollster::block_on(weights::collect(&model)).unwrap();
    let trained = tensors.iter().filter(|t| !t.name.contains("running"));
    let count: usize = trained.map(|t| t.values.len()).sum();
    assert_eq!(count, 11_173_962);
    assert_eq!(
        model.blocks.iter().filter(|b| b.shortcut.is_some()).count(),
        3
    );
}

#[test]
fn gradients_agree_on_every_device_and_with_stock_operations() {
    let gradients = |device: &Tensors| {
        let model = ResNet18::new(&small(), device).unwrap();
        let images = tensor([5, 1, 18, 13], 1.0, device);
        let (logits, _) = model.forward(images, Normalization::Batch).unwrap();
        let direction = tensor(logits.dims(), 2.0, device);
        let gradients = (logits.clone() * direction).sum().backward();
        let of = |weight: &burn::module::Param<Tensor<4>>| {
            values(weight.val().grad(&gradients).unwrap())
        };
        let mut all = vec![values(logits), of(&model.stem.weight)];
        for block in &model.blocks {
            all.push(of(&block.first.weight));
            all.push(of(&block.second.weight));
            all.extend(block.shortcut.as_ref().map(|shortcut| of(&shortcut.weight)));
        }
        all
    };
    set_bodies(Bodies::Composite);
    let expected = gradients(&Tensors::flex().autodiff());
    set_bodies(Bodies::Own);
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
            ResNet18Config {
                width: 0,
                ..small()
            },
            "width",
        ),
        (
            ResNet18Config {
                width: 513,
                ..small()
            },
            "1 to 512",
        ),
        (
            ResNet18Config {
                classes: 0,
                ..small()
            },
            "classes",
        ),
        (
            ResNet18Config {
                channels: 0,
                ..small()
            },
            "channels",
        ),
    ] {
        let error = ResNet18::new(&change, device).unwrap_err();
        assert!(
            error.is_bad_input() && error.to_string().contains(word),
            "{error}"
        );
    }
    let model = ResNet18::new(&small(), device).unwrap();
    let colours = Tensor::zeros([1, 3, 8, 8], device);
    let error = model.forward(colours, Normalization::Running).unwrap_err();
    assert!(error.is_bad_input(), "{error}");
}
