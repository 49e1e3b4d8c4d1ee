use burn::module::Module;

use super::*;
use crate::continual::testing::{
    batch, network, pass, scenario, test_pass, through_a_checkpoint, values,
};
use crate::continual::{ContinualLoss, Setting};
use crate::train::Objective;

const SIZES: [usize; 3] = [2, 1, 3];

fn head(kind: HeadKind, setting: Setting) -> Head {
    Head::new(kind, &scenario(setting, &SIZES)).unwrap()
}

fn begin(head: &Head, task: usize) {
    Part::<Network>::begin_task(&mut head.progress(), task, &network(1, 0)).unwrap();
}

fn rows(tensor: Tensor<2>) -> Vec<Vec<f32>> {
    let width = tensor.dims()[1];
    values(tensor)
        .chunks_exact(width)
        .map(<[f32]>::to_vec)
        .collect()
}

#[test]
fn outputs_count_by_kind_and_by_what_has_begun() {
    let all = head(HeadKind::All, Setting::Free);
    assert_eq!((all.active(None), all.active(Some(2))), (0..6, 0..6));
    let per_task = head(HeadKind::PerTask, Setting::Task);
    let ranges = [0, 1, 2].map(|context| per_task.active(Some(context)));
    assert_eq!(ranges, [0..2, 2..3, 3..6]);
    assert_eq!(
        head(HeadKind::MaskedAtTest, Setting::Task).active(Some(1)),
        0..6
    );
    let growing = head(HeadKind::Growing, Setting::Class);
    let clone = growing.clone();
    assert_eq!(growing.active(Some(0)), 0..2);
    for (task, end) in [(0, 2), (1, 3), (2, 6), (0, 6)] {
        begin(&growing, task);
        // Whatever the example's own context, and for clones as well.
        assert_eq!(
            (growing.active(Some(0)), clone.active(None)),
            (0..end, 0..end)
        );
    }
    // Contexts of the same labels have nothing to grow by.
    let sizes = [2, 2];
    let domain = Head::new(HeadKind::Growing, &scenario(Setting::Domain, &sizes)).unwrap();
    assert_eq!(domain.active(None), 0..2);
}

#[test]
fn where_all_is_shown_everything_is_there_from_the_start() {
    for (shows, end) in [(Shows::Each, 2), (Shows::SoFar, 2), (Shows::All, 6)] {
        let head = head(HeadKind::Growing, Setting::Class).showing(shows);
        assert_eq!(head.active(None), 0..end);
        let needs = Part::<Network>::needs(&head.progress());
        assert_eq!(needs.task_boundaries, shows != Shows::All);
    }
    // With all contexts so far at each task, those up to it have begun.
    let head = head(HeadKind::Growing, Setting::Class).showing(Shows::SoFar);
    begin(&head, 1);
    assert_eq!((head.begun(), head.active(Some(0))), (2, 0..3));
}

#[test]
fn masks_go_row_by_row_by_the_contexts_of_a_batch() {
    let model = network(6, 1);
    let mixed = batch(&[3, 0, 2, 5], &[2, 0, 1, 2], 3);
    let kinds = [
        (
            HeadKind::All,
            [0..6, 0..6, 0..6, 0..6],
            [0..6, 0..6, 0..6, 0..6],
        ),
        (
            HeadKind::PerTask,
            [3..6, 0..2, 2..3, 3..6],
            [3..6, 0..2, 2..3, 3..6],
        ),
        (
            HeadKind::MaskedAtTest,
            [0..6, 0..6, 0..6, 0..6],
            [3..6, 0..2, 2..3, 3..6],
        ),
        (
            HeadKind::Growing,
            [0..3, 0..3, 0..3, 0..3],
            [0..3, 0..3, 0..3, 0..3],
        ),
    ];
    for (kind, training, test) in kinds {
        let head = head(kind, Setting::Task);
        begin(&head, 1);
        let frozen = model.valid();
        let logits = head.logits(&frozen, &mixed, &mut test_pass()).unwrap();
        let raw = rows(logits.clone());
        for (found, counting) in [
            (rows(head.masked(logits.clone(), &mixed)), &training),
            (rows(head.answers(logits.clone(), &mixed)), &test),
        ] {
            for (row, range) in counting.iter().enumerate() {
                for output in 0..6 {
                    let wanted = match range.contains(&output) {
                        true => raw[row][output],
                        false => MASKED,
                    };
                    let bits = (found[row][output].to_bits(), wanted.to_bits());
                    assert_eq!(bits.0, bits.1, "{kind:?}, row {row}, output {output}");
                }
            }
        }
    }
}

#[test]
fn growth_leaves_the_outputs_of_old_classes_bit_for_bit() {
    let (model, head) = (network(6, 2), head(HeadKind::Growing, Setting::Class));
    let batch = batch(&[0, 1, 1], &[0, 0, 0], 4);
    let masked = || {
        let frozen = model.valid();
        let mut pass = test_pass();
        let logits = head.logits(&frozen, &batch, &mut pass).unwrap();
        rows(head.masked(logits, &batch))
    };
    let mut before = masked();
    for (task, old) in [(1, 2), (2, 3)] {
        begin(&head, task);
        let after = masked();
        for (before, after) in before.iter().zip(&after) {
            let bits = |row: &[f32]| row[..old].iter().map(|z| z.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(before), bits(after));
            assert!(before[old..].iter().all(|z| *z == MASKED) && after[old] != MASKED);
        }
        before = after;
    }
}

#[test]
fn outputs_that_are_not_there_yet_have_no_gradient() {
    let (model, head) = (network(6, 2), head(HeadKind::Growing, Setting::Class));
    begin(&head, 1);
    let batch = batch(&[2, 2, 2], &[1, 1, 1], 5);
    let mut pass = pass();
    let outcome = ContinualLoss::new(head)
        .forward(&model, &batch, &mut pass)
        .unwrap();
    let gradients = pass.backward(outcome.loss, &model).unwrap();
    let last = model.graph().output();
    let Some(crate::nn::Values::Linear(linear)) = model.values(last) else {
        panic!("the last layer is linear");
    };
    let bias = linear.bias.as_ref().unwrap();
    let gradient = values(gradients.get::<1>(bias.id).unwrap());
    assert!(gradient[..3].iter().all(|g| *g != 0.0), "{gradient:?}");
    assert_eq!(gradient[3..], [0.0; 3]);
}

#[test]
fn what_the_setting_does_not_tell_is_refused() {
    for kind in [HeadKind::PerTask, HeadKind::MaskedAtTest] {
        for setting in [Setting::Domain, Setting::Class, Setting::Free] {
            let error = Head::new(kind, &scenario(setting, &SIZES)).unwrap_err();
            assert!(error.is_bad_input(), "{error}");
            assert!(
                error.to_string().contains("context of each example"),
                "{error}"
            );
        }
    }
    let error = Head::new(HeadKind::Growing, &scenario(Setting::Free, &SIZES)).unwrap_err();
    assert!(error.to_string().contains("where contexts end"), "{error}");
}

#[test]
fn what_does_not_fit_is_an_error() {
    let head = head(HeadKind::PerTask, Setting::Task);
    let model = network(6, 0);
    let logits = |model: &Network, batch: &ContinualBatch| {
        let error = head
            .logits(model, batch, &mut pass())
            .map(drop)
            .unwrap_err();
        assert!(error.is_bad_input(), "{error}");
        error.to_string()
    };
    let good = batch(&[0, 1], &[0, 0], 0);
    let mut other = good.clone();
    other.images.shape = ImageShape::new(1, 3, 2);
    assert!(logits(&model, &other).contains("another shape"));
    let mut short = good.clone();
    short.images.images.pop();
    assert!(logits(&model, &short).contains("one for each label"));
    assert!(logits(&model, &batch(&[0, 1], &[], 0)).contains("one context"));
    assert!(logits(&model, &batch(&[0, 1], &[0], 0)).contains("one context"));
    assert!(logits(&model, &batch(&[0, 1], &[0, 3], 0)).contains("no such context"));
    assert!(logits(&network(5, 0), &good).contains("number of outputs"));
    assert!(!logits(&model, &batch(&[], &[], 0)).is_empty());
    let wrong = batch(&[0, 2], &[0, 0], 0);
    let loss = ContinualLoss::new(head.clone());
    let error = loss
        .forward(&model, &wrong, &mut pass())
        .map(drop)
        .unwrap_err();
    assert!(
        error.to_string().contains("a label is out of range"),
        "{error}"
    );
    let mut progress = head.progress();
    assert!(Part::begin_task(&mut progress, 3, &model).is_err());
}

#[test]
fn a_class_that_is_not_there_yet_can_be_tested_but_not_trained_on() {
    let (model, head) = (network(6, 0), head(HeadKind::Growing, Setting::Class));
    begin(&head, 0);
    let loss = ContinualLoss::new(head);
    let later = batch(&[4, 5], &[], 0);
    let error = loss
        .forward(&model, &later, &mut pass())
        .map(drop)
        .unwrap_err();
    assert!(error.to_string().contains("out of range"), "{error}");
    let frozen = model.valid();
    let mut pass = test_pass();
    let tested = loss.forward(&frozen, &later, &mut pass).unwrap();
    assert!(values(tested.loss)[0].is_finite());
    let answers = values(tested.predictions.unwrap().logits);
    assert_eq!(crate::train::count_right(&answers, &[4, 5]), 0);
}

#[test]
fn progress_goes_through_a_checkpoint() {
    let head = head(HeadKind::Growing, Setting::Class);
    begin(&head, 1);
    head.note(&[2, 0], 4);
    head.note(&[2], 3);
    let other = self::head(HeadKind::Growing, Setting::Class);
    begin(&other, 2);
    through_a_checkpoint(&head.progress(), &mut other.progress());
    assert_eq!((other.begun(), other.active(None)), (2, 0..3));
    assert_eq!(other.came_before(3), [false; 6]);
    assert_eq!(
        other.came_before(4),
        [false, false, true, false, false, false]
    );
    assert_eq!(
        other.came_before(5),
        [true, false, true, false, false, false]
    );
    let mut wrong = Sections::default();
    wrong.set("begun", &4).unwrap();
    wrong.set("classes", &BTreeMap::from([(0, 0)])).unwrap();
    let device = crate::continual::testing::cpu().tensors().clone();
    let error = other.progress().load(&wrong, &device).unwrap_err();
    assert!(error.is_bad_input(), "{error}");
    assert_eq!(other.begun(), 2);
}
