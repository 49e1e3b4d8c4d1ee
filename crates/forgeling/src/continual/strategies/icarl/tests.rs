use burn::module::Module;

use super::*;
use crate::continual::testing::{
    batch, network, pass, scenario, step, test_pass, through_a_checkpoint, values,
};
use crate::continual::{Budget, Buffer, BufferConfig};
use crate::train::parts::Replay;

const PER_CLASS: usize = 4;

fn buffer(scenario: &Scenario, policy: Policy, budget: Budget) -> SharedBuffer {
    let config = BufferConfig {
        budget,
        policy,
        logits: 0,
        seed: 0,
    };
    let buffer = Buffer::new(config, scenario.image_shape(), scenario.outputs());
    SharedBuffer::new(buffer.unwrap())
}

fn icarl() -> (Icarl, SharedBuffer, Head) {
    let scenario = scenario(Setting::Class, &[2, 3]);
    let head = Head::new(HeadKind::Growing, &scenario).unwrap();
    let buffer = buffer(
        &scenario,
        Policy::PerClassAtEnd,
        Budget::PerClass(PER_CLASS),
    );
    let config = IcarlConfig {
        examples: 6,
        temperature: 2.0,
    };
    let icarl = Icarl::new(scenario, head.clone(), buffer.clone(), config).unwrap();
    (icarl, buffer, head)
}

fn begin(head: &Head, task: usize) {
    Part::<Network>::begin_task(&mut head.progress(), task, &network(5, 0)).unwrap();
}

/// Raw outputs, row by row.
fn raw(head: &Head, model: &Network, batch: &ContinualBatch) -> Vec<f64> {
    let frozen = model.valid();
    let logits = head.logits(&frozen, batch, &mut test_pass()).unwrap();
    values(logits).into_iter().map(f64::from).collect()
}

/// Features of length 1, row by row.
fn unit_features(model: &Network, batch: &ContinualBatch) -> Vec<Vec<f64>> {
    let frozen = model.valid();
    let images = test_pass().values(images_of(batch));
    let maps = frozen.features(images, &mut test_pass()).unwrap();
    let rows = values(maps);
    let rows = rows.chunks_exact(5).map(|row| {
        let row: Vec<f64> = row.iter().map(|x| f64::from(*x)).collect();
        let norm = row.iter().map(|x| x * x).sum::<f64>().sqrt().max(1e-12);
        row.into_iter().map(|x| x / norm).collect()
    });
    rows.collect()
}

fn loss(
    icarl: &Icarl,
    model: &Network,
    batch: &ContinualBatch,
    task: usize,
    replayed: Option<&ContinualBatch>,
) -> f64 {
    let at = step(batch.images.labels.len(), Some(task), replayed);
    f64::from(values(icarl.loss(&at, model, batch, &mut pass()).unwrap())[0])
}

fn sigmoid_of(z: f64) -> f64 {
    1.0 / (1.0 + (-z).exp())
}

/// Mean over rows of the sum of binary cross entropies of the first `outputs`; targets of the first `soft.len() / rows` of
/// each are given.
fn binary(rows: &[f64], labels: &[usize], outputs: usize, soft: &[f64]) -> f64 {
    let old = soft.len() / labels.len();
    let mut sum = 0.0;
    for (row, label) in labels.iter().enumerate() {
        for output in 0..outputs {
            let target = match output < old {
                true => soft[row * old + output],
                false => f64::from(u8::from(output == *label)),
            };
            let right = sigmoid_of(rows[row * 5 + output]);
            sum -= target * right.ln() + (1.0 - target) * (1.0 - right).ln();
        }
    }
    sum / labels.len() as f64
}

#[test]
fn the_loss_is_binary_and_old_classes_are_distilled() {
    let (mut icarl, buffer, head) = icarl();
    let (first, second) = (network(5, 1), network(5, 2));
    begin(&head, 0);
    let new = batch(&[0, 1, 1], &[0; 3], 3);
    let wanted = binary(&raw(&head, &first, &new), &[0, 1, 1], 2, &[]);
    let found = loss(&icarl, &first, &new, 0, None);
    assert!((found - wanted).abs() < 1e-5, "{found}, {wanted}");
    icarl.end_task(0, &first).unwrap();
    begin(&head, 1);
    let soft = |batch: &ContinualBatch| {
        let rows = raw(&head, &first, batch);
        let rows = rows.chunks_exact(5).flat_map(|row| &row[..2]);
        rows.map(|z| sigmoid_of(z / 2.0)).collect::<Vec<f64>>()
    };
    let (new, old) = (batch(&[4, 2, 3], &[1; 3], 4), batch(&[0, 1], &[0; 2], 5));
    let of = |batch: &ContinualBatch| {
        binary(
            &raw(&head, &second, batch),
            &batch.images.labels,
            5,
            &soft(batch),
        )
    };
    // 27 examples of the context, and 4 exemplars of each of two classes.
    assert_eq!(buffer.with(|buffer| buffer.len()), 8);
    let wanted = 27.0 / 35.0 * of(&new) + 8.0 / 35.0 * of(&old);
    let found = loss(&icarl, &second, &new, 1, Some(&old));
    assert!((found - wanted).abs() < 1e-5, "{found}, {wanted}");
    assert!((loss(&icarl, &second, &new, 1, None) - of(&new)).abs() < 1e-5);
    assert!(Part::<Network>::bytes(&icarl) == 4 * (6 * 5 + 5 + 5 * 5 + 5));
}

#[test]
fn large_outputs_have_a_finite_loss() {
    let (icarl, _, head) = icarl();
    begin(&head, 0);
    let model = network(5, 1).with_values(|_, values| match values {
        crate::nn::Values::Linear(mut linear) => {
            linear.weight = linear
                .weight
                .map(|w| Tensor::from_inner(w.inner() * 1e3).require_grad());
            crate::nn::Values::Linear(linear)
        }
        other => other,
    });
    let found = loss(&icarl, &model, &batch(&[0, 1], &[0; 2], 3), 0, None);
    assert!(found.is_finite() && found > 100.0, "{found}");
}

#[test]
fn exemplars_are_herded_and_the_nearest_mean_answers() {
    let (mut icarl, buffer, head) = icarl();
    let model = network(5, 1);
    begin(&head, 0);
    let frozen = model.valid();
    let tested = batch(&[0, 1, 0, 1, 3], &[], 9);
    // As long as there are no exemplars, the network answers.
    let scores = values(icarl.predict(&frozen, &tested, &mut test_pass()).unwrap());
    let answers = raw(&head, &model, &tested);
    assert!(
        scores
            .chunks_exact(5)
            .zip(answers.chunks_exact(5))
            .all(|(row, raw)| { f64::from(row[1]) == raw[1] && row[2] < -1e29 })
    );
    icarl.end_task(0, &model).unwrap();
    let kept = buffer
        .with(|buffer| buffer.examples(0..buffer.len()))
        .unwrap();
    assert_eq!(kept.images.labels, [0, 0, 0, 0, 1, 1, 1, 1]);
    let context = icarl.scenario.context(Split::Train, 0).unwrap();
    for class in 0..2 {
        let mut all = batch(&[0; 9], &[], 0);
        let images = all.images.images.chunks_exact_mut(6).enumerate();
        images.for_each(|(example, image)| context.read(class, example, image).unwrap());
        let features = unit_features(&model, &all);
        let mean: Vec<f64> = (0..5)
            .map(|at| features.iter().map(|row| row[at]).sum::<f64>())
            .collect();
        let norm = mean.iter().map(|x| x * x).sum::<f64>().sqrt();
        let mut taken: Vec<usize> = Vec::new();
        for place in 0..PER_CLASS {
            let far = |row: usize| -> f64 {
                let rows = taken.iter().chain([&row]);
                let of = |at: usize| rows.clone().map(|row| features[*row][at]).sum::<f64>();
                let distance = |at: usize| of(at) / (place + 1) as f64 - mean[at] / norm;
                (0..5).map(|at| distance(at).powi(2)).sum()
            };
            let free = (0..9).filter(|row| !taken.contains(row));
            let best = free.min_by(|a, b| far(*a).total_cmp(&far(*b))).unwrap();
            let slot = (class * PER_CLASS + place) * 6;
            assert_eq!(
                kept.images.images[slot..slot + 6],
                all.images.images[best * 6..best * 6 + 6]
            );
            taken.push(best);
        }
    }
    let scores = values(icarl.predict(&frozen, &tested, &mut test_pass()).unwrap());
    let features = unit_features(&model, &kept);
    let tests = unit_features(&model, &tested);
    for (row, test) in tests.iter().enumerate() {
        for class in 0..2 {
            let own = &features[class * 4..class * 4 + 4];
            let sum: Vec<f64> = (0..5)
                .map(|at| own.iter().map(|row| row[at]).sum::<f64>())
                .collect();
            let norm = sum.iter().map(|x| x * x).sum::<f64>().sqrt();
            let distance = |at: usize| (test[at] - sum[at] / norm).powi(2);
            let wanted = -(0..5).map(distance).sum::<f64>();
            let found = f64::from(scores[row * 5 + class]);
            assert!((found - wanted).abs() < 1e-5, "{found}, {wanted}");
        }
        // Classes without exemplars are no answers.
        assert!(
            scores[row * 5 + 2..row * 5 + 5]
                .iter()
                .all(|score| *score < -1e29)
        );
    }
    // After a step they are those of the network as it is then.
    let other = network(5, 7);
    loss(&icarl, &other, &batch(&[0], &[0], 1), 0, None);
    let after = values(
        icarl
            .predict(&other.valid(), &tested, &mut test_pass())
            .unwrap(),
    );
    assert_ne!(after, scores);
}

#[test]
fn a_budget_for_all_is_shared_and_the_dearest_stay() {
    let scenario = scenario(Setting::Class, &[2, 3]);
    let head = Head::new(HeadKind::All, &scenario).unwrap();
    let buffer = buffer(&scenario, Policy::PerClassAtEnd, Budget::Total(11));
    let config = IcarlConfig::default();
    let mut icarl = Icarl::new(scenario, head, buffer.clone(), config).unwrap();
    let model = network(5, 1);
    icarl.end_task(0, &model).unwrap();
    let before = buffer.with(|buffer| buffer.examples(0..11)).unwrap();
    assert_eq!(
        buffer.with(|buffer| buffer.counts()),
        [(0, 5), (1, 6)].into()
    );
    icarl.end_task(1, &model).unwrap();
    let counts = buffer.with(|buffer| buffer.counts());
    assert_eq!(counts.values().sum::<usize>(), 11);
    assert!(
        counts.values().all(|count| (2..=3).contains(count)),
        "{counts:?}"
    );
    let after = buffer
        .with(|buffer| buffer.examples(0..counts[&0]))
        .unwrap();
    assert_eq!(after.images.images, before.images.images[..counts[&0] * 6]);
}

#[test]
fn it_goes_on_from_a_checkpoint() {
    let (mut one, mut buffer, head) = icarl();
    begin(&head, 0);
    one.end_task(0, &network(5, 1)).unwrap();
    begin(&head, 1);
    let (mut other, mut others_buffer, others_head) = icarl();
    through_a_checkpoint(&head.progress(), &mut others_head.progress());
    through_a_checkpoint(&one, &mut other);
    through_a_checkpoint(&buffer, &mut others_buffer);
    let (model, new) = (network(5, 2), batch(&[4, 2, 3], &[1; 3], 4));
    let old = [&mut buffer, &mut others_buffer].map(|buffer| buffer.draw(6).unwrap().unwrap());
    assert_eq!(old[0], old[1]);
    let losses = [(&one, &old[0]), (&other, &old[1])];
    let losses = losses.map(|(icarl, old)| loss(icarl, &model, &new, 1, Some(old)).to_bits());
    assert_eq!(losses[0], losses[1]);
    let scores = [&one, &other].map(|icarl| {
        values(
            icarl
                .predict(&model.valid(), &new, &mut test_pass())
                .unwrap(),
        )
    });
    assert_eq!(scores[0], scores[1]);
    // Before the first context's end there is no network to keep.
    let (fresh, ..) = icarl();
    through_a_checkpoint(&fresh, &mut other);
    assert!(other.previous.is_none());
}

#[test]
fn what_it_cannot_do_is_refused_when_it_is_made() {
    let made = |setting, kind, policy, temperature| {
        let scenario = scenario(setting, &[2, 3]);
        let head = Head::new(kind, &scenario).unwrap();
        let buffer = buffer(&scenario, policy, Budget::PerClass(2));
        let config = IcarlConfig {
            examples: 2,
            temperature,
        };
        Icarl::new(scenario, head, buffer, config).map(drop)
    };
    use HeadKind::{All, PerTask};
    use Policy::{PerClassAtEnd, Reservoir};
    made(Setting::Class, All, PerClassAtEnd, 1.0).unwrap();
    for (found, words) in [
        (
            made(Setting::Domain, All, PerClassAtEnd, 1.0),
            "setting Class",
        ),
        (
            made(Setting::Free, All, PerClassAtEnd, 1.0),
            "setting Class",
        ),
        (
            made(Setting::Task, PerTask, PerClassAtEnd, 1.0),
            "setting Class",
        ),
        (made(Setting::Class, All, Reservoir, 1.0), "PerClassAtEnd"),
        (made(Setting::Class, All, PerClassAtEnd, 0.0), "temperature"),
    ] {
        let error = found.unwrap_err();
        assert!(
            error.is_bad_input() && error.to_string().contains(words),
            "{error}"
        );
    }
}
