//! What each layer becomes.
//!
//! Maps are `[batch, channels, rows, columns]`, tokens `[batch, tokens, width]` and values `[batch, values]`.

use super::schema::Attribute;
use super::schema::Attribute::{Float, Integer, Integers, Text};
use super::writer::At;
use crate::error::Result;
use crate::nn::graph::{Attention, Border, Conv2d, Layer, Luminance, Norm, Patches, Shape, Window};
use crate::train::weights::NamedTensor;

type Attributes = Vec<(&'static str, Attribute)>;

/// Writes a layer that takes these inputs, of which the first has this shape, and gives the name of what comes out.
pub fn write(layer: &Layer, at: &mut At<'_>, inputs: &[String], shape: Shape) -> Result<String> {
    let y = written(layer, at, inputs, shape)?;
    // What these give are some of the values that they take.
    if layer.passes_on()
        && let Some(scale) = at.scale_of(&inputs[0])
    {
        at.note_scale(&y, scale);
    }
    Ok(y)
}

fn written(layer: &Layer, at: &mut At<'_>, inputs: &[String], shape: Shape) -> Result<String> {
    let x = inputs[0].as_str();
    Ok(match *layer {
        Layer::Conv2d(conv) => convolution(at, x, conv, shape)?,
        Layer::BatchNorm(norm) => {
            let mut all = vec![x.to_owned()];
            for field in ["gamma", "beta", "running_mean", "running_var"] {
                all.push(at.weight(field)?);
            }
            normalization(at, "BatchNormalization", &all, norm)
        }
        Layer::LayerNorm(norm) => {
            let all = [x.to_owned(), at.weight("gamma")?, at.weight("beta")?];
            normalization(at, "LayerNormalization", &all, norm)
        }
        Layer::Linear(_) => match shape {
            Shape::Tokens(_) => linear(at, x, "")?,
            Shape::Maps(_) | Shape::Values(_) => {
                let (weight, bias) = at.weight_and_bias("", 1, x, |weight| weight)?;
                let mut all = vec![x.to_owned(), weight];
                all.extend(bias);
                at.node("Gemm", &texts(&all), vec![])
            }
        },
        Layer::Relu => at.node("Relu", &[x], vec![]),
        Layer::Relu6 => {
            let least = at.constant("least", &[], vec![0.0]);
            let most = at.constant("most", &[], vec![6.0]);
            at.node("Clip", &[x, &least, &most], vec![])
        }
        Layer::Gelu => at.node("Gelu", &[x], vec![("approximate", Text("none"))]),
        Layer::MaxPool(window) => at.node("MaxPool", &[x], windows(window)),
        Layer::MeanPool(window) => {
            let mut attributes = windows(window);
            attributes.push(("count_include_pad", Integer(1)));
            at.node("AveragePool", &[x], attributes)
        }
        Layer::GlobalMeanPool => match shape {
            Shape::Tokens(_) => {
                let axes = at.list("axes", &[1]);
                let attributes = vec![("keepdims", Integer(0))];
                at.node("ReduceMean", &[x, &axes], attributes)
            }
            Shape::Maps(_) | Shape::Values(_) => {
                let means = at.node("GlobalAveragePool", &[x], vec![]);
                flattened(at, &means)
            }
        },
        Layer::FirstToken => {
            let first = at.index("first", 0);
            at.node("Gather", &[x, &first], vec![("axis", Integer(1))])
        }
        Layer::Flatten => match shape {
            Shape::Values(_) => x.to_owned(),
            Shape::Maps(_) | Shape::Tokens(_) => flattened(at, x),
        },
        Layer::Luminance(options) => luminance(at, x, options),
        Layer::Channels(part) => {
            let from = at.list("from", &[part.from as i64]);
            let to = at.list("to", &[(part.from + part.count) as i64]);
            let axes = at.list("axes", &[1]);
            at.node("Slice", &[x, &from, &to, &axes], vec![])
        }
        Layer::Add => added(at, inputs),
        Layer::Mix(_) => {
            let mut weighted = Vec::new();
            for (place, weight) in softmax(&at.take("logits")?.values).into_iter().enumerate() {
                let weight = at.constant(&format!("weight.{place}"), &[], vec![weight]);
                let role = format!("Mul.{place}");
                weighted.push(at.named_node("Mul", &role, &[&inputs[place], &weight], vec![]));
            }
            added(at, &weighted)
        }
        Layer::Concat => {
            let axis = match shape {
                Shape::Tokens(_) => 2,
                Shape::Maps(_) | Shape::Values(_) => 1,
            };
            at.node("Concat", &texts(inputs), vec![("axis", Integer(axis))])
        }
        Layer::Patches(patches) => tokens(at, x, patches, shape)?,
        Layer::Attention(options) => attention(at, x, options)?,
        Layer::Quantize(options) => at.rounded(x, "scale", options.zero_point)?,
    })
}

/// Which axis a scale is of.
pub fn integer_axis(axis: usize) -> Attribute {
    Integer(axis as i64)
}

fn texts(names: &[String]) -> Vec<&str> {
    names.iter().map(String::as_str).collect()
}

fn integers(values: [usize; 2]) -> Attribute {
    Integers(values.map(|value| value as i64).into())
}

/// Rows above and columns left, then rows below and columns right.
fn pads(border: Border) -> Attribute {
    let [above, left] = border.around;
    let [below, right] = border.beyond;
    let pads = [above, left, above + below, left + right];
    Integers(pads.map(|pad| pad as i64).into())
}

fn convolution(at: &mut At<'_>, x: &str, conv: Conv2d, shape: Shape) -> Result<String> {
    let sides = match shape {
        Shape::Maps([_, rows, columns]) => [rows, columns],
        Shape::Tokens(_) | Shape::Values(_) => [1; 2],
    };
    let (weight, bias) = at.weight_and_bias("", 0, x, |weight| weight)?;
    let mut all = vec![x.to_owned(), weight];
    all.extend(bias);
    let attributes = vec![
        ("kernel_shape", integers(conv.kernel)),
        ("strides", integers(conv.stride)),
        ("pads", pads(conv.border(sides))),
        ("group", Integer(conv.groups as i64)),
    ];
    Ok(at.node("Conv", &texts(&all), attributes))
}

fn normalization(at: &mut At<'_>, operator: &'static str, inputs: &[String], norm: Norm) -> String {
    let mut attributes = vec![("epsilon", Float(norm.epsilon as f32))];
    if operator == "LayerNormalization" {
        attributes.push(("axis", Integer(-1)));
    }
    at.node(operator, &texts(inputs), attributes)
}

fn windows(window: Window) -> Attributes {
    let border = Border {
        around: window.padding,
        beyond: [0; 2],
    };
    vec![
        ("kernel_shape", integers(window.size)),
        ("strides", integers(window.stride)),
        ("pads", pads(border)),
    ]
}

/// A layer of neurons on each token: the whole node, or its part of this name.
fn linear(at: &mut At<'_>, x: &str, part: &str) -> Result<String> {
    let named = |what: &str| match part {
        "" => what.to_owned(),
        part => format!("{part}.{what}"),
    };
    let (weight, bias) = at.weight_and_bias(part, 1, x, |weight| weight)?;
    let product = at.named_node("MatMul", &named("MatMul"), &[x, &weight], vec![]);
    Ok(match bias {
        Some(bias) => at.named_node("Add", &named("Add"), &[&product, &bias], vec![]),
        None => product,
    })
}

fn flattened(at: &mut At<'_>, x: &str) -> String {
    at.node("Flatten", &[x], vec![("axis", Integer(1))])
}

/// The sum of two or more, from the first on, as ours is taken.
fn added(at: &mut At<'_>, terms: &[String]) -> String {
    let mut sum = terms[0].clone();
    for (place, term) in terms.iter().enumerate().skip(1) {
        sum = at.named_node("Add", &format!("Add.{place}"), &[&sum, term], vec![]);
    }
    sum
}

fn softmax(logits: &[f32]) -> Vec<f32> {
    let most = logits.iter().fold(f32::NEG_INFINITY, |a, &b| a.max(b));
    let powers = logits
        .iter()
        .map(|&logit| libm::exp(f64::from(logit - most)));
    let powers: Vec<f64> = powers.collect();
    let sum: f64 = powers.iter().sum();
    powers
        .into_iter()
        .map(|power| (power / sum) as f32)
        .collect()
}

/// A convolution of one place, as ours is.
fn luminance(at: &mut At<'_>, x: &str, options: Luminance) -> String {
    let (weights, added) = options.weights();
    let weights = weights.map(|weight| weight as f32).to_vec();
    let weight = at.constant("weight", &[1, 3, 1, 1], weights);
    let bias = at.constant("bias", &[1], vec![added as f32]);
    at.node("Conv", &[x, &weight, &bias], vec![])
}

/// Patches described by a convolution whose windows they are; in 8 bits by a product, whose sums nobody has to round.
fn tokens(at: &mut At<'_>, x: &str, patches: Patches, shape: Shape) -> Result<String> {
    let channels = shape.sizes()[0];
    let Patches { size, width, .. } = patches;
    // From `[channels * size * size, width]`.
    let kernels = |tensor: NamedTensor| {
        let rows = channels * size * size;
        let places = (0..width).flat_map(|column| (0..rows).map(move |row| row * width + column));
        NamedTensor {
            shape: vec![width, channels, size, size],
            values: places.map(|place| tensor.values[place]).collect(),
            name: tensor.name,
        }
    };
    let mut tokens = if patches.int8 {
        let [height, columns] = [1, 2].map(|axis| (shape.sizes()[axis] / size) as i64);
        let (side, depth) = (size as i64, channels as i64);
        let cut = at.list("cut", &[0, depth, height, side, columns, side]);
        let cut = at.named_node("Reshape", "cut.Reshape", &[x, &cut], vec![]);
        let order = vec![("perm", Integers(vec![0, 2, 4, 1, 3, 5]))];
        let cut = at.named_node("Transpose", "cut.Transpose", &[&cut], order);
        let rows = at.list("rows", &[0, height * columns, depth * side * side]);
        let rows = at.named_node("Reshape", "rows.Reshape", &[&cut, &rows], vec![]);
        if let Some(scale) = at.scale_of(x) {
            at.note_scale(&rows, scale);
        }
        linear(at, &rows, "")?
    } else {
        let (weight, bias) = at.weight_and_bias("", 0, x, kernels)?;
        let attributes = vec![
            ("kernel_shape", integers([size; 2])),
            ("strides", integers([size; 2])),
        ];
        let maps = at.node("Conv", &[x, &weight, &bias.unwrap_or_default()], attributes);
        let sizes = at.list("sizes", &[0, width as i64, -1]);
        let rows = at.node("Reshape", &[&maps, &sizes], vec![]);
        let order = vec![("perm", Integers(vec![0, 2, 1]))];
        at.node("Transpose", &[&rows], order)
    };
    let mut positions = at.weight("positions")?;
    if patches.class_token {
        // A row of zeros before those of the patches, to which the token is added with the positions: the batch, which
        // is not known here, stays as it is.
        let count = at.sizes("positions")?[0] as i64;
        let before = at.list("before", &[0, 1, 0, 0, 0, 0]);
        tokens = at.node("Pad", &[&tokens, &before], vec![]);
        let token = at.weight("class_token")?;
        let after = at.list("after", &[0, 0, count - 1, 0]);
        let token = at.named_node("Pad", "class_token.Pad", &[&token, &after], vec![]);
        positions = at.named_node("Add", "class_token.Add", &[&positions, &token], vec![]);
    }
    Ok(at.named_node("Add", "positions.Add", &[&tokens, &positions], vec![]))
}

/// `softmax(scale * query key^T) value`, of each head, between the projections.
fn attention(at: &mut At<'_>, x: &str, options: Attention) -> Result<String> {
    let (parts, inner) = if options.fused {
        let all = linear(at, x, "qkv")?;
        (at.split("Split", &all), at.sizes("qkv.weight")?[1] / 3)
    } else {
        let parts = [
            linear(at, x, "query")?,
            linear(at, x, "key")?,
            linear(at, x, "value")?,
        ];
        (parts, at.sizes("query.weight")?[1])
    };
    let width = inner / options.heads;
    let sizes = at.list("heads", &[0, 0, options.heads as i64, width as i64]);
    let mut split = |part: usize, name: &str, order: [i64; 4]| {
        let heads = at.named_node(
            "Reshape",
            &format!("{name}.Reshape"),
            &[&parts[part], &sizes],
            vec![],
        );
        let order = vec![("perm", Integers(order.into()))];
        at.named_node("Transpose", &format!("{name}.Transpose"), &[&heads], order)
    };
    // `[batch, heads, tokens, width]`, keys `[batch, heads, width, tokens]`
    let query = split(0, "query", [0, 2, 1, 3]);
    let key = split(1, "key", [0, 2, 3, 1]);
    let value = split(2, "value", [0, 2, 1, 3]);
    let scale = options.scale.unwrap_or(1.0 / (width as f64).sqrt());
    let scale = at.constant("scale", &[], vec![scale as f32]);
    let scores = at.named_node("MatMul", "scores.MatMul", &[&query, &key], vec![]);
    let scores = at.named_node("Mul", "scores.Mul", &[&scores, &scale], vec![]);
    let shares = at.node("Softmax", &[&scores], vec![("axis", Integer(-1))]);
    let seen = at.named_node("MatMul", "seen.MatMul", &[&shares, &value], vec![]);
    let order = vec![("perm", Integers(vec![0, 2, 1, 3]))];
    let seen = at.named_node("Transpose", "seen.Transpose", &[&seen], order);
    let sizes = at.list("width", &[0, 0, inner as i64]);
    let seen = at.named_node("Reshape", "seen.Reshape", &[&seen, &sizes], vec![]);
    let seen = match options.int8 {
        true => at.rounded(&seen, "context_scale", options.context_zero_point)?,
        false => seen,
    };
    linear(at, &seen, "project")
}
