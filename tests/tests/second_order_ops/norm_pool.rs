//! Of batch norm with pooling.

use burn::tensor::{DType, Device as Tensors, Tensor, TensorData};
use forgeling::ops::{Statistics, affine_relu_pool, channel_moments, norm_pool, norm_pool_grad};
use forgeling_tests::ops_parity::Body;
use forgeling_tests::second_order::{IMAGES, moments, pooled, second};
use forgeling_tests::{F32_TOLERANCE, assert_close, devices, everywhere, waves};
use serde_json::Value;

use crate::common::{assert_near, double, doubles, points, quotients};

#[test]
fn moments_pooling_and_their_gradients_equal_the_reference() {
    for sizes in IMAGES {
        everywhere(&format!("moments of {sizes:?}"), |body, dtype, device| {
            pollster::block_on(moments(body, sizes, dtype, device))
        });
        for norm in [false, true] {
            let name = format!("pooling of {sizes:?}, norm {norm}");
            everywhere(&name, |body, dtype, device| {
                pollster::block_on(pooled(body, sizes, dtype, device, norm))
            });
        }
    }
}

#[test]
fn gradients_of_the_norms_gradients_equal_the_reference() {
    for sizes in IMAGES {
        everywhere(&format!("{sizes:?}"), |body, dtype, device| {
            pollster::block_on(second(body, sizes, dtype, device))
        });
    }
}

/// Batch norm with pooling step by step in f64: the sum of its output times `direction`.
fn norm_pool_sum(shape: [usize; 4], [z, gamma, beta, direction]: [&[f64]; 4]) -> f64 {
    let [images, channels, height, width] = shape;
    let plane = height * width;
    let mut sum = 0.0;
    for channel in 0..channels {
        let at = |image: usize| (image * channels + channel) * plane;
        let all: Vec<f64> = (0..images)
            .flat_map(|i| z[at(i)..at(i) + plane].to_vec())
            .collect();
        let count = all.len() as f64;
        let mean = all.iter().sum::<f64>() / count;
        let variance = all.iter().map(|z| (z - mean).powi(2)).sum::<f64>() / count;
        for window in 0..images * (height / 2) * (width / 2) {
            let column = window % (width / 2);
            let row = window / (width / 2) % (height / 2);
            let image = window / (width / 2) / (height / 2);
            let values = [[0, 0], [0, 1], [1, 0], [1, 1]].map(|[y, x]| {
                let z = z[at(image) + (2 * row + y) * width + 2 * column + x];
                gamma[channel] * (z - mean) / (variance + 1e-5).sqrt() + beta[channel]
            });
            let best = values.into_iter().fold(0.0, f64::max);
            let place = ((image * channels + channel) * (height / 2) + row) * (width / 2) + column;
            sum += best * direction[place];
        }
    }
    sum
}

/// In f64: first gradients against the definition, second ones against the first. There are no ties here, at which
/// there is no derivative.
#[test]
fn the_norms_references_are_those_of_difference_quotients() {
    const SHAPE: [usize; 4] = [3, 2, 5, 4];
    let device = &Tensors::flex().autodiff();
    let inputs = [
        points(3 * 2 * 20, 1.0),
        points(2, 3.0),
        points(2, 4.0),
        points(3 * 2 * 4, 7.0),
    ];
    let at = |which: usize, moved: &[f64]| {
        let mut values = inputs.each_ref().map(Vec::as_slice);
        values[which] = moved;
        norm_pool_sum(SHAPE, values)
    };
    let make = |values: [&[f64]; 4]| {
        let vector = |values: &[f64]| double(values, [2], device).require_grad();
        (
            double(values[0], SHAPE, device).require_grad(),
            vector(values[1]),
            vector(values[2]),
            double(values[3], [3, 2, 2, 2], device).require_grad(),
        )
    };
    let all = inputs.each_ref().map(Vec::as_slice);
    let (z, gamma, beta, grad) = make(all);
    let first = norm_pool_grad(z.clone(), gamma.clone(), beta.clone(), grad.clone()).unwrap();
    let results = [
        doubles(first.input),
        doubles(first.gamma),
        doubles(first.beta),
    ];
    for (which, got) in results.into_iter().enumerate() {
        let expected = quotients(all[which], |moved| at(which, moved));
        assert_near(&format!("first {which}"), &got, &expected);
    }
    let (y, _) = norm_pool(z.clone(), gamma.clone(), beta.clone()).unwrap();
    let gradients = (y * grad.clone().detach()).sum().backward();
    let expected = quotients(all[0], |moved| at(0, moved));
    assert_near(
        "norm_pool",
        &doubles(z.grad(&gradients).unwrap()),
        &expected,
    );

    let objective = |values: [&[f64]; 4], input: f64, vectors: f64| {
        let (z, gamma, beta, grad) = make(values);
        let kept = (z.clone(), gamma.clone(), grad.clone());
        let first = norm_pool_grad(z, gamma, beta, grad).unwrap();
        let along = |count: usize, phase: f64| points(count, phase);
        let u = double(&along(120, 5.0), SHAPE, device) * input;
        let [v, w] = [8.0, 9.0].map(|phase| double(&along(2, phase), [2], device) * vectors);
        let sum = (first.input * u).sum() + (first.gamma * v).sum() + (first.beta * w).sum();
        (sum, kept)
    };
    for (input, vectors) in [(1.0, 0.0), (0.0, 1.0), (1.0, 1.0)] {
        let (sum, (z, gamma, grad)) = objective(all, input, vectors);
        let gradients = sum.backward();
        let results = [
            (0, doubles(z.grad(&gradients).unwrap())),
            (1, doubles(gamma.grad(&gradients).unwrap())),
            (3, doubles(grad.grad(&gradients).unwrap())),
        ];
        for (which, got) in results {
            let expected = quotients(all[which], |moved| {
                let mut values = all;
                values[which] = moved;
                objective(values, input, vectors).0.into_scalar::<f64>()
            });
            assert_near(&format!("second {which}"), &got, &expected);
        }
    }
}

/// PyTorch's own double backward, with ties and blank parts: `golden/norm_pool.py`.
#[test]
fn second_gradients_are_those_of_pytorch() {
    let golden: Value = serde_json::from_str(include_str!("../../golden/norm_pool.json")).unwrap();
    let list = |name: &str| -> Vec<f32> { serde_json::from_value(golden[name].clone()).unwrap() };
    for device in devices() {
        let tensors = &device.autodiff();
        let make = |name: &str, shape: [usize; 4]| {
            Tensor::<4>::from_data(TensorData::new(list(name), shape), tensors)
        };
        let vector = |name: &str| {
            Tensor::<1>::from_data(TensorData::new(list(name), [3]), tensors).require_grad()
        };
        let shape = [2, 3, 5, 6];
        let (z, grad) = (
            make("z", shape).require_grad(),
            make("grad", [2, 3, 2, 3]).require_grad(),
        );
        let (gamma, beta) = (vector("gamma"), vector("beta"));
        let first = norm_pool_grad(z.clone(), gamma.clone(), beta.clone(), grad.clone()).unwrap();
        let results = [
            ("input", values(first.input.clone())),
            ("gamma_grad", values(first.gamma.clone())),
            ("beta_grad", values(first.beta.clone())),
        ];
        let objective = (first.input * make("u", shape)).sum()
            + (first.gamma * vector("v").detach()).sum()
            + (first.beta * vector("w").detach()).sum();
        let gradients = objective.backward();
        let more = [
            ("second_z", values(z.grad(&gradients).unwrap())),
            ("second_gamma", values(gamma.grad(&gradients).unwrap())),
            ("second_grad", values(grad.grad(&gradients).unwrap())),
        ];
        for (name, got) in results.into_iter().chain(more) {
            let what = format!("{name} on {}", device.info().name);
            assert_close(&what, &got, &list(name), F32_TOLERANCE);
        }
    }
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.cast(DType::F32).into_data().try_into_vec().unwrap()
}

/// What the operation says is what the tape says.
#[test]
fn the_norms_gradient_is_that_of_the_tape() {
    for device in devices() {
        let device = &device.autodiff();
        let make = |shape: [usize; 4], phase: f64| {
            let count = shape.iter().product();
            Tensor::<4>::from_data(TensorData::new(waves(count, phase), shape), device)
        };
        let vector = |phase: f64| {
            Tensor::<1>::from_data(TensorData::new(waves(6, phase), [6]), device).require_grad()
        };
        let z = make([3, 6, 7, 9], 1.0).require_grad();
        let (gamma, beta, grad) = (vector(3.0), vector(4.0), make([3, 6, 3, 4], 7.0));
        let (y, statistics) = norm_pool(z.clone(), gamma.clone(), beta.clone()).unwrap();
        let Statistics { mean, variance } = channel_moments(z.clone()).unwrap();
        assert_close("mean", &values(statistics.mean), &values(mean), 1e-6);
        assert_close(
            "variance",
            &values(statistics.variance),
            &values(variance),
            1e-6,
        );
        let gradients = (y * grad.clone()).sum().backward();
        let first = norm_pool_grad(z.clone(), gamma.clone(), beta.clone(), grad).unwrap();
        let pairs = [
            (values(first.input), values(z.grad(&gradients).unwrap())),
            (values(first.gamma), values(gamma.grad(&gradients).unwrap())),
            (values(first.beta), values(beta.grad(&gradients).unwrap())),
        ];
        for (got, expected) in pairs {
            assert_close("gradient", &got, &expected, F32_TOLERANCE);
        }
    }
}

/// Of equal values the first has all of the gradient, and what ReLU cuts off has none.
#[test]
fn the_first_of_equal_values_counts() {
    for device in devices() {
        let device = &device.autodiff();
        let pixels = vec![
            2.0, 2.0, 1.0, 3.0, -1.0, -1.0, //
            2.0, 2.0, 3.0, 3.0, -1.0, -1.0,
        ];
        let z = Tensor::<4>::from_data(TensorData::new(pixels, [1, 1, 2, 6]), device);
        let z = z.require_grad();
        let vector = |value: f32| Tensor::<1>::from_data([value], device);
        let y = affine_relu_pool(z.clone(), vector(2.0), vector(-2.0)).unwrap();
        assert_eq!(values(y.clone()), [2.0, 4.0, 0.0]);
        let gradients = y.sum().backward();
        let expected = [2.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
        assert_eq!(values(z.grad(&gradients).unwrap()), expected);
    }
}

#[test]
fn nan_spoils_its_channel_only() {
    for device in devices() {
        let name = &device.info().name;
        let device = &device.autodiff();
        let mut pixels = waves(2 * 3 * 20, 1.0);
        // Image 1, channel 2, row 1, column 2.
        pixels[(3 + 2) * 20 + 6] = f32::NAN;
        let z = Tensor::<4>::from_data(TensorData::new(pixels, [2, 3, 5, 4]), device);
        let z = z.require_grad();
        let vector =
            |phase: f64| Tensor::<1>::from_data(TensorData::new(waves(3, phase), [3]), device);
        let grad = Tensor::<4>::ones([2, 3, 2, 2], device).require_grad();
        let spoilt = |what: &str, values: Vec<f32>, plane: usize| {
            for (index, value) in values.into_iter().enumerate() {
                let here = index / plane % 3 == 2;
                assert_eq!(value.is_nan(), here, "{what}[{index}] on {name}");
            }
        };
        let y = affine_relu_pool(z.clone(), vector(3.0), vector(4.0)).unwrap();
        let windows = values(y).into_iter().map(f32::is_nan);
        let expected = (0..24).map(|window| window == (3 + 2) * 4 + 1);
        assert!(windows.eq(expected), "on {name}");
        spoilt(
            "y",
            values(norm_pool(z.clone(), vector(3.0), vector(4.0)).unwrap().0),
            4,
        );
        let first = norm_pool_grad(z.clone(), vector(3.0), vector(4.0), grad.clone()).unwrap();
        spoilt("input", values(first.input.clone()), 20);
        spoilt("gamma", values(first.gamma), 1);
        let gradients = first.input.powi_scalar(2).sum().backward();
        spoilt("second", values(z.grad(&gradients).unwrap()), 20);
        // Where a gradient is not a number, all of its channel is not.
        let mut flow = waves(24, 2.0);
        flow[8] = f32::NAN;
        let flow = Tensor::<4>::from_data(TensorData::new(flow, [2, 3, 2, 2]), device);
        let plain = Tensor::<4>::from_data(TensorData::new(waves(120, 1.0), [2, 3, 5, 4]), device);
        let first = norm_pool_grad(plain, vector(3.0), Tensor::ones([3], device), flow).unwrap();
        spoilt("input", values(first.input), 20);
        spoilt("beta", values(first.beta), 1);
    }
}

#[test]
fn norms_give_the_same_bits_every_time() {
    let device = Tensors::flex().autodiff();
    for sizes in IMAGES {
        let run = || {
            (
                pollster::block_on(moments(Body::Own, sizes, DType::F32, &device)),
                pollster::block_on(pooled(Body::Own, sizes, DType::F32, &device, true)),
                pollster::block_on(second(Body::Own, sizes, DType::F32, &device)),
            )
        };
        assert_eq!(run(), run(), "{sizes:?}");
    }
}

#[test]
fn norms_that_do_not_fit_are_errors_with_both_shapes() {
    let device = &Tensors::flex();
    let zeros = |shape: [usize; 4]| Tensor::<4>::zeros(shape, device);
    let vector = |length: usize| Tensor::<1>::zeros([length], device);
    let refuse = |error: forgeling::Error, word: &str| {
        assert!(error.is_bad_input(), "{error}");
        assert!(error.to_string().contains(word), "{error}");
    };
    refuse(channel_moments(zeros([2, 0, 3, 3])).unwrap_err(), "empty");
    let pool = |z: [usize; 4], scale, shift| {
        affine_relu_pool(zeros(z), vector(scale), vector(shift)).unwrap_err()
    };
    refuse(pool([2, 3, 1, 4], 3, 3), "2×2");
    refuse(pool([2, 3, 4, 4], 4, 3), "scale");
    refuse(pool([2, 3, 4, 4], 3, 2), "shift");
    refuse(
        norm_pool(zeros([2, 3, 4, 4]), vector(3), vector(4)).unwrap_err(),
        "beta",
    );
    let grad = |z: [usize; 4], gamma, grad: [usize; 4]| {
        norm_pool_grad(zeros(z), vector(gamma), vector(3), zeros(grad)).unwrap_err()
    };
    refuse(grad([2, 3, 5, 4], 3, [2, 3, 2, 3]), "[2, 3, 2, 2]");
    refuse(grad([2, 3, 5, 4], 2, [2, 3, 2, 2]), "gamma");
    refuse(grad([0, 3, 5, 4], 3, [0, 3, 2, 2]), "empty");
    let double = zeros([2, 3, 2, 2]).cast(DType::F64);
    let error = norm_pool_grad(zeros([2, 3, 5, 4]), vector(3), vector(3), double).unwrap_err();
    refuse(error, "F64");
}
