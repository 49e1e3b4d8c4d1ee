//! `forgeling compress`

mod eight_bits;
mod judge;
mod pruning;

use std::fmt::Display;

use forgeling::compress::GradualConfig;
use forgeling::data::LoaderConfig;
use forgeling::nn::Network;
use forgeling::train::{
    Distillation, DistillationConfig, Epochs, HardwareManager, SavedNetwork, Schedule,
    TrainSummary, TrainerConfig, TrainingHistory, Validation,
};
use forgeling::{Error, Result};
use serde_json::{Value, json};

use self::judge::Judge;
use super::supervised::{self, readable};
use super::{ending, load_network, open, saving};
use crate::args::{Common, Compress, WeightFormat};
use crate::output::Output;

const OPERATION: &str = "compress";
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
    check(args, &config)?;
    if let Some(out) = args.out.as_ref().filter(|_| !args.dry_run) {
        saving::try_model(out, saved.network.graph().counts().all())?;
    }
    let (train, held_out) = judge::load(args, &saved, output)?;
    let normalization = saved.normalization.as_ref();
    let batches = LoaderConfig {
        batch_size: args.batch_size,
        seed: common.seed,
        ..Default::default()
    };
    let mut source = Epochs::of(supervised::loader(train, batches, normalization)?);
    let plan = match args.pruning.prune {
        Some(_) => Some(pruning::first_plan(&saved.network, &config, &mut source, &device).await?),
        None => None,
    };
    let mut object = json!({ "network": saved.model, "dry_run": args.dry_run });
    if let Some(plan) = &plan {
        output.line(plan);
        extend(
            &mut object,
            json!({ "pruning": config.pruning, "plan": plan }),
        );
    }
    if args.quantize == Some(WeightFormat::Int8) {
        let whole = &saved.network;
        let left = match &plan {
            Some(plan) => eight_bits::plan(&plan.apply(whole)?, args).await?,
            None => eight_bits::plan(whole, args).await?,
        };
        output.line(&left);
        let own = json!({
            "quantization": args.quantization.config(),
            "int8_layers": left.layers(),
            "float_layers": left.float_layers(),
        });
        extend(&mut object, own);
    }
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
    let mut rows = Rows {
        judge: &judge,
        output,
        rows: Vec::new(),
    };
    let before = rows.measure("whole", &saved).await?;
    let mut teacher = match args.distill {
        true => Some(Distillation::new(
            &saved.network,
            DistillationConfig::default(),
        )?),
        false => None,
    };
    let manager = || HardwareManager::on(device.clone(), args.hardware.config());
    let mut smaller = SavedNetwork {
        confidence: None,
        ..saved.clone()
    };
    let mut after = before;
    if let Some(plan) = &plan {
        let (network, steps) = match args.epochs {
            0 => (plan.apply(&saved.network)?, Vec::new()),
            _ => {
                let teacher = teacher.as_mut();
                let steps = pruning::in_steps(
                    args,
                    &saved,
                    manager()?,
                    &mut source,
                    &config,
                    teacher,
                    output,
                );
                steps.await?
            }
        };
        smaller.network = network;
        for step in &steps {
            add(&mut smaller.history, &step.training);
        }
        after = rows.measure("pruned", &smaller).await?;
        let stopped = steps.len() < args.steps && args.epochs > 0;
        extend(
            &mut object,
            json!({ "steps": steps.len(), "stopped": stopped }),
        );
    }
    if let Some(format) = args.quantize {
        if format == WeightFormat::Int8 {
            let manager = manager()?;
            let found =
                eight_bits::after_training(&smaller.network, args, &mut source, &manager).await?;
            smaller.network = found.network;
        }
        let rounded = smaller.clone().stored_as(format.storage()).await?;
        after = rows.measure(format.name(), &rounded).await?;
        if format == WeightFormat::Int8 && args.quantization.qat_epochs > 0 {
            // On what is not rounded yet.
            let (network, teacher) = (&mut smaller.network, teacher.as_mut());
            let trained =
                eight_bits::train(network, args, manager()?, &mut source, teacher, output).await?;
            add(&mut smaller.history, &trained);
            smaller = smaller.stored_as(format.storage()).await?;
            after = rows.measure("int8, trained", &smaller).await?;
        } else {
            smaller = rounded;
        }
    }
    smaller.history.validation = Some(after).filter(|found| found.loss.is_finite());
    let calibrated = smaller.calibrate(&held_out, &device).await;
    if let Err(problem) = &calibrated {
        // Without it the model is as good; its confidence is not.
        output.line(format_args!(
            "The model's confidence was not calibrated: {problem}"
        ));
    }
    ending::save(&smaller, out).await?;
    output.line(format_args!("Saved {}", out.display()));
    let left = smaller.network.graph();
    let own = json!({
        "accuracy_before": before.accuracy,
        "loss_before": before.loss,
        "accuracy": after.accuracy,
        "loss": after.loss,
        "examples": after.examples,
        "trained_values": left.trained_values(),
        "multiply_adds": left.multiply_adds(),
        "bytes": rows.rows.last().map(|row| row["bytes"].clone()),
        "rows": rows.rows,
        "calibrated": calibrated.is_ok(),
        "model": out.display().to_string(),
    });
    extend(&mut object, own);
    output.object(OPERATION, &device, common.seed, object);
    Ok(())
}

/// What was typed makes sense together.
fn check(args: &Compress, config: &GradualConfig) -> Result<()> {
    if args.pruning.prune.is_none() && args.quantize.is_none() {
        return Err(Error::invalid(OPERATION, "nothing to do")
            .expected("--prune FRACTION, --quantize FORMAT, or both"));
    }
    if args.pruning.prune.is_some() {
        config.validate()?;
    }
    if args.quantize == Some(WeightFormat::Int8) {
        args.quantization.config().validate()?;
        eight_bits::training(args).training.validate()?;
    }
    Ok(())
}

fn extend(object: &mut Value, with: Value) {
    if let (Some(object), Value::Object(with)) = (object.as_object_mut(), with) {
        object.extend(with);
    }
}

fn add(history: &mut TrainingHistory, training: &TrainSummary) {
    history.steps += training.steps;
    history.epochs += training.epochs;
    history.examples += training.examples;
}

/// What models on the way are.
struct Rows<'a> {
    judge: &'a Judge<'a>,
    output: &'a Output,
    rows: Vec<Value>,
}

impl Rows<'_> {
    async fn measure(&mut self, name: impl Display, model: &SavedNetwork) -> Result<Validation> {
        let network: &Network = &model.network;
        let found = self.judge.validate(network).await?;
        let graph = network.graph();
        let bytes = model.to_bytes().await?.len() as u64;
        self.output.line(format_args!(
            "{name}: {}; a file of {}, {} trained values, {} multiply-adds",
            ending::accuracies(&found),
            readable(bytes),
            graph.trained_values(),
            graph.multiply_adds(),
        ));
        self.rows.push(json!({
            "name": name.to_string(),
            "bytes": bytes,
            "parameters": graph.trained_values(),
            "macs": graph.multiply_adds(),
            "accuracy": found.accuracy,
            "loss": found.loss,
        }));
        Ok(found)
    }
}
