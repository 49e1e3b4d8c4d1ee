//! Experience replay, dark experience replay and A-GEM on small networks.

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::Tensor;

use super::a_gem::project;
use super::replayed::{check_factor, first};
use super::*;
use crate::continual::testing::{
    batch, cpu, cross_entropy, joined, network, pass, scenario, step, test_pass, values,
};
use crate::continual::{
    Budget, Buffer, BufferConfig, ContinualBatch, ContinualLoss, Head, HeadKind, NewWeight, Policy,
    Setting,
};
use crate::nn::{Network, Normalization, Pass};
use crate::train::parts::{
    GradientRule, LossTerm, Method, Part, Replay, StepContext, WithTerms, gradients,
};
use crate::train::{Batch, Objective};

fn head(kind: HeadKind, setting: Setting) -> Head {
    Head::new(kind, &scenario(setting, &[2, 3])).unwrap()
}

fn all() -> Head {
    head(HeadKind::All, Setting::Class)
}

/// The raw outputs of each example.
fn raw(model: &Network, batch: &ContinualBatch) -> Vec<Vec<f32>> {
    let frozen = model.valid();
    let logits = all().logits(&frozen, batch, &mut test_pass()).unwrap();
    values(logits)
        .chunks_exact(5)
        .map(<[f32]>::to_vec)
        .collect()
}

fn mean_cross_entropy(model: &Network, batch: &ContinualBatch) -> f64 {
    let rows = raw(model, batch);
    let each = rows.iter().zip(&batch.images.labels);
    let sum: f64 = each
        .map(|(row, label)| cross_entropy(row, *label, |_| true))
        .sum();
    sum / batch.len() as f64
}

fn term(
    part: &impl LossTerm<Network, ContinualBatch>,
    at: StepContext<'_, ContinualBatch>,
    model: &Network,
    batch: &ContinualBatch,
) -> f64 {
    let mut pass = pass();
    f64::from(values(part.loss(&at, model, batch, &mut pass).unwrap())[0])
}

/// The loss of an objective with a term, and its gradients.
fn with_term(
    term: &impl LossTerm<Network, ContinualBatch>,
    weight: NewWeight,
    at: StepContext<'_, ContinualBatch>,
    model: &Network,
    batch: &ContinualBatch,
) -> (f64, GradientsParams) {
    let objective = ContinualLoss {
        weight,
        ..ContinualLoss::new(all())
    };
    let whole = WithTerms {
        objective: &objective,
        terms: vec![term],
        at,
    };
    let mut pass = pass();
    let loss = whole.forward(model, batch, &mut pass).unwrap().loss;
    let value = f64::from(values(loss.clone())[0]);
    (value, pass.backward(loss, model).unwrap())
}

fn er(examples: usize, weight: ReplayWeight) -> Er {
    Er::new(all(), ErConfig { examples, weight }).unwrap()
}

#[test]
fn new_and_replayed_examples_are_one_batch() {
    let model = network(5, 0);
    let (new, old) = (batch(&[3, 2, 4], &[1, 1, 1], 1), batch(&[0, 1], &[0, 0], 2));
    let at = step(3, Some(1), Some(&old));
    let part = er(2, ReplayWeight::One);
    assert!((part.objective_weight(&at) - 0.6).abs() < 1e-12);
    let (loss, found) = with_term(&part, NewWeight::One, at, &model, &new);
    let together = joined(&new, &old);
    let wanted = mean_cross_entropy(&model, &together);
    assert!((loss - wanted).abs() < 1e-6, "{loss}, {wanted}");
    let mut pass = pass();
    let objective = ContinualLoss::new(all());
    let outcome = objective.forward(&model, &together, &mut pass).unwrap();
    let wanted = pass.backward(outcome.loss, &model).unwrap();
    let product = values(gradients::dot(&model, &found, &wanted).unwrap())[0];
    let squares = [&found, &wanted].map(|g| values(gradients::dot(&model, g, g).unwrap())[0]);
    for square in squares {
        assert!((product / square - 1.0).abs() < 1e-5, "{product}, {square}");
    }
    // In several passes, which are averaged by examples, it comes to the same.
    let (one, two) = (new.part(0..1), new.part(1..3));
    let parts = [(&one, 1.0), (&two, 2.0)];
    let parts =
        parts.map(|(part_of, n)| n / 3.0 * with_term(&part, NewWeight::One, at, &model, part_of).0);
    assert!((parts[0] + parts[1] - loss).abs() < 1e-6);
    // Nothing is replayed yet.
    let at = step(3, Some(0), None);
    let (loss, _) = with_term(&part, NewWeight::One, at, &model, &new);
    assert!((loss - mean_cross_entropy(&model, &new)).abs() < 1e-6);
}

#[test]
fn contexts_so_far_weigh_new_and_replayed_examples() {
    let model = network(5, 0);
    let old = batch(&[0, 1], &[0, 0], 2);
    let part = er(2, ReplayWeight::ByContext);
    assert!(Part::<Network>::needs(&part).task_boundaries);
    for (context, share) in [(0, 1.0), (1, 0.5)] {
        let new = batch(&[context * 2, context * 2 + 1], &[context; 2], 4);
        let at = step(2, Some(context), Some(&old));
        let (loss, _) = with_term(&part, NewWeight::ByContext, at, &model, &new);
        let (new, old) = (
            mean_cross_entropy(&model, &new),
            mean_cross_entropy(&model, &old),
        );
        let wanted = share * new + (1.0 - share) * old;
        assert!(
            (loss - wanted).abs() < 1e-6,
            "context {context}: {loss}, {wanted}"
        );
    }
    let new = batch(&[3], &[1], 5);
    let added = term(
        &er(2, ReplayWeight::Added),
        step(1, Some(1), Some(&old)),
        &model,
        &new,
    );
    assert!((added - mean_cross_entropy(&model, &old)).abs() < 1e-6);
}

#[test]
fn a_step_has_exactly_the_share_of_replayed_examples_that_was_asked_for() {
    let model = network(5, 0);
    let new = batch(&[3, 2, 4], &[1; 3], 1);
    let old = batch(&[0, 1, 0, 1, 1, 0, 0], &[0; 7], 2);
    // Another part has asked for more: this one takes its own.
    for (examples, taken) in [(1, 1), (4, 4), (7, 7), (9, 7)] {
        let part = er(examples, ReplayWeight::Added);
        assert_eq!(Part::<Network>::needs(&part).replayed, examples);
        let found = term(&part, step(3, Some(1), Some(&old)), &model, &new);
        let wanted = mean_cross_entropy(&model, &old.part(0..taken));
        assert!((found - wanted).abs() < 1e-6);
        let part = er(examples, ReplayWeight::One);
        let weight = part.objective_weight(&step(3, Some(1), Some(&old)));
        assert!((weight - 3.0 / (3 + taken) as f64).abs() < 1e-12);
    }
    assert!(first(Some(&old.part(0..0)), 3).is_none() && first(None, 3).is_none());
    for examples in [0, 1] {
        let config = ErConfig {
            examples,
            weight: ReplayWeight::One,
        };
        assert_eq!(Er::new(all(), config).is_ok(), examples == 1);
    }
}

#[test]
fn a_replayed_example_counts_for_the_outputs_of_its_own_context() {
    let model = network(5, 0);
    let head = head(HeadKind::PerTask, Setting::Task);
    let config = ErConfig {
        examples: 3,
        weight: ReplayWeight::Added,
    };
    let part = Er::new(head, config).unwrap();
    let old = batch(&[0, 4, 1], &[0, 1, 0], 2);
    let rows = raw(&model, &old);
    let ranges = [0..2, 2..5, 0..2];
    let each = rows.iter().zip(&old.images.labels).zip(ranges);
    let losses =
        each.map(|((row, label), range)| cross_entropy(row, *label, |z| range.contains(&z)));
    let wanted = losses.sum::<f64>() / 3.0;
    let found = term(
        &part,
        step(1, Some(1), Some(&old)),
        &model,
        &batch(&[3], &[1], 0),
    );
    assert!((found - wanted).abs() < 1e-6, "{found}, {wanted}");
}

fn der(examples: usize, alpha: f64, beta: f64) -> Der {
    let config = DerConfig {
        examples,
        alpha,
        beta,
    };
    Der::new(all(), config).unwrap()
}

#[test]
fn answers_are_compared_with_those_that_counted_when_they_were_kept() {
    let model = network(5, 0);
    let new = batch(&[3], &[1], 1);
    let mut old = batch(&[0, 1, 0, 4], &[0, 0, 0, 1], 2);
    old.logits = vec![
        vec![0.5, -0.25, -1e30, -1e30, -1e30],
        vec![0.1, 0.2, 0.3, 0.4, 0.5],
        Vec::new(),
        vec![1.0; 5],
    ];
    let rows = raw(&model, &old);
    let squares = |row: usize| {
        let pairs = rows[row]
            .iter()
            .zip(&old.logits[row])
            .filter(|(_, kept)| **kept > -1e29);
        let squares = pairs.map(|(now, kept)| f64::from(now - kept).powi(2));
        squares.collect::<Vec<f64>>()
    };
    let mean = |of: &[usize]| {
        let all: Vec<f64> = of.iter().flat_map(|row| squares(*row)).collect();
        all.iter().sum::<f64>() / all.len() as f64
    };
    let at = step(1, Some(1), Some(&old));
    let part = der(3, 0.5, 0.0);
    assert_eq!(Part::<Network>::needs(&part).replayed, 3);
    let found = term(&part, at, &model, &new);
    let wanted = 0.5 * mean(&[0, 1]);
    assert!((found - wanted).abs() < 1e-6, "{found}, {wanted}");
    // DER++ has two draws: those of the first are compared, those of the second learned by their labels.
    let part = der(2, 0.5, 2.0);
    assert_eq!(Part::<Network>::needs(&part).replayed, 4);
    let labels = |range| 2.0 * mean_cross_entropy(&model, &old.part(range));
    let wanted = 0.5 * mean(&[0, 1]) + labels(2..4);
    let found = term(&part, at, &model, &new);
    assert!((found - wanted).abs() < 1e-6, "{found}, {wanted}");
    // Where there are too few, the draws overlap.
    let part = der(3, 0.5, 2.0);
    let wanted = 0.5 * mean(&[0, 1]) + labels(1..4);
    let found = term(&part, at, &model, &new);
    assert!((found - wanted).abs() < 1e-6, "{found}, {wanted}");
    let nothing = step(1, Some(0), None);
    assert_eq!(term(&part, nothing, &model, &new), 0.0);
}

#[test]
fn without_answers_der_is_an_error() {
    let model = network(5, 0);
    let new = batch(&[3], &[1], 1);
    for logits in [Vec::new(), vec![Vec::new(); 2], vec![vec![1.0; 4]; 2]] {
        let mut old = batch(&[0, 1], &[0, 0], 2);
        old.logits = logits;
        let at = step(1, Some(1), Some(&old));
        let found = der(2, 1.0, 0.0).loss(&at, &model, &new, &mut pass());
        let error = found.map(drop).unwrap_err();
        assert!(
            error.is_bad_input() && error.to_string().contains("5 logits"),
            "{error}"
        );
    }
    for factor in [-1.0, f64::NAN, 1e39] {
        let config = DerConfig {
            examples: 1,
            alpha: factor,
            beta: 0.0,
        };
        assert!(Der::new(all(), config).is_err());
        assert!(check_factor("der", "beta", factor).is_err());
    }
}

#[test]
fn a_buffer_keeps_what_the_model_answered() {
    let config = BufferConfig {
        budget: Budget::Total(9),
        policy: Policy::Reservoir,
        logits: 2,
        seed: 0,
    };
    let new = batch(&[0, 1, 2], &[0; 3], 1);
    let empty = || Buffer::new(config, new.images.shape, 5).unwrap();
    let mut buffer = empty();
    assert!(buffer.keeps_answers());
    let answers = [1.0, 2.0, 3.0, f32::INFINITY, 5.0, -1e30];
    buffer.remember(&new, None, Some(&answers)).unwrap();
    let kept = buffer.examples(0..3).unwrap();
    assert_eq!(kept.logits, [vec![1.0, 2.0], Vec::new(), vec![5.0, -1e30]]);
    assert_eq!(buffer.bytes(), 3 * (4 * 6 + 8 + 3 * 4));
    for (answers, words) in [(&[1.0; 4][..], "multiple"), (&[1.0; 9], "room")] {
        let error = buffer.remember(&new, None, Some(answers)).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(buffer.len(), 3);
    }
    let none = BufferConfig {
        logits: 0,
        ..config
    };
    let mut buffer = Buffer::new(none, new.images.shape, 5).unwrap();
    buffer.remember(&new, None, Some(&answers)).unwrap();
    assert!(!buffer.keeps_answers() && buffer.examples(0..3).unwrap().logits.is_empty());
}

fn gradient(model: &Network, batch: &ContinualBatch) -> GradientsParams {
    let mut pass = Pass::new(Normalization::Batch, &cpu().autodiff());
    let loss = ContinualLoss::new(all())
        .forward(model, batch, &mut pass)
        .unwrap()
        .loss;
    pass.backward(loss, model).unwrap()
}

fn dot(model: &Network, a: &GradientsParams, b: &GradientsParams) -> f64 {
    f64::from(values(gradients::dot(model, a, b).unwrap())[0])
}

fn all_values(model: &Network, of: &GradientsParams) -> Vec<f32> {
    let ones = gradients::copy(model, of);
    let mut all = Vec::new();
    for (place, _) in model.graph().nodes().iter().enumerate() {
        if let Some(crate::nn::Values::Linear(linear)) = model.values(place) {
            all.extend(values(ones.get::<2>(linear.weight.id).unwrap()));
            all.extend(values(
                ones.get::<1>(linear.bias.as_ref().unwrap().id).unwrap(),
            ));
        }
    }
    all
}

/// The model after a step of gradient descent.
fn moved(model: &Network, gradients: &GradientsParams, rate: f64) -> Network {
    model.clone().with_values(|_, values| match values {
        crate::nn::Values::Linear(mut linear) => {
            let weight = gradients.get::<2>(linear.weight.id).unwrap() * rate;
            linear.weight = linear
                .weight
                .map(|old| Tensor::from_inner(old.inner() - weight).require_grad());
            linear.bias = linear.bias.map(|bias| {
                let step = gradients.get::<1>(bias.id).unwrap() * rate;
                bias.map(|old| Tensor::from_inner(old.inner() - step).require_grad())
            });
            crate::nn::Values::Linear(linear)
        }
        other => other,
    })
}

#[test]
fn a_projected_step_does_not_raise_the_loss_on_examples_of_before() {
    let (mut projected, mut left) = (0, 0);
    for seed in 0..12 {
        let model = network(5, seed);
        let old = batch(&[0, 1, 0, 1], &[0; 4], 20 + seed);
        // What is new stands against what is old, or, every other time, is of the same kind.
        let labels = [[2, 3, 4, 2], [0, 1, 0, 1]][seed as usize % 2];
        let new = batch(&labels, &[1; 4], 40 + seed);
        let reference = gradient(&model, &old);
        let before = gradient(&model, &new);
        let mut after = gradient(&model, &new);
        let config = AGemConfig { examples: 4 };
        let mut part = AGem::new(all(), config).unwrap();
        let at = step(4, Some(1), Some(&old));
        part.apply(&at, &model, &mut after).unwrap();
        let product = dot(&model, &before, &reference);
        let square = dot(&model, &reference, &reference);
        if product >= 0.0 {
            left += 1;
            assert_eq!(all_values(&model, &after), all_values(&model, &before));
            continue;
        }
        projected += 1;
        assert!(
            dot(&model, &after, &reference).abs() < 1e-5 * square,
            "seed {seed}"
        );
        let wanted: Vec<f64> = all_values(&model, &before)
            .iter()
            .zip(all_values(&model, &reference))
            .map(|(g, r)| f64::from(*g) - product / square * f64::from(r))
            .collect();
        for (found, wanted) in all_values(&model, &after).iter().zip(wanted) {
            assert!(
                (f64::from(*found) - wanted).abs() < 1e-5,
                "{found}, {wanted}"
            );
        }
        // To first order: beside the square of the step nothing is left.
        let loss = |gradients, rate| mean_cross_entropy(&moved(&model, gradients, rate), &old);
        let (start, rate) = (mean_cross_entropy(&model, &old), 0.02);
        let (naive, careful) = (loss(&before, rate) - start, loss(&after, rate) - start);
        assert!(
            naive > 0.0 && careful < naive / 5.0,
            "seed {seed}: {naive}, {careful}"
        );
    }
    assert!(
        projected >= 3 && left >= 3,
        "{projected} projected, {left} left"
    );
}

#[test]
fn where_there_is_no_gradient_to_keep_nothing_changes() {
    let model = network(5, 0);
    let new = batch(&[2, 3], &[1; 2], 1);
    let before = all_values(&model, &gradient(&model, &new));
    let mut zero = gradient(&model, &new);
    let factor = Tensor::zeros([1], cpu().tensors());
    gradients::scale(&model, &mut zero, &factor);
    let mut found = gradient(&model, &new);
    project(&model, &mut found, &zero);
    assert_eq!(all_values(&model, &found), before);
    project(&model, &mut found, &GradientsParams::new());
    assert_eq!(all_values(&model, &found), before);
    let reference = gradient(&model, &batch(&[0], &[0], 3));
    project(&model, &mut zero, &reference);
    assert!(all_values(&model, &zero).iter().all(|g| *g == 0.0));
    let mut part = AGem::new(all(), AGemConfig { examples: 4 }).unwrap();
    part.apply(&step(2, Some(0), None), &model, &mut found)
        .unwrap();
    assert_eq!(all_values(&model, &found), before);
}

#[test]
fn on_a_replica_there_is_another_one_of_the_same_configuration() {
    let methods: [&dyn Method<Network, ContinualBatch>; 4] = [
        &er(3, ReplayWeight::One),
        &der(3, 1.0, 1.0),
        &AGem::new(all(), AGemConfig { examples: 3 }).unwrap(),
        &all().progress(),
    ];
    for method in methods {
        let other = method.on_replica().unwrap();
        assert_eq!(
            (other.name(), other.needs()),
            (method.name(), method.needs())
        );
    }
}
