//! How graphs are made.

use std::collections::HashSet;

use super::{
    Graph, Layer, MOST_NODES, Node, Shape, Wire, check_name, check_tensors, invalid, mark,
};
use crate::error::Result;

/// A graph in the making, checked node by node.
#[derive(Debug, Clone)]
pub struct Builder {
    input: Shape,
    nodes: Vec<Node>,
    shapes: Vec<Shape>,
    names: HashSet<String>,
    stream: u64,
}

impl Builder {
    /// A graph that takes examples of this shape.
    ///
    /// # Errors
    /// When a size is zero or beyond reason.
    pub fn new(input: Shape) -> Result<Self> {
        let input = input
            .check()
            .map_err(|problem| invalid(format!("input: {problem}")))?;
        Ok(Self {
            input,
            nodes: Vec::new(),
            shapes: Vec::new(),
            names: HashSet::new(),
            stream: 0,
        })
    }

    /// Adds a layer that takes the output of the one that was added last, or the input.
    ///
    /// # Errors
    /// As [`node`](Self::node).
    pub fn then(&mut self, name: impl Into<String>, layer: Layer) -> Result<Wire> {
        let last = self.last();
        self.node(name, layer, [last])
    }

    /// Adds a layer that takes these.
    ///
    /// # Errors
    /// When the name is no name, or there already, when the layer does not take such inputs, and when something is beyond
    /// reason; the error names the layer.
    pub fn node(
        &mut self,
        name: impl Into<String>,
        layer: Layer,
        inputs: impl IntoIterator<Item = Wire>,
    ) -> Result<Wire> {
        self.add(Node {
            name: name.into(),
            layer,
            inputs: inputs.into_iter().collect(),
            stream: self.stream,
        })
    }

    /// Weights of the layers to come are drawn from this stream; see [`Node::stream`].
    pub fn stream(&mut self, stream: u64) -> &mut Self {
        self.stream = stream;
        self
    }

    /// Adds a node.
    ///
    /// # Errors
    /// As [`node`](Self::node).
    pub fn add(&mut self, node: Node) -> Result<Wire> {
        check_name(&node.name)?;
        let wrong = |problem: String| {
            invalid(format!(
                "layer '{}' ({}): {problem}",
                node.name,
                node.layer.kind()
            ))
        };
        if self.nodes.len() >= MOST_NODES {
            return Err(wrong(format!(
                "too many layers: expected at most {MOST_NODES}"
            )));
        }
        if self.names.contains(&node.name) {
            return Err(wrong("there is another of this name".into()));
        }
        let mut inputs = Vec::with_capacity(node.inputs.len());
        for wire in &node.inputs {
            inputs.push(match *wire {
                Wire::Input => self.input,
                Wire::Node(before) => *self.shapes.get(before).ok_or_else(|| {
                    wrong("takes the output of a layer that does not come before".into())
                })?,
            });
        }
        let shape = node.layer.output(&inputs).map_err(wrong)?;
        node.layer.checked_parameters(&inputs).map_err(wrong)?;
        self.names.insert(node.name.clone());
        self.nodes.push(node);
        self.shapes.push(shape);
        Ok(Wire::Node(self.nodes.len() - 1))
    }

    /// The output of the layer that was added last, or the input.
    pub fn last(&self) -> Wire {
        match self.nodes.len() {
            0 => Wire::Input,
            count => Wire::Node(count - 1),
        }
    }

    /// The shape at some place, if there is such a place.
    pub fn shape(&self, wire: Wire) -> Option<Shape> {
        match wire {
            Wire::Input => Some(self.input),
            Wire::Node(node) => self.shapes.get(node).copied(),
        }
    }

    /// Nodes so far.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The graph whose output is that of the last layer. Features are what that takes, if it is a layer of neurons that
    /// takes the output of another, before flattening; otherwise the output itself.
    ///
    /// # Errors
    /// As [`ending_at`](Self::ending_at).
    pub fn finish(self) -> Result<Graph> {
        let Some(output) = self.nodes.len().checked_sub(1) else {
            return Err(invalid("no layer").expected("at least one"));
        };
        let before = |place: usize| match self.nodes[place].inputs[..] {
            [Wire::Node(before)] => Some(before),
            _ => None,
        };
        let features = match self.nodes[output].layer {
            Layer::Linear(_) => {
                before(output).map_or(output, |features| match self.nodes[features].layer {
                    Layer::Flatten => before(features).unwrap_or(features),
                    _ => features,
                })
            }
            _ => output,
        };
        self.ending_at(output, features)
    }

    /// The graph with these places of output and features.
    ///
    /// # Errors
    /// When there is no such place, when the features or another layer leads nowhere, or when the values are too many.
    pub fn ending_at(self, output: usize, features: usize) -> Result<Graph> {
        let Self {
            input,
            nodes,
            shapes,
            ..
        } = self;
        if output.max(features) >= nodes.len() {
            return Err(invalid("no layer of this place")
                .expected(format!("below {}", nodes.len()))
                .got(output.max(features)));
        }
        let mut needed = vec![false; nodes.len()];
        needed[output] = true;
        mark(&nodes, output, &mut needed);
        if let Some(place) = needed.iter().position(|needed| !needed) {
            let name = &nodes[place].name;
            return Err(invalid(format!(
                "layer '{name}' does not lead to the output"
            )));
        }
        let graph = Graph {
            input,
            nodes,
            shapes,
            output,
            features,
        };
        check_tensors(&graph)?;
        Ok(graph)
    }

    /// A name that begins so and is not taken.
    pub(crate) fn free(&self, name: &str) -> String {
        if !self.names.contains(name) {
            return name.into();
        }
        let mut numbered = (1..).map(|number| format!("{name}-{number}"));
        numbered
            .find(|name| !self.names.contains(name))
            .unwrap_or_default()
    }
}

/// To go on where a graph ends.
impl From<&Graph> for Builder {
    fn from(graph: &Graph) -> Self {
        Self {
            input: graph.input,
            names: graph.nodes.iter().map(|node| node.name.clone()).collect(),
            nodes: graph.nodes.clone(),
            shapes: graph.shapes.clone(),
            stream: 0,
        }
    }
}
