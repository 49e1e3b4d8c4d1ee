//! The CPU twins of the convolution's and the norm's shaders, taken step by step, against the composite reference.

use burn::tensor::{DType, Device as Tensors, Tensor, TensorData};
use forgeling::ops::AfterNorm;
use forgeling_shaders::cpu::batch_norm::{self as norm_twin, NormShape};
use forgeling_shaders::cpu::conv_block::row_of;
use forgeling_shaders::cpu::conv2d::{self as twin, ConvShape};
use forgeling_tests::conv_parity::{CONVOLUTIONS, NORMS, batch_normed, convolution};
use forgeling_tests::ops_parity::{Body, assert_same};
use forgeling_tests::waves;

/// `[n, c, h, w]` to `[n, h, w, c]`.
fn last(values: Vec<f32>, [n, c, h, w]: [usize; 4]) -> Vec<f32> {
    turned(values, [n, c, h, w], [0, 2, 3, 1])
}

/// `[n, h, w, c]` to `[n, c, h, w]`, whose sizes are given.
fn first(values: Vec<f32>, [n, c, h, w]: [usize; 4]) -> Vec<f32> {
    turned(values, [n, h, w, c], [0, 3, 1, 2])
}

fn turned(values: Vec<f32>, shape: [usize; 4], axes: [isize; 4]) -> Vec<f32> {
    let tensor = Tensor::<4>::from_data(TensorData::new(values, shape), &Tensors::flex());
    tensor.permute(axes).into_data().try_into_vec().unwrap()
}

fn count(shape: [usize; 4]) -> usize {
    shape.iter().product()
}

#[test]
fn the_convolutions_steps_make_up_the_convolution() {
    for sizes in CONVOLUTIONS {
        let [images, inputs, height, width] = sizes.x;
        let [outputs, rows, columns] = sizes.weight;
        let shape = ConvShape {
            images,
            groups: sizes.options.groups,
            inputs,
            outputs,
            size: [height, width],
            kernel: [rows, columns],
            stride: sizes.options.stride,
            padding: sizes.options.padding,
        };
        let [group_inputs, group_outputs] = shape.group();
        let [out_height, out_width] = shape.out();
        let out = [images, outputs, out_height, out_width];
        let x = last(waves(count(sizes.x), 1.0), sizes.x);
        let weight = waves(outputs * group_inputs * shape.taps(), 2.0);
        let bias = waves(if sizes.bias { outputs } else { 0 }, 3.0);
        let dy = last(waves(count(out), 5.0), out);

        let packed = |transposed: bool| {
            let [depth, rows] = if transposed {
                [group_outputs, group_inputs]
            } else {
                [group_inputs, group_outputs]
            };
            let length = shape.groups * shape.taps() * depth * rows.next_multiple_of(4);
            let mut packed = vec![f32::NAN; length];
            twin::conv2d_pack(&weight, &mut packed, shape, transposed);
            packed
        };
        let mut y = vec![f32::NAN; count(out)];
        twin::conv2d(&x, &packed(false), &bias, &mut y, shape);
        let mut dx = vec![f32::NAN; x.len()];
        twin::conv2d_grad_input(&dy, &packed(true), &mut dx, shape);
        let mut dweight = vec![f32::NAN; weight.len()];
        twin::conv2d_grad_weight(&x, &dy, &mut dweight, shape);
        let mut dbias = vec![f32::NAN; outputs];
        twin::conv2d_grad_bias(&dy, &mut dbias, shape);

        let mut got = vec![
            ("output", first(y, out)),
            ("grad x", first(dx, sizes.x)),
            ("grad weight", dweight),
        ];
        if sizes.bias {
            got.push(("grad bias", dbias));
        }
        let flex = Tensors::flex().autodiff();
        let expected = pollster::block_on(convolution(Body::Reference, sizes, DType::F32, &flex));
        assert_same(&got, &expected, DType::F32, &format!("{sizes:?}"));
    }
}

#[test]
fn the_norms_steps_make_up_the_norm() {
    for (sizes, residual, activation) in NORMS {
        let [images, channels, height, width] = sizes;
        let shape = NormShape {
            pixels: images * height * width,
            channels,
            slots: 3,
            residual,
            relu: activation == AfterNorm::Relu,
        };
        let row = row_of(channels);
        let x = last(waves(count(sizes), 1.0), sizes);
        let added = last(waves(count(sizes), 6.0), sizes);
        let dy = last(waves(count(sizes), 5.0), sizes);
        let (gamma, beta) = (waves(channels, 3.0), waves(channels, 4.0));

        let mut partials = vec![f32::NAN; shape.slots * 3 * channels];
        norm_twin::batch_norm_partials(&x, &mut partials, shape);
        let mut stats = vec![f32::NAN; 3 * row];
        norm_twin::batch_norm_statistics(&partials, &mut stats, shape);
        let mut y = vec![f32::NAN; x.len()];
        norm_twin::batch_norm(&x, &stats, &gamma, &beta, &added, &mut y, shape);
        let mut partials = vec![0.0; shape.slots * 2 * row];
        let mut dz = dy.clone();
        norm_twin::batch_norm_grad_partials(&x, &stats, &y, &dy, &mut partials, &mut dz, shape);
        let mut sums = vec![f32::NAN; 2 * row];
        twin::add_parts(&partials, &mut sums, [2 * row, shape.slots]);
        let mut dx = vec![f32::NAN; x.len()];
        norm_twin::batch_norm_grad(&x, &stats, &gamma, &dz, &sums, &mut dx, shape);

        let mut got = vec![
            ("output", first(y, sizes)),
            ("mean", stats[..channels].to_vec()),
            ("variance", stats[row..row + channels].to_vec()),
            ("grad x", first(dx, sizes)),
            ("grad gamma", sums[..channels].to_vec()),
            ("grad beta", sums[row..row + channels].to_vec()),
        ];
        if residual {
            got.push(("grad residual", first(dz, sizes)));
        }
        let flex = Tensors::flex().autodiff();
        let expected = pollster::block_on(batch_normed(
            Body::Reference,
            (sizes, residual, activation),
            DType::F32,
            &flex,
        ));
        assert_same(&got, &expected, DType::F32, &format!("{sizes:?}"));
    }
}
