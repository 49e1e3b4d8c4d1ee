//! Many tasks in one computation against a loop over tasks.

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Gradients, Tensor};
use forgeling::data::Task;
use forgeling::meta::{Learner, Method, Model, TaskByTaskLoss, TaskLoss};
use forgeling::nn::{Normalization, Pass};
use forgeling::train::Objective;
use forgeling_tests::methods::{config, tasks, uneven};
use forgeling_tests::{assert_close, devices};

const TOLERANCE: f32 = 1e-4;

struct Collect<'a> {
    gradients: &'a Gradients,
    found: Vec<f32>,
}

impl ModuleVisitor for Collect<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = param.val().grad(self.gradients) {
            let data = gradient.into_data();
            self.found.extend(data.try_to_vec::<f32>().unwrap());
        }
    }
}

/// The loss, and the gradients of all parameters.
fn outcome<O: Objective<Model, Batch = Vec<Task>>>(
    learner: &Learner,
    objective: &O,
    tasks: &Vec<Task>,
) -> (Vec<f32>, Vec<f32>) {
    let device = learner.device().autodiff();
    let mut pass = Pass::new(Normalization::Batch, &device);
    let outcome = objective
        .forward(learner.model(), tasks, &mut pass)
        .unwrap();
    let loss = outcome.loss.clone().into_data().try_to_vec().unwrap();
    let mut collect = Collect {
        gradients: &outcome.loss.backward(),
        found: Vec::new(),
    };
    learner.model().visit(&mut collect);
    (loss, collect.found)
}

#[test]
fn stacked_tasks_are_a_loop_over_tasks() {
    for device in devices() {
        for method in Method::ALL.into_iter().filter(|method| method.adapts()) {
            let learner = Learner::new(&config(method), &device).unwrap();
            for (kind, tasks) in [("equal", tasks(5)), ("uneven", uneven(6))] {
                let tasks = tasks.unwrap();
                let together = outcome(&learner, &TaskLoss, &tasks);
                let one_by_one = outcome(&learner, &TaskByTaskLoss, &tasks);
                let what = format!("{method}, {kind} tasks on {}", device.info().name);
                assert_close(
                    &format!("{what}: loss"),
                    &together.0,
                    &one_by_one.0,
                    TOLERANCE,
                );
                assert!(together.1.iter().any(|value| value.abs() > 1e-6), "{what}");
                assert_close(
                    &format!("{what}: gradients"),
                    &together.1,
                    &one_by_one.1,
                    TOLERANCE,
                );
            }
        }
    }
}
