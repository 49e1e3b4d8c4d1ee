//! `forgeling profile`

use forgeling::data::{Dataset, LoaderConfig, Split};
use forgeling::device::profile::{ProfileConfig, Profiler};
use forgeling::nn::Network;
use forgeling::train::model_file::write_atomically;
use forgeling::train::{
    CrossEntropy, Epochs, HardwareManager, Run, TrainEvent, Trainer, TrainerConfig,
};
use forgeling::{Error, Result};
use serde_json::json;

use super::supervised::{self, Wanted};
use super::{open, saving, unless_interrupted};
use crate::args::{Common, Profile};
use crate::output::Output;

/// Steps before those that are written down: they compile kernels and fill pools.
const WARM_UP: usize = 2;

pub async fn run(args: &Profile, common: &Common, output: &Output) -> Result<()> {
    if args.steps == 0 {
        return Err(Error::invalid("profile", "--steps is out of range")
            .expected("at least 1")
            .got(0));
    }
    args.trace.as_deref().map_or(Ok(()), saving::try_file)?;
    let wanted = Wanted {
        shape: supervised::wanted_shape(args.data.input, &args.network, &args.data.data)?,
        glyphs: args.data.classes,
        per_class: args.data.per_class,
        pictures: &args.data.pictures,
        model: None,
    };
    let data = wanted
        .load_classes(&args.data.data, Split::Train, output)?
        .data;
    let (shape, classes) = (data.image_shape(), data.class_count());
    let network = args.network.graph(shape, classes)?;
    let loader = LoaderConfig {
        batch_size: args.batch_size,
        // Every batch has the same number of images.
        drop_last: true,
        seed: common.seed,
        ..Default::default()
    };
    let mut source = Epochs::of(supervised::loader(data, loader, None)?);
    let device = open(common, output).await?;
    let manager = HardwareManager::on(device.clone(), args.hardware.config())?;
    let mut model = Network::new(&network, common.seed, &device);
    let steps = TrainerConfig {
        steps: Some(WARM_UP.saturating_add(args.steps)),
        ..Default::default()
    };
    let mut trainer = Trainer::new(steps, manager)?;

    let mut profiler = None;
    let interrupted = unless_interrupted();
    let summary = trainer
        .fit(&mut model, &CrossEntropy, Run::on(&mut source), |event| {
            if let TrainEvent::Step(step) = event
                && step.step == WARM_UP
            {
                profiler = Some(Profiler::start(&device, ProfileConfig::default()));
            }
            interrupted()
        })
        .await?;
    let Some(profiler) = profiler else {
        return Err(Error::new(
            forgeling::ErrorKind::Cancelled,
            "profile",
            "stopped before the first step that counts",
        ));
    };
    let profile = profiler?.finish().await;
    let taken = summary.steps - WARM_UP;
    let milliseconds = 1e3 * profile.seconds / taken.max(1) as f64;
    output.line(format_args!(
        "{} in batches of {}, {} activations: {taken} steps of {milliseconds:.2} ms, {:.0} images/s\n",
        args.network.model.text,
        args.batch_size,
        trainer.manager().precision().storage,
        1e3 * args.batch_size as f64 / milliseconds.max(1e-9)
    ));
    output.line(&profile);
    if let Some(path) = &args.trace {
        write_atomically(path, profile.to_chrome_trace().as_bytes())?;
        output.line(format_args!("Wrote {}", path.display()));
    }
    let peak = profile.peak_bytes;
    output.object(
        "profile",
        &device,
        common.seed,
        json!({
            "network": args.network.model.text,
            "batch_size": args.batch_size,
            "steps": taken,
            "seconds": profile.seconds,
            "precision": trainer.manager().precision().storage,
            "dispatches": profile.dispatches,
            "bytes": profile.bytes,
            "phases": profile.phases,
            "modules": profile.modules,
            "kernels": profile.kernels,
            "peak_bytes": peak.unwrap_or_else(|| supervised::peak_bytes(trainer.manager())),
            "trace": args.trace.as_ref().map(|path| path.display().to_string()),
        }),
    );
    Ok(())
}
