//! The optimizer where a test changes or counts what belongs to the whole process: one test, so that it is alone.

use forgeling::device::LaunchCounter;
use forgeling::ops::{Bodies, set_bodies};
use forgeling::train::{Adam, AdamConfig};
use forgeling_tests::bag::{Bag, SIZES, TOLERANCE, assert_same, five_steps};
use forgeling_tests::devices;

#[test]
fn the_composite_gives_the_same_and_twelve_tensors_take_three_launches() {
    the_composite_gives_the_same();
    twelve_tensors_take_three_launches();
}

fn the_composite_gives_the_same() {
    let config = AdamConfig {
        weight_decay: 0.1,
        clip_norm: Some(2.0),
        ..Default::default()
    };
    for device in devices() {
        let own = pollster::block_on(five_steps(config, &device.autodiff()));
        set_bodies(Bodies::Composite);
        let composite = pollster::block_on(five_steps(config, &device.autodiff()));
        set_bodies(Bodies::Own);
        assert_same("composite", &own, &composite, TOLERANCE);
    }
}

fn twelve_tensors_take_three_launches() {
    let gpus: Vec<_> = devices().into_iter().filter(|d| !d.is_cpu()).collect();
    for device in gpus {
        let tensors = device.autodiff();
        let mut bag = Bag::new(&SIZES[..10], &tensors);
        let mut adam = Adam::new(AdamConfig::default()).unwrap();
        for step in 1..=3 {
            let gradients = bag.gradients(f64::from(step), 1.0);
            let counter = LaunchCounter::new();
            bag = adam.step(0.01, bag, gradients);
            let launches = counter.total();
            // The first step packs the parameters as well.
            let most = if step == 1 { 5 } else { 3 };
            assert!(launches <= most, "step {step}: {:?}", counter.by_kernel());
        }
    }
}
