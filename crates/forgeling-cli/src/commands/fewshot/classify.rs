//! `forgeling fewshot classify`

use std::path::{Path, PathBuf};

use forgeling::data::{folder, read_pictures};
use forgeling::meta::{AdaptSummary, Classifier, Learner};
use forgeling::{Error, Result};
use serde_json::json;

use super::super::answers::{Sorted, left_out, sorted, tell};
use super::super::{load_learner, open, unless_interrupted};
use crate::args::{Classify, Common};
use crate::data::{picture_options, told};
use crate::output::{EpochProgress, Output};

pub async fn run(args: &Classify, common: &Common, output: &Output) -> Result<()> {
    args.unknown.check()?;
    let device = open(common, output).await?;
    let model = load_learner(&args.model, &device)?;
    let images = Images::read(args, &model, output)?;
    let adaptation = args.adapt.seeded(common.seed);
    let mut classifier = model.classifier_with(adaptation)?;
    let borrowed = images.support.iter();
    let borrowed: Vec<(&str, &[f32])> = borrowed
        .map(|(name, pixels)| (name.as_str(), pixels.as_slice()))
        .collect();
    classifier.add_all(&borrowed).await?;
    let adapted = adapt(&mut classifier).await?;
    describe(&adapted, output);

    let queries: Vec<&[f32]> = images
        .query
        .iter()
        .map(|(_, pixels)| pixels.as_slice())
        .collect();
    let found = classifier.answer_all(&queries).await?;
    let places = images.query.iter().map(|(path, _)| path.as_path());
    let answered: Vec<(&Path, _)> = places.zip(found).collect();
    let (rows, failed) = tell(&answered, &images.failed, args.unknown, output);
    output.object(
        "fewshot classify",
        &device,
        common.seed,
        json!({
            "adaptation": adapted,
            "threshold": args.unknown.below,
            "predictions": rows,
            "failed": failed,
        }),
    );
    Ok(())
}

/// The examples and the images to classify, read as one set.
struct Images {
    /// With the classes' names.
    support: Vec<(String, Vec<f32>)>,
    query: Vec<(PathBuf, Vec<f32>)>,
    failed: Vec<(PathBuf, Error)>,
}

impl Images {
    fn read(args: &Classify, model: &Learner, output: &Output) -> Result<Self> {
        let shape = model.input_shape();
        let examples = folder::list_classes(&args.support)?;
        if examples.classes.len() < 2 {
            return Err(Error::bad_data("classify", "nothing to choose between")
                .expected("at least 2 classes")
                .got(examples.classes.len())
                .path(&args.support));
        }
        let (queries, others) = folder::list_images(&args.query)?;
        left_out(&examples.left_out, output);
        left_out(&others, output);
        let mut names = Vec::new();
        let mut paths = Vec::new();
        for (name, images) in examples.classes {
            names.extend(images.iter().map(|_| name.clone()));
            paths.extend(images);
        }
        let count = paths.len();
        paths.extend(queries);
        let options = picture_options(
            shape.height,
            Some(shape.channels),
            &args.pictures,
            model.pictures(),
        );
        let pictures = read_pictures(&paths, &options)?;
        let from = (&options, model.pictures().is_some());
        for note in told(from, pictures.preparation, &pictures.survey, shape.channels) {
            output.line(note);
        }
        let mut images = pictures.into_values();
        let queries = images.split_off(count);
        let mut support = Vec::new();
        for ((name, path), image) in names.into_iter().zip(&paths).zip(images) {
            match image {
                Ok(pixels) => support.push((name, pixels)),
                Err(error) if options.skip_broken => {
                    output.line(format_args!("Left out {}: {error}", path.display()));
                }
                Err(error) => return Err(error),
            }
        }
        let Sorted {
            read: query,
            failed,
        } = sorted(&paths[count..], queries);
        Ok(Self {
            support,
            query,
            failed,
        })
    }
}

async fn adapt(classifier: &mut Classifier) -> Result<AdaptSummary> {
    let progress = EpochProgress::new();
    let interrupted = unless_interrupted();
    let adapted = classifier
        .adapt(|event| {
            progress.update(event);
            interrupted()
        })
        .await;
    progress.finish();
    adapted
}

/// For example `Adapted (head) in 0.3 s: 31 epochs, 80.0 % of the held-out examples right.`
fn describe(adapted: &AdaptSummary, output: &Output) {
    if let Some(trained) = &adapted.fine_tune {
        let held_out = match trained.held_out_accuracy {
            Some(accuracy) => format!("{:.1} % of the held-out examples right", 100.0 * accuracy),
            None => "too few examples to hold some out".into(),
        };
        output.line(format_args!(
            "Adapted ({}) in {:.1} s: {} epochs, {held_out}.",
            adapted.name, adapted.seconds, trained.epochs
        ));
    }
    output.line(match adapted.calibrated_on {
        0 => {
            "Confidences are not calibrated: that takes two or more examples of each class.".into()
        }
        count => format!("Confidences are calibrated on {count} examples."),
    });
}
