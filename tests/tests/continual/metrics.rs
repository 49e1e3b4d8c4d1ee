//! Metrics of a matrix made by hand, with contexts of unequal length.

use forgeling::continual::{AccuracyMatrix, ContextScore, Weighting};

const EACH: Weighting = Weighting::Contexts;
const EXAMPLES: Weighting = Weighting::Examples;

fn contexts() -> Vec<ContextScore> {
    let context = |examples| ContextScore {
        examples,
        chance: 0.5,
    };
    [100, 300, 600].map(context).to_vec()
}

fn matrix() -> AccuracyMatrix {
    let mut matrix = AccuracyMatrix::new(contexts()).unwrap();
    for row in [
        [0.5, 0.4, 0.6],
        [0.9, 0.3, 0.7],
        [0.95, 0.8, 0.3],
        [0.7, 0.4, 1.0],
    ] {
        matrix.push(row.to_vec()).unwrap();
    }
    matrix
}

#[track_caller]
fn is(found: Option<f64>, wanted: f64) {
    let found = found.expect("a value");
    assert!(
        (found - wanted).abs() < 1e-12,
        "{found} instead of {wanted}"
    );
}

#[test]
fn metrics_are_those_worked_out_by_hand() {
    let matrix = matrix();
    // (0.7 + 0.4 + 1) / 3, and 0.1 · 0.7 + 0.3 · 0.4 + 0.6 · 1.
    is(matrix.average_accuracy(3, EACH), 0.7);
    is(matrix.average_accuracy(3, EXAMPLES), 0.79);
    is(matrix.average_accuracy(2, EACH), 0.875);
    is(matrix.average_accuracy(2, EXAMPLES), 0.8375);
    // −0.2 and −0.4.
    is(matrix.backward_transfer(3, EACH), -0.3);
    is(matrix.backward_transfer(3, EXAMPLES), -0.35);
    is(matrix.first_minus_last(3, EACH), 0.3);
    // 0.3 − 0.4 and 0.3 − 0.6.
    is(matrix.forward_transfer(3, EACH), -0.2);
    is(matrix.forward_transfer(3, EXAMPLES), -210.0 / 900.0);
    // 0.95 − 0.7, as the first context was known best after the second, and 0.8 − 0.4.
    is(matrix.forgetting(3, EACH), 0.325);
    is(matrix.forgetting(3, EXAMPLES), 0.3625);
    // Better than before: 0.9 − 0.95. With the last row in the maximum it would be 0.
    is(matrix.forgetting(2, EACH), -0.05);
    let joint = [0.95, 0.9, 1.0];
    is(matrix.intransigence(3, &joint, EACH).unwrap(), 0.05);
    is(matrix.intransigence(3, &joint, EXAMPLES).unwrap(), 0.035);
    let summary = matrix.summary();
    is(summary.average_accuracy, 0.7);
    is(summary.example_accuracy, 0.79);
    is(summary.forgetting, 0.325);
    assert_eq!((summary.contexts, summary.at_chance), (3, vec![]));
}

#[test]
fn what_is_not_reached_has_no_value() {
    let matrix = matrix();
    assert_eq!(matrix.average_accuracy(4, EACH), None);
    assert_eq!(matrix.average_accuracy(0, EACH), None);
    for k in [0, 1, 4, usize::MAX] {
        assert_eq!(matrix.backward_transfer(k, EACH), None);
        assert_eq!(matrix.forward_transfer(k, EACH), None);
        assert_eq!(matrix.forgetting(k, EXAMPLES), None);
    }
    let empty = AccuracyMatrix::new(contexts()).unwrap().summary();
    assert_eq!((empty.contexts, empty.average_accuracy), (0, None));
}

#[test]
fn what_was_not_learned_at_all_is_flagged() {
    // Three standard errors of 300 examples at 0.5 are 0.0866.
    for (accuracy, flagged) in [(0.49, true), (0.58, true), (0.59, false)] {
        let mut matrix = AccuracyMatrix::new(contexts()).unwrap();
        matrix.push(vec![0.5; 3]).unwrap();
        matrix.push(vec![0.99, 0.5, 0.5]).unwrap();
        matrix.push(vec![0.5, accuracy, 0.5]).unwrap();
        let wanted = if flagged { vec![1] } else { Vec::new() };
        assert_eq!(matrix.at_chance(), wanted);
    }
}

#[test]
fn a_matrix_is_written_and_read() {
    let matrix = matrix();
    let csv = matrix.to_csv();
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(lines.len(), 13);
    assert_eq!(
        lines[..2],
        ["after,context,examples,accuracy", "0,1,100,0.5"]
    );
    assert_eq!(lines[12], "3,3,600,1");
    let json = serde_json::to_string(&matrix).unwrap();
    assert_eq!(
        serde_json::from_str::<AccuracyMatrix>(&json).unwrap(),
        matrix
    );
    let wrong = json.replace("0.95", "1.95");
    assert!(serde_json::from_str::<AccuracyMatrix>(&wrong).is_err());
}

#[test]
fn what_is_no_accuracy_is_refused() {
    let mut matrix = matrix();
    assert!(matrix.push(vec![0.5; 3]).unwrap_err().is_bad_input());
    let mut matrix = AccuracyMatrix::new(contexts()).unwrap();
    for row in [vec![0.5; 2], vec![0.5, 0.5, 1.1], vec![0.5, f64::NAN, 0.5]] {
        assert!(matrix.push(row).unwrap_err().is_bad_input());
    }
    assert!(matrix.rows().is_empty());
    assert!(AccuracyMatrix::new(Vec::new()).is_err());
    let none = ContextScore {
        examples: 0,
        chance: 0.5,
    };
    assert!(AccuracyMatrix::new(vec![none]).is_err());
    let full = self::matrix();
    for joint in [&[0.5, 0.5][..], &[0.5, 0.5, 2.0], &[0.5; 4]] {
        assert!(full.intransigence(3, joint, EACH).is_err());
    }
}
