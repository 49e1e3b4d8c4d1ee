//! How much goes, floors, rounding and protected layers.

use burn::tensor::Tensor;
use forgeling::compress::{
    Criterion, HeadPruning, PruningConfig, PruningPlan, PruningTarget, Ranking,
};
use forgeling::data::{ImageShape, Rng};
use forgeling::nn::Network;
use forgeling::nn::graph::{Graph, Wire};
use forgeling::nn::zoo::{Depth, ResNetConfig, Stem, VitConfig};
use forgeling_tests::networks::with_change;

use crate::common::{config, cpu, narrow, planned};

fn imagenet() -> Graph {
    let config = ResNetConfig {
        depth: Depth::Eighteen,
        input: ImageShape::new(3, 224, 224),
        stem: Stem::ImageNet,
        classes: 1000,
        ..Default::default()
    };
    config.graph().unwrap()
}

/// As Torch-Pruning 1.6.1 counts, whose multiply-adds have those of norms, activations and pooling in them.
#[test]
fn half_of_resnet_18() {
    let graph = imagenet();
    assert_eq!(graph.trained_values(), 11_689_512);
    assert_eq!(graph.multiply_adds(), 1_814_073_344);
    let network = Network::on(&graph, 0, cpu().tensors());
    let plan = pollster::block_on(PruningPlan::of(&network, &config(|_| {}), None)).unwrap();
    assert_eq!(plan.after.values, 3_055_880);
    assert!(plan.after.multiply_adds.abs_diff(483_150_000) < 483_150 * 5);
    let pruned = plan.apply(&network).unwrap();
    let (values, multiply_adds) = (
        pruned.graph().trained_values(),
        pruned.graph().multiply_adds(),
    );
    assert_eq!(
        (values, multiply_adds),
        (plan.after.values, plan.after.multiply_adds)
    );
    let text = plan.to_string();
    for part in [
        "64 -> 32",
        "11689512 -> 3055880",
        "1814073344 -> ",
        "blocks.7.second",
    ] {
        assert!(text.contains(part), "{text}");
    }
    let written = serde_json::to_string(&plan).unwrap();
    let read: PruningPlan = serde_json::from_str(&written).unwrap();
    assert_eq!(read, plan);
}

#[test]
fn targets_are_reached_with_as_few_channels_as_do() {
    for model in ["resnet18", "vit", "mobilenet_v2", "integration_shallow"] {
        let graph = narrow(model);
        for ranking in [Ranking::Local, Ranking::Global, Ranking::Isomorphic] {
            for fraction in [0.25, 0.6] {
                for target in [
                    PruningTarget::Values(fraction),
                    PruningTarget::MultiplyAdds(fraction),
                    PruningTarget::Bytes(fraction),
                ] {
                    let config = config(|config| {
                        config.target = target;
                        config.ranking = Some(ranking);
                    });
                    let plan = planned(&graph, &config).unwrap();
                    let counted = [plan.before, plan.after].map(|size| size.counted(target));
                    let gone = 1.0 - counted[1] as f64 / counted[0] as f64;
                    assert!(gone >= fraction, "{model} {target:?} {ranking:?}: {gone}");
                    // A local ranking takes a channel of every layer at once.
                    let step = if ranking == Ranking::Global {
                        0.05
                    } else {
                        0.15
                    };
                    assert!(
                        gone < fraction + step,
                        "{model} {target:?} {ranking:?}: {gone}"
                    );
                    let pruned = plan.graph(&graph).unwrap();
                    assert_eq!(plan.after.values, pruned.trained_values());
                    assert_eq!(plan.after.multiply_adds, pruned.multiply_adds());
                    assert_eq!(plan.after.bytes, 4 * pruned.counts().all());
                }
            }
        }
        let channels = planned(&graph, &config(|_| {})).unwrap();
        let left = channels.after.channels as f64 / channels.before.channels as f64;
        assert!((left - 0.5).abs() < 0.02, "{model}: {left}");
    }
}

fn kept(plan: &PruningPlan, layer: &str) -> [usize; 2] {
    let own = plan.layers.iter().find(|own| own.layer == layer);
    own.unwrap().channels
}

#[test]
fn layers_keep_the_nearest_multiple() {
    let graph = narrow("resnet18");
    for (fraction, expected) in [
        (0.5, [8, 16, 32, 64]),
        (0.3, [8, 24, 48, 88]),
        (0.9, [8, 8, 8, 16]),
    ] {
        let config = config(|config| {
            config.target = PruningTarget::Channels(fraction);
            config.round_to = 8;
        });
        let plan = planned(&graph, &config).unwrap();
        let stages = [
            "blocks.1.first",
            "blocks.3.first",
            "blocks.5.first",
            "blocks.7.first",
        ];
        let found = stages.map(|layer| kept(&plan, layer)[1]);
        assert_eq!(found, expected, "{fraction}");
    }
    // As many numbers of all heads together as are a multiple, and layers of fewer channels as they are.
    let graph = narrow("vit");
    let plan = planned(&graph, &config(|config| config.round_to = 8)).unwrap();
    for layer in &plan.layers {
        let [before, after] = layer.channels;
        assert!(after % 8 == 0 || after == before, "{layer:?}");
        assert!(after > 0);
    }
    let whole = planned(&graph, &config(|config| config.round_to = 10_000)).unwrap();
    assert_eq!((whole.after, whole.groups.len()), (whole.before, 0));
}

#[test]
fn protected_layers_keep_what_they_make() {
    let graph = narrow("resnet18");
    let half = planned(&graph, &config(|_| {})).unwrap();
    assert_eq!(kept(&half, "blocks.0.second")[1], 8);
    let protected = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|&name| name.into()).collect();
        planned(&graph, &config(|config| config.protected = names))
    };
    // All that is summed up with it keeps them, too.
    let plan = protected(&["blocks.0.second", "blocks.4.first.relu"]).unwrap();
    for (layer, expected) in [
        ("stem", [16, 16]),
        ("blocks.1.second", [16, 16]),
        ("blocks.0.first", [16, 8]),
        ("blocks.4.first", [64, 64]),
        ("blocks.5.first", [64, 32]),
        ("head", [10, 10]),
    ] {
        assert_eq!(kept(&plan, layer), expected, "{layer}");
    }
    assert!(plan.before.channels < half.before.channels);
    let pruned = plan
        .apply(&Network::on(&graph, 0, cpu().tensors()))
        .unwrap();
    assert_eq!(pruned.graph().trained_values(), plan.after.values);
    let vit = narrow("vit");
    for heads in [HeadPruning::Dimensions, HeadPruning::Heads] {
        let plan = planned(
            &vit,
            &config(|config| {
                config.heads = heads;
                config.protected = vec!["blocks.1.attention".into()];
            }),
        )
        .unwrap();
        assert_eq!(kept(&plan, "blocks.1.attention"), [16, 16]);
        assert_eq!(kept(&plan, "blocks.0.attention"), [16, 8]);
        // What it gives is what the tokens are.
        assert_eq!(kept(&plan, "embed"), [16, 16]);
    }
}

#[test]
fn rankings_fit_their_networks() {
    let [convolutions, transformer] = ["resnet18", "vit"].map(narrow);
    let usual = PruningConfig::default();
    assert_eq!(usual.criterion, Criterion::Taylor);
    assert_eq!(usual.ranking_for(&convolutions), Ranking::Local);
    assert_eq!(usual.ranking_for(&transformer), Ranking::Isomorphic);
    let graph = VitConfig {
        size: 8,
        width: 16,
        heads: 2,
        hidden: 24,
        ..Default::default()
    };
    let graph = graph.graph().unwrap();
    // A neuron that stands out so far that the rest of its block ranks below all of the other blocks.
    let network = Network::on(&graph, 0, cpu().tensors());
    let network = with_change(network, "blocks.2.expand.weight", |weight| {
        let factors = (0..16 * 24).map(|place| if place % 24 == 5 { 1e4f32 } else { 1.0 });
        let factors: Vec<f32> = factors.collect();
        weight.clone() * Tensor::<1>::from_floats(&factors[..], &weight.device())
    });
    let plan = |ranking| {
        let config = config(|config| config.ranking = ranking);
        pollster::block_on(PruningPlan::of(&network, &config, None)).unwrap()
    };
    let sum = |plan: &PruningPlan, end: &str| {
        let own = plan
            .layers
            .iter()
            .filter(|layer| layer.layer.ends_with(end));
        own.fold([0, 0], |[a, b], layer| {
            [a + layer.channels[0], b + layer.channels[1]]
        })
    };
    // Every kind of groups loses half, whichever of its blocks loses most: this one all but a tenth.
    let isomorphic = plan(None);
    assert_eq!(isomorphic, plan(Some(Ranking::Isomorphic)));
    assert_eq!(sum(&isomorphic, "embed"), [16, 8]);
    assert_eq!(sum(&isomorphic, "expand"), [4 * 24, 4 * 12]);
    assert_eq!(sum(&isomorphic, ".attention"), [4 * 16, 4 * 8]);
    assert_eq!(kept(&isomorphic, "blocks.2.expand"), [24, 3]);
    assert!(kept(&isomorphic, "blocks.1.expand")[1] > 12);
    // Every group loses half, and all together do.
    let local = plan(Some(Ranking::Local));
    assert_eq!(kept(&local, "blocks.2.expand"), [24, 12]);
    let global = plan(Some(Ranking::Global));
    assert_eq!(kept(&global, "blocks.2.expand"), [24, 3]);
    assert_eq!(global.after.channels, local.after.channels);
    assert_ne!(sum(&global, "expand")[1], 4 * 12);
}

/// Whatever is asked for, floors, multiples and protected layers hold, and what is planned is what is left.
#[test]
fn limits_hold_whatever_is_asked_for() {
    let mut rng = Rng::new(11);
    for model in [
        "conv4",
        "resnet18",
        "mobilenet_v2",
        "vit",
        "integration_base",
    ] {
        let graph = narrow(model);
        let names: Vec<&str> = graph.nodes().iter().map(|node| &node.name[..]).collect();
        for round in 0..25 {
            let fraction = 0.05 + 0.6 * rng.unit_f64();
            let protected = names[rng.below(names.len())];
            let config = config(|config| {
                config.target = match round % 3 {
                    0 => PruningTarget::Channels(fraction),
                    1 => PruningTarget::Values(0.5 * fraction),
                    _ => PruningTarget::MultiplyAdds(0.5 * fraction),
                };
                config.ranking =
                    Some([Ranking::Local, Ranking::Global, Ranking::Isomorphic][rng.below(3)]);
                config.heads = [HeadPruning::Dimensions, HeadPruning::Heads][rng.below(2)];
                config.criterion = Criterion::Random { seed: round };
                config.round_to = [1, 2, 4, 8][rng.below(4)];
                config.floor = 0.3 * rng.unit_f64();
                config.protected = vec![protected.into()];
            });
            let name = format!("{model} {config:?}");
            let plan = match planned(&graph, &config) {
                Ok(plan) => plan,
                // A layer that holds most of the network may be the one that is protected.
                Err(error) => {
                    assert!(
                        error.to_string().contains("cannot be removed"),
                        "{name}: {error}"
                    );
                    assert_ne!(round % 3, 0, "{name}");
                    continue;
                }
            };
            for layer in &plan.layers {
                let [before, after] = layer.channels;
                let least = ((config.floor * before as f64).ceil() as usize).max(1);
                assert!((least..=before).contains(&after), "{name}: {layer:?}");
                let whole = after == before || after % config.round_to == 0;
                assert!(whole, "{name}: {layer:?}");
                if layer.layer == protected {
                    assert_eq!(after, before, "{name}");
                }
            }
            let pruned = plan.graph(&graph).unwrap();
            let place = pruned.find(protected).unwrap();
            assert_eq!(
                pruned.shape(Wire::Node(place)),
                graph.shape(Wire::Node(place)),
                "{name}"
            );
            assert_eq!(pruned.output_shape(), graph.output_shape(), "{name}");
            assert_eq!(pruned.trained_values(), plan.after.values, "{name}");
        }
    }
}
