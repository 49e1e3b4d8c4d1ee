//! What channels are compared by, on networks small enough to say which one goes.

use burn::optim::GradientsParams;
use burn::tensor::{Tensor, TensorData};
use forgeling::compress::{Criterion, PruningPlan, PruningTarget, Ranking, loss_gradients};
use forgeling::data::{ImageBatch, ImageShape};
use forgeling::nn::Network;
use forgeling::nn::graph::Graph;
use forgeling::train::CrossEntropy;
use forgeling_tests::networks::{neurons, with_change};
use forgeling_tests::waves;

use crate::common::{config, cpu, graph, narrow};

/// Four neurons of two inputs each, and three outputs.
fn small() -> Graph {
    graph(
        r#"{ "linear": { "outputs": 4, "bias": false }, "name": "hidden" },
           { "linear": { "outputs": 3 }, "name": "head" }"#,
        &[2],
    )
}

fn with_weights(hidden: [[f32; 4]; 2], head: [[f32; 3]; 4]) -> Network {
    let device = cpu();
    let network = Network::new(&small(), 0, &device);
    let flat = |values: Vec<f32>| {
        let data = TensorData::new(values.clone(), [values.len()]);
        move |old: Tensor<1>| Tensor::from_data(data, &old.device())
    };
    let network = with_change(network, "hidden.weight", flat(hidden.concat()));
    with_change(network, "head.weight", flat(head.concat()))
}

/// Which neurons go first, by one channel more each time.
fn order(
    network: &Network,
    criterion: Criterion,
    gradients: Option<&GradientsParams>,
) -> Vec<usize> {
    let mut order = Vec::new();
    for removed in 1..=3 {
        let config = config(|config| {
            config.target = PruningTarget::Channels(f64::from(removed) / 4.0);
            config.criterion = criterion;
        });
        let plan = PruningPlan::of(network, &config, gradients);
        let plan = pollster::block_on(plan).unwrap();
        let gone = &plan.groups[0].removed;
        assert_eq!((plan.groups.len(), gone.len()), (1, removed as usize));
        order.extend(
            gone.iter()
                .copied()
                .filter(|one| !order.contains(one))
                .collect::<Vec<_>>(),
        );
    }
    order
}

#[test]
fn sizes_of_all_that_makes_and_takes_a_channel() {
    let head = [
        [0.1, 0.1, 0.1],
        [0.2, 0.0, 0.0],
        [0.0, 0.0, 0.0],
        [1.0, 1.0, 1.0],
    ];
    // L1 of the neurons' own weights 4, 3, 3.6, 1; with the head's 4.3, 3.2, 3.6, 4.
    let network = with_weights([[2.0, 3.0, 1.8, 0.5], [2.0, 0.0, 1.8, 0.5]], head);
    assert_eq!(order(&network, Criterion::L1, None), [1, 2, 3]);
    // L2: 8.03, 9.04, 6.48, 3.5.
    assert_eq!(order(&network, Criterion::L2, None), [3, 2, 0]);
}

#[test]
fn what_the_loss_would_lose() {
    let network = with_weights(
        [[2.0, 3.0, 1.8, 0.5], [2.0, 0.0, 1.8, 0.5]],
        [[1.0; 3], [1.0; 3], [1.0; 3], [1.0; 3]],
    );
    // |w g| of the neurons: 2 + 2, 3, 18 + 18, 50 + 50; of what takes them, 6, 30, 3 and 3.
    let device = cpu();
    let mut gradients = GradientsParams::new();
    let hidden = vec![1.0f32, -1.0, 10.0, 100.0, -1.0, 7.0, -10.0, 100.0];
    let head: Vec<f32> = [2.0f32, 10.0, 1.0, 1.0]
        .iter()
        .flat_map(|g| [*g, -g, *g])
        .collect();
    let tensor = |values: Vec<f32>, shape| {
        Tensor::<2>::from_data(TensorData::new(values, shape), device.tensors())
    };
    gradients.register(
        neurons(&network, "hidden").weight.id,
        tensor(hidden, [2, 4]),
    );
    gradients.register(neurons(&network, "head").weight.id, tensor(head, [4, 3]));
    assert_eq!(
        order(&network, Criterion::Taylor, Some(&gradients)),
        [0, 1, 2]
    );
    let config = config(|config| config.criterion = Criterion::Taylor);
    let without = pollster::block_on(PruningPlan::of(&network, &config, None));
    assert!(without.unwrap_err().to_string().contains("gradients"));
}

/// The gradients are those of the loss: a neuron that no output hears has none.
#[test]
fn gradients_come_of_batches() {
    let network = with_weights(
        [[2.0, 3.0, 1.8, 0.5], [2.0, 0.1, 1.8, 0.5]],
        [
            [0.5, -0.5, 0.2],
            [0.2, 0.4, 0.1],
            [0.0; 3],
            [1.0, 0.3, -0.4],
        ],
    );
    let batch = |labels: [usize; 2], phase| ImageBatch {
        shape: ImageShape::new(1, 1, 2),
        images: waves(4, phase),
        labels: labels.to_vec(),
    };
    let batches = [batch([0, 1], 1.0), batch([2, 0], 2.0)];
    let both = loss_gradients(&network, &CrossEntropy, &batches, &cpu()).unwrap();
    let id = neurons(&network, "hidden").weight.id;
    let read = |gradients: &GradientsParams| -> Vec<f32> {
        let gradient = gradients.get::<2>(id).unwrap();
        gradient.into_data().try_into_vec().unwrap()
    };
    let each = batches
        .map(|batch| read(&loss_gradients(&network, &CrossEntropy, &[batch], &cpu()).unwrap()));
    let sum: Vec<f32> = each[0].iter().zip(&each[1]).map(|(a, b)| a + b).collect();
    forgeling_tests::assert_close("sum", &read(&both), &sum, 1e-6);
    assert!(sum[2] == 0.0 && sum[0] != 0.0);
    let order = order(&network, Criterion::Taylor, Some(&both));
    assert_eq!(order[0], 2);
    assert!(loss_gradients(&network, &CrossEntropy, &[], &cpu()).is_err());
}

#[test]
fn what_the_others_can_stand_for() {
    // Along the diagonal of the plane, three close together and one far off, whose weights are the smallest.
    let network = with_weights(
        [[3.0, 3.1, 3.3, 0.1], [3.0, 3.1, 3.3, 0.1]],
        [[1.0; 3], [1.0; 3], [1.0; 3], [9.0; 3]],
    );
    // Distances of 3.3, 3.3, 3.7 and 9.1 in all, times the root of two.
    let found = order(&network, Criterion::GeometricMedian, None);
    assert_eq!(found[2], 2);
    assert!(!found.contains(&3));
}

#[test]
fn scales_of_norms_alone() {
    let layers = r#"{ "linear": { "outputs": 4, "bias": false }, "name": "a" }, { "batchNorm": {}, "name": "norm" },
        { "relu": {}, "name": "relu" }, { "linear": { "outputs": 4 }, "name": "b" }, { "relu": {}, "name": "relu2" },
        { "linear": { "outputs": 2 }, "name": "head" }"#;
    let device = cpu();
    let network = Network::new(&graph(layers, &[3]), 0, &device);
    let network = with_change(network, "norm.gamma", |old| {
        Tensor::from_data([0.5f32, -2.0, 0.1, -0.2], &old.device())
    });
    let config = config(|config| config.criterion = Criterion::NormScale);
    let plan = pollster::block_on(PruningPlan::of(&network, &config, None)).unwrap();
    // Neurons without a norm stay.
    assert_eq!(plan.groups.len(), 1);
    assert_eq!(
        (&plan.groups[0].layer[..], &plan.groups[0].removed[..]),
        ("a", &[2, 3][..])
    );
    let bare = Network::new(&small(), 0, &device);
    let error = pollster::block_on(PruningPlan::of(&bare, &config, None)).unwrap_err();
    assert!(error.to_string().contains("no channel"), "{error}");
}

#[test]
fn lots_are_drawn_from_a_seed() {
    let network = Network::on(&narrow("conv4"), 0, cpu().tensors());
    let plan = |seed| {
        let config = config(|config| {
            config.criterion = Criterion::Random { seed };
            config.ranking = Some(Ranking::Global);
        });
        pollster::block_on(PruningPlan::of(&network, &config, None)).unwrap()
    };
    assert_eq!(plan(1), plan(1));
    assert_ne!(plan(1).groups, plan(2).groups);
}
