//! What layers of graphs do with their options: padding as TensorFlow has it, the epsilon of norms, class tokens, and
//! attention with fused layers.

use burn::module::Param;
use burn::tensor::{Device as Tensors, Tensor, TensorData};
use forgeling::nn::graph::Graph;
use forgeling::nn::{FusedAttentionValues, LinearLayer, Network, Normalization, Pass, Values};
use forgeling_tests::networks::{conv, outputs};
use forgeling_tests::{assert_close, waves};

fn read<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().unwrap()
}

fn network(layers: &str, input: &[usize], device: &Tensors) -> Network {
    let text = format!(r#"{{ "input": {input:?}, "layers": [{layers}] }}"#);
    Network::on(&Graph::from_json(&text).unwrap(), 5, device)
}

fn images(shape: [usize; 4], device: &Tensors) -> Tensor<4> {
    let values = waves(shape.iter().product(), 1.0);
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// Plain loops, with zeros where TensorFlow's guide to padding puts them.
#[test]
fn same_upper_pads_as_tensorflow_does() {
    let device = Tensors::flex();
    for ([rows, columns], [high, wide], [down, right]) in [
        ([4, 4], [3, 3], [2, 2]),
        ([7, 6], [3, 5], [2, 2]),
        ([8, 5], [5, 2], [2, 1]),
        ([6, 9], [4, 1], [3, 2]),
        ([3, 3], [5, 5], [2, 3]),
        ([5, 4], [3, 3], [1, 1]),
    ] {
        let layers = format!(
            r#"{{ "conv2d": {{ "filters": 1, "kernel": [{high}, {wide}], "stride": [{down}, {right}],
                 "padding": "sameUpper", "bias": false }}, "name": "conv" }}, "flatten""#
        );
        let network = network(&layers, &[1, rows, columns], &device);
        let input = images([1, 1, rows, columns], &device);
        let (x, weight) = (
            read(input.clone()),
            read(conv(&network, "conv").weight.val()),
        );
        let got = read(outputs(&network, input, Normalization::Running).unwrap().0);
        let before = |side: usize, kernel: usize, stride: usize| {
            let total = (side.div_ceil(stride) - 1) * stride + kernel;
            total.saturating_sub(side) / 2
        };
        let (above, left) = (before(rows, high, down), before(columns, wide, right));
        let mut expected = Vec::new();
        for i in 0..rows.div_ceil(down) {
            for j in 0..columns.div_ceil(right) {
                let mut sum = 0.0;
                for a in 0..high {
                    for b in 0..wide {
                        let row = (i * down + a).checked_sub(above).filter(|&row| row < rows);
                        let column = (j * right + b).checked_sub(left);
                        let column = column.filter(|&column| column < columns);
                        if let (Some(row), Some(column)) = (row, column) {
                            sum += x[row * columns + column] * weight[a * wide + b];
                        }
                    }
                }
                expected.push(sum);
            }
        }
        assert_close(&layers, &got, &expected, 1e-5);
    }
}

/// Running statistics start as mean 0 and variance 1, so that epsilon alone says what comes out.
#[test]
fn norms_add_their_epsilon() {
    let device = Tensors::flex();
    let input = images([2, 3, 4, 4], &device);
    let run = |layers: &str| {
        let network = network(layers, &[3, 4, 4], &device);
        read(
            outputs(&network, input.clone(), Normalization::Running)
                .unwrap()
                .0,
        )
    };
    let block = |epsilon: f64| {
        let norm = format!(r#"{{ "batchNorm": {{ "epsilon": {epsilon} }}, "name": "b.norm" }}"#);
        let conv = r#"{ "conv2d": { "filters": 4, "kernel": 3, "padding": "same", "bias": false }, "name": "b.conv" }"#;
        let rest =
            r#"{ "relu": {}, "name": "b.relu" }, { "maxPool": 2, "name": "b.pool" }, "flatten""#;
        run(&format!("{conv}, {norm}, {rest}"))
    };
    // With the usual epsilon these four are one operation; sqrt(1 + 0.44) is 1.2.
    let usual = block(1e-5);
    let expected: Vec<f32> = usual
        .iter()
        .map(|value| value * 1.000_01f32.sqrt() / 1.2)
        .collect();
    assert_close("block", &block(0.44), &expected, 1e-5);
    assert!(usual.iter().any(|value| *value > 0.1));
    let norm = run(r#"{ "batchNorm": { "epsilon": 0.44 } }, "flatten""#);
    let expected: Vec<f32> = read(input.clone()).iter().map(|x| x / 1.2).collect();
    assert_close("norm", &norm, &expected, 1e-5);

    let rows = run(r#""flatten", { "layerNorm": { "epsilon": 0.25 } }"#);
    let x = read(input.clone());
    let expected: Vec<f32> = x
        .chunks(48)
        .flat_map(|row| {
            let mean = row.iter().sum::<f32>() / 48.0;
            let squares: f32 = row.iter().map(|x| (x - mean) * (x - mean)).sum();
            let deviation = (squares / 48.0 + 0.25).sqrt();
            row.iter().map(move |x| (x - mean) / deviation)
        })
        .collect();
    assert_close("rows", &rows, &expected, 1e-5);
}

#[test]
fn options_are_written_where_they_are_not_usual() {
    let read = |layers: &str| {
        Graph::from_json(&format!(
            r#"{{ "input": [2, 4, 4], "layers": [{layers}] }}"#
        ))
    };
    let usual = read(r#""batchNorm""#).unwrap();
    assert_eq!(read(r#"{ "batchNorm": {} }"#).unwrap(), usual);
    assert_eq!(
        read(r#"{ "batchNorm": { "epsilon": 1e-5 } }"#).unwrap(),
        usual
    );
    assert!(!usual.to_json().contains("epsilon"));
    let other = r#"{ "batchNorm": { "epsilon": 0.001 } },
        { "conv2d": { "filters": 2, "kernel": 3, "padding": "sameUpper" } },
        { "patches": { "size": 2, "width": 4, "classToken": true } }, { "layerNorm": { "epsilon": 1e-6 } },
        { "attention": { "heads": 2, "fused": true } }, "firstToken""#;
    let other = read(other).unwrap();
    let text = other.to_json();
    assert_eq!(Graph::from_json(&text).unwrap(), other);
    for word in ["0.001", "1e-6", "sameUpper", "classToken", "fused"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    for (word, wrong) in [
        ("epsilon", r#"{ "batchNorm": { "epsilon": 0 } }"#),
        ("epsilon", r#"{ "batchNorm": { "epsilon": -1e-5 } }"#),
        ("epsilon", r#"{ "batchNorm": { "epsilon": 1e300 } }"#),
        ("epsilon", r#""flatten", { "layerNorm": { "epsilon": 2 } }"#),
        ("momentum", r#"{ "batchNorm": { "momentum": 0.1 } }"#),
        (
            "sameUpper",
            r#"{ "conv2d": { "filters": 2, "kernel": 3, "padding": "sameLower" } }"#,
        ),
        (
            "size is out of range",
            r#"{ "conv2d": { "filters": 2, "kernel": 18446744073709551615, "padding": "sameUpper" } }"#,
        ),
        (
            "stride is out of range",
            r#"{ "conv2d": { "filters": 2, "kernel": 3, "stride": 0, "padding": "sameUpper" } }"#,
        ),
        ("expected tokens", r#""firstToken""#),
    ] {
        let error = read(wrong).unwrap_err();
        let said = error.to_string();
        assert!(
            error.is_bad_input() && said.contains(word),
            "{word}: {said}"
        );
    }
}

/// Each of four pixels is a patch of one number.
#[test]
fn the_class_token_goes_first_with_a_position_of_its_own() {
    let device = Tensors::flex().autodiff();
    let layers = |last: &str| {
        format!(
            r#"{{ "patches": {{ "size": 1, "width": 2, "classToken": true }}, "name": "embed" }}, "{last}""#
        )
    };
    let all = network(&layers("flatten"), &[1, 2, 2], &device);
    let first = network(&layers("firstToken"), &[1, 2, 2], &device);
    let Some(Values::Patches(values)) = all.values(0) else {
        panic!("no patches");
    };
    let token = values.class_token.as_ref().unwrap();
    let [weight, positions] = [&values.weight, &values.positions].map(|value| read(value.val()));
    let class = read(token.val());
    assert!(
        class
            .iter()
            .chain(&positions)
            .all(|value| value.abs() < 0.035 && *value != 0.0)
    );
    let input = images([3, 1, 2, 2], &device);
    let pixels = read(input.clone());
    let mut expected = Vec::new();
    for image in pixels.chunks(4) {
        let patches = image
            .iter()
            .map(|pixel| [0, 1].map(|place| pixel * weight[place]));
        let tokens = [[class[0], class[1]]].into_iter().chain(patches).flatten();
        expected.extend(
            tokens
                .zip(&positions)
                .map(|(token, position)| token + position),
        );
    }
    let running = Normalization::Running;
    let got = outputs(&all, input.clone(), running).unwrap().0;
    assert_eq!(got.dims(), [3, 10]);
    assert_close("tokens", &read(got), &expected, 1e-6);

    let got = outputs(&first, input, running).unwrap().0;
    assert_eq!(got.dims(), [3, 2]);
    let firsts: Vec<f32> = expected
        .chunks(10)
        .flat_map(|image| image[..2].to_vec())
        .collect();
    assert_close("first", &read(got.clone()), &firsts, 1e-6);
    // The same for each of three images.
    let gradients = got.sum().backward();
    let Some(Values::Patches(values)) = first.values(0) else {
        panic!("no patches");
    };
    let token = values.class_token.as_ref().unwrap().val();
    assert_eq!(read(token.grad(&gradients).unwrap()), [3.0, 3.0]);
    let positions = read(values.positions.val().grad(&gradients).unwrap());
    assert_eq!(
        positions,
        [[3.0; 2], [0.0; 2], [0.0; 2], [0.0; 2], [0.0; 2]].concat()
    );
}

/// A layer whose neurons are those of several, side by side.
fn side_by_side(layers: [&LinearLayer; 3]) -> LinearLayer {
    let weights = layers.map(|layer| layer.weight.val().inner()).to_vec();
    let biases = layers.map(|layer| layer.bias.val().inner()).to_vec();
    LinearLayer {
        weight_scale: None,
        weight: Param::from_tensor(Tensor::from_inner(Tensor::cat(weights, 1))),
        bias: Param::from_tensor(Tensor::from_inner(Tensor::cat(biases, 0))),
    }
}

#[test]
fn fused_attention_is_attention() {
    let device = Tensors::flex().autodiff();
    let of = |fused: bool| {
        let layers = format!(
            r#"{{ "attention": {{ "heads": 2, "fused": {fused} }}, "name": "attention" }}, "flatten""#
        );
        network(&layers, &[5, 6], &device)
    };
    let apart = of(false);
    let Some(Values::Attention(values)) = apart.values(0) else {
        panic!("no attention");
    };
    let fused = of(true).with_values(|_, held| match held {
        Values::FusedAttention(_) => Values::FusedAttention(FusedAttentionValues {
            qkv: side_by_side([&values.query, &values.key, &values.value]),
            project: values.project.clone(),
            context_scale: None,
        }),
        other => panic!("not fused: {other:?}"),
    });
    let sum = |network: &Network| {
        let mut pass = Pass::new(Normalization::Running, &device);
        let seen = network
            .forward(images([3, 1, 5, 6], &device), &mut pass)
            .unwrap();
        let direction = Tensor::from_data(TensorData::new(waves(90, 2.0), [3, 30]), &device);
        (read(seen.clone()), (seen * direction).sum().backward())
    };
    let ((expected, one), (got, other)) = (sum(&apart), sum(&fused));
    assert_close("seen", &got, &expected, 1e-6);
    let Some(Values::FusedAttention(fused)) = fused.values(0) else {
        panic!("not fused");
    };
    let weights = [&values.query, &values.key, &values.value];
    let expected = weights
        .map(|layer| layer.weight.val().grad(&one).unwrap())
        .to_vec();
    let got = fused.qkv.weight.val().grad(&other).unwrap();
    assert_close("weight", &read(got), &read(Tensor::cat(expected, 1)), 1e-5);
    let expected = weights
        .map(|layer| layer.bias.val().grad(&one).unwrap())
        .to_vec();
    let got = fused.qkv.bias.val().grad(&other).unwrap();
    assert_close("bias", &read(got), &read(Tensor::cat(expected, 0)), 1e-5);
}
