//! Gradients that are differentiable again, against their composite references, the definition and difference quotients.

use burn::tensor::{DType, Device as Tensors, Tensor, TensorData};
use forgeling::ops::{
    Conv2dOptions, Statistics, affine_relu_pool, channel_moments, conv2d_grad_input,
    conv2d_grad_weight, norm_pool, norm_pool_grad, reference,
};
use forgeling_tests::conv_parity::{CONVOLUTIONS, Convolution};
use forgeling_tests::ops_parity::Body;
use forgeling_tests::second_order::{
    IMAGES, convolution_shapes, moments, of_input, of_weight, pooled, second,
};
use forgeling_tests::{F32_TOLERANCE, assert_close, devices, everywhere, wave, waves};
use serde_json::Value;

/// In f64, where difference quotients are exact to many digits.
fn double<const D: usize>(values: &[f64], shape: [usize; D], device: &Tensors) -> Tensor<D> {
    let data = TensorData::new(values.to_vec(), shape);
    Tensor::from_data(data, (device, DType::F64))
}

fn points(count: usize, phase: f64) -> Vec<f64> {
    (0..count).map(|index| wave(index, phase)).collect()
}

fn doubles<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.into_data().try_into_vec().unwrap()
}

/// Whether all values are the same but for `1e-6` of the largest.
fn assert_near(name: &str, got: &[f64], expected: &[f64]) {
    assert_eq!(got.len(), expected.len(), "{name}: lengths differ");
    let scale = expected.iter().fold(1e-3, |max: f64, v| max.max(v.abs()));
    for (index, (got, expected)) in got.iter().zip(expected).enumerate() {
        let error = (got - expected).abs() / scale;
        assert!(
            error <= 1e-6,
            "{name}[{index}]: {got} instead of {expected}"
        );
    }
}

/// `(f(x + h) - f(x - h)) / 2h` for each of the values.
fn quotients(values: &[f64], f: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    let step = 1e-4;
    (0..values.len())
        .map(|index| {
            let at = |offset: f64| {
                let mut moved = values.to_vec();
                moved[index] += offset;
                f(&moved)
            };
            (at(step) - at(-step)) / (2.0 * step)
        })
        .collect()
}

#[test]
fn the_convolutions_gradients_and_theirs_equal_the_reference() {
    for sizes in CONVOLUTIONS {
        everywhere(&format!("input of {sizes:?}"), |body, dtype, device| {
            pollster::block_on(of_input(body, sizes, dtype, device))
        });
        everywhere(&format!("weight of {sizes:?}"), |body, dtype, device| {
            pollster::block_on(of_weight(body, sizes, dtype, device))
        });
    }
}

/// Sizes on which the references are held against the definition: gaps, strides that leave something over, groups.
const EXACT: [Convolution; 2] = [
    Convolution {
        x: [3, 6, 7, 9],
        weight: [4, 3, 3],
        options: Conv2dOptions {
            stride: [1, 1],
            padding: [1, 1],
            groups: 2,
        },
        bias: false,
    },
    Convolution {
        x: [2, 4, 5, 8],
        weight: [6, 3, 2],
        options: Conv2dOptions {
            stride: [3, 2],
            padding: [1, 2],
            groups: 2,
        },
        bias: false,
    },
];

/// In f64: they are the gradients of the convolution, and theirs are those of difference quotients.
#[test]
fn the_references_of_the_convolution_are_its_gradients() {
    let device = &Tensors::flex().autodiff();
    for sizes in EXACT {
        let shapes = convolution_shapes(sizes);
        let [x_len, weight_len, y_len] = shapes.map(|shape| shape.iter().product());
        let (x, weight, y) = (
            points(x_len, 1.0),
            points(weight_len, 2.0),
            points(y_len, 3.0),
        );
        let [size, kernel] = [0, 1].map(|which: usize| [shapes[which][2], shapes[which][3]]);
        let make = |values: &[f64], which: usize| double(values, shapes[which], device);

        let (tx, tw) = (make(&x, 0).require_grad(), make(&weight, 1).require_grad());
        let out = reference::conv2d(tx.clone(), tw.clone(), None, sizes.options);
        let gradients = (out * make(&y, 2)).sum().backward();
        let dx = reference::conv2d_grad_input(make(&y, 2), make(&weight, 1), size, sizes.options);
        let expected = Tensor::from_inner(tx.grad(&gradients).unwrap());
        assert_near("dx", &doubles(dx), &doubles(expected));
        let dw = reference::conv2d_grad_weight(make(&x, 0), make(&y, 2), kernel, sizes.options);
        let expected = Tensor::from_inner(tw.grad(&gradients).unwrap());
        assert_near("dweight", &doubles(dw), &doubles(expected));

        // One trilinear form, three ways: what is left out is the direction.
        let form = |dx: bool, values: [&[f64]; 3], tracked: usize| {
            let [x, weight, y] = [0, 1, 2].map(|which| {
                let tensor = make(values[which], which);
                if which == tracked {
                    tensor.require_grad()
                } else {
                    tensor
                }
            });
            let parents = [x.clone(), weight.clone(), y.clone()];
            let sum = if dx {
                (reference::conv2d_grad_input(y, weight, size, sizes.options) * x).sum()
            } else {
                (reference::conv2d_grad_weight(x, y, kernel, sizes.options) * weight).sum()
            };
            (sum, parents[tracked].clone())
        };
        let all = [&x[..], &weight, &y];
        for (dx, tracked) in [(true, 1), (true, 2), (false, 0), (false, 2)] {
            let (sum, parent) = form(dx, all, tracked);
            let gradient = parent.grad(&sum.backward()).unwrap();
            let expected = quotients(all[tracked], |moved| {
                let mut values = all;
                values[tracked] = moved;
                form(dx, values, tracked).0.into_scalar::<f64>()
            });
            let name = format!("dx {dx}, {tracked}");
            assert_near(&name, &doubles(gradient), &expected);
        }
    }
}

#[test]
fn convolutions_give_the_same_bits_every_time() {
    let device = Tensors::flex().autodiff();
    for sizes in CONVOLUTIONS {
        let run = || {
            let input = of_input(Body::Own, sizes, DType::F32, &device);
            let weight = of_weight(Body::Own, sizes, DType::F32, &device);
            (pollster::block_on(input), pollster::block_on(weight))
        };
        assert_eq!(run(), run(), "{sizes:?}");
    }
}

/// Only what is tracked gets a gradient.
#[test]
fn one_input_alone_may_need_a_gradient() {
    for device in devices() {
        let device = &device.autodiff();
        let make = |shape: [usize; 4]| Tensor::<4>::ones(shape, device);
        let options = Conv2dOptions::default();
        let (grad, weight) = (make([2, 3, 4, 4]).require_grad(), make([3, 2, 2, 2]));
        let dx = conv2d_grad_input(grad.clone(), weight.clone(), [5, 5], options).unwrap();
        let gradients = dx.sum().backward();
        assert!(weight.grad(&gradients).is_none());
        // Each pixel of the output lies above four taps of two channels.
        let values: Vec<f32> = grad
            .grad(&gradients)
            .unwrap()
            .into_data()
            .try_into_vec()
            .unwrap();
        assert_eq!(values, vec![8.0; 96]);
    }
}

#[test]
fn convolutions_that_do_not_fit_are_errors_with_both_shapes() {
    let device = &Tensors::flex();
    let zeros = |shape: [usize; 4]| Tensor::<4>::zeros(shape, device);
    let of_input = |grad, weight, size, groups, word: &str| {
        let options = Conv2dOptions {
            padding: [1, 1],
            groups,
            ..Default::default()
        };
        let error = conv2d_grad_input(zeros(grad), zeros(weight), size, options).unwrap_err();
        assert!(error.is_bad_input(), "{error}");
        assert!(error.to_string().contains(word), "{error}");
    };
    of_input([2, 4, 5, 6], [4, 3, 3, 3], [5, 7], 1, "[2, 4, 5, 7]");
    of_input([2, 5, 5, 6], [4, 3, 3, 3], [5, 6], 1, "[2, 4, 5, 6]");
    of_input([2, 5, 5, 6], [5, 3, 3, 3], [5, 6], 2, "a multiple of 2");
    of_input([2, 5, 5, 6], [5, 3, 3, 3], [5, 6], 0, "at least 1");
    of_input([0, 4, 5, 6], [4, 3, 3, 3], [5, 6], 1, "empty");
    of_input([2, 4, 1, 1], [4, 3, 9, 3], [5, 6], 1, "at most [7, 8]");
    let of_weight = |x, grad, kernel, groups, word: &str| {
        let options = Conv2dOptions {
            padding: [1, 1],
            groups,
            ..Default::default()
        };
        let error = conv2d_grad_weight(zeros(x), zeros(grad), kernel, options).unwrap_err();
        assert!(error.is_bad_input(), "{error}");
        assert!(error.to_string().contains(word), "{error}");
    };
    of_weight([2, 3, 5, 6], [2, 4, 5, 5], [3, 3], 1, "[2, 4, 5, 6]");
    of_weight([2, 3, 5, 6], [3, 4, 5, 6], [3, 3], 1, "[2, 4, 5, 6]");
    of_weight([2, 3, 5, 6], [2, 4, 5, 6], [3, 3], 2, "a multiple of 2");
    of_weight([2, 3, 5, 6], [2, 4, 5, 6], [3, 3], 0, "at least 1");
    of_weight([2, 3, 5, 6], [2, 4, 5, 6], [0, 3], 1, "empty");
    let mixed = zeros([2, 4, 5, 6]).cast(DType::F64);
    let options = Conv2dOptions::default();
    let error = conv2d_grad_input(mixed.clone(), zeros([4, 3, 1, 1]), [5, 6], options);
    assert!(error.unwrap_err().to_string().contains("F64"));
    let error = conv2d_grad_weight(zeros([2, 3, 5, 6]), mixed, [1, 1], options);
    assert!(error.unwrap_err().to_string().contains("F64"));
}

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
    let golden: Value = serde_json::from_str(include_str!("../golden/norm_pool.json")).unwrap();
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
