//! Batch norm with a residual and ReLU against its composite reference, on every device.

use burn::tensor::{DType, Device as Tensors, Tensor, TensorData};
use forgeling::ops::{AfterNorm, Statistics, batch_norm, batch_norm_running};
use forgeling_tests::conv_parity::{CHANNELS, EPSILON, NORMS, batch_normed, moved};
use forgeling_tests::ops_parity::{Body, tensor};
use forgeling_tests::{F32_TOLERANCE, assert_close, devices, everywhere, wave, waves};

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.cast(DType::F32).into_data().try_into_vec().unwrap()
}

#[test]
fn the_norm_and_its_gradients_equal_the_reference() {
    for sizes in NORMS {
        everywhere(&format!("{sizes:?}"), |body, dtype, device| {
            pollster::block_on(batch_normed(body, sizes, dtype, device))
        });
    }
}

#[test]
fn running_statistics_move_as_in_the_reference() {
    for channels in CHANNELS {
        everywhere(&format!("{channels}"), |body, _, device| {
            pollster::block_on(moved(body, channels, device))
        });
    }
}

#[test]
fn the_cpu_gives_the_same_bits_every_time() {
    let device = Tensors::flex().autodiff();
    for sizes in NORMS {
        let run = || pollster::block_on(batch_normed(Body::Own, sizes, DType::F32, &device));
        assert_eq!(run(), run(), "{sizes:?}");
    }
}

/// Difference quotients of the formula itself, in f64 and plain loops.
#[test]
fn gradients_are_those_of_difference_quotients() {
    const SHAPE: [usize; 4] = [3, 2, 3, 2];
    let wave = |index, phase| f64::from(wave(index, phase) as f32);
    let points = |count: usize, phase| (0..count).map(|i| wave(i, phase)).collect::<Vec<f64>>();
    let inputs = [
        points(36, 1.0),
        points(2, 3.0),
        points(2, 4.0),
        points(36, 6.0),
    ];
    let objective = |[x, gamma, beta, residual]: &[Vec<f64>; 4]| -> f64 {
        let mut sum = 0.0;
        for channel in 0..2 {
            let places: Vec<usize> = (0..36).filter(|i| i / 6 % 2 == channel).collect();
            let count = places.len() as f64;
            let mean = places.iter().map(|&i| x[i]).sum::<f64>() / count;
            let squares = places.iter().map(|&i| (x[i] - mean).powi(2)).sum::<f64>();
            let deviation = (squares / count + EPSILON).sqrt();
            for i in places {
                let normal = (x[i] - mean) / deviation;
                let z = gamma[channel] * normal + beta[channel] + residual[i];
                sum += z.max(0.0) * wave(i, 5.0);
            }
        }
        sum
    };
    let quotients = |which: usize| -> Vec<f32> {
        let at = |index: usize, change: f64| {
            let mut inputs = inputs.clone();
            inputs[which][index] += change;
            objective(&inputs)
        };
        (0..inputs[which].len())
            .map(|index| ((at(index, 1e-6) - at(index, -1e-6)) / 2e-6) as f32)
            .collect()
    };
    let expected = [0, 1, 2, 3].map(quotients);
    for device in devices() {
        let sizes = (SHAPE, true, AfterNorm::Relu);
        let got = pollster::block_on(batch_normed(
            Body::Own,
            sizes,
            DType::F32,
            &device.autodiff(),
        ));
        for ((name, got), expected) in got[3..].iter().zip(&expected) {
            assert_close(name, got, expected, F32_TOLERANCE);
        }
    }
}

#[test]
fn running_statistics_are_those_given() {
    for device in devices() {
        let device = device.tensors();
        let vector = |phase| tensor([5], phase, device);
        let statistics = Statistics {
            mean: vector(6.0),
            variance: vector(7.0).abs() + 0.1,
        };
        let x = tensor([2, 5, 3, 4], 1.0, device);
        let (gamma, beta) = (vector(3.0), vector(4.0));
        let got = batch_norm_running(
            x.clone(),
            gamma.clone(),
            beta.clone(),
            statistics.clone(),
            0.5,
            Some(x.clone()),
            AfterNorm::Relu,
        );
        let [x, gamma, beta, mean, variance] = [
            values(x),
            values(gamma),
            values(beta),
            values(statistics.mean),
            values(statistics.variance),
        ];
        let expected: Vec<f32> = (0..x.len())
            .map(|i| {
                let c = i / 12 % 5;
                let normal = (x[i] - mean[c]) / (variance[c] + 0.5).sqrt();
                (gamma[c] * normal + beta[c] + x[i]).max(0.0)
            })
            .collect();
        assert_close("running", &values(got.unwrap()), &expected, F32_TOLERANCE);
    }
}

#[test]
fn nan_and_infinity_spoil_their_channel_only() {
    for device in devices() {
        for bad in [f32::NAN, f32::INFINITY] {
            let tensors = device.tensors();
            let mut pixels = waves(2 * 3 * 4, 1.0);
            // Image 0, channel 1.
            pixels[5] = bad;
            let x = Tensor::<4>::from_data(TensorData::new(pixels, [2, 3, 2, 2]), tensors);
            let vector = |phase| tensor([3], phase, tensors);
            let (gamma, beta) = (vector(3.0), vector(4.0));
            let (y, _) = batch_norm(x, gamma, beta, EPSILON, None, AfterNorm::Relu).unwrap();
            for (index, value) in values(y).into_iter().enumerate() {
                let spoilt = index / 4 % 3 == 1;
                let name = &device.info().name;
                assert_eq!(value.is_nan(), spoilt, "{bad} at {index} on {name}");
            }
        }
    }
}

#[test]
fn inputs_that_do_not_fit_are_errors_with_both_shapes() {
    let device = &Tensors::flex();
    let refuse = |x: [usize; 4], gamma: usize, epsilon: f64, residual: [usize; 4], word: &str| {
        let error = batch_norm(
            Tensor::zeros(x, device),
            Tensor::zeros([gamma], device),
            Tensor::zeros([x[1]], device),
            epsilon,
            Some(Tensor::zeros(residual, device)),
            AfterNorm::Nothing,
        )
        .unwrap_err();
        assert!(
            error.is_bad_input() && error.to_string().contains(word),
            "{error}"
        );
    };
    refuse([2, 3, 0, 4], 3, 1e-5, [2, 3, 0, 4], "empty");
    refuse([2, 3, 4, 4], 4, 1e-5, [2, 3, 4, 4], "gamma");
    refuse([2, 3, 4, 4], 3, 1e-5, [2, 3, 4, 5], "residual");
    for epsilon in [0.0, -1e-5, f64::NAN, f64::INFINITY, 1e-60] {
        refuse([2, 3, 4, 4], 3, epsilon, [2, 3, 4, 4], "epsilon");
    }
    let double = Tensor::<4>::zeros([1, 1, 1, 1], (device, DType::F64));
    let vector = || Tensor::<1>::zeros([1], device);
    let error = batch_norm(double, vector(), vector(), 1e-5, None, AfterNorm::Nothing).unwrap_err();
    assert!(error.to_string().contains("F64"), "{error}");
}
