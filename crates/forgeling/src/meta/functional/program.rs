//! A graph as a function of its parameters.

use std::ops::Range;

use burn::tensor::Tensor;

use super::{Primitive, Value, Weights};
use crate::error::{Error, Result};
use crate::nn::graph::{self, Graph, Operation, Schedule, Shape, Wire};
use crate::nn::{Network, Values};
use crate::ops::{Activation, AfterNorm, Conv2dOptions, Statistics};

const OPERATION: &str = "functional_forward";

/// A network as a function of its parameters: layers, each with what it takes.
#[derive(Debug, Clone)]
pub struct Program {
    steps: Vec<Step>,
    /// The step whose output is the program's.
    output: usize,
    takes_maps: bool,
}

/// A layer with what it takes and what belongs to it.
#[derive(Debug, Clone)]
struct Step {
    layer: Primitive,
    /// Steps before; `None` is the program's input.
    inputs: Vec<Option<usize>>,
    /// The layer's parameters among all.
    place: Range<usize>,
    /// The node that holds the parameters.
    node: usize,
    /// Whether a parameter is here or before.
    learns: bool,
}

/// A forward pass, with what its backward pass needs.
#[derive(Debug, Clone)]
pub struct Trace {
    /// What came out.
    pub output: Value,
    /// The statistics of each batch norm, of all tasks, `[tasks * channels]`: tracked like everything else.
    pub statistics: Vec<Statistics>,
    inputs: Vec<Vec<Value>>,
}

/// A program in the making.
struct Writing<'a> {
    graph: &'a Graph,
    steps: Vec<Step>,
    /// The step that gives each node's output.
    outputs: Vec<Option<usize>>,
}

impl Writing<'_> {
    fn input(&self, wire: Wire) -> Option<usize> {
        match wire {
            Wire::Input => None,
            Wire::Node(node) => self.outputs[node],
        }
    }

    fn add(&mut self, node: usize, layer: Primitive, inputs: Vec<Option<usize>>) -> Option<usize> {
        let start = self.steps.last().map_or(0, |step| step.place.end);
        let place = start..start + layer.parameters().len();
        let before = inputs
            .iter()
            .flatten()
            .any(|&input| self.steps[input].learns);
        self.steps.push(Step {
            layer,
            inputs,
            learns: before || !place.is_empty(),
            place,
            node,
        });
        Some(self.steps.len() - 1)
    }

    /// The maps that a node takes.
    fn maps(&self, node: usize) -> Result<[usize; 3]> {
        match self.graph.input_shapes(node)[..] {
            [Shape::Maps(sizes), ..] => Ok(sizes),
            _ => Err(self.unknown(node)),
        }
    }

    /// A convolution, with zeros beyond its input where more go below and right.
    fn conv(&mut self, node: usize, bias: bool, input: Option<usize>) -> Result<Option<usize>> {
        let graph::Layer::Conv2d(conv) = self.graph.nodes()[node].layer else {
            return Err(self.unknown(node));
        };
        let [inputs, rows, columns] = self.maps(node)?;
        let graph::Border { around, beyond } = conv.border([rows, columns]);
        let mut hidden = input;
        if beyond != [0; 2] {
            hidden = self.add(node, Primitive::Extend(beyond), vec![hidden]);
        }
        let layer = Primitive::Conv2d {
            inputs,
            outputs: conv.filters,
            kernel: conv.kernel,
            options: Conv2dOptions {
                stride: conv.stride,
                padding: around,
                groups: conv.groups,
            },
            bias: bias && conv.bias,
        };
        Ok(self.add(node, layer, vec![hidden]))
    }

    /// A batch norm.
    fn norm(&self, node: usize) -> Result<Primitive> {
        let graph::Layer::BatchNorm(norm) = self.graph.nodes()[node].layer else {
            return Err(self.unknown(node));
        };
        Ok(Primitive::BatchNorm {
            channels: self.graph.parameters(node)[0].sizes[0],
            epsilon: norm.epsilon,
        })
    }

    /// A layer whose products with gradients are not known.
    fn unknown(&self, node: usize) -> Error {
        let graph::Node { name, layer, .. } = &self.graph.nodes()[node];
        let kind = layer.kind();
        let message = format!("layer '{name}' ({kind}) has no vector-Jacobian product");
        Error::invalid("adapt", message).expected(
            "convolution, batch norm, layer norm of values, ReLU, ReLU6, GELU, pooling, linear, add, concat or flatten",
        )
    }

    /// A node that stands for itself and is no convolution.
    fn single(&self, node: usize) -> Result<Primitive> {
        let shape = self.graph.input_shapes(node)[0];
        if matches!(shape, Shape::Tokens(_)) {
            return Err(self.unknown(node));
        }
        Ok(match self.graph.nodes()[node].layer {
            graph::Layer::LayerNorm(norm) => Primitive::LayerNorm {
                width: shape.len(),
                epsilon: norm.epsilon,
            },
            graph::Layer::Relu => Primitive::Relu,
            graph::Layer::Relu6 => Primitive::Relu6,
            graph::Layer::Gelu => Primitive::Gelu,
            graph::Layer::MaxPool(window) => Primitive::MaxPool(window),
            graph::Layer::MeanPool(window) => Primitive::MeanPool(window),
            graph::Layer::GlobalMeanPool => Primitive::GlobalAveragePool,
            graph::Layer::Flatten => Primitive::Flatten,
            graph::Layer::Add => Primitive::Add,
            graph::Layer::Concat => Primitive::Concat,
            graph::Layer::Conv2d(_)
            | graph::Layer::BatchNorm(_)
            | graph::Layer::FirstToken
            | graph::Layer::Linear(_)
            | graph::Layer::Luminance(_)
            | graph::Layer::Channels(_)
            | graph::Layer::Mix(_)
            | graph::Layer::Patches(_)
            | graph::Layer::Attention(_)
            | graph::Layer::Quantize(_) => return Err(self.unknown(node)),
        })
    }
}

impl Program {
    /// The program of a graph. Biases of convolutions before a batch norm are no parameters: batch statistics cancel them.
    ///
    /// # Errors
    /// When a layer has no vector-Jacobian product; the error names it.
    pub fn new(graph: &Graph) -> Result<Self> {
        let mut writing = Writing {
            graph,
            steps: Vec::new(),
            outputs: vec![None; graph.nodes().len()],
        };
        let mut nodes = graph.nodes().iter();
        if let Some(rounded) = nodes.position(|node| node.layer.is_int8()) {
            return Err(writing.unknown(rounded));
        }
        for step in Schedule::new(graph).steps() {
            let reads = step.inputs.iter();
            let inputs: Vec<_> = reads.map(|read| writing.input(read.wire)).collect();
            let (first, others) = (inputs[0], &inputs[1..]);
            let last = match step.operation {
                Operation::ConvBlock { conv, norm } => {
                    let convolved = writing.conv(conv, false, first)?;
                    let channels = writing.maps(norm)?[0];
                    writing.add(norm, Primitive::NormPool { channels }, vec![convolved])
                }
                Operation::Norm { conv, norm, after } => {
                    let mut hidden = first;
                    if let Some(conv) = conv {
                        hidden = writing.conv(conv, false, hidden)?;
                    }
                    let layer = writing.norm(norm)?;
                    hidden = writing.add(norm, layer, vec![hidden]);
                    if let [residual] = others {
                        hidden = writing.add(norm, Primitive::Add, vec![hidden, *residual]);
                    }
                    match after {
                        AfterNorm::Nothing => hidden,
                        AfterNorm::Relu => writing.add(norm, Primitive::Relu, vec![hidden]),
                        AfterNorm::Relu6 => writing.add(norm, Primitive::Relu6, vec![hidden]),
                    }
                }
                Operation::Linear { linear, activation } => {
                    let parameters = graph.parameters(linear);
                    let Shape::Values(width) = graph.input_shapes(linear)[0] else {
                        return Err(writing.unknown(linear));
                    };
                    let layer = Primitive::Linear {
                        inputs: width,
                        outputs: parameters[0].sizes[1],
                        bias: parameters.len() > 1,
                    };
                    let output = writing.add(linear, layer, vec![first]);
                    match activation {
                        Activation::None => output,
                        Activation::Relu => writing.add(linear, Primitive::Relu, vec![output]),
                        Activation::Gelu => writing.add(linear, Primitive::Gelu, vec![output]),
                    }
                }
                Operation::Node(node)
                    if matches!(graph.nodes()[node].layer, graph::Layer::Conv2d(_)) =>
                {
                    writing.conv(node, true, first)?
                }
                Operation::Node(node) => {
                    let layer = writing.single(node)?;
                    writing.add(node, layer, inputs)
                }
            };
            writing.outputs[step.output] = last;
        }
        let output = writing.outputs[graph.output()];
        Ok(Self {
            output: output.ok_or_else(|| Error::invalid(OPERATION, "no output"))?,
            steps: writing.steps,
            takes_maps: matches!(graph.input(), Shape::Maps(_)),
        })
    }

    /// The parameters of a network with this program's graph, flat and in its order, as autodiff knows them.
    ///
    /// # Errors
    /// When the network is of another graph.
    pub fn parameters_of(&self, network: &Network) -> Result<Vec<Tensor<1>>> {
        fn flat<const D: usize>(tensor: Tensor<D>) -> Tensor<1> {
            let values = tensor.shape().num_elements();
            tensor.reshape([values])
        }
        let mut all = Vec::with_capacity(self.parameters());
        for step in self.steps.iter().filter(|step| !step.place.is_empty()) {
            let values = network.values(step.node);
            let mut own = match values {
                Some(Values::Conv(values)) => {
                    let bias = values.bias.as_ref().map(|bias| bias.val());
                    [Some(flat(values.weight()?)), bias]
                        .into_iter()
                        .flatten()
                        .collect()
                }
                Some(Values::BatchNorm(norm)) => vec![norm.gamma.val(), norm.beta.val()],
                Some(Values::LayerNorm(norm)) => vec![norm.gamma.val(), norm.beta.val()],
                Some(Values::Linear(values)) => {
                    let bias = values.bias.as_ref().map(|bias| bias.val());
                    [Some(flat(values.weight.val())), bias]
                        .into_iter()
                        .flatten()
                        .collect()
                }
                _ => Vec::new(),
            };
            own.truncate(step.place.len());
            all.extend(own);
        }
        if all.len() == self.parameters() {
            return Ok(all);
        }
        Err(Error::invalid(OPERATION, "the network is of another graph")
            .expected(format!("{} parameters", self.parameters()))
            .got(all.len()))
    }

    /// Values of each parameter.
    pub fn sizes(&self) -> Vec<usize> {
        self.steps
            .iter()
            .flat_map(|step| step.layer.parameters())
            .collect()
    }

    /// The places of gamma and beta of each batch norm among the parameters.
    pub fn norms(&self) -> Vec<Range<usize>> {
        let norms = self.steps.iter().filter(|step| step.layer.is_norm());
        norms.map(|step| step.place.clone()).collect()
    }

    /// The nodes of these norms.
    pub(crate) fn norm_nodes(&self) -> Vec<usize> {
        let norms = self.steps.iter().filter(|step| step.layer.is_norm());
        norms.map(|step| step.node).collect()
    }

    /// Outputs of the last layer of neurons, if there is one.
    pub fn width(&self) -> Option<usize> {
        self.steps.iter().rev().find_map(|step| match step.layer {
            Primitive::Linear { outputs, .. } => Some(outputs),
            _ => None,
        })
    }

    /// Whether it takes maps, and not rows.
    pub fn takes_maps(&self) -> bool {
        self.takes_maps
    }

    /// How many parameters the layers have together.
    pub fn parameters(&self) -> usize {
        let (first, last) = (self.steps.first(), self.steps.last());
        match (first, last) {
            (Some(first), Some(last)) => last.place.end - first.place.start,
            _ => 0,
        }
    }

    /// What comes before the last layer with parameters, and that one with all that follows.
    ///
    /// # Errors
    /// When there is no such layer, or something before it goes around it.
    pub fn split_head(&self) -> Result<(Self, Self)> {
        let no_head = || {
            Error::invalid("adapt", "the network has no last layer of its own")
                .expected("one that all else goes through")
        };
        let head = self.steps.iter().rposition(|step| !step.place.is_empty());
        let head = head.ok_or_else(no_head)?;
        let start = self.steps[head].place.start;
        let [before] = self.steps[head].inputs[..] else {
            return Err(no_head());
        };
        let mut rest = Vec::new();
        for step in &self.steps[head..] {
            let moved = step.inputs.iter().map(|&input| match input {
                input if input == before => Some(None),
                Some(input) if input >= head => Some(Some(input - head)),
                _ => None,
            });
            rest.push(Step {
                inputs: moved.collect::<Option<_>>().ok_or_else(no_head)?,
                place: step.place.start - start..step.place.end - start,
                learns: true,
                ..step.clone()
            });
        }
        let body = Self {
            steps: self.steps[..head].to_vec(),
            output: before.unwrap_or_default(),
            takes_maps: self.takes_maps,
        };
        let head = Self {
            output: self.output - head,
            steps: rest,
            takes_maps: false,
        };
        Ok((body, head))
    }

    /// Runs the program with the parameters of each task. `given` are the statistics that batch norm uses in place of the
    /// batch's, norm by norm.
    ///
    /// # Errors
    /// When the input, the parameters or the statistics do not fit.
    pub fn forward(
        &self,
        weights: &Weights,
        input: Value,
        given: Option<&[Statistics]>,
    ) -> Result<Trace> {
        self.check(weights)?;
        let tasks = weights
            .tensors()
            .first()
            .map_or(1, |tensor| tensor.dims()[0]);
        let mut inputs: Vec<Vec<Value>> = Vec::with_capacity(self.steps.len());
        let mut outputs: Vec<Value> = Vec::with_capacity(self.steps.len());
        let mut statistics = Vec::new();
        for step in &self.steps {
            let given = match given {
                Some(all) if step.layer.is_norm() => {
                    Some(all.get(statistics.len()).ok_or_else(|| {
                        Error::invalid(OPERATION, "not statistics for each batch norm")
                            .got(all.len())
                    })?)
                }
                _ => None,
            };
            let own = step.inputs.iter().map(|place| match place {
                None => input.clone(),
                Some(place) => outputs[*place].clone(),
            });
            let own: Vec<Value> = own.collect();
            let parameters = &weights.tensors()[step.place.clone()];
            let (output, used) = step.layer.forward(&own, parameters, tasks, given)?;
            statistics.extend(used);
            inputs.push(own);
            outputs.push(output);
        }
        let output = match self.steps.is_empty() {
            true => input,
            false => outputs.swap_remove(self.output),
        };
        Ok(Trace {
            output,
            statistics,
            inputs,
        })
    }

    /// The gradients of all parameters for that of the output, after a forward pass with the batch's own statistics.
    ///
    /// # Errors
    /// When the gradient does not fit.
    pub fn backward(&self, weights: &Weights, forward: &Trace, grad: Value) -> Result<Weights> {
        self.check(weights)?;
        let tasks = weights
            .tensors()
            .first()
            .map_or(1, |tensor| tensor.dims()[0]);
        let mut along: Vec<Option<Value>> = vec![None; self.steps.len()];
        if let Some(last) = along.get_mut(self.output) {
            *last = Some(grad);
        }
        let mut gradients = Vec::with_capacity(self.steps.len());
        for (index, step) in self.steps.iter().enumerate().rev() {
            let own = &weights.tensors()[step.place.clone()];
            let grad = along[index].take().filter(|_| step.learns);
            let Some(grad) = grad else {
                gradients.push(own.iter().map(|tensor| tensor.zeros_like()).collect());
                continue;
            };
            // Before the first parameter nothing needs a gradient.
            let further =
                |input: &Option<usize>| input.is_some_and(|input| self.steps[input].learns);
            let of_inputs: Vec<bool> = step.inputs.iter().map(further).collect();
            let inputs = &forward.inputs[index];
            let (of, of_own) = step.layer.vjp(inputs, own, tasks, grad, &of_inputs)?;
            gradients.push(of_own);
            for (place, of) in step.inputs.iter().zip(of) {
                if let (Some(place), Some(of)) = (place, of)
                    && self.steps[*place].learns
                {
                    along[*place] = Some(match along[*place].take() {
                        Some(earlier) => earlier.plus(of, tasks)?,
                        None => of,
                    });
                }
            }
        }
        gradients.reverse();
        Ok(Weights::new(gradients.concat()))
    }

    fn check(&self, weights: &Weights) -> Result<()> {
        let sizes = self.sizes();
        // What follows is another program's.
        let own = weights.tensors().iter().take(sizes.len());
        let own: Vec<usize> = own.map(|tensor| tensor.dims()[1]).collect();
        if sizes == own {
            return Ok(());
        }
        let all = |sizes: Vec<usize>| format!("parameters of {sizes:?} values");
        Err(
            Error::invalid(OPERATION, "the parameters do not fit the layers")
                .expected(all(sizes))
                .got(all(own)),
        )
    }
}
