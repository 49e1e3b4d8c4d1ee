//! A head's training beside the same in plain numbers.

use forgeling::meta::FineTuneConfig;
use forgeling::nn::graph::Shape;
use forgeling::nn::zoo::MlpConfig;
use forgeling::train::weights::collect;

use super::*;

const RATE: f64 = 0.05;
const DECAY: f64 = 0.1;
const EPOCHS: usize = 4;
const POINTS: [(usize, [f32; 3]); 5] = [
    (0, [0.1, 0.9, 0.3]),
    (0, [0.4, 0.7, 0.0]),
    (1, [0.8, 0.2, 0.5]),
    (2, [0.5, 0.4, 0.9]),
    (2, [0.3, 0.1, 0.7]),
];

/// `[features][classes]`, and the biases in the last row.
type Matrix = Vec<Vec<f64>>;

fn softmax(logits: &[f64]) -> Vec<f64> {
    let powers: Vec<f64> = logits.iter().map(|logit| logit.exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|power| power / sum).collect()
}

fn logits(matrix: &Matrix, x: &[f64]) -> Vec<f64> {
    let with_one = x.iter().chain(&[1.0]);
    (0..matrix[0].len())
        .map(|class| {
            with_one
                .clone()
                .zip(matrix)
                .map(|(x, row)| x * row[class])
                .sum()
        })
        .collect()
}

/// `2 c x - |c|^2` of the class means `c`.
fn prototypes(rows: &[Vec<f64>], labels: &[usize]) -> Matrix {
    let (count, width) = (rows.len(), rows[0].len());
    let mut matrix = vec![vec![0.0; 3]; width + 1];
    for class in 0..3 {
        let own: Vec<&Vec<f64>> = (0..count)
            .filter(|&i| labels[i] == class)
            .map(|i| &rows[i])
            .collect();
        let mean = |f: usize| own.iter().map(|row| row[f]).sum::<f64>() / own.len() as f64;
        for (f, row) in matrix[..width].iter_mut().enumerate() {
            row[class] = 2.0 * mean(f);
        }
        matrix[width][class] = -(0..width).map(|f| mean(f) * mean(f)).sum::<f64>();
    }
    matrix
}

/// AdamW on the mean cross entropy, whose gradient for the weight of feature `f` and class `k` is the mean of
/// `x_f (p_k - y_k)`.
fn adam(matrix: &mut Matrix, rows: &[Vec<f64>], labels: &[usize]) {
    let (count, width) = (rows.len(), rows[0].len());
    let mut moments = vec![vec![[0.0; 2]; 3]; width + 1];
    for step in 1..=EPOCHS as i32 {
        let mut gradient = vec![vec![0.0; 3]; width + 1];
        for (row, &label) in rows.iter().zip(labels) {
            let p = softmax(&logits(matrix, row));
            for (f, x) in row.iter().chain(&[1.0]).enumerate() {
                for class in 0..3 {
                    let y = f64::from(u8::from(class == label));
                    gradient[f][class] += x * (p[class] - y) / count as f64;
                }
            }
        }
        for f in 0..=width {
            for class in 0..3 {
                let g = gradient[f][class];
                let [m, v] = &mut moments[f][class];
                *m = 0.9 * *m + 0.1 * g;
                *v = 0.999 * *v + 0.001 * g * g;
                let (m, v) = (
                    *m / (1.0 - 0.9f64.powi(step)),
                    *v / (1.0 - 0.999f64.powi(step)),
                );
                let weight = &mut matrix[f][class];
                *weight -= RATE * (m / (v.sqrt() + 1e-8) + DECAY * *weight);
            }
        }
    }
}

#[test]
fn a_head_is_trained_as_by_hand() {
    let encoder = MlpConfig {
        input: Shape::Values(3),
        hidden: vec![],
        classes: 4,
    };
    let encoder = encoder.graph().unwrap().as_encoder();
    let learner = Learner::protonet(&encoder, 2, &cpu()).unwrap();
    let weights = pollster::block_on(collect(learner.model())).unwrap();
    let [weight, bias] = ["weight", "bias"].map(|name| {
        &weights
            .iter()
            .find(|t| t.name.ends_with(name))
            .unwrap()
            .values
    });
    let features = |x: &[f32]| -> Vec<f64> {
        let feature = |f: usize| {
            let products = x
                .iter()
                .enumerate()
                .map(|(i, x)| f64::from(x * weight[4 * i + f]));
            products.sum::<f64>() + f64::from(bias[f])
        };
        (0..4).map(feature).collect()
    };
    let rows: Vec<Vec<f64>> = POINTS.iter().map(|(_, x)| features(x)).collect();
    let labels = POINTS.map(|(label, _)| label);
    let center: Vec<f64> = (0..4)
        .map(|f| rows.iter().map(|row| row[f]).sum::<f64>() / 5.0)
        .collect();
    let centered =
        |row: &[f64]| -> Vec<f64> { row.iter().zip(&center).map(|(x, c)| x - c).collect() };
    let rows: Vec<Vec<f64>> = rows.iter().map(|row| centered(row)).collect();
    let squares: f64 = rows.iter().flatten().map(|x| x * x).sum();
    let scale = (squares / 20.0).sqrt();
    let mut matrix = prototypes(&rows, &labels);
    for row in &mut matrix[..4] {
        row.iter_mut().for_each(|weight| *weight *= scale);
    }
    let over_scale = |row: &[f64]| -> Vec<f64> { row.iter().map(|x| x / scale).collect() };
    let scaled: Vec<Vec<f64>> = rows.iter().map(|row| over_scale(row)).collect();
    let before = matrix.clone();
    adam(&mut matrix, &scaled, &labels);

    let adaptation = Adaptation::Head(FineTuneConfig {
        epochs: EPOCHS,
        learning_rate: RATE,
        weight_decay: DECAY,
        ..Default::default()
    });
    let mut prototypes = learner.classifier();
    let mut classifier = learner.classifier_with(adaptation).unwrap();
    for (label, x) in &POINTS {
        for classifier in [&mut prototypes, &mut classifier] {
            pollster::block_on(classifier.add(&label.to_string(), x)).unwrap();
        }
    }
    assert_eq!(
        adapt(&mut classifier).unwrap().fine_tune.unwrap().epochs,
        EPOCHS
    );
    for query in [[0.2f32, 0.6, 0.4], [0.9, 0.1, 0.1], [0.0, 0.0, 1.0]] {
        let x = over_scale(&centered(&features(&query)));
        for (classifier, matrix) in [(&mut prototypes, &before), (&mut classifier, &matrix)] {
            let expected = softmax(&logits(matrix, &x));
            let got = probabilities(classifier, &query);
            for (got, expected) in got.iter().zip(&expected) {
                assert!((got - expected).abs() < 1e-5, "{got} {expected}");
            }
        }
    }
}
