//! The optimizer against burn's and PyTorch's, on every device.

use burn::module::{Module, Param};
use burn::optim::GradientsParams;
use burn::tensor::{DType, Device as Tensors, Tensor};
use forgeling::Readback;
use forgeling::train::{Adam, AdamConfig};
use forgeling_tests::bag::{self, Bag, SIZES, TOLERANCE, assert_same};
use forgeling_tests::ops_parity::tensor;
use forgeling_tests::{assert_close, devices, gpus};
use serde_json::Value;

fn values<M: Module>(module: &M) -> Vec<Vec<f32>> {
    pollster::block_on(bag::values(module))
}

fn skipped(adam: &Adam) -> Vec<f32> {
    let trip = Readback::new().with(adam.skipped().unwrap());
    let [flags] = pollster::block_on(trip.run()).unwrap();
    flags
}

fn adam(config: AdamConfig) -> Adam {
    Adam::new(config).unwrap()
}

fn plain() -> AdamConfig {
    AdamConfig::default()
}

#[test]
fn five_steps_equal_burns_adam() {
    for device in devices() {
        let device = device.autodiff();
        let mut bag = Bag::new(&SIZES, &device);
        let mut burns = burn::optim::AdamConfig::new().with_epsilon(1e-8).init();
        for step in 1..=5 {
            let gradients = bag.gradients(100.0 * f64::from(step), 1.0 / f64::from(step));
            bag = burns.step(0.01, bag, gradients);
        }
        let got = pollster::block_on(bag::five_steps(adam(plain()), &device));
        assert_same("burn", &got, &values(&bag), TOLERANCE);
    }
}

#[test]
fn steps_equal_pytorchs() {
    #[derive(Module, Debug)]
    struct Four {
        a: Param<Tensor<1>>,
        b: Param<Tensor<2>>,
        c: Param<Tensor<4>>,
        d: Param<Tensor<1>>,
    }
    let golden: Value = serde_json::from_str(include_str!("../golden/adam.json")).unwrap();
    for device in devices() {
        let tensors = device.autodiff();
        for case in golden.as_array().unwrap() {
            let mut module = Four {
                a: Param::from_tensor(tensor([7], 1.0, &tensors)),
                b: Param::from_tensor(tensor([5, 13], 2.0, &tensors)),
                c: Param::from_tensor(tensor([3, 2, 3, 3], 3.0, &tensors)),
                d: Param::from_tensor(tensor([1], 4.0, &tensors)),
            };
            let mut adam = adam(AdamConfig {
                beta1: 0.8,
                beta2: 0.99,
                epsilon: 1e-6,
                weight_decay: case["weight_decay"].as_f64().unwrap(),
                clip_norm: case["clip_norm"].as_f64(),
            });
            // As in mixed precision.
            adam.set_loss_scale(1024.0).unwrap();
            for step in 0..4 {
                let phase = 10.0 * f64::from(step + 1);
                let scale = 1024.0 * 0.5f64.powi(step);
                let inner = device.tensors();
                let mut gradients = GradientsParams::new();
                gradients.register(module.a.id, tensor([7], phase, inner) * scale);
                gradients.register(module.b.id, tensor([5, 13], phase + 1.0, inner) * scale);
                gradients.register(
                    module.c.id,
                    tensor([3, 2, 3, 3], phase + 2.0, inner) * scale,
                );
                gradients.register(module.d.id, tensor([1], phase + 3.0, inner) * scale);
                module = adam.step(0.02, module, gradients);
            }
            let expected: Vec<Vec<f32>> =
                serde_json::from_value(case["parameters"].clone()).unwrap();
            let what = format!("{} on {}", case["clip_norm"], device.info().name);
            assert_same(&what, &values(&module), &expected, TOLERANCE);
        }
    }
}

#[test]
fn a_gradient_that_is_not_finite_skips_the_step_and_says_so() {
    for device in devices() {
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            // Moments and the number of steps are those of the good steps alone.
            let tensors = device.autodiff();
            let [got, expected] =
                pollster::block_on(bag::spoiled_step(|| adam(plain()), value, &tensors));
            assert_eq!(got, expected, "{value} on {}", device.info().name);
        }
    }
}

#[test]
fn the_first_step_may_be_skipped_and_the_next_says_that_it_was_not() {
    for device in devices() {
        let device = device.autodiff();
        let first = Bag::new(&SIZES, &device);
        let (mut skipping, mut good) = (adam(plain()), adam(plain()));
        let mut gradients = first.gradients(1.0, 1.0);
        first.spoil(&mut gradients, f32::NAN);
        let same = skipping.step(0.01, first.clone(), gradients);
        assert_eq!(values(&same), values(&first));
        let gradients = first.gradients(1.0, 1.0);
        let got = values(&skipping.step(0.01, same, gradients));
        let gradients = first.gradients(1.0, 1.0);
        assert_eq!(got, values(&good.step(0.01, first, gradients)));
        assert_eq!(skipped(&skipping), [0.0, 1.0]);
        assert_eq!(skipped(&good), [0.0, 0.0]);
    }
}

#[test]
fn what_is_not_trained_keeps_its_value_and_clones_keep_theirs() {
    for device in devices() {
        let device = device.autodiff();
        let mut bag = Bag::new(&SIZES, &device);
        let first = values(&bag);
        let mut adam = adam(plain());
        let mut kept = Vec::new();
        for step in 1..=3 {
            kept.push((bag.clone(), values(&bag)));
            let gradients = bag.gradients(f64::from(step), 1.0);
            bag = adam.step(0.01, bag, gradients);
            assert!(bag.matrix.val().is_require_grad() && bag.matrix.val().device() == device);
        }
        assert_eq!(values(&bag).last(), first.last(), "no gradient, no step");
        for (clone, before) in &kept {
            assert_eq!(&values(clone), before);
        }
        // An old clone goes on from where it was.
        let (clone, _) = kept.remove(1);
        let gradients = clone.gradients(9.0, 1.0);
        let mut copy = adam.clone();
        let stepped = copy.step(0.01, clone.clone(), gradients);
        let fresh = Bag {
            vectors: clone.vectors.iter().map(copied).collect(),
            matrix: copied(&clone.matrix),
            kernel: copied(&clone.kernel),
            still: copied(&clone.still),
        };
        let gradients = fresh.gradients(9.0, 1.0);
        let expected = values(&adam.step(0.01, fresh, gradients));
        assert_same("an old clone", &values(&stepped), &expected, 1e-6);
    }
}

fn copied<const D: usize>(param: &Param<Tensor<D>>) -> Param<Tensor<D>> {
    let data = param.val().into_data();
    let tensor = Tensor::from_data(data, &param.val().device());
    Param::initialized(param.id, tensor.require_grad())
}

#[test]
fn tensors_that_share_memory_are_gathered_too() {
    #[derive(Module, Debug)]
    struct Pair {
        a: Param<Tensor<1>>,
        b: Param<Tensor<1>>,
        c: Param<Tensor<2>>,
    }
    let run = |device: &Tensors| {
        let shared = tensor([70], 1.0, &device.clone().inner());
        let mut pair = Pair {
            a: Param::from_tensor(Tensor::from_inner(shared.clone())),
            b: Param::from_tensor(Tensor::from_inner(shared)),
            c: Param::from_tensor(tensor([4, 3], 2.0, device)),
        };
        let mut adam = adam(plain());
        for _ in 0..3 {
            // The gradients of a and b are one tensor, that of c is one number expanded.
            let loss = (pair.a.val() + pair.b.val()).square().sum() + pair.c.val().sum();
            let gradients = GradientsParams::from_grads(loss.backward(), &pair);
            pair = adam.step(0.01, pair, gradients);
        }
        values(&pair)
    };
    let expected = run(&Tensors::flex().autodiff());
    assert_eq!(expected[0], expected[1]);
    for device in gpus() {
        assert_same("shared", &run(&device.autodiff()), &expected, TOLERANCE);
    }
}

#[test]
fn another_set_of_parameters_starts_anew() {
    for device in devices() {
        let device = device.autodiff();
        let mut used = adam(plain());
        let bag = Bag::new(&SIZES[..2], &device);
        let gradients = bag.gradients(1.0, 1.0);
        used.step(0.01, bag, gradients);
        let other = Bag::new(&SIZES[2..6], &device);
        let gradients = other.gradients(2.0, 1.0);
        let got = values(&used.step(0.01, other.clone(), gradients));
        let gradients = other.gradients(2.0, 1.0);
        let expected = values(&adam(plain()).step(0.01, other.clone(), gradients));
        assert_eq!(got, expected);
        // Without gradients nothing happens.
        let same = used.step(0.01, other.clone(), GradientsParams::new());
        assert_eq!(values(&same), values(&other));
    }
}

#[test]
fn other_dtypes_are_updated_by_burns_operations() {
    #[derive(Module, Debug)]
    struct One {
        weight: Param<Tensor<2>>,
    }
    let device = Tensors::flex().autodiff();
    let run = |dtype: DType, bad: bool| {
        let weight = tensor([3, 5], 1.0, &device.clone().inner()).cast(dtype);
        let mut one = One {
            weight: Param::from_tensor(Tensor::from_inner(weight)),
        };
        let mut adam = adam(plain());
        for step in 1..=3 {
            let mut gradient = tensor([3, 5], f64::from(step), &device.clone().inner()).cast(dtype);
            if bad {
                gradient = gradient.log();
            }
            let mut gradients = GradientsParams::new();
            gradients.register(one.weight.id, gradient);
            one = adam.step(0.01, one, gradients);
            assert_eq!(one.weight.val().dtype(), dtype);
        }
        let data = one.weight.val().into_data().convert::<f32>();
        (data.try_into_vec::<f32>().unwrap(), skipped(&adam))
    };
    let (expected, flags) = run(DType::F32, false);
    assert_eq!(flags, [0.0, 0.0]);
    for (dtype, tolerance) in [(DType::F64, 1e-5), (DType::F16, 2e-3)] {
        let (got, flags) = run(dtype, false);
        assert_close("dtype", &got, &expected, tolerance);
        assert_eq!(flags, [0.0, 0.0]);
        assert_eq!(run(dtype, true).1, [1.0, 3.0]);
    }
}
