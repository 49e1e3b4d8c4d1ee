//! ONNX files, which ONNX Runtime, browsers and other programs run. <https://onnx.ai>
//!
//! - [`to_onnx`], which makes an [`OnnxModel`] of a network.
//! - [`OnnxNotes`]: what it says of itself: `notes`.
//! - `layers`: what each layer becomes.
//! - `writer`: nodes and tensors as they are put together.
//! - `schema`: the messages of a file.

mod layers;
mod notes;
mod quantized;
mod schema;
mod writer;

use std::collections::BTreeMap;
use std::fmt;

pub use notes::OnnxNotes;

use self::schema::{Graph, Model, Node};
use self::writer::Writer;
use crate::error::{Error, Result};
use crate::nn::Network;
use crate::nn::graph::Wire;
use crate::train::weights::collect;

const OPERATION: &str = "export_onnx";
/// The version of ONNX's operators that exported networks are of: the first with GELU.
pub const OPSET: i64 = 20;
/// The most bytes of a message in Protocol Buffers.
const MOST_BYTES: usize = i32::MAX as usize;

fn failed(message: impl Into<String>) -> Error {
    Error::invalid(OPERATION, message)
}

/// How a network is exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OnnxOptions {
    /// How its weights are stored. Default f32.
    pub precision: StoredPrecision,
}

/// How weights are stored in a file; what is computed with them is f32 either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StoredPrecision {
    /// In 32 bits, as they are. The default.
    #[default]
    F32,
    /// In 16 bits, of which a node of the graph makes f32 again: half the file, and as fast, while ONNX Runtime is slower
    /// with f16 on a CPU. Running statistics, and tensors of fewer than 64 values or with one beyond 65504, stay f32.
    F16,
}

/// An input or an output of an exported network, of f32.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnnxValue {
    /// What it is called.
    pub name: String,
    /// The sizes of one example; before them goes that of the batch, which is any.
    pub sizes: Vec<usize>,
}

impl fmt::Display for OnnxValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [batch", self.name)?;
        for size in &self.sizes {
            write!(f, ", {size}")?;
        }
        f.write_str("]")
    }
}

/// A network as ONNX has it.
#[derive(Debug, Clone)]
pub struct OnnxModel {
    /// A whole file.
    pub bytes: Vec<u8>,
    /// What it takes: `images`, `spectrograms`, `tokens` or `values`, in the network's shape.
    pub input: OnnxValue,
    /// What it gives: `logits`, or `features` where there are no classes.
    pub output: OnnxValue,
    /// How many nodes there are of each operator.
    pub operators: BTreeMap<&'static str, usize>,
}

/// A network as an ONNX file: opset [`OPSET`], any number of examples at once, with running statistics as in evaluation.
/// The same network gives the same bytes. An adapter is merged into the weight that it changes.
///
/// ```
/// use forgeling::{Device, DeviceChoice};
/// use forgeling::export::{OnnxNotes, OnnxOptions, to_onnx};
/// use forgeling::nn::Network;
/// use forgeling::nn::catalog::ModelConfig;
///
/// # pollster::block_on(async {
/// let device = Device::open(DeviceChoice::Cpu).await?;
/// let network = Network::new(&ModelConfig::new("mlp")?.graph()?, 0, &device);
/// let notes = OnnxNotes { classes: (0..10).map(|digit| digit.to_string()).collect(), ..Default::default() };
/// let model = to_onnx(&network, &notes, OnnxOptions::default()).await?;
/// assert_eq!(model.input.to_string(), "images [batch, 1, 28, 28]");
/// assert_eq!(model.output.to_string(), "logits [batch, 10]");
/// assert_eq!(model.operators["Gemm"], 2);
/// # Ok::<(), forgeling::Error>(()) }).unwrap();
/// ```
///
/// # Errors
/// When the notes are of another network, a weight is not finite, the file would be larger than 2 GiB, or the device fails.
pub async fn to_onnx(
    network: &Network,
    notes: &OnnxNotes,
    options: OnnxOptions,
) -> Result<OnnxModel> {
    notes.check(network.graph())?;
    let graph = network.graph();
    let weights = collect(&network.merged()?).await?;
    let finite = |values: &[f32]| values.iter().all(|value| value.is_finite());
    if let Some(tensor) = weights.iter().find(|tensor| !finite(&tensor.values)) {
        let message = "the network holds a value that is not finite";
        return Err(Error::bad_data(OPERATION, message).got(format!("in '{}'", tensor.name)));
    }
    let (input, output) = (
        notes.input(graph.input()),
        notes.output(graph.output_shape()),
    );
    let mut writer = Writer::new(weights, options.precision);
    let mut names: Vec<String> = Vec::with_capacity(graph.nodes().len());
    let mut values = Vec::new();
    for (place, node) in graph.nodes().iter().enumerate() {
        let taken = node.inputs.iter().map(|wire| match wire {
            Wire::Input => input.name.clone(),
            Wire::Node(before) => names[*before].clone(),
        });
        let taken: Vec<String> = taken.collect();
        let shape = graph.shape(node.inputs[0]);
        let mut at = writer.at(&node.name, graph.parameters(place));
        let name = layers::write(&node.layer, &mut at, &taken, shape)?;
        if !taken.contains(&name) {
            let sizes = graph.shape(Wire::Node(place)).sizes();
            values.push(OnnxValue {
                name: name.clone(),
                sizes,
            });
        }
        names.push(name);
    }
    let Writer {
        mut nodes, tensors, ..
    } = writer;
    let last = names.swap_remove(graph.output());
    values.retain(|value| value.name != last);
    give(&mut nodes, &input.name, last, &output.name);
    let mut operators = BTreeMap::new();
    for node in &nodes {
        *operators.entry(node.operator).or_default() += 1;
    }
    let model = Model {
        name: match &notes.model[..] {
            "" => "network".into(),
            name => name.into(),
        },
        about: notes.text(&input, &output),
        metadata: notes.metadata(graph),
        graph: Graph {
            nodes,
            tensors,
            input,
            output,
            values,
        },
    };
    let bytes = model.encode(OPSET);
    if bytes.len() > MOST_BYTES {
        return Err(failed("the file would be too large for ONNX")
            .expected(format!("at most {MOST_BYTES} bytes"))
            .got(bytes.len()));
    }
    let Graph { input, output, .. } = model.graph;
    Ok(OnnxModel {
        bytes,
        input,
        output,
        operators,
    })
}

/// Calls the value `last` what the network's output is called.
fn give(nodes: &mut Vec<Node>, input: &str, last: String, output: &str) {
    if last == input {
        // A network that does nothing: the input cannot be the output as well.
        nodes.push(Node {
            operator: "Identity",
            name: format!("{output}/Identity"),
            inputs: vec![last],
            outputs: vec![output.into()],
            attributes: Vec::new(),
        });
        return;
    }
    for node in nodes {
        for name in node.inputs.iter_mut().chain(&mut node.outputs) {
            if *name == last {
                output.clone_into(name);
            }
        }
    }
}
