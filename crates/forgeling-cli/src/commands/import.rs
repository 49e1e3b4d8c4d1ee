//! `forgeling import`

use std::fs;
use std::path::Path;

use forgeling::import::{ImportConfig, ImportPlan, WeightFile, class_names};
use forgeling::report::grouped;
use forgeling::train::model_file;
use forgeling::{Device, DeviceChoice, Error, Result};
use serde_json::json;

use super::saving::{save_model, try_model};
use super::supervised::sides;
use crate::args::{Common, Import};
use crate::output::Output;

pub async fn run(args: &Import, common: &Common, output: &Output) -> Result<()> {
    let classes = args.classes.as_deref().map(read_classes).transpose()?;
    let config = ImportConfig {
        model: args.model.clone(),
        input: args.input.map(|input| input.0),
        options: options(args)?,
        classes,
        head: args.head.into(),
        source: args.source.clone(),
        license: args.license.clone(),
    };
    let bytes = model_file::read(&args.weights)?;
    let in_file = |error: Error| error.path(&args.weights);
    let file = WeightFile::read(&bytes).map_err(in_file)?;
    let plan = ImportPlan::new(&file, &config).map_err(in_file)?;
    let graph = &plan.graph;
    let values = graph.counts();
    output.line(format_args!(
        "{}: {}, {}'s names of {}; {} of its tensors are taken, {} trained values, {} classes, images of {}",
        args.weights.display(),
        plan.format,
        plan.map.publisher,
        args.model,
        plan.taken(),
        grouped(values.trained),
        plan.classes.len(),
        sides(graph.image_shape()),
    ));
    if args.dry_run {
        for (ours, theirs) in plan.moves() {
            output.line(format_args!("{theirs} -> {ours}"));
        }
    }
    for name in &plan.untrained {
        output.line(format_args!("{name} stays untrained"));
    }
    plan.check().map_err(in_file)?;
    // Weights only pass through: no other device is faster.
    let device = Device::open(DeviceChoice::Cpu).await?;
    let out = args.out.as_deref().filter(|_| !args.dry_run);
    if let Some(out) = out {
        try_model(out, values.all())?;
        let model = plan.apply(&file, common.seed, &device).await;
        let model = model.map_err(in_file)?;
        save_model(out, &model.to_bytes().await?)?;
        output.line(format_args!("Saved {}", out.display()));
    }
    output.object(
        "import",
        &device,
        common.seed,
        json!({
            "network": args.model,
            "weights": args.weights.display().to_string(),
            "format": plan.format.to_string(),
            "names": plan.map.publisher,
            "taken": plan.taken(),
            "untrained": plan.untrained,
            "trained_values": values.trained,
            "buffer_values": values.buffers,
            "input": graph.input(),
            "classes": plan.classes.len(),
            "model": out.map(|out| out.display().to_string()),
        }),
    );
    Ok(())
}

fn options(args: &Import) -> Result<std::collections::BTreeMap<String, usize>> {
    crate::args::named_once(
        args.options
            .iter()
            .map(|option| (option.name.clone(), option.value)),
    )
}

/// The names of classes in a text file.
fn read_classes(path: &Path) -> Result<Vec<String>> {
    let failed = |error: &std::io::Error| Error::io("read_classes", path, error);
    let text = fs::read_to_string(path).map_err(|error| failed(&error))?;
    class_names(&text).map_err(|error| error.path(path))
}
