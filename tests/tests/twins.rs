//! The shaders' CPU twins, taken step by step, against the composite reference.

use burn::tensor::{DType, Device as Tensors, Tensor, TensorData};
use forgeling::ops::{Activation, RunningNorm, reference};
use forgeling_shaders::cpu::conv_block::{self as twin, BlockShape};
use forgeling_shaders::cpu::{
    self, MatmulEnd, MatmulShape, activation_grad, matmul_grad_right, matmul_reduce,
};
use forgeling_tests::linear_parity::{ENDS, LAYER_SIZES, layer};
use forgeling_tests::ops_parity::{BLOCK_SIZES, Body, Results, assert_same, block};
use forgeling_tests::{F32_TOLERANCE, assert_close, waves};

/// `[n, c, h, w]` to `[n, h, w, c]` or back.
fn turned(values: Vec<f32>, shape: [usize; 4], axes: [isize; 4]) -> Vec<f32> {
    let tensor = Tensor::<4>::from_data(TensorData::new(values, shape), &Tensors::flex());
    tensor.permute(axes).into_data().try_into_vec().unwrap()
}

const LAST: [isize; 4] = [0, 2, 3, 1];
const FIRST: [isize; 4] = [0, 3, 1, 2];

#[test]
fn the_blocks_steps_make_up_the_block() {
    for sizes in BLOCK_SIZES {
        let [images, inputs, channels, height, width] = sizes;
        let shape = BlockShape {
            images,
            height,
            width,
            inputs,
            channels,
        };
        let (pooled, row) = ([height / 2, width / 2], twin::row_of(channels));
        let pixels = images * height * width;
        let x = turned(
            waves(pixels * inputs, 1.0),
            [images, inputs, height, width],
            LAST,
        );
        let weight = waves(channels * inputs * 9, 2.0);
        let (gamma, beta) = (waves(channels, 3.0), waves(channels, 4.0));
        let outputs = images * channels * pooled[0] * pooled[1];
        let dout = turned(
            waves(outputs, 5.0),
            [images, channels, pooled[0], pooled[1]],
            LAST,
        );

        let mut packed = vec![f32::NAN; 9 * inputs * shape.padded()];
        twin::conv_block_pack(&weight, &mut packed, shape);
        let mut y = vec![f32::NAN; pixels * shape.padded()];
        let mut partials = vec![f32::NAN; 3 * shape.padded()];
        twin::conv_block_forward(&x, &packed, &mut y, &mut partials, shape);
        let mut out = vec![f32::NAN; outputs];
        let mut stats = vec![f32::NAN; 3 * row];
        twin::conv_block_normalize(&y, &partials, &gamma, &beta, &mut out, &mut stats, shape);
        let mut sums = vec![f32::NAN; 2 * row];
        twin::conv_block_backward_reduce(&y, &stats, &gamma, &beta, &dout, &mut sums, shape);
        let mut dy = vec![f32::NAN; y.len()];
        twin::conv_block_backward_activation(
            &y, &stats, &gamma, &beta, &dout, &sums, &mut dy, shape,
        );
        let mut dx = vec![f32::NAN; x.len()];
        twin::conv_block_grad_input(&dy, &packed, &mut dx, shape);
        let mut dweight = vec![f32::NAN; weight.len()];
        twin::conv_block_grad_weight(&x, &dy, &mut dweight, shape);

        let got = vec![
            (
                "output",
                turned(out, [images, pooled[0], pooled[1], channels], FIRST),
            ),
            ("mean", stats[..channels].to_vec()),
            ("variance", stats[row..row + channels].to_vec()),
            ("grad x", turned(dx, [images, height, width, inputs], FIRST)),
            ("grad weight", dweight),
            ("grad gamma", sums[..channels].to_vec()),
            ("grad beta", sums[row..row + channels].to_vec()),
        ];
        let flex = Tensors::flex().autodiff();
        let expected = pollster::block_on(block(Body::Reference, sizes, DType::F32, &flex));
        assert_same(&got, &expected, DType::F32, &format!("{sizes:?}"));
    }
}

#[test]
fn what_a_block_keeps_has_the_same_winners_and_output() {
    for sizes in BLOCK_SIZES {
        let [images, inputs, channels, height, width] = sizes;
        let shape = BlockShape {
            images,
            height,
            width,
            inputs,
            channels,
        };
        let (row, length) = (
            twin::row_of(channels),
            images * height * width * shape.padded(),
        );
        // In steps that f16 tells apart, and steps in between that it does not.
        let y = waves(length, 1.0).into_iter().enumerate();
        let y: Vec<f32> = y
            .map(|(i, v)| 1.0 + (v * 4.0).round() / 16.0 + (i % 5) as f32 * 1e-6)
            .collect();
        // Of either sign, and not so small that a step is lost beside beta.
        let gamma = waves(channels, 3.0).into_iter();
        let gamma: Vec<f32> = gamma.map(|v| v + v.signum()).collect();
        let beta = waves(channels, 4.0);
        let mut partials = vec![1.0; 3 * shape.padded()];
        partials[shape.padded()..].fill(0.5);
        let windows = images * (height / 2) * (width / 2) * channels;
        for (kind, tolerance) in [(0, 1e-3), (1, 1e-2)] {
            let mut halves = vec![0; length.div_ceil(2)];
            let mut peaks = vec![f32::NAN; windows];
            twin::conv_block_keep(&y, &gamma, &mut halves, &mut peaks, shape, kind);
            let normalized = |peaked: bool| {
                let (mut out, mut stats) = (vec![f32::NAN; windows], vec![f32::NAN; 3 * row]);
                let (values, gamma, beta) = (if peaked { &peaks } else { &y }, &gamma, &beta);
                let normalize = if peaked {
                    twin::conv_block_normalize_peaks
                } else {
                    twin::conv_block_normalize
                };
                normalize(values, &partials, gamma, beta, &mut out, &mut stats, shape);
                out
            };
            let out = normalized(true);
            assert_eq!(out, normalized(false), "{sizes:?}");

            // The gradient goes to the same pixels.
            let mut rounded = vec![f32::NAN; length];
            cpu::unpack_half(&halves, &mut rounded, [length, kind]);
            assert_close("rounded", &rounded, &y, 2.0 * tolerance);
            let mut stats = vec![0.0; 3 * row];
            stats[2 * row..].fill(1.0);
            let flow = |y: &[f32], always: f32| {
                let always = vec![always; channels];
                let mut flow = vec![f32::NAN; length];
                let direction = waves(windows, 5.0);
                twin::conv_block_backward_activation(
                    y,
                    &stats,
                    &gamma,
                    &always,
                    &direction,
                    &vec![0.0; 2 * row],
                    &mut flow,
                    shape,
                );
                flow
            };
            let reached: Vec<f32> = flow(&rounded, 8.0);
            // In whole steps, which f32 has beside a shift that ReLU never cuts off.
            let exact: Vec<f32> = y.iter().map(|v| ((v - 1.0) * 1e6).round()).collect();
            assert!(reached == flow(&exact, 1e6), "{sizes:?} as {kind}");
        }
    }
}

#[test]
fn running_statistics_normalise_as_in_the_reference() {
    let shape = BlockShape {
        images: 2,
        height: 5,
        width: 7,
        inputs: 3,
        channels: 6,
    };
    let x = waves(2 * 3 * 5 * 7, 1.0);
    let weight = waves(6 * 3 * 9, 2.0);
    let vector = |phase| waves(6, phase);
    let variance: Vec<f32> = vector(6.0).iter().map(|v| v.abs() + 0.1).collect();
    let mut packed = vec![0.0; 9 * 3 * 8];
    twin::conv_block_pack(&weight, &mut packed, shape);
    let (mut y, mut partials) = (vec![0.0; 2 * 5 * 7 * 8], vec![0.0; 24]);
    let last = turned(x.clone(), [2, 3, 5, 7], LAST);
    twin::conv_block_forward(&last, &packed, &mut y, &mut partials, shape);
    let mut out = vec![0.0; 2 * 2 * 3 * 6];
    let (mean, gamma, beta) = (vector(3.0), vector(4.0), vector(5.0));
    let mut stats = vec![0.0; 3 * twin::row_of(6)];
    twin::conv_block_normalize_running(
        &y, &mean, &variance, &gamma, &beta, &mut out, &mut stats, shape,
    );

    let flex = Tensors::flex();
    let vector = |values: Vec<f32>| Tensor::<1>::from_data(TensorData::new(values, [6]), &flex);
    let norm = RunningNorm {
        bias: Tensor::zeros([6], &flex),
        gamma: vector(gamma),
        beta: vector(beta),
        mean: vector(mean),
        variance: vector(variance),
    };
    let expected = reference::conv_block_running(
        Tensor::from_data(TensorData::new(x, [2, 3, 5, 7]), &flex),
        Tensor::from_data(TensorData::new(weight, [6, 3, 3, 3]), &flex),
        norm,
    );
    let expected: Vec<f32> = expected.into_data().try_into_vec().unwrap();
    assert_close(
        "running",
        &turned(out, [2, 2, 3, 6], FIRST),
        &expected,
        F32_TOLERANCE,
    );
}

/// Whole and in three parts, of which the last may be shorter.
#[test]
fn the_products_steps_make_up_a_layer() {
    let flex = Tensors::flex().autodiff();
    for sizes in LAYER_SIZES.into_iter().filter(|sizes| sizes[0] < 20) {
        for (end, splits) in ENDS.into_iter().flat_map(|end| [(end, 1), (end, 3)]) {
            let got = layer_by_twins(sizes, end, splits);
            let expected = layer(Body::Reference, sizes, end, DType::F32, &flex);
            let name = format!("{sizes:?} {end:?} in {splits}");
            assert_same(&got, &pollster::block_on(expected), DType::F32, &name);
        }
    }
}

/// What [`layer`] computes, step by step.
fn layer_by_twins(sizes: [usize; 3], end: (Activation, bool), splits: usize) -> Results {
    let ([rows, input, output], (activation, biased)) = (sizes, end);
    let scaled = |values: Vec<f32>, shift: f32, count: usize| -> Vec<f32> {
        let share = 1.0 / (count as f64).sqrt() as f32;
        values.into_iter().map(|v| (v + shift) * share).collect()
    };
    let x = waves(rows * input, 1.0);
    let weight = scaled(waves(input * output, 2.0), 0.0, input);
    let bias = waves(output, 3.0);
    let direction = scaled(waves(rows * output, 4.0), 0.5, rows);
    let activation = [Activation::None, Activation::Relu, Activation::Gelu]
        .iter()
        .position(|one| *one == activation)
        .unwrap();
    let end = MatmulEnd {
        activation,
        bias: biased,
        keep: true,
    };
    let product = |rows: usize, columns: usize, inner: usize, section: usize| MatmulShape {
        batch: 1,
        rows,
        columns,
        inner,
        splits,
        section,
    };
    // The sum as it is, then added up, with bias and activation at the end of either.
    let run = |a: &[f32], b: &[f32], shape: MatmulShape, end: MatmulEnd, strides: [usize; 2]| {
        let length = shape.rows * shape.columns;
        let (mut out, mut kept) = (vec![f32::NAN; length], vec![f32::NAN; length]);
        if shape.splits == 1 {
            cpu::matmul(a, b, &bias, &mut out, &mut kept, shape, end, strides);
        } else {
            let mut parts = vec![f32::NAN; shape.splits * shape.section];
            cpu::matmul(a, b, &bias, &mut parts, &mut [], shape, end, strides);
            matmul_reduce(&parts, &bias, &mut out, &mut kept, shape, end);
        }
        [out, kept]
    };
    let shape = product(rows, output, input, rows * output);
    let [y, z] = run(&x, &weight, shape, end, [output, 1]);
    let kept = if activation == 2 { &z } else { &y };
    let mut dz = vec![f32::NAN; y.len()];
    activation_grad(kept, &direction, &mut dz, activation);
    let none = MatmulEnd {
        activation: 0,
        bias: false,
        keep: false,
    };
    let shape = product(rows, input, output, rows * input);
    let [dx, _] = run(&dz, &weight, shape, none, [1, output]);
    let behind = input * output;
    let shape = product(input, output, rows, behind + output);
    let mut parts = vec![f32::NAN; splits * shape.section];
    matmul_grad_right(&x, &dz, &mut parts, shape, if biased { behind } else { 0 });
    let mut gradients = vec![f32::NAN; if biased { shape.section } else { behind }];
    matmul_reduce(&parts, &[], &mut gradients, &mut [], shape, none);
    let (dweight, dbias) = gradients.split_at(behind);
    let mut results = vec![
        ("output", y),
        ("grad x", dx),
        ("grad weight", dweight.to_vec()),
    ];
    if biased {
        results.push(("grad bias", dbias.to_vec()));
    }
    results
}
