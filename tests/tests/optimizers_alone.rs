//! The optimizers where a test changes or counts what belongs to the whole process: one test, so that it is alone.

use forgeling::device::LaunchCounter;
use forgeling::ops::{Implementation, set_implementation};
use forgeling::train::{Adam, AdamConfig, Sgd, SgdConfig};
use forgeling_tests::bag::{Bag, Optimizer, SIZES, TOLERANCE, assert_same, five_steps};
use forgeling_tests::{devices, gpus};

fn adam() -> Adam {
    let config = AdamConfig {
        weight_decay: 0.1,
        clip_norm: Some(2.0),
        ..Default::default()
    };
    Adam::new(config).unwrap()
}

fn sgd() -> Sgd {
    let config = SgdConfig {
        momentum: 0.9,
        nesterov: true,
        weight_decay: 0.1,
        clip_norm: Some(2.0),
    };
    Sgd::new(config).unwrap()
}

fn plain_sgd() -> Sgd {
    Sgd::new(SgdConfig::default()).unwrap()
}

#[test]
fn the_composite_gives_the_same_and_twelve_tensors_take_three_launches() {
    the_composite_gives_the_same(adam);
    the_composite_gives_the_same(sgd);
    the_composite_gives_the_same(plain_sgd);
    twelve_tensors_take_three_launches(adam);
    twelve_tensors_take_three_launches(sgd);
}

fn the_composite_gives_the_same<O: Optimizer>(new: impl Fn() -> O) {
    for device in devices() {
        let own = pollster::block_on(five_steps(new(), &device.autodiff()));
        set_implementation(Implementation::Composite);
        let composite = pollster::block_on(five_steps(new(), &device.autodiff()));
        set_implementation(Implementation::Own);
        assert_same("composite", &own, &composite, TOLERANCE);
    }
}

fn twelve_tensors_take_three_launches<O: Optimizer>(new: impl Fn() -> O) {
    for device in gpus() {
        let tensors = device.autodiff();
        let mut bag = Bag::new(&SIZES[..10], &tensors);
        let mut optimizer = new();
        for step in 1..=3 {
            let gradients = bag.gradients(f64::from(step), 1.0);
            let counter = LaunchCounter::new();
            bag = optimizer.step(0.01, bag, gradients);
            let launches = counter.total();
            // The first step packs the parameters as well.
            let most = if step == 1 { 5 } else { 3 };
            assert!(launches <= most, "step {step}: {:?}", counter.by_kernel());
        }
    }
}
