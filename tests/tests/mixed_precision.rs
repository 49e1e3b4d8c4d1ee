//! What is trained in half precision comes to what is trained in f32: `cargo xtask reproduce mixed-precision` in small.

use forgeling::data::{Glyphs, Split, Subset};
use forgeling::train::{HalvingSchedule, Precision};
use forgeling::{Device, DeviceChoice};
use forgeling_tests::mixed_precision::{Episodes, Figures, Images};
use forgeling_tests::{devices, has_f16};

/// Trains with the same seed in f32 and in every other precision that a device has, and compares.
fn compare(floor: f64, margin: f64, train: impl Fn(&Device, Precision) -> Figures) {
    for device in devices() {
        let name = &device.info().name;
        let reference = train(&device, Precision::F32);
        eprintln!("{name}: f32 {reference:?}");
        assert!(reference.accuracy > floor, "{name}: {reference:?}");
        for precision in [Precision::F16, Precision::Bf16] {
            if precision == Precision::F16 && !has_f16(&device) {
                continue;
            }
            let figures = train(&device, precision);
            eprintln!("{name}: {precision} {figures:?}");
            assert_ne!(
                figures.loss, reference.loss,
                "{name}: {precision} made no difference"
            );
            assert!(figures.accuracy > floor, "{name}: {precision} {figures:?}");
            assert!(
                (figures.accuracy - reference.accuracy).abs() < margin,
                "{name}: {precision} {figures:?} and not {reference:?}"
            );
        }
    }
}

#[test]
fn prototypical_networks_learn_alike() {
    let episodes = Episodes {
        filters: 16,
        shots: 5,
        queries: 5,
        episodes: 100,
        schedule: HalvingSchedule {
            initial: 1e-2,
            every: 33,
        },
        tests: 60,
    };
    // Untrained it is 0.50.
    compare(0.72, 0.04, |device, precision| {
        episodes.run(device, precision, 1, |_, _| ()).unwrap()
    });
}

#[test]
fn perceptrons_learn_alike() {
    let drawings = |first: usize, count: usize| {
        let glyphs = Glyphs::new(0, Split::Train, 10).unwrap();
        let examples = (first..first + count).collect::<Vec<_>>();
        Subset::new(glyphs, vec![examples; 10]).unwrap()
    };
    let images = Images {
        hidden: 64,
        batch: 50,
        epochs: 4,
        rate: 1e-2,
    };
    compare(0.82, 0.03, |device, precision| {
        let sets = (drawings(0, 300), drawings(1000, 40));
        images.run(sets, device, precision, 1, |_, _| ()).unwrap()
    });
}

#[test]
fn f16_is_not_replaced_by_f32_without_a_word() {
    let cpu = pollster::block_on(Device::open(DeviceChoice::Cpu)).unwrap();
    let images = Images {
        hidden: 4,
        batch: 4,
        epochs: 1,
        rate: 1e-2,
    };
    let set = || Subset::first(Glyphs::new(0, Split::Train, 2).unwrap(), 2).unwrap();
    let refused = images.run((set(), set()), &cpu, Precision::F16, 1, |_, _| ());
    assert!(refused.unwrap_err().is_bad_input());
}
