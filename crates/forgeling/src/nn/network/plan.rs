//! What the operations of a schedule allocate, without tensors: what `run` does, for a memory plan.

use std::rc::Rc;

use crate::error::Result;
use crate::nn::Planned;
use crate::nn::graph::{
    Border, Graph, Item, Layer, Operation, Region, Schedule, Shape, Step, Wire,
};
use crate::ops::plan::{ConvSizes, NormSizes, Shaped, Simulation};
use crate::ops::{Activation, AfterNorm};

impl Planned for Graph {
    fn batch_shape(&self, examples: usize) -> Vec<usize> {
        match self.input() {
            Shape::Tokens([tokens, width]) => vec![examples * tokens, width],
            other => [vec![examples], other.sizes()].concat(),
        }
    }

    fn describe(&self, sim: &Simulation, batch: Shaped) -> Result<Shaped> {
        let graph = Rc::new(self.clone());
        let mut slots = vec![None; graph.nodes().len()];
        let mut input = Some(batch);
        for item in Schedule::new(&graph).items {
            match item {
                Item::Step(step) => {
                    let output = described(sim, &graph, "", &step, &mut slots, &mut input)?;
                    slots[step.output] = Some(output);
                }
                Item::Block(region) => {
                    let read = region.input;
                    let given = take(&mut slots, &mut input, read.wire, read.last);
                    let output = region.output;
                    slots[output] = given
                        .map(|given| {
                            let (name, graph) = (region.name.clone(), graph.clone());
                            sim.block(name, given, move |sim, input| {
                                described_region(sim, &graph, &region, input)
                            })
                        })
                        .transpose()?;
                }
            }
        }
        slots[self.output()].take().ok_or_else(unreached)
    }
}

fn unreached() -> crate::Error {
    crate::Error::invalid("memory_plan", "the schedule does not reach the output")
}

fn take(
    slots: &mut [Option<Shaped>],
    input: &mut Option<Shaped>,
    wire: Wire,
    last: bool,
) -> Option<Shaped> {
    let place = match wire {
        Wire::Input => input,
        Wire::Node(node) => &mut slots[node],
    };
    if last { place.take() } else { place.clone() }
}

fn described_region(
    sim: &Simulation,
    graph: &Graph,
    region: &Region,
    input: Shaped,
) -> Result<Shaped> {
    let mut slots = vec![None; graph.nodes().len()];
    let mut outside = None;
    match region.input.wire {
        Wire::Input => outside = Some(input),
        Wire::Node(node) => slots[node] = Some(input),
    }
    for step in &region.steps {
        let output = described(sim, graph, &region.name, step, &mut slots, &mut outside)?;
        slots[step.output] = Some(output);
    }
    slots[region.output].take().ok_or_else(unreached)
}

/// A node's name within its block.
fn own_name<'a>(graph: &'a Graph, node: usize, block: &str) -> &'a str {
    let name = graph.nodes()[node].name.as_str();
    let own = name.strip_prefix(block).unwrap_or(name);
    own.strip_prefix('.').unwrap_or(own)
}

/// Runs in a part of this name, unless it has none.
fn part<T>(sim: &Simulation, name: &str, run: impl FnOnce() -> T) -> T {
    match name {
        "" => run(),
        name => sim.part(name, run),
    }
}

fn described(
    sim: &Simulation,
    graph: &Graph,
    block: &str,
    step: &Step,
    slots: &mut [Option<Shaped>],
    input: &mut Option<Shaped>,
) -> Result<Shaped> {
    let mut inputs = Vec::with_capacity(step.inputs.len());
    for read in &step.inputs {
        inputs.push(take(slots, input, read.wire, read.last).ok_or_else(unreached)?);
    }
    let mut inputs = inputs.into_iter();
    let first = inputs.next().ok_or_else(unreached)?;
    let named = |node: usize| own_name(graph, node, block);
    match step.operation {
        Operation::ConvBlock { conv, .. } => {
            let Layer::Conv2d(options) = graph.nodes()[conv].layer else {
                return Err(unreached());
            };
            part(sim, named(conv), || sim.conv_block(first, options.filters))
        }
        Operation::Norm { conv, norm, after } => {
            let mut hidden = first;
            if let Some(conv) = conv {
                hidden = part(sim, named(conv), || {
                    if graph.parameters(conv).len() > 1 {
                        // The norm takes it away again.
                        sim.constant("bias", &graph.parameters(conv)[1].sizes);
                    }
                    convolved(sim, graph, conv, hidden)
                })?;
            }
            let residual = inputs.next();
            // Values are maps of one pixel here.
            let shape = hidden.shape().to_vec();
            let channels = |values: Shaped| match values.shape() {
                &[batch, values_of_each] => sim.reshape(values, &[batch, values_of_each, 1, 1]),
                _ => values,
            };
            part(sim, named(norm), || {
                let (hidden, residual) = (channels(hidden), residual.map(channels));
                let cuts = after != AfterNorm::Nothing;
                let normed = sim.batch_norm(hidden, residual, NormSizes { cuts })?;
                Ok(match shape.len() {
                    2 => sim.reshape(normed, &shape),
                    _ => normed,
                })
            })
        }
        Operation::Linear { linear, activation } => {
            let Layer::Linear(options) = graph.nodes()[linear].layer else {
                return Err(unreached());
            };
            part(sim, named(linear), || {
                sim.linear(first, options.outputs, activation)
            })
        }
        Operation::Node(node) => part(sim, named(node), || single(sim, graph, node, first, inputs)),
    }
}

fn convolved(sim: &Simulation, graph: &Graph, node: usize, x: Shaped) -> Result<Shaped> {
    let Layer::Conv2d(conv) = graph.nodes()[node].layer else {
        return Err(unreached());
    };
    let [_, _, rows, columns] = x.shape()[..] else {
        return Err(unreached());
    };
    let Border { around, beyond } = conv.border([rows, columns]);
    let sizes = ConvSizes {
        outputs: conv.filters,
        kernel: conv.kernel,
        stride: conv.stride,
        padding: around,
        groups: conv.groups,
    };
    sim.conv2d(sim.extended(x, beyond), sizes)
}

fn single(
    sim: &Simulation,
    graph: &Graph,
    node: usize,
    first: Shaped,
    others: impl Iterator<Item = Shaped>,
) -> Result<Shaped> {
    let layer = graph.nodes()[node].layer;
    let input = graph.shape(graph.nodes()[node].inputs[0]);
    let output = graph.shape(Wire::Node(node));
    let batch = match input {
        Shape::Tokens([tokens, _]) => first.shape()[0] / tokens,
        Shape::Maps(_) | Shape::Values(_) => first.shape()[0],
    };
    let sizes = |shape: Shape| match shape {
        Shape::Tokens([tokens, width]) => vec![batch * tokens, width],
        other => [vec![batch], other.sizes()].concat(),
    };
    Ok(match layer {
        Layer::Conv2d(_) => {
            if let Some(bias) = graph.parameters(node).get(1) {
                sim.parameter("bias", &bias.sizes);
            }
            convolved(sim, graph, node, first)?
        }
        Layer::LayerNorm(_) => sim.layer_norm(first)?,
        Layer::Quantize(_) => sim.fake_quantized(first, 1),
        Layer::Relu | Layer::Gelu => sim.activated(first),
        Layer::Relu6 => sim.clamped(first),
        Layer::MaxPool(_) => sim.pooled(first, &sizes(output), true),
        Layer::MeanPool(_) | Layer::Luminance(_) => sim.pooled(first, &sizes(output), false),
        Layer::GlobalMeanPool => {
            let hidden = sim.output(first);
            match input {
                Shape::Maps([channels, rows, columns]) => {
                    let flat = sim.reshape(hidden, &[batch, channels, rows * columns]);
                    sim.mean(flat, &[batch, channels])
                }
                _ => sim.mean(hidden, &sizes(output)),
            }
        }
        // Like a mean, it leaves a row of each example, and its gradient has all.
        Layer::FirstToken => sim.mean(first, &sizes(output)),
        Layer::Flatten => sim.reshape(first, &sizes(output)),
        Layer::Channels(_) => sim.part_of(first, &sizes(output)),
        Layer::Add => others.fold(first, |sum, other| sim.add(sum, other)),
        Layer::Mix(_) => {
            let all: Vec<Shaped> = std::iter::once(first).chain(others).collect();
            let logits = sim.parameter("logits", &[all.len()]);
            sim.mixed(all, logits)
        }
        Layer::Concat => {
            let all = std::iter::once(first).chain(others).collect();
            sim.joined(all, &sizes(output))
        }
        Layer::Patches(patches) => {
            let (Shape::Maps([channels, ..]), Shape::Tokens([tokens, width])) = (input, output)
            else {
                return Err(unreached());
            };
            let pixels = channels * patches.size * patches.size;
            let patch_count = tokens - usize::from(patches.class_token);
            let cut = sim.permuted_copy(first, &[batch * patch_count, pixels]);
            let mut embedded = sim.linear(cut, width, Activation::None)?;
            if patches.class_token {
                let token = sim.input(sim.parameter("class_token", &[1, width]));
                embedded = sim.joined(vec![token, embedded], &[batch * tokens, width]);
            }
            let positions = sim.input(sim.parameter("positions", &[tokens, width]));
            sim.add_repeated(embedded, positions)
        }
        Layer::Attention(options) => {
            let [rows, width] = [first.shape()[0], first.shape()[1]];
            let inner = options.inner(width);
            let sizes = [batch, options.heads, rows / batch, inner / options.heads];
            let split = |name: &str, normed: Shaped| {
                let all = sim.part(name, || sim.linear(normed, inner, Activation::None))?;
                Ok(sim.reshape(all, &sizes))
            };
            let [query, key, value] = match options.fused {
                true => {
                    let all = sim.part("qkv", || sim.linear(first, 3 * inner, Activation::None))?;
                    let part = |all: Shaped| sim.part_of(all, &sizes);
                    [part(all.clone()), part(all.clone()), part(all)]
                }
                false => [
                    split("query", first.clone())?,
                    split("key", first.clone())?,
                    split("value", first)?,
                ],
            };
            let seen = sim.attention(query, key, value)?;
            let seen = sim.reshape(seen, &[rows, inner]);
            sim.part("project", || sim.linear(seen, width, Activation::None))?
        }
        // These are operations of their own in every schedule.
        Layer::BatchNorm(_) | Layer::Linear(_) => return Err(unreached()),
    })
}
