//! Values rounded to 8 bits against the composite reference and against sums in f64, on every device.

use burn::tensor::{DType, Device as Tensors, Tensor, TensorData};
use forgeling::ops::{Levels, fake_quantize, reference};
use forgeling_tests::blocks_parity::{ROUNDED_SIZES, fake_quantized};
use forgeling_tests::ops_parity::tensor;
use forgeling_tests::{assert_close, devices, everywhere, waves};

/// Narrow ones, which cut values off.
const NARROW: Levels = Levels { low: -2, high: 3 };

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().unwrap()
}

#[test]
fn it_and_its_gradients_equal_the_reference() {
    for sizes in ROUNDED_SIZES {
        for levels in [NARROW, Levels::WEIGHTS, Levels::activations(200)] {
            everywhere(&format!("{sizes:?} {levels:?}"), |body, dtype, device| {
                pollster::block_on(fake_quantized(body, sizes, levels, dtype, device))
            });
        }
    }
}

#[test]
fn halves_go_to_the_even_neighbour_and_ends_cut_off() {
    let x = [
        -9.0, -2.5, -1.5, -0.5, -0.25, 0.0, 0.5, 1.5, 2.5, 3.4, 3.6, 40.0,
    ];
    let expected = [
        -2.0, -2.0, -2.0, 0.0, 0.0, 0.0, 0.0, 2.0, 2.0, 3.0, 3.0, 3.0,
    ];
    // What rounds to beyond the ends is cut off.
    let flows = [0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0];
    for device in devices() {
        let tensors = device.autodiff();
        let name = &device.info().name;
        let half = x.map(|value| value * 0.5);
        let x = Tensor::<1>::from_data(TensorData::from(half), &tensors).require_grad();
        let scale = Tensor::<1>::from_data(TensorData::from([0.5f32]), &tensors);
        let y = fake_quantize(x.clone(), scale, None, NARROW).unwrap();
        let gradients = y.clone().sum().backward();
        assert_eq!(values(y), expected.map(|value| 0.5 * value), "{name}");
        assert_eq!(values(x.grad(&gradients).unwrap()), flows, "{name}");
    }
}

#[test]
fn the_gradient_of_scales_is_that_of_the_paper() {
    let sizes = [6, 5, 41];
    let length = sizes.iter().product();
    let (x, dy) = (waves(length, 1.0), waves(length, 2.0));
    let scales = [0.11f32, 0.3, 0.05, 0.7, 0.21];
    let mut expected = [0f64; 5];
    for (place, (x, dy)) in x.iter().zip(&dy).enumerate() {
        let channel = place / 41 % 5;
        let at = f64::from(*x) / f64::from(scales[channel]);
        let q = at.round_ties_even();
        let added = match q {
            q if q < -2.0 => -2.0,
            q if q > 3.0 => 3.0,
            q => q - at,
        };
        expected[channel] += f64::from(*dy) * added;
    }
    let expected = expected.map(|sum| sum as f32);
    for device in devices() {
        let tensors = device.autodiff();
        let of = |values: &[f32]| {
            Tensor::<3>::from_data(TensorData::new(values.to_vec(), sizes), &tensors)
        };
        let scale = Tensor::<1>::from_data(TensorData::from(scales), &tensors).require_grad();
        let y = fake_quantize(of(&x), scale.clone(), Some(1), NARROW).unwrap();
        let gradients = (y * of(&dy)).sum().backward();
        let got = values(scale.grad(&gradients).unwrap());
        assert_close(&device.info().name, &got, &expected, 1e-4);
    }
}

#[test]
fn views_that_are_not_contiguous_are_read_right() {
    for device in devices() {
        let tensors = device.tensors();
        let x = tensor([6, 9, 4], 1.0, tensors)
            .swap_dims(0, 1)
            .narrow(0, 2, 5);
        let scale = Tensor::<1>::full([6], 0.125, tensors);
        let copied = Tensor::<3>::from_data(x.clone().into_data(), tensors);
        let expected = values(reference::fake_quantize(
            copied,
            scale.clone(),
            Some(1),
            NARROW,
        ));
        let got = values(fake_quantize(x, scale, Some(1), NARROW).unwrap());
        assert_eq!(got, expected, "{}", device.info().name);
    }
}

#[test]
fn arguments_that_do_not_fit_are_errors() {
    let device = &Tensors::flex();
    let refuse = |x: [usize; 2], scales: usize, axis: usize, levels: Levels, word: &str| {
        let scale = Tensor::<1>::ones([scales], device);
        let error = fake_quantize(Tensor::<2>::zeros(x, device), scale, Some(axis), levels);
        let error = error.unwrap_err();
        assert!(
            error.is_bad_input() && error.to_string().contains(word),
            "{error}"
        );
    };
    refuse([0, 3], 3, 1, NARROW, "empty");
    refuse([2, 3], 2, 1, NARROW, "scale");
    refuse([2, 3], 3, 2, NARROW, "axis");
    refuse([2, 3], 3, 1, Levels { low: 1, high: 3 }, "0 is not among");
    let double = Tensor::<1>::ones([3], (device, DType::F64));
    let error = fake_quantize(Tensor::<2>::zeros([2, 3], device), double, Some(1), NARROW);
    assert!(error.unwrap_err().to_string().contains("F64"));
}

#[test]
fn nearest_is_what_the_operation_gives() {
    let x = waves(999, 3.0);
    let scale = 0.013f32;
    let tensors = Tensors::flex();
    let of = Tensor::<1>::from_data(TensorData::new(x.clone(), [999]), &tensors);
    let steps = Tensor::<1>::full([1], scale, &tensors);
    let levels = Levels::activations(90);
    let got = values(fake_quantize(of, steps, None, levels).unwrap());
    for (x, got) in x.iter().zip(got) {
        assert_eq!(levels.nearest(*x, scale) as f32 * scale, got);
    }
    assert_eq!(levels.nearest(f32::NAN, scale), 0);
}
