//! Nodes and tensors as they are put together, with names that no two of them share.

use std::collections::HashMap;

use burn::tensor::f16;

use super::schema::{Attribute, Data, Node, TO_FLOAT, Tensor};
use super::{StoredPrecision, failed};
use crate::error::Result;
use crate::nn::graph::Parameter;
use crate::train::weights::NamedTensor;

/// The fewest values that are stored in f16: the node that makes fewer f32 again would be larger than what is saved.
const FEWEST: usize = 64;

/// What a graph becomes.
///
/// A network's values keep their names, `node.field`. Whatever else comes of one of its nodes is named `node/role`, and names
/// of nodes have no `/`.
pub struct Writer {
    precision: StoredPrecision,
    /// Of the network, by their names; taken out as they are written.
    weights: HashMap<String, NamedTensor>,
    /// Of values that were rounded to 8 bits, by their names.
    scales: HashMap<String, f32>,
    pub nodes: Vec<Node>,
    pub tensors: Vec<Tensor>,
}

impl Writer {
    pub fn new(weights: Vec<NamedTensor>, precision: StoredPrecision) -> Self {
        let named = weights
            .into_iter()
            .map(|tensor| (tensor.name.clone(), tensor));
        Self {
            precision,
            weights: named.collect(),
            scales: HashMap::new(),
            nodes: Vec::new(),
            tensors: Vec::new(),
        }
    }

    /// To write what a node of the network becomes.
    pub fn at<'a>(&'a mut self, node: &'a str, parameters: Vec<Parameter>) -> At<'a> {
        At {
            writer: self,
            node,
            parameters,
        }
    }

    fn put(
        &mut self,
        operator: &'static str,
        name: String,
        inputs: &[&str],
        outputs: Vec<String>,
        attributes: Vec<(&'static str, Attribute)>,
    ) {
        self.nodes.push(Node {
            operator,
            name,
            inputs: inputs.iter().map(|&input| input.into()).collect(),
            outputs,
            attributes,
        });
    }

    /// Weights under their own name. Those in f16 are made f32 again by a node of their own.
    fn stored(&mut self, tensor: NamedTensor, narrow: bool) -> String {
        let NamedTensor {
            name,
            shape,
            values,
        } = tensor;
        // Beyond 65504 there is nothing but infinity.
        let holds = |&value: &f32| f16::from_f32(value).is_finite();
        let narrow = narrow && values.len() >= FEWEST && values.iter().all(holds);
        self.tensors.push(Tensor {
            name: name.clone(),
            sizes: shape,
            data: match narrow {
                true => Data::F16(values),
                false => Data::F32(values),
            },
        });
        if !narrow {
            return name;
        }
        let widened = format!("{name}/Cast");
        let attributes = vec![("to", TO_FLOAT)];
        self.put(
            "Cast",
            widened.clone(),
            &[&name],
            vec![widened.clone()],
            attributes,
        );
        widened
    }
}

/// Writes what one node of the network becomes.
pub struct At<'a> {
    writer: &'a mut Writer,
    node: &'a str,
    parameters: Vec<Parameter>,
}

impl At<'_> {
    /// One of ONNX's nodes, and the name of its output. There is one of its operator.
    pub fn node(
        &mut self,
        operator: &'static str,
        inputs: &[&str],
        attributes: Vec<(&'static str, Attribute)>,
    ) -> String {
        self.named_node(operator, operator, inputs, attributes)
    }

    /// As [`node`](Self::node), where there are several of its operator.
    pub fn named_node(
        &mut self,
        operator: &'static str,
        role: &str,
        inputs: &[&str],
        attributes: Vec<(&'static str, Attribute)>,
    ) -> String {
        let name = self.named(role);
        self.writer.put(
            operator,
            name.clone(),
            inputs,
            vec![name.clone()],
            attributes,
        );
        name
    }

    /// A tensor as so many parts of its last axis, which is the third.
    pub fn split<const N: usize>(&mut self, role: &str, input: &str) -> [String; N] {
        let name = self.named(role);
        let parts = std::array::from_fn(|part| format!("{name}.{part}"));
        let attributes = vec![
            ("axis", Attribute::Integer(2)),
            ("num_outputs", Attribute::Integer(N as i64)),
        ];
        self.writer
            .put("Split", name, &[input], parts.to_vec(), attributes);
        parts
    }

    /// Numbers that are no values of the network, and their name.
    pub fn constant(&mut self, role: &str, sizes: &[usize], values: Vec<f32>) -> String {
        self.tensor(role, sizes, Data::F32(values))
    }

    /// As [`constant`](Self::constant): a list of sizes or places.
    pub fn list(&mut self, role: &str, values: &[i64]) -> String {
        self.tensor(role, &[values.len()], Data::I64(values.to_vec()))
    }

    /// As [`constant`](Self::constant): one place.
    pub fn index(&mut self, role: &str, place: i64) -> String {
        self.tensor(role, &[], Data::I64(vec![place]))
    }

    /// As [`constant`](Self::constant), of any kind.
    pub fn tensor(&mut self, role: &str, sizes: &[usize], data: Data) -> String {
        let name = self.named(role);
        self.writer.tensors.push(Tensor {
            name: name.clone(),
            sizes: sizes.to_vec(),
            data,
        });
        name
    }

    /// A value of the network's node, and its name; it can be had once.
    pub fn weight(&mut self, field: &str) -> Result<String> {
        self.changed_weight(field, |tensor| tensor)
    }

    /// As [`weight`](Self::weight), of what `change` makes of it.
    pub fn changed_weight(
        &mut self,
        field: &str,
        change: impl FnOnce(NamedTensor) -> NamedTensor,
    ) -> Result<String> {
        // A variance that f16 rounds to 0 would leave epsilon alone to divide by.
        let trained = |value: &Parameter| value.field == field && value.trained;
        let narrow =
            self.writer.precision == StoredPrecision::F16 && self.parameters.iter().any(trained);
        let tensor = change(self.take(field)?);
        Ok(self.writer.stored(tensor, narrow))
    }

    /// As [`weight`](Self::weight) where the node has such a value.
    pub fn weight_if_any(&mut self, field: &str) -> Result<Option<String>> {
        match self.has(field) {
            true => self.weight(field).map(Some),
            false => Ok(None),
        }
    }

    /// Whether the network's node has such a value.
    pub fn has(&self, field: &str) -> bool {
        self.parameters.iter().any(|value| value.field == field)
    }

    /// Notes that a value is a multiple of a scale.
    pub fn note_scale(&mut self, value: &str, scale: f32) {
        self.writer.scales.insert(value.into(), scale);
    }

    /// What a value is a multiple of, if it was rounded.
    pub fn scale_of(&self, value: &str) -> Option<f32> {
        self.writer.scales.get(value).copied()
    }

    /// A value of the network's node that is not written as it is.
    pub fn take(&mut self, field: &str) -> Result<NamedTensor> {
        let name = format!("{}.{field}", self.node);
        let found = self.writer.weights.remove(&name);
        found.ok_or_else(|| failed(format!("the network has no '{name}'")))
    }

    /// The sizes of a value of the network's node.
    pub fn sizes(&self, field: &str) -> Result<&[usize]> {
        let found = self.parameters.iter().find(|value| value.field == field);
        let sizes = found.map(|value| &value.sizes[..]);
        sizes.ok_or_else(|| failed(format!("layer '{}' has no '{field}'", self.node)))
    }

    fn named(&self, role: &str) -> String {
        format!("{}/{role}", self.node)
    }
}
