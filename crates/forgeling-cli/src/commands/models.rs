//! `forgeling models`

use std::path::Path;

use forgeling::nn::catalog::{Entry, MODELS};
use forgeling::nn::graph::Graph;
use forgeling::report::{described_layer, grouped, network_figure};
use forgeling::train::model_file::write_atomically;
use forgeling::train::{ModelDescription, Storage};
use forgeling::{Error, Result};
use serde_json::{Value, json};

use super::loading::describe;
use super::saving::try_file;
use super::supervised::sides;
use crate::args::{ModelChoice, Models, NetworkArgs, Shown};
use crate::output::Output;

pub fn run(args: &Models, output: &Output) -> Result<()> {
    match &args.model {
        None => list(args, output),
        Some(Shown::Network(model)) => show_network(args, model, output),
        Some(Shown::File(path)) => show_file(args, path, output),
    }
}

/// One line for each network of the catalog.
fn list(args: &Models, output: &Output) -> Result<()> {
    let mut all = Vec::new();
    let titles = ["name", "input", "trained", "others", "multiply-adds"];
    output.line(row(titles.map(String::from)));
    for entry in &MODELS {
        let chosen = NetworkArgs {
            model: entry.name.parse()?,
            width: None,
            options: Vec::new(),
        };
        let input = args.input.map_or(entry.input, |input| input.0);
        let graph = match chosen.graph(input, args.classes) {
            Ok(graph) => graph,
            // Not every network takes images of every size.
            Err(problem) => {
                output.line(format_args!("{:<18} {problem}", entry.name));
                continue;
            }
        };
        let counts = graph.counts();
        output.line(row([
            entry.name.into(),
            sides(input),
            grouped(counts.trained),
            grouped(counts.buffers),
            grouped(graph.multiply_adds()),
        ]));
        output.line(format_args!(
            "{:<18} {}; {}",
            "",
            entry.about,
            options(entry)
        ));
        all.push(json!({
            "name": entry.name,
            "about": entry.about,
            "options": entry.options,
            "input": graph.input(),
            "trained_values": counts.trained,
            "buffer_values": counts.buffers,
            "multiply_adds": graph.multiply_adds(),
        }));
    }
    output.line(format_args!(
        "\nCounted with {} classes. `forgeling models NAME` shows the layers of one.",
        args.classes
    ));
    output.plain_object("models", json!({ "models": all }));
    Ok(())
}

fn row(cells: [String; 5]) -> String {
    let [name, input, trained, buffers, operations] = cells;
    format!("{name:<18} {input:>10} {trained:>12} {buffers:>9} {operations:>15}")
}

/// For example `width 64 (1 to 4096)`.
fn options(entry: &Entry) -> String {
    let said = entry.options.iter().map(|option| {
        let (name, default) = (option.name, option.default);
        format!("{name} {default} ({} to {})", option.least, option.most)
    });
    said.collect::<Vec<_>>().join(", ")
}

fn show_network(args: &Models, model: &ModelChoice, output: &Output) -> Result<()> {
    let chosen = NetworkArgs {
        model: model.clone(),
        width: None,
        options: args.options.clone(),
    };
    let usual = model.architecture.usual_input()?;
    let graph = chosen.graph(args.input.map_or(usual, |input| input.0), args.classes)?;
    let about = show(args, &model.text, &graph, output)?;
    output.plain_object("models", about);
    Ok(())
}

/// What a model file says of itself, after the layers of its network.
fn show_file(args: &Models, path: &Path, output: &Output) -> Result<()> {
    if args.input.is_some() || !args.options.is_empty() {
        let message = "a model file has an input and sizes of its own";
        return Err(Error::invalid("models", message).path(path));
    }
    let model = describe(path)?;
    let mut about = show(args, &path.display().to_string(), &model.network, output)?;
    output.line("");
    for line in card(&model) {
        output.line(line);
    }
    about["model"] = json!(model.model);
    about["classes"] = json!(model.classes);
    about["pictures"] = json!(model.pictures);
    about["sounds"] = json!(model.sounds);
    about["normalization"] = json!(model.normalization);
    about["card"] = json!(model.card);
    about["history"] = json!(model.history);
    about["calibrated"] = json!(model.calibrated);
    about["storage"] = json!(model.storage);
    output.plain_object("models", about);
    Ok(())
}

/// A model's card, a line for each thing that is known.
fn card(model: &ModelDescription) -> Vec<String> {
    const MOST_CLASSES: usize = 10;
    let mut names = model.classes.iter().map(String::as_str);
    let mut classes: Vec<&str> = names.by_ref().take(MOST_CLASSES).collect();
    classes.extend(names.next().map(|_| "…"));
    let mut lines = vec![
        format!("model          {}", model.model),
        format!("input          {}", sides(model.network.image_shape())),
        format!(
            "classes        {}: {}",
            model.classes.len(),
            classes.join(", ")
        ),
    ];
    if let Some(pictures) = model.pictures {
        lines.push(format!(
            "pictures       {}, {}",
            pictures.kind, pictures.fit
        ));
    }
    if let Some(sounds) = &model.sounds {
        let config = &sounds.log_mel;
        lines.push(format!(
            "sounds         {:.2} s at {} Hz, {} mel bands from {} to {} Hz, windows of {} samples every {}",
            sounds.seconds(),
            config.sample_rate,
            config.mels,
            config.lowest,
            config.highest,
            config.window,
            config.hop
        ));
    }
    let card = &model.card;
    if let Some(constants) = &model.normalization {
        let (mean, deviation) = (&constants.mean, &constants.deviation);
        lines.push(format!(
            "normalization  (x - {mean:.4?}) / {deviation:.4?}, x from 0 to 1"
        ));
    }
    if let Some(resampling) = card.resampling {
        lines.push(format!("resampling     {resampling}"));
    }
    let history = model.history;
    if history.steps > 0 {
        lines.push(format!(
            "trained        {} steps, {} epochs",
            history.steps, history.epochs
        ));
    }
    if model.storage != Storage::F32 {
        lines.push(format!("stored as      {}", model.storage));
    }
    lines.extend(
        card.source
            .iter()
            .map(|source| format!("source         {source}")),
    );
    lines.extend(
        card.license
            .iter()
            .map(|license| format!("licence        {license}")),
    );
    lines
}

/// The layers of a network, and what else was asked for.
fn show(args: &Models, name: &str, graph: &Graph, output: &Output) -> Result<Value> {
    for place in [&args.draw, &args.describe].into_iter().flatten() {
        try_file(place)?;
    }
    let width = graph
        .nodes()
        .iter()
        .map(|node| node.name.len())
        .max()
        .unwrap_or(0)
        .max(5);
    output.line(format_args!(
        "{:<width$}  {:<24} {:>20} {:>12} {:>15}",
        "layer", "does", "gives", "trained", "multiply-adds"
    ));
    let summary = graph.summary();
    for (node, layer) in graph.nodes().iter().zip(&summary.layers) {
        output.line(format_args!(
            "{:<width$}  {:<24} {:>20} {:>12} {:>15}",
            layer.name,
            described_layer(&node.layer),
            layer.output.to_string(),
            grouped(layer.trained_values),
            grouped(layer.multiply_adds),
        ));
    }
    output.line(format_args!(
        "\n{}: {} in, {} out; {} trained values, {} others, {} multiply-adds for one image",
        name,
        summary.input,
        summary.output,
        grouped(summary.trained_values),
        grouped(summary.buffer_values),
        grouped(summary.multiply_adds),
    ));
    if let Some(place) = &args.draw {
        write(place, standalone(&network_figure(graph)).as_bytes(), output)?;
    }
    if let Some(place) = &args.describe {
        write(place, (graph.to_json() + "\n").as_bytes(), output)?;
    }
    let mut about = json!(summary);
    about["name"] = json!(name);
    about["graph"] = json!(graph);
    about["drawing"] = json!(args.draw.as_ref().map(|place| place.display().to_string()));
    about["description"] = json!(
        args.describe
            .as_ref()
            .map(|place| place.display().to_string())
    );
    Ok(about)
}

fn write(place: &Path, bytes: &[u8], output: &Output) -> Result<()> {
    write_atomically(place, bytes)?;
    output.line(format_args!("Wrote {}", place.display()));
    Ok(())
}

/// A figure as a file of its own, black on white.
fn standalone(figure: &str) -> String {
    let begin =
        "<svg xmlns=\"http://www.w3.org/2000/svg\" style=\"color:#1c1c1c;background:#fff\" ";
    figure.replacen("<svg ", begin, 1)
}
