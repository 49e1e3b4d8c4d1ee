//! Old answers, by hand.

use super::{bits, changed, mlp, pairs, term, tracked};
use crate::continual::testing::{pass, step, values};
use crate::continual::{
    ContinualBatch, Distilled, Head, HeadKind, InOrder, Lwf, LwfConfig, Scenario, Setting,
};
use crate::data::Split;
use crate::nn::graph::{Builder, Conv2d, Layer, Linear, Norm};
use crate::nn::{Network, absorb};
use crate::train::Source;
use crate::train::parts::{LossTerm, Part};

fn examples(scenario: &Scenario, context: usize) -> ContinualBatch {
    let mut all = InOrder::new(scenario, Split::Train, context, 5).unwrap();
    pollster::block_on(all.next()).unwrap().unwrap()
}

/// `softmax(logits / T)` of these outputs.
fn cooled(row: &[f32], outputs: std::ops::Range<usize>, temperature: f64) -> Vec<f64> {
    let powers: Vec<f64> = row[outputs]
        .iter()
        .map(|logit| (f64::from(*logit) / temperature).exp())
        .collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}

#[test]
fn the_loss_is_that_of_the_formula_in_all_settings() {
    let per_context = Distilled::PerContext;
    // Setting, head, outputs of the old network with those of the new one and their weight.
    let cases = [
        (
            Setting::Task,
            HeadKind::PerTask,
            per_context,
            vec![(0..2, 0..2, 1.0), (2..4, 2..4, 1.0)],
        ),
        (
            Setting::Task,
            HeadKind::PerTask,
            Distilled::Known,
            vec![(0..4, 0..4, 1.0)],
        ),
        (
            Setting::Domain,
            HeadKind::All,
            per_context,
            vec![(0..2, 0..2, 2.0)],
        ),
        (
            Setting::Domain,
            HeadKind::All,
            Distilled::Known,
            vec![(0..2, 0..2, 1.0)],
        ),
        (
            Setting::Class,
            HeadKind::All,
            per_context,
            vec![(0..6, 0..6, 1.0)],
        ),
        (
            Setting::Class,
            HeadKind::Growing,
            per_context,
            vec![(0..4, 0..6, 1.0)],
        ),
        (
            Setting::Class,
            HeadKind::Growing,
            Distilled::Known,
            vec![(0..4, 0..4, 1.0)],
        ),
    ];
    for (setting, kind, distilled, compared) in cases {
        let scenario = pairs(setting, 3, 4);
        let head = Head::new(kind, &scenario).unwrap();
        let config = LwfConfig {
            alpha: 0.75,
            temperature: 3.0,
            distilled,
        };
        let mut lwf = Lwf::new(config, scenario.clone(), head.clone()).unwrap();
        let old = Network::on(&mlp(&scenario, &[7]), 1, &tracked());
        let new = Network::on(old.graph(), 2, &tracked());
        let batch = examples(&scenario, 2);
        assert_eq!(term(&lwf, 0, &old, &batch).unwrap().0, 0.0);
        let mut progress = head.progress();
        for (context, network) in [&new, &old].into_iter().enumerate() {
            progress.begin_task(context, network).unwrap();
            lwf.end_task(context, network).unwrap();
        }
        progress.begin_task(2, &new).unwrap();
        let (found, slopes) = term(&lwf, 2, &new, &batch).unwrap();
        assert!(!slopes.is_empty());
        let logits = |network: &Network| {
            let mut pass = pass();
            let found = head.logits(network, &batch, &mut pass).unwrap();
            values(found)
        };
        let (then, now, width) = (logits(&old), logits(&new), scenario.outputs());
        let mut expected = 0.0;
        for (then, now) in then.chunks(width).zip(now.chunks(width)) {
            for (old, new, weight) in &compared {
                let target = cooled(then, old.clone(), 3.0);
                let answer = cooled(now, new.clone(), 3.0);
                for (p, q) in target.iter().zip(&answer) {
                    expected -= 0.75 * weight * p * q.ln() / batch.images.labels.len() as f64;
                }
            }
        }
        let apart = (f64::from(found) / expected - 1.0).abs();
        assert!(
            apart < 1e-5,
            "{setting:?} {kind:?} {distilled:?}: {found} {expected}"
        );
    }
}

#[test]
fn what_norms_find_again_does_not_count() {
    let scenario = pairs(Setting::Class, 2, 4);
    let head = Head::new(HeadKind::All, &scenario).unwrap();
    let mut graph = Builder::new(scenario.image_shape().into()).unwrap();
    let mut then = |name: &str, layer| graph.then(name, layer).map(drop).unwrap();
    then("conv", Layer::Conv2d(Conv2d::new(3, 3)));
    then("norm", Layer::BatchNorm(Norm::default()));
    then("flatten", Layer::Flatten);
    then("head", Layer::Linear(Linear::new(scenario.outputs())));
    let model = Network::on(&graph.finish().unwrap(), 3, &tracked());
    let mut lwf = Lwf::new(LwfConfig::default(), scenario.clone(), head.clone()).unwrap();
    let old = changed(&model, |name, _, value| match name {
        "norm.running_mean" => 0.3,
        _ => value,
    });
    lwf.end_task(0, &old).unwrap();
    let batch = examples(&scenario, 1);
    let found = |with: bool| {
        let mut pass = pass();
        head.logits(&model, &batch, &mut pass).unwrap();
        if with {
            lwf.loss(&step(1, Some(1), None), &model, &batch, &mut pass)
                .unwrap();
        }
        let statistics = pass.take_statistics();
        assert_eq!(statistics.len(), 1);
        bits(&absorb(model.clone(), statistics).unwrap())
    };
    assert_eq!(found(true), found(false));
    // Those of the old network are its own, and stay.
    let kept = super::host(&super::ByParameter::all(&old));
    assert_eq!(kept["norm.running_mean"], [0.3; 3]);
    assert_eq!(
        lwf.bytes(),
        4 * kept.values().map(Vec::len).sum::<usize>() as u64
    );
}
