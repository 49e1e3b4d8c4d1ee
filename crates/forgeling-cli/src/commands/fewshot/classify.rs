//! `forgeling fewshot classify`

use forgeling::data::{Ink, folder};
use forgeling::meta::{Classifier, Learner};
use forgeling::{Error, Result};
use serde_json::{Value, json};

use super::super::open;
use crate::args::{Classify, Common};
use crate::output::Output;

pub async fn run(args: &Classify, common: &Common, output: &Output) -> Result<()> {
    let device = open(common, output).await?;
    let model = Learner::load(&args.model, &device)?;
    let ink = Ink::from(args.ink);
    let classifier = support(args, &model, ink).await?;

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
        json!({ "predictions": rows }),
    );
    Ok(())
}

/// A classifier with the examples of the support folder.
async fn support(args: &Classify, model: &Learner, ink: Ink) -> Result<Classifier> {
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
    let mut classifier = model.classifier();
    classifier.add_all(&borrowed).await?;
    Ok(classifier)
}
