//! Layer norm against its composite reference and PyTorch, on every device.

use burn::tensor::{DType, Device as Tensors, Tensor, TensorData};
use forgeling::ops::{layer_norm, reference};
use forgeling_tests::blocks_parity::{NORM_SIZES, norm};
use forgeling_tests::ops_parity::{Body, Results, tensor};
use forgeling_tests::{F32_TOLERANCE, assert_close, devices, everywhere, wave, waves};
use serde_json::Value;

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().unwrap()
}

fn run(body: Body, sizes: [usize; 2], dtype: DType, device: &Tensors) -> Results {
    pollster::block_on(norm(body, sizes, dtype, device))
}

#[test]
fn it_and_its_gradients_equal_the_reference() {
    for sizes in NORM_SIZES {
        everywhere(&format!("{sizes:?}"), |body, dtype, device| {
            run(body, sizes, dtype, device)
        });
    }
}

#[test]
fn it_follows_pytorch() {
    let golden: Value = serde_json::from_str(include_str!("../golden/attention.json")).unwrap();
    for device in devices() {
        let got = run(Body::Own, [5, 7], DType::F32, &device.autodiff());
        for (index, (name, got)) in got.iter().enumerate() {
            let expected: Vec<f32> =
                serde_json::from_value(golden["layer_norm"][index].clone()).unwrap();
            assert_close(name, got, &expected, 1e-5);
        }
    }
}

/// Far from zero, a variance from squares alone would be lost.
#[test]
fn a_large_mean_does_not_cancel() {
    let wide: Vec<f64> = (0..3 * 37).map(|i| 1000.0 + wave(i, 1.0)).collect();
    let narrow: Vec<f32> = wide.iter().map(|v| *v as f32).collect();
    let expected: Vec<f32> = narrow
        .chunks(37)
        .flat_map(|row| {
            let row: Vec<f64> = row.iter().map(|v| f64::from(*v)).collect();
            let mean = row.iter().sum::<f64>() / 37.0;
            let variance = row.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 37.0;
            row.into_iter()
                .map(move |v| ((v - mean) / (variance + 1e-5).sqrt()) as f32)
        })
        .collect();
    for device in devices() {
        let tensors = device.tensors();
        let x = Tensor::<2>::from_data(TensorData::new(narrow.clone(), [3, 37]), tensors);
        let (gamma, beta) = (Tensor::ones([37], tensors), Tensor::zeros([37], tensors));
        let got = values(layer_norm(x, gamma, beta, 1e-5).unwrap());
        // The mean itself is rounded to 6e-5 of a deviation.
        assert_close(&device.info().name, &got, &expected, 2e-4);
    }
}

#[test]
fn the_cpu_gives_the_same_bits_every_time() {
    let device = Tensors::flex().autodiff();
    for sizes in NORM_SIZES {
        let again = || run(Body::Own, sizes, DType::F32, &device);
        assert_eq!(again(), again());
    }
}

#[test]
fn views_that_are_not_contiguous_are_read_right() {
    for device in devices() {
        let tensors = device.tensors();
        let x = tensor([6, 9], 1.0, tensors).swap_dims(0, 1).narrow(0, 2, 5);
        let gamma = tensor([8], 2.0, tensors).narrow(0, 1, 6);
        let beta = tensor([6], 3.0, tensors);
        let copied = Tensor::<2>::from_data(x.clone().into_data(), tensors);
        let expected = values(reference::layer_norm(
            copied,
            gamma.clone(),
            beta.clone(),
            1e-5,
        ));
        let got = values(layer_norm(x, gamma, beta, 1e-5).unwrap());
        assert_close(&device.info().name, &got, &expected, F32_TOLERANCE);
    }
}

#[test]
fn nan_and_infinity_spoil_their_row_only() {
    for device in devices() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut x = waves(5 * 19, 1.0);
            x[2 * 19 + 4] = bad;
            let tensors = device.tensors();
            let x = Tensor::<2>::from_data(TensorData::new(x, [5, 19]), tensors);
            let (gamma, beta) = (tensor([19], 2.0, tensors), tensor([19], 3.0, tensors));
            let got = values(layer_norm(x, gamma, beta, 1e-5).unwrap());
            for (row, got) in got.chunks(19).enumerate() {
                let spoilt = got.iter().filter(|value| value.is_nan()).count();
                let expected = if row == 2 { 19 } else { 0 };
                assert_eq!(spoilt, expected, "{bad} on {}", device.info().name);
            }
        }
    }
}

#[test]
fn inputs_that_do_not_fit_are_errors() {
    let device = &Tensors::flex();
    let refuse = |x: [usize; 2], vectors: [usize; 2], epsilon: f64, word: &str| {
        let [gamma, beta] = vectors.map(|length| Tensor::<1>::zeros([length], device));
        let error = layer_norm(Tensor::zeros(x, device), gamma, beta, epsilon).unwrap_err();
        assert!(
            error.is_bad_input() && error.to_string().contains(word),
            "{error}"
        );
    };
    refuse([0, 3], [3, 3], 1e-5, "empty");
    refuse([3, 0], [0, 0], 1e-5, "empty");
    refuse([2, 3], [2, 3], 1e-5, "gamma");
    refuse([2, 3], [3, 4], 1e-5, "beta");
    for epsilon in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e-60] {
        refuse([2, 3], [3, 3], epsilon, "epsilon");
    }
    let vector = || Tensor::<1>::zeros([3], device);
    let double = Tensor::<2>::zeros([2, 3], (device, DType::F64));
    let error = layer_norm(double, vector(), vector(), 1e-5).unwrap_err();
    assert!(error.to_string().contains("F64"), "{error}");
}
