//! `forgeling fewshot classify`

use forgeling::data::{Ink, folder};
use forgeling::meta::{AdaptSummary, Adaptation, Classifier, Learner};
use forgeling::{Error, Result};
use serde_json::{Value, json};

use super::super::{open, unless_interrupted};
use crate::args::{Classify, Common};
use crate::output::{EpochProgress, Output};

pub async fn run(args: &Classify, common: &Common, output: &Output) -> Result<()> {
    let device = open(common, output).await?;
    let model = Learner::load(&args.model, &device)?;
    let ink = Ink::from(args.ink);
    let adaptation = args.adapt.seeded(common.seed);
    let mut classifier = support(args, &model, adaptation, ink).await?;
    let adapted = adapt(&mut classifier).await?;
    output.line(describe(&adapted));

    let paths = folder::list_images(&args.query)?;
    let shape = model.input_shape();
    let images = paths
        .iter()
        .map(|path| folder::load_image(path, shape, ink))
        .collect::<Result<Vec<_>>>()?;
    let borrowed: Vec<&[f32]> = images.iter().map(Vec::as_slice).collect();
    let results = classifier.classify_all(&borrowed).await?;

    let mut rows: Vec<Value> = Vec::new();
    for (path, predictions) in paths.iter().zip(&results) {
        let best = &predictions[0];
        output.line(format_args!(
            "{:>5.1} %  {:<16}  {}",
            100.0 * best.probability,
            best.label,
            path.display()
        ));
        rows.push(json!({ "path": path.display().to_string(), "class": best.label, "probability": best.probability }));
    }
    output.object(
        "fewshot classify",
        &device,
        common.seed,
        json!({ "adaptation": adapted, "predictions": rows }),
    );
    Ok(())
}

/// A classifier with the examples of the support folder.
async fn support(
    args: &Classify,
    model: &Learner,
    adaptation: Adaptation,
    ink: Ink,
) -> Result<Classifier> {
    let shape = model.input_shape();
    let classes = folder::list_classes(&args.support)?;
    let mut examples: Vec<(&str, Vec<f32>)> = Vec::new();
    for (name, paths) in &classes {
        for path in paths {
            examples.push((name, folder::load_image(path, shape, ink)?));
        }
    }
    if classes.len() < 2 {
        return Err(Error::bad_data("classify", "nothing to choose between")
            .expected("at least 2 classes")
            .got(classes.len())
            .path(&args.support));
    }
    let borrowed: Vec<(&str, &[f32])> = examples
        .iter()
        .map(|(name, pixels)| (*name, pixels.as_slice()))
        .collect();
    let mut classifier = model.classifier_with(adaptation)?;
    classifier.add_all(&borrowed).await?;
    Ok(classifier)
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
fn describe(adapted: &AdaptSummary) -> String {
    let took = format!("Adapted ({}) in {:.1} s", adapted.name, adapted.seconds);
    let Some(trained) = &adapted.fine_tune else {
        return format!("{took}.");
    };
    let held_out = match trained.held_out_accuracy {
        Some(accuracy) => format!("{:.1} % of the held-out examples right", 100.0 * accuracy),
        None => "too few examples to hold some out".into(),
    };
    format!("{took}: {} epochs, {held_out}.", trained.epochs)
}
