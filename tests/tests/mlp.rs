//! The perceptron learns, is saved and loaded, and takes few launches.

use burn::optim::GradientsParams;
use burn::tensor::{Tensor, TensorData};
use forgeling::data::{Dataset, Glyphs, Split};
use forgeling::nn::Network;
use forgeling::nn::graph::Shape;
use forgeling::nn::zoo::MlpConfig;
use forgeling::ops::softmax_cross_entropy;
use forgeling::train::model_file::{Header, decode, encode};
use forgeling::train::weights::{NamedTensor, collect, load};
use forgeling::train::{MlpTrainer, Sgd, SgdConfig};
use forgeling::{Device, DeviceChoice, ErrorKind};
use forgeling_tests::networks::outputs_of_rows;
use forgeling_tests::{assert_close, devices, fast_devices, gpus};

const CLASSES: usize = 10;
const PIXELS: usize = 14 * 14;

fn cpu() -> Device {
    pollster::block_on(Device::open(DeviceChoice::Cpu)).unwrap()
}

fn config(hidden: &[usize]) -> MlpConfig {
    MlpConfig {
        input: Shape::Values(PIXELS),
        hidden: hidden.to_vec(),
        classes: CLASSES,
    }
}

fn network(config: &MlpConfig, seed: u64, device: &Device) -> Network {
    Network::new(&config.graph().unwrap(), seed, device)
}

/// Drawings of ten invented characters, flattened, with their labels: those from `first` on of each.
fn drawings(first: usize, count: usize) -> (Vec<f32>, Vec<usize>) {
    let glyphs = Glyphs::new(0, Split::Train, CLASSES).unwrap();
    let glyphs = glyphs.with_size(14).unwrap();
    let (mut images, mut labels) = (Vec::new(), Vec::new());
    for drawing in first..first + count {
        for class in 0..CLASSES {
            let mut image = vec![0.0; PIXELS];
            glyphs.read(class, drawing, &mut image).unwrap();
            images.extend(image);
            labels.push(class);
        }
    }
    (images, labels)
}

/// The part of drawings never trained on that is classified rightly, after so many passes.
fn accuracy_after(passes: usize, hidden: &[usize], device: &Device) -> f64 {
    let mut trainer = MlpTrainer::new(&config(hidden), 1, device).unwrap();
    let (images, labels) = drawings(0, 200);
    for _ in 0..passes {
        for (images, labels) in images.chunks(50 * PIXELS).zip(labels.chunks(50)) {
            pollster::block_on(trainer.step(images.to_vec(), labels, 3e-3)).unwrap();
        }
    }
    let (images, labels) = drawings(1000, 30);
    let classes = pollster::block_on(trainer.classify(images)).unwrap();
    let right = classes.iter().zip(&labels).filter(|(a, b)| a == b).count();
    right as f64 / labels.len() as f64
}

#[test]
fn unseen_drawings_are_told_apart_after_training() {
    for device in fast_devices() {
        let hidden = [64, 32];
        let before = accuracy_after(0, &hidden, &device);
        let after = accuracy_after(20, &hidden, &device);
        let linear = accuracy_after(20, &[], &device);
        eprintln!("before {before}, after {after}, without hidden layers {linear}");
        assert!(before < 0.3, "untrained: {before}");
        // What hidden layers add is missing where they are not trained, or have no ReLU.
        assert!(after > 0.83, "trained: {after}");
        assert!(
            after > linear + 0.04,
            "{after}, without hidden layers {linear}"
        );
    }
}

#[test]
fn every_device_trains_alike() {
    let (images, labels) = drawings(0, 3);
    let losses = |device: &Device| -> Vec<f32> {
        let mut trainer = MlpTrainer::new(&config(&[17, 12]), 1, device).unwrap();
        let mut step = || {
            let step = trainer.step(images.clone(), &labels, 1e-3);
            pollster::block_on(step).unwrap() as f32
        };
        (0..4).map(|_| step()).collect()
    };
    let expected = losses(&cpu());
    assert!(expected[3] < expected[0], "{expected:?}");
    for device in gpus() {
        assert_close(&device.info().name, &losses(&device), &expected, 1e-3);
    }
}

/// One step of SGD, and what it makes of the perceptron.
fn stepped(model: Network, sgd: &mut Sgd, device: &Device) -> (Network, Vec<NamedTensor>) {
    let (images, labels) = drawings(7, 2);
    let data = TensorData::new(images, [labels.len(), PIXELS]);
    let x = Tensor::<2>::from_data(data, &device.autodiff());
    let loss = softmax_cross_entropy(outputs_of_rows(&model, x).unwrap(), &labels).unwrap();
    let gradients = GradientsParams::from_grads(loss.backward(), &model);
    let model = sgd.step(0.1, model, gradients);
    let values = pollster::block_on(collect(&model)).unwrap();
    (model, values)
}

#[test]
fn what_is_loaded_goes_on_exactly_as_what_was_saved() {
    let plain = || Sgd::new(SgdConfig::default()).unwrap();
    for device in devices() {
        let config = config(&[9, 5]);
        let model = network(&config, 1, &device);
        let (model, values) = stepped(model, &mut plain(), &device);
        let header = Header::new("mlp", config.clone(), 1usize);
        let bytes = encode(&header, &values).unwrap();

        let (header, tensors) = decode::<MlpConfig, usize>(&bytes, "mlp").unwrap();
        assert_eq!((&header.config, header.summary), (&config, 1));
        let fresh = network(&header.config, 99, &device);
        let loaded = load(fresh, tensors.clone()).unwrap();
        let (_, expected) = stepped(model, &mut plain(), &device);
        let (_, got) = stepped(loaded, &mut plain(), &device);
        assert_eq!(got, expected, "on {}", device.info().name);

        let narrow = MlpConfig {
            hidden: vec![9, 4],
            ..config
        };
        let narrow = network(&narrow, 1, &device);
        assert!(load(narrow, tensors).unwrap_err().is_bad_input());
    }
}

#[test]
fn what_does_not_fit_is_an_error_and_leaves_the_perceptron_as_it_was() {
    let mut trainer = MlpTrainer::new(&config(&[4]), 1, &cpu()).unwrap();
    let before = pollster::block_on(collect(trainer.model())).unwrap();
    let (images, labels) = drawings(0, 1);
    let mut refuse = |images: &[f32], labels: &[usize], rate, word: &str| {
        let step = trainer.step(images.to_vec(), labels, rate);
        let error = pollster::block_on(step).unwrap_err();
        assert!(error.to_string().contains(word), "{error}");
        error.kind()
    };
    refuse(&images[1..], &labels, 0.1, "multiple of 196");
    refuse(&[], &[], 0.1, "whole examples");
    refuse(&images, &labels[1..], 0.1, "10 labels");
    refuse(&images, &[10; 10], 0.1, "below 10");
    refuse(&images, &labels, f64::NAN, "rate");
    let mut spoiled = images.clone();
    spoiled[3] = f32::INFINITY;
    assert_eq!(
        refuse(&spoiled, &labels, 0.1, "not finite"),
        ErrorKind::Diverged
    );
    assert_eq!(
        pollster::block_on(collect(trainer.model())).unwrap(),
        before
    );
}
