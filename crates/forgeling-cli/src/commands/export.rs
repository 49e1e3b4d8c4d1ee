//! `forgeling export`

use forgeling::export::{OPSET, OnnxNotes, OnnxOptions, OnnxValue, to_onnx};
use forgeling::report::grouped;
use forgeling::train::model_file::write_atomically;
use forgeling::{Device, DeviceChoice, Result};
use serde_json::{Value, json};

use super::load_network;
use crate::args::{Common, Export};
use crate::output::Output;

pub async fn run(args: &Export, common: &Common, output: &Output) -> Result<()> {
    // Weights only pass through: no other device is faster.
    let device = Device::open(DeviceChoice::Cpu).await?;
    let saved = load_network(&args.model, &device)?;
    let options = OnnxOptions {
        precision: args.precision.into(),
    };
    let model = to_onnx(&saved.network, &OnnxNotes::from(&saved), options)
        .await
        .map_err(|error| error.path(&args.model))?;
    write_atomically(&args.onnx, &model.bytes)?;
    let counted = |(operator, count)| format!("{count} {operator}");
    let operators: Vec<String> = model.operators.iter().map(counted).collect();
    output.line(format_args!(
        "{}: {}, {} trained values, in ONNX's opset {OPSET}",
        args.model.display(),
        saved.model,
        grouped(saved.network.graph().trained_values()),
    ));
    output.line(format_args!("Input: {}, f32", model.input));
    output.line(format_args!("Output: {}, f32", model.output));
    output.line(format_args!("Operators: {}", operators.join(", ")));
    output.line(format_args!(
        "Saved {}: {} bytes, weights in {}",
        args.onnx.display(),
        grouped(model.bytes.len() as u64),
        args.precision.name(),
    ));
    output.object(
        "export",
        &device,
        common.seed,
        json!({
            "network": saved.model,
            "model": args.model.display().to_string(),
            "onnx": args.onnx.display().to_string(),
            "opset": OPSET,
            "precision": args.precision.name(),
            "bytes": model.bytes.len(),
            "inputs": [described(&model.input)],
            "outputs": [described(&model.output)],
            "operators": model.operators,
        }),
    );
    Ok(())
}

fn described(value: &OnnxValue) -> Value {
    let mut sizes = vec![json!("batch")];
    sizes.extend(value.sizes.iter().map(|&size| json!(size)));
    json!({ "name": value.name, "sizes": sizes })
}
