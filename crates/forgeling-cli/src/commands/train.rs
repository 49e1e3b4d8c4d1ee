//! `forgeling train`

use forgeling::data::LoaderConfig;
use forgeling::device::DeviceList;
use forgeling::nn::graph::Graph;
use forgeling::nn::{Counts, MemoryPlan, Network, PlanConfig};
use forgeling::parallel::ParallelConfig;
use forgeling::train::{
    EarlyStoppingConfig, EmaConfig, HardwareConfig, HardwareManager, MixRecord, MixedEpochs,
    ModelCard, OptimizerConfig, Run, SavedNetwork, Schedule, SoftCrossEntropy, StopReason,
    TrainEvent, TrainSummary, Trainer, TrainerConfig, TrainingHistory, Validation,
};
use forgeling::{Device, ErrorKind, Result};
use serde_json::{Value, json};

use super::same_run::SameRun;
use super::supervised;
use super::train_watch::Watch;
use super::training_data::Data;
use super::{classes, ending, load_network, open, unless_interrupted};
use crate::args::{BatchSize, Common, Freeze, ScheduleKind, Settings, Train};
use crate::output::Output;

/// Sizes that `--batch-size auto` chooses from.
const AUTO: std::ops::RangeInclusive<usize> = 8..=1024;
/// Batches of an epoch that it leaves, if there are enough images: fewer steps learn less.
const AUTO_BATCHES: usize = 16;
/// Unless asked for otherwise: so many images in a batch, and times through them all.
const USUAL_BATCH: usize = 64;
const USUAL_EPOCHS: usize = 10;
/// Of few images: at least so many batches of an epoch, if they hold this many images, and steps in all.
const FEWEST_BATCHES: usize = 8;
const SMALLEST_BATCH: usize = 8;
const FEWEST_STEPS: usize = 400;
const MOST_EPOCHS: usize = 100;

pub async fn run(args: &Train, common: &Common, output: &Output) -> Result<()> {
    let settings = args.settings()?;
    let objective = SoftCrossEntropy::new(settings.label_smoothing)?;
    let data = Data::load(args, &settings, output)?;
    let devices = match &args.devices {
        Some(list) => open_all(list, output).await?,
        None => vec![open(common, output).await?],
    };
    let device = &devices[0];
    let shape = data.shape;
    settings.augment.validate(shape)?;
    let beginning = settings.network.model.trained.as_ref();
    let mut graph = match beginning {
        Some(file) => file.about.graph_for(&data.classes)?,
        None => settings.network.graph(shape, data.classes.len())?,
    };
    if let Some(constants) = &data.normalization {
        graph = graph.standardized(&constants.mean, &constants.deviation)?;
    }
    let plan = Plan::new(args, &settings, &graph, &data, &devices)?;
    let hardware = plan.hardware.clone();

    let steps = plan.steps_per_epoch(&data, args);
    let epochs = settings.epochs.unwrap_or(usual_epochs(steps));
    let trainer_config = trainer_config(args, &settings, steps, epochs)?;
    let manager = HardwareManager::on(device.clone(), hardware)?;
    let identity = identity(
        (args, &settings),
        common.seed,
        &data,
        &plan,
        &trainer_config,
        &manager,
    );
    let folder = args.checkpoint_dir.as_ref();
    let mut checkpoints = folder
        .map(|folder| SameRun::open(folder, identity))
        .transpose()?;
    let mut model = match beginning {
        Some(file) => {
            let saved = load_network(&file.path, device)?;
            saved.network_for(&graph, &data.classes, common.seed, device)?
        }
        None => Network::new(&graph, common.seed, device),
    };
    if args.freeze == Freeze::Encoder {
        model = model.with_frozen_encoder();
    }
    let Counts { trained, buffers } = graph.counts();
    let values = trained + buffers;
    ending::try_places(args, values)?;
    let aside = match &mut checkpoints {
        Some(checkpoints) if args.restart && args.fast_dev_run.is_none() => {
            checkpoints.set_aside()?
        }
        _ => None,
    };
    if let Some(aside) = &aside {
        output.line(format_args!(
            "Moved the earlier checkpoints to {}",
            aside.display()
        ));
    }
    output.line(format_args!(
        "Training {} ({trained} trained values, {buffers} others) on {} images ({}) of {} classes, {} to validate on, in batches of {}{}, {} \
         activations. Ctrl-C stops and saves.",
        settings.network.model.text,
        data.images,
        supervised::sides(shape),
        data.classes.len(),
        data.held_out,
        plan.batch,
        plan.hardware
            .micro_batch
            .map_or(String::new(), |micro| format!(" ({micro} at a time)")),
        manager.precision().storage,
    ));

    let loader = LoaderConfig {
        batch_size: plan.batch,
        seed: common.seed,
        ..Default::default()
    };
    let normalization = data.normalization.as_ref();
    let loader = supervised::loader(data.train, loader, normalization)?;
    let mut source = MixedEpochs::of(loader.augmented(settings.augment)?);
    let held_out = LoaderConfig::validation(plan.batch);
    let mut validation: Option<MixedEpochs> = data
        .validation
        .clone()
        .map(|examples| supervised::loader(examples, held_out, normalization))
        .transpose()?
        .map(MixedEpochs::of);

    let mut trainer = Trainer::new(trainer_config, manager)?;
    let (all, passes) = match args.fast_dev_run {
        Some(steps) => (steps, 1),
        None => (steps * epochs, epochs),
    };
    let mut watch = Watch::new(output, all, passes, validation.is_some());
    let mut record = MixRecord::new(&model);
    let interrupted = unless_interrupted();
    let on_event = |event: &TrainEvent| {
        watch.tell(event);
        interrupted()
    };
    let mut run = Run::on(&mut source);
    if let Some(validation) = &mut validation {
        run = run.validated_on("held out", validation);
    }
    if let Some(checkpoints) = &mut checkpoints {
        run = run.saved_in(checkpoints);
    }
    if let Some(record) = &mut record {
        run = run.with_method(record);
    }
    let summary = match &devices[..] {
        [_] => trainer.fit(&mut model, &objective, run, on_event).await,
        several => {
            let config = ParallelConfig::default();
            trainer
                .fit_on_devices(several, config, &mut model, &objective, run, on_event)
                .await
        }
    };
    watch.progress.finish();
    let out = args.out.as_ref().filter(|_| args.fast_dev_run.is_none());
    let name = match beginning {
        Some(file) => file.about.model.clone(),
        None => settings.network.model.architecture.name().into(),
    };
    let saved = |network, summary: &TrainSummary, validation: Option<Validation>| SavedNetwork {
        model: name.clone(),
        classes: data.classes.clone(),
        pictures: data.preparation.pictures(),
        sounds: data.preparation.sounds(),
        normalization: data.normalization.clone(),
        card: ModelCard::default(),
        history: TrainingHistory {
            steps: summary.steps,
            epochs: summary.epochs,
            examples: summary.examples,
            validation: validation.filter(|found| found.loss.is_finite()),
        },
        confidence: None,
        storage: Default::default(),
        network,
    };
    let summary = match summary {
        // A file that failed has nothing to do with what was learned.
        Err(problem) if problem.kind() == ErrorKind::Io && trainer.steps() > 0 => {
            let Some(out) = out else { return Err(problem) };
            let so_far = trainer.summary(StopReason::Asked);
            ending::save(&saved(model, &so_far, None), out).await?;
            return Err(ending::kept(&problem, so_far.steps, out));
        }
        summary => summary?,
    };
    let scored = ending::score(&trainer, &model, &mut validation).await;
    let mut calibrated = false;
    if let Some(out) = out {
        let found = scored.as_ref().ok().and_then(|scored| scored.as_ref());
        let mut model = saved(model, &summary, found.map(|scored| scored.validation));
        if let Some(held_out) = &data.validation {
            // Without it the model is as good; its confidence is not.
            let found = model.calibrate(held_out, device).await;
            calibrated = found.is_ok();
            if let Err(problem) = found {
                output.line(format_args!(
                    "The model's confidence was not calibrated: {problem}"
                ));
            }
        }
        ending::save(&model, out).await?;
    }
    let scored = scored?;
    let last = scored.as_ref().map(|scored| scored.validation);
    let per_class = scored.map(|scored| classes::rows(&data.classes, &scored.classes));
    let (_, _, optimizer) = supervised::optimizer(settings.optimizer);
    let held = supervised::held_bytes(values, optimizer);
    let peak = supervised::peak_bytes(trainer.manager()).max(held);
    let validated = last.map(|_| ending::left_behind(args, &summary));
    ending::tell_end(output, &summary, last.zip(validated), peak);
    if let Some(rows) = &per_class {
        classes::tell(rows, output);
    }
    let mixes = match &record {
        Some(record) => record.curves().await?,
        None => Vec::new(),
    };
    watch.report(args, &settings.network.model.text, &mixes)?;
    let (loss, accuracy) = ending::figures(&summary);
    match out {
        Some(out) => output.line(format_args!("Saved {}", out.display())),
        None => output.line("Nothing was saved: this was a trial."),
    }
    let micro_batch = trainer.micro_batch().map(|micro| micro.min(plan.batch));
    output.object(
        "train",
        device,
        common.seed,
        json!({
            "network": settings.network.model.text,
            "epochs": summary.epochs,
            "steps": summary.steps,
            "loss": loss,
            "accuracy": accuracy,
            "last_epoch": summary.last_epoch.map(|last| last.epoch),
            "validation_loss": last.map(|found| found.loss),
            "validation_accuracy": last.and_then(|found| found.accuracy),
            "validation_balanced_accuracy": last.and_then(|found| found.balanced_accuracy),
            "per_class": per_class,
            "mixes": mixes,
            "calibrated": calibrated,
            "input": shape,
            "pictures": data.preparation.pictures(),
            "sounds": data.preparation.sounds(),
            "normalization": data.normalization,
            "validated_model": validated,
            "samples_per_second": summary.examples_per_second,
            "seconds": summary.seconds,
            "peak_bytes": peak,
            "batch_size": plan.batch,
            "micro_batch": micro_batch.unwrap_or(plan.batch),
            "precision": trainer.manager().precision().storage,
            "hardware": trainer.manager().report(),
            "devices": devices.iter().map(Device::info).collect::<Vec<_>>(),
            "resumed_from": watch.resumed_from,
            "moved_checkpoints": aside.map(|aside| aside.display().to_string()),
            "stopped": summary.reason == StopReason::Asked,
            "reason": summary.reason,
            "model": out.map(|out| out.display().to_string()),
        }),
    );
    Ok(())
}

async fn open_all(list: &DeviceList, output: &Output) -> Result<Vec<Device>> {
    let devices = list.open().await?;
    for (index, device) in devices.iter().enumerate() {
        output.line(format_args!("Device {index}: {}", device.reason()));
    }
    Ok(devices)
}

/// Batches and passes.
struct Plan {
    network: Graph,
    batch: usize,
    hardware: HardwareConfig,
}

impl Plan {
    fn new(
        args: &Train,
        settings: &Settings,
        network: &Graph,
        data: &Data,
        devices: &[Device],
    ) -> Result<Self> {
        let device = &devices[0];
        let mut hardware = args.hardware.config();
        let (_, _, optimizer) = supervised::optimizer(settings.optimizer);
        let config = PlanConfig {
            accumulating: args.accumulate > 1,
            ..supervised::plan_config(&hardware, optimizer, device)
        };
        let budget = supervised::budget(&hardware, device)?;
        let wanted = settings
            .batch_size
            .unwrap_or(BatchSize::Examples(usual_batch(data.images)));
        let batch = match wanted {
            BatchSize::Examples(examples) => examples,
            BatchSize::Auto => {
                let most = *AUTO.end();
                let fits = MemoryPlan::largest_batch(network, most, config, device, budget)?;
                let useful = (data.images / AUTO_BATCHES).max(1);
                let largest = fits.unwrap_or(1).min(useful);
                (1 << largest.ilog2()).clamp(*AUTO.start(), most)
            }
        };
        let limited = hardware.memory_budget.is_some() || wanted == BatchSize::Auto;
        if limited && devices.len() == 1 {
            let pass = batch.min(data.images);
            hardware.micro_batch = supervised::micro_batch(network, pass, config, device, budget)?;
        }
        Ok(Self {
            network: network.clone(),
            batch,
            hardware,
        })
    }

    fn steps_per_epoch(&self, data: &Data, args: &Train) -> usize {
        let batches = data.images.div_ceil(self.batch);
        batches.div_ceil(args.accumulate.max(1)).max(1)
    }
}

/// Images of a batch, of so many in all: batch norm's running statistics and the optimizer need some steps.
fn usual_batch(images: usize) -> usize {
    let useful = (images / FEWEST_BATCHES).max(1);
    (1 << useful.ilog2()).clamp(SMALLEST_BATCH, USUAL_BATCH)
}

/// Times through the images, of so many steps each.
fn usual_epochs(steps_per_epoch: usize) -> usize {
    FEWEST_STEPS
        .div_ceil(steps_per_epoch)
        .clamp(USUAL_EPOCHS, MOST_EPOCHS)
}

fn trainer_config(
    args: &Train,
    settings: &Settings,
    steps_per_epoch: usize,
    epochs: usize,
) -> Result<TrainerConfig> {
    let (mut optimizer, usual_rate, _) = supervised::optimizer(settings.optimizer);
    match &mut optimizer {
        OptimizerConfig::Adam(adam) => adam.weight_decay = settings.weight_decay,
        OptimizerConfig::Sgd(sgd) => sgd.weight_decay = settings.weight_decay,
    }
    let rate = settings.learning_rate.unwrap_or(usual_rate);
    let steps = steps_per_epoch.saturating_mul(epochs.max(1));
    let config = TrainerConfig {
        epochs: Some(epochs),
        optimizer,
        schedule: match settings.schedule {
            ScheduleKind::Constant => Schedule::Constant { rate },
            ScheduleKind::Cosine => Schedule::Cosine {
                initial: rate,
                floor: 0.0,
                steps,
            },
            // The numbers of PyTorch's OneCycleLR.
            ScheduleKind::OneCycle => Schedule::OneCycle {
                peak: rate,
                start_divisor: 25.0,
                end_divisor: 1e4,
                rising: 0.3,
                steps,
            },
        },
        accumulate: args.accumulate,
        ema: args.ema.map(|decay| EmaConfig {
            decay,
            // Short runs would mostly average what the weights were at first.
            warm_up: true,
        }),
        early_stopping: args.patience.map(|patience| EarlyStoppingConfig {
            patience,
            ..Default::default()
        }),
        checkpoint_every: args.checkpoint_every,
        fast_dev_run: args.fast_dev_run,
        ..Default::default()
    };
    config.validate()?;
    Ok(config)
}

/// All that must be the same for a run to go on from a checkpoint.
fn identity(
    (args, settings): (&Train, &Settings),
    seed: u64,
    data: &Data,
    plan: &Plan,
    config: &TrainerConfig,
    manager: &HardwareManager,
) -> Value {
    let precision = manager.precision();
    json!({
        "model": settings.network.model.architecture.name(),
        "weights to begin with": settings.network.model.trained.as_ref().map(|file| &file.digest),
        "frozen": (args.freeze == Freeze::Encoder).then_some("encoder"),
        "width": settings.network.effective_width(),
        // Told after the two above, which say more.
        "wiring and sizes of the network": plan.network,
        "classes": data.classes,
        "number of images": data.images,
        "number of images to validate on": data.held_out,
        "seed": seed,
        "batch size": plan.batch,
        "accumulation": args.accumulate,
        "balance": args.balance,
        "reading of pictures": data.preparation.pictures(),
        "reading of sounds": data.preparation.sounds(),
        "standardising of channels": data.normalization,
        "augmentation": Some(&settings.augment).filter(|augment| !augment.steps.is_empty()),
        "label smoothing": Some(settings.label_smoothing).filter(|share| *share > 0.0),
        "optimizer": config.optimizer,
        "learning rate schedule": course(&config.schedule),
        "average": config.ema,
        "patience": args.patience,
        "precision": [precision.compute, &precision.storage.to_string()],
    })
}

/// A schedule without its end, which more epochs move.
fn course(schedule: &Schedule) -> Value {
    let mut course = json!(schedule);
    if let Some(numbers) = course.as_object_mut() {
        numbers.remove("steps");
    }
    course
}
