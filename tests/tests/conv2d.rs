//! General convolution against its composite reference, on every device.

use burn::tensor::{DType, Device as Tensors, Tensor, TensorData};
use forgeling::ops::{AfterNorm, Conv2dOptions, conv2d, reference};
use forgeling_tests::conv_parity::{
    AFTER, CONVOLUTIONS, Convolution, convolution, depthwise_convolutions, normalized,
};
use forgeling_tests::ops_parity::{Body, Results, tensor};
use forgeling_tests::{F32_TOLERANCE, assert_close, devices, everywhere, wave, waves};

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.cast(DType::F32).into_data().try_into_vec().unwrap()
}

fn run(body: Body, sizes: Convolution, device: &Tensors) -> Results {
    pollster::block_on(convolution(body, sizes, DType::F32, device))
}

fn all() -> impl Iterator<Item = Convolution> {
    CONVOLUTIONS.into_iter().chain(depthwise_convolutions())
}

#[test]
fn the_convolution_and_its_gradients_equal_the_reference() {
    for sizes in all() {
        everywhere(&format!("{sizes:?}"), |body, dtype, device| {
            pollster::block_on(convolution(body, sizes, dtype, device))
        });
    }
}

#[test]
fn a_norm_in_evaluation_equals_the_reference() {
    let cpu = Tensors::flex();
    for (sizes, kind) in all().zip(AFTER.iter().cycle()) {
        let run =
            |body, device: &Tensors| pollster::block_on(normalized(body, sizes, *kind, device));
        let expected = run(Body::Reference, &cpu);
        let cut = |limit: f32| expected[0].1.contains(&limit);
        // Single pixels and few channels may all lie within.
        assert!(kind.1 != AfterNorm::Relu6 || expected[0].1.len() < 200 || cut(6.0) && cut(0.0));
        for device in devices() {
            // Nothing is differentiated, and something might be.
            for device in [device.tensors().clone(), device.autodiff()] {
                let (name, expected) = &expected[0];
                let found = &run(Body::Own, &device)[0].1;
                assert_close(
                    &format!("{name} of {sizes:?}, {kind:?}"),
                    found,
                    expected,
                    F32_TOLERANCE,
                );
            }
        }
    }
}

#[test]
fn the_cpu_gives_the_same_bits_every_time() {
    let device = Tensors::flex().autodiff();
    for sizes in all() {
        let first = run(Body::Own, sizes, &device);
        assert_eq!(first, run(Body::Own, sizes, &device), "{sizes:?}");
    }
}

#[test]
fn gradients_are_those_of_difference_quotients() {
    let options = |stride, padding, groups| Conv2dOptions {
        stride,
        padding,
        groups,
    };
    differentiate([[2, 4, 5, 6], [6, 2, 3, 2]], options([2, 1], [1, 2], 2));
    differentiate([[2, 3, 5, 6], [3, 1, 3, 3]], options([1, 1], [1, 1], 3));
    differentiate([[2, 3, 6, 7], [3, 1, 5, 5]], options([2, 2], [2, 1], 3));
}

/// Difference quotients of the reference in f64, which knows nothing of our gradients.
fn differentiate(shapes: [[usize; 4]; 2], options: Conv2dOptions) {
    let [outputs, _, rows, columns] = shapes[1];
    let flex = Tensors::flex();
    let double = |values: Vec<f64>, shape: [usize; 4]| {
        Tensor::<4>::from_data(TensorData::new(values, shape), (&flex, DType::F64))
    };
    let points = |shape: [usize; 4], phase: f64| -> Vec<f64> {
        let count: usize = shape.iter().product();
        // What f32 holds too.
        (0..count)
            .map(|i| f64::from(wave(i, phase) as f32))
            .collect()
    };
    let [x, weight] = [points(shapes[0], 1.0), points(shapes[1], 2.0)];
    let bias: Vec<f64> = (0..outputs)
        .map(|i| f64::from(wave(i, 3.0) as f32))
        .collect();
    let objective = |x: &[f64], weight: &[f64], bias: &[f64]| -> f64 {
        let bias = Tensor::<1>::from_data(
            TensorData::new(bias.to_vec(), [outputs]),
            (&flex, DType::F64),
        );
        let y = reference::conv2d(
            double(x.to_vec(), shapes[0]),
            double(weight.to_vec(), shapes[1]),
            Some(bias),
            options,
        );
        let y: Vec<f64> = y.into_data().try_into_vec().unwrap();
        y.iter()
            .enumerate()
            .map(|(i, y)| y * f64::from(wave(i, 5.0) as f32))
            .sum()
    };
    let quotients = |which: usize| -> Vec<f32> {
        let all = [x.clone(), weight.clone(), bias.clone()];
        let at = |index: usize, change: f64| {
            let mut all = all.clone();
            all[which][index] += change;
            objective(&all[0], &all[1], &all[2])
        };
        (0..all[which].len())
            .map(|index| ((at(index, 1e-3) - at(index, -1e-3)) / 2e-3) as f32)
            .collect()
    };
    let expected = [0, 1, 2].map(quotients);
    let sizes = Convolution {
        x: shapes[0],
        weight: [outputs, rows, columns],
        options,
        bias: true,
    };
    for device in devices() {
        let got = run(Body::Own, sizes, &device.autodiff());
        for ((name, got), expected) in got[1..].iter().zip(&expected) {
            assert_close(name, got, expected, F32_TOLERANCE);
        }
    }
}

/// Each task's parameters beside the others', in one launch.
#[test]
fn groups_are_convolutions_beside_each_other() {
    for device in devices() {
        let tensors = device.tensors();
        let x = tensor([2, 3 * 5, 7, 6], 1.0, tensors);
        let weight = tensor([3 * 8, 5, 3, 3], 2.0, tensors);
        let options = Conv2dOptions {
            padding: [1, 1],
            ..Default::default()
        };
        let together = conv2d(
            x.clone(),
            weight.clone(),
            None,
            Conv2dOptions {
                groups: 3,
                ..options
            },
        )
        .unwrap();
        for task in 0..3 {
            let alone = conv2d(
                x.clone().narrow(1, 5 * task, 5),
                weight.clone().narrow(0, 8 * task, 8),
                None,
                options,
            )
            .unwrap();
            let got = values(together.clone().narrow(1, 8 * task, 8));
            assert_close("task", &got, &values(alone), 1e-6);
        }
    }
}

#[test]
fn views_that_are_not_contiguous_are_read_right() {
    let options = Conv2dOptions {
        stride: [2, 1],
        padding: [1, 1],
        groups: 1,
    };
    for device in devices() {
        let device = device.autodiff();
        let x = tensor([3, 6, 5, 7], 1.0, &device)
            .swap_dims(0, 2)
            .narrow(1, 2, 3);
        let weight = tensor([3, 4, 3, 3], 2.0, &device).swap_dims(0, 1);
        let copied = |t: Tensor<4>| Tensor::<4>::from_data(t.into_data(), &device);
        let expected = conv2d(copied(x.clone()), copied(weight.clone()), None, options).unwrap();
        let got = conv2d(x, weight, None, options).unwrap();
        assert_close("view", &values(got), &values(expected), 1e-6);
    }
}

#[test]
fn nan_and_infinity_reach_the_values_whose_window_holds_them() {
    let options = Conv2dOptions {
        padding: [1, 1],
        ..Default::default()
    };
    for device in devices() {
        for bad in [f32::NAN, f32::INFINITY] {
            let tensors = device.tensors();
            let mut pixels = waves(2 * 3 * 5 * 6, 1.0);
            // Image 1, channel 2, row 0, column 5.
            pixels[(3 + 2) * 30 + 5] = bad;
            let x = Tensor::<4>::from_data(TensorData::new(pixels, [2, 3, 5, 6]), tensors);
            let y = conv2d(x, tensor([5, 3, 3, 3], 2.0, tensors), None, options).unwrap();
            for (index, value) in values(y).into_iter().enumerate() {
                let (image, row, column) = (index / 150, index / 6 % 5, index % 6);
                let reached = image == 1 && row <= 1 && column >= 4;
                let name = &device.info().name;
                assert_eq!(value.is_finite(), !reached, "{bad} at {index} on {name}");
            }
        }
    }
}

#[test]
fn inputs_that_do_not_fit_are_errors_with_both_shapes() {
    let device = &Tensors::flex();
    let refuse = |x: [usize; 4], weight: [usize; 4], bias: usize, options, word: &str| {
        let bias = Tensor::<1>::zeros([bias], device);
        let (x, weight) = (Tensor::zeros(x, device), Tensor::zeros(weight, device));
        let error = conv2d(x, weight, Some(bias), options).unwrap_err();
        assert!(error.is_bad_input(), "{error}");
        assert!(error.to_string().contains(word), "{error}");
    };
    let plain = Conv2dOptions::default();
    let with = |stride, padding, groups| Conv2dOptions {
        stride,
        padding,
        groups,
    };
    refuse(
        [2, 3, 4, 4],
        [5, 2, 3, 3],
        5,
        plain,
        "[a multiple of 1, 3, ..]",
    );
    refuse(
        [2, 4, 4, 4],
        [5, 2, 3, 3],
        5,
        with([1, 1], [0, 0], 2),
        "a multiple of 2",
    );
    refuse(
        [2, 3, 4, 4],
        [4, 1, 3, 3],
        4,
        with([1, 1], [0, 0], 2),
        "x with a multiple of 2",
    );
    refuse([2, 3, 4, 4], [5, 3, 5, 4], 5, plain, "at most [4, 4]");
    refuse(
        [2, 3, 4, 4],
        [5, 3, 3, 7],
        5,
        with([1, 1], [0, 1], 1),
        "at most [4, 6]",
    );
    refuse([0, 3, 4, 4], [5, 3, 3, 3], 5, plain, "empty");
    refuse([2, 3, 4, 4], [5, 3, 0, 3], 5, plain, "empty");
    refuse(
        [2, 3, 4, 4],
        [5, 3, 3, 3],
        5,
        with([0, 1], [0, 0], 1),
        "of at least 1",
    );
    refuse(
        [2, 3, 4, 4],
        [5, 3, 3, 3],
        5,
        with([1, 1], [0, 0], 0),
        "of at least 1",
    );
    refuse([2, 3, 4, 4], [5, 3, 3, 3], 4, plain, "bias");
    let mixed = conv2d(
        Tensor::zeros([1, 1, 2, 2], device),
        Tensor::<4>::zeros([1, 1, 1, 1], device).cast(DType::F64),
        None,
        plain,
    );
    assert!(mixed.unwrap_err().to_string().contains("F64"));
}
