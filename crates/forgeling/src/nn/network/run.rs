//! What each operation of a schedule does with tensors.

use burn::tensor::Tensor;
use burn::tensor::activation::{gelu, relu, relu6};

use super::{Part, Values};
use crate::error::{Error, Result};
use crate::nn::conv_block::BlockValues;
use crate::nn::graph::{Conv2d, Graph, Layer, Operation, Region, Shape, Step, Wire};
use crate::nn::network::node_parameters::{AttentionValues, ConvValues, PatchValues};
use crate::nn::{BatchNorm, Normalization, Pass, pool};
use crate::ops::{
    Activation, AfterNorm, AttentionOptions, Conv2dOptions, Statistics, attention, batch_norm,
    batch_norm_running, conv2d, linear,
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

    fn each(
        self,
        four: impl FnOnce(Tensor<4>) -> Tensor<4>,
        two: impl FnOnce(Tensor<2>) -> Tensor<2>,
    ) -> Self {
        match self {
            Self::Maps(maps) => Self::Maps(four(maps)),
            Self::Rows(rows) => Self::Rows(two(rows)),
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
        graph: &Graph,
        region: &Region,
        input: Flow,
        pass: &mut Pass<'_>,
    ) -> Result<Flow> {
        // The block's input is whatever its steps read from outside.
        let mut slots = Slots::new(graph, input.clone());
        if let Wire::Node(node) = region.input.wire {
            slots.input = None;
            slots.put(node, input);
        } else {
            drop(input);
        }
        for step in &region.steps {
            let output = self.step(graph, step, &mut slots, pass)?;
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
        graph: &Graph,
        step: &Step,
        slots: &mut Slots,
        pass: &mut Pass<'_>,
    ) -> Result<Flow> {
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
            Operation::Norm { conv, norm, relu } => {
                let norm = self.norm(graph, norm)?;
                let residual = inputs.next().map(|other| other.channels().0);
                let after = match relu {
                    true => AfterNorm::Relu,
                    false => AfterNorm::Nothing,
                };
                let (mut maps, rows) = first.channels();
                let mut left_out = None;
                if let Some(node) = conv {
                    let weights = self.conv(graph, node)?;
                    let options = options(conv_of(graph, node)?);
                    maps = conv2d(maps, weights.weight()?, None, options)?;
                    left_out = weights.bias.as_ref().map(|bias| bias.val());
                }
                let normed = normed(norm, left_out, maps, residual, after, pass)?;
                Ok(match rows {
                    true => Flow::Rows(normed.flatten(1, 3)),
                    false => Flow::Maps(normed),
                })
            }
            Operation::Linear {
                linear: node,
                activation,
            } => match self.of(node) {
                Some(Values::Linear(values)) => {
                    let bias = values.bias.as_ref().map(|bias| bias.val());
                    let output = linear(first.rows()?, values.weight.val(), bias, activation)?;
                    Ok(Flow::Rows(output))
                }
                _ => Err(missing(graph, node)),
            },
            Operation::Node(node) => self.node(graph, node, first, inputs, pass),
        }
    }

    fn node(
        &self,
        graph: &Graph,
        node: usize,
        first: Flow,
        others: impl Iterator<Item = Flow>,
        pass: &mut Pass<'_>,
    ) -> Result<Flow> {
        let input = graph.shape(graph.nodes()[node].inputs[0]);
        Ok(match graph.nodes()[node].layer {
            Layer::Conv2d(conv) => {
                let weights = self.conv(graph, node)?;
                let bias = weights.bias.as_ref().map(|bias| bias.val());
                Flow::Maps(conv2d(
                    first.maps()?,
                    weights.weight()?,
                    bias,
                    options(conv),
                )?)
            }
            Layer::LayerNorm => match self.of(node) {
                Some(Values::LayerNorm(norm)) => Flow::Rows(norm.forward(first.rows()?)?),
                _ => return Err(missing(graph, node)),
            },
            Layer::Relu => first.each(relu, relu),
            Layer::Relu6 => first.each(relu6, relu6),
            Layer::Gelu => first.each(gelu, gelu),
            Layer::MaxPool(window) => Flow::Maps(pool::max_pool(first.maps()?, window)?),
            Layer::MeanPool(window) => Flow::Maps(pool::mean_pool(first.maps()?, window)?),
            Layer::Luminance => Flow::Maps(pool::luminance(first.maps()?)?),
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
                    sum = match (sum, other) {
                        (Flow::Maps(a), Flow::Maps(b)) => Flow::Maps(a + b),
                        (Flow::Rows(a), Flow::Rows(b)) => Flow::Rows(a + b),
                        (Flow::Maps(a), Flow::Rows(_)) => return Err(misfit("maps", &a.dims())),
                        (Flow::Rows(a), Flow::Maps(_)) => return Err(misfit("rows", &a.dims())),
                    };
                }
                sum
            }
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
                    Flow::Rows(patched(values, patches.size, first.maps()?, pass)?)
                }
                _ => return Err(missing(graph, node)),
            },
            Layer::Attention(options) => match self.of(node) {
                Some(Values::Attention(values)) => {
                    let sizes = [tokens(input), options.heads];
                    Flow::Rows(attended(values, sizes, &first.rows()?)?)
                }
                _ => return Err(missing(graph, node)),
            },
            // These are operations of their own in every schedule.
            Layer::BatchNorm | Layer::Linear(_) => return Err(missing(graph, node)),
        })
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

fn conv_of(graph: &Graph, node: usize) -> Result<Conv2d> {
    match graph.nodes()[node].layer {
        Layer::Conv2d(conv) => Ok(conv),
        _ => Err(missing(graph, node)),
    }
}

fn options(conv: Conv2d) -> Conv2dOptions {
    Conv2dOptions {
        stride: conv.stride,
        padding: conv.zeros(),
        groups: conv.groups,
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

/// Batch norm, a sum and ReLU. `left_out` is the bias of the convolution before, which is not in the maps.
fn normed(
    norm: &BatchNorm,
    left_out: Option<Tensor<1>>,
    maps: Tensor<4>,
    residual: Option<Tensor<4>>,
    after: AfterNorm,
    pass: &mut Pass<'_>,
) -> Result<Tensor<4>> {
    let (gamma, beta) = (norm.gamma.val(), norm.beta.val());
    if norm.normalization(pass) == Normalization::Running {
        let mean = norm.running_mean.val();
        let statistics = Statistics {
            mean: match left_out {
                Some(bias) => mean - bias,
                None => mean,
            },
            variance: norm.running_var.val(),
        };
        return batch_norm_running(maps, gamma, beta, statistics, residual, after);
    }
    let [batch, _, height, width] = maps.dims();
    let (output, statistics) = batch_norm(maps, gamma, beta, residual, after)?;
    let found = norm.found(statistics, batch * height * width);
    pass.collect(found.with_bias(left_out));
    Ok(output)
}

/// `[batch, channels, rows, columns]` to `[batch * tokens, width]`.
fn patched(
    values: &PatchValues,
    size: usize,
    images: Tensor<4>,
    pass: &Pass<'_>,
) -> Result<Tensor<2>> {
    let [batch, channels, height, width] = images.dims();
    let (rows, columns) = (height / size, width / size);
    let tokens = rows * columns;
    let patches = images
        .reshape([batch, channels, rows, size, columns, size])
        .permute([0, 2, 4, 1, 3, 5])
        .reshape([batch * tokens, channels * size * size]);
    let bias = Some(values.bias.val());
    let embedded = linear(patches, values.weight.val(), bias, Activation::None)?;
    let described = embedded.dims()[1];
    let positions = pass.input(values.positions.val()).unsqueeze::<3>();
    let placed = embedded.reshape([batch, tokens, described]) + positions;
    Ok(placed.reshape([batch * tokens, described]))
}

/// The output of attention for normalised tokens; those of an example only see each other.
fn attended(
    values: &AttentionValues,
    [tokens, heads]: [usize; 2],
    normed: &Tensor<2>,
) -> Result<Tensor<2>> {
    let [rows, width] = normed.dims();
    let split = |layer: &crate::nn::LinearLayer| {
        let sizes = [rows / tokens, tokens, heads, width / heads];
        let all = layer.forward(normed.clone(), Activation::None)?;
        Ok::<_, Error>(all.reshape(sizes).swap_dims(1, 2))
    };
    let (query, key, value) = (
        split(&values.query)?,
        split(&values.key)?,
        split(&values.value)?,
    );
    let seen = attention(query, key, value, AttentionOptions::default())?;
    let seen = seen.swap_dims(1, 2).reshape([rows, width]);
    values.project.forward(seen, Activation::None)
}
