//! Of the convolution.

use burn::tensor::{DType, Device as Tensors, Tensor};
use forgeling::ops::{Conv2dOptions, conv2d_grad_input, conv2d_grad_weight, reference};
use forgeling_tests::conv_parity::{CONVOLUTIONS, Convolution, depthwise_convolutions};
use forgeling_tests::ops_parity::Body;
use forgeling_tests::second_order::{convolution_shapes, of_input, of_weight};
use forgeling_tests::{devices, everywhere};

use crate::common::{assert_near, double, doubles, points, quotients};

#[test]
fn the_convolutions_gradients_and_theirs_equal_the_reference() {
    for sizes in CONVOLUTIONS.into_iter().chain(depthwise_convolutions()) {
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
    for sizes in CONVOLUTIONS.into_iter().chain(depthwise_convolutions()) {
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
