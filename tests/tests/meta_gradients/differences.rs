//! Meta-gradients against central finite differences of the whole computation, inner and outer.

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Tensor, TensorData};
use forgeling::data::Task;
use forgeling::meta::functional::Program;
use forgeling::meta::gradient::{
    AdaptedPart, GradientLearner, GradientMethod, InnerConfig, Maml, MamlConfig, MamlPlusPlus,
    MamlPlusPlusConfig, MetaSgd, Order,
};
use forgeling::nn::Network;

use super::common::{conv, device, difference, golden, loss, mlp, tasks, values};

const STEP: f64 = 1e-5;
const TOLERANCE: f64 = 1e-6;

/// Moves one value, counted through all trained parameters.
struct Nudge {
    place: usize,
    by: f64,
}

impl ModuleMapper for Nudge {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let tensor = param.val();
        let count = tensor.shape().num_elements();
        if !tensor.is_require_grad() {
            return param;
        }
        let place = self.place;
        self.place = place.wrapping_sub(count);
        if place >= count {
            return param;
        }
        // Never again.
        self.place = usize::MAX;
        param.map(|tensor| {
            let mut moved = values(tensor.clone());
            moved[place] += self.by;
            let data = TensorData::new(moved, tensor.dims());
            Tensor::from_data(data, (&tensor.device(), tensor.dtype())).require_grad()
        })
    }
}

/// All trained values' gradients, those of the method's own parameters included.
struct Flat<'a> {
    gradients: &'a burn::tensor::Gradients,
    found: Vec<f64>,
}

impl burn::module::ModuleVisitor for Flat<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let tensor = param.val();
        if tensor.is_require_grad() {
            let gradient = tensor.grad(self.gradients);
            let zeros = || vec![0.0; tensor.shape().num_elements()];
            self.found.extend(gradient.map_or_else(zeros, values));
        }
    }
}

pub fn check<G: GradientMethod>(
    learner: &GradientLearner<G>,
    tasks: &[Task],
    done: usize,
    what: &str,
) {
    let mut flat = Flat {
        gradients: &loss(learner, tasks, done).backward(),
        found: Vec::new(),
    };
    learner.visit(&mut flat);
    let numeric = |place: usize| {
        let [up, down] = [STEP, -STEP].map(|by| {
            let moved = learner.clone().map(&mut Nudge { place, by });
            values(loss(&moved, tasks, done))[0]
        });
        (up - down) / (2.0 * STEP)
    };
    let expected: Vec<f64> = (0..flat.found.len()).map(numeric).collect();
    let apart = difference(&flat.found, &expected);
    assert!(apart < TOLERANCE, "{what}: {apart:e} apart");
}

fn methods(net: &str, network: Network, inner: InnerConfig) {
    let golden = golden(net);
    let tasks = tasks(&golden);
    let program = Program::new(network.graph()).unwrap();
    for transductive in [true, false] {
        for part in [AdaptedPart::All, AdaptedPart::Head] {
            let config = MamlConfig {
                inner,
                order: Order::Second,
                part,
            };
            let learner =
                GradientLearner::new(network.clone(), Maml::new(config).unwrap(), transductive);
            check(
                &learner,
                &tasks,
                0,
                &format!("{net} MAML {part:?} {transductive}"),
            );
        }
    }
    let method = in_f64(MetaSgd::new(inner, &program, &device()).unwrap());
    let learner = GradientLearner::new(network.clone(), method, true);
    check(&learner, &tasks, 0, &format!("{net} Meta-SGD"));
    let config = MamlPlusPlusConfig {
        inner,
        multi_step: 10,
        first_order: 0,
    };
    let method = in_f64(MamlPlusPlus::new(config, &program, &device()).unwrap());
    for transductive in [true, false] {
        let learner = GradientLearner::new(network.clone(), method.clone(), transductive);
        for done in [0, 7, 100] {
            let what = format!("{net} MAML++ {transductive} after {done} steps");
            check(&learner, &tasks, done, &what);
        }
    }
}

pub fn in_f64<M: Module>(module: M) -> M {
    struct Wide;
    impl ModuleMapper for Wide {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let trained = param.val().is_require_grad();
            param.map(|tensor| {
                let wide = tensor.detach().cast(burn::tensor::DType::F64);
                Tensor::from_data(wide.clone().into_data(), (&wide.device(), wide.dtype()))
                    .set_require_grad(trained)
            })
        }
    }
    module.map(&mut Wide)
}

const INNER: InnerConfig = InnerConfig {
    steps: 3,
    test_steps: None,
    rate: 0.125,
};

#[test]
fn of_a_perceptron() {
    methods("mlp_mse", mlp(&golden("mlp_mse")), INNER);
    methods(
        "mlp_cross_entropy",
        mlp(&golden("mlp_cross_entropy")),
        INNER,
    );
}

#[test]
fn of_two_convolutional_blocks() {
    let inner = InnerConfig { steps: 2, ..INNER };
    methods("conv", conv(&golden("conv")), inner);
}
