//! What a node of a network does.

use forgeling_shaders::epsilon::EPSILON;
use serde::{Deserialize, Serialize};

use super::{Attention, Channels, Luminance, Mix, Quantize};

/// What a node does to its inputs. Sizes of inputs are never written down: they follow from the graph's input.
///
/// In JSON a layer without options is a string, `"relu"`, and one with options an object of one key,
/// `{"conv2d": {"filters": 32, "kernel": 3}}`. Where every option has a default, either will do.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Layer {
    /// Convolution of maps, [`conv2d`](crate::ops::conv2d).
    Conv2d(Conv2d),
    /// Batch norm of maps or values: `gamma (x - mean) / sqrt(variance + epsilon) + beta`, each value of an example being a
    /// channel of one pixel. Its values: `gamma` and `beta`, trained, `running_mean` and `running_var`, not trained; each
    /// `[channels]`.
    BatchNorm(Norm),
    /// Each token, or each row of values, normalised by itself and then scaled and shifted, by the same formula.
    LayerNorm(Norm),
    /// A layer of neurons on values, or on each token: `y = x weight + bias`.
    Linear(Linear),
    /// `max(0, x)`
    Relu,
    /// `min(max(0, x), 6)`. Howard et al., *MobileNets*, 2017 (arXiv 1704.04861).
    Relu6,
    /// `x P(X <= x)` with a normal `X`, in its exact form.
    Gelu,
    /// The largest value of each window.
    MaxPool(Window),
    /// The mean of each window; where it reaches beyond the border, zeros count.
    MeanPool(Window),
    /// The mean of each map, or over all tokens: what is left are values.
    GlobalMeanPool,
    /// The first token, as values: a class token ([`Patches::class_token`]).
    FirstToken,
    /// Maps as values, channel after channel.
    Flatten,
    /// How bright maps of red, green and blue are: `0.2126 red + 0.7152 green + 0.0722 blue`, one map, unless its options
    /// say otherwise.
    Luminance(Luminance),
    /// Some of the channels of maps.
    Channels(Channels),
    /// The sum of two or more inputs of one shape.
    Add,
    /// Two or more inputs of one shape, weighted: `sum_i softmax(logits)_i x_i`. Its values: `logits`, one for each input.
    Mix(Mix),
    /// The channels, or values, of all inputs one after the other.
    Concat,
    /// Cuts maps into square patches and describes each: `y = patch weight + bias + position`. A class token may go first.
    Patches(Patches),
    /// Attention of all tokens to all, in several heads, between learned projections.
    Attention(Attention),
    /// Values rounded to 8 bits: `y = scale q`, `q = round(x / scale)` within `-zero_point` and `255 - zero_point`;
    /// [`fake_quantize`](crate::ops::fake_quantize). Its value: `scale [1]`, not trained unless
    /// [asked for](crate::compress).
    Quantize(Quantize),
}

/// From what distribution weights are drawn; biases of [`Uniform`](Self::Uniform) are drawn likewise, others start at 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Initial {
    /// Uniform in `±1/sqrt(inputs)`, as in PyTorch. The default.
    #[default]
    Uniform,
    /// Uniform in `±sqrt(6 / outputs)`, He et al., 2015 (arXiv 1502.01852), by outputs as in residual networks. Inputs
    /// and outputs of a convolution are counted with its window.
    He,
    /// Uniform in `±sqrt(6 / (inputs + outputs))`, Glorot and Bengio, 2010, as in Transformers.
    Glorot,
}

/// Options of a convolution. Its values: `weight [filters, inputs / groups, rows, columns]` and `bias [filters]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Conv2d {
    /// Channels of the output.
    pub filters: usize,
    /// Rows and columns of the window; one number stands for both.
    #[serde(with = "pair")]
    pub kernel: [usize; 2],
    /// Rows and columns from one window to the next. Default 1.
    #[serde(default = "ones", with = "pair", skip_serializing_if = "are_ones")]
    pub stride: [usize; 2],
    /// Rows of zeros above and below, columns left and right. Default 0. In JSON a number, two of them, `"same"` or
    /// `"sameUpper"`.
    #[serde(default, with = "padding", skip_serializing_if = "are_zeros")]
    pub padding: Padding,
    /// Groups of channels, each convolved by itself. Default 1.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub groups: usize,
    /// Whether a value is added to each channel. Default yes.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub bias: bool,
    /// How the values start. Default uniform.
    #[serde(default, skip_serializing_if = "is_uniform")]
    pub initial: Initial,
    /// Whether it works in 8 bits: its weights are rounded to -127 to 127 times `weight_scale [filters]`, a value more, and what
    /// it takes was rounded by a [quantize](Layer::Quantize) layer. Default no.
    #[serde(default, skip_serializing_if = "is_no")]
    pub int8: bool,
}

/// Zeros around maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Padding {
    /// So many rows above and below, and columns left and right.
    Zeros([usize; 2]),
    /// Half of the kernel, which is odd: with a stride of 1 the size stays the same.
    Same,
    /// As few as give `side / stride` windows, rounded up, as TensorFlow's `SAME` and ONNX's `SAME_UPPER`: of an odd number
    /// the one in the middle goes below or right.
    SameUpper,
}

/// Zeros around maps of a known size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Border {
    /// Rows above and below, columns left and right.
    pub around: [usize; 2],
    /// More rows below and columns right: 0 or 1.
    pub beyond: [usize; 2],
}

impl Default for Padding {
    fn default() -> Self {
        Self::Zeros([0, 0])
    }
}

impl Conv2d {
    /// A square kernel, stride 1, no padding, one group, a bias, drawn uniformly.
    pub const fn new(filters: usize, kernel: usize) -> Self {
        Self {
            filters,
            kernel: [kernel; 2],
            stride: [1; 2],
            padding: Padding::Zeros([0; 2]),
            groups: 1,
            bias: true,
            initial: Initial::Uniform,
            int8: false,
        }
    }

    /// Padded by half of its kernel.
    #[must_use]
    pub const fn same(mut self) -> Self {
        self.padding = Padding::Same;
        self
    }

    /// The zeros around maps of so many rows and columns.
    pub fn border(&self, sides: [usize; 2]) -> Border {
        let zeros = match self.padding {
            Padding::Zeros(zeros) => zeros.map(|zeros| [zeros, 0]),
            Padding::Same => self.kernel.map(|kernel| [kernel / 2, 0]),
            Padding::SameUpper => [0, 1].map(|axis| {
                let stride = self.stride[axis].max(1);
                let last = sides[axis].div_ceil(stride).saturating_sub(1) * stride;
                let total = last.saturating_add(self.kernel[axis]);
                let total = total.saturating_sub(sides[axis]);
                [total / 2, total % 2]
            }),
        };
        Border {
            around: zeros.map(|zeros| zeros[0]),
            beyond: zeros.map(|zeros| zeros[1]),
        }
    }
}

/// Options of a norm.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Norm {
    /// What is added to the variance, from 1e-12 to 1. Default 1e-5, as in PyTorch.
    #[serde(default = "usual", skip_serializing_if = "is_usual")]
    pub epsilon: f64,
}

impl Default for Norm {
    fn default() -> Self {
        Self { epsilon: EPSILON }
    }
}

/// Options of a layer of neurons. Its values: `weight [inputs, outputs]` and `bias [outputs]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Linear {
    /// Neurons.
    pub outputs: usize,
    /// Whether a value is added to each. Default yes.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub bias: bool,
    /// How the values start. Default uniform.
    #[serde(default, skip_serializing_if = "is_uniform")]
    pub initial: Initial,
    /// Whether it works in 8 bits: its weights are rounded to -127 to 127 times `weight_scale [outputs]`, a value more, and what
    /// it takes was rounded by a [quantize](Layer::Quantize) layer. Default no.
    #[serde(default, skip_serializing_if = "is_no")]
    pub int8: bool,
}

impl Linear {
    /// With a bias, drawn uniformly.
    pub const fn new(outputs: usize) -> Self {
        Self {
            outputs,
            bias: true,
            initial: Initial::Uniform,
            int8: false,
        }
    }

    /// As [`new`](Self::new), drawn as in Transformers.
    pub const fn glorot(outputs: usize) -> Self {
        Self {
            outputs,
            bias: true,
            initial: Initial::Glorot,
            int8: false,
        }
    }
}

/// A window that moves over maps. In JSON the option `size` alone may stand for the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Window {
    /// Rows and columns; one number stands for both. Default 2.
    #[serde(default = "twos", with = "pair")]
    pub size: [usize; 2],
    /// Rows and columns from one window to the next. Default 2.
    #[serde(default = "twos", with = "pair")]
    pub stride: [usize; 2],
    /// Rows above and below, columns left and right that windows may reach beyond the maps. Default 0.
    #[serde(default = "zeros", with = "pair", skip_serializing_if = "none")]
    pub padding: [usize; 2],
}

impl Default for Window {
    fn default() -> Self {
        Self {
            size: [2; 2],
            stride: [2; 2],
            padding: [0; 2],
        }
    }
}

/// Options of patches. Their values: `weight [channels * size * size, width]`, `bias [width]`, `positions [tokens, width]`
/// and `class_token [1, width]` if there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Patches {
    /// Rows and columns of a patch, which divide those of the maps.
    pub size: usize,
    /// Numbers that describe a patch.
    pub width: usize,
    /// Whether a token that is learned and the same for all images goes before those of the patches, with a position of
    /// its own. Default no.
    #[serde(default, skip_serializing_if = "is_no")]
    pub class_token: bool,
    /// Whether it works in 8 bits: its weights are rounded to -127 to 127 times `weight_scale [width]`, a value more, and what
    /// it takes was rounded by a [quantize](Layer::Quantize) layer. Default no.
    #[serde(default, skip_serializing_if = "is_no")]
    pub int8: bool,
}

impl Layer {
    /// The name in JSON and in messages.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Conv2d(_) => "conv2d",
            Self::BatchNorm(_) => "batchNorm",
            Self::LayerNorm(_) => "layerNorm",
            Self::Linear(_) => "linear",
            Self::Relu => "relu",
            Self::Relu6 => "relu6",
            Self::Gelu => "gelu",
            Self::MaxPool(_) => "maxPool",
            Self::MeanPool(_) => "meanPool",
            Self::GlobalMeanPool => "globalMeanPool",
            Self::FirstToken => "firstToken",
            Self::Flatten => "flatten",
            Self::Luminance(_) => "luminance",
            Self::Channels(_) => "channels",
            Self::Add => "add",
            Self::Mix(_) => "mix",
            Self::Concat => "concat",
            Self::Patches(_) => "patches",
            Self::Attention(_) => "attention",
            Self::Quantize(_) => "quantize",
        }
    }

    /// Whether it gives some of the values that it takes, as they are.
    pub(crate) const fn passes_on(&self) -> bool {
        matches!(
            self,
            Self::MaxPool(_) | Self::Flatten | Self::FirstToken | Self::Channels(_)
        )
    }

    /// The kinds of all layers.
    pub const KINDS: [&'static str; 20] = [
        "conv2d",
        "batchNorm",
        "layerNorm",
        "linear",
        "relu",
        "relu6",
        "gelu",
        "maxPool",
        "meanPool",
        "globalMeanPool",
        "firstToken",
        "flatten",
        "luminance",
        "channels",
        "add",
        "mix",
        "concat",
        "patches",
        "attention",
        "quantize",
    ];

    /// A layer from its kind and its options in JSON; what is wrong with them otherwise.
    pub(super) fn parse(kind: &str, options: Option<serde_json::Value>) -> Result<Self, String> {
        use serde_json::Value;
        fn read<T: serde::de::DeserializeOwned>(options: Option<Value>) -> Result<T, String> {
            let options = options.unwrap_or_else(|| Value::Object(Default::default()));
            T::deserialize(options).map_err(|error| error.to_string())
        }
        let window = |options: Option<Value>| match options {
            Some(Value::Number(size)) => {
                let options = serde_json::json!({ "size": size, "stride": size });
                read(Some(options))
            }
            options => read(options),
        };
        let plain = |layer: Self, options: Option<Value>| match options {
            None | Some(Value::Null) => Ok(layer),
            Some(Value::Object(options)) if options.is_empty() => Ok(layer),
            Some(_) => Err("takes no options".into()),
        };
        match kind {
            "conv2d" => read(options).map(Self::Conv2d),
            "batchNorm" => read(options).map(Self::BatchNorm),
            "layerNorm" => read(options).map(Self::LayerNorm),
            "linear" => read(options).map(Self::Linear),
            "maxPool" => window(options).map(Self::MaxPool),
            "meanPool" => window(options).map(Self::MeanPool),
            "patches" => read(options).map(Self::Patches),
            "attention" => read(options).map(Self::Attention),
            "quantize" => read(options).map(Self::Quantize),
            "luminance" => read(options).map(Self::Luminance),
            "channels" => read(options).map(Self::Channels),
            "mix" => read(options).map(Self::Mix),
            "relu" => plain(Self::Relu, options),
            "relu6" => plain(Self::Relu6, options),
            "gelu" => plain(Self::Gelu, options),
            "globalMeanPool" => plain(Self::GlobalMeanPool, options),
            "firstToken" => plain(Self::FirstToken, options),
            "flatten" => plain(Self::Flatten, options),
            "add" => plain(Self::Add, options),
            "concat" => plain(Self::Concat, options),
            _ => Err(format!(
                "unknown layer, known are {}",
                Self::KINDS.join(", ")
            )),
        }
    }
}

const fn usual() -> f64 {
    EPSILON
}
const fn one() -> usize {
    1
}
const fn yes() -> bool {
    true
}
const fn ones() -> [usize; 2] {
    [1; 2]
}
const fn twos() -> [usize; 2] {
    [2; 2]
}
const fn zeros() -> [usize; 2] {
    [0; 2]
}
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
const fn is_one(value: &usize) -> bool {
    *value == 1
}
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
const fn is_yes(value: &bool) -> bool {
    *value
}
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
pub(super) const fn is_no(value: &bool) -> bool {
    !*value
}
fn is_usual(epsilon: &f64) -> bool {
    *epsilon == EPSILON
}
fn are_ones(values: &[usize; 2]) -> bool {
    *values == [1; 2]
}
fn none(values: &[usize; 2]) -> bool {
    *values == [0; 2]
}
fn are_zeros(padding: &Padding) -> bool {
    *padding == Padding::default()
}
fn is_uniform(initial: &Initial) -> bool {
    *initial == Initial::Uniform
}

/// Two numbers, or one that stands for both.
mod pair {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a number, or two of them")]
    enum Written {
        One(usize),
        Two([usize; 2]),
    }

    pub fn serialize<S: Serializer>(values: &[usize; 2], to: S) -> Result<S::Ok, S::Error> {
        match values {
            [a, b] if a == b => a.serialize(to),
            values => values.serialize(to),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<[usize; 2], D::Error> {
        Ok(match Written::deserialize(from)? {
            Written::One(value) => [value; 2],
            Written::Two(values) => values,
        })
    }
}

/// As [`pair`], or a word.
mod padding {
    use serde::{Deserialize, Deserializer, Serializer};

    use super::Padding;

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    enum Word {
        Same,
        SameUpper,
    }

    #[derive(Deserialize)]
    #[serde(
        untagged,
        expecting = "a number, two of them, \"same\" or \"sameUpper\""
    )]
    enum Written {
        One(usize),
        Two([usize; 2]),
        Word(Word),
    }

    pub fn serialize<S: Serializer>(padding: &Padding, to: S) -> Result<S::Ok, S::Error> {
        match padding {
            Padding::Zeros(zeros) => super::pair::serialize(zeros, to),
            Padding::Same => to.serialize_str("same"),
            Padding::SameUpper => to.serialize_str("sameUpper"),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Padding, D::Error> {
        Ok(match Written::deserialize(from)? {
            Written::One(value) => Padding::Zeros([value; 2]),
            Written::Two(values) => Padding::Zeros(values),
            Written::Word(Word::Same) => Padding::Same,
            Written::Word(Word::SameUpper) => Padding::SameUpper,
        })
    }
}
