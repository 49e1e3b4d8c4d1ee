//! What pruning libraries were reported to do wrong, each with where.

use burn::tensor::Tensor;
use forgeling::compress::{ChannelGroups, HeadPruning, PruningPlan, PruningTarget, Ranking};
use forgeling::nn::Network;
use forgeling::nn::graph::{Graph, Layer, Wire};

use forgeling_tests::networks::with_change;

use crate::common::{assert_equals_zeroed, config, cpu, graph, planned, some_channels};

const HEADS: HeadPruning = HeadPruning::Dimensions;

/// Where a channel of a layer lies, as `node.field axis: indices`.
fn members(graph: &Graph, layer: &str, channel: usize) -> Vec<String> {
    let groups = ChannelGroups::of(graph, HEADS, &[]).unwrap();
    let (group, place) = groups
        .groups()
        .iter()
        .enumerate()
        .find_map(|(at, group)| {
            let own = graph.nodes()[group.first_layer()].name == layer;
            let place = group
                .channels
                .iter()
                .position(|&other| own && other == channel)?;
            Some((at, place))
        })
        .unwrap();
    let members = groups.members(group, place).into_iter();
    members
        .map(|member| {
            let node = &graph.nodes()[member.node].name;
            format!(
                "{node}.{} {}: {:?}",
                member.field, member.axis, member.indices
            )
        })
        .collect()
}

/// Torch-Pruning #146 and #481.
#[test]
fn values_beside_themselves_and_beside_others_of_other_widths() {
    let graph = graph(
        r#"{ "conv2d": { "filters": 3, "kernel": 1 }, "name": "a" },
           { "conv2d": { "filters": 5, "kernel": 1 }, "inputs": ["input"], "name": "b" },
           { "concat": {}, "inputs": ["a", "b", "a"], "name": "joined" },
           { "concat": {}, "inputs": ["joined", "b"], "name": "more" },
           { "conv2d": { "filters": 4, "kernel": 1, "bias": false }, "name": "c" }, "flatten""#,
        &[2, 4, 4],
    );
    assert_eq!(
        members(&graph, "a", 1),
        ["a.weight 0: [1]", "a.bias 0: [1]", "c.weight 1: [1, 9]"]
    );
    assert_eq!(
        members(&graph, "b", 2),
        ["b.weight 0: [2]", "b.bias 0: [2]", "c.weight 1: [5, 13]"]
    );
    for seed in 0..4 {
        let removed = some_channels(&graph, HEADS, seed, |_, _| true);
        assert_equals_zeroed("beside", &graph, HEADS, &removed);
    }
}

/// Torch-Pruning #125 and #451.
#[test]
fn flattened_channels_are_blocks_of_rows_and_columns() {
    let graph = graph(
        r#"{ "conv2d": { "filters": 4, "kernel": 3 }, "name": "conv" }, "flatten",
           { "linear": { "outputs": 5 }, "name": "head" }"#,
        &[1, 4, 5],
    );
    assert_eq!(
        members(&graph, "conv", 2),
        [
            "conv.weight 0: [2]",
            "conv.bias 0: [2]",
            "head.weight 0: [12, 13, 14, 15, 16, 17]"
        ]
    );
    // Tokens go one after the other, each with all its numbers.
    let tokens = super::common::graph(
        r#"{ "linear": { "outputs": 4 }, "name": "each" }, "flatten", { "linear": { "outputs": 2 }, "name": "head" }"#,
        &[3, 6],
    );
    assert_eq!(
        members(&tokens, "each", 1),
        [
            "each.weight 1: [1]",
            "each.bias 0: [1]",
            "head.weight 0: [1, 5, 9]"
        ]
    );
    for graph in [graph, tokens] {
        let removed = some_channels(&graph, HEADS, 1, |_, _| true);
        assert_equals_zeroed("flattened", &graph, HEADS, &removed);
    }
}

/// Torch-Pruning #179 and nni #5751: a convolution of one map to one map has as many groups as channels, and is no depthwise
/// one, whose filters would go with what it takes.
#[test]
fn one_output_is_not_depthwise() {
    let graph = graph(
        r#"{ "conv2d": { "filters": 6, "kernel": 1 }, "name": "wide" },
           { "conv2d": { "filters": 1, "kernel": 1 }, "name": "one" },
           { "conv2d": { "filters": 1, "kernel": 1, "groups": 1 }, "name": "to_one" },
           { "conv2d": { "filters": 4, "kernel": 1 }, "name": "after" }, "flatten",
           { "linear": { "outputs": 2 }, "name": "head" }"#,
        &[1, 4, 4],
    );
    let names: Vec<(String, usize)> = ChannelGroups::of(&graph, HEADS, &[])
        .unwrap()
        .groups()
        .iter()
        .map(|group| {
            (
                graph.nodes()[group.first_layer()].name.clone(),
                group.channels.len(),
            )
        })
        .collect();
    let expected = [("wide", 6), ("one", 1), ("to_one", 1), ("after", 4)];
    assert_eq!(
        names,
        expected.map(|(name, count)| (name.to_string(), count))
    );
    let plan = planned(&graph, &config(|_| {})).unwrap();
    let pruned = plan.graph(&graph).unwrap();
    let filters = |name: &str| {
        let place = pruned.find(name).unwrap();
        pruned.shape(Wire::Node(place)).sizes()[0]
    };
    assert_eq!(
        ["wide", "one", "to_one", "after"].map(filters),
        [3, 1, 1, 2]
    );
}

/// Torch-Pruning #328 and #9.
#[test]
fn grouped_convolutions_stay_divisible() {
    let graph = graph(
        r#"{ "conv2d": { "filters": 24, "kernel": 1 }, "name": "before" }, "relu",
           { "conv2d": { "filters": 36, "kernel": 3, "groups": 4 }, "name": "grouped" }, "relu",
           { "conv2d": { "filters": 72, "kernel": 3, "groups": 36 }, "name": "depthwise" },
           "globalMeanPool", { "linear": { "outputs": 2 }, "name": "head" }"#,
        &[3, 7, 7],
    );
    for ranking in [Ranking::Local, Ranking::Global, Ranking::Isomorphic] {
        for fraction in [0.2, 0.4, 0.6, 0.8] {
            let config = config(|config| {
                config.target = PruningTarget::Channels(fraction);
                config.ranking = Some(ranking);
            });
            let pruned = planned(&graph, &config).unwrap().graph(&graph).unwrap();
            let conv = |name: &str| match pruned.nodes()[pruned.find(name).unwrap()].layer {
                Layer::Conv2d(conv) => conv,
                other => panic!("{other:?}"),
            };
            let (before, grouped, depthwise) = (conv("before"), conv("grouped"), conv("depthwise"));
            assert_eq!(
                (grouped.groups, before.filters % 4, grouped.filters % 4),
                (4, 0, 0)
            );
            assert_eq!(depthwise.groups, grouped.filters);
            assert_eq!(depthwise.filters, 2 * depthwise.groups);
            assert!(grouped.filters < 36);
        }
    }
    for seed in 0..3 {
        let removed = some_channels(&graph, HEADS, seed, |_, _| true);
        assert_equals_zeroed("grouped", &graph, HEADS, &removed);
    }
}

/// Torch-Pruning #448: weights of one layer are so small that a global ranking would take all of it.
#[test]
fn global_rankings_leave_every_layer_its_floor() {
    let graph = graph(
        r#"{ "conv2d": { "filters": 40, "kernel": 3 }, "name": "a" }, "relu",
           { "conv2d": { "filters": 30, "kernel": 3 }, "name": "b" }, "relu",
           { "conv2d": { "filters": 20, "kernel": 1 }, "name": "c" }, "globalMeanPool",
           { "linear": { "outputs": 2 }, "name": "head" }"#,
        &[3, 8, 8],
    );
    for floor in [0.0, 0.1, 0.25] {
        let config = config(|config| {
            config.ranking = Some(Ranking::Global);
            config.target = PruningTarget::Channels(0.75);
            config.floor = floor;
        });
        let network = Network::on(&graph, 1, cpu().tensors());
        // One channel stands out so far that the rest of its group ranks below all others.
        let network = with_change(network, "b.weight", |weight| {
            let first = weight.clone().narrow(0, 0, 360) * 1e4;
            let rest = weight.narrow(0, 360, 30 * 360 - 360);
            Tensor::cat(vec![first, rest], 0)
        });
        let plan = pollster::block_on(PruningPlan::of(&network, &config, None)).unwrap();
        let kept = |name: &str| {
            let own = plan
                .layers
                .iter()
                .find(|layer| layer.layer == name)
                .unwrap();
            own.channels[1]
        };
        let least = |all: f64| ((floor * all).ceil() as usize).max(1);
        assert_eq!(kept("b"), least(30.0), "{floor}");
        assert!(kept("a") >= least(40.0) && kept("c") >= least(20.0));
        assert_eq!(plan.after.channels, 23, "{floor}");
    }
}
