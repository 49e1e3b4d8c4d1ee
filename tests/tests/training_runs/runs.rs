//! Runs on one device.

use std::ops::ControlFlow;

use forgeling::Device;
use forgeling::data::ImageBatch;
use forgeling::device::MemoryBudget;
use forgeling::nn::zoo::{MlpConfig, ResNetConfig};
use forgeling::nn::{MemoryPlan, PlanConfig};
use forgeling::train::{
    Batches, Classify, CrossEntropy, EarlyStoppingConfig, EmaConfig, Goal, HardwareConfig,
    HardwareManager, LossScalerConfig, OptimizerConfig, Precision, Preset, Run, Schedule,
    SgdConfig, Source, StopReason, TrainEvent, TrainerConfig,
};
use forgeling_tests::{devices, has_f16};

use super::common::{
    Memory, cpu, fit, furthest, glyphs, mlp, mlp_config, network, steps, trainer, values,
};

/// Stops early, at rates that become large enough to spoil what was learned.
fn spoiling(count: usize) -> TrainerConfig {
    TrainerConfig {
        schedule: Schedule::Linear {
            initial: 1e-3,
            last: 0.3,
            steps: 60,
        },
        early_stopping: Some(EarlyStoppingConfig {
            patience: 3,
            ..Default::default()
        }),
        validate_every: Some(4),
        ..steps(count)
    }
}

/// On two sets of different kinds, of which the second is the one that counts.
#[test]
fn several_validation_sets_are_told_apart_and_one_of_them_judges() {
    let device = cpu();
    let batches = || {
        let mut source = glyphs(3, 20);
        let first = pollster::block_on(Source::next(&mut source)).unwrap();
        Batches::new(first.into_iter().collect::<Vec<_>>())
    };
    let run = |judge: Option<&str>, memory: &mut Memory, count| {
        let config = spoiling(count);
        let mut model = mlp(&device);
        let (mut source, mut epochs, mut few) = (glyphs(1, 20), glyphs(2, 60), batches());
        let mut run = Run::on(&mut source).saved_in(memory);
        run = run
            .validated_on("epochs", &mut epochs)
            .validated_on("few", &mut few);
        if let Some(judge) = judge {
            run = run.judged_on(judge);
        }
        let mut trainer = trainer(&device, config, Default::default());
        let (_, events, summary) = fit(&mut trainer, &mut model, run);
        let of = |name: &str| {
            let found = events.iter().filter_map(move |event| match event {
                TrainEvent::Validated {
                    set,
                    judges,
                    validation,
                    ..
                } if set == name => Some((*judges, validation.loss)),
                _ => None,
            });
            found.collect::<Vec<(bool, f64)>>()
        };
        let (mut epochs, mut few) = (glyphs(2, 60), batches());
        let objective = &CrossEntropy;
        let left = [
            pollster::block_on(trainer.validate(&model, objective, &mut epochs))
                .unwrap()
                .loss,
            pollster::block_on(trainer.validate(&model, objective, &mut few))
                .unwrap()
                .loss,
        ];
        (of("epochs"), of("few"), left, summary, values(&model))
    };
    let least = |found: &[(bool, f64)]| {
        let losses = found.iter().map(|(_, loss)| *loss);
        losses.fold(f64::INFINITY, f64::min)
    };
    for (judge, place) in [(None, 0), (Some("epochs"), 0), (Some("few"), 1)] {
        let (epochs, few, left, summary, weights) = run(judge, &mut Memory::default(), 500);
        assert_eq!(summary.reason, StopReason::Converged);
        assert_eq!(epochs.len(), few.len());
        assert!(epochs.iter().all(|(judges, _)| *judges == (place == 0)));
        assert!(few.iter().all(|(judges, _)| *judges == (place == 1)));
        let sets = [&epochs, &few];
        assert_eq!(left[place], least(sets[place]), "the best is left behind");
        assert_eq!(
            summary.validation.unwrap().loss,
            sets[place].last().unwrap().1
        );
        // In two halves.
        let mut memory = Memory::default();
        run(judge, &mut memory, 9);
        assert_eq!(run(judge, &mut memory, 500).4, weights);
    }
    let refused = |names: [&str; 2], judge: &str| {
        let (mut source, mut one, mut other) = (glyphs(1, 20), glyphs(2, 60), batches());
        let run = Run::on(&mut source).validated_on(names[0], &mut one);
        let run = run.validated_on(names[1], &mut other).judged_on(judge);
        let (mut model, mut trainer) =
            (mlp(&device), trainer(&device, steps(1), Default::default()));
        let fit = trainer.fit(
            &mut model,
            &CrossEntropy,
            run,
            |_| ControlFlow::Continue(()),
        );
        pollster::block_on(fit).unwrap_err().to_string()
    };
    assert!(refused(["a", "a"], "a").contains("'a'"));
    assert!(refused(["a", "b"], "c").contains("'c'"));
}

/// With all that has a state, in two halves and in one piece; in half precision where that is.
#[test]
fn a_resumed_run_is_the_run() {
    for device in devices() {
        let config = |count| TrainerConfig {
            schedule: Schedule::Cosine {
                initial: 0.01,
                floor: 0.0,
                steps: 40,
            },
            ema: Some(EmaConfig::default()),
            early_stopping: Some(EarlyStoppingConfig {
                goal: Goal::Maximize,
                patience: 99,
                ..Default::default()
            }),
            validate_every: Some(7),
            checkpoint_every: Some(3),
            ..steps(count)
        };
        let hardware = HardwareConfig {
            precision: Precision::F16,
            loss_scaler: LossScalerConfig {
                init_scale: 1024.0,
                growth_interval: 9,
                ..Default::default()
            },
            ..Default::default()
        };
        let run = |counts: &[usize]| {
            let mut memory = Memory::default();
            let (mut all, mut scales) = (Vec::new(), Vec::new());
            let mut last = None;
            for count in counts {
                // Everything anew, as in another process.
                let mut model = mlp(&device);
                let (mut source, mut validation) = (glyphs(1, 17), glyphs(2, 40));
                let mut trainer = trainer(&device, config(*count), hardware.clone());
                let run = Run::on(&mut source).validated_on("held out", &mut validation);
                let run = run.saved_in(&mut memory);
                let (losses, events, summary) = fit(&mut trainer, &mut model, run);
                let resumed = events
                    .iter()
                    .any(|event| matches!(event, TrainEvent::Resumed { .. }));
                assert_eq!(resumed, !all.is_empty());
                assert_eq!(summary.steps, *count);
                all.extend(losses);
                scales.push(trainer.manager().loss_scale());
                last = Some((values(&model), summary.validation));
            }
            (all, scales.pop().unwrap(), last.unwrap())
        };
        let whole = run(&[31]);
        let halves = run(&[10, 23, 31]);
        assert_eq!(whole.0.len(), 31);
        assert_eq!(whole.1, halves.1);
        if device.is_cpu() {
            assert_eq!(whole, halves);
        } else {
            for (a, b) in whole.0.iter().zip(&halves.0) {
                assert!((a - b).abs() < 1e-3, "{a} {b}");
            }
            assert!(furthest(&whole.2.0, &halves.2.0) < 1e-2);
            if has_f16(&device) {
                assert!(whole.1 > 1024.0, "the scale has grown to {}", whole.1);
            }
        }
    }
}

#[test]
fn a_checkpoint_of_another_model_is_an_error_that_names_the_parameter() {
    let device = cpu();
    let mut memory = Memory::default();
    let mut source = glyphs(1, 17);
    let run = Run::on(&mut source).saved_in(&mut memory);
    fit(
        &mut trainer(&device, steps(2), Default::default()),
        &mut mlp(&device),
        run,
    );
    let config = MlpConfig {
        hidden: vec![49],
        ..mlp_config()
    };
    let mut other = network(&config, &device);
    let mut source = glyphs(1, 17);
    let mut trainer = trainer(&device, steps(4), Default::default());
    let run = Run::on(&mut source).saved_in(&mut memory);
    let fit = trainer.fit(
        &mut other,
        &CrossEntropy,
        run,
        |_| ControlFlow::Continue(()),
    );
    let error = pollster::block_on(fit).unwrap_err();
    assert!(error.to_string().contains("layers.0"), "{error}");
}

#[test]
fn the_best_model_is_left_behind_when_training_is_stopped_early() {
    let device = cpu();
    let config = spoiling(500);
    let mut model = mlp(&device);
    let (mut source, mut validation) = (glyphs(1, 20), glyphs(2, 60));
    let mut trainer = trainer(&device, config, Default::default());
    let run = Run::on(&mut source).validated_on("held out", &mut validation);
    let (_, events, summary) = fit(&mut trainer, &mut model, run);
    assert_eq!(summary.reason, StopReason::Converged);
    assert!(summary.steps < 500);
    let validated = events.iter().filter_map(|event| match event {
        TrainEvent::Validated { validation, .. } => Some(validation.loss),
        _ => None,
    });
    let best = validated.fold(f64::INFINITY, f64::min);
    assert!(summary.validation.unwrap().loss > best);
    let mut again = glyphs(2, 60);
    let left = pollster::block_on(trainer.validate(&model, &CrossEntropy, &mut again)).unwrap();
    assert_eq!(left.loss, best);
}

#[test]
fn the_average_is_what_is_left_behind() {
    let device = cpu();
    let run = |ema| {
        let mut model = mlp(&device);
        let config = TrainerConfig { ema, ..steps(3) };
        let mut source = glyphs(1, 20);
        let mut trainer = trainer(&device, config, Default::default());
        fit(&mut trainer, &mut model, Run::on(&mut source));
        values(&model)
    };
    let begun = values(&mlp(&device));
    let last = run(None);
    let frozen = run(Some(EmaConfig {
        decay: 0.99999,
        warm_up: false,
    }));
    assert!(furthest(&frozen, &begun) < 1e-6);
    assert!(furthest(&last, &begun) > 1e-3);
    let half = run(Some(EmaConfig {
        decay: 0.5,
        warm_up: false,
    }));
    let (to_last, to_begun) = (furthest(&half, &last), furthest(&half, &begun));
    assert!(to_last > 1e-5 && to_begun > 1e-4, "{to_last} {to_begun}");
}

fn one_batch(count: usize) -> ImageBatch {
    let mut source = glyphs(5, count);
    let batch = forgeling::train::Source::next(&mut source);
    pollster::block_on(batch).unwrap().unwrap()
}

/// The bytes that steps take without a budget, and the losses.
fn within<M: Classify>(
    device: &Device,
    model: &mut M,
    budget: u64,
    micro_batch: Option<usize>,
    batch: &ImageBatch,
) -> (u64, Vec<f64>, Option<usize>) {
    let hardware = HardwareConfig {
        precision: Precision::F32,
        micro_batch,
        memory_budget: Some(MemoryBudget::Bytes(budget)),
        ..Default::default()
    };
    let config = TrainerConfig {
        optimizer: OptimizerConfig::Sgd(SgdConfig::default()),
        schedule: Schedule::Constant { rate: 0.5 },
        ..steps(6)
    };
    let mut trainer = trainer(device, config, hardware);
    let mut source = Batches::new(vec![batch.clone()]);
    let mut losses = Vec::new();
    let fit = trainer.fit(model, &CrossEntropy, Run::on(&mut source), |event| {
        if let TrainEvent::Step(step) = event {
            losses.push(step.loss);
        }
        ControlFlow::Continue(())
    });
    pollster::block_on(fit).unwrap();
    let peak = trainer.manager().ledger().unwrap().peak();
    (peak, losses, trainer.micro_batch())
}

/// Half of the memory that a batch takes: smaller passes are found, and losses stay those of the whole batch.
#[test]
fn half_the_memory_gives_the_same_losses_in_smaller_passes() {
    for device in devices() {
        let config = MlpConfig {
            hidden: vec![512, 512],
            ..mlp_config()
        };
        let batch = one_batch(120);
        let batch = ImageBatch {
            shape: batch.shape,
            images: batch.images.repeat(40),
            labels: batch.labels.repeat(40),
        };
        let model = || network(&config, &device);
        let (peak, whole, micro) = within(&device, &mut model(), u64::MAX, None, &batch);
        assert_eq!(micro, None);
        let (_, parts, micro) = within(&device, &mut model(), peak / 2, None, &batch);
        // The search itself may be told of a backward pass's excess only afterwards.
        let (within_half, again, _) = within(&device, &mut model(), peak / 2, micro, &batch);
        assert_eq!(again.len(), parts.len());
        let name = &device.info().name;
        eprintln!("{name}: {peak} bytes, then {within_half} with passes of {micro:?}");
        assert!(within_half <= peak / 2, "{within_half} of {peak}");
        assert!(micro.is_some_and(|micro| micro < batch.labels.len()));
        assert_eq!(whole.len(), 6);
        for (a, b) in whole.iter().zip(&parts) {
            assert!((a - b).abs() <= 1e-5 * a.abs(), "{name}: {a} and {b}");
        }
        assert!(whole[5] < whole[0] * 0.97, "{whole:?}");
    }
}

#[test]
fn presets_are_kept_and_can_be_read_back() {
    let device = cpu();
    let plan = |config: &HardwareConfig| {
        let manager = HardwareManager::on(device.clone(), config.clone()).unwrap();
        let config = PlanConfig {
            precision: manager.precision().planned(),
            checkpointing: config.gradient_checkpointing,
            ..Default::default()
        };
        let resnet = ResNetConfig {
            width: 16,
            ..Default::default()
        };
        let resnet = resnet.graph().unwrap();
        MemoryPlan::new(&resnet, 64, config, &device).unwrap().peak
    };
    let configs = Preset::ALL.map(HardwareConfig::from);
    let [fast, constrained, throughput, browser] = configs.each_ref().map(plan);
    assert!(constrained < throughput && throughput < fast);
    assert_eq!(browser, fast);
    for (preset, config) in Preset::ALL.into_iter().zip(configs) {
        assert_eq!(preset.to_string().parse::<Preset>().unwrap(), preset);
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(
            serde_json::from_str::<HardwareConfig>(&text).unwrap(),
            config
        );
    }
    let tight = HardwareConfig::from(Preset::Browser);
    let report = HardwareManager::on(device.clone(), tight).unwrap().report();
    assert_eq!(report.memory_budget, Some(512 << 20));
    assert!(
        "quick"
            .parse::<Preset>()
            .unwrap_err()
            .to_string()
            .contains("memory_constrained")
    );
}
