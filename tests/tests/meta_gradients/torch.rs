//! Losses and meta-gradients against those of PyTorch.

use burn::module::Param;
use burn::tensor::{DType, Tensor, TensorData};
use forgeling::meta::Stack;
use forgeling::meta::functional::Program;
use forgeling::meta::gradient::{
    AdaptedPart, GradientLearner, GradientMethod, InnerConfig, Maml, MamlConfig, MetaSgd, Order,
    Reptile, ReptileConfig,
};
use forgeling::nn::Network;
use serde_json::Value;

use super::common::{
    conv, device, difference, golden, gradients, loss, mlp, names, numbers, ours, tasks, values,
};

/// burn rounds the factors of tensors, such as the inner rate, to f32.
const TOLERANCE: f64 = 1e-6;

fn inner(golden: &Value) -> InnerConfig {
    InnerConfig {
        steps: golden["inner_steps"].as_u64().unwrap() as usize,
        test_steps: None,
        rate: golden["inner_rate"].as_f64().unwrap(),
    }
}

fn compare<G: GradientMethod>(
    learner: &GradientLearner<G>,
    golden: &Value,
    expected: &Value,
    what: &str,
) {
    let tasks = tasks(golden);
    let value = values(loss(learner, &tasks, 0))[0];
    let right = expected["loss"].as_f64().unwrap();
    assert!(
        (value - right).abs() < TOLERANCE,
        "{what}: {value} instead of {right}"
    );
    let got = gradients(learner, &tasks);
    for (name, got) in names(golden).iter().zip(&got) {
        let apart = difference(got, &ours(name, &expected["gradients"][name]));
        assert!(apart < TOLERANCE, "{what}, {name}: {apart:e} apart");
    }
}

/// All of a net's methods that are MAML's or its relatives'.
fn follows_torch(net: &str, network: impl Fn(&Value) -> Network) {
    let golden = golden(net);
    assert!(golden["normalized_by"]["queries"].is_object());
    for (normalization, transductive) in [("queries", true), ("support", false)] {
        let expected = &golden["normalized_by"][normalization];
        if expected.is_null() {
            continue;
        }
        let methods = [
            ("maml", Order::Second, AdaptedPart::All),
            ("fomaml", Order::First, AdaptedPart::All),
            ("anil", Order::Second, AdaptedPart::Head),
        ];
        for (name, order, part) in methods {
            let config = MamlConfig {
                inner: inner(&golden),
                order,
                part,
            };
            let method = Maml::new(config).unwrap();
            let learner = GradientLearner::new(network(&golden), method, transductive);
            compare(
                &learner,
                &golden,
                &expected[name],
                &format!("{net} {name} {normalization}"),
            );
        }
        let method = meta_sgd(&golden, &network(&golden));
        let learner = GradientLearner::new(network(&golden), method, transductive);
        let what = format!("{net} meta_sgd {normalization}");
        compare(&learner, &golden, &expected["meta_sgd"], &what);
        let found = loss(&learner, &tasks(&golden), 0).backward();
        for (name, rates) in names(&golden).iter().zip(&learner.method.rates) {
            let right = &expected["meta_sgd"]["gradients"][format!("rates.{name}")];
            let got = values(rates.val().grad(&found).unwrap());
            let apart = difference(&got, &ours(name, right));
            assert!(
                apart < TOLERANCE,
                "{what}, rates of {name}: {apart:e} apart"
            );
        }
    }
}

fn meta_sgd(golden: &Value, network: &Network) -> MetaSgd {
    let program = Program::new(network.graph()).unwrap();
    let mut method = MetaSgd::new(inner(golden), &program, &device()).unwrap();
    for (name, rate) in names(golden).iter().zip(&mut method.rates) {
        let values = ours(name, &golden["rates"][name]);
        let data = TensorData::new(values.clone(), [values.len()]);
        *rate = Param::from_tensor(Tensor::from_data(data, (&device(), DType::F64)));
    }
    method
}

#[test]
fn a_perceptron_that_predicts_numbers_follows_torch() {
    follows_torch("mlp_mse", mlp);
}

#[test]
fn a_perceptron_that_tells_classes_apart_follows_torch() {
    follows_torch("mlp_cross_entropy", mlp);
}

#[test]
fn two_convolutional_blocks_follow_torch() {
    follows_torch("conv", conv);
}

/// FOMAML's gradient is another one: a test that could not tell them apart would prove nothing.
#[test]
fn first_order_differs_from_second() {
    for net in ["mlp_mse", "mlp_cross_entropy", "conv"] {
        let golden = golden(net);
        let of = |method: &str| {
            let all = &golden["normalized_by"]["queries"][method]["gradients"];
            let names = names(&golden);
            names
                .iter()
                .flat_map(|name| numbers(&all[name]))
                .collect::<Vec<f64>>()
        };
        assert!(difference(&of("fomaml"), &of("maml")) > 0.02, "{net}");
    }
}

#[test]
fn adapted_parameters_follow_torch() {
    let golden = golden("conv");
    let config = ReptileConfig {
        inner: inner(&golden),
    };
    let method = Reptile::new(config).unwrap();
    let learner = GradientLearner::new(conv(&golden), method, true);
    let tasks = tasks(&golden);
    let adapted = learner.adapt(&Stack::of(&tasks)[0]).unwrap();
    let expected = &golden["normalized_by"]["queries"]["reptile"]["adapted"];
    for (task, expected) in expected.as_array().unwrap().iter().enumerate() {
        for (name, tensor) in names(&golden).iter().zip(adapted.weights.tensors()) {
            let got = values(tensor.clone().narrow(0, task, 1));
            let apart = difference(&got, &ours(name, &expected[name]));
            assert!(apart < TOLERANCE, "task {task}, {name}: {apart:e} apart");
        }
    }
}
