//! The networks and tasks of `golden/maml.py`.

use burn::module::{Module, Param};
use burn::tensor::{DType, Device, Tensor, TensorData};
use forgeling::data::{Examples, ImageShape, Targets, Task};
use forgeling::meta::gradient::{GradientLearner, GradientMethod};
use forgeling::meta::{FewShot, Stack};
use forgeling::nn::graph::{Builder, Conv2d, Layer, Norm, Shape, Window};
use forgeling::nn::zoo::MlpConfig;
use forgeling::nn::{LinearValues, Network, Normalization, Pass, Values};
use serde_json::Value;

pub fn golden(net: &str) -> Value {
    let all: Value = serde_json::from_str(include_str!("../../golden/maml.json")).unwrap();
    all[net].clone()
}

pub fn device() -> Device {
    Device::flex().autodiff()
}

pub fn numbers(tensor: &Value) -> Vec<f64> {
    let values = tensor["values"].as_array().unwrap().iter();
    values.map(|value| value.as_f64().unwrap()).collect()
}

fn shape(tensor: &Value) -> Vec<usize> {
    let sides = tensor["shape"].as_array().unwrap().iter();
    sides.map(|side| side.as_u64().unwrap() as usize).collect()
}

/// Linear weights are `[out, in]` there and `[in, out]` here.
pub fn ours(name: &str, tensor: &Value) -> Vec<f64> {
    let (values, shape) = (numbers(tensor), shape(tensor));
    if !name.ends_with("weight") || shape.len() != 2 {
        return values;
    }
    let [outputs, inputs] = [shape[0], shape[1]];
    let at = |place: usize| values[place % outputs * inputs + place / outputs];
    (0..inputs * outputs).map(at).collect()
}

fn param<const D: usize>(values: Vec<f64>, shape: [usize; D]) -> Param<Tensor<D>> {
    let data = TensorData::new(values, shape);
    Param::from_tensor(Tensor::from_data(data, (&device(), DType::F64)))
}

/// Outputs and inputs of a layer of neurons.
fn sides(parameters: &Value, name: &str) -> [usize; 2] {
    let [outputs, inputs] = shape(&parameters[format!("{name}.weight")])[..] else {
        panic!("{name} has two sides");
    };
    [outputs, inputs]
}

fn linear(parameters: &Value, name: &str) -> Values {
    let [outputs, inputs] = sides(parameters, name);
    let weight = format!("{name}.weight");
    let bias = numbers(&parameters[format!("{name}.bias")]);
    Values::Linear(LinearValues {
        weight_scale: None,
        weight: param(ours(&weight, &parameters[&weight]), [inputs, outputs]),
        bias: Some(param(bias, [outputs])),
    })
}

pub fn mlp(golden: &Value) -> Network {
    let parameters = &golden["parameters"];
    let [neurons, inputs] = sides(parameters, "hidden");
    let config = MlpConfig {
        input: Shape::Values(inputs),
        hidden: vec![neurons],
        classes: sides(parameters, "head")[0],
    };
    let graph = config.graph().unwrap();
    let network = Network::on(&graph, 0, &device());
    network.with_values(|node, _| match graph.nodes()[node].name.as_str() {
        "layers.0" => linear(parameters, "hidden"),
        _ => linear(parameters, "head"),
    })
}

pub fn conv(golden: &Value) -> Network {
    let parameters = &golden["parameters"];
    let [_, channels, height, width] = shape(&golden["tasks"][0]["support"])[..] else {
        panic!("images have four sides");
    };
    let filters = shape(&parameters["blocks.0.conv.weight"])[0];
    let mut graph = Builder::new(Shape::Maps([channels, height, width])).unwrap();
    for block in ["blocks.0", "blocks.1"] {
        let conv = Layer::Conv2d(Conv2d::new(filters, 3).same());
        for (name, layer) in [
            ("", conv),
            (".norm", Layer::BatchNorm(Norm::default())),
            (".relu", Layer::Relu),
            (".pool", Layer::MaxPool(Window::default())),
        ] {
            graph.then(format!("{block}{name}"), layer).unwrap();
        }
    }
    let classes = sides(parameters, "head")[0];
    let graph = graph.finish().unwrap().with_outputs(classes).unwrap();
    let network = Network::on(&graph, 0, &device());
    network.with_values(|node, values| {
        let name = graph.nodes()[node].name.as_str();
        match values {
            Values::Conv(mut conv) => {
                let weight = &parameters[format!("{name}.conv.weight")];
                let [outputs, inputs, rows, columns] = conv.weight.val().dims();
                conv.weight = param(numbers(weight), [outputs, inputs, rows, columns]);
                conv.bias = Some(param(vec![0.0; outputs], [outputs]));
                Values::Conv(conv)
            }
            Values::BatchNorm(mut norm) => {
                let tensor = |field: &str| numbers(&parameters[format!("{name}.{field}")]);
                let [channels] = norm.gamma.val().dims();
                let buffer = |value| param(vec![value; channels], [channels]);
                norm.gamma = param(tensor("weight"), [channels]);
                norm.beta = param(tensor("bias"), [channels]);
                norm.running_mean = buffer(0.0).set_require_grad(false);
                norm.running_var = buffer(1.0).set_require_grad(false);
                Values::BatchNorm(norm)
            }
            _ => linear(parameters, name),
        }
    })
}

pub fn tasks(golden: &Value) -> Vec<Task> {
    let floats = |tensor: &Value| {
        numbers(tensor)
            .into_iter()
            .map(|value| value as f32)
            .collect()
    };
    let task = |task: &Value| {
        let sides = shape(&task["support"]);
        let shape = match sides[..] {
            [_, channels, height, width] => ImageShape::new(channels, height, width),
            _ => ImageShape::new(1, 1, sides[1]),
        };
        let targets = |targets: &Value| {
            if targets["shape"].as_array().unwrap().len() == 2 {
                return Targets::Values(floats(targets));
            }
            Targets::Classes(
                numbers(targets)
                    .into_iter()
                    .map(|class| class as usize)
                    .collect(),
            )
        };
        let side = |inputs: &str, answers: &str| Examples {
            inputs: floats(&task[inputs]),
            targets: targets(&task[answers]),
        };
        let support = side("support", "support_targets");
        let outputs = match &support.targets {
            Targets::Classes(classes) => classes.iter().max().unwrap() + 1,
            Targets::Values(values) => values.len() / sides[0],
        };
        Task::new(shape, outputs, support, side("query", "query_targets")).unwrap()
    };
    golden["tasks"]
        .as_array()
        .unwrap()
        .iter()
        .map(task)
        .collect()
}

/// Names in the order of the parameters here.
pub fn names(golden: &Value) -> Vec<String> {
    let parameters = golden["parameters"].as_object().unwrap();
    let order = |name: &String| {
        let layer = ["hidden", "blocks.0.conv", "blocks.0.norm", "blocks.1.conv"];
        let layers = [&layer[..], &["blocks.1.norm", "head"]].concat();
        let layer = layers.iter().position(|layer| name.starts_with(layer));
        (layer, name.ends_with("bias"))
    };
    let mut names: Vec<String> = parameters.keys().cloned().collect();
    names.sort_by_key(order);
    names
}

/// The mean loss of the tasks.
pub fn loss<G: GradientMethod>(
    learner: &GradientLearner<G>,
    tasks: &[Task],
    steps_before: usize,
) -> Tensor<1> {
    let mut pass = Pass::new(Normalization::Batch, &device()).after_steps(steps_before);
    let stacks = Stack::of(tasks);
    assert_eq!(stacks.len(), 1, "the tasks are of one size");
    learner.loss(&stacks[0], &mut pass).unwrap().loss
}

pub fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.into_data().try_to_vec().unwrap()
}

/// The gradient of the loss with respect to each parameter of the network.
pub fn gradients<G: GradientMethod>(learner: &GradientLearner<G>, tasks: &[Task]) -> Vec<Vec<f64>> {
    let gradients = loss(learner, tasks, 0).backward();
    let parameters = Gathered::of(learner, &gradients);
    parameters.0
}

/// Gradients of all trained parameters of a learner's network, in their order.
struct Gathered(Vec<Vec<f64>>);

impl Gathered {
    fn of<G: GradientMethod>(
        learner: &GradientLearner<G>,
        gradients: &burn::tensor::Gradients,
    ) -> Self {
        let mut visitor = Visitor {
            gradients,
            found: Vec::new(),
            path: Vec::new(),
        };
        learner.network.visit(&mut visitor);
        Self(visitor.found)
    }
}

struct Visitor<'a> {
    gradients: &'a burn::tensor::Gradients,
    found: Vec<Vec<f64>>,
    path: Vec<String>,
}

impl burn::module::ModuleVisitor for Visitor<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let path = self.path.join(".");
        // Batch norm cancels a convolution's bias, which is none of the program's.
        if path.contains("running") || path.starts_with("blocks") && path.ends_with("bias") {
            return;
        }
        let tensor = param.val();
        let gradient = tensor.grad(self.gradients);
        let zeros = || vec![0.0; tensor.shape().num_elements()];
        self.found.push(gradient.map_or_else(zeros, values));
    }
}

/// The largest difference over the largest value.
pub fn difference(got: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(got.len(), expected.len());
    let largest = expected
        .iter()
        .fold(0.0f64, |largest, value| largest.max(value.abs()));
    let pairs = got.iter().zip(expected);
    let apart = pairs.fold(0.0f64, |apart, (a, b)| apart.max((a - b).abs()));
    apart / largest.max(1e-12)
}
