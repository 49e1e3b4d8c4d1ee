//! The convolution block against its composite reference, on every device.

use burn::tensor::{DType, Device as Tensors, Tensor, TensorData};
use forgeling::nn::zoo::Conv4Config;
use forgeling::nn::{Network, Normalization};
use forgeling::ops::{RunningNorm, conv_block, conv_block_running};
use forgeling_tests::networks::{conv, features, norm};
use forgeling_tests::ops_parity::{BLOCK_SIZES, Body, block, running_block, tensor};
use forgeling_tests::{F32_TOLERANCE, assert_close, devices, everywhere, gpus, waves};

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().unwrap()
}

#[test]
fn the_block_and_its_gradients_equal_the_reference() {
    for sizes in BLOCK_SIZES {
        everywhere(&format!("{sizes:?}"), |body, dtype, device| {
            pollster::block_on(block(body, sizes, dtype, device))
        });
    }
}

#[test]
fn running_statistics_equal_the_reference() {
    for sizes in BLOCK_SIZES {
        everywhere(&format!("{sizes:?}"), |body, dtype, device| {
            pollster::block_on(running_block(body, sizes, dtype, device))
        });
    }
}

/// In evaluation nothing is kept for a backward pass, and on the CPU another body computes it.
#[test]
fn evaluation_gives_what_training_on_running_statistics_gives() {
    for [batch, input, output, height, width] in BLOCK_SIZES {
        let compute = |device: &Tensors| {
            let norm = RunningNorm {
                bias: tensor([output], 3.0, device),
                gamma: tensor([output], 4.0, device),
                beta: tensor([output], 5.0, device),
                mean: tensor([output], 6.0, device),
                variance: tensor([output], 7.0, device).abs() + 0.1,
            };
            let x = tensor([batch, input, height, width], 1.0, device);
            let mut weight = tensor([output, input, 3, 3], 2.0, device);
            if device.is_autodiff() {
                weight = weight.require_grad();
            }
            values(conv_block_running(x, weight, norm).unwrap())
        };
        for device in devices() {
            let [got, expected] =
                [device.tensors().clone(), device.autodiff()].map(|d| compute(&d));
            assert_close("evaluation", &got, &expected, 1e-6);
        }
    }
}

#[test]
fn the_cpu_gives_the_same_bits_every_time() {
    let device = Tensors::flex().autodiff();
    for sizes in BLOCK_SIZES {
        let run = || pollster::block_on(block(Body::Own, sizes, DType::F32, &device));
        assert_eq!(run(), run());
    }
}

#[test]
fn views_that_are_not_contiguous_are_read_right() {
    for device in devices() {
        let device = device.autodiff();
        let output = |x: Tensor<4>, weight: Tensor<4>| {
            let gamma = tensor([4], 3.0, &device);
            let beta = tensor([4], 4.0, &device);
            values(conv_block(x, weight, gamma, beta).unwrap().output)
        };
        let x = tensor([3, 6, 5, 7], 1.0, &device)
            .swap_dims(0, 2)
            .narrow(1, 2, 3);
        let weight = tensor([3, 4, 3, 3], 2.0, &device).swap_dims(0, 1);
        let copied = |t: Tensor<4>| {
            let data = t.into_data();
            Tensor::<4>::from_data(data, &device)
        };
        let expected = output(copied(x.clone()), copied(weight.clone()));
        assert_close("view", &output(x, weight), &expected, 1e-6);
    }
}

#[test]
fn nan_and_infinity_reach_every_value_of_their_channel() {
    for device in devices() {
        for bad in [f32::NAN, f32::INFINITY] {
            // One value of one image spoils the batch's statistics of every channel.
            let mut pixels = waves(2 * 3 * 4 * 4, 1.0);
            pixels[17] = bad;
            let x = Tensor::<4>::from_data(TensorData::new(pixels, [2, 3, 4, 4]), device.tensors());
            let tensors = device.tensors();
            let block = conv_block(
                x,
                tensor([5, 3, 3, 3], 2.0, tensors),
                tensor([5], 3.0, tensors),
                tensor([5], 4.0, tensors),
            )
            .unwrap();
            let output = values(block.output);
            assert!(
                output.iter().all(|value| value.is_nan()),
                "{bad} on {}: {output:?}",
                device.info().name
            );
        }
    }
}

#[test]
fn inputs_that_do_not_fit_are_errors_with_both_shapes() {
    let device = &Tensors::flex();
    let refuse = |x: [usize; 4], weight: [usize; 4], gamma: usize, word: &str| {
        let error = conv_block(
            Tensor::zeros(x, device),
            Tensor::zeros(weight, device),
            Tensor::zeros([gamma], device),
            Tensor::zeros([weight[0]], device),
        )
        .unwrap_err();
        assert!(error.is_bad_input(), "{error}");
        assert!(error.to_string().contains(word), "{error}");
    };
    refuse([2, 3, 4, 4], [5, 2, 3, 3], 5, "[out, 3, 3, 3]");
    refuse([2, 3, 4, 4], [5, 3, 5, 5], 5, "[5, 3, 5, 5]");
    refuse([2, 3, 1, 4], [5, 3, 3, 3], 5, "at least 2");
    refuse([0, 3, 4, 4], [5, 3, 3, 3], 5, "empty");
    refuse([2, 3, 4, 4], [5, 3, 3, 3], 4, "gamma");
    let mixed = conv_block(
        Tensor::zeros([1, 1, 2, 2], device),
        Tensor::<4>::zeros([1, 1, 3, 3], device).cast(burn::tensor::DType::F64),
        Tensor::zeros([1], device),
        Tensor::zeros([1], device),
    );
    assert!(mixed.unwrap_err().to_string().contains("F64"));
}

/// Where the losses of two devices drift apart, it is Adam's division by the gradient's size that does it, as
/// the gradients themselves agree.
#[test]
fn a_whole_networks_gradients_agree_on_every_device() {
    let config = Conv4Config {
        filters: 4,
        ..Default::default()
    };
    let graph = config.graph().unwrap();
    let gradients = |device: &Tensors| {
        let network = Network::on(&graph, 1, device);
        let images = tensor([10, 1, 28, 28], 1.0, device);
        let (features, _) = features(&network, images, Normalization::Batch).unwrap();
        let direction = tensor(features.dims(), 2.0, device);
        let gradients = (features * direction).sum().backward();
        let of = |block: usize| {
            let weight = &conv(&network, &format!("blocks.{block}")).weight;
            let norm = norm(&network, &format!("blocks.{block}.norm"));
            [
                values(weight.val().grad(&gradients).unwrap()),
                values(norm.gamma.val().grad(&gradients).unwrap()),
                values(norm.beta.val().grad(&gradients).unwrap()),
            ]
        };
        (0..config.blocks).flat_map(of).collect::<Vec<_>>()
    };
    let expected = gradients(&Tensors::flex().autodiff());
    for device in gpus() {
        let got = gradients(&device.autodiff());
        for (index, (got, expected)) in got.iter().zip(&expected).enumerate() {
            let name = format!("parameter {index} on {}", device.info().name);
            assert_close(&name, got, expected, F32_TOLERANCE);
        }
    }
}
