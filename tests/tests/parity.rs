//! Our kernels on every device against the composite reference on the CPU: one body, odd and distinct sizes.

use burn::tensor::{DType, Device as Tensors, Tensor, TensorData};
use forgeling::Readback;
use forgeling::ops::{
    EpisodeCounts, episode_logits, pairwise_sq_distance, prototype_logits, reference,
    softmax_cross_entropy,
};
use forgeling_tests::ops_parity::{
    EPISODE_SIZES, distances, episode_loss, logits, logits_with_itself,
};
use forgeling_tests::{F32_TOLERANCE, assert_close, devices, everywhere, waves};

fn tensor(values: Vec<f32>, shape: [usize; 3], device: &Tensors) -> Tensor<3> {
    Tensor::from_data(TensorData::new(values, shape), device).require_grad()
}

fn own(query: Tensor<3>, prototypes: Tensor<3>) -> Tensor<3> {
    prototype_logits(query, prototypes).unwrap()
}

#[test]
fn prototype_logits_and_gradients_equal_the_reference() {
    // The last one needs more workgroups than fit in one dimension of a launch.
    let all_sizes = [
        [1, 1, 1, 1],
        [3, 7, 5, 11],
        [2, 75, 5, 64],
        [1, 13, 20, 257],
        [2, 1601, 1327, 1],
    ];
    for sizes in all_sizes {
        everywhere(&format!("{sizes:?}"), |body, dtype, device| {
            pollster::block_on(logits(body, sizes, dtype, device))
        });
    }
}

#[test]
fn a_tensor_may_be_compared_with_itself() {
    everywhere("itself", |body, dtype, device| {
        pollster::block_on(logits_with_itself(body, [2, 5, 7], dtype, device))
    });
}

#[test]
fn distances_and_gradients_equal_the_reference() {
    for sizes in [[1, 1, 1, 1], [3, 7, 5, 11], [1, 13, 20, 257]] {
        everywhere(&format!("{sizes:?}"), |body, dtype, device| {
            pollster::block_on(distances(body, sizes, dtype, device))
        });
    }
}

/// Corners of a box, whose distances are known; zero, and never below it, where rows are equal, however large they are.
#[test]
fn distances_have_their_closed_form_and_are_the_negative_of_the_logits() {
    for device in devices() {
        let corners = |values: &[f32]| {
            let data = TensorData::new(values.to_vec(), [1, values.len() / 3, 3]);
            Tensor::<3>::from_data(data, device.tensors())
        };
        let read = |tensor: Tensor<3>| {
            let [values] = pollster::block_on(Readback::new().with(tensor).run()).unwrap();
            values
        };
        let a = corners(&[0.0, 0.0, 0.0, 3.0, 4.0, 12.0]);
        let b = corners(&[0.0, 0.0, 0.0, 3.0, 0.0, 0.0, 0.0, 4.0, 12.0]);
        let squares = read(pairwise_sq_distance(a.clone(), b.clone()).unwrap());
        assert_eq!(squares, [0.0, 9.0, 160.0, 169.0, 160.0, 9.0]);
        let logits: Vec<f32> = read(own(a, b)).iter().map(|logit| -logit).collect();
        assert_eq!(logits, squares);
        let large = tensor(waves(3 * 70, 1.0), [1, 3, 70], &device.autodiff()) * 1e6;
        let squares = read(pairwise_sq_distance(large.clone(), large).unwrap());
        assert!(squares.iter().all(|square| *square >= 0.0), "{squares:?}");
        assert!([0, 4, 8].iter().all(|&i| squares[i] == 0.0), "{squares:?}");
    }
}

#[test]
fn episodes_their_loss_and_its_gradient_equal_the_reference() {
    for sizes in EPISODE_SIZES {
        everywhere(&format!("{sizes:?}"), |body, dtype, device| {
            pollster::block_on(episode_loss(body, sizes, dtype, device))
        });
    }
}

/// `log(3)` for equal logits, exactly 0 and 1 in the limit, and no overflow far out.
#[test]
fn cross_entropy_has_its_closed_forms() {
    for device in devices() {
        let loss = |logits: Vec<f32>, label: usize| {
            let classes = logits.len();
            let logits =
                Tensor::<2>::from_data(TensorData::new(logits, [1, classes]), device.tensors());
            let loss = softmax_cross_entropy(logits, &[label]).unwrap();
            let [loss] = pollster::block_on(Readback::new().with(loss).run()).unwrap();
            loss[0]
        };
        assert!((loss(vec![2.0; 3], 1) - 3f32.ln()).abs() < 1e-6);
        assert!((loss(vec![1e4, 0.0], 0)).abs() < 1e-6);
        assert!((loss(vec![1e4, 0.0], 1) - 1e4).abs() < 1e-1);
        assert!(loss(vec![f32::NAN, 0.0], 1).is_nan());
    }
}

#[test]
fn labels_and_episodes_that_do_not_fit_are_errors() {
    let device = Tensors::flex();
    let logits = || Tensor::<2>::zeros([2, 3], &device);
    for (labels, word) in [(&[0, 1, 2][..], "2 labels"), (&[0, 3], "below 3")] {
        let error = softmax_cross_entropy(logits(), labels).unwrap_err();
        assert!(
            error.is_bad_input() && error.to_string().contains(word),
            "{error}"
        );
    }
    assert!(softmax_cross_entropy(Tensor::zeros([0, 3], &device), &[]).is_err());
    let counts = EpisodeCounts {
        episodes: 1,
        ways: 2,
        shots: 1,
        queries: 3,
    };
    let error = episode_logits(Tensor::zeros([9, 4], &device), counts).unwrap_err();
    assert!(error.to_string().contains("[8, features]"), "{error}");
    let empty = EpisodeCounts { shots: 0, ..counts };
    assert!(episode_logits(Tensor::zeros([6, 4], &device), empty).is_err());
}

#[test]
fn views_that_are_not_contiguous_are_read_right() {
    let (query, prototypes) = (waves(4 * 7 * 3, 1.0), waves(4 * 5 * 3, 2.0));
    // [features, queries, episodes] turned into [episodes, queries, features].
    let turned = |values: &[f32], middle: usize, device: &Tensors| {
        Tensor::<3>::from_data(TensorData::new(values.to_vec(), [3, middle, 4]), device)
            .swap_dims(0, 2)
    };
    let flex = Tensors::flex();
    let expected =
        reference::prototype_logits(turned(&query, 7, &flex), turned(&prototypes, 5, &flex));
    let [expected] = pollster::block_on(Readback::new().with(expected).run()).unwrap();
    for device in devices() {
        let tensors = device.tensors();
        // A window into a longer tensor, as the training step uses it.
        let longer = Tensor::cat(
            vec![turned(&query, 7, tensors), turned(&query, 7, tensors)],
            0,
        );
        let logits = own(longer.narrow(0, 4, 4), turned(&prototypes, 5, tensors));
        let [got] = pollster::block_on(Readback::new().with(logits).run()).unwrap();
        assert_close(&device.info().name, &got, &expected, F32_TOLERANCE);
    }
}

#[test]
fn nan_and_infinity_reach_the_logits_they_belong_to() {
    for device in devices() {
        let mut values = waves(2 * 3 * 4, 1.0);
        values[5] = f32::NAN; // episode 0, query 1
        values[13] = f32::INFINITY; // episode 1, query 0
        let query = tensor(values, [2, 3, 4], &device.autodiff());
        let prototypes = tensor(waves(2 * 2 * 4, 2.0), [2, 2, 4], &device.autodiff());
        let [logits] =
            pollster::block_on(Readback::new().with(own(query, prototypes)).run()).unwrap();
        for (row, logits) in logits.chunks(2).enumerate() {
            let finite = logits.iter().all(|value| value.is_finite());
            assert_eq!(
                finite,
                row != 1 && row != 3,
                "row {row} on {}: {logits:?}",
                device.info().name
            );
        }
    }
}

#[test]
fn other_dtypes_use_the_reference_and_stay_what_they_are() {
    let device = Tensors::flex();
    let double = |count: usize, shape: [usize; 3], phase| {
        let values: Vec<f64> = waves(count, phase)
            .iter()
            .map(|value| f64::from(*value))
            .collect();
        Tensor::<3>::from_data(TensorData::new(values, shape), (&device, DType::F64))
    };
    let logits = own(
        double(2 * 3 * 4, [2, 3, 4], 1.0),
        double(2 * 2 * 4, [2, 2, 4], 2.0),
    );
    assert_eq!(logits.dtype(), DType::F64);
}

#[test]
fn inputs_that_do_not_fit_are_errors_with_both_shapes() {
    let zeros = |shape: [usize; 3]| Tensor::<3>::zeros(shape, &Tensors::flex());
    for (query, prototypes) in [
        ([2, 3, 4], [1, 5, 4]),
        ([2, 3, 4], [2, 5, 3]),
        ([2, 0, 4], [2, 5, 4]),
        ([0, 3, 4], [0, 5, 4]),
    ] {
        let error = prototype_logits(zeros(query), zeros(prototypes)).unwrap_err();
        assert!(error.is_bad_input() && error.found().is_some(), "{error}");
    }
    let double = Tensor::<3>::zeros([1, 2, 3], (&Tensors::flex(), DType::F64));
    assert!(
        prototype_logits(double, zeros([1, 2, 3]))
            .unwrap_err()
            .to_string()
            .contains("F64")
    );
}
