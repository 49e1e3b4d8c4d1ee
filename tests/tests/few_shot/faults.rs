//! Bad input, and inner loops that diverge.

use forgeling::data::{
    EpisodeSampler, Examples, Glyphs, ImageShape, Queries, Shots, Split, Targets, Task, Ways,
};
use forgeling::meta::{
    EpisodeTrainer, EvaluateConfig, FitConfig, Learner, LearnerConfig, Method, MethodConfig,
};
use forgeling::train::weights::collect;
use forgeling::{Device, DeviceChoice};
use forgeling_tests::methods::{config, fit, glyphs};

fn cpu() -> Device {
    pollster::block_on(Device::open(DeviceChoice::Cpu)).unwrap()
}

/// MAML whose steps are far too long.
fn wild() -> LearnerConfig {
    let mut config = config(Method::Maml);
    let inner = config.method.inner_mut().unwrap();
    inner.rate = 1e20;
    inner.steps = 4;
    config
}

#[test]
fn a_diverging_inner_loop_names_step_and_task_and_leaves_the_model_as_it_was() {
    let data = glyphs(Split::Train).unwrap();
    let mut model = Learner::new(&wild(), &cpu()).unwrap();
    let before = pollster::block_on(collect(model.model())).unwrap();
    let mut trainer = EpisodeTrainer::new(fit().unwrap()).unwrap();
    let error = pollster::block_on(trainer.step(&mut model, &data)).unwrap_err();
    assert!(error.is_diverged(), "{error}");
    let said = error.to_string();
    assert!(
        said.contains("task 1") && said.contains("inner step"),
        "{said}"
    );
    assert!(said.contains("at step 1"), "{said}");
    assert_eq!(pollster::block_on(collect(model.model())).unwrap(), before);

    let config = EvaluateConfig {
        ways: Ways::new(3).unwrap(),
        shots: Shots::new(2).unwrap(),
        queries: Queries::new(2).unwrap(),
        episodes: 3,
        ..Default::default()
    };
    let error = pollster::block_on(model.evaluate(&data, config)).unwrap_err();
    assert!(error.is_diverged(), "{error}");
    let said = error.to_string();
    assert!(said.contains("task 1") && said.contains("step"), "{said}");
}

#[test]
fn tasks_that_do_not_fit_are_errors() {
    let shape = ImageShape::new(1, 1, 2);
    let examples = |inputs: &[f32], classes: &[usize]| Examples {
        inputs: inputs.to_vec(),
        targets: Targets::Classes(classes.to_vec()),
    };
    let query = || examples(&[0.5, 0.5], &[0]);
    let support = examples(&[0.0, 1.0, 1.0, 0.0], &[0, 1]);
    for (what, problem, support, query) in [
        ("empty support", "empty", examples(&[], &[]), query()),
        (
            "NaN",
            "not finite",
            support.clone(),
            examples(&[0.5, f32::NAN], &[0]),
        ),
        (
            "a class without support",
            "no example",
            examples(&[0.0, 1.0], &[1]),
            query(),
        ),
    ] {
        let error = Task::new(shape, 2, support, query).unwrap_err();
        assert!(
            error.is_bad_input() && error.to_string().contains(problem),
            "{what}: {error}"
        );
    }
    // Rows of two numbers for a network that takes images of 16×16.
    let task = Task::new(shape, 2, support, query()).unwrap();
    for method in [Method::ProtoNet, Method::Maml] {
        let model = Learner::new(&config(method), &cpu()).unwrap();
        let error =
            pollster::block_on(model.answer(std::slice::from_ref(&task), false)).unwrap_err();
        assert!(
            error.is_bad_input() && error.to_string().contains("[1, 16, 16]"),
            "{error}"
        );
    }
}

#[test]
fn episodes_that_cannot_be_drawn_are_errors() {
    let few = Glyphs::new(0, Split::Train, 4)
        .unwrap()
        .with_size(16)
        .unwrap();
    let mut model = Learner::new(&config(Method::Maml), &cpu()).unwrap();
    let config = FitConfig {
        ways: Ways::new(5).unwrap(),
        ..fit().unwrap()
    };
    let mut trainer = EpisodeTrainer::new(config).unwrap();
    let error = pollster::block_on(trainer.step(&mut model, &few)).unwrap_err();
    assert!(
        error.is_bad_input() && error.to_string().contains("fewer classes"),
        "{error}"
    );
    let sampler = EpisodeSampler::new(
        Ways::new(2).unwrap(),
        Shots::new(usize::MAX / 2).unwrap(),
        Queries::new(15).unwrap(),
        0,
    );
    let error = sampler.check(&few).unwrap_err();
    assert!(error.to_string().contains("too few examples"), "{error}");
}

#[test]
fn more_classes_than_the_network_has_outputs_are_an_error() {
    let data = glyphs(Split::Train).unwrap();
    let config_of_five = FitConfig {
        ways: Ways::new(5).unwrap(),
        ..fit().unwrap()
    };
    for method in Method::ALL.into_iter().filter(|method| method.adapts()) {
        let mut model = Learner::new(&config(method), &cpu()).unwrap();
        let mut trainer = EpisodeTrainer::new(config_of_five.clone()).unwrap();
        let error = pollster::block_on(trainer.step(&mut model, &data)).unwrap_err();
        let said = error.to_string();
        assert!(
            error.is_bad_input() && said.contains("at most 3"),
            "{method}: {said}"
        );
    }
}

#[test]
fn settings_out_of_range_are_errors() {
    for change in [
        |config: &mut LearnerConfig| config.ways = 0,
        |config: &mut LearnerConfig| config.method.inner_mut().unwrap().steps = 0,
        |config: &mut LearnerConfig| config.method.inner_mut().unwrap().steps = usize::MAX,
        |config: &mut LearnerConfig| config.method.inner_mut().unwrap().rate = f64::NAN,
    ] {
        let mut wrong = config(Method::MamlPP);
        change(&mut wrong);
        assert!(
            Learner::new(&wrong, &cpu()).unwrap_err().is_bad_input(),
            "{wrong:?}"
        );
    }
    let mut wrong = config(Method::IMaml);
    if let MethodConfig::IMaml(imaml) = &mut wrong.method {
        imaml.lambda = 0.0;
    }
    assert!(Learner::new(&wrong, &cpu()).unwrap_err().is_bad_input());
    assert!("mamal".parse::<Method>().unwrap_err().is_bad_input());
}
