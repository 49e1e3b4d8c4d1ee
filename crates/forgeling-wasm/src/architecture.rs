//! What the option `model` says: a network's name, a name with sizes, or a graph.

use std::collections::BTreeMap;

use forgeling::data::ImageShape;
use forgeling::meta::{LearnerConfig, LearnerOptions};
use forgeling::nn::catalog::{Architecture, Entry};
use forgeling::nn::graph::Graph;
use forgeling::{Error, Result};
use serde_json::{Map, Value};
use wasm_bindgen::prelude::*;

use crate::convert::{JsResult, failure, parse, tree};

const OPERATION: &str = "model_config";

/// The learner that options describe, which may have `method`, `model` (a name or a graph), `channels`, `filters`, `blocks`,
/// `size`, `seed`, `ways`, `classes`, `distance`, `innerSteps`, `testSteps`, `innerRate`, `lambda` and `transductive`.
pub fn learner(config: &JsValue) -> JsResult<LearnerConfig> {
    let mut given = tree(config)?;
    let model = given.remove("model").filter(|model| !model.is_null());
    if model.as_ref().is_some_and(Value::is_object) {
        // What belongs to networks by name would be without effect.
        let sizes = ["channels", "filters", "blocks", "size"];
        if let Some(size) = sizes.iter().find(|&&size| given.contains_key(size)) {
            let error = Error::invalid(OPERATION, format!("a graph has no '{size}'"));
            return Err(failure(error.expected("sizes in the graph")));
        }
    }
    let mut options: LearnerOptions = parse(given.into())?;
    if let Some(model) = model {
        options.model = Architecture::try_from(model).map_err(failure)?;
    }
    options.config().map_err(failure)
}

/// The name and the graph of a network that tells so many classes apart. `model` is a name, a graph, or an object with
/// `kind`, a name, and what is to differ from its defaults: `channels` and `size` of the images, for a perceptron also
/// `inputs` instead, and the network's options.
pub fn classifier(model: Option<Value>, classes: usize) -> Result<(String, Graph)> {
    let model = model.filter(|model| !model.is_null()).ok_or_else(|| {
        let names: Vec<&str> = forgeling::nn::catalog::MODELS
            .iter()
            .map(|entry| entry.name)
            .collect();
        Error::invalid(OPERATION, "no model is chosen").expected(format!(
            "model: a name ({}), an object with one as `kind`, or a graph",
            names.join(", ")
        ))
    })?;
    let (architecture, input, options) = match model {
        Value::Object(mut given) if given.contains_key("kind") => {
            let kind = given.remove("kind").unwrap_or_default();
            let Value::String(kind) = kind else {
                return Err(Error::invalid(OPERATION, "`kind` is no name"));
            };
            let entry = Entry::find(&kind)?;
            let (input, options) = sizes(entry, given)?;
            (Architecture::named(entry.name)?, input, options)
        }
        model => {
            let architecture = Architecture::try_from(model)?;
            let input = architecture.usual_input()?;
            (architecture, input, BTreeMap::new())
        }
    };
    let graph = architecture.graph(input, classes, options)?;
    Ok((architecture.name().into(), graph))
}

/// What pages call an option of a network.
fn page_name(model: &str, option: &'static str) -> &'static str {
    match (model, option) {
        ("mlp", "width") => "hidden",
        ("conv4" | "conv6", "width") => "filters",
        (_, option) => option,
    }
}

/// The images that a network takes, and its options by the library's names.
fn sizes(
    entry: &Entry,
    given: Map<String, Value>,
) -> Result<(ImageShape, BTreeMap<String, usize>)> {
    let mut of_input = vec!["channels", "size"];
    if entry.name == "mlp" {
        of_input.push("inputs");
    }
    let (mut input, mut options) = (BTreeMap::new(), BTreeMap::new());
    for (name, value) in given {
        let option = entry
            .options
            .iter()
            .find(|option| page_name(entry.name, option.name) == name);
        if option.is_none() && !of_input.contains(&&name[..]) {
            let own = entry
                .options
                .iter()
                .map(|option| page_name(entry.name, option.name));
            let all: Vec<&str> = of_input.into_iter().chain(own).collect();
            let message = format!("{} has no '{name}'", entry.name);
            return Err(Error::invalid(OPERATION, message).expected(all.join(", ")));
        }
        if value.is_null() {
            continue;
        }
        let number = value.as_u64().and_then(|value| usize::try_from(value).ok());
        let number = number.ok_or_else(|| {
            Error::invalid(OPERATION, format!("'{name}' is out of range"))
                .expected("a whole number")
                .got(value)
        })?;
        match option {
            Some(option) => options.insert(option.name.to_string(), number),
            None => input.insert(name, number),
        };
    }
    let side = input.get("size").copied();
    let channels = input.get("channels").copied();
    let shape = match input.get("inputs") {
        Some(_) if side.or(channels).is_some() => {
            return Err(Error::invalid(OPERATION, "inputs are given twice")
                .expected("either inputs, or size and channels"));
        }
        Some(&inputs) => ImageShape::new(1, 1, inputs),
        None => {
            // All are shown squares, or sequences: one row of steps.
            let ImageShape { height, width, .. } = entry.input;
            let side = side.unwrap_or(width);
            let rows = if height == 1 { 1 } else { side };
            ImageShape::new(channels.unwrap_or(entry.input.channels), rows, side)
        }
    };
    Ok((shape, options))
}
