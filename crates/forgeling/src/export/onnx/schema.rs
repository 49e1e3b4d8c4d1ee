//! The messages of an ONNX file with the numbers of their fields: `onnx.proto`, of which this writes what networks need.

use burn::tensor::f16;

use super::OnnxValue;
use crate::export::protobuf::Message;

/// The version of the messages that came with [`OPSET`](super::OPSET), so that every reader of that opset takes them.
const IR_VERSION: i64 = 9;
/// What the first size of inputs and outputs is called.
const BATCH: &str = "batch";
/// `TensorProto.DataType`
const FLOAT: i64 = 1;
const UINT8: i64 = 2;
const INT8: i64 = 3;
const INT32: i64 = 6;
const INT64: i64 = 7;
const FLOAT16: i64 = 10;
/// What a `Cast` to f32 is told.
pub const TO_FLOAT: Attribute = Attribute::Integer(FLOAT);

/// `ModelProto`
pub struct Model {
    /// Of the graph.
    pub name: String,
    /// How to use it, for people.
    pub about: String,
    /// The same for programs.
    pub metadata: Vec<(&'static str, String)>,
    pub graph: Graph,
}

/// `GraphProto`
pub struct Graph {
    /// Each after those that it takes.
    pub nodes: Vec<Node>,
    pub tensors: Vec<Tensor>,
    pub input: OnnxValue,
    pub output: OnnxValue,
    /// Between the two, those whose sizes are known.
    pub values: Vec<OnnxValue>,
}

/// `NodeProto`
pub struct Node {
    pub operator: &'static str,
    pub name: String,
    pub inputs: Vec<String>,
    pub outputs: Vec<String>,
    pub attributes: Vec<(&'static str, Attribute)>,
}

/// `AttributeProto`
pub enum Attribute {
    Integer(i64),
    Float(f32),
    Text(&'static str),
    Integers(Vec<i64>),
}

/// `TensorProto`
pub struct Tensor {
    pub name: String,
    pub sizes: Vec<usize>,
    pub data: Data,
}

/// Row-major values of a tensor, as they are stored.
pub enum Data {
    F32(Vec<f32>),
    /// Rounded to f16.
    F16(Vec<f32>),
    U8(Vec<u8>),
    I8(Vec<i8>),
    I32(Vec<i32>),
    I64(Vec<i64>),
}

impl Model {
    /// The bytes of a file.
    pub fn encode(&self, opset: i64) -> Vec<u8> {
        let mut file = Message::default();
        file.integer(1, IR_VERSION);
        file.text(2, "forgeling");
        file.text(3, env!("CARGO_PKG_VERSION"));
        file.text(6, &self.about);
        file.message(7, |message| self.graph.write(&self.name, message));
        file.message(8, |message| {
            // The domain of ONNX itself.
            message.text(1, "");
            message.integer(2, opset);
        });
        for (key, value) in &self.metadata {
            file.message(14, |message| {
                message.text(1, key);
                message.text(2, value);
            });
        }
        file.into_bytes()
    }
}

impl Graph {
    fn write(&self, name: &str, to: &mut Message) {
        for node in &self.nodes {
            to.message(1, |message| node.write(message));
        }
        to.text(2, name);
        for tensor in &self.tensors {
            to.message(5, |message| tensor.write(message));
        }
        to.message(11, |message| write_value(&self.input, message));
        to.message(12, |message| write_value(&self.output, message));
        for value in &self.values {
            to.message(13, |message| write_value(value, message));
        }
    }
}

impl Node {
    fn write(&self, to: &mut Message) {
        for input in &self.inputs {
            to.text(1, input);
        }
        for output in &self.outputs {
            to.text(2, output);
        }
        to.text(3, &self.name);
        to.text(4, self.operator);
        for (name, value) in &self.attributes {
            to.message(5, |message| {
                message.text(1, name);
                value.write(message);
            });
        }
    }
}

impl Attribute {
    /// The value in its field, and which field that is.
    fn write(&self, to: &mut Message) {
        let kind = match self {
            Self::Float(value) => {
                to.float(2, *value);
                1
            }
            Self::Integer(value) => {
                to.integer(3, *value);
                2
            }
            Self::Text(value) => {
                to.text(4, value);
                3
            }
            Self::Integers(values) => {
                to.integers(8, values);
                7
            }
        };
        to.integer(20, kind);
    }
}

impl Tensor {
    fn write(&self, to: &mut Message) {
        let sizes: Vec<i64> = self.sizes.iter().map(|&size| size as i64).collect();
        to.integers(1, &sizes);
        to.integer(
            2,
            match self.data {
                Data::F32(_) => FLOAT,
                Data::F16(_) => FLOAT16,
                Data::U8(_) => UINT8,
                Data::I8(_) => INT8,
                Data::I32(_) => INT32,
                Data::I64(_) => INT64,
            },
        );
        to.text(8, &self.name);
        match &self.data {
            Data::F32(values) => to.raw(9, values, f32::to_le_bytes),
            Data::F16(values) => to.raw(9, values, |value| f16::from_f32(value).to_le_bytes()),
            Data::U8(values) => to.raw(9, values, u8::to_le_bytes),
            Data::I8(values) => to.raw(9, values, i8::to_le_bytes),
            Data::I32(values) => to.raw(9, values, i32::to_le_bytes),
            Data::I64(values) => to.raw(9, values, i64::to_le_bytes),
        }
    }
}

/// `ValueInfoProto` of f32 with the batch as its first size.
fn write_value(value: &OnnxValue, to: &mut Message) {
    to.text(1, &value.name);
    to.message(2, |kind| {
        kind.message(1, |tensor| {
            tensor.integer(1, FLOAT);
            tensor.message(2, |shape| {
                shape.message(1, |size| size.text(2, BATCH));
                for &size in &value.sizes {
                    shape.message(1, |message| message.integer(1, size as i64));
                }
            });
        });
    });
}
