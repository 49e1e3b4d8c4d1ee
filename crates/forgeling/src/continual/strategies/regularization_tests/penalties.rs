//! What holds parameters, by hand.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Tensor, TensorData};

use super::{Host, assert_close, changed, host, mlp, pairs, term, tracked};
use crate::continual::strategies::penalty::Penalty;
use crate::continual::testing::{pass, step as step_of, values};
use crate::continual::{
    ByParameter, ContinualBatch, Ewc, EwcConfig, FisherKind, Head, HeadKind, InOrder, Mas,
    MasConfig, PathIntegral, Scenario, Setting, Si, SiConfig, fisher_diagonal,
};
use crate::data::{Rng, Split};
use crate::nn::Network;
use crate::train::parts::{AfterStep, Part, Taken};
use crate::train::{AnyOptimizer, OptimizerConfig, Predictions, SgdConfig, Source};

fn start(setting: Setting) -> (Scenario, Head, Network, ContinualBatch) {
    let scenario = pairs(setting, 3, 6);
    let head = Head::new(HeadKind::All, &scenario).unwrap();
    let network = Network::on(&mlp(&scenario, &[5]), 2, &tracked());
    let mut first = InOrder::new(&scenario, Split::Train, 0, 6).unwrap();
    let batch = pollster::block_on(first.next()).unwrap().unwrap();
    (scenario, head, network, batch)
}

/// The same network, moved a little by a seed.
fn moved(network: &Network, seed: u64) -> Network {
    changed(network, |name, place, value| {
        let key = name
            .bytes()
            .fold(place as u64, |key, byte| key * 31 + u64::from(byte));
        value + Rng::new(seed).fork(key).range(-0.1, 0.1)
    })
}

/// `Σ F (θ − θ*)²` in f64, and its gradient.
fn penalty(importance: &Host, at: &Host, now: &Host) -> (f64, Host) {
    let (mut sum, mut gradient) = (0.0, Host::new());
    for (name, importance) in importance {
        let values = importance.iter().zip(&at[name]).zip(&now[name]);
        let slopes = values.map(|((f, then), now)| {
            let apart = f64::from(*now) - f64::from(*then);
            sum += f64::from(*f) * apart * apart;
            (2.0 * f64::from(*f) * apart) as f32
        });
        gradient.insert(name.clone(), slopes.collect());
    }
    (sum, gradient)
}

fn sum(mut a: Host, b: &Host, factor: f32) -> Host {
    for (name, values) in &mut a {
        for (value, more) in values.iter_mut().zip(&b[name]) {
            *value += factor * more;
        }
    }
    a
}

fn scaled(mut of: Host, factor: f32) -> Host {
    of.values_mut().flatten().for_each(|value| *value *= factor);
    of
}

fn close(found: f32, expected: f64, what: &str) {
    let apart = (f64::from(found) - expected).abs();
    assert!(apart <= 1e-4 * expected.abs(), "{what}: {found} {expected}");
}

fn gradients(model: &Network, found: &GradientsParams) -> Host {
    host(&ByParameter::gradients(model, found))
}

#[test]
fn ewc_adds_a_penalty_for_each_context() {
    let (scenario, head, first, batch) = start(Setting::Class);
    let fisher = |model: &Network, context| {
        let kind = FisherKind::Exact;
        host(&fisher_diagonal(model, &head, &scenario, context, kind, 0).unwrap())
    };
    let second = moved(&first, 1);
    let now = moved(&second, 2);
    let [at_first, at_second, at_now] =
        [&first, &second, &now].map(|model| host(&ByParameter::trained(model)));
    let (f0, f1) = (fisher(&first, 0), fisher(&second, 1));
    let lambda = 30.0;
    let config = EwcConfig {
        lambda,
        fisher: FisherKind::Exact,
        online: None,
        seed: 0,
    };
    let mut ewc = Ewc::new(config, scenario.clone(), head.clone()).unwrap();
    assert_eq!(term(&ewc, 0, &now, &batch).unwrap().0, 0.0);
    assert_eq!(ewc.bytes(), 0);
    ewc.end_task(0, &first).unwrap();
    let (value, slopes) = term(&ewc, 1, &first, &batch).unwrap();
    assert_eq!(value, 0.0);
    let slopes = gradients(&first, &slopes);
    assert!(slopes.values().flatten().all(|slope| *slope == 0.0));

    let (value, slopes) = term(&ewc, 1, &now, &batch).unwrap();
    let (expected, slope) = penalty(&f0, &at_first, &at_now);
    close(value, lambda / 2.0 * expected, "one context");
    let slope = scaled(slope, lambda as f32 / 2.0);
    assert_close(&gradients(&now, &slopes), &slope, 1e-4, "one context");

    ewc.end_task(1, &second).unwrap();
    let (value, slopes) = term(&ewc, 2, &now, &batch).unwrap();
    let (more, more_slope) = penalty(&f1, &at_second, &at_now);
    close(value, lambda / 2.0 * (expected + more), "two contexts");
    let both = sum(slope, &more_slope, lambda as f32 / 2.0);
    assert_close(&gradients(&now, &slopes), &both, 1e-4, "two contexts");
    let parameters = at_now.values().map(Vec::len).sum::<usize>() as u64;
    assert_eq!(ewc.bytes(), 2 * 4 * parameters + 4);

    // Online: one penalty about the last weights, for which the first counts less.
    let gamma = 0.75;
    let online = EwcConfig {
        online: Some(gamma),
        ..config
    };
    let mut ewc = Ewc::new(online, scenario, head.clone()).unwrap();
    ewc.end_task(0, &first).unwrap();
    ewc.end_task(1, &second).unwrap();
    let both = sum(scaled(f0, gamma as f32), &f1, 1.0);
    assert_close(&host(ewc.importance()), &both, 1e-5, "online");
    let (expected, _) = penalty(&both, &at_second, &at_now);
    let (value, _) = term(&ewc, 2, &now, &batch).unwrap();
    close(value, lambda / 2.0 * gamma * expected, "online");
}

#[test]
fn penalties_of_several_contexts_are_one_also_where_they_are_strong() {
    // Importance from 1e-12 to 1e3, and weights that hardly move: what sums of `F θ*` would lose.
    let (_, _, network, _) = start(Setting::Class);
    let mut rng = Rng::new(4);
    let mut merged = Penalty::default();
    let now = host(&ByParameter::trained(&network));
    let (mut value, mut slope, mut strength) = (0.0, None::<Host>, None::<Host>);
    let add = |sums: Option<Host>, more: Host| match sums {
        Some(sums) => Some(sum(sums, &more, 1.0)),
        None => Some(more),
    };
    for context in 0..9 {
        let close = changed(&network, |name, place, value| {
            let key = name
                .bytes()
                .fold(place as u64, |key, byte| key * 31 + u64::from(byte));
            value + Rng::new(context).fork(key).range(-1e-3, 1e-3)
        });
        let values = ByParameter::trained(&close);
        let importance = values.clone().map(|_, tensor| {
            let length = tensor.dims()[0];
            let powers = (0..length).map(|place| match place % 7 {
                0 => 0.0,
                _ => 10f32.powf(rng.range(-12.0, 3.0)),
            });
            let data = TensorData::new(powers.collect::<Vec<f32>>(), [length]);
            Tensor::from_data(data, &tensor.device())
        });
        merged.add(&importance, &values);
        let (more, slopes) = penalty(&host(&importance), &host(&values), &now);
        value += more;
        slope = add(slope, slopes);
        strength = add(strength, host(&importance));
    }
    let pass = pass();
    let loss = merged.loss(&network, 1.0).unwrap();
    close(values(loss.clone())[0], value, "the penalty");
    let found = pass.backward(loss, &network).unwrap();
    let (found, slope, strength) = (
        gradients(&network, &found),
        slope.unwrap(),
        strength.unwrap(),
    );
    for (name, found) in found {
        for (place, found) in found.iter().enumerate() {
            // As if the weight were moved by a few of its last places.
            let last_places = 8.0 * now[&name][place].abs() * f32::EPSILON;
            let right = slope[&name][place];
            let most = 1e-5 * right.abs() + 2.0 * strength[&name][place] * last_places;
            assert!(
                (found - right).abs() <= most,
                "{name} {place}: {found} {right}"
            );
        }
    }
}

struct Constant(GradientsParams, f32);

impl ModuleVisitor for Constant {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = param.val().inner();
        let gradient = value.zeros_like() + self.1;
        self.0.register(param.id, gradient);
    }
}

/// The same gradient of all parameters.
fn constant(model: &Network, gradient: f32) -> GradientsParams {
    let mut visitor = Constant(GradientsParams::new(), gradient);
    model.visit(&mut visitor);
    visitor.0
}

#[test]
fn si_adds_up_what_each_step_took_from_the_loss() {
    let (scenario, _, first, batch) = start(Setting::Class);
    let sgd = OptimizerConfig::Sgd(SgdConfig::default());
    let mut optimizer = AnyOptimizer::new(sgd).unwrap();
    let by = |model: &Network, more: f32| changed(model, |_, _, value| value + more);
    let (c, xi) = (5.0, 0.25);
    for path in [PathIntegral::WithPenalty, PathIntegral::WithoutPenalty] {
        let config = SiConfig { c, xi, path };
        let mut si = Si::new(config, &scenario).unwrap();
        let mut step = |si: &mut Si, task, before: &Network, gradient: f32, by_how_much: f32| {
            let mut after = by(before, by_how_much);
            let gradients = constant(before, gradient);
            let taken = Taken {
                gradients: &gradients,
                before,
            };
            si.after(
                &step_of(1, Some(task), None),
                &taken,
                &mut after,
                &mut optimizer,
            )
            .unwrap();
            after
        };
        si.begin_task(0, &first).unwrap();
        let half_way = step(&mut si, 0, &first, -2.0, 0.5);
        let second = step(&mut si, 0, &half_way, 0.5, -0.25);
        assert_eq!(term(&si, 0, &second, &batch).unwrap().0, 0.0);
        let each = |si: &Si, expected: f32, what: &str| {
            let importance = host(si.importance());
            let all = importance.values().flatten();
            all.for_each(|value| {
                assert!((value / expected - 1.0).abs() < 1e-5, "{what} {value}");
            });
        };
        si.end_task(0, &second).unwrap();
        let omega = (2.0 * 0.5 + 0.5 * 0.25) / (0.25f32.powi(2) + xi as f32);
        each(&si, omega, "the first context");
        assert!(si.integral().is_empty());

        let third = by(&second, 0.125);
        let parameters = host(&ByParameter::trained(&first));
        let count = parameters.values().map(Vec::len).sum::<usize>() as f64;
        let (value, _) = term(&si, 1, &third, &batch).unwrap();
        let expected = c * count * f64::from(omega) * 0.125f64.powi(2);
        close(value, expected, "the penalty");

        // The second context begins where the first has ended. The step is taken at a place where there is a penalty.
        si.begin_task(1, &second).unwrap();
        let end = step(&mut si, 1, &third, 3.0, -0.25);
        si.end_task(1, &end).unwrap();
        let own = match path {
            PathIntegral::WithPenalty => 0.0,
            PathIntegral::WithoutPenalty => 2.0 * c as f32 * omega * 0.125,
        };
        let more = (3.0 - own) * 0.25 / (0.125f32.powi(2) + xi as f32);
        each(&si, omega + more, "the second context");
    }
}

#[test]
fn the_integral_of_si_is_how_much_the_loss_fell() {
    let (scenario, head, mut model, batch) = start(Setting::Class);
    let sgd = OptimizerConfig::Sgd(SgdConfig::default());
    let mut optimizer = AnyOptimizer::new(sgd).unwrap();
    let mut si = Si::new(SiConfig::new(1.0), &scenario).unwrap();
    si.begin_task(0, &model).unwrap();
    let mut losses = Vec::new();
    for _ in 0..120 {
        let before = model.clone();
        let mut pass = pass();
        let logits = head.logits(&before, &batch, &mut pass).unwrap();
        let labels = batch.images.labels.clone();
        let loss = Predictions::cross_entropy(logits, labels).unwrap().loss;
        losses.push(values(loss.clone())[0]);
        let gradients = pass.backward(loss, &before).unwrap();
        let kept = crate::train::parts::gradients::copy(&before, &gradients);
        model = optimizer.step(0.01, model, gradients);
        let taken = Taken {
            gradients: &kept,
            before: &before,
        };
        si.after(
            &step_of(1, Some(0), None),
            &taken,
            &mut model,
            &mut optimizer,
        )
        .unwrap();
    }
    let integral = host(si.integral());
    let sum: f32 = integral.values().flatten().sum();
    let fell = losses[0] - losses[losses.len() - 1];
    assert!(fell > 0.2, "{fell}");
    assert!((sum / fell - 1.0).abs() < 0.05, "{sum} {fell}");
}

#[test]
fn mas_holds_parameters_by_the_sum_over_contexts() {
    let (scenario, head, first, batch) = start(Setting::Class);
    let second = moved(&first, 1);
    let now = moved(&second, 2);
    let config = MasConfig {
        lambda: 4.0,
        kind: Default::default(),
        seed: 0,
    };
    let after = |contexts: &[(usize, &Network)]| {
        let mut mas = Mas::new(config, scenario.clone(), head.clone()).unwrap();
        for (context, model) in contexts {
            mas.end_task(*context, model).unwrap();
        }
        mas
    };
    let both = after(&[(0, &first), (1, &second)]);
    let [one, other] = [after(&[(0, &first)]), after(&[(1, &second)])];
    let expected = sum(host(one.importance()), &host(other.importance()), 1.0);
    assert_close(&host(both.importance()), &expected, 1e-6, "importance");
    let [at_second, at_now] = [&second, &now].map(|model| host(&ByParameter::trained(model)));
    let (expected, _) = penalty(&expected, &at_second, &at_now);
    let (value, _) = term(&both, 2, &now, &batch).unwrap();
    close(value, 4.0 * expected, "the penalty");
}

#[test]
fn numbers_out_of_range_settings_without_boundaries_and_other_networks_are_errors() {
    let (scenario, head, network, batch) = start(Setting::Class);
    let config = EwcConfig {
        lambda: 1.0,
        fisher: FisherKind::Exact,
        online: None,
        seed: 0,
    };
    for (name, config) in [
        (
            "lambda",
            EwcConfig {
                lambda: -1.0,
                ..config
            },
        ),
        (
            "lambda",
            EwcConfig {
                lambda: f64::NAN,
                ..config
            },
        ),
        (
            "lambda",
            EwcConfig {
                lambda: 1e300,
                ..config
            },
        ),
        (
            "online",
            EwcConfig {
                online: Some(1.5),
                ..config
            },
        ),
    ] {
        let error = Ewc::new(config, scenario.clone(), head.clone()).unwrap_err();
        assert!(
            error.is_bad_input() && error.to_string().contains(name),
            "{error}"
        );
    }
    let si = SiConfig {
        xi: 0.0,
        ..SiConfig::new(1.0)
    };
    let error = Si::new(si, &scenario).unwrap_err();
    assert!(error.to_string().contains("xi"), "{error}");
    let free = pairs(Setting::Free, 2, 4);
    let error = Ewc::new(config, free.clone(), head.clone()).unwrap_err();
    assert!(error.to_string().contains("where contexts end"), "{error}");
    assert!(Si::new(SiConfig::new(1.0), &free).is_err());

    let mut ewc = Ewc::new(config, scenario.clone(), head).unwrap();
    ewc.end_task(0, &network).unwrap();
    let wider = Network::on(&mlp(&scenario, &[6]), 2, &tracked());
    let error = term(&ewc, 1, &wider, &batch).map(|(value, _)| value);
    let error = error.unwrap_err();
    assert!(error.to_string().contains("had before"), "{error}");
}
