use burn::module::Module;

use super::*;
use crate::continual::testing::{batch, cross_entropy, network, pass, scenario, test_pass, values};
use crate::continual::{HeadKind, Setting};
use crate::train::Batch;

fn head(setting: Setting) -> Head {
    Head::new(HeadKind::All, &scenario(setting, &[2, 3])).unwrap()
}

/// The raw outputs of each example.
fn raw(head: &Head, model: &Network, batch: &ContinualBatch) -> Vec<Vec<f32>> {
    let frozen = model.valid();
    let logits = head.logits(&frozen, batch, &mut test_pass()).unwrap();
    let width = logits.dims()[1];
    values(logits)
        .chunks_exact(width)
        .map(<[f32]>::to_vec)
        .collect()
}

fn trained(loss: &ContinualLoss, model: &Network, batch: &ContinualBatch, step: usize) -> f64 {
    let mut pass = pass().after_steps(step);
    let outcome = loss.forward(model, batch, &mut pass).unwrap();
    f64::from(values(outcome.loss)[0])
}

#[test]
fn the_loss_is_the_mean_cross_entropy_with_its_weight_in_training() {
    let (model, head) = (network(5, 0), head(Setting::Class));
    let batch = batch(&[0, 4, 2], &[0, 1, 1], 1);
    let rows = raw(&head, &model, &batch);
    let each = rows.iter().zip(&batch.images.labels);
    let wanted: f64 = each
        .map(|(row, label)| cross_entropy(row, *label, |_| true))
        .sum::<f64>()
        / 3.0;
    let mut loss = ContinualLoss::new(head);
    assert!((trained(&loss, &model, &batch, 0) - wanted).abs() < 1e-6);
    loss.weight = NewWeight::ByContext;
    assert!((trained(&loss, &model, &batch, 0) - wanted / 2.0).abs() < 1e-6);
    let first = batch.part(0..1);
    let alone = cross_entropy(&rows[0], 0, |_| true);
    assert!((trained(&loss, &model, &first, 0) - alone).abs() < 1e-6);
    let mut hidden = batch.clone();
    hidden.contexts.clear();
    assert!((trained(&loss, &model, &hidden, 0) - wanted).abs() < 1e-6);
    loss.weight = NewWeight::Zero;
    assert_eq!(trained(&loss, &model, &batch, 0), 0.0);
    // In a test it counts as it is.
    for weight in [NewWeight::One, NewWeight::ByContext, NewWeight::Zero] {
        loss.weight = weight;
        let frozen = model.valid();
        let tested = loss.forward(&frozen, &batch, &mut test_pass()).unwrap();
        assert!((f64::from(values(tested.loss)[0]) - wanted).abs() < 1e-6);
        assert_eq!(values(tested.predictions.unwrap().logits), rows.concat());
    }
}

#[test]
fn without_a_term_a_loss_of_nothing_is_an_error() {
    let (model, head) = (network(5, 0), head(Setting::Class));
    let loss = ContinualLoss {
        weight: NewWeight::Zero,
        ..ContinualLoss::new(head)
    };
    let mut pass = pass();
    let outcome = loss
        .forward(&model, &batch(&[1], &[0], 0), &mut pass)
        .unwrap();
    assert!(outcome.predictions.is_some());
    let error = pass.backward(outcome.loss, &model).map(drop).unwrap_err();
    assert!(error.is_bad_input(), "{error}");
}

#[test]
fn new_examples_count_for_their_classes_and_for_those_that_never_came() {
    let (model, head) = (network(5, 3), head(Setting::Class));
    let loss = ContinualLoss {
        mask: NewMask::CurrentClasses,
        ..ContinualLoss::new(head.clone())
    };
    let check = |labels: &[usize], step: usize, counting: &[usize]| {
        let batch = batch(labels, &vec![1; labels.len()], 6 + step as u64);
        let rows = raw(&head, &model, &batch);
        let each = rows.iter().zip(labels);
        let counts = |output: usize| counting.contains(&output);
        let wanted: f64 = each
            .map(|(row, label)| cross_entropy(row, *label, counts))
            .sum();
        let found = trained(&loss, &model, &batch, step);
        let wanted = wanted / labels.len() as f64;
        assert!(
            (found - wanted).abs() < 1e-6,
            "step {step}: {found}, {wanted}"
        );
    };
    // Classes come in another order than that of their labels. By the largest label, 4, only 4 would be left for new ones.
    check(&[4, 4, 0], 0, &[0, 1, 2, 3, 4]);
    check(&[0], 1, &[0, 1, 2, 3]);
    // Another device's share of this step does not see what came in it.
    check(&[3], 1, &[1, 2, 3]);
    check(&[3, 0], 2, &[0, 1, 2, 3]);
    check(&[2], 3, &[1, 2]);
    check(&[4], 4, &[1, 4]);
    // A test neither masks nor counts as coming.
    let tested = batch(&[1], &[], 0);
    let frozen = model.valid();
    let outcome = loss.forward(&frozen, &tested, &mut test_pass()).unwrap();
    let wanted = cross_entropy(&raw(&head, &model, &tested)[0], 1, |_| true);
    assert!((f64::from(values(outcome.loss)[0]) - wanted).abs() < 1e-6);
    check(&[4], 5, &[1, 4]);
}

#[test]
fn a_buffer_is_given_all_outputs_and_a_test_those_of_the_context() {
    let head = Head::new(HeadKind::MaskedAtTest, &scenario(Setting::Task, &[2, 3])).unwrap();
    let (model, loss) = (network(5, 0), ContinualLoss::new(head));
    let batch = batch(&[0, 3], &[0, 1], 1);
    let trained = loss.forward(&model, &batch, &mut pass()).unwrap();
    let all = values(trained.predictions.unwrap().logits);
    let frozen = model.valid();
    let tested = loss.forward(&frozen, &batch, &mut test_pass()).unwrap();
    let own = values(tested.predictions.unwrap().logits);
    let hidden = |all: &[f32]| all.iter().map(|z| *z < -1e29).collect::<Vec<_>>();
    assert_eq!(hidden(&all), [false; 10]);
    assert_eq!(
        hidden(&own),
        [
            [false, false, true, true, true],
            [true, true, false, false, false]
        ]
        .concat()
    );
}
