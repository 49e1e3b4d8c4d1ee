//! Matrix products and layers of neurons against their composite reference, on every device.

use burn::tensor::{DType, Device as Tensors, Tensor, TensorData};
use forgeling::ops::{Activation, linear, matmul, reference};
use forgeling_tests::linear_parity::{ENDS, LAYER_SIZES, PRODUCT_SIZES, layer, products};
use forgeling_tests::ops_parity::{Body, assert_same, tensor};
use forgeling_tests::{
    F16_TOLERANCE, F32_TOLERANCE, assert_close, devices, everywhere, wave, waves,
};

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().convert::<f32>().try_into_vec().unwrap()
}

#[test]
fn layers_and_their_gradients_equal_the_reference() {
    for sizes in LAYER_SIZES {
        for end in ENDS {
            everywhere(&format!("{sizes:?} {end:?}"), |body, dtype, device| {
                pollster::block_on(layer(body, sizes, end, dtype, device))
            });
        }
    }
}

#[test]
fn products_and_their_gradients_equal_the_reference() {
    for sizes in PRODUCT_SIZES {
        everywhere(&format!("{sizes:?}"), |body, dtype, device| {
            pollster::block_on(products(body, sizes, dtype, device))
        });
    }
}

/// Sizes that leave no tile of the CPU's implementations out: one value to several panels and blocks, few rows and many.
#[test]
fn products_of_every_size_are_right_on_the_cpu() {
    let flex = Tensors::flex().autodiff();
    for rows in [1, 2, 7, 8, 12, 37] {
        for inner in [1, 191, 193, 500] {
            for columns in [1, 15, 16, 33, 48, 50, 97, 144] {
                let sizes = [2, rows, inner, columns];
                let run = |body| pollster::block_on(products(body, sizes, DType::F32, &flex));
                assert_same(
                    &run(Body::Own),
                    &run(Body::Reference),
                    DType::F32,
                    &format!("{sizes:?}"),
                );
            }
        }
    }
}

/// By hand, in f64, and GELU by its integral: no code is shared with the implementations.
#[test]
fn a_layer_is_its_definition() {
    let below = |z: f64| {
        // Simpson's rule from 0 to z.
        let (n, density) = (200, |t: f64| {
            (-t * t / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt()
        });
        let h = z / f64::from(n);
        let weight = |i: i32| {
            if i == 0 || i == n {
                1.0
            } else {
                f64::from(2 + 2 * (i % 2))
            }
        };
        0.5 + h / 3.0
            * (0..=n)
                .map(|i| weight(i) * density(h * f64::from(i)))
                .sum::<f64>()
    };
    let [rows, input, output] = [3, 11, 6];
    let activations = [
        (
            Activation::None,
            (|z: f64, _: f64| z) as fn(f64, f64) -> f64,
        ),
        (Activation::Relu, |z, _| z.max(0.0)),
        (Activation::Gelu, |z, below| z * below),
    ];
    for (activation, apply) in activations {
        let mut expected = Vec::new();
        for row in 0..rows {
            for column in 0..output {
                let sum: f64 = (0..input)
                    .map(|i| wave(row * input + i, 1.0) * wave(i * output + column, 2.0))
                    .sum();
                let z = sum + wave(column, 3.0);
                expected.push(apply(z, below(z)) as f32);
            }
        }
        for device in devices() {
            let tensors = device.tensors();
            let bias = Some(tensor([output], 3.0, tensors));
            let (x, weight) = (
                tensor([rows, input], 1.0, tensors),
                tensor([input, output], 2.0, tensors),
            );
            let got = values(linear(x, weight, bias, activation).unwrap());
            assert_close(&format!("{activation:?}"), &got, &expected, 1e-5);
        }
    }
}

/// The gradients are those of finite differences in f64, which the reference computes.
#[test]
fn a_layers_gradients_equal_finite_differences() {
    let (rows, input, output) = (3, 5, 4);
    let flex = Tensors::flex();
    let double = |values: Vec<f64>, shape: [usize; 2]| {
        Tensor::<2>::from_data(TensorData::new(values, shape), (&flex, DType::F64))
    };
    let wide = |count, phase| (0..count).map(|i| wave(i, phase)).collect::<Vec<f64>>();
    for activation in [Activation::None, Activation::Relu, Activation::Gelu] {
        let loss = |x: Vec<f64>, weight: Vec<f64>| -> f64 {
            let y = reference::linear(
                double(x, [rows, input]),
                double(weight, [input, output]),
                None,
                activation,
            );
            (y * double(wide(rows * output, 4.0), [rows, output]))
                .sum()
                .into_scalar()
        };
        let (x, weight) = (wide(rows * input, 1.0), wide(input * output, 2.0));
        let difference = |values: &[f64], f: &dyn Fn(Vec<f64>) -> f64| -> Vec<f32> {
            (0..values.len())
                .map(|index| {
                    let at = |offset: f64| {
                        let mut moved = values.to_vec();
                        moved[index] += offset;
                        f(moved)
                    };
                    ((at(1e-5) - at(-1e-5)) / 2e-5) as f32
                })
                .collect()
        };
        let expected_x = difference(&x, &|x| loss(x, weight.clone()));
        let expected_weight = difference(&weight, &|weight| loss(x.clone(), weight));
        for device in devices() {
            let tensors = device.autodiff();
            let x = tensor([rows, input], 1.0, &tensors).require_grad();
            let weight = tensor([input, output], 2.0, &tensors).require_grad();
            let y = linear(x.clone(), weight.clone(), None, activation).unwrap();
            let gradients = (y * tensor([rows, output], 4.0, &tensors)).sum().backward();
            let name = format!("{activation:?} on {}", device.info().name);
            assert_close(
                &name,
                &values(x.grad(&gradients).unwrap()),
                &expected_x,
                1e-5,
            );
            assert_close(
                &name,
                &values(weight.grad(&gradients).unwrap()),
                &expected_weight,
                1e-5,
            );
        }
    }
}

#[test]
fn the_cpu_gives_the_same_bits_every_time() {
    let device = Tensors::flex().autodiff();
    let run = || {
        pollster::block_on(layer(
            Body::Own,
            [129, 600, 200],
            ENDS[3],
            DType::F32,
            &device,
        ))
    };
    assert_eq!(run(), run());
}

#[test]
fn only_what_needs_a_gradient_gets_one() {
    for device in devices() {
        let tensors = device.autodiff();
        let x = tensor([3, 8], 1.0, &tensors);
        let weight = tensor([8, 4], 2.0, &tensors);
        let bias = tensor([4], 3.0, &tensors).require_grad();
        let y = linear(
            x.clone(),
            weight.clone(),
            Some(bias.clone()),
            Activation::None,
        )
        .unwrap();
        let gradients = y.sum().backward();
        assert_eq!(values(bias.grad(&gradients).unwrap()), [3.0; 4]);
        assert!(x.grad(&gradients).is_none() && weight.grad(&gradients).is_none());
    }
}

#[test]
fn views_that_are_not_contiguous_are_read_right() {
    for device in devices() {
        let tensors = device.tensors();
        let x = tensor([8, 7], 1.0, tensors).swap_dims(0, 1).narrow(0, 2, 3);
        let weight = tensor([4, 8], 2.0, tensors).swap_dims(0, 1);
        let bias = tensor([9], 3.0, tensors).narrow(0, 5, 4);
        let copied = |t: Tensor<2>| Tensor::<2>::from_data(t.into_data(), tensors);
        let layer =
            |x, weight| values(linear(x, weight, Some(bias.clone()), Activation::Relu).unwrap());
        let expected = layer(copied(x.clone()), copied(weight.clone()));
        assert_close("view", &layer(x, weight), &expected, 1e-6);
    }
}

#[test]
fn nan_and_infinity_reach_the_row_they_belong_to() {
    for device in devices() {
        for (bad, sizes) in [(f32::NAN, [5, 8, 4]), (f32::INFINITY, [5, 7, 3])] {
            let [rows, input, output] = sizes;
            for activation in [Activation::None, Activation::Relu, Activation::Gelu] {
                let mut pixels = waves(rows * input, 1.0);
                pixels[2 * input + 1] = bad;
                let tensors = device.tensors();
                let x = Tensor::<2>::from_data(TensorData::new(pixels, [rows, input]), tensors);
                let weight = tensor([input, output], 2.0, tensors).abs() + 0.1;
                let out = values(linear(x, weight, None, activation).unwrap());
                for (row, out) in out.chunks(output).enumerate() {
                    let finite = out.iter().all(|value| value.is_finite());
                    let name = &device.info().name;
                    assert_eq!(finite, row != 2, "{bad} {activation:?} on {name}: {out:?}");
                }
            }
        }
    }
}

#[test]
fn inputs_that_do_not_fit_are_errors_with_both_shapes() {
    let device = &Tensors::flex();
    let refuse = |x: [usize; 2], weight: [usize; 2], bias: usize, word: &str| {
        let bias = Some(Tensor::zeros([bias], device));
        let error = linear(
            Tensor::zeros(x, device),
            Tensor::zeros(weight, device),
            bias,
            Activation::Relu,
        )
        .unwrap_err();
        assert!(error.is_bad_input() && error.found().is_some(), "{error}");
        assert!(error.to_string().contains(word), "{error}");
    };
    refuse([2, 3], [4, 5], 5, "[3, out]");
    refuse([2, 3], [3, 5], 4, "[5]");
    refuse([0, 3], [3, 5], 5, "empty");
    refuse([2, 0], [0, 5], 5, "empty");
    refuse([2, 3], [3, 0], 0, "empty");
    let double = |shape| Tensor::<2>::zeros(shape, (device, DType::F64));
    let mixed = linear(
        Tensor::zeros([2, 3], device),
        double([3, 5]),
        None,
        Activation::None,
    );
    assert!(mixed.unwrap_err().to_string().contains("F64"));
    for (a, b) in [
        ([2, 3, 4], [1, 4, 5]),
        ([2, 3, 4], [2, 3, 5]),
        ([2, 0, 4], [2, 4, 5]),
    ] {
        let error = matmul(Tensor::zeros(a, device), Tensor::zeros(b, device)).unwrap_err();
        assert!(error.is_bad_input() && error.found().is_some(), "{error}");
    }
    let mixed = matmul(
        Tensor::zeros([1, 2, 3], device),
        Tensor::<3>::zeros([1, 3, 2], (device, DType::F64)),
    );
    assert!(mixed.unwrap_err().to_string().contains("F64"));
}

#[test]
fn other_dtypes_use_the_reference_and_stay_what_they_are() {
    let device = &Tensors::flex();
    for (stored, parameters) in [
        (DType::F64, DType::F64),
        (DType::F16, DType::F32),
        (DType::F16, DType::F16),
        (DType::F64, DType::F32),
    ] {
        let x = tensor([3, 5], 1.0, device).cast(stored);
        let weight = tensor([5, 2], 2.0, device).cast(parameters);
        let bias = Some(tensor([2], 3.0, device).cast(parameters));
        let y = linear(x, weight, bias, Activation::Gelu).unwrap();
        assert_eq!(y.dtype(), stored);
        let plain = linear(
            tensor([3, 5], 1.0, device),
            tensor([5, 2], 2.0, device),
            Some(tensor([2], 3.0, device)),
            Activation::Gelu,
        );
        let tolerance = if stored == DType::F64 {
            F32_TOLERANCE
        } else {
            F16_TOLERANCE
        };
        assert_close("dtype", &values(y), &values(plain.unwrap()), tolerance);
    }
}
