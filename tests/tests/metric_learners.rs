//! Heads that compare features: against PyTorch, and in what they promise.

use burn::module::Module;
use burn::tensor::{DType, Device as Tensors, Tensor, TensorData};
use forgeling::data::{
    Dataset, Examples, Glyphs, ImageShape, Split, Subset, Targets, Task, TaskPlan,
};
use forgeling::meta::{
    Centroids, Distance, Embedded, FewShot, Matching, MetricHead, MetricLearner, Prototypes,
    Relation, Ridge, SimpleShot, Stack, TaskLoss,
};
use forgeling::nn::{Conv4, Conv4Config, Normalization, Pass};
use forgeling::train::weights::{NamedTensor, collect, load};
use forgeling::train::{Encoder, Objective, Trainable};
use forgeling_tests::few_shot::tasks;
use forgeling_tests::ops_parity::tensor;
use forgeling_tests::{F32_TOLERANCE, assert_close, devices, waves};
use serde_json::Value;

fn flex() -> Tensors {
    Tensors::flex().autodiff()
}

fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

/// A head with these values in place of its own.
fn with_values<H: Module>(head: H, values: &[(&str, Vec<f32>)]) -> H {
    let tensors = values.iter().map(|(name, values)| NamedTensor {
        name: (*name).into(),
        shape: vec![values.len()],
        values: values.clone(),
    });
    load(head, tensors.collect()).unwrap()
}

/// Calls `$check(name, head, rest..)` with every head, for feature maps `[4, 2, 2]`.
macro_rules! every_head {
    ($check:ident, $device:expr $(, $rest:expr)*) => {{
        let device = $device;
        let prototypes = |distance| Prototypes::new(distance, device);
        $check("euclidean", prototypes(Distance::Euclidean) $(, $rest)*);
        $check("cosine", prototypes(Distance::Cosine) $(, $rest)*);
        $check("mahalanobis", prototypes(Distance::Mahalanobis) $(, $rest)*);
        $check("matching", Matching::new(device) $(, $rest)*);
        $check("relation", Relation::new([4, 2, 2], 3, 5, device).unwrap() $(, $rest)*);
        $check("ridge", Ridge::new(device) $(, $rest)*);
        $check("centroids", Centroids::new(tensor([16], 3.0, device)) $(, $rest)*);
    }};
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
        serde_json::from_value(self.task[name].clone()).unwrap()
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
        let tolerance = if dtype == DType::F64 { 1e-6 } else { F32_TOLERANCE };
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
        close("logits", numbers(logits), Self::values(&self.head["logits"]));
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
            let got = own.unwrap_or_else(|| panic!("{what} has no {name}")).1.clone();
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

impl burn::module::ModuleVisitor for Gradients<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &burn::module::Param<Tensor<D>>) {
        if let Some(gradient) = param.val().grad(self.gradients) {
            self.found.push((self.path.join("."), numbers(gradient)));
        }
    }
}

#[test]
fn heads_follow_pytorch() {
    let file: Value = serde_json::from_str(include_str!("../golden/metric.json")).unwrap();
    let mut places: Vec<(Tensors, DType)> = vec![(flex(), DType::F64)];
    places.extend(devices().iter().map(|device| (device.autodiff(), DType::F32)));
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
