//! Stochastic gradient descent against burn's and PyTorch's, on every device.

use burn::module::{Module, Param};
use burn::optim::GradientsParams;
use burn::optim::momentum::MomentumConfig;
use burn::tensor::{DType, Device as Tensors, Tensor};
use forgeling::Readback;
use forgeling::train::{Sgd, SgdConfig};
use forgeling_tests::bag::{self, Bag, SIZES, TOLERANCE, assert_same};
use forgeling_tests::ops_parity::tensor;
use forgeling_tests::{assert_close, devices};
use serde_json::Value;

fn values<M: Module>(module: &M) -> Vec<Vec<f32>> {
    pollster::block_on(bag::values(module))
}

fn sgd(config: SgdConfig) -> Sgd {
    Sgd::new(config).unwrap()
}

fn with_momentum() -> SgdConfig {
    SgdConfig {
        momentum: 0.9,
        ..Default::default()
    }
}

#[test]
fn five_steps_equal_burns_sgd() {
    for device in devices() {
        let device = device.autodiff();
        for momentum in [0.0, 0.9] {
            let mut burns = burn::optim::SgdConfig::new();
            if momentum > 0.0 {
                let config = MomentumConfig::new().with_momentum(momentum);
                burns = burns.with_momentum(Some(config.with_dampening(0.0)));
            }
            let (mut bag, mut burns) = (Bag::new(&SIZES, &device), burns.init());
            for step in 1..=5 {
                let gradients = bag.gradients(100.0 * f64::from(step), 1.0 / f64::from(step));
                bag = burns.step(0.01, bag, gradients);
            }
            let config = SgdConfig {
                momentum,
                ..Default::default()
            };
            let got = pollster::block_on(bag::five_steps(sgd(config), &device));
            assert_same("burn", &got, &values(&bag), TOLERANCE);
        }
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
    let golden: Value = serde_json::from_str(include_str!("../golden/sgd.json")).unwrap();
    for device in devices() {
        let tensors = device.autodiff();
        for case in golden.as_array().unwrap() {
            let mut module = Four {
                a: Param::from_tensor(tensor([7], 1.0, &tensors)),
                b: Param::from_tensor(tensor([5, 13], 2.0, &tensors)),
                c: Param::from_tensor(tensor([3, 2, 3, 3], 3.0, &tensors)),
                d: Param::from_tensor(tensor([1], 4.0, &tensors)),
            };
            let config = SgdConfig {
                momentum: case["momentum"].as_f64().unwrap(),
                nesterov: case["nesterov"].as_bool().unwrap(),
                weight_decay: case["weight_decay"].as_f64().unwrap(),
                clip_norm: case["clip_norm"].as_f64(),
            };
            let mut sgd = sgd(config);
            // As in mixed precision.
            sgd.set_loss_scale(1024.0).unwrap();
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
                module = sgd.step(0.02, module, gradients);
            }
            let expected: Vec<Vec<f32>> =
                serde_json::from_value(case["parameters"].clone()).unwrap();
            let what = format!("{config:?} on {}", device.info().name);
            assert_same(&what, &values(&module), &expected, TOLERANCE);
        }
    }
}

#[test]
fn a_gradient_that_is_not_finite_skips_the_step_and_says_so() {
    for device in devices() {
        for config in [SgdConfig::default(), with_momentum()] {
            for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                // The velocity is that of the good steps alone.
                let tensors = device.autodiff();
                let spoiled = bag::spoiled_step(|| sgd(config), value, &tensors);
                let [got, expected] = pollster::block_on(spoiled);
                assert_eq!(got, expected, "{value} on {}", device.info().name);
            }
        }
    }
}

#[test]
fn another_set_of_parameters_starts_anew() {
    for device in devices() {
        let device = device.autodiff();
        let mut used = sgd(with_momentum());
        let bag = Bag::new(&SIZES[..2], &device);
        let gradients = bag.gradients(1.0, 1.0);
        used.step(0.01, bag, gradients);
        let other = Bag::new(&SIZES[2..6], &device);
        let gradients = other.gradients(2.0, 1.0);
        let got = values(&used.step(0.01, other.clone(), gradients));
        let gradients = other.gradients(2.0, 1.0);
        let expected = values(&sgd(with_momentum()).step(0.01, other.clone(), gradients));
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
    let run = |dtype: DType| {
        let inner = device.clone().inner();
        let weight = tensor([3, 5], 1.0, &inner).cast(dtype);
        let mut one = One {
            weight: Param::from_tensor(Tensor::from_inner(weight)),
        };
        let mut sgd = sgd(with_momentum());
        for step in 1..=3 {
            let mut gradients = GradientsParams::new();
            let gradient = tensor([3, 5], f64::from(step), &inner).cast(dtype);
            gradients.register(one.weight.id, gradient);
            one = sgd.step(0.01, one, gradients);
            assert_eq!(one.weight.val().dtype(), dtype);
        }
        let trip = Readback::new().with(sgd.skipped().unwrap());
        let [flags] = pollster::block_on(trip.run()).unwrap();
        assert_eq!(flags, [0.0, 0.0]);
        values(&one)
    };
    let expected = run(DType::F32);
    for (dtype, tolerance) in [(DType::F64, 1e-5), (DType::F16, 2e-3)] {
        assert_close("dtype", &run(dtype)[0], &expected[0], tolerance);
    }
}
