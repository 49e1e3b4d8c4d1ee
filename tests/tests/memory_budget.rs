//! Budgets: an operation beyond one is an error, and trainers that share a device keep to their own.

use forgeling::device::{Ledger, MemoryBudget, MemoryMonitor, MemoryReport, Phase};
use forgeling::nn::graph::Shape;
use forgeling::nn::zoo::{Conv4Config, MlpConfig, ResNetConfig};
use forgeling::nn::{MemoryPlan, PlanConfig};
use forgeling::ops::plan::PlannedPrecision;
use forgeling_tests::devices;
use forgeling_tests::memory_budget::{
    Trainee, refuses_and_goes_on, takes_turns, tells_of_the_backward_pass,
};

/// One after the other, since they look at what the whole process holds.
#[test]
fn budgets_are_kept() {
    for device in devices() {
        pollster::block_on(refuses_and_goes_on(&device));
        pollster::block_on(takes_turns(&device));
        if !device.is_cpu() {
            pollster::block_on(tells_of_the_backward_pass(&device));
        }
        two_threads_share_a_device(&device);
        phases_are_followed(&device);
    }
}

fn two_threads_share_a_device(device: &forgeling::Device) {
    let sizes = [3, 30];
    let threads = sizes.map(|images| {
        let device = device.clone();
        std::thread::spawn(move || {
            let budget = Trainee::planned(&device, images) * 3 / 2;
            let mut trainee = Trainee::new(&device, budget);
            for _ in 0..3 {
                assert!(
                    pollster::block_on(trainee.step(images))
                        .unwrap()
                        .is_finite()
                );
            }
            let refused = pollster::block_on(trainee.step(images * 4)).unwrap_err();
            assert!(refused.is_out_of_memory(), "{refused}");
            assert!(
                pollster::block_on(trainee.step(images))
                    .unwrap()
                    .is_finite()
            );
            (trainee.ledger.peak(), budget)
        })
    });
    for thread in threads {
        let (peak, budget) = thread.join().unwrap();
        assert!(peak > 0 && peak <= budget, "{peak} of {budget}");
    }
}

fn phases_are_followed(device: &forgeling::Device) {
    let mut trainee = Trainee::new(device, 1 << 40);
    let mut monitor = MemoryMonitor::watching(device);
    monitor.end(Phase::Data);
    pollster::block_on(trainee.step(40)).unwrap();
    monitor.end(Phase::Step);
    let report = monitor.report().clone();
    let [data, step] = [Phase::Data, Phase::Step].map(|phase| report.phases[&phase]);
    // The first block's convolution alone.
    let convolved = 40 * 28 * 28 * 16 * 4;
    assert!(step.peak > data.peak + convolved, "{report:?}");
    assert!(step.reserved >= step.in_use && step.times == 1);
    assert_eq!(report.peak(), step.peak);
    let text = serde_json::to_string(&report).unwrap();
    assert!(text.contains(r#""phases":{"data":{"in_use":"#), "{text}");
    assert_eq!(serde_json::from_str::<MemoryReport>(&text).unwrap(), report);
    drop(monitor);
    let reserved = device.memory().reserved;
    drop(trainee);
    device.cleanup();
    let usage = device.memory();
    assert!(usage.reserved < reserved, "{usage:?} after {reserved}");
    assert!(usage.peak >= usage.in_use);
}

#[test]
fn fractions_are_of_the_devices_limit() {
    for device in devices() {
        let limit = device.memory_limit();
        assert!(limit >= 1 << 28, "{limit}");
        let half = MemoryBudget::fraction(0.5).unwrap();
        assert_eq!(half.resolve(&device).unwrap(), limit / 2);
        assert!(MemoryBudget::Fraction(2.0).resolve(&device).is_err());
        assert!(Ledger::new(&device, MemoryBudget::Bytes(0)).is_err());
        assert_eq!(Ledger::new(&device, half).unwrap().budget(), limit / 2);
    }
}

#[test]
fn plans_grow_with_batches_and_say_what_for() {
    let device = &devices()[0];
    let encoder = Conv4Config::default().graph().unwrap();
    let network = encoder.with_outputs(10).unwrap();
    let plain = PlanConfig::default();
    let plan = |batch, config| MemoryPlan::new(&network, batch, config, device).unwrap();
    let peaks: Vec<u64> = [1, 2, 20, 200]
        .map(|batch| plan(batch, plain).peak)
        .to_vec();
    assert!(peaks.is_sorted(), "{peaks:?}");
    let whole = plan(200, plain);
    for precision in [PlannedPrecision::F16, PlannedPrecision::Packed16] {
        let config = PlanConfig { precision, ..plain };
        let peak = plan(200, config).peak;
        assert!(
            peak < whole.peak * 3 / 5,
            "{precision:?} takes {peak} of {}",
            whole.peak
        );
    }
    let resnet = ResNetConfig {
        width: 16,
        ..Default::default()
    };
    let resnet = resnet.graph().unwrap();
    let [all, some] = [false, true].map(|checkpointing| {
        let config = PlanConfig {
            checkpointing,
            ..plain
        };
        MemoryPlan::new(&resnet, 200, config, device).unwrap().peak
    });
    assert!(some < all * 3 / 5, "{some} of {all} with checkpoints");
    assert_eq!(
        whole
            .contributors
            .iter()
            .map(|part| part.bytes)
            .sum::<u64>(),
        whole.peak
    );
    assert_eq!(whole.phases.values().max(), Some(&whole.peak));
    let text = whole.explain();
    assert!(
        text.contains("backward") && text.contains("blocks.0.convolved"),
        "{text}"
    );
    let json = serde_json::to_string(&whole).unwrap();
    assert_eq!(serde_json::from_str::<MemoryPlan>(&json).unwrap(), whole);

    let most = MemoryPlan::largest_batch(&network, 500, plain, device, peaks[2]).unwrap();
    assert_eq!(most, Some(20));
    assert_eq!(
        MemoryPlan::largest_batch(&network, 7, plain, device, peaks[2]).unwrap(),
        Some(7)
    );
    assert_eq!(
        MemoryPlan::largest_batch(&network, 7, plain, device, 1000).unwrap(),
        None
    );
    assert!(
        MemoryPlan::new(&network, 0, plain, device)
            .unwrap_err()
            .is_bad_input()
    );
    let wrong = MlpConfig {
        input: Shape::Values(0),
        ..Default::default()
    };
    assert!(wrong.graph().unwrap_err().is_bad_input());
}
