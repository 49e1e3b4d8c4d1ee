//! Softmax attention against its composite reference and PyTorch, on every device.

use burn::tensor::{DType, Device as Tensors, Tensor, TensorData};
use forgeling::ops::{AttentionOptions, attention, reference};
use forgeling_tests::blocks_parity::{ATTENTION_OPTIONS, ATTENTION_SIZES, attend};
use forgeling_tests::ops_parity::{Body, Results, tensor};
use forgeling_tests::{F32_TOLERANCE, assert_close, devices, everywhere, waves};
use serde_json::Value;

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().unwrap()
}

fn run(
    body: Body,
    sizes: [usize; 5],
    options: AttentionOptions,
    dtype: DType,
    device: &Tensors,
) -> Results {
    pollster::block_on(attend(body, sizes, options, dtype, device))
}

#[test]
fn it_and_its_gradients_equal_the_reference() {
    for sizes in ATTENTION_SIZES {
        for options in ATTENTION_OPTIONS {
            everywhere(&format!("{sizes:?} {options:?}"), |body, dtype, device| {
                run(body, sizes, options, dtype, device)
            });
        }
    }
}

#[test]
fn it_follows_pytorch() {
    let golden: Value = serde_json::from_str(include_str!("../golden/attention.json")).unwrap();
    let [plain, causal, scaled] = ATTENTION_OPTIONS;
    for (name, options, queries) in [
        ("cross", plain, 4),
        ("causal", causal, 5),
        ("scaled", scaled, 3),
    ] {
        for device in devices() {
            let sizes = [2, 2, queries, 5, 3];
            let got = run(Body::Own, sizes, options, DType::F32, &device.autodiff());
            for (index, (part, got)) in got.iter().enumerate() {
                let expected: Vec<f32> =
                    serde_json::from_value(golden[name][index].clone()).unwrap();
                assert_close(&format!("{name} {part}"), got, &expected, 1e-5);
            }
        }
    }
}

/// Scores of thousands, whose exponentials f32 cannot hold: the largest takes all the weight.
#[test]
fn large_scores_do_not_overflow() {
    for device in devices() {
        let tensors = device.autodiff();
        let query = Tensor::<4>::full([1, 1, 3, 4], 50.0, &tensors).require_grad();
        let steps: Vec<f32> = (0..40 * 4).map(|i| (i / 4) as f32 - 20.0).collect();
        let key = Tensor::<4>::from_data(TensorData::new(steps, [1, 1, 40, 4]), &tensors);
        let value = tensor([1, 1, 40, 4], 3.0, &tensors);
        let expected = values(value.clone().narrow(2, 39, 1)).repeat(3);
        let out = attention(query.clone(), key, value, AttentionOptions::default()).unwrap();
        let gradients = out.clone().sum().backward();
        assert_close(&device.info().name, &values(out), &expected, 1e-6);
        assert_eq!(values(query.grad(&gradients).unwrap()), vec![0.0; 12]);
    }
}

#[test]
fn the_cpu_gives_the_same_bits_every_time() {
    let device = Tensors::flex().autodiff();
    for sizes in ATTENTION_SIZES {
        let again = || {
            run(
                Body::Own,
                sizes,
                AttentionOptions::default(),
                DType::F32,
                &device,
            )
        };
        assert_eq!(again(), again());
    }
}

#[test]
fn views_of_any_layout_are_read_right() {
    for device in devices() {
        let tensors = device.autodiff();
        let results = |tokens: [Tensor<4>; 3]| {
            let tokens = tokens.map(|tensor| tensor.detach().require_grad());
            let [q, k, v] = tokens.clone();
            let out = attention(q, k, v, AttentionOptions::default()).unwrap();
            let direction = tensor(out.dims(), 4.0, &tensors);
            let gradients = (out.clone() * direction).sum().backward();
            let mut all = vec![values(out)];
            all.extend(tokens.map(|tensor| values(tensor.grad(&gradients).unwrap())));
            all
        };
        // As a linear layer gives it, with numbers that are not side by side, and a part of something longer.
        let query = tensor([2, 5, 3, 8], 1.0, &tensors).swap_dims(1, 2);
        let key = tensor([2, 3, 8, 7], 2.0, &tensors).swap_dims(2, 3);
        let value = tensor([2, 3, 9, 8], 3.0, &tensors).narrow(2, 1, 7);
        let copied = [&query, &key, &value]
            .map(|view| Tensor::<4>::from_data(view.clone().into_data(), &tensors));
        let got = results([query, key, value]);
        for (got, expected) in got.iter().zip(results(copied)) {
            assert_close(&device.info().name, got, &expected, 1e-6);
        }
    }
}

#[test]
fn nan_and_infinity_reach_what_sees_them() {
    for device in devices() {
        let tensors = device.tensors();
        for bad in [f32::NAN, f32::INFINITY] {
            let spoilt = |place: usize, phase| {
                let mut values = waves(2 * 6 * 4, phase);
                values[place] = bad;
                Tensor::<4>::from_data(TensorData::new(values, [1, 2, 6, 4]), tensors)
            };
            let whole = |phase| tensor([1, 2, 6, 4], phase, tensors);
            let rows = |query, key, value| {
                let out = attention(query, key, value, AttentionOptions::default()).unwrap();
                let finite = |row: &[f32]| row.iter().all(|value| value.is_finite());
                let rows: Vec<bool> = values(out).chunks(4).map(finite).collect();
                rows
            };
            // Of head 1: query 2, and the key or value that all of its queries see.
            let place = 24 + 2 * 4 + 1;
            let name = format!("{bad} on {}", device.info().name);
            let got = rows(spoilt(place, 1.0), whole(2.0), whole(3.0));
            assert_eq!(got.iter().filter(|row| !**row).count(), 1, "{name}");
            assert!(!got[8], "{name}");
            let got = rows(whole(1.0), whole(2.0), spoilt(place, 3.0));
            assert_eq!(got, [vec![true; 6], vec![false; 6]].concat(), "{name}");
            if bad.is_nan() {
                let got = rows(whole(1.0), spoilt(place, 2.0), whole(3.0));
                assert_eq!(got, [vec![true; 6], vec![false; 6]].concat(), "{name}");
            }
        }
    }
}

#[test]
fn other_dtypes_use_the_reference_and_stay_what_they_are() {
    let device = Tensors::flex();
    let double = || Tensor::<4>::ones([1, 1, 2, 3], (&device, DType::F64));
    let out = attention(double(), double(), double(), AttentionOptions::default()).unwrap();
    assert_eq!(out.dtype(), DType::F64);
}

#[test]
fn inputs_that_do_not_fit_are_errors_with_both_shapes() {
    let device = &Tensors::flex();
    let zeros = |shape| Tensor::<4>::zeros(shape, device);
    let refuse = |shapes: [[usize; 4]; 3], scale: Option<f64>, word: &str| {
        let [q, k, v] = shapes.map(zeros);
        let options = AttentionOptions {
            scale,
            ..Default::default()
        };
        let error = attention(q, k, v, options).unwrap_err();
        assert!(
            error.is_bad_input() && error.to_string().contains(word),
            "{error}"
        );
    };
    let right = [2, 3, 5, 4];
    for axis in 0..4 {
        let mut empty = right;
        empty[axis] = 0;
        refuse([empty; 3], None, "empty");
    }
    refuse([right, [2, 3, 0, 4], [2, 3, 0, 4]], None, "empty");
    refuse([right, [1, 3, 5, 4], right], None, "key");
    refuse([right, [2, 3, 5, 3], right], None, "key");
    refuse([right, right, [2, 3, 6, 4]], None, "value");
    refuse([right, right, [2, 1, 5, 4]], None, "value");
    for scale in [f64::NAN, f64::INFINITY, 1e60] {
        refuse([right; 3], Some(scale), "scale");
    }
    let double = zeros(right).cast(DType::F64);
    let error = attention(
        double,
        zeros(right),
        zeros(right),
        AttentionOptions::default(),
    );
    assert!(error.unwrap_err().to_string().contains("F64"));
    // One token is enough.
    let one = || zeros([1, 1, 1, 1]);
    let out = attention(one(), one(), one(), AttentionOptions::default()).unwrap();
    let same = reference::attention(one(), one(), one(), AttentionOptions::default());
    assert_close("one", &values(out), &values(same), F32_TOLERANCE);
}

/// A kernel must not bind one buffer twice.
#[test]
fn a_tensor_may_be_query_key_and_value_at_once() {
    for device in devices() {
        let results = |device: &Tensors, body: Body| {
            let x = tensor([2, 3, 5, 8], 1.0, device).require_grad();
            let (q, k, v) = (x.clone(), x.clone(), x.clone());
            let options = AttentionOptions::default();
            let out = match body {
                Body::Own => attention(q, k, v, options).unwrap(),
                Body::Reference => reference::attention(q, k, v, options),
            };
            let gradients = (out * tensor([2, 3, 5, 8], 4.0, device)).sum().backward();
            values(x.grad(&gradients).unwrap())
        };
        let expected = results(&Tensors::flex().autodiff(), Body::Reference);
        let got = results(&device.autodiff(), Body::Own);
        assert_close(&device.info().name, &got, &expected, F32_TOLERANCE);
        let tokens_first = |device: &Tensors, body: Body| {
            let x = tensor([2, 5, 3, 8], 1.0, device).swap_dims(1, 2);
            let (q, k, v) = (x.clone(), x.clone(), x);
            let options = AttentionOptions::default();
            values(match body {
                Body::Own => attention(q, k, v, options).unwrap(),
                Body::Reference => reference::attention(q, k, v, options),
            })
        };
        let expected = tokens_first(&Tensors::flex(), Body::Reference);
        let got = tokens_first(device.tensors(), Body::Own);
        assert_close(&device.info().name, &got, &expected, F32_TOLERANCE);
    }
}
