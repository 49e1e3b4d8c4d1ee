//! `forgeling compress`

use std::ops::ControlFlow;

use forgeling::compress::{
    Criterion, GradualConfig, PruningEvent, PruningPlan, PruningStep, prune_gradually,
    source_gradients,
};
use forgeling::data::{LoaderConfig, Missing, Split, Standardization};
use forgeling::nn::Network;
use forgeling::train::parts::Method;
use forgeling::train::{
    CrossEntropy, Distillation, DistillationConfig, Epochs, HardwareConfig, HardwareManager,
    SavedNetwork, Schedule, TrainEvent, Trainer, TrainerConfig, TrainingHistory, Validation,
};
use forgeling::{Device, Error, Result};
use serde_json::json;

use super::supervised::{self, Examples, Wanted, readable};
use super::{ending, load_network, open, saving, unless_interrupted};
use crate::args::{Common, Compress};
use crate::output::Output;
use crate::sounds::Prepared;

const OPERATION: &str = "compress";
/// Whatever the seed: runs that differ in it are measured on the same images.
const SPLIT_SEED: u64 = 0;
/// Batches whose gradients the first plan sees.
const GRADIENT_BATCHES: usize = 8;

pub async fn run(args: &Compress, common: &Common, output: &Output) -> Result<()> {
    let device = open(common, output).await?;
    let saved = load_network(&args.model, &device)?;
    let config = GradualConfig {
        pruning: args.pruning.config(common.seed),
        steps: args.steps,
        training: TrainerConfig {
            epochs: Some(args.epochs.max(1)),
            schedule: Schedule::Constant {
                rate: args.learning_rate,
            },
            ..Default::default()
        },
        gradient_batches: GRADIENT_BATCHES,
    };
    config.validate()?;
    if let Some(out) = args.out.as_ref().filter(|_| !args.dry_run) {
        saving::try_model(out, saved.network.graph().counts().all())?;
    }
    let (train, held_out) = load(args, &saved, output)?;
    let normalization = saved.normalization.as_ref();
    let batches = LoaderConfig {
        batch_size: args.batch_size,
        seed: common.seed,
        ..Default::default()
    };
    let mut source = Epochs::of(supervised::loader(train, batches, normalization)?);
    let plan = first_plan(&saved.network, &config, &mut source, &device).await?;
    output.line(&plan);
    let mut object = json!({
        "network": saved.model,
        "pruning": config.pruning,
        "plan": plan,
        "dry_run": args.dry_run,
    });
    let Some(out) = args.out.as_ref().filter(|_| !args.dry_run) else {
        output.line("Nothing was changed: this was a plan.");
        output.object(OPERATION, &device, common.seed, object);
        return Ok(());
    };

    let judge = Judge {
        device: &device,
        hardware: args.hardware.config(),
        held_out: &held_out,
        batch: args.batch_size,
        normalization,
    };
    let before = judge.validate(&saved.network).await?;
    output.line(format_args!("Whole: {}", ending::accuracies(&before)));
    let (network, steps) = match args.epochs {
        0 => (plan.apply(&saved.network)?, Vec::new()),
        _ => {
            let manager = HardwareManager::on(device.clone(), args.hardware.config())?;
            in_steps(args, &saved, manager, &mut source, &config, output).await?
        }
    };
    let after = judge.validate(&network).await?;
    let sum = |of: fn(&PruningStep) -> usize| steps.iter().map(of).sum::<usize>();
    let mut smaller = SavedNetwork {
        history: TrainingHistory {
            steps: saved.history.steps + sum(|step| step.training.steps),
            epochs: saved.history.epochs + sum(|step| step.training.epochs),
            examples: saved.history.examples + sum(|step| step.training.examples),
            validation: Some(after).filter(|found| found.loss.is_finite()),
        },
        confidence: None,
        network,
        ..saved.clone()
    };
    let calibrated = smaller.calibrate(&held_out, &device).await;
    if let Err(problem) = &calibrated {
        // Without it the model is as good; its confidence is not.
        output.line(format_args!(
            "The model's confidence was not calibrated: {problem}"
        ));
    }
    ending::save(&smaller, out).await?;
    let [whole, left] = [&saved, &smaller].map(|model| model.network.graph());
    output.line(format_args!(
        "Pruned: {}; {} of {} trained values, {} of {} multiply-adds, {} of {}",
        ending::accuracies(&after),
        left.trained_values(),
        whole.trained_values(),
        left.multiply_adds(),
        whole.multiply_adds(),
        readable(4 * left.counts().all()),
        readable(4 * whole.counts().all()),
    ));
    output.line(format_args!("Saved {}", out.display()));
    let own = json!({
        "steps": steps.len(),
        "stopped": steps.len() < args.steps && args.epochs > 0,
        "accuracy_before": before.accuracy,
        "loss_before": before.loss,
        "accuracy": after.accuracy,
        "loss": after.loss,
        "examples": after.examples,
        "trained_values": left.trained_values(),
        "multiply_adds": left.multiply_adds(),
        "bytes": 4 * left.counts().all(),
        "calibrated": calibrated.is_ok(),
        "model": out.display().to_string(),
    });
    if let (Some(object), Some(own)) = (object.as_object_mut(), own.as_object()) {
        object.extend(own.clone());
    }
    output.object(OPERATION, &device, common.seed, object);
    Ok(())
}

/// What is trained on, and what accuracy is measured on.
fn load(args: &Compress, saved: &SavedNetwork, output: &Output) -> Result<(Examples, Examples)> {
    let named = args.validation_data.is_some();
    let part = args.validation > 0.0 && args.validation < 1.0;
    if !(named || part) {
        return Err(Error::invalid(OPERATION, "--validation is out of range")
            .expected("above 0 and below 1, or --validation-data")
            .got(args.validation));
    }
    let wanted = |source| -> Result<Wanted<'_>> {
        Ok(Wanted {
            shape: Some(saved.input()),
            glyphs: saved.classes.len(),
            per_class: args.per_class,
            pictures: &args.pictures,
            model: Prepared::of((saved.sounds, saved.pictures), source)?,
        })
    };
    let load = |source, split| {
        let known = (&saved.classes[..], Missing::Refused);
        supervised::load_known(wanted(source)?, source, split, known, output)
    };
    let all = load(&args.data, Split::Train)?;
    let (train, held_out) = match &args.validation_data {
        Some(source) => (all, load(source, Split::Test)?),
        None => all.split(args.validation, SPLIT_SEED)?,
    };
    if supervised::image_count(&held_out) == 0 {
        return Err(
            Error::invalid(OPERATION, "no images to measure accuracy on")
                .expected("a larger --validation, or --validation-data"),
        );
    }
    Ok((train, held_out))
}

/// What goes if all of it goes at once.
async fn first_plan(
    network: &Network,
    config: &GradualConfig,
    source: &mut Epochs,
    device: &Device,
) -> Result<PruningPlan> {
    let gradients = match config.pruning.criterion {
        Criterion::Taylor => {
            let count = config.gradient_batches;
            Some(source_gradients(network, &CrossEntropy, source, count, device).await?)
        }
        _ => None,
    };
    PruningPlan::of(network, &config.pruning, gradients.as_ref()).await
}

/// What accuracy is measured with.
struct Judge<'a> {
    device: &'a Device,
    hardware: HardwareConfig,
    held_out: &'a Examples,
    batch: usize,
    normalization: Option<&'a Standardization>,
}

impl Judge<'_> {
    async fn validate(&self, network: &Network) -> Result<Validation> {
        let manager = HardwareManager::on(self.device.clone(), self.hardware.clone())?;
        let trainer = Trainer::new(TrainerConfig::default(), manager)?;
        let in_order = LoaderConfig::validation(self.batch);
        let loader = supervised::loader(self.held_out.clone(), in_order, self.normalization)?;
        trainer
            .validate(network, &CrossEntropy, &mut Epochs::of(loader))
            .await
    }
}

/// Removes and trains in turns.
async fn in_steps(
    args: &Compress,
    saved: &SavedNetwork,
    manager: HardwareManager,
    source: &mut Epochs,
    config: &GradualConfig,
    output: &Output,
) -> Result<(Network, Vec<PruningStep>)> {
    let mut teacher = match args.distill {
        true => Some(Distillation::new(
            &saved.network,
            DistillationConfig::default(),
        )?),
        false => None,
    };
    let method = teacher
        .as_mut()
        .map(|teacher| teacher as &mut dyn Method<_, _>);
    let interrupted = unless_interrupted();
    let mut network = saved.network.clone();
    let tell = |event: &PruningEvent<'_>| -> ControlFlow<()> {
        match event {
            PruningEvent::Planned(step, plan) => output.line(format_args!(
                "Step {step} of {}: {} of {} channels stay, {} trained values",
                args.steps, plan.after.channels, plan.before.channels, plan.after.values
            )),
            PruningEvent::Training(TrainEvent::Epoch {
                epoch,
                loss,
                accuracy,
                ..
            }) => output.line(format_args!(
                "  epoch {epoch}: loss {loss:.3}, accuracy {:.1} %",
                100.0 * accuracy.unwrap_or(0.0)
            )),
            PruningEvent::Training(_) => {}
        }
        interrupted()
    };
    let steps = prune_gradually(
        &mut network,
        manager,
        &CrossEntropy,
        source,
        method,
        config,
        tell,
    )
    .await?;
    if steps.len() < args.steps {
        output.line(format_args!(
            "Stopped after step {} of {}.",
            steps.len(),
            args.steps
        ));
    }
    Ok((network, steps))
}
