//! Scores against the values that `golden/calibration.py` printed with PyTorch.

use forgeling::meta::{Score, Scores};
use serde_json::Value;

fn near(what: &str, found: f64, expected: &Value) {
    let expected = expected.as_f64().unwrap();
    assert!(
        (found - expected).abs() < 1e-9,
        "{what}: {found} and {expected}"
    );
}

#[test]
fn scores_are_those_of_pytorch() {
    let golden: Value = serde_json::from_str(include_str!("../golden/calibration.json")).unwrap();
    let mut scores = Scores::new();
    for (index, task) in golden["tasks"].as_array().unwrap().iter().enumerate() {
        let read = |name: &str| task[name].clone();
        let logits: Vec<Vec<f32>> = serde_json::from_value(read("logits")).unwrap();
        let labels: Vec<usize> = serde_json::from_value(read("labels")).unwrap();
        let names: Vec<String> = serde_json::from_value(read("names")).unwrap();
        let accuracy = scores
            .classified(&logits.concat(), &labels, &names)
            .unwrap();
        near("a task", accuracy, &golden["accuracies"][index]);
    }
    let Score::Classification(score) = scores.score().unwrap() else {
        panic!("of classes");
    };
    near("accuracy", score.accuracy, &golden["accuracy"]);
    near("interval", score.ci95, &golden["ci95"]);
    let nats = &golden["negative_log_likelihood"];
    near("likelihood", score.negative_log_likelihood, nats);
    let calibration = &score.calibration;
    near(
        "calibration",
        calibration.expected_error,
        &golden["expected_error"],
    );
    let bins = golden["bins"].as_array().unwrap();
    assert_eq!(bins.len(), calibration.bins.len());
    for (found, expected) in calibration.bins.iter().zip(bins) {
        assert_eq!(found.count as u64, expected["count"].as_u64().unwrap());
        near("a bin's accuracy", found.accuracy, &expected["accuracy"]);
        near(
            "a bin's confidence",
            found.confidence,
            &expected["confidence"],
        );
    }
    let classes = serde_json::to_value(&score.classes).unwrap();
    assert_eq!(classes, golden["classes"]);
    let text = serde_json::to_string(&score).unwrap();
    assert_eq!(
        serde_json::from_str::<forgeling::meta::Classification>(&text).unwrap(),
        score
    );
}
