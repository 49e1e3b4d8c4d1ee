//! Of what optimizers keep, what belongs to the channels that stay goes on: fasterai #93.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use forgeling::Device;
use forgeling::compress::{HeadPruning, PruningPlan};
use forgeling::nn::graph::Graph;
use forgeling::nn::{Network, Values};
use forgeling::train::weights::{NamedTensor, collect};
use forgeling::train::{AdamConfig, AnyOptimizer, OptimizerConfig, OptimizerRecord, SgdConfig};
use forgeling_tests::{assert_close, devices};
use pollster::block_on;

use crate::common::{narrow, some_channels};

/// A gradient for every value that is trained: its own value, so that what stays moves the same, whatever else there is.
#[derive(Default)]
struct Gradients(GradientsParams);

impl ModuleVisitor for Gradients {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if param.is_require_grad() {
            self.0.register(param.id, param.val().inner() + 0.01);
        }
    }
}

fn steps(mut network: Network, optimizer: &mut AnyOptimizer, count: usize) -> Network {
    for _ in 0..count {
        let mut gradients = Gradients::default();
        network.visit(&mut gradients);
        network = optimizer.step(0.01, network, gradients.0);
    }
    network
}

/// Values and moments by their names, and the steps of each.
fn all(network: &Network, optimizer: &AnyOptimizer) -> (Vec<NamedTensor>, OptimizerRecord) {
    let mut found = block_on(collect(network)).unwrap();
    let record = block_on(optimizer.state(network)).unwrap();
    found.extend(record.moments.clone());
    found.sort_by(|a, b| a.name.cmp(&b.name));
    (found, record)
}

#[test]
fn moments_and_steps_of_what_stays_go_on() {
    let momentum = SgdConfig {
        momentum: 0.9,
        ..Default::default()
    };
    for device in devices() {
        for config in [
            OptimizerConfig::Adam(AdamConfig::default()),
            OptimizerConfig::Sgd(momentum),
        ] {
            for (model, heads) in [
                ("resnet20", HeadPruning::Dimensions),
                ("vit", HeadPruning::Dimensions),
                ("vit", HeadPruning::Heads),
            ] {
                let graph = narrow(model);
                let removed = some_channels(&graph, heads, 5, |_, _| true);
                let plan = PruningPlan::by_hand(&graph, heads, &removed).unwrap();
                let optimizer = AnyOptimizer::new(config).unwrap();
                let start = Network::new(&graph, 2, &device);

                // Three steps, then pruned, then two more; and five steps, then pruned.
                let mut first = optimizer.clone();
                let network = steps(start.clone(), &mut first, 3);
                let pruned = plan.apply_training(&network, &mut first).unwrap();
                let pruned = steps(pruned, &mut first, 2);
                let mut last = optimizer;
                let network = steps(start, &mut last, 5);
                let expected = plan.apply_training(&network, &mut last).unwrap();

                let (found, record) = all(&pruned, &first);
                let (wanted, whole) = all(&expected, &last);
                assert_eq!(record.summary, whole.summary, "{model}");
                assert!(record.summary.parameters.values().all(|&steps| steps == 5));
                assert_eq!(found.len(), wanted.len());
                for (found, wanted) in found.iter().zip(&wanted) {
                    assert_eq!((&found.name, &found.shape), (&wanted.name, &wanted.shape));
                    assert_close(&found.name, &found.values, &wanted.values, 1e-5);
                }
                let kinds = record.moments.len() / record.summary.parameters.len();
                assert_eq!(
                    kinds,
                    if matches!(config, OptimizerConfig::Adam(_)) {
                        2
                    } else {
                        1
                    }
                );
                // Moments that began anew would be other ones.
                let mut anew = AnyOptimizer::new(config).unwrap();
                let restarted = plan.apply(&steps_of(&graph, &device, config, 3)).unwrap();
                let restarted = steps(restarted, &mut anew, 2);
                let (other, _) = all(&restarted, &anew);
                let differ = |(a, b): (&NamedTensor, &NamedTensor)| {
                    let apart = a.values.iter().zip(&b.values).map(|(a, b)| (a - b).abs());
                    apart.fold(0.0, f32::max) > 1e-3
                };
                assert!(other.iter().zip(&wanted).any(differ), "{model}");
            }
        }
    }
}

fn steps_of(graph: &Graph, device: &Device, config: OptimizerConfig, count: usize) -> Network {
    let mut optimizer = AnyOptimizer::new(config).unwrap();
    steps(Network::new(graph, 2, device), &mut optimizer, count)
}

#[test]
fn parameters_shrink_to_values_that_they_have() {
    let device = &devices()[0];
    let graph = narrow("mlp");
    let mut optimizer = AnyOptimizer::new(OptimizerConfig::default()).unwrap();
    let network = steps(Network::new(&graph, 2, device), &mut optimizer, 2);
    let place = graph
        .nodes()
        .iter()
        .position(|node| node.layer.kind() == "linear")
        .unwrap();
    let Some(Values::Linear(values)) = network.values(place) else {
        panic!("no neurons");
    };
    let [inputs, outputs] = values.weight.val().dims();
    let id = values.weight.id;
    let before = block_on(optimizer.state(&network)).unwrap();
    let range = |count: usize| (0..count).collect::<Vec<_>>();
    for kept in [
        vec![range(inputs)],
        vec![range(inputs), vec![]],
        vec![range(inputs), vec![1, 1]],
        vec![range(inputs), vec![2, 1]],
        vec![range(inputs), vec![outputs]],
        vec![range(inputs), range(outputs), range(1)],
    ] {
        let error = optimizer.shrink(id, &kept).unwrap_err();
        assert!(error.is_bad_input(), "{error}");
    }
    assert_eq!(block_on(optimizer.state(&network)).unwrap(), before);
    // Of a parameter that never moved there is nothing to keep.
    let other = Network::new(&graph, 3, device);
    let Some(Values::Linear(values)) = other.values(place) else {
        panic!("no neurons");
    };
    optimizer
        .shrink(values.weight.id, &[range(1), range(1)])
        .unwrap();
    assert_eq!(block_on(optimizer.state(&network)).unwrap(), before);
}
