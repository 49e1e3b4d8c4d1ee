//! Activations stored in 16 bits: operations, networks and training.

use std::ops::ControlFlow;

use burn::tensor::{Device as Tensors, Tensor, TensorData};
use forgeling::data::{Glyphs, Split};
use forgeling::meta::{EvaluateConfig, FitConfig, Learner};
use forgeling::nn::zoo::Conv4Config;
use forgeling::ops::{AfterNorm, Storage, batch_norm, softmax_cross_entropy, store_as};
use forgeling::{Device, DeviceChoice};
use forgeling_tests::storage_network::Network;
use forgeling_tests::storage_parity::{
    FORMATS, OPERATIONS, ROUND_TRIP, come_back, numbers, rounded, ties,
};
use forgeling_tests::{F32_TOLERANCE, assert_close, devices, waves};

#[test]
fn storage_changes_gradients_only_and_those_a_little() {
    for device in devices() {
        for operation in OPERATIONS {
            pollster::block_on(operation.check(&device.autodiff(), &device.info().name));
        }
    }
}

#[test]
fn stored_numbers_come_back_rounded_to_the_nearest_on_every_device() {
    let x = numbers();
    for device in devices() {
        for storage in [Storage::Full, Storage::F16, Storage::Bf16] {
            let got = pollster::block_on(come_back(&x, storage, &device.autodiff()));
            let name = format!("{storage:?} on {}", device.info().name);
            assert_eq!(got, rounded(&x, storage), "{name}");
        }
    }
}

#[test]
fn what_is_not_finite_or_beyond_f16_spoils_its_own_gradient_only() {
    let [rows, inputs] = ROUND_TRIP;
    for device in devices() {
        for (value, storages) in [
            (f32::NAN, &[Storage::F16, Storage::Bf16][..]),
            (f32::NEG_INFINITY, &[Storage::F16, Storage::Bf16]),
            (65520.0, &[Storage::F16]),
        ] {
            for &storage in storages {
                let mut x = numbers();
                x[3 * inputs + 5] = value;
                let back = pollster::block_on(come_back(&x, storage, &device.autodiff()));
                for (index, back) in back.into_iter().enumerate() {
                    // 0 times what is not finite is NaN, in the weights of its own input.
                    let spoiled = index % inputs == 5;
                    assert_eq!(
                        back.is_finite(),
                        !spoiled,
                        "{index} with {value} as {storage:?}"
                    );
                }
                assert!(rows > 3);
            }
        }
        let large = vec![1e20; rows * inputs];
        let back = pollster::block_on(come_back(&large, Storage::Bf16, &device.autodiff()));
        assert_close("bf16 has the range of f32", &back, &large, 4e-3);
    }
}

#[test]
fn whole_networks_have_the_same_loss_and_nearly_the_same_gradients() {
    let networks = [
        Network::Conv4 {
            filters: 16,
            episodes: 2,
        },
        Network::ResNet18 {
            width: 16,
            batch: 6,
        },
    ];
    for device in devices() {
        for network in networks {
            let run = |storage| pollster::block_on(network.gradients(storage, &device.autodiff()));
            let (loss, full) = run(Storage::Full);
            for (storage, tolerance) in FORMATS {
                let (stored_loss, stored) = run(storage);
                let name = format!("{network:?} as {storage:?} on {}", device.info().name);
                assert_eq!(stored_loss.to_bits(), loss.to_bits(), "{name}");
                for (index, (stored, full)) in stored.iter().zip(&full).enumerate() {
                    assert_close(
                        &format!("gradient {index} of {name}"),
                        stored,
                        full,
                        tolerance,
                    );
                }
                assert!(stored != full, "{name}");
            }
        }
    }
}

#[test]
fn ties_and_cuts_are_those_of_the_reference() {
    let expected = pollster::block_on(ties(None, &Tensors::flex().autodiff()));
    for device in devices() {
        for (storage, tolerance) in [(Storage::Full, F32_TOLERANCE)].into_iter().chain(FORMATS) {
            let got = pollster::block_on(ties(Some(storage), &device.autodiff()));
            let name = format!("{storage:?} on {}", device.info().name);
            assert_close(&name, &got, &expected, tolerance);
        }
    }
}

fn cpu() -> Device {
    pollster::block_on(Device::open(DeviceChoice::Cpu)).unwrap()
}

#[test]
fn training_learns_as_well() {
    let train = Glyphs::new(0, Split::Train, 300).unwrap();
    let test = Glyphs::new(0, Split::Test, 300).unwrap();
    let run = |storage| {
        let config = Conv4Config {
            filters: 16,
            ..Default::default()
        };
        let mut model = Learner::protonet(&config.graph().unwrap(), 1, &cpu()).unwrap();
        let fit = FitConfig {
            episodes: Some(100),
            ..Default::default()
        };
        let mut first = 0.0;
        let training = model.fit(&train, fit, |event| {
            if event.step == 1 {
                first = event.loss;
            }
            ControlFlow::Continue(())
        });
        store_as(storage, || pollster::block_on(training)).unwrap();
        let evaluate = EvaluateConfig {
            episodes: 200,
            ..Default::default()
        };
        let evaluation = pollster::block_on(model.evaluate(&test, evaluate)).unwrap();
        (first, evaluation)
    };
    let (first, full) = run(Storage::Full);
    for storage in [Storage::F16, Storage::Bf16] {
        let (stored_first, stored) = run(storage);
        eprintln!("{storage:?}: {stored:?}, full: {full:?}");
        assert_eq!(stored_first, first);
        assert!(
            (stored.accuracy - full.accuracy).abs() < 3.0 * (stored.ci95 + full.ci95),
            "{storage:?}: {stored:?} instead of {full:?}"
        );
    }
}

#[test]
fn operations_of_one_tensor_share_what_is_packed() {
    // The norm stores its output, and the loss of it twice more; were each packed by itself, values would be the same
    // but memory would not: see storage_memory.rs. Here only that a scope may end between the two.
    let device = cpu().autodiff();
    let data = TensorData::new(waves(2 * 8 * 16 * 16, 1.0), [2, 8, 16, 16]);
    let x = Tensor::<4>::from_data(data, &device).require_grad();
    let (gamma, beta) = (Tensor::ones([8], &device), Tensor::zeros([8], &device));
    let norm = |x, after| {
        batch_norm(x, gamma.clone(), beta.clone(), 1e-5, None, after)
            .unwrap()
            .0
    };
    let loss = |first: Storage, second: Storage| {
        let hidden = store_as(first, || norm(x.clone(), AfterNorm::Relu));
        let hidden = store_as(second, || norm(hidden, AfterNorm::Nothing));
        let logits = hidden.reshape([256, 16]);
        let loss = softmax_cross_entropy(logits, &[1; 256]).unwrap();
        let gradients = loss.backward();
        let gradient = x.grad(&gradients).unwrap().into_data();
        gradient.try_into_vec::<f32>().unwrap()
    };
    let full = loss(Storage::Full, Storage::Full);
    for (first, second) in [
        (Storage::F16, Storage::F16),
        (Storage::Full, Storage::F16),
        (Storage::F16, Storage::Full),
        (Storage::F16, Storage::Bf16),
    ] {
        assert_close("mixed", &loss(first, second), &full, 5e-2);
    }
}
