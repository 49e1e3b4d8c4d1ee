//! Which neighbours run as one operation, and in which order.
//!
//! Convolution, batch norm, ReLU and 2×2 pooling are one operation where the convolution is 3×3 and the norm's epsilon the
//! usual one; convolution and batch norm are followed by a sum and ReLU or ReLU6 in the norm's own launch; neurons by their activation. Neighbours are joined only
//! within a block, and only where nobody else takes what is between them.

use std::collections::HashSet;

use super::{Border, Graph, Layer, Norm, Wire};
use crate::ops::{Activation, AfterNorm};

/// What is run one after the other.
#[derive(Debug, Clone)]
pub(crate) struct Schedule {
    pub items: Vec<Item>,
}

/// An operation by itself, or a block of them.
#[derive(Debug, Clone)]
pub(crate) enum Item {
    /// Of no block.
    Step(Step),
    /// Of one input and one output, which training may compute once more.
    Block(Region),
}

/// The steps of a block.
#[derive(Debug, Clone)]
pub(crate) struct Region {
    pub name: String,
    pub input: Read,
    /// The node whose output is the block's.
    pub output: usize,
    pub steps: Vec<Step>,
}

/// An operation with what it takes.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub operation: Operation,
    pub inputs: Vec<Read>,
    /// The nodes that it computes, the last of which gives its output.
    pub nodes: Vec<usize>,
    /// The node whose output comes out.
    pub output: usize,
}

/// Where an input comes from, and whether nobody reads it afterwards: then it is given away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Read {
    pub wire: Wire,
    pub last: bool,
}

/// One or several nodes that run as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    /// 3×3 convolution with one row of zeros around, batch norm, ReLU, 2×2 max pooling.
    ConvBlock {
        /// The node of the convolution.
        conv: usize,
        /// The node of the norm.
        norm: usize,
    },
    /// Batch norm, of a convolution if there is one, then a sum with the second input if there are two, then an activation.
    Norm {
        /// The node of the convolution.
        conv: Option<usize>,
        /// The node of the norm.
        norm: usize,
        /// What follows.
        after: AfterNorm,
    },
    /// A layer of neurons with its activation.
    Linear {
        /// The node of the neurons.
        linear: usize,
        /// What follows.
        activation: Activation,
    },
    /// A node by itself.
    Node(usize),
}

impl Operation {
    /// The nodes that hold its values.
    pub fn nodes(self) -> Vec<usize> {
        match self {
            Self::ConvBlock { conv, norm } => vec![conv, norm],
            Self::Norm { conv, norm, .. } => conv.into_iter().chain([norm]).collect(),
            Self::Linear { linear, .. } => vec![linear],
            Self::Node(node) => vec![node],
        }
    }
}

impl Schedule {
    /// How a graph is run.
    pub fn new(graph: &Graph) -> Self {
        let readers = graph.readers();
        let mut steps = Joining::new(graph, &readers).steps();
        note_last(&mut steps, graph.output());
        let mut items = Vec::new();
        let mut rest = steps.into_iter().peekable();
        while let Some(first) = rest.next() {
            let Some(name) = graph.block(first.output) else {
                items.push(Item::Step(first));
                continue;
            };
            let mut together = vec![first];
            while let Some(next) = rest.next_if(|next| graph.block(next.output) == Some(name)) {
                together.push(next);
            }
            items.extend(block(graph, &readers, name, together));
        }
        Self { items }
    }
}

impl Schedule {
    /// All steps, whichever block they are of.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.items.iter().flat_map(|item| match item {
            Item::Step(step) => std::slice::from_ref(step),
            Item::Block(region) => &region.steps[..],
        })
    }
}

/// The steps as a block, if they have one input and one output; by themselves otherwise.
fn block(graph: &Graph, readers: &[Vec<usize>], name: &str, mut steps: Vec<Step>) -> Vec<Item> {
    let own: HashSet<usize> = steps
        .iter()
        .flat_map(|step| step.nodes.iter().copied())
        .collect();
    let is_own = |wire: Wire| matches!(wire, Wire::Node(node) if own.contains(&node));
    let outside: Vec<Read> = steps
        .iter()
        .flat_map(|step| step.inputs.iter().copied())
        .filter(|read| !is_own(read.wire))
        .collect();
    let read_elsewhere = |node: usize| {
        let ends = node == graph.output() || node == graph.features();
        let outside = |reader: &usize| !own.contains(reader);
        ends || readers[node].iter().any(outside)
    };
    let outputs = steps.iter().map(|step| step.output);
    let outputs: Vec<usize> = outputs.filter(|&node| read_elsewhere(node)).collect();
    let one_input = outside.windows(2).all(|pair| pair[0].wire == pair[1].wire);
    let (Some(input), true, [output]) = (outside.last().copied(), one_input, &outputs[..]) else {
        return steps.into_iter().map(Item::Step).collect();
    };
    // Within the block its input is the block's own, which the last to read it takes away.
    let mut taken = false;
    for step in steps.iter_mut().rev() {
        for read in step.inputs.iter_mut().rev() {
            if read.wire == input.wire {
                read.last = !std::mem::replace(&mut taken, true);
            }
        }
    }
    vec![Item::Block(Region {
        name: name.into(),
        input,
        output: *output,
        steps,
    })]
}

/// Notes for each input whether it is read for the last time. Features are given away, too: who wants them does not go
/// on to the output.
fn note_last(steps: &mut [Step], output: usize) {
    let mut seen = HashSet::from([Wire::Node(output)]);
    for step in steps.iter_mut().rev() {
        for read in step.inputs.iter_mut().rev() {
            read.last = seen.insert(read.wire);
        }
    }
}

/// Looks for neighbours that run as one.
struct Joining<'a> {
    graph: &'a Graph,
    /// Who takes each node's output.
    readers: &'a [Vec<usize>],
    /// Whether a node is part of an operation that is known.
    joined: Vec<bool>,
}

impl<'a> Joining<'a> {
    fn new(graph: &'a Graph, readers: &'a [Vec<usize>]) -> Self {
        Self {
            joined: vec![false; graph.nodes().len()],
            graph,
            readers,
        }
    }

    /// The only node that takes the output of `node`, in the same block, if it is of this kind.
    fn next(&self, node: usize, is: impl Fn(&Layer) -> bool) -> Option<usize> {
        let graph = self.graph;
        if node == graph.output() || node == graph.features() {
            return None;
        }
        let [next] = self.readers[node][..] else {
            return None;
        };
        let near = graph.block(next) == graph.block(node);
        (near && !self.joined[next] && is(&graph.nodes()[next].layer)).then_some(next)
    }

    fn steps(mut self) -> Vec<Step> {
        let mut steps: Vec<Step> = (0..self.graph.nodes().len())
            .filter_map(|node| self.step(node))
            .collect();
        // An operation runs once all that it takes is there.
        steps.sort_by_key(|step| step.output);
        steps
    }

    /// The operation that begins with a node, unless it is part of one already.
    fn step(&mut self, node: usize) -> Option<Step> {
        if self.joined[node] {
            return None;
        }
        let inputs = &self.graph.nodes()[node].inputs;
        let (operation, parts, inputs) = match self.graph.nodes()[node].layer {
            Layer::Conv2d(_) => match self.next(node, is_batch_norm) {
                Some(norm) => self.normed(Some(node), norm),
                None => (Operation::Node(node), vec![node], inputs.clone()),
            },
            Layer::BatchNorm(_) => self.normed(None, node),
            Layer::Linear(_) => {
                let next = self.next(node, |layer| matches!(layer, Layer::Relu | Layer::Gelu));
                let activation = match next.map(|next| &self.graph.nodes()[next].layer) {
                    Some(Layer::Relu) => Activation::Relu,
                    Some(Layer::Gelu) => Activation::Gelu,
                    _ => Activation::None,
                };
                let operation = Operation::Linear {
                    linear: node,
                    activation,
                };
                let parts = [Some(node), next].into_iter().flatten().collect();
                (operation, parts, inputs.clone())
            }
            _ => (Operation::Node(node), vec![node], inputs.clone()),
        };
        let output = *parts.last()?;
        for &part in &parts {
            self.joined[part] = true;
        }
        let read = |wire| Read { wire, last: false };
        Some(Step {
            operation,
            inputs: inputs.into_iter().map(read).collect(),
            nodes: parts,
            output,
        })
    }

    /// Batch norm with what goes before and after.
    fn normed(&self, conv: Option<usize>, norm: usize) -> (Operation, Vec<usize>, Vec<Wire>) {
        let nodes = self.graph.nodes();
        let mut inputs = nodes[conv.unwrap_or(norm)].inputs.clone();
        let mut parts: Vec<usize> = conv.into_iter().chain([norm]).collect();
        if let Some(relu) = self.next(norm, |layer| *layer == Layer::Relu)
            && nodes[norm].layer == Layer::BatchNorm(Norm::default())
            && let Some(conv) = conv.filter(|&conv| self.is_block_convolution(conv))
            && let Some(pool) = self.next(relu, is_block_pool)
        {
            parts.extend([relu, pool]);
            return (Operation::ConvBlock { conv, norm }, parts, inputs);
        }
        let mut last = norm;
        if let Some(add) = self.next(norm, |layer| *layer == Layer::Add)
            && let [a, b] = nodes[add].inputs[..]
            && a != b
        {
            let own = Wire::Node(norm);
            inputs.push(if a == own { b } else { a });
            parts.push(add);
            last = add;
        }
        let next = self.next(last, |layer| matches!(layer, Layer::Relu | Layer::Relu6));
        let after = match next.map(|next| &nodes[next].layer) {
            Some(Layer::Relu) => AfterNorm::Relu,
            Some(Layer::Relu6) => AfterNorm::Relu6,
            _ => AfterNorm::Nothing,
        };
        parts.extend(next);
        (Operation::Norm { conv, norm, after }, parts, inputs)
    }

    /// Whether [`conv_block`](crate::ops::conv_block) computes it: its input has two rows and columns at least.
    fn is_block_convolution(&self, node: usize) -> bool {
        let Layer::Conv2d(conv) = self.graph.nodes()[node].layer else {
            return false;
        };
        let [super::Shape::Maps([_, rows, columns])] = self.graph.input_shapes(node)[..] else {
            return false;
        };
        let border = Border {
            around: [1; 2],
            beyond: [0; 2],
        };
        conv.kernel == [3; 2]
            && conv.stride == [1; 2]
            && conv.border([rows, columns]) == border
            && conv.groups == 1
            && rows.min(columns) >= 2
    }
}

fn is_batch_norm(layer: &Layer) -> bool {
    matches!(layer, Layer::BatchNorm(_))
}

/// Whether it is 2×2 max pooling.
fn is_block_pool(layer: &Layer) -> bool {
    *layer == Layer::MaxPool(super::Window::default())
}
