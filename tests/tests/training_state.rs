//! What a run of training keeps beside its weights: scales and rates against PyTorch's, averages against their closed
//! form, and optimizers that go on where others stopped.

use burn::module::{Module, Param};
use burn::optim::GradientsParams;
use burn::tensor::{DType, Device as Tensors, Tensor};
use forgeling::Device;
use forgeling::train::weights::{NamedTensor, collect};
use forgeling::train::{
    Adam, AdamConfig, Ema, EmaConfig, EmaRecord, LossScaler, LossScalerConfig, OptimizerRecord,
    Schedule, Sgd, SgdConfig,
};
use forgeling_tests::bag::{self, Bag, SIZES, TOLERANCE, assert_same};
use forgeling_tests::ops_parity::tensor;
use forgeling_tests::resuming::{Resumable, continued};
use forgeling_tests::{assert_close, devices};
use pollster::block_on;
use proptest::prelude::*;
use serde_json::Value;

fn golden(text: &str) -> Vec<Value> {
    serde_json::from_str(text).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    serde_json::from_value(value.clone()).unwrap()
}

#[test]
fn scales_are_pytorchs() {
    for case in golden(include_str!("../golden/scaler.json")) {
        let config = LossScalerConfig {
            init_scale: case["init_scale"].as_f64().unwrap(),
            growth_factor: case["growth_factor"].as_f64().unwrap(),
            backoff_factor: case["backoff_factor"].as_f64().unwrap(),
            growth_interval: case["growth_interval"].as_u64().unwrap() as u32,
        };
        let mut scaler = LossScaler::new(config).unwrap();
        let mut scales = vec![scaler.scale()];
        for overflow in case["overflows"].as_array().unwrap() {
            scaler.update(overflow.as_bool().unwrap());
            scales.push(scaler.scale());
        }
        assert_eq!(scales, numbers(&case["scales"]));
    }
}

/// The scales of steps that overflow above `most`, where it is known `delay` steps later, without repetitions.
fn scales(config: LossScalerConfig, most: f64, delay: usize, steps: usize) -> Vec<f64> {
    let mut scaler = LossScaler::new(config).unwrap();
    let mut begun = Vec::new();
    for step in 0..steps {
        begun.push(scaler.scale());
        if let Some(done) = step.checked_sub(delay) {
            let scale: f64 = begun[done];
            scaler.update_late(scale, scale > most);
        }
    }
    begun.dedup();
    begun
}

proptest! {
    #[test]
    fn late_outcomes_give_the_same_scales_one_after_the_other(
        interval in 1u32..9,
        growth in 1.1f64..5.0,
        backoff in 0.05f64..0.9,
        most in -20i32..40,
        delay in 0usize..5,
    ) {
        let config = LossScalerConfig {
            init_scale: 65536.0,
            growth_factor: growth,
            backoff_factor: backoff,
            growth_interval: interval,
        };
        let most = f64::from(most).exp2();
        let expected = scales(config, most, 0, 200);
        let got = scales(config, most, delay, 2000);
        let length = expected.len().min(got.len());
        prop_assert!(length > 1);
        prop_assert_eq!(&got[..length], &expected[..length]);
    }
}

#[test]
fn one_step_late_costs_one_step_for_each_change() {
    let config = LossScalerConfig {
        init_scale: 8.0,
        growth_interval: 2,
        ..Default::default()
    };
    let mut scaler = LossScaler::new(config).unwrap();
    let mut begun = vec![scaler.scale()];
    for step in 1..9 {
        begun.push(scaler.scale());
        let before = begun[step - 1];
        scaler.update_late(before, before > 4.0);
    }
    // 8 overflows and is halved; two good steps of 4 double it, and that overflows again. The second step of each
    // scale was begun before its first was known.
    assert_eq!(begun, [8.0, 8.0, 4.0, 4.0, 4.0, 8.0, 8.0, 4.0, 4.0]);
}

#[test]
fn rates_are_pytorchs() {
    for case in golden(include_str!("../golden/schedules.json")) {
        let schedule: Schedule = serde_json::from_value(case["schedule"].clone()).unwrap();
        schedule.validate().unwrap();
        for (step, expected) in numbers(&case["rates"]).into_iter().enumerate() {
            let rate = schedule.rate(step);
            assert!(
                (rate - expected).abs() <= 1e-12 * expected.max(1e-3),
                "{schedule:?}, step {step}: {rate} instead of {expected}"
            );
        }
    }
}

fn adam() -> Adam {
    let config = AdamConfig {
        weight_decay: 0.1,
        clip_norm: Some(2.0),
        ..Default::default()
    };
    let mut adam = Adam::new(config).unwrap();
    adam.set_loss_scale(4.0).unwrap();
    adam
}

fn sgd() -> Sgd {
    let config = SgdConfig {
        momentum: 0.9,
        nesterov: true,
        ..Default::default()
    };
    Sgd::new(config).unwrap()
}

fn plain_sgd() -> Sgd {
    Sgd::new(SgdConfig::default()).unwrap()
}

#[test]
fn optimizers_go_on_on_any_device() {
    fn check<O: Resumable>(new: impl Fn() -> O) {
        for first in devices() {
            for second in devices() {
                let [expected, got] =
                    block_on(continued(&new, &first.autodiff(), &second.autodiff()));
                let (first, second) = (&first.info().name, &second.info().name);
                if first == second {
                    // The same kernels on the same numbers.
                    assert_eq!(got, expected, "{first}");
                } else {
                    let what = format!("{first} to {second}");
                    assert_same(&what, &got, &expected, TOLERANCE);
                }
            }
        }
    }
    check(adam);
    check(sgd);
    check(plain_sgd);
}

#[derive(Module, Debug)]
struct One {
    weight: Param<Tensor<2>>,
}

#[test]
fn optimizers_of_half_precision_go_on_too() {
    let device = Tensors::flex();
    let step = |one: One, adam: &mut Adam, phase: f64| {
        let mut gradients = GradientsParams::new();
        gradients.register(
            one.weight.id,
            tensor([3, 5], phase, &device).cast(DType::F16),
        );
        adam.step(0.01, one, gradients)
    };
    let weight = tensor([3, 5], 1.0, &device).cast(DType::F16);
    let new = |weight| One {
        weight: Param::from_tensor(weight),
    };
    let (mut one, mut first) = (new(weight), adam());
    for phase in [1.0, 2.0] {
        one = step(one, &mut first, phase);
    }
    let (mut other, mut second) = (new(one.weight.val()), adam());
    let record = block_on(first.state(&one)).unwrap();
    second.load_state(&other, record).unwrap();
    for phase in [3.0, 4.0] {
        (one, other) = (
            step(one, &mut first, phase),
            step(other, &mut second, phase),
        );
    }
    assert_eq!(one.weight.val().into_data(), other.weight.val().into_data());
}

#[test]
fn a_record_that_does_not_fit_changes_nothing() {
    for device in devices() {
        let device = device.autodiff();
        let mut bag = Bag::new(&SIZES, &device);
        let mut used = adam();
        let empty = block_on(used.state(&bag)).unwrap();
        assert!(empty.summary.parameters.is_empty() && empty.moments.is_empty());
        for phase in [1.0, 2.0] {
            let gradients = bag.gradients(phase, 1.0);
            bag = used.step(0.01, bag, gradients);
        }
        let record = block_on(used.state(&bag)).unwrap();
        let with = |change: &dyn Fn(&mut OptimizerRecord)| {
            let mut record = record.clone();
            change(&mut record);
            record
        };
        let bad = [
            ("missing", with(&|r| drop(r.moments.remove(3)))),
            ("twice", with(&|r| r.moments.push(r.moments[0].clone()))),
            (
                "has not",
                with(&|r| {
                    let name = "matrix.velocity".into();
                    let moment = r.moments[0].clone();
                    r.moments.push(NamedTensor { name, ..moment });
                }),
            ),
            ("shape", with(&|r| r.moments[2].shape.push(1))),
            ("shape", with(&|r| r.moments[2].values.push(1.0))),
            ("finite", with(&|r| r.moments[4].values[0] = f32::NAN)),
            (
                "'more'",
                with(&|r| {
                    r.summary.parameters.insert("more".into(), 1);
                }),
            ),
            ("loss scale", with(&|r| r.summary.loss_scale = 0.0)),
            (
                "without",
                with(&|r| {
                    r.moments.clear();
                    r.summary.parameters.clear();
                    r.summary.skipped = 1;
                }),
            ),
        ];
        for (word, record) in bad {
            let error = used.load_state(&bag, record).unwrap_err();
            assert!(
                error.is_bad_input() && error.to_string().contains(word),
                "{error}"
            );
        }
        // Of another optimizer, of another module, and before the last step.
        assert!(sgd().load_state(&bag, record.clone()).is_err());
        let other = Bag::new(&SIZES[..3], &device);
        assert!(used.load_state(&other, record.clone()).is_err());
        assert!(block_on(used.state(&other)).unwrap_err().is_bad_input());
        assert_eq!(block_on(used.state(&bag)).unwrap(), record);
        used.load_state(&bag, empty).unwrap();
        let gradients = bag.gradients(3.0, 1.0);
        let fresh = adam().step(0.01, bag.clone(), bag.gradients(3.0, 1.0));
        let anew = used.step(0.01, bag, gradients);
        assert_eq!(block_on(bag::values(&anew)), block_on(bag::values(&fresh)));
    }
}

/// A trained value and one that is not.
#[derive(Module, Debug)]
struct Normed {
    weight: Param<Tensor<2>>,
    running: Param<Tensor<1>>,
}

fn normed(phase: f64, device: &Tensors) -> Normed {
    Normed {
        weight: Param::from_tensor(tensor([7, 5], phase, device)),
        running: Param::from_tensor(tensor([3], phase, device)).set_require_grad(false),
    }
}

fn named(device: &Device, module: &Normed) -> Vec<NamedTensor> {
    block_on(collect(module)).unwrap_or_else(|error| panic!("{}: {error}", device.info().name))
}

#[test]
fn averages_are_their_closed_form() {
    for device in devices() {
        let tensors = device.autodiff();
        for warm_up in [false, true] {
            let config = EmaConfig {
                decay: 0.75,
                warm_up,
            };
            let first = normed(0.0, &tensors);
            let mut ema = Ema::new(config, &first).unwrap();
            let mut expected: Vec<f64> = named(&device, &first)[0]
                .values
                .iter()
                .map(|v| f64::from(*v))
                .collect();
            let mut saved: Option<(EmaRecord, Ema<Normed>)> = None;
            for step in 1..=9u32 {
                let module = normed(f64::from(step), &tensors);
                let decay = config.decay(u64::from(step - 1));
                if warm_up && step < 4 {
                    assert_eq!(decay, f64::from(step) / f64::from(9 + step));
                }
                let values = named(&device, &module);
                for (average, value) in expected.iter_mut().zip(&values[0].values) {
                    *average = decay * *average + (1.0 - decay) * f64::from(*value);
                }
                ema.update(&module).unwrap();
                if let Some((_, other)) = &mut saved {
                    other.update(&module).unwrap();
                }
                let average = named(&device, ema.module());
                let rounded: Vec<f32> = expected.iter().map(|v| *v as f32).collect();
                assert_close("average", &average[0].values, &rounded, 1e-6);
                assert_eq!(average[1], values[1], "what is not trained is copied");
                assert_eq!(named(&device, &module), values, "the module stays as it is");
                if step == 5 {
                    let record = block_on(ema.state()).unwrap();
                    let mut other = Ema::new(config, &normed(99.0, &tensors)).unwrap();
                    other.load_state(record.clone()).unwrap();
                    saved = Some((record, other));
                }
            }
            let weight = ema.module().weight.val();
            assert!(weight.is_require_grad() && weight.device() == tensors);
            let (record, other) = saved.unwrap();
            assert_eq!((record.updates, other.updates()), (5, 9));
            assert_eq!(named(&device, other.module()), named(&device, ema.module()));
        }
    }
}

#[test]
fn modules_and_records_that_do_not_fit_change_no_average() {
    let device = Tensors::flex().autodiff();
    let mut ema = Ema::new(EmaConfig::default(), &normed(1.0, &device)).unwrap();
    let before = block_on(ema.state()).unwrap();
    let other = Normed {
        weight: Param::from_tensor(tensor([5, 7], 1.0, &device)),
        running: Param::from_tensor(tensor([3], 1.0, &device)),
    };
    assert!(ema.update(&other).unwrap_err().is_bad_input());
    let mut record = before.clone();
    record.tensors[0].values[3] = f32::NAN;
    assert!(ema.load_state(record).unwrap_err().is_bad_input());
    assert_eq!(block_on(ema.state()).unwrap(), before);
    let untracked = Ema::new(EmaConfig::default(), &normed(1.0, &Tensors::flex()));
    assert!(untracked.unwrap_err().to_string().contains("autodiff"));
}
