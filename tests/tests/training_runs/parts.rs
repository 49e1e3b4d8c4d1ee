//! What methods add to the loop, by three small ones whose values are computed by hand.

use std::ops::ControlFlow;

use burn::tensor::{Device as Tensors, Tensor, TensorData};
use forgeling::data::Rng;
use forgeling::nn::Pass;
use forgeling::parallel::ParallelConfig;
use forgeling::train::parts::{Method, Needs, Part, Predictor, RunState, Sections};
use forgeling::train::{
    Batches, HardwareConfig, OptimizerConfig, Precision, Run, Schedule, SgdConfig, Source,
    TrainEvent, TrainerConfig,
};
use forgeling::{Device, Error, Result};
use forgeling_tests::{assert_close, devices};
use pollster::block_on;
use serde_json::Value;

use super::common::{Memory, cpu, glyphs, losses, mlp, steps, trainer, values};
use super::methods::{
    AGem, Distance, Ewc, Examples, FIRST, Firsts, Mean, RATE, Reset, Tasks, mean,
};

fn config(count: usize, momentum: f64, clip_norm: Option<f64>) -> TrainerConfig {
    TrainerConfig {
        optimizer: OptimizerConfig::Sgd(SgdConfig {
            momentum,
            clip_norm,
            ..Default::default()
        }),
        schedule: Schedule::Constant { rate: RATE },
        checkpoint_every: Some(1),
        ..steps(count)
    }
}

/// Losses of the steps, and the weights at the end.
fn train<S: Source<Batch = Examples>>(
    device: &Device,
    config: TrainerConfig,
    hardware: HardwareConfig,
    run: Run<'_, S, Mean>,
) -> Result<(Vec<f64>, Vec<f32>)> {
    let mut model = mean(device);
    let mut events = Vec::new();
    let mut trainer = trainer(device, config, hardware);
    let fit = trainer.fit(&mut model, &Distance, run, |event| {
        events.push(event.clone());
        ControlFlow::Continue(())
    });
    block_on(fit)?;
    Ok((losses(&events), values(&model)))
}

fn halves() -> HardwareConfig {
    HardwareConfig {
        precision: Precision::F16,
        micro_batch: Some(1),
        ..Default::default()
    }
}

#[test]
fn a_loss_term_adds_its_penalty() {
    for device in devices() {
        // Anchored at [0.5, 1] with importances [2, 4]: the gradient is that of the distance to the mean, [1, 2] - [0, 0],
        // and 3 [2, 4] ([1, 2] - [0.5, 1]), together [4, 14]; the loss is 5 / 2 and 3 / 2 (2 / 4 + 4).
        let tensor = |values: [f32; 2]| Tensor::from_data(values, device.tensors());
        // In one pass, and in two.
        for hardware in [HardwareConfig::default(), halves()] {
            let mut ewc = Ewc {
                kept: Some([tensor([2.0, 4.0]), tensor([0.5, 1.0])]),
            };
            let mut source = OneTask(Batches::new(vec![vec![[0.0, 0.0], [0.0, 0.0]]]));
            let run = Run::on(&mut source).with_method(&mut ewc);
            let (losses, weights) = train(&device, config(1, 0.0, None), hardware, run).unwrap();
            assert_close("weights", &weights, &[0.6, 0.6], 1e-5);
            assert!((losses[0] - 9.25).abs() < 1e-5, "{losses:?}");
        }
    }
}

/// One task without end.
struct OneTask(Batches<Examples>);

impl Source for OneTask {
    type Batch = Examples;

    async fn next(&mut self) -> Result<Option<Examples>> {
        self.0.next().await
    }

    fn provides(&self) -> Needs {
        Needs {
            task_boundaries: true,
            ..Default::default()
        }
    }

    fn state(&self) -> Value {
        self.0.state()
    }

    fn resume(&mut self, state: &Value) -> Result<()> {
        self.0.resume(state)
    }
}

#[test]
fn a_gradient_rule_projects_before_clipping() {
    for device in devices() {
        let step = |replayed: [f32; 2], clip_norm| {
            let (mut rule, mut buffer) = (AGem::default(), Firsts(vec![replayed]));
            let mut source = Batches::new(vec![vec![[3.0, 2.0], [3.0, 2.0]]]);
            let run = Run::on(&mut source)
                .with_method(&mut rule)
                .replaying(&mut buffer);
            let (_, weights) = train(&device, config(1, 0.0, clip_norm), halves(), run).unwrap();
            // The one before and that of the step.
            assert_eq!((rule.projected, buffer.0.len()), (1, 2));
            weights
        };
        // The gradient [-2, 0] points away from [1, 2], that of the example before: -2 / 5 of this is taken off.
        let got = step([0.0, 0.0], None);
        assert_close("projected", &got, &[1.16, 1.92], 1e-5);
        // Its length is the root of 3.2, of which 0.5 is left.
        let scale = 0.5 / 3.2f32.sqrt();
        let clipped = [1.0 + 0.16 * scale, 2.0 - 0.08 * scale];
        assert_close("clipped", &step([0.0, 0.0], Some(0.5)), &clipped, 1e-5);
        // Both point to the same side.
        assert_close("as it is", &step([9.0, 2.0], None), &[1.2, 2.0], 1e-5);
    }
}

#[test]
fn a_part_after_the_step_changes_model_and_optimizer() {
    for device in devices() {
        let run = |count: usize| {
            let mut reset = Reset::new();
            let mut source = Batches::new(vec![vec![[0.0, 0.0]]]);
            let run = Run::on(&mut source).with_method(&mut reset);
            let (_, weights) = train(&device, config(count, 0.9, None), halves(), run).unwrap();
            (weights, reset.seen)
        };
        let (weights, seen) = run(1);
        // The gradient is where the weights were.
        assert_close("first", &weights, &[0.9, 1.8], 1e-5);
        assert_eq!(seen, [FIRST, FIRST]);
        let drawn = Reset::draw(&mut Rng::new(5));
        assert_eq!(run(3).0, drawn);
        // Without any velocity of before.
        let (weights, seen) = run(4);
        assert_close("forgotten", &weights, &drawn.map(|value| 0.9 * value), 1e-5);
        assert_eq!(seen[0], drawn);
    }
}

#[test]
fn runs_with_parts_go_on_bit_for_bit() {
    const STEPS: usize = 13;
    let device = cpu();
    let run = |which: &str, memory: &mut Memory, count| {
        // Everything anew, as in another process.
        let (mut ewc, mut rule, mut reset) = (Ewc::default(), AGem::default(), Reset::new());
        let (mut buffer, mut source) = (Firsts::default(), Tasks::new());
        let mut run = Run::on(&mut source).saved_in(memory);
        if which.contains('e') {
            run = run.with_method(&mut ewc);
        }
        if which.contains('a') {
            run = run.with_method(&mut rule).replaying(&mut buffer);
        }
        if which.contains('r') {
            run = run.with_method(&mut reset);
        }
        train(&device, config(count, 0.9, None), halves(), run).unwrap()
    };
    let plain = run("", &mut Memory::default(), STEPS);
    for which in ["e", "a", "r", "ear"] {
        let mut all = Memory::default();
        let whole = run(which, &mut all, STEPS);
        assert_ne!(whole, plain, "{which} does something");
        // Killed after any step, just when its checkpoint was there.
        for killed in 1..all.0.len() {
            let mut left = Memory(all.0[..killed].to_vec());
            let (losses, weights) = run(which, &mut left, STEPS);
            assert_eq!(losses, whole.0[STEPS - losses.len()..], "{which}, {killed}");
            assert_eq!(weights, whole.1, "{which}, {killed}");
        }
    }
}

/// The same class for every image.
struct Always(usize);

impl RunState for Always {
    fn save(&self, _to: &mut Sections) -> Result<()> {
        Ok(())
    }

    fn load(&mut self, _from: &Sections, _device: &Tensors) -> Result<()> {
        Ok(())
    }
}

impl<M> Part<M> for Always {
    fn name(&self) -> &str {
        "always"
    }
}

impl<M> Predictor<M, forgeling::data::ImageBatch> for Always {
    fn predict<'m>(
        &self,
        _model: &'m M,
        batch: &forgeling::data::ImageBatch,
        _pass: &mut Pass<'m>,
    ) -> Result<Tensor<2>> {
        let row = |_: &usize| (0..5).map(|class| f32::from(u8::from(class == self.0)));
        let scores: Vec<f32> = batch.labels.iter().flat_map(row).collect();
        let data = TensorData::new(scores, [batch.labels.len(), 5]);
        Ok(Tensor::from_data(data, &Tensors::flex()))
    }
}

impl<M> Method<M, forgeling::data::ImageBatch> for Always {
    fn predictor(&self) -> Option<&dyn Predictor<M, forgeling::data::ImageBatch>> {
        Some(self)
    }
}

#[test]
fn a_predictor_tells_classes_apart_where_the_model_is_validated() {
    let device = cpu();
    let validation = |predictor: Option<&mut Always>, several: bool| {
        let (mut source, mut held_out) = (glyphs(1, 17), glyphs(2, 40));
        let mut run = Run::on(&mut source).validated_on("held out", &mut held_out);
        if let Some(predictor) = predictor {
            run = run.with_method(predictor);
        }
        let config = TrainerConfig {
            validate_every: Some(3),
            ..steps(3)
        };
        let (mut model, mut trainer) = (mlp(&device), trainer(&device, config, Default::default()));
        let nothing = |_: &TrainEvent| ControlFlow::Continue(());
        let objective = &forgeling::train::CrossEntropy;
        let summary = match several {
            false => block_on(trainer.fit(&mut model, objective, run, nothing)),
            true => {
                let parallel = ParallelConfig::default();
                let devices = [device.clone(), device.clone()];
                let fit =
                    trainer.fit_on_devices(&devices, parallel, &mut model, objective, run, nothing);
                block_on(fit)
            }
        };
        summary.unwrap().validation.unwrap()
    };
    let without = validation(None, false);
    for class in [0, 3] {
        let with = validation(Some(&mut Always(class)), false);
        assert_eq!(with.loss, without.loss);
        assert_eq!(with.accuracy, Some(0.2));
        // Predictors go together with several devices.
        assert_eq!(
            validation(Some(&mut Always(class)), true).accuracy,
            Some(0.2)
        );
    }
}

fn refused(run: Run<'_, Batches<Examples>, Mean>) -> Error {
    train(&cpu(), config(2, 0.0, None), Default::default(), run).unwrap_err()
}

#[test]
fn what_does_not_go_together_is_an_error_at_the_start() {
    let batches = || Batches::new(vec![vec![[1.0, 1.0]]]);
    let mut source = batches();
    let says = |error: Error, words: &[&str]| {
        let text = error.to_string();
        assert!(error.is_bad_input(), "{text}");
        for word in words {
            assert!(text.contains(word), "{text}");
        }
    };
    let (mut one, mut other) = (AGem::default(), AGem::default());
    let run = Run::on(&mut source)
        .with_method(&mut one)
        .with_method(&mut other);
    says(refused(run), &["gradient rules", "one at most", "2"]);
    let run = Run::on(&mut source).with_method(&mut one);
    says(refused(run), &["'a-gem'", "replay buffer"]);
    let mut ewc = Ewc::default();
    let run = Run::on(&mut source).with_method(&mut ewc);
    says(refused(run), &["'ewc'", "tasks"]);
    let (mut reset, mut again) = (Reset::new(), Reset::new());
    let run = Run::on(&mut source)
        .with_method(&mut reset)
        .with_method(&mut again);
    says(refused(run), &["name", "'reset'"]);

    // A checkpoint of a run with other parts.
    let mut memory = Memory::default();
    let run = Run::on(&mut source)
        .with_method(&mut reset)
        .saved_in(&mut memory);
    train(&cpu(), config(2, 0.0, None), Default::default(), run).unwrap();
    let mut source = batches();
    let run = Run::on(&mut source).saved_in(&mut memory);
    says(refused(run), &["other parts", "none", "reset"]);
}
