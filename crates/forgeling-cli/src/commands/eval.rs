//! `forgeling eval`

use forgeling::Error;
use forgeling::Result;
use forgeling::data::{LoaderConfig, Missing, Split};
use forgeling::train::{
    CrossEntropy, Epochs, HardwareConfig, HardwareManager, Precision, Trainer, TrainerConfig,
};
use serde_json::json;
use std::time::Instant;

use super::supervised::{self, Wanted};
use super::{classes, load_network, open};
use crate::args::{Common, Eval};
use crate::output::Output;
use crate::sounds::Prepared;

pub async fn run(args: &Eval, common: &Common, output: &Output) -> Result<()> {
    let device = open(common, output).await?;
    let saved = load_network(&args.model, &device)?;
    let wanted = Wanted {
        shape: Some(saved.input()),
        glyphs: saved.classes.len(),
        per_class: args.per_class,
        pictures: &args.pictures,
        model: Prepared::of((saved.sounds, saved.pictures), &args.data)?,
    };
    let known = (&saved.classes[..], Missing::Allowed);
    let data = supervised::load_known(wanted, &args.data, Split::Test, known, output)?;
    let in_order = LoaderConfig::validation(args.batch_size);
    let loader = supervised::loader(data, in_order, saved.normalization.as_ref())?;
    let mut source = Epochs::of(loader);
    let hardware = HardwareConfig {
        precision: Precision::F32,
        ..Default::default()
    };
    let manager = HardwareManager::on(device.clone(), hardware)?;
    let trainer = Trainer::new(TrainerConfig::default(), manager)?;
    let begun = Instant::now();
    let scored = trainer
        .score(&saved.network, &CrossEntropy, &mut source)
        .await?;
    let seconds = begun.elapsed().as_secs_f64();
    let found = scored.validation;
    let Some(accuracy) = found.accuracy else {
        return Err(Error::bad_data("eval", "no class was predicted"));
    };
    output.line(format_args!(
        "{} on {} images of {} classes: accuracy {:.2} %, balanced {:.2} %, loss {:.4}",
        saved.model,
        found.examples,
        saved.classes.len(),
        100.0 * accuracy,
        100.0 * found.balanced_accuracy.unwrap_or(accuracy),
        found.loss
    ));
    let per_class = classes::rows(&saved.classes, &scored.classes);
    classes::tell(&per_class, output);
    output.object(
        "eval",
        &device,
        common.seed,
        json!({
            "network": saved.model,
            "classes": saved.classes.len(),
            "examples": found.examples,
            "accuracy": accuracy,
            "balanced_accuracy": found.balanced_accuracy,
            "per_class": per_class,
            "loss": found.loss,
            "samples_per_second": found.examples as f64 / seconds.max(1e-9),
            "model": args.model.display().to_string(),
        }),
    );
    Ok(())
}
