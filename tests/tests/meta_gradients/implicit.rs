//! iMAML and FO-B-MAML against the gradient of the exact inner minimum.

use forgeling::data::Task;
use forgeling::meta::gradient::{
    FoBMaml, FoBMamlConfig, GradientLearner, GradientMethod, IMaml, IMamlConfig, InnerConfig,
};
use serde_json::Value;

use super::common::{difference, golden, gradients, mlp, names, ours, tasks};

/// Enough steps to solve the inner problem to the last digit.
const SOLVED: InnerConfig = InnerConfig {
    steps: 200,
    test_steps: None,
    rate: 0.25,
};

fn exact(golden: &Value) -> Vec<f64> {
    let all = &golden["implicit"]["imaml"]["gradients"];
    names(golden)
        .iter()
        .flat_map(|name| ours(name, &all[name]))
        .collect()
}

fn apart<G: GradientMethod>(golden: &Value, tasks: &[Task], method: G) -> f64 {
    let learner = GradientLearner::new(mlp(golden), method, true);
    difference(&gradients(&learner, tasks).concat(), &exact(golden))
}

#[test]
fn implicit_gradients_become_exact_with_conjugate_steps_and_inner_steps() {
    let golden = golden("mlp_mse");
    let tasks = tasks(&golden);
    let with = |steps: usize, conjugate_steps: usize| {
        let config = IMamlConfig {
            inner: InnerConfig { steps, ..SOLVED },
            lambda: 2.0,
            conjugate_steps,
            damping: 0.0,
        };
        apart(&golden, &tasks, IMaml::new(config).unwrap())
    };
    let errors = [1, 2, 3, 8].map(|conjugate| with(SOLVED.steps, conjugate));
    assert!(errors.is_sorted_by(|a, b| a > b), "{errors:?}");
    assert!(errors[0] > 1e-3 && errors[3] < 1e-6, "{errors:?}");
    let errors = [2, 4, 8, 200].map(|steps| with(steps, 12));
    assert!(errors.is_sorted_by(|a, b| a > b), "{errors:?}");
    assert!(errors[0] > 1e-3 && errors[3] < 1e-6, "{errors:?}");
}

#[test]
fn first_order_bilevel_gradients_become_exact_as_nu_falls_and_inner_steps_grow() {
    let golden = golden("mlp_mse");
    let tasks = tasks(&golden);
    let with = |steps: usize, nu: f64| {
        let config = FoBMamlConfig {
            inner: InnerConfig { steps, ..SOLVED },
            lambda: 2.0,
            nu,
        };
        apart(&golden, &tasks, FoBMaml::new(config).unwrap())
    };
    let errors = [0.5, 0.1, 0.02, 0.004].map(|nu| with(SOLVED.steps, nu));
    // Of the order of nu's square.
    for pair in errors.windows(2) {
        assert!(pair[1] < 0.06 * pair[0], "{errors:?}");
    }
    assert!(errors[0] > 1e-2 && errors[3] < 1e-4, "{errors:?}");
    let errors = [1, 4, 16, 64].map(|steps| with(steps, 1e-3));
    assert!(errors.is_sorted_by(|a, b| a > b), "{errors:?}");
    assert!(errors[3] < 1e-5, "{errors:?}");
}
