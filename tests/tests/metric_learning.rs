//! Every metric learner learns to tell characters apart that it has not seen.

use std::time::Instant;

use burn::tensor::Device as Tensors;
use forgeling::data::{Glyphs, Split, Task};
use forgeling::meta::{
    Centroids, Distance, FewShot, Matching, MetricHead, MetricLearner, Prototypes, Relation, Ridge,
    SimpleShot,
};
use forgeling::nn::{Conv4, Conv4Config, Normalization};
use forgeling_tests::few_shot::{accuracy, tasks, train};

const STEPS: usize = 80;

fn device() -> Tensors {
    Tensors::flex().autodiff()
}

/// With this many blocks, 16 filters each.
fn encoder(blocks: usize) -> Conv4 {
    let config = Conv4Config {
        filters: 16,
        blocks,
        seed: 1,
        ..Default::default()
    };
    Conv4::new(&config, &device()).unwrap()
}

fn unseen() -> Vec<Task> {
    tasks(
        &Glyphs::new(0, Split::Test, 300).unwrap(),
        [5, 1, 5],
        100,
        7,
    )
}

fn learn<H: MetricHead>(name: &str, blocks: usize, rate: f64, head: H) -> (f64, f64) {
    let glyphs = Glyphs::new(0, Split::Train, 300).unwrap();
    let batches: Vec<Vec<Task>> = tasks(&glyphs, [5, 1, 10], 2 * STEPS, 3)
        .chunks(2)
        .map(<[Task]>::to_vec)
        .collect();
    let mut model = MetricLearner {
        encoder: encoder(blocks),
        head,
    };
    learn_on(name, &mut model, rate, &batches)
}

fn learn_on<M: FewShot>(name: &str, model: &mut M, rate: f64, batches: &[Vec<Task>]) -> (f64, f64) {
    let unseen = unseen();
    let ask = |model: &M| pollster::block_on(accuracy(model, &unseen, Normalization::Batch));
    let before = ask(model);
    let begun = Instant::now();
    let losses = pollster::block_on(train(model, rate, batches));
    let milliseconds = begun.elapsed().as_secs_f64() * 1e3 / batches.len() as f64;
    let after = ask(model);
    let running = pollster::block_on(accuracy(model, &unseen, Normalization::Running));
    eprintln!(
        "{name}: {before:.3} -> {after:.3} (running {running:.3}), {milliseconds:.1} ms a step, losses {:.3} {:.3}",
        losses[0],
        losses[losses.len() - 5..].iter().sum::<f64>() / 5.0
    );
    (before, after)
}

#[test]
fn all() {
    let d = device();
    for blocks in [4, 3] {
        for rate in [1e-3, 5e-3] {
            eprintln!("{blocks} blocks, {rate}");
            learn(
                "euclid",
                blocks,
                rate,
                Prototypes::new(Distance::Euclidean, &d),
            );
            learn(
                "cosine",
                blocks,
                rate,
                Prototypes::new(Distance::Cosine, &d),
            );
            learn(
                "mahalanobis",
                blocks,
                rate,
                Prototypes::new(Distance::Mahalanobis, &d),
            );
            learn(
                "matching 1",
                blocks,
                rate,
                Matching::with_scale(1.0, &d).unwrap(),
            );
            learn(
                "matching 10",
                blocks,
                rate,
                Matching::with_scale(10.0, &d).unwrap(),
            );
            learn("matching", blocks, rate, Matching::new(&d));
            learn("ridge", blocks, rate, Ridge::new(&d));
            let side = 28 >> blocks;
            learn(
                "relation",
                blocks,
                rate,
                Relation::new([16, side, side], 16, 5, &d).unwrap(),
            );
        }
    }
}
