//! A graph in JSON.
//!
//! `{"input": [1, 28, 28], "layers": [{"conv2d": {"filters": 32, "kernel": 3}}, "batchNorm", "relu", …]}`. A layer may
//! have a `name` (by default its kind with a number), `inputs` (names; by default the layer before), and a `stream`.
//! `output` and `features` name layers, by default the last one and what [`Builder::finish`] finds.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::{Builder, Graph, Layer, MOST_NODES, Node, Shape, Wire, invalid};
use crate::error::{Error, Result};

impl Graph {
    /// A graph from JSON.
    ///
    /// # Errors
    /// When it is no JSON, or no graph; the error names the layer, what was expected and what came.
    pub fn from_json(text: &str) -> Result<Self> {
        let value: Value = serde_json::from_str(text).map_err(|error| {
            Error::bad_data(super::OPERATION, "not JSON").got(error.to_string())
        })?;
        read(value)
    }

    /// The graph as JSON that [`from_json`](Self::from_json) reads.
    pub fn to_json(&self) -> String {
        format!("{:#}", write(self))
    }
}

impl TryFrom<Value> for Graph {
    type Error = Error;

    fn try_from(value: Value) -> Result<Self> {
        read(value)
    }
}

impl From<Graph> for Value {
    fn from(graph: Graph) -> Self {
        write(&graph)
    }
}

/// What a message shows of a value.
fn shown(value: &Value) -> String {
    start_of(value.to_string(), 60)
}

/// At most so many characters: what is in a file may be long.
fn start_of(text: String, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text,
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

fn read(value: Value) -> Result<Graph> {
    let Value::Object(mut graph) = value else {
        return Err(invalid("not a graph")
            .expected("an object with `input` and `layers`")
            .got(shown(&value)));
    };
    let mut take = |key: &str| graph.remove(key);
    let (input, layers) = (take("input"), take("layers"));
    let [output, features] = ["output", "features"].map(&mut take);
    if let Some(unknown) = graph.keys().next() {
        return Err(invalid("a graph has no such key")
            .expected("input, layers, output, features")
            .got(shown(&json!(unknown))));
    }
    let sizes = input.clone().map(serde_json::from_value::<Vec<usize>>);
    let Some(Ok(sizes)) = sizes else {
        return Err(invalid("a graph says the shape of its `input`")
            .expected("[channels, rows, columns], [tokens, width] or [values]")
            .got(input.as_ref().map_or("nothing".into(), shown)));
    };
    let input = Shape::try_from(sizes).map_err(|problem| {
        let problem = start_of(problem, 200);
        invalid(format!("input: {problem}"))
    })?;
    let Some(Value::Array(layers)) = layers else {
        return Err(invalid("a graph says its `layers`")
            .expected("a list")
            .got(layers.as_ref().map_or("nothing".into(), shown)));
    };
    if layers.len() > MOST_NODES {
        return Err(invalid("too many layers")
            .expected(format!("at most {MOST_NODES}"))
            .got(layers.len()));
    }
    let mut builder = Builder::new(input)?;
    let mut places = HashMap::new();
    let mut counts = HashMap::new();
    for (index, layer) in layers.into_iter().enumerate() {
        let written = Written::read(layer).map_err(|problem| {
            let name = &problem.name;
            invalid(format!(
                "layer {} of the list{name}: {}",
                index + 1,
                problem.what
            ))
        })?;
        let kind = written.layer.kind();
        let name = written.name.unwrap_or_else(|| {
            let count: &mut usize = counts.entry(kind).or_default();
            *count += 1;
            format!("{kind}{count}")
        });
        let inputs = match written.inputs {
            None => vec![builder.last()],
            Some(names) => names
                .iter()
                .map(|input| wire(&places, input, &name, kind))
                .collect::<Result<_>>()?,
        };
        let place = builder.add(Node {
            name: name.clone(),
            layer: written.layer,
            inputs,
            stream: written.stream,
        })?;
        places.insert(name, place);
    }
    let named = |key: &str, value: Option<Value>| match value {
        None => Ok(None),
        Some(Value::String(name)) => match places.get(&name) {
            Some(Wire::Node(place)) => Ok(Some(*place)),
            _ => Err(invalid(format!("`{key}` names no layer")).got(shown(&json!(name)))),
        },
        Some(other) => Err(invalid(format!("`{key}` names a layer")).got(shown(&other))),
    };
    let (output, features) = (named("output", output)?, named("features", features)?);
    match (output, features) {
        (None, None) => builder.finish(),
        (output, features) => {
            let last = builder.len().saturating_sub(1);
            let output = output.unwrap_or(last);
            builder.ending_at(output, features.unwrap_or(output))
        }
    }
}

fn wire(places: &HashMap<String, Wire>, input: &str, name: &str, kind: &str) -> Result<Wire> {
    if input == "input" {
        return Ok(Wire::Input);
    }
    places.get(input).copied().ok_or_else(|| {
        invalid(format!("layer '{name}' ({kind}): unknown input"))
            .expected("'input' or the name of a layer before")
            .got(shown(&json!(input)))
    })
}

/// A layer of the list.
struct Written {
    name: Option<String>,
    inputs: Option<Vec<String>>,
    stream: u64,
    layer: Layer,
}

/// What is wrong with a layer, and what it is called, for messages.
struct Problem {
    name: String,
    what: String,
}

impl Written {
    fn read(value: Value) -> std::result::Result<Self, Problem> {
        let mut called = String::new();
        Self::read_called(value, &mut called).map_err(|what| Problem {
            name: called,
            what: start_of(what, 400),
        })
    }

    fn read_called(value: Value, called: &mut String) -> std::result::Result<Self, String> {
        let mut object = match value {
            Value::String(kind) => Map::from_iter([(kind, Value::Null)]),
            Value::Object(object) => object,
            other => {
                return Err(format!(
                    "expected a name or an object, got {}",
                    shown(&other)
                ));
            }
        };
        let name = match object.remove("name") {
            None => None,
            Some(Value::String(name)) => {
                *called = format!(" ({})", shown(&json!(name)));
                Some(name)
            }
            Some(other) => return Err(format!("`name` is no text: got {}", shown(&other))),
        };
        let inputs = match object.remove("inputs") {
            None => None,
            Some(value) => Some(
                serde_json::from_value(value.clone())
                    .map_err(|_| format!("`inputs` is no list of names: got {}", shown(&value)))?,
            ),
        };
        let stream = match object.remove("stream") {
            None => 0,
            Some(value) => value
                .as_u64()
                .ok_or_else(|| format!("`stream` is no number: got {}", shown(&value)))?,
        };
        if object.len() > 1 {
            let keys: Vec<&str> = object.keys().map(String::as_str).collect();
            return Err(format!(
                "expected one layer, got the keys {}",
                keys.join(", ")
            ));
        }
        let Some((kind, options)) = object.into_iter().next() else {
            return Err(format!("expected one of {}", Layer::KINDS.join(", ")));
        };
        let options = Some(options).filter(|options| !options.is_null());
        let layer = Layer::parse(&kind, options).map_err(|problem| {
            let shown: String = kind.chars().take(40).collect();
            format!("{shown}: {problem}")
        })?;
        Ok(Self {
            name,
            inputs,
            stream,
            layer,
        })
    }
}

fn write(graph: &Graph) -> Value {
    let name = |wire: &Wire| match wire {
        Wire::Input => "input",
        Wire::Node(place) => graph.nodes()[*place].name.as_str(),
    };
    let mut before = Wire::Input;
    let mut layers = Vec::with_capacity(graph.nodes().len());
    for (place, node) in graph.nodes().iter().enumerate() {
        let mut written = match serde_json::to_value(node.layer) {
            Ok(Value::Object(layer)) => layer,
            _ => Map::from_iter([(node.layer.kind().into(), json!({}))]),
        };
        written.insert("name".into(), json!(node.name));
        if node.inputs != [before] {
            let inputs: Vec<&str> = node.inputs.iter().map(name).collect();
            written.insert("inputs".into(), json!(inputs));
        }
        if node.stream != 0 {
            written.insert("stream".into(), json!(node.stream));
        }
        layers.push(Value::Object(written));
        before = Wire::Node(place);
    }
    json!({
        "input": graph.input(),
        "layers": layers,
        "output": graph.nodes()[graph.output()].name,
        "features": graph.nodes()[graph.features()].name,
    })
}
