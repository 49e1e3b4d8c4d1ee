//! Heads on given features, against the values that `golden/metric.py` printed with PyTorch, and the one head it has not
//! against its formula.

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{DType, Device as Tensors, Tensor, TensorData};
use forgeling::meta::{
    Centroids, Distance, Embedded, Matching, MetricHead, Prototypes, Relation, Ridge,
};
use forgeling::nn::{Normalization, Pass};
use forgeling::train::weights::{NamedTensor, collect, load};
use forgeling_tests::{F32_TOLERANCE, assert_close, devices, waves};
use serde_json::Value;

use super::{flex, numbers};

/// A head with these values in place of its own.
fn with_values<H: Module>(head: H, values: &[(&str, Vec<f32>)]) -> H {
    let tensors = values.iter().map(|(name, values)| NamedTensor {
        name: (*name).into(),
        shape: vec![values.len()],
        values: values.clone(),
    });
    load(head, tensors.collect()).unwrap()
}

/// A task of the golden file: labels of support and queries, and the file's values.
struct Golden<'a> {
    task: &'a Value,
    head: &'a Value,
}

impl Golden<'_> {
    fn values(value: &Value) -> Vec<f64> {
        serde_json::from_value(value["values"].clone()).unwrap()
    }

    fn matrix(&self, name: &str, device: &Tensors, dtype: DType) -> Tensor<3> {
        let shape: Vec<usize> = serde_json::from_value(self.task[name]["shape"].clone()).unwrap();
        let values = TensorData::new(Self::values(&self.task[name]), [1, shape[0], shape[1]]);
        Tensor::from_data(values, (device, dtype)).require_grad()
    }

    fn labels(&self, name: &str) -> Vec<usize> {
        serde_json::from_value(self.task[name]["values"].clone()).unwrap()
    }

    fn option(&self, name: &str) -> f64 {
        Self::values(&self.head["options"][name])[0]
    }

    /// Compares logits, loss and gradients, those of `parameters` as well: a name in the module, and in the file, and
    /// what the file's gradient is multiplied with.
    fn check<H: MetricHead>(
        &self,
        what: &str,
        head: &H,
        parameters: &[(&str, &str, f64)],
        place: (&Tensors, DType),
    ) {
        let (device, dtype) = place;
        // A length is 1e-8 off, and parameters are f32.
        let tolerance = if dtype == DType::F64 {
            1e-6
        } else {
            F32_TOLERANCE
        };
        let [support, query] = ["support", "query"].map(|name| self.matrix(name, device, dtype));
        let classes = self.labels("support_labels");
        let mut onehot = vec![0f32; classes.len() * 3];
        for (row, class) in classes.iter().enumerate() {
            onehot[row * 3 + class] = 1.0;
        }
        let onehot = TensorData::new(onehot, [1, classes.len(), 3]);
        let embedded = Embedded {
            support: support.clone(),
            onehot: Tensor::from_data(onehot, (device, dtype)),
            query: query.clone(),
            map: [5, 1, 1],
        };
        let mut pass = Pass::new(Normalization::Batch, device);
        let logits = head.logits(&embedded, &mut pass).unwrap();
        let labels = self.labels("query_labels");
        let rows = logits.clone().reshape([labels.len(), 3]);
        let outcome = head.loss(rows, labels).unwrap();
        let close = |part: &str, got: Vec<f32>, value: Vec<f64>| {
            let expected: Vec<f32> = value.iter().map(|value| *value as f32).collect();
            assert_close(&format!("{part} of {what}"), &got, &expected, tolerance);
        };
        close(
            "logits",
            numbers(logits),
            Self::values(&self.head["logits"]),
        );
        let loss = self.head["loss"].as_f64().unwrap();
        close("loss", numbers(outcome.loss.clone()), vec![loss]);
        let gradients = outcome.loss.backward();
        for (name, tensor) in [("support", support), ("query", query)] {
            let got = numbers(tensor.grad(&gradients).unwrap());
            close(name, got, Self::values(&self.head["gradients"][name]));
        }
        let mut found = Gradients {
            gradients: &gradients,
            path: Vec::new(),
            found: Vec::new(),
        };
        head.visit(&mut found);
        for &(name, theirs, factor) in parameters {
            let own = found.found.iter().find(|(path, _)| path == name);
            let got = own
                .unwrap_or_else(|| panic!("{what} has no {name}"))
                .1
                .clone();
            let value = Self::values(&self.head["gradients"][theirs])[0] * factor;
            close(name, got, vec![value]);
        }
    }
}

struct Gradients<'a> {
    gradients: &'a burn::tensor::Gradients,
    path: Vec<String>,
    found: Vec<(String, Vec<f32>)>,
}

impl ModuleVisitor for Gradients<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = param.val().grad(self.gradients) {
            self.found.push((self.path.join("."), numbers(gradient)));
        }
    }
}

#[test]
fn heads_follow_pytorch() {
    let file: Value = serde_json::from_str(include_str!("../../golden/metric.json")).unwrap();
    let mut places: Vec<(Tensors, DType)> = vec![(flex(), DType::F64)];
    places.extend(
        devices()
            .iter()
            .map(|device| (device.autodiff(), DType::F32)),
    );
    for (device, dtype) in &places {
        for task in ["even", "uneven"] {
            let golden = |head: &str| Golden {
                task: &file[task],
                head: &file[task]["heads"][head],
            };
            let place = (device, *dtype);
            let what = |head: &str| format!("{head}, {task}, {dtype:?} on {device:?}");
            let log = |value: f64| vec![value.ln() as f32];

            for (name, distance) in [
                ("euclidean", Distance::Euclidean),
                ("mahalanobis", Distance::Mahalanobis),
            ] {
                let head = Prototypes::new(distance, device);
                assert_eq!((head.num_params(), head.distance()), (0, distance));
                golden(name).check(&what(name), &head, &[], place);
            }

            let cosine = golden("cosine");
            let tau = cosine.option("tau");
            let head = Prototypes::new(Distance::Cosine, device);
            let head = with_values(head, &[("scale.log", log(tau))]);
            let learned = [("scale.log", "tau", tau)];
            cosine.check(&what("cosine"), &head, &learned, place);

            for name in ["matching", "matching_sharp"] {
                let matching = golden(name);
                let tau = matching.option("tau");
                let head = Matching::with_scale(tau, device).unwrap();
                matching.check(&what(name), &head, &[], place);
                let head = with_values(Matching::new(device), &[("scale.log", log(tau))]);
                let learned = [("scale.log", "tau", tau)];
                matching.check(&what(name), &head, &learned, place);
            }

            let ridge = golden("ridge");
            let [strength, alpha] = ["strength", "alpha"].map(|name| ridge.option(name));
            let values = [
                ("lambda.log", log(strength)),
                ("alpha.log", log(alpha)),
                ("beta", vec![ridge.option("beta") as f32]),
            ];
            let head = with_values(Ridge::new(device), &values);
            let learned = [
                ("lambda.log", "strength", strength),
                ("alpha.log", "alpha", alpha),
            ];
            ridge.check(&what("ridge"), &head, &learned, place);

            let simple = golden("simple_shot");
            let mean = Golden::values(&simple.head["options"]["mean"]);
            let mean = Tensor::from_data(TensorData::new(mean, [5]), (device, *dtype));
            simple.check(&what("centroids"), &Centroids::new(mean), &[], place);
        }
    }
}

/// Labels of two tasks' supports, the second one uneven.
const LABELS: [[usize; 6]; 2] = [[0, 1, 2, 2, 0, 1], [2, 1, 1, 1, 0, 1]];

/// A relation network of one block on maps `[2, 2, 3]`, in plain loops: what goes into the sigmoid.
fn relation(support: &[f32], query: &[f32], values: &[NamedTensor]) -> Vec<f64> {
    let value = |name: &str| -> &[f32] {
        let found = values.iter().find(|tensor| tensor.name == name);
        &found.unwrap_or_else(|| panic!("no {name}")).values
    };
    let (features, channels, pixels, filters) = (12, 2, 6, 3);
    let mut pairs = Vec::new();
    for (task, labels) in LABELS.iter().enumerate() {
        for query in query[task * 4 * features..][..4 * features].chunks(features) {
            for way in 0..3 {
                let own = labels.iter().filter(|label| **label == way).count() as f64;
                let mut class = vec![0.0; features];
                for (row, _) in labels
                    .iter()
                    .enumerate()
                    .filter(|(_, label)| **label == way)
                {
                    for (d, sum) in class.iter_mut().enumerate() {
                        // Six examples of three classes.
                        *sum += f64::from(support[(task * 6 + row) * features + d]) / own * 2.0;
                    }
                }
                class.extend(query.iter().map(|value| f64::from(*value)));
                pairs.push(class);
            }
        }
    }
    let weight = value("blocks.0.weight");
    // [filter][pair][pixel]
    let convolved = |filter: usize, pair: &[f64], row: isize, column: isize| -> f64 {
        let mut sum = 0.0;
        for input in 0..2 * channels {
            for (y, x) in (0..9isize).map(|place| (place / 3 - 1, place % 3 - 1)) {
                let (y, x) = (row + y, column + x);
                if (0..2).contains(&y) && (0..3).contains(&x) {
                    let tap = ((y - row + 1) * 3 + x - column + 1) as usize;
                    let weight = f64::from(weight[(filter * 2 * channels + input) * 9 + tap]);
                    sum += weight * pair[input * pixels + (y * 3 + x) as usize];
                }
            }
        }
        sum
    };
    let mut pooled = vec![vec![0.0; filters]; pairs.len()];
    for filter in 0..filters {
        let maps: Vec<Vec<f64>> = pairs
            .iter()
            .map(|pair| {
                let places = (0..pixels as isize).map(|place| (place / 3, place % 3));
                places.map(|(y, x)| convolved(filter, pair, y, x)).collect()
            })
            .collect();
        let all: Vec<f64> = maps.iter().flatten().copied().collect();
        let mean = all.iter().sum::<f64>() / all.len() as f64;
        let variance = all.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / all.len() as f64;
        for (pooled, map) in pooled.iter_mut().zip(&maps) {
            // The window of 2x2 in maps of 2x3.
            let window = [0, 1, 3, 4].map(|place| (map[place] - mean) / (variance + 1e-5).sqrt());
            pooled[filter] = window.into_iter().fold(0.0, f64::max);
        }
    }
    let (hidden, bias) = (value("hidden.weight"), value("hidden.bias"));
    let (score, last) = (value("score.weight"), value("score.bias"));
    let scored = pooled.iter().map(|pooled| {
        let neuron = |index: usize| {
            let terms = pooled.iter().enumerate();
            let sum: f64 = terms
                .map(|(d, v)| v * f64::from(hidden[d * 8 + index]))
                .sum();
            (sum + f64::from(bias[index])).max(0.0)
        };
        let sum: f64 = (0..8)
            .map(|index| neuron(index) * f64::from(score[index]))
            .sum();
        sum + f64::from(last[0])
    });
    scored.collect()
}

#[test]
fn the_relation_network_is_its_formula() {
    for device in devices() {
        let tensors = device.autodiff();
        let head = Relation::new([2, 2, 3], 3, 5, &tensors).unwrap();
        let (support, query) = (waves(2 * 6 * 12, 1.0), waves(2 * 4 * 12, 2.0));
        let onehot = LABELS.iter().flatten();
        let onehot: Vec<f32> = onehot
            .flat_map(|label| (0..3).map(move |way| f32::from(u8::from(way == *label))))
            .collect();
        let of = |values: &[f32], rows: usize, columns: usize| -> Tensor<3> {
            let values = TensorData::new(values.to_vec(), [2, rows, columns]);
            Tensor::from_data(values, &tensors)
        };
        let embedded = Embedded {
            support: of(&support, 6, 12),
            onehot: of(&onehot, 6, 3),
            query: of(&query, 4, 12),
            map: [2, 2, 3],
        };
        let mut pass = Pass::new(Normalization::Batch, &tensors);
        let logits = head.logits(&embedded, &mut pass).unwrap();
        let values = pollster::block_on(collect(&head)).unwrap();
        let expected = relation(&support, &query, &values);
        let close = |what: &str, got: Vec<f32>, expected: Vec<f64>| {
            let expected: Vec<f32> = expected.into_iter().map(|value| value as f32).collect();
            let what = format!("{what} on {}", device.info().name);
            assert_close(&what, &got, &expected, F32_TOLERANCE);
        };
        close("scores", numbers(logits.clone()), expected.clone());
        let labels: Vec<usize> = (0..8).map(|row| row % 3).collect();
        let outcome = head.loss(logits.reshape([8, 3]), labels).unwrap();
        let errors = expected.iter().enumerate().map(|(place, score)| {
            let target = f64::from(u8::from(place / 3 % 3 == place % 3));
            (1.0 / (1.0 + (-score).exp()) - target).powi(2)
        });
        close(
            "loss",
            numbers(outcome.loss),
            vec![errors.sum::<f64>() / 24.0],
        );
        assert_eq!(pass.take_statistics().len(), 1);
    }
}
