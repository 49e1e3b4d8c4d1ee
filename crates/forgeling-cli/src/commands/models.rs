//! `forgeling models`

use std::path::Path;

use forgeling::Result;
use forgeling::nn::catalog::{Entry, MODELS};
use forgeling::report::{described_layer, grouped, network_figure};
use forgeling::train::model_file::write_atomically;
use serde_json::json;

use super::saving::try_file;
use super::supervised::sides;
use crate::args::{ModelChoice, Models, NetworkArgs};
use crate::output::Output;

pub fn run(args: &Models, output: &Output) -> Result<()> {
    match &args.model {
        None => list(args, output),
        Some(model) => show(args, model, output),
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

fn show(args: &Models, model: &ModelChoice, output: &Output) -> Result<()> {
    for place in [&args.draw, &args.describe].into_iter().flatten() {
        try_file(place)?;
    }
    let chosen = NetworkArgs {
        model: model.clone(),
        width: None,
        options: args.options.clone(),
    };
    let usual = model.architecture.usual_input()?;
    let graph = chosen.graph(args.input.map_or(usual, |input| input.0), args.classes)?;
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
        model.text,
        summary.input,
        summary.output,
        grouped(summary.trained_values),
        grouped(summary.buffer_values),
        grouped(summary.multiply_adds),
    ));
    if let Some(place) = &args.draw {
        write(
            place,
            standalone(&network_figure(&graph)).as_bytes(),
            output,
        )?;
    }
    if let Some(place) = &args.describe {
        write(place, (graph.to_json() + "\n").as_bytes(), output)?;
    }
    let mut about = json!(summary);
    about["name"] = json!(model.text);
    about["graph"] = json!(graph);
    about["drawing"] = json!(args.draw.as_ref().map(|place| place.display().to_string()));
    about["description"] = json!(
        args.describe
            .as_ref()
            .map(|place| place.display().to_string())
    );
    output.plain_object("models", about);
    Ok(())
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
