//! What each operation of a schedule does with tensors.

use burn::module::Param;
use burn::tensor::Tensor;
use burn::tensor::activation::{gelu, relu, relu6};

use super::{Part, Values};
use crate::error::{Error, Result};
use crate::nn::conv_block::BlockValues;
use crate::nn::graph::{Border, Graph, Layer, Operation, Region, Shape, Step, Wire};
use crate::nn::network::int8::{Ground, Role};
use crate::nn::network::node_parameters::ConvValues;
use crate::nn::network::normed::{normed, running};
use crate::nn::network::tokens::{attended, patched, projected};
use crate::nn::pool::{self, extended};
use crate::nn::quantize::rounded;
use crate::nn::{BatchNorm, Normalization, Pass};
use crate::ops::{
    Activation, Conv2dOptions, Levels, conv2d, conv2d_norm_running, fake_quantize, linear,
};

/// What goes from operation to operation, for all examples of a batch.
#[derive(Debug, Clone)]
pub enum Flow {
    /// `[batch, channels, rows, columns]`
    Maps(Tensor<4>),
    /// `[batch, values]`, or `[batch * tokens, values]`: the tokens of an example one after the other.
    Rows(Tensor<2>),
}

impl Flow {
    /// Maps, as they are.
    ///
    /// # Errors
    /// When these are rows.
    pub fn maps(self) -> Result<Tensor<4>> {
        match self {
            Self::Maps(maps) => Ok(maps),
            Self::Rows(rows) => Err(misfit("maps", &rows.dims())),
        }
    }

    /// Maps as they are, rows as maps of one pixel, and whether they were rows.
    fn channels(self) -> (Tensor<4>, bool) {
        match self {
            Self::Maps(maps) => (maps, false),
            Self::Rows(rows) => {
                let [batch, values] = rows.dims();
                (rows.reshape([batch, values, 1, 1]), true)
            }
        }
    }

    /// Rows, as they are.
    ///
    /// # Errors
    /// When these are maps.
    pub fn rows(self) -> Result<Tensor<2>> {
        match self {
            Self::Rows(rows) => Ok(rows),
            Self::Maps(maps) => Err(misfit("rows", &maps.dims())),
        }
    }

    /// Maps or rows, whichever these are, changed.
    pub fn each(
        self,
        four: impl FnOnce(Tensor<4>) -> Tensor<4>,
        two: impl FnOnce(Tensor<2>) -> Tensor<2>,
    ) -> Self {
        match self {
            Self::Maps(maps) => Self::Maps(four(maps)),
            Self::Rows(rows) => Self::Rows(two(rows)),
        }
    }

    /// The sum of two of one kind.
    ///
    /// # Errors
    /// When one is maps and the other rows.
    pub fn plus(self, other: Self) -> Result<Self> {
        match (self, other) {
            (Self::Maps(a), Self::Maps(b)) => Ok(Self::Maps(a + b)),
            (Self::Rows(a), Self::Rows(b)) => Ok(Self::Rows(a + b)),
            (Self::Maps(a), Self::Rows(_)) => Err(misfit("maps", &a.dims())),
            (Self::Rows(a), Self::Maps(_)) => Err(misfit("rows", &a.dims())),
        }
    }
}

fn misfit(expected: &str, got: &[usize]) -> Error {
    Error::invalid("network", "the values do not fit the layer")
        .expected(expected)
        .got(format!("{got:?}"))
}

/// A value that the graph says is there.
fn missing(graph: &Graph, node: usize) -> Error {
    let name = &graph.nodes()[node].name;
    Error::invalid("network", format!("layer '{name}' has no values"))
}

/// Values as they come and go while a part of a network is run.
pub struct Slots {
    outputs: Vec<Option<Flow>>,
    input: Option<Flow>,
}

impl Slots {
    /// For a graph, of which this is the input.
    pub fn new(graph: &Graph, input: Flow) -> Self {
        Self {
            outputs: vec![None; graph.nodes().len()],
            input: Some(input),
        }
    }

    /// Notes what came out of a node.
    pub fn put(&mut self, node: usize, output: Flow) {
        self.outputs[node] = Some(output);
    }

    /// What is at some place; it is given away if nobody reads it afterwards.
    ///
    /// # Errors
    /// When there is nothing, which a schedule rules out.
    pub fn take(&mut self, wire: Wire, last: bool) -> Result<Flow> {
        let place = match wire {
            Wire::Input => &mut self.input,
            Wire::Node(node) => &mut self.outputs[node],
        };
        let found = if last { place.take() } else { place.clone() };
        found.ok_or_else(|| Error::invalid("network", "a layer runs before what it takes"))
    }
}

impl Part {
    /// Runs the steps of a block on its input.
    ///
    /// # Errors
    /// When the input does not fit.
    pub fn region(
        &self,
        ground: Ground<'_>,
        region: &Region,
        input: Flow,
        pass: &mut Pass<'_>,
    ) -> Result<Flow> {
        // The block's input is whatever its steps read from outside.
        let mut slots = Slots::new(ground.graph, input.clone());
        if let Wire::Node(node) = region.input.wire {
            slots.input = None;
            slots.put(node, input);
        } else {
            drop(input);
        }
        for step in &region.steps {
            let output = self.step(ground, step, &mut slots, pass)?;
            slots.put(step.output, output);
        }
        slots.take(Wire::Node(region.output), true)
    }

    /// Runs one step.
    ///
    /// # Errors
    /// When what it takes does not fit.
    pub fn step(
        &self,
        ground: Ground<'_>,
        step: &Step,
        slots: &mut Slots,
        pass: &mut Pass<'_>,
    ) -> Result<Flow> {
        let graph = ground.graph;
        let mut inputs = Vec::with_capacity(step.inputs.len());
        for read in &step.inputs {
            inputs.push(slots.take(read.wire, read.last)?);
        }
        let mut inputs = inputs.into_iter();
        let first = inputs.next().ok_or_else(|| missing(graph, step.output))?;
        match step.operation {
            Operation::ConvBlock { conv, norm } => {
                let (weights, norm) = (self.conv(graph, conv)?, self.norm(graph, norm)?);
                let output = block(weights, norm, first.maps()?, pass)?;
                Ok(Flow::Maps(output))
            }
            Operation::Norm { conv, norm, after } => {
                let epsilon = epsilon_of(graph, norm)?;
                let norm = self.norm(graph, norm)?;
                let residual = inputs.next().map(|other| other.channels().0);
                let (maps, rows) = first.channels();
                let normed = match conv {
                    Some(node) => {
                        let bias = self.conv(graph, node)?.bias.as_ref();
                        let left_out = bias.map(|bias| bias.val());
                        if norm.normalization(pass) == Normalization::Running {
                            let (maps, weight, options) = self.convolution(graph, node, maps)?;
                            let norm = running(norm, epsilon, left_out);
                            conv2d_norm_running(maps, weight, options, norm, residual, after)?
                        } else {
                            let maps = self.convolved(graph, node, maps, None)?;
                            normed(norm, epsilon, left_out, maps, residual, after, pass)?
                        }
                    }
                    None => normed(norm, epsilon, None, maps, residual, after, pass)?,
                };
                Ok(match rows {
                    true => Flow::Rows(normed.flatten(1, 3)),
                    false => Flow::Maps(normed),
                })
            }
            Operation::Linear {
                linear: node,
                activation,
            } => match self.of(node) {
                Some(Values::Linear(_)) if let Some(own) = ground.int8(node, Role::Whole) => {
                    let output = own.linear(first.rows()?);
                    Ok(Flow::Rows(match activation {
                        Activation::None => output,
                        Activation::Relu => relu(output),
                        Activation::Gelu => gelu(output),
                    }))
                }
                Some(Values::Linear(values)) => {
                    let bias = values.bias.as_ref().map(|bias| bias.val());
                    let weight = rounded(&values.weight, values.weight_scale.as_ref(), 1)?;
                    let output = linear(first.rows()?, weight, bias, activation)?;
                    Ok(Flow::Rows(output))
                }
                _ => Err(missing(graph, node)),
            },
            Operation::Node(node) => self.node(ground, node, first, inputs, pass),
        }
    }

    fn node(
        &self,
        ground: Ground<'_>,
        node: usize,
        first: Flow,
        others: impl Iterator<Item = Flow>,
        pass: &mut Pass<'_>,
    ) -> Result<Flow> {
        let graph = ground.graph;
        let input = graph.shape(graph.nodes()[node].inputs[0]);
        Ok(match graph.nodes()[node].layer {
            Layer::Conv2d(conv) if let Some(own) = ground.int8(node, Role::Whole) => {
                let maps = first.maps()?;
                let [_, _, rows, columns] = maps.dims();
                let beyond = conv.border([rows, columns]).beyond;
                Flow::Maps(own.conv2d(extended(maps, beyond)))
            }
            Layer::Conv2d(_) => {
                let bias = self.conv(graph, node)?.bias.as_ref();
                let bias = bias.map(|bias| bias.val());
                Flow::Maps(self.convolved(graph, node, first.maps()?, bias)?)
            }
            Layer::LayerNorm(options) => match self.of(node) {
                Some(Values::LayerNorm(norm)) => {
                    Flow::Rows(norm.forward(first.rows()?, options.epsilon)?)
                }
                _ => return Err(missing(graph, node)),
            },
            Layer::Relu => first.each(relu, relu),
            Layer::Relu6 => first.each(relu6, relu6),
            Layer::Gelu => first.each(gelu, gelu),
            Layer::MaxPool(window) => Flow::Maps(pool::max_pool(first.maps()?, window)?),
            Layer::MeanPool(window) => Flow::Maps(pool::mean_pool(first.maps()?, window)?),
            Layer::Luminance(options) => Flow::Maps(pool::luminance(first.maps()?, options)?),
            Layer::Channels(part) => Flow::Maps(first.maps()?.narrow(1, part.from, part.count)),
            // A mean over many values wants the precision of sums.
            Layer::GlobalMeanPool => Flow::Rows(match first {
                Flow::Maps(maps) => {
                    let maps = pass.output(maps);
                    maps.flatten::<3>(2, 3).mean_dim(2).squeeze_dim::<2>(2)
                }
                Flow::Rows(rows) => {
                    let rows = pass.output(rows);
                    let [all, width] = rows.dims();
                    let tokens = tokens(input);
                    let batch = all / tokens;
                    rows.reshape([batch, tokens, width])
                        .mean_dim(1)
                        .reshape([batch, width])
                }
            }),
            Layer::FirstToken => {
                let rows = first.rows()?;
                let [all, width] = rows.dims();
                let tokens = tokens(input);
                let batch = all / tokens;
                let each = rows.reshape([batch, tokens, width]);
                Flow::Rows(each.narrow(1, 0, 1).reshape([batch, width]))
            }
            Layer::Flatten => Flow::Rows(match first {
                Flow::Maps(maps) => maps.flatten(1, 3),
                Flow::Rows(rows) => {
                    let [all, width] = rows.dims();
                    let tokens = tokens(input);
                    rows.reshape([all / tokens, tokens * width])
                }
            }),
            Layer::Add => {
                let mut sum = first;
                for other in others {
                    sum = sum.plus(other)?;
                }
                sum
            }
            Layer::Mix(_) => match self.of(node) {
                Some(Values::Mix(values)) => values.mixed(first, others, pass)?,
                _ => return Err(missing(graph, node)),
            },
            Layer::Concat => match first {
                Flow::Maps(maps) => {
                    let mut all = vec![maps];
                    for other in others {
                        all.push(other.maps()?);
                    }
                    Flow::Maps(Tensor::cat(all, 1))
                }
                Flow::Rows(rows) => {
                    let mut all = vec![rows];
                    for other in others {
                        all.push(other.rows()?);
                    }
                    Flow::Rows(Tensor::cat(all, 1))
                }
            },
            Layer::Patches(patches) => match self.of(node) {
                Some(Values::Patches(values)) => {
                    let own = ground.int8(node, Role::Whole);
                    Flow::Rows(patched(values, own, patches.size, first.maps()?, pass)?)
                }
                _ => return Err(missing(graph, node)),
            },
            Layer::Attention(options) => {
                let rows = first.rows()?;
                let (parts, project, context_scale) = match self.of(node) {
                    Some(Values::Attention(values)) => {
                        let of = |role, layer| projected(ground, (node, role), layer, rows.clone());
                        let parts = [
                            of(Role::Query, &values.query)?,
                            of(Role::Key, &values.key)?,
                            of(Role::Value, &values.value)?,
                        ];
                        (parts, &values.project, &values.context_scale)
                    }
                    Some(Values::FusedAttention(values)) => {
                        let inner = options.inner(rows.dims()[1]);
                        let all = projected(ground, (node, Role::Query), &values.qkv, rows)?;
                        let part = |place: usize| all.clone().narrow(1, place * inner, inner);
                        let parts = [0, 1, 2].map(part);
                        (parts, &values.project, &values.context_scale)
                    }
                    _ => return Err(missing(graph, node)),
                };
                let mut seen = attended(parts, tokens(input), options)?;
                if let Some(scale) = context_scale {
                    let levels = Levels::activations(options.context_zero_point);
                    let name = || format!("{}.context_scale", graph.nodes()[node].name);
                    seen = quantized(seen, scale, levels, name, pass)?;
                }
                Flow::Rows(projected(ground, (node, Role::Project), project, seen)?)
            }
            Layer::Quantize(options) => match self.of(node) {
                Some(Values::Quantize(values)) => {
                    let (scale, levels) = (&values.scale, options.levels());
                    let name = || format!("{}.scale", graph.nodes()[node].name);
                    match first {
                        Flow::Maps(maps) => Flow::Maps(quantized(maps, scale, levels, name, pass)?),
                        Flow::Rows(rows) => Flow::Rows(quantized(rows, scale, levels, name, pass)?),
                    }
                }
                _ => return Err(missing(graph, node)),
            },
            // These are operations of their own in every schedule.
            Layer::BatchNorm(_) | Layer::Linear(_) => return Err(missing(graph, node)),
        })
    }

    /// A convolution, of maps with zeros beyond them where more go below and right.
    fn convolved(
        &self,
        graph: &Graph,
        node: usize,
        maps: Tensor<4>,
        bias: Option<Tensor<1>>,
    ) -> Result<Tensor<4>> {
        let (maps, weight, options) = self.convolution(graph, node, maps)?;
        conv2d(maps, weight, bias, options)
    }

    /// What a convolution takes: maps with what lies beyond their border, weights, and how these move.
    fn convolution(
        &self,
        graph: &Graph,
        node: usize,
        maps: Tensor<4>,
    ) -> Result<(Tensor<4>, Tensor<4>, Conv2dOptions)> {
        let Layer::Conv2d(conv) = graph.nodes()[node].layer else {
            return Err(missing(graph, node));
        };
        let [_, _, rows, columns] = maps.dims();
        let Border { around, beyond } = conv.border([rows, columns]);
        let options = Conv2dOptions {
            stride: conv.stride,
            padding: around,
            groups: conv.groups,
        };
        let weight = self.conv(graph, node)?.weight()?;
        Ok((extended(maps, beyond), weight, options))
    }

    fn conv(&self, graph: &Graph, node: usize) -> Result<&ConvValues> {
        match self.of(node) {
            Some(Values::Conv(values)) => Ok(values),
            _ => Err(missing(graph, node)),
        }
    }

    fn norm(&self, graph: &Graph, node: usize) -> Result<&BatchNorm> {
        match self.of(node) {
            Some(Values::BatchNorm(values)) => Ok(values),
            _ => Err(missing(graph, node)),
        }
    }
}

fn epsilon_of(graph: &Graph, node: usize) -> Result<f64> {
    match graph.nodes()[node].layer {
        Layer::BatchNorm(norm) => Ok(norm.epsilon),
        _ => Err(missing(graph, node)),
    }
}

/// Tokens of an example.
fn tokens(shape: Shape) -> usize {
    match shape {
        Shape::Tokens([tokens, _]) => tokens,
        Shape::Maps(_) | Shape::Values(_) => 1,
    }
}

/// Convolution, batch norm, ReLU and pooling.
fn block(
    weights: &ConvValues,
    norm: &BatchNorm,
    input: Tensor<4>,
    pass: &mut Pass<'_>,
) -> Result<Tensor<4>> {
    let values = BlockValues {
        weight: weights.weight()?,
        bias: weights.bias.as_ref().map(|bias| bias.val()),
        gamma: norm.gamma.val(),
        beta: norm.beta.val(),
        running: [&norm.running_mean, &norm.running_var],
    };
    values.run(input, norm.normalization(pass), pass)
}

/// Values rounded to the steps of a scale of this name; as they are in a pass that observes them.
fn quantized<const D: usize>(
    values: Tensor<D>,
    scale: &Param<Tensor<1>>,
    levels: Levels,
    name: impl FnOnce() -> String,
    pass: &mut Pass<'_>,
) -> Result<Tensor<D>> {
    if pass.observe(name, &values) {
        return Ok(values);
    }
    fake_quantize(values, scale.val(), None, levels)
}
