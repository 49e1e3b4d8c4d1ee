//! What is left computes what the whole network does with the removed channels at zero.

use forgeling::compress::{ChannelGroups, HeadPruning, PruningPlan};
use forgeling::nn::graph::{Graph, Layer};
use forgeling::nn::zoo::VitConfig;

use crate::common::{
    answers, assert_equals_zeroed, cpu, graph, narrow, some_channels, stirred, zeroed,
};

const HEADS: HeadPruning = HeadPruning::Dimensions;

#[test]
fn convolutional_networks() {
    for model in [
        "conv4",
        "conv1d",
        "resnet12",
        "resnet18",
        "resnet20",
        "resnet50",
        "mobilenet_v2",
        "efficientnet_lite0",
        "integration_shallow",
        "integration_base",
        "multi_channel_resnet50",
        "dual_mlp_large",
        "mlp",
    ] {
        let graph = narrow(model);
        for seed in 0..2 {
            let removed = some_channels(&graph, HEADS, seed, |_, _| true);
            assert!(!removed.is_empty(), "{model}");
            assert_equals_zeroed(model, &graph, HEADS, &removed);
        }
    }
}

fn vit(fused: bool) -> Graph {
    let config = VitConfig {
        size: 12,
        width: 24,
        depth: 2,
        heads: 3,
        hidden: 20,
        class_token: fused,
        fused,
        ..Default::default()
    };
    config.graph().unwrap()
}

#[test]
fn perceptrons_of_transformers() {
    for fused in [false, true] {
        let graph = vit(fused);
        let removed = some_channels(&graph, HEADS, 1, |name, _| name.ends_with("expand"));
        assert_eq!(removed.len(), 2);
        let pruned = assert_equals_zeroed("perceptrons", &graph, HEADS, &removed);
        let expand = pruned.graph().find("blocks.1.expand").unwrap();
        assert!(
            matches!(pruned.graph().nodes()[expand].layer, Layer::Linear(linear) if linear.outputs == 12)
        );
    }
}

#[test]
fn heads_and_numbers_of_heads() {
    let attends = |_: &str, layer: &Layer| matches!(layer, Layer::Attention(_));
    for fused in [false, true] {
        let graph = vit(fused);
        for (heads, name) in [
            (HeadPruning::Heads, "heads"),
            (HeadPruning::Dimensions, "numbers of heads"),
        ] {
            let removed = some_channels(&graph, heads, 2, attends);
            assert_eq!(removed.len(), 2, "{name}");
            let pruned = assert_equals_zeroed(name, &graph, heads, &removed);
            let place = pruned.graph().find("blocks.0.attention").unwrap();
            let Layer::Attention(attention) = pruned.graph().nodes()[place].layer else {
                panic!("no attention");
            };
            let expected = match heads {
                HeadPruning::Heads => (2, Some(8), None),
                HeadPruning::Dimensions => (3, Some(5), Some(1.0 / 8f64.sqrt())),
            };
            let found = (attention.heads, attention.head_width, attention.scale);
            assert_eq!(found, expected, "{name}");
            // What was stored is read again, and pruned once more it keeps the first scale.
            let again = Graph::from_json(&pruned.graph().to_json()).unwrap();
            assert_eq!(&again, pruned.graph());
            let removed = some_channels(&again, heads, 3, attends);
            assert_equals_zeroed(name, &again, heads, &removed);
        }
    }
}

/// A layer norm's mean goes over what is left, so that widths of tokens are no zeros; but all that belongs to them goes.
#[test]
fn widths_of_tokens() {
    for fused in [false, true] {
        let graph = vit(fused);
        let removed = some_channels(&graph, HEADS, 4, |name, _| name == "embed");
        let plan = PruningPlan::by_hand(&graph, HEADS, &removed).unwrap();
        let pruned = plan.apply(&stirred(&graph, &cpu())).unwrap();
        assert_eq!(pruned.graph().features_shape().len(), 14);
        let attention = pruned.graph().find("blocks.0.attention").unwrap();
        assert_eq!(pruned.graph().parameters(attention)[0].sizes[0], 14);
        let [before, after] = [&graph, pruned.graph()]
            .map(|graph| graph.multiply_adds_of(graph.find("blocks.0.attention").unwrap()));
        assert!(after < before);
        assert!(
            answers(&pruned, &cpu())
                .iter()
                .all(|value| value.is_finite())
        );
    }
}

/// A value that goes two ways, once by itself and once beside another, with grouped convolutions on the way.
#[test]
fn everything_at_once() {
    let layers = r#"
        { "conv2d": { "filters": 12, "kernel": 3, "padding": "same" }, "name": "a" },
        { "batchNorm": {}, "name": "a_norm" }, { "relu": {}, "name": "a_relu" },
        { "conv2d": { "filters": 8, "kernel": 1 }, "name": "b" }, { "relu6": {}, "name": "b_relu" },
        { "concat": {}, "inputs": ["a_relu", "b_relu", "a_relu"], "name": "joined" },
        { "conv2d": { "filters": 32, "kernel": 3, "padding": "same", "groups": 4 }, "name": "grouped" },
        { "batchNorm": {}, "name": "grouped_norm" },
        { "mix": {}, "inputs": ["grouped_norm", "joined"], "name": "mixed" },
        { "conv2d": { "filters": 64, "kernel": 3, "groups": 32 }, "name": "depthwise" },
        { "relu": {}, "name": "depthwise_relu" },
        { "channels": { "from": 9, "count": 40 }, "name": "middle" },
        { "meanPool": {}, "name": "pool" },
        { "flatten": {}, "name": "flat" }, { "batchNorm": {}, "name": "flat_norm" },
        { "linear": { "outputs": 14 }, "name": "neurons" }, { "gelu": {}, "name": "gelu" },
        { "linear": { "outputs": 3, "bias": false }, "name": "head" }"#;
    let graph = graph(layers, &[2, 8, 9]);
    for seed in 0..6 {
        let removed = some_channels(&graph, HEADS, seed, |_, _| true);
        assert_equals_zeroed("everything", &graph, HEADS, &removed);
    }
    let groups = ChannelGroups::of(&graph, HEADS, &[]).unwrap();
    let names: Vec<&str> = groups
        .groups()
        .iter()
        .map(|group| &graph.nodes()[group.first_layer()].name[..])
        .collect();
    assert!(
        names.contains(&"neurons") && !names.contains(&"head"),
        "{names:?}"
    );
    let network = stirred(&graph, &cpu());
    assert_eq!(
        answers(&zeroed(&network, HEADS, &[]), &cpu()),
        answers(&network, &cpu())
    );
}

/// Patches take of every channel a block of rows and columns.
#[test]
fn patches_of_maps_that_lose_channels() {
    let layers = r#"
        { "conv2d": { "filters": 7, "kernel": 3, "padding": "same" }, "name": "conv" }, { "batchNorm": {}, "name": "norm" },
        { "relu": {}, "name": "relu" }, { "patches": { "size": 2, "width": 10, "classToken": true }, "name": "embed" },
        { "linear": { "outputs": 9 }, "name": "expand" }, { "gelu": {}, "name": "gelu" },
        { "flatten": {}, "name": "flat" }, { "linear": { "outputs": 3 }, "name": "head" }"#;
    let graph = graph(layers, &[2, 6, 4]);
    for seed in 0..3 {
        let removed = some_channels(&graph, HEADS, seed, |_, _| true);
        assert_eq!(removed.len(), 3);
        assert_equals_zeroed("patches", &graph, HEADS, &removed);
    }
}
