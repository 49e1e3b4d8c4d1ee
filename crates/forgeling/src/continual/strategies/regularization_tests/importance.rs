//! Fisher's information, and what is like it.

use burn::tensor::Tensor;

use super::{Host, assert_close, bits, changed, host, mlp, pairs, scenario_of, tracked, values};
use crate::continual::strategies::fisher::{diagonal, drawn};
use crate::continual::strategies::importance::{Look, Of};
use crate::continual::strategies::mas::sensitivity;
use crate::continual::{
    ContinualBatch, FisherKind, Head, HeadKind, InOrder, Kind, MasKind, Scenario, Setting,
    fisher_diagonal,
};
use crate::data::{Rng, Split};
use crate::nn::Network;
use crate::nn::graph::{Builder, Conv2d, Graph, Layer, Linear, Norm, Window};
use crate::train::Source;

const KINDS: [FisherKind; 5] = [
    FisherKind::Exact,
    FisherKind::ExactOf { examples: 9 },
    FisherKind::Sample,
    FisherKind::Empirical,
    FisherKind::Batched { batch_size: 5 },
];

fn look<'a>(network: &'a Network, head: &'a Head, scenario: &Scenario, of: Of) -> Look<'a> {
    Look::new(network, head, scenario, 1, of).unwrap()
}

fn fisher(network: &Network, head: &Head, scenario: &Scenario, kind: FisherKind) -> Host {
    host(&fisher_diagonal(network, head, scenario, 1, kind, 7).unwrap())
}

fn examples(scenario: &Scenario, context: usize) -> ContinualBatch {
    let mut all = InOrder::new(scenario, Split::Train, context, 1000).unwrap();
    pollster::block_on(all.next()).unwrap().unwrap()
}

/// Convolution, batch norm and a layer of neurons.
fn convolution(scenario: &Scenario) -> Graph {
    let mut graph = Builder::new(scenario.image_shape().into()).unwrap();
    let mut then = |name: &str, layer| graph.then(name, layer).map(drop).unwrap();
    then("conv", Layer::Conv2d(Conv2d::new(3, 3)));
    then("norm", Layer::BatchNorm(Norm::default()));
    then("relu", Layer::Relu);
    then("pool", Layer::MaxPool(Window::default()));
    then("flatten", Layer::Flatten);
    let outputs = scenario.outputs();
    then("head", Layer::Linear(Linear::new(outputs)));
    graph.finish().unwrap()
}

/// All activations there are, and one layer without bias.
fn activations(scenario: &Scenario) -> Graph {
    let mut graph = Builder::new(scenario.image_shape().into()).unwrap();
    let mut then = |name: &str, layer| graph.then(name, layer).map(drop).unwrap();
    then("flatten", Layer::Flatten);
    let bare = Linear {
        bias: false,
        ..Linear::new(11)
    };
    for (place, (linear, activation)) in [
        (Linear::new(9), Layer::Relu),
        (bare, Layer::Gelu),
        (Linear::new(7), Layer::Relu6),
    ]
    .into_iter()
    .enumerate()
    {
        then(&format!("linear.{place}"), Layer::Linear(linear));
        then(&format!("activation.{place}"), activation);
    }
    let outputs = scenario.outputs();
    then("head", Layer::Linear(Linear::new(outputs)));
    graph.finish().unwrap()
}

#[test]
fn the_exact_diagonal_of_logistic_regression_is_that_of_the_closed_form() {
    let scenario = pairs(Setting::Task, 3, 13);
    let network = Network::on(&mlp(&scenario, &[]), 2, &tracked());
    for kind in [HeadKind::All, HeadKind::PerTask] {
        let head = Head::new(kind, &scenario).unwrap();
        let active = head.active(Some(1));
        let found = fisher(&network, &head, &scenario, FisherKind::Exact);
        let weights = host(&super::ByParameter::trained(&network));
        let (weight, bias) = (&weights["layers.0.weight"], &weights["layers.0.bias"]);
        let outputs = scenario.outputs();
        let batch = examples(&scenario, 1);
        let pixels = batch.images.shape.len();
        let mut expected = [vec![0.0f64; pixels * outputs], vec![0.0f64; outputs]];
        for image in batch.images.images.chunks(pixels) {
            let logit = |output: usize| {
                let sum = image.iter().enumerate().map(|(pixel, value)| {
                    f64::from(*value) * f64::from(weight[pixel * outputs + output])
                });
                sum.sum::<f64>() + f64::from(bias[output])
            };
            let total: f64 = active.clone().map(|output| logit(output).exp()).sum();
            for output in active.clone() {
                let p = logit(output).exp() / total;
                let share = p * (1.0 - p) / batch.images.labels.len() as f64;
                expected[1][output] += share;
                for (pixel, value) in image.iter().enumerate() {
                    expected[0][pixel * outputs + output] += share * f64::from(value * value);
                }
            }
        }
        let [weight, bias] = expected.map(|all| all.into_iter().map(|one| one as f32).collect());
        let expected = Host::from([
            ("layers.0.bias".to_string(), bias),
            ("layers.0.weight".to_string(), weight),
        ]);
        assert_close(&found, &expected, 1e-5, "logistic regression");
    }
}

#[test]
fn whole_batches_give_what_single_examples_give() {
    let scenario = pairs(Setting::Task, 2, 8);
    for graph in [mlp(&scenario, &[12, 10]), activations(&scenario)] {
        let network = Network::on(&graph, 4, &tracked());
        // Some pre-activations beyond the upper bound of `relu6`.
        let network = changed(&network, |name, place, value| match name {
            "linear.2.bias" if place < 3 => value + 6.0,
            _ => value,
        });
        for kind in [HeadKind::PerTask, HeadKind::All] {
            let head = Head::new(kind, &scenario).unwrap();
            let look = look(&network, &head, &scenario, Of::Magnitudes);
            let numbers: Vec<usize> = (0..look.count()).collect();
            let mut slopes = |logits: Tensor<2>, _: &ContinualBatch| Ok(vec![logits * 2.0]);
            let each = host(&look.single_each(&numbers, &mut slopes).unwrap());
            let whole = host(&look.single(&numbers, &mut slopes).unwrap());
            assert_close(&whole, &each, 1e-4, "sensitivity");
            let own = sensitivity(&look, MasKind::Single, Rng::new(0)).unwrap();
            assert_eq!(host(&own), whole);

            let look = super::importance::look(&network, &head, &scenario, Of::Squares);
            // By hand, so that both go the two ways.
            let mut slopes = |logits: Tensor<2>, _: &ContinualBatch| {
                let more = logits.clone().square() - 0.5;
                Ok(vec![logits, more])
            };
            let each = host(&look.single_each(&numbers, &mut slopes).unwrap());
            let whole = host(&look.single(&numbers, &mut slopes).unwrap());
            assert_close(&whole, &each, 1e-4, "squares");
            assert!(whole.values().flatten().any(|value| *value > 1e-3));
        }
    }
}

#[test]
fn only_the_batched_kind_depends_on_a_batch_size() {
    let scenario = pairs(Setting::Class, 2, 11);
    let head = Head::new(HeadKind::All, &scenario).unwrap();
    for graph in [mlp(&scenario, &[12]), convolution(&scenario)] {
        let network = Network::on(&graph, 4, &tracked());
        let with = |kind, most| {
            let look = look(&network, &head, &scenario, Of::Squares).by(most);
            host(&diagonal(&look, kind, Rng::new(3)).unwrap())
        };
        for kind in KINDS {
            let whole = with(kind, 256);
            for most in [1, 7] {
                assert_close(&with(kind, most), &whole, 1e-5, &format!("{kind:?}"));
            }
        }
        let empirical = with(FisherKind::Empirical, 256);
        let batched = |batch_size| with(FisherKind::Batched { batch_size }, 256);
        assert_close(&batched(1), &empirical, 1e-5, "batches of one");
        let sum = |of: &Host| of.values().flatten().sum::<f32>();
        assert!(sum(&batched(11)) < 0.5 * sum(&empirical));
        let single = |most, kind| {
            let look = look(&network, &head, &scenario, Of::Magnitudes).by(most);
            host(&sensitivity(&look, kind, Rng::new(3)).unwrap())
        };
        let whole = single(256, MasKind::Single);
        assert_close(&single(3, MasKind::Single), &whole, 1e-5, "sensitivity");
        let one = MasKind::Batched { batch_size: 1 };
        assert_close(&single(256, one), &whole, 1e-5, "batches of one");
    }
}

#[test]
fn some_examples_are_drawn_by_a_seed_and_all_of_them_are_all() {
    let scenario = pairs(Setting::Task, 2, 10);
    let head = Head::new(HeadKind::PerTask, &scenario).unwrap();
    let network = Network::on(&mlp(&scenario, &[6]), 4, &tracked());
    let all = fisher(&network, &head, &scenario, FisherKind::Exact);
    let of = |examples| FisherKind::ExactOf { examples };
    let many = fisher(&network, &head, &scenario, of(20));
    assert_close(&many, &all, 1e-5, "as many as there are");
    assert_eq!(many, fisher(&network, &head, &scenario, of(1000)));
    let some = |seed| host(&fisher_diagonal(&network, &head, &scenario, 1, of(4), seed).unwrap());
    assert_eq!(some(1), some(1));
    assert_ne!(some(1), some(2));
    // The mean over many draws is that over all.
    let draws = 200;
    let mut mean = some(0);
    for seed in 1..draws {
        for (name, values) in some(seed) {
            let sums = mean.get_mut(&name).unwrap().iter_mut();
            sums.zip(values).for_each(|(sum, value)| *sum += value);
        }
    }
    let sums = mean.values_mut().flatten();
    sums.for_each(|sum| *sum /= draws as f32);
    assert_close(&mean, &all, 0.1, "the mean of draws");
}

#[test]
fn labels_are_drawn_with_their_probabilities() {
    let probabilities = [0.125f32, 0.0, 0.625, 0.25];
    let rows = 4096;
    let all = probabilities.repeat(rows);
    let data = burn::tensor::TensorData::new(all, [rows, 4]);
    let tensor = Tensor::<2>::from_data(data, &tracked().inner());
    let drawn = values(drawn(&tensor, &mut Rng::new(5)));
    let mut counts = [0.0f64; 4];
    for row in drawn.chunks(4) {
        let place = row.iter().position(|value| *value == 1.0).unwrap();
        assert_eq!(row.iter().sum::<f32>(), 1.0);
        counts[place] += 1.0;
    }
    assert_eq!(counts[1], 0.0);
    let chi_square = counts.iter().zip(probabilities).map(|(count, p)| {
        let expected = f64::from(p) * rows as f64;
        if expected == 0.0 {
            return 0.0;
        }
        (count - expected).powi(2) / expected
    });
    // Two degrees of freedom: beyond this in one of a thousand cases.
    assert!(chi_square.sum::<f64>() < 13.8, "{counts:?}");

    // So that the mean of what they come to is the expectation over all labels.
    let scenario = pairs(Setting::Class, 2, 4);
    let head = Head::new(HeadKind::All, &scenario).unwrap();
    let network = Network::on(&mlp(&scenario, &[]), 4, &tracked());
    let exact = fisher(&network, &head, &scenario, FisherKind::Exact);
    let mut mean: Host = exact.clone();
    mean.values_mut().flatten().for_each(|value| *value = 0.0);
    let draws = 400;
    for seed in 0..draws {
        let one = fisher_diagonal(&network, &head, &scenario, 1, FisherKind::Sample, seed);
        for (name, values) in host(&one.unwrap()) {
            let sums = mean.get_mut(&name).unwrap().iter_mut();
            sums.zip(values)
                .for_each(|(sum, value)| *sum += value / draws as f32);
        }
    }
    assert_close(&mean, &exact, 0.1, "the mean of samples");
}

#[test]
fn a_look_changes_nothing_of_the_network() {
    let scenario = pairs(Setting::Class, 2, 5);
    let head = Head::new(HeadKind::All, &scenario).unwrap();
    let network = Network::on(&convolution(&scenario), 4, &tracked());
    let network = changed(&network, |name, place, value| match name {
        "norm.running_mean" => 0.1 * place as f32,
        "norm.running_var" => 1.0 + 0.5 * place as f32,
        _ => value,
    });
    let before = bits(&network);
    for kind in KINDS {
        let found = fisher(&network, &head, &scenario, kind);
        assert!(!found.contains_key("norm.running_mean"));
        assert!(found["norm.gamma"].iter().all(|value| *value > 0.0));
        assert!(found["conv.weight"].iter().any(|value| *value > 0.0));
    }
    let look = look(&network, &head, &scenario, Of::Magnitudes);
    sensitivity(&look, MasKind::Single, Rng::new(0)).unwrap();
    assert_eq!(bits(&network), before);
}

#[test]
fn what_does_not_fit_is_an_error() {
    let scenario = pairs(Setting::Task, 2, 4);
    let head = Head::new(HeadKind::PerTask, &scenario).unwrap();
    let network = Network::on(&mlp(&scenario, &[6]), 4, &tracked());
    let refused = |network: &Network, scenario: &Scenario, context, kind, words: &str| {
        let error = fisher_diagonal(network, &head, scenario, context, kind, 0).unwrap_err();
        assert!(error.is_bad_input(), "{error}");
        assert!(error.to_string().contains(words), "{error}");
    };
    let exact = FisherKind::Exact;
    refused(&network, &scenario, 2, exact, "no such context");
    let none = FisherKind::Batched { batch_size: 0 };
    refused(&network, &scenario, 1, none, "of no example");
    let plain = Network::on(network.graph(), 4, &tracked().inner());
    refused(&plain, &scenario, 1, exact, "no trained parameter");
    let padded = Kind::Permuted {
        contexts: 2,
        padding: 1,
        seed: 1,
    };
    let other = scenario_of(Setting::Domain, padded, 4, 4);
    refused(&network, &other, 1, exact, "do not fit");
    let few = Network::on(&network.graph().with_outputs(3).unwrap(), 4, &tracked());
    refused(&few, &scenario, 1, exact, "outputs");
    let domain = pairs(Setting::Domain, 2, 4);
    refused(&network, &domain, 1, FisherKind::Empirical, "label");
}
