//! The inverse of positive definite matrices: against its reference, finite differences and what it should give.

use burn::tensor::{DType, Device as Tensors, Tensor, TensorData};
use forgeling::ops::spd_inverse;
use forgeling_tests::ops_parity::{Body, assert_same, tensor};
use forgeling_tests::spd_parity::{SPD_SIZES, definite, inverse};
use forgeling_tests::{F32_TOLERANCE, assert_close, devices, wave};

fn values(tensor: Tensor<3>) -> Vec<f32> {
    tensor.into_data().try_into_vec().unwrap()
}

#[test]
fn it_and_its_gradient_equal_the_reference() {
    for sizes in SPD_SIZES {
        let flex = Tensors::flex().autodiff();
        let expected = pollster::block_on(inverse(Body::Reference, sizes, &flex));
        for device in devices() {
            let got = pollster::block_on(inverse(Body::Own, sizes, &device.autodiff()));
            let what = format!("{sizes:?} on {}", device.info().name);
            assert_same(&got, &expected, DType::F32, &what);
        }
    }
}

#[test]
fn a_matrix_times_its_inverse_is_the_identity() {
    for device in devices() {
        for [batch, n] in SPD_SIZES.into_iter().chain([[1, 512]]) {
            let a = definite([batch, n], device.tensors());
            let product = values(a.clone().matmul(spd_inverse(a).unwrap()));
            let identity: Vec<f32> = (0..batch * n * n)
                .map(|place| f32::from(u8::from(place % (n * n) % (n + 1) == 0)))
                .collect();
            let what = format!("{batch} of {n} on {}", device.info().name);
            assert_close(&what, &product, &identity, F32_TOLERANCE);
        }
    }
}

/// In f64, which the composite computes.
#[test]
fn its_gradient_is_that_of_finite_differences() {
    const N: usize = 5;
    const STEP: f64 = 1e-5;
    let flex = Tensors::flex().autodiff();
    let matrix: Vec<f64> = definite([1, N], &flex).into_data().iter::<f64>().collect();
    let of = |values: &[f64]| -> Tensor<3> {
        let values = TensorData::new(values.to_vec(), [1, N, N]);
        Tensor::from_data(values, (&flex, DType::F64))
    };
    let weights: Vec<f64> = (0..N * N).map(|place| wave(place, 2.0)).collect();
    let loss = |a: Tensor<3>| (spd_inverse(a).unwrap() * of(&weights)).sum();
    let a = of(&matrix).require_grad();
    let gradients = loss(a.clone()).backward();
    let gradient = a.grad(&gradients).unwrap().into_data();
    for (place, got) in gradient.iter::<f64>().enumerate() {
        let moved = |step: f64| {
            let mut matrix = matrix.clone();
            matrix[place] += step;
            loss(of(&matrix)).into_data().iter::<f64>().next().unwrap()
        };
        let expected = (moved(STEP) - moved(-STEP)) / (2.0 * STEP);
        assert!(
            (got - expected).abs() < 1e-7,
            "[{place}]: {got} instead of {expected}"
        );
    }
}

#[test]
fn what_has_no_inverse_becomes_nan_and_the_others_stay() {
    let good = [2.0, 0.5, 0.5, 1.0];
    let bad = [
        ("singular", [1.0, 1.0, 1.0, 1.0]),
        ("nearly so", [1.0, 1.0, 1.0, 1.0 + 1e-7]),
        ("indefinite", [1.0, 2.0, 2.0, 1.0]),
        ("negative", [-1.0, 0.0, 0.0, -1.0]),
        ("zero", [0.0; 4]),
        ("without a number", [1.0, f32::NAN, 0.0, 1.0]),
        ("without a first number", [f32::NAN, 0.0, 0.0, 1.0]),
    ];
    for device in devices() {
        for dtype in [DType::F32, DType::F64] {
            if dtype == DType::F64 && !device.is_cpu() {
                continue;
            }
            for (name, bad) in bad {
                // Which f64 can tell.
                if dtype == DType::F64 && name == "nearly so" {
                    continue;
                }
                let all = [good, bad, good].concat();
                let place = (&device.autodiff(), dtype);
                let a: Tensor<3> = Tensor::from_data(TensorData::new(all, [3, 2, 2]), place);
                let a = a.require_grad();
                let inverse = spd_inverse(a.clone()).unwrap();
                let gradients = inverse.clone().sum().backward();
                let gradient = a.grad(&gradients).unwrap();
                for (what, got) in [("inverse", inverse), ("gradient", gradient)] {
                    let got = values(got.cast(DType::F32));
                    let what = format!("{what} of {name} on {} {dtype:?}", device.info().name);
                    assert!(
                        got[4..8].iter().all(|value| value.is_nan()),
                        "{what}: {got:?}"
                    );
                    assert!(
                        got[..4].iter().all(|value| value.is_finite()),
                        "{what}: {got:?}"
                    );
                    assert_eq!(got[..4], got[8..], "{what}");
                }
            }
        }
    }
}

#[test]
fn other_shapes_are_errors() {
    for device in devices() {
        for shape in [[1, 2, 3], [0, 2, 2], [1, 0, 0], [1, 513, 513]] {
            let a = Tensor::<3>::zeros(shape, device.tensors());
            let error = spd_inverse(a).unwrap_err();
            assert!(error.is_bad_input(), "{shape:?}: {error}");
        }
        // Not tracked is not tracked.
        let a = tensor([1, 1, 1], 0.0, &device.autodiff()).abs() + 1.0;
        assert!(!spd_inverse(a).unwrap().is_tracked());
    }
}
