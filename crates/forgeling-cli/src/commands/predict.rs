//! `forgeling predict`

use std::path::{Path, PathBuf};

use forgeling::Result;
use forgeling::data::{LeftOut, SoundOptions, SoundPreparation, folder, read_pictures, sound};
use forgeling::train::SavedNetwork;
use forgeling::train::model_file::write_atomically;
use serde_json::json;

use super::answers::{self, Sorted, csv, sorted, tell};
use super::{load_network, open, saving};
use crate::args::{Common, Predict};
use crate::data::{picture_options, takes_pictures, told};
use crate::output::Output;
use crate::sounds;

pub async fn run(args: &Predict, common: &Common, output: &Output) -> Result<()> {
    args.unknown.check()?;
    if let Some(path) = &args.csv {
        saving::try_file(path)?;
    }
    let device = open(common, output).await?;
    let saved = load_network(&args.model, &device)?;
    let (paths, images) = match &saved.sounds {
        Some(sounds) => hear(args, *sounds, output)?,
        None => look(args, &saved, output)?,
    };
    let Sorted { read, failed } = sorted(&paths, images);
    let images: Vec<&[f32]> = read.iter().map(|(_, image)| image.as_slice()).collect();
    let found = saved.answer(&images, &device).await?;
    let places = read.iter().map(|(path, _)| path.as_path());
    let answered: Vec<(&Path, _)> = places.zip(found).collect();
    let (rows, failed) = tell(&answered, &failed, args.unknown, output);
    if let Some(path) = &args.csv {
        write_atomically(path, csv(&rows, &failed).as_bytes())?;
        output.line(format_args!("Wrote {}", path.display()));
    }
    output.object(
        "predict",
        &device,
        common.seed,
        json!({
            "network": saved.model,
            "model": args.model.display().to_string(),
            "threshold": args.unknown.below,
            "calibrated": saved.confidence.is_some(),
            "predictions": rows,
            "failed": failed,
        }),
    );
    Ok(())
}

/// Files, and what became of each.
type Inputs = (Vec<PathBuf>, Vec<Result<Vec<f32>>>);

/// Reads pictures.
fn look(args: &Predict, saved: &SavedNetwork, output: &Output) -> Result<Inputs> {
    let shape = saved.input();
    takes_pictures("predict", shape)?;
    let paths = listed(&args.images, |path| folder::list_images(path), output)?;
    let options = picture_options(
        shape.height,
        Some(shape.channels),
        &args.pictures,
        saved.pictures,
    );
    let pictures = read_pictures(&paths, &options)?;
    let from = (&options, saved.pictures.is_some());
    for note in told(from, pictures.preparation, &pictures.survey, shape.channels) {
        output.line(note);
    }
    Ok((paths, pictures.into_values()))
}

/// Reads sounds, as those that the model was trained on.
fn hear(args: &Predict, preparation: SoundPreparation, output: &Output) -> Result<Inputs> {
    let paths = listed(&args.images, |path| sound::list(path), output)?;
    let options = SoundOptions {
        preparation,
        ..Default::default()
    };
    let sounds = sound::read(&paths, &options)?;
    output.line(sounds::told(&preparation, &sounds.heard));
    Ok((paths, sounds.into_values()))
}

fn listed(
    given: &[PathBuf],
    list: impl Fn(&Path) -> Result<(Vec<PathBuf>, LeftOut)>,
    output: &Output,
) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for path in given {
        let (files, left_out) = list(path)?;
        paths.extend(files);
        answers::left_out(&left_out, output);
    }
    Ok(paths)
}
