//! How much a GPU is asked to do for one training step.

use forgeling::data::{Glyphs, Split};
use forgeling::device::LaunchCounter;
use forgeling::meta::{EpisodeTrainer, FitConfig, ProtoNet};
use forgeling::nn::Conv4Config;
use forgeling::{Device, DeviceChoice};
use forgeling_tests::devices;

/// Launches of a whole Conv4 ProtoNet step with Adam.
const MOST: usize = 40;

#[test]
fn a_training_step_takes_few_launches() {
    let glyphs = Glyphs::new(0, Split::Train, 50).unwrap();
    let config = Conv4Config {
        filters: 12,
        ..Default::default()
    };
    for device in devices().into_iter().filter(|device| !device.is_cpu()) {
        let mut model = ProtoNet::new(&config, &device).unwrap();
        let mut trainer = EpisodeTrainer::new(FitConfig::default()).unwrap();
        let mut step = || {
            let counter = LaunchCounter::on(&device);
            pollster::block_on(trainer.step(&mut model, &glyphs)).unwrap();
            let peak = counter.peak_bytes().unwrap();
            (counter.total(), counter.by_kernel(), counter.bytes(), peak)
        };
        // The first step also brings the parameters into order.
        step();
        let (total, kernels, bytes, peak) = step();
        assert!(
            total <= MOST,
            "{total} on {}: {kernels:#?}",
            device.info().name
        );
        // The first block's convolution of 100 images is kept for the backward pass, and is written and read again.
        let convolved = 100 * 28 * 28 * 12 * 4;
        assert!(peak > convolved && peak < 8 * convolved, "{peak}");
        assert!(bytes > 4 * convolved && bytes < 40 * convolved, "{bytes}");
    }
    // Here, because there is one counter at a time.
    let cpu = pollster::block_on(Device::open(DeviceChoice::Cpu)).unwrap();
    assert_eq!(LaunchCounter::on(&cpu).peak_bytes(), None);
}
