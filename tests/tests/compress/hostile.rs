//! What cannot be done says so, names the layer, and leaves all as it was.

use burn::tensor::Tensor;
use forgeling::compress::{
    ChannelGroups, Criterion, GradualConfig, HeadPruning, PrunedGroup, PruningConfig, PruningPlan,
    PruningTarget, Ranking,
};
use forgeling::nn::Network;
use forgeling::nn::graph::Graph;
use forgeling_tests::networks::with_change;
use pollster::block_on;

use crate::common::{config, cpu, graph, narrow, planned};

fn error(graph: &Graph, change: impl FnOnce(&mut PruningConfig)) -> String {
    let error = planned(graph, &config(change)).unwrap_err();
    assert!(error.is_bad_input(), "{error}");
    error.to_string()
}

#[test]
fn numbers_out_of_range_are_named() {
    let graph = narrow("conv4");
    for fraction in [0.0, 1.0, -0.5, 1.5, f64::NAN, f64::INFINITY] {
        for target in [
            PruningTarget::Channels(fraction),
            PruningTarget::Values(fraction),
            PruningTarget::MultiplyAdds(fraction),
            PruningTarget::Bytes(fraction),
        ] {
            let said = error(&graph, |config| config.target = target);
            assert!(said.contains(target.unit()), "{said}");
        }
    }
    for floor in [-0.1, 1.0, f64::NAN] {
        assert!(error(&graph, |config| config.floor = floor).contains("floor"));
    }
    assert!(error(&graph, |config| config.round_to = 0).contains("round_to"));
    let said = error(&graph, |config| config.protected = vec!["blocks.9".into()]);
    assert!(said.contains("'blocks.9'"), "{said}");
    for config in [
        GradualConfig {
            steps: 0,
            ..Default::default()
        },
        GradualConfig {
            gradient_batches: 0,
            ..Default::default()
        },
        GradualConfig {
            training: Default::default(),
            ..Default::default()
        },
    ] {
        assert!(config.validate().unwrap_err().is_bad_input());
    }
}

#[test]
fn what_cannot_be_reached_says_how_far_it_goes() {
    let graph = narrow("resnet20");
    let said = error(&graph, |config| {
        config.target = PruningTarget::Channels(0.95)
    });
    assert!(said.contains("0.900"), "{said}");
    for target in [
        PruningTarget::Values(0.995),
        PruningTarget::MultiplyAdds(0.995),
        PruningTarget::Bytes(0.995),
    ] {
        let said = error(&graph, |config| config.target = target);
        assert!(
            said.contains(target.unit()) && said.contains("at most 0.9"),
            "{said}"
        );
    }
    // All layers but the last are protected.
    let names = graph.nodes().iter().map(|node| node.name.clone());
    let names: Vec<String> = names.collect();
    let said = error(&graph, |config| config.protected = names);
    assert!(said.contains("no channel"), "{said}");
    let head = crate::common::graph(r#"{ "linear": { "outputs": 3 } }"#, &[4]);
    assert!(error(&head, |_| {}).contains("no channel"));
}

#[test]
fn layers_are_not_emptied() {
    let graph = graph(
        r#"{ "conv2d": { "filters": 4, "kernel": 1 }, "name": "a" },
           { "channels": { "from": 1, "count": 2 }, "name": "part" },
           { "conv2d": { "filters": 6, "kernel": 1 }, "name": "b" }, "flatten",
           { "linear": { "outputs": 2 }, "name": "head" }"#,
        &[2, 3, 3],
    );
    let by_hand = |layer: &str, removed: &[usize]| {
        let group = PrunedGroup {
            layer: layer.into(),
            with: Vec::new(),
            channels: 0,
            removed: removed.to_vec(),
        };
        PruningPlan::by_hand(&graph, HeadPruning::Dimensions, &[group])
    };
    assert!(by_hand("a", &[0, 1]).is_ok());
    for (layer, removed, said) in [
        (
            "b",
            &[0, 1, 2, 3, 4, 5][..],
            "layer 'b' would have no channel left",
        ),
        ("a", &[1, 2], "layer 'part'"),
        ("a", &[4], "layer 'a'"),
        ("part", &[0], "layer 'part'"),
        ("head", &[0], "layer 'head'"),
        ("nothing", &[0], "layer 'nothing'"),
    ] {
        let error = by_hand(layer, removed).unwrap_err();
        assert!(
            error.is_bad_input() && error.to_string().contains(said),
            "{error}"
        );
    }
    // Whatever is asked for, and whichever weights are small, something of every value stays.
    for ranking in [Ranking::Local, Ranking::Global, Ranking::Isomorphic] {
        for seed in 0..20 {
            let config = config(|config| {
                config.target = PruningTarget::Channels(0.8);
                config.floor = 0.0;
                config.ranking = Some(ranking);
                config.criterion = Criterion::Random { seed };
            });
            let pruned = planned(&graph, &config).unwrap().graph(&graph).unwrap();
            assert!(pruned.trained_values() < graph.trained_values());
        }
    }
}

#[test]
fn weights_and_gradients_that_are_not_finite_are_named() {
    let graph = narrow("resnet20");
    let device = cpu();
    for (name, layer, field) in [
        ("blocks.3.first.weight", "'blocks.3.first'", "'weight'"),
        (
            "blocks.3.first.norm.gamma",
            "'blocks.3.first.norm'",
            "'gamma'",
        ),
        ("head.bias", "'head'", "'bias'"),
    ] {
        for wrong in [f32::NAN, f32::INFINITY] {
            let network = Network::on(&graph, 0, device.tensors());
            let network = with_change(network, name, |values| {
                let rest = values.clone().narrow(0, 1, values.dims()[0] - 1);
                let first = Tensor::full([1], wrong, &values.device());
                Tensor::cat(vec![rest, first], 0)
            });
            for criterion in [
                Criterion::L1,
                Criterion::NormScale,
                Criterion::Random { seed: 0 },
            ] {
                let config = config(|config| config.criterion = criterion);
                let error = block_on(PruningPlan::of(&network, &config, None)).unwrap_err();
                let said = error.to_string();
                assert!(error.is_bad_input(), "{said}");
                assert!(said.contains(layer) && said.contains(field), "{said}");
            }
        }
    }
}

#[test]
fn plans_of_other_networks_are_refused() {
    let device = cpu();
    let graph = narrow("conv4");
    let plan = planned(&graph, &config(|_| {})).unwrap();
    let other = Network::new(&narrow("conv6"), 0, &device);
    let error = plan.apply(&other).unwrap_err();
    assert!(error.to_string().contains("another network"), "{error}");
    let network = Network::new(&graph, 0, &device);
    // Applied twice it is of another network, too.
    let pruned = plan.apply(&network).unwrap();
    assert!(plan.apply(&pruned).is_err());
    let adapted = network.clone().adapted(2, 2.0, 0).unwrap();
    let error = plan.apply(&adapted).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("layer 'blocks.0' has an adapter"),
        "{error}"
    );
    assert!(plan.apply(&adapted.merged().unwrap()).is_ok());

    let mut written = serde_json::to_value(&plan).unwrap();
    let wrong = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut changed = written.clone();
        change(&mut changed);
        let plan: Result<PruningPlan, _> = serde_json::from_value(changed);
        plan.ok().map(|plan| plan.apply(&network).map(drop))
    };
    let refused = wrong(&|plan| plan["groups"][0]["removed"] = serde_json::json!([99_999]));
    assert!(
        refused
            .unwrap()
            .unwrap_err()
            .to_string()
            .contains("layer 'blocks.0'")
    );
    let all = serde_json::json!((0..16).collect::<Vec<usize>>());
    let refused = wrong(&|plan| plan["groups"][1]["removed"] = all.clone());
    assert!(
        refused
            .unwrap()
            .unwrap_err()
            .to_string()
            .contains("layer 'blocks.1'")
    );
    assert!(wrong(&|plan| plan["heads"] = serde_json::json!("tails")).is_none());
    assert!(wrong(&|plan| plan["more"] = serde_json::json!(1)).is_none());
    written["groups"][0]["layer"] = serde_json::json!("blocks.0.norm");
    let plan: PruningPlan = serde_json::from_value(written).unwrap();
    assert!(plan.apply(&network).is_err());
}

#[test]
fn attention_of_strangers_is_checked() {
    let read = |attention: &str| {
        let text = format!(r#"{{ "input": [4, 6], "layers": [{{ "attention": {attention} }}] }}"#);
        Graph::from_json(&text)
    };
    let graph = read(r#"{ "heads": 4, "headWidth": 5, "scale": 0.25 }"#).unwrap();
    assert_eq!(graph.trained_values(), 3 * (6 * 20 + 20) + 20 * 6 + 6);
    assert_eq!(graph.multiply_adds(), 4 * 4 * 6 * 20 + 2 * 4 * 4 * 20);
    assert_eq!(Graph::from_json(&graph.to_json()).unwrap(), graph);
    assert!(
        ChannelGroups::of(&graph, HeadPruning::Heads, &[])
            .unwrap()
            .channels()
            == 4
    );
    // What is not told is not written.
    let usual = read(r#"{ "heads": 3 }"#).unwrap();
    assert!(!usual.to_json().contains("headWidth") && !usual.to_json().contains("scale"));
    for (wrong, said) in [
        (r#"{ "heads": 4 }"#, "divide"),
        (r#"{ "heads": 0, "headWidth": 5 }"#, "heads"),
        (r#"{ "heads": 4, "headWidth": 0 }"#, "headWidth"),
        (
            r#"{ "heads": 1000000, "headWidth": 1000000 }"#,
            "out of range",
        ),
        (r#"{ "heads": 3, "scale": 0 }"#, "scale"),
        (r#"{ "heads": 3, "scale": -1 }"#, "scale"),
        (r#"{ "heads": 3, "scale": 1e300 }"#, "scale"),
        (r#"{ "heads": 3, "scale": 1e-300 }"#, "scale"),
    ] {
        let error = read(wrong).unwrap_err();
        assert!(
            error.is_bad_input() && error.to_string().contains(said),
            "{error}"
        );
    }
}
