//! Networks as files of other programs.
//!
//! - [`to_onnx`]: a network as an [`OnnxModel`], which ONNX Runtime and others run.
//! - `protobuf`: the encoding of its file.

mod onnx;
mod protobuf;

pub use onnx::{OPSET, OnnxModel, OnnxNotes, OnnxOptions, OnnxValue, StoredPrecision, to_onnx};
