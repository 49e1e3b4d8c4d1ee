//! What goes from node to node, and what nodes hold and cost.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Border, Layer, pathway};
use crate::image_shape::ImageShape;

/// What one example is at some place of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<usize>", into = "Vec<usize>")]
pub enum Shape {
    /// Maps: channels, rows, columns. An image is such.
    Maps([usize; 3]),
    /// So many tokens of so many values each.
    Tokens([usize; 2]),
    /// A row of values.
    Values(usize),
}

/// More than any size of a network that this library is made for.
const LARGEST_SIDE: usize = 1 << 20;
/// Values of one example at one place.
const MOST_VALUES: usize = 1 << 28;
/// Values of one parameter: four of these are 1 GiB in f32.
const MOST_PARAMETERS: usize = 1 << 28;

impl Shape {
    /// How many values.
    pub fn len(&self) -> usize {
        match self {
            Self::Maps(sizes) => sizes.iter().product(),
            Self::Tokens(sizes) => sizes.iter().product(),
            Self::Values(values) => *values,
        }
    }

    /// Never: every size is at least 1.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The sizes, outermost first.
    pub fn sizes(&self) -> Vec<usize> {
        (*self).into()
    }

    /// Whether every size, and their product, is one that a network may have.
    pub(super) fn check(self) -> Result<Self, String> {
        check_sizes("a size", &self.sizes(), MOST_VALUES)?;
        Ok(self)
    }
}

pub(super) fn check_option(name: &str, value: usize) -> Result<(), String> {
    if (1..=LARGEST_SIDE).contains(&value) {
        return Ok(());
    }
    Err(format!(
        "{name} is out of range: expected 1 to {LARGEST_SIDE}, got {value}"
    ))
}

fn check_sizes(what: &str, sizes: &[usize], most: usize) -> Result<(), String> {
    let each = |&size: &usize| (1..=LARGEST_SIDE).contains(&size);
    let product = sizes
        .iter()
        .try_fold(1usize, |product, &size| product.checked_mul(size));
    if sizes.iter().all(each) && product.is_some_and(|product| product <= most) {
        return Ok(());
    }
    Err(format!(
        "{what} is out of range: expected 1 to {LARGEST_SIDE} each and at most {most} in all, got {sizes:?}"
    ))
}

/// Maps of this shape.
impl From<ImageShape> for Shape {
    fn from(image: ImageShape) -> Self {
        Self::Maps([image.channels, image.height, image.width])
    }
}

impl From<Shape> for Vec<usize> {
    fn from(shape: Shape) -> Self {
        match shape {
            Shape::Maps(sizes) => sizes.to_vec(),
            Shape::Tokens(sizes) => sizes.to_vec(),
            Shape::Values(values) => vec![values],
        }
    }
}

impl TryFrom<Vec<usize>> for Shape {
    type Error = String;

    fn try_from(sizes: Vec<usize>) -> Result<Self, String> {
        let shape = match sizes[..] {
            [values] => Self::Values(values),
            [tokens, width] => Self::Tokens([tokens, width]),
            [channels, rows, columns] => Self::Maps([channels, rows, columns]),
            _ => {
                let expected = "[channels, rows, columns], [tokens, width] or [values]";
                return Err(format!("not a shape: expected {expected}, got {sizes:?}"));
            }
        };
        shape.check()
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sizes: Vec<String> = self.sizes().iter().map(usize::to_string).collect();
        f.write_str(&sizes.join("×"))?;
        match self {
            Self::Maps(_) => Ok(()),
            Self::Tokens(_) => f.write_str(" tokens"),
            Self::Values(_) => f.write_str(" values"),
        }
    }
}

/// A value that a node holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// Its name within the node, for example `weight` or `query.bias`.
    pub field: &'static str,
    /// Its sizes.
    pub sizes: Vec<usize>,
    /// Whether it is trained; running statistics are not.
    pub trained: bool,
}

/// Whether a value of this name is what 8 bits are multiplied with.
pub(crate) fn is_scale(field: &str) -> bool {
    field == "scale" || field.ends_with("_scale")
}

impl Parameter {
    /// Whether it is what 8 bits are multiplied with.
    pub fn is_scale(&self) -> bool {
        is_scale(self.field)
    }

    /// How many numbers.
    pub fn len(&self) -> usize {
        self.sizes.iter().product()
    }

    /// Never.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// How often a window of `size` finds a place on `side` values.
fn places(side: usize, size: usize, stride: usize) -> Option<usize> {
    let room = side.checked_sub(size)?;
    Some(room / stride + 1)
}

/// Whether this may be added to variances.
fn check_epsilon(epsilon: f64) -> Result<(), String> {
    if (1e-12..=1.0).contains(&epsilon) {
        return Ok(());
    }
    Err(format!(
        "epsilon is out of range: expected 1e-12 to 1, got {epsilon}"
    ))
}

impl Layer {
    /// What comes out for these inputs; what is wrong otherwise.
    pub(super) fn output(&self, inputs: &[Shape]) -> Result<Shape, String> {
        let count = match self {
            Self::Add | Self::Mix(_) | Self::Concat => 2..=usize::MAX,
            _ => 1..=1,
        };
        if !count.contains(&inputs.len()) {
            let expected = if *count.start() == 1 {
                "one input"
            } else {
                "two inputs or more"
            };
            return Err(format!("expected {expected}, got {}", inputs.len()));
        }
        let shape = self.output_of(inputs)?;
        shape.check()
    }

    fn output_of(&self, inputs: &[Shape]) -> Result<Shape, String> {
        let first = inputs[0];
        let maps = || match first {
            Shape::Maps(sizes) => Ok(sizes),
            other => Err(format!("expected maps, got {other}")),
        };
        let windows = |size: [usize; 2], stride: [usize; 2], border: Border| {
            let [_, rows, columns] = maps()?;
            for (name, sizes, least) in [
                ("size", size, 1),
                ("stride", stride, 1),
                ("padding", border.around, 0),
            ] {
                if sizes
                    .iter()
                    .any(|side| !(least..=LARGEST_SIDE).contains(side))
                {
                    return Err(format!(
                        "the window's {name} is out of range: got {sizes:?}"
                    ));
                }
            }
            let padding = [0, 1].map(|axis| 2 * border.around[axis] + border.beyond[axis]);
            let rows = places(rows + padding[0], size[0], stride[0]);
            let columns = places(columns + padding[1], size[1], stride[1]);
            match (rows, columns) {
                (Some(rows), Some(columns)) => Ok([rows, columns]),
                _ => Err(format!(
                    "the window is larger than the maps: expected at least {}×{}, got {first}",
                    size[0].saturating_sub(padding[0]),
                    size[1].saturating_sub(padding[1]),
                )),
            }
        };
        Ok(match self {
            Self::Conv2d(conv) => {
                let [channels, rows, columns] = maps()?;
                check_option("filters", conv.filters)?;
                if matches!(conv.padding, super::Padding::Same)
                    && conv.kernel.iter().any(|side| side % 2 == 0)
                {
                    return Err(format!(
                        "padding \"same\" wants an odd kernel, got {:?}",
                        conv.kernel
                    ));
                }
                let groups = conv.groups;
                if groups == 0 || channels % groups != 0 || conv.filters % groups != 0 {
                    return Err(format!(
                        "the groups do not divide the channels: expected a divisor of {channels} and of {}, got {groups}",
                        conv.filters
                    ));
                }
                let [rows, columns] =
                    windows(conv.kernel, conv.stride, conv.border([rows, columns]))?;
                Shape::Maps([conv.filters, rows, columns])
            }
            Self::MaxPool(window) | Self::MeanPool(window) => {
                let [channels, ..] = maps()?;
                let border = Border {
                    around: window.padding,
                    beyond: [0; 2],
                };
                let half = |axis: usize| 2 * window.padding[axis] > window.size[axis];
                if half(0) || half(1) {
                    let padding = window.padding;
                    return Err(format!(
                        "padding beyond half of the window: got {padding:?}"
                    ));
                }
                let [rows, columns] = windows(window.size, window.stride, border)?;
                Shape::Maps([channels, rows, columns])
            }
            Self::BatchNorm(norm) => {
                check_epsilon(norm.epsilon)?;
                match first {
                    Shape::Tokens(_) => {
                        return Err(format!("expected maps or values, got {first}"));
                    }
                    other => other,
                }
            }
            Self::LayerNorm(norm) => {
                check_epsilon(norm.epsilon)?;
                match first {
                    Shape::Maps(_) => {
                        return Err(format!("expected tokens or values, got {first}"));
                    }
                    other => other,
                }
            }
            Self::Linear(linear) => {
                check_option("outputs", linear.outputs)?;
                match first {
                    Shape::Maps(_) => {
                        return Err(format!(
                            "expected values or tokens, as \"flatten\" gives, got {first}"
                        ));
                    }
                    Shape::Tokens([tokens, _]) => Shape::Tokens([tokens, linear.outputs]),
                    Shape::Values(_) => Shape::Values(linear.outputs),
                }
            }
            Self::Relu | Self::Relu6 | Self::Gelu | Self::Quantize(_) => first,
            Self::GlobalMeanPool => match first {
                Shape::Maps([channels, ..]) => Shape::Values(channels),
                Shape::Tokens([_, width]) => Shape::Values(width),
                Shape::Values(_) => return Err(format!("expected maps or tokens, got {first}")),
            },
            Self::FirstToken => match first {
                Shape::Tokens([_, width]) => Shape::Values(width),
                other => return Err(format!("expected tokens, got {other}")),
            },
            Self::Flatten => Shape::Values(first.len()),
            Self::Luminance(luminance) => luminance.output(first)?,
            Self::Channels(channels) => channels.output(first)?,
            Self::Add => pathway::equal(inputs)?,
            Self::Mix(mix) => mix.output(inputs)?,
            Self::Concat => concatenated(inputs)?,
            Self::Patches(patches) => {
                let [_, rows, columns] = maps()?;
                check_option("width", patches.width)?;
                let size = patches.size;
                if size == 0 || rows % size != 0 || columns % size != 0 {
                    return Err(format!(
                        "the patches do not divide the maps: expected a divisor of {rows} and {columns}, got {size}"
                    ));
                }
                let patch_count = (rows / size) * (columns / size);
                let tokens = patch_count + usize::from(patches.class_token);
                Shape::Tokens([tokens, patches.width])
            }
            Self::Attention(attention) => attention.output(first)?,
        })
    }

    /// What the node holds with these inputs, at least one, which fit it.
    pub fn parameters(&self, inputs: &[Shape]) -> Vec<Parameter> {
        let input = inputs[0];
        let value = |field, sizes: &[usize], trained| Parameter {
            field,
            sizes: sizes.to_vec(),
            trained,
        };
        let scale = |int8: bool, outputs| int8.then(|| value("weight_scale", &[outputs], false));
        let last = |shape: Shape| shape.sizes().last().copied().unwrap_or_default();
        let channels = match input {
            Shape::Maps([channels, ..]) => channels,
            other => last(other),
        };
        match self {
            Self::Conv2d(conv) => {
                let [rows, columns] = conv.kernel;
                let sizes = [conv.filters, channels / conv.groups.max(1), rows, columns];
                let mut all = vec![value("weight", &sizes, true)];
                all.extend(conv.bias.then(|| value("bias", &[conv.filters], true)));
                all.extend(scale(conv.int8, conv.filters));
                all
            }
            Self::BatchNorm(_) => [
                ("gamma", true),
                ("beta", true),
                ("running_mean", false),
                ("running_var", false),
            ]
            .map(|(field, trained)| value(field, &[channels], trained))
            .into(),
            Self::LayerNorm(_) => ["gamma", "beta"]
                .map(|field| value(field, &[channels], true))
                .into(),
            Self::Linear(linear) => {
                let mut all = vec![value("weight", &[channels, linear.outputs], true)];
                all.extend(linear.bias.then(|| value("bias", &[linear.outputs], true)));
                all.extend(scale(linear.int8, linear.outputs));
                all
            }
            Self::Patches(patches) => {
                let pixels = channels * patches.size * patches.size;
                let tokens = match self.output(&[input]) {
                    Ok(Shape::Tokens([tokens, _])) => tokens,
                    _ => 0,
                };
                let width = patches.width;
                let mut all = vec![
                    value("weight", &[pixels, width], true),
                    value("bias", &[width], true),
                    value("positions", &[tokens, width], true),
                ];
                let class_token = || value("class_token", &[1, width], true);
                all.extend(patches.class_token.then(class_token));
                all.extend(scale(patches.int8, width));
                all
            }
            Self::Attention(attention) => {
                let values = attention.values(channels).into_iter();
                values
                    .map(|(field, sizes, trained)| value(field, &sizes, trained))
                    .collect()
            }
            Self::Mix(_) => vec![value("logits", &[inputs.len()], true)],
            Self::Quantize(_) => vec![value("scale", &[1], false)],
            Self::Relu
            | Self::Relu6
            | Self::Gelu
            | Self::MaxPool(_)
            | Self::MeanPool(_)
            | Self::GlobalMeanPool
            | Self::FirstToken
            | Self::Flatten
            | Self::Luminance(_)
            | Self::Channels(_)
            | Self::Add
            | Self::Concat => Vec::new(),
        }
    }

    /// What the node holds, where every size is one that it may have.
    pub(super) fn checked_parameters(&self, inputs: &[Shape]) -> Result<Vec<Parameter>, String> {
        let parameters = self.parameters(inputs);
        for Parameter { field, sizes, .. } in &parameters {
            check_sizes(field, sizes, MOST_PARAMETERS)?;
        }
        Ok(parameters)
    }

    /// Multiplications with additions for one example: those of convolutions, layers of neurons and attention.
    pub fn multiply_adds(&self, input: Shape, output: Shape) -> u64 {
        let input_width = input.sizes().last().copied().unwrap_or_default() as u64;
        let out = output.len() as u64;
        match (self, input) {
            (Self::Conv2d(conv), Shape::Maps([channels, ..])) => {
                let [rows, columns] = conv.kernel.map(|side| side as u64);
                out * (channels / conv.groups.max(1)) as u64 * rows * columns
            }
            (Self::Linear(_), _) => out * input_width,
            (Self::Luminance(_), _) => 3 * out,
            (Self::Patches(patches), Shape::Maps([channels, ..])) => {
                let class_token = u64::from(patches.class_token) * patches.width as u64;
                (out - class_token) * (channels * patches.size * patches.size) as u64
            }
            (Self::Attention(attention), Shape::Tokens([tokens, width])) => {
                let inner = attention.inner(width) as u64;
                let [tokens, width] = [tokens as u64, width as u64];
                // Four projections, the scores and what is seen.
                4 * tokens * width * inner + 2 * tokens * tokens * inner
            }
            _ => 0,
        }
    }
}

fn concatenated(inputs: &[Shape]) -> Result<Shape, String> {
    let first = inputs[0];
    let mut sum = 0usize;
    for other in inputs {
        let own = match (first, *other) {
            (Shape::Maps([_, rows, columns]), Shape::Maps([channels, r, c]))
                if [rows, columns] == [r, c] =>
            {
                channels
            }
            (Shape::Tokens([tokens, _]), Shape::Tokens([t, width])) if tokens == t => width,
            (Shape::Values(_), Shape::Values(values)) => values,
            _ => {
                return Err(format!(
                    "the inputs do not go side by side: {first} and {other}"
                ));
            }
        };
        sum = sum.saturating_add(own);
    }
    Ok(match first {
        Shape::Maps([_, rows, columns]) => Shape::Maps([sum, rows, columns]),
        Shape::Tokens([tokens, _]) => Shape::Tokens([tokens, sum]),
        Shape::Values(_) => Shape::Values(sum),
    })
}
