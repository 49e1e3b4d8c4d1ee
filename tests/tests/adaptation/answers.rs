//! What is made of examples without training, and what bad ones come to.

use forgeling::data::{Examples, ImageShape, Targets, Task};
use forgeling::meta::{Adaptation, Learner, LearnerConfig, Method, MethodConfig};
use forgeling::nn::graph::{Graph, Shape};
use forgeling::nn::zoo::{Conv4Config, MlpConfig};
use forgeling::nn::{Network, Normalization, normalizing_by};
use forgeling_tests::networks::features;
use forgeling_tests::{assert_close, gpus, waves};

use super::*;

/// What the whole model says of a task, as probabilities of each query's classes.
fn by_task(learner: &Learner, shots: &[usize], query: &[f32]) -> Vec<f64> {
    let mut support = Examples {
        inputs: Vec::new(),
        targets: Targets::Classes(Vec::new()),
    };
    let mut labels = Vec::new();
    for (class, &shots) in shots.iter().enumerate() {
        for example in 0..shots {
            support.inputs.extend(drawing(class, example));
            labels.push(class);
        }
    }
    support.targets = Targets::Classes(labels);
    let query = Examples {
        inputs: query.to_vec(),
        targets: Targets::Classes(vec![0]),
    };
    let task = Task::new(ImageShape::new(1, 8, 8), shots.len(), support, query).unwrap();
    let logits = pollster::block_on(learner.answer(&[task], false)).unwrap();
    let powers = logits[0]
        .iter()
        .map(|&logit| f64::from(logit - logits[0][0]).exp());
    let sum: f64 = powers.clone().sum();
    powers.map(|power| power / sum).collect()
}

#[test]
fn every_method_answers_as_it_does_in_a_task() {
    for method in Method::ALL {
        let learner = tiny(method);
        let mut classifier = learner.classifier();
        // Fewer classes than the network of a gradient learner has outputs, of different sizes.
        let shots = [3, 2];
        teach(&mut classifier, &shots);
        let queries = [drawing(0, 9), drawing(1, 9), drawing(5, 0)];
        let borrowed: Vec<&[f32]> = queries.iter().map(Vec::as_slice).collect();
        let together = pollster::block_on(classifier.classify_all(&borrowed)).unwrap();
        for (query, found) in queries.iter().zip(together) {
            let sum: f64 = found.iter().map(|p| p.probability).sum();
            assert!(found.len() == 2 && (sum - 1.0).abs() < 1e-9, "{method}");
            let alone = classify(&mut classifier, query);
            assert_eq!(alone[0].label, found[0].label, "{method}");
            let own = probabilities(&mut classifier, query);
            for (own, whole) in own.iter().zip(by_task(&learner, &shots, query)) {
                assert!((own - whole).abs() < 1e-4, "{method}: {own} {whole}");
            }
            assert!(
                (alone[0].probability - found[0].probability).abs() < 1e-5,
                "{method}"
            );
        }
    }
}

#[test]
fn every_model_adapts_in_every_way() {
    for method in Method::ALL {
        let learner = tiny(method);
        let ways = [Adaptation::Lda, Adaptation::Ridge, head(2), lora(2)];
        for adaptation in [Adaptation::Prototypes].into_iter().chain(ways) {
            let mut classifier = learner.classifier_with(adaptation).unwrap();
            teach(&mut classifier, &[3, 3, 4, 3]);
            let summary = adapt(&mut classifier).unwrap();
            let trained = summary.fine_tune.is_some();
            assert_eq!(trained, adaptation.fine_tune().is_some(), "{method}");
            let found = classify(&mut classifier, &drawing(2, 9));
            let sum: f64 = found.iter().map(|p| p.probability).sum();
            assert!(
                found.len() == 4 && (sum - 1.0).abs() < 1e-9,
                "{method} {adaptation}"
            );
        }
    }
}

#[test]
fn every_device_adapts_alike() {
    for method in [Method::ProtoNet, Method::R2d2, Method::FoMaml] {
        for adaptation in [Adaptation::Method, head(5), lora(5)] {
            let run = |device: &Device| {
                let learner = tiny_on(method, device);
                let mut classifier = learner.classifier_with(adaptation).unwrap();
                teach(&mut classifier, &[2, 2, 2]);
                probabilities(&mut classifier, &drawing(1, 9))
            };
            let expected = run(&cpu());
            for device in gpus() {
                for (got, expected) in run(&device).iter().zip(&expected) {
                    let name = &device.info().name;
                    // Adam's steps do not shrink with the gradient.
                    assert!(
                        (got - expected).abs() < 0.01,
                        "{method} {adaptation} on {name}"
                    );
                }
            }
        }
    }
}

#[test]
fn prototypes_are_what_a_prototypical_network_has() {
    let learner = tiny(Method::ProtoNet);
    let mut own = learner.classifier();
    let mut asked = learner.classifier_with(Adaptation::Prototypes).unwrap();
    for classifier in [&mut own, &mut asked] {
        teach(classifier, &[2, 3, 1]);
    }
    let image = drawing(1, 9);
    assert_eq!(classify(&mut own, &image), classify(&mut asked, &image));
    // Examples that come or go change the answer.
    let before = classify(&mut own, &image);
    pollster::block_on(own.add("1", &image)).unwrap();
    assert_ne!(classify(&mut own, &image), before);
    assert!(own.remove("2") && !own.remove("2"));
    assert_eq!(classify(&mut own, &image).len(), 2);
}

#[test]
fn a_batchs_statistics_can_take_the_place_of_the_running_ones() {
    let config = Conv4Config {
        filters: 5,
        blocks: 2,
        size: 9,
        ..Default::default()
    };
    let graph = config.graph().unwrap();
    let conv4 = Network::on(&graph, 0, cpu().tensors());
    let images = |count: usize, phase| {
        let values = burn::tensor::TensorData::new(waves(count * 81, phase), [count, 1, 9, 9]);
        burn::tensor::Tensor::<4>::from_data(values, cpu().tensors())
    };
    let batch = Normalization::Batch;
    let (expected, statistics) = features(&conv4, images(6, 0.0), batch).unwrap();
    let fixed = normalizing_by(conv4.clone(), statistics).unwrap();
    let read = |tensor: burn::tensor::Tensor<2>| tensor.into_data().try_into_vec::<f32>().unwrap();
    let running = Normalization::Running;
    let (got, _) = features(&fixed, images(6, 0.0), running).unwrap();
    assert_close("features", &read(got), &read(expected.clone()), 1e-5);
    let (plain, _) = features(&conv4, images(6, 0.0), running).unwrap();
    assert_ne!(read(plain), read(expected));
}

#[test]
fn bad_examples_are_errors_and_change_nothing() {
    for method in [Method::ProtoNet, Method::Maml] {
        for adaptation in [Adaptation::Method, Adaptation::Prototypes, head(2), lora(2)] {
            let mut classifier = tiny(method).classifier_with(adaptation).unwrap();
            let what = format!("{method} {adaptation}");
            assert!(adapt(&mut classifier).unwrap_err().is_bad_input(), "{what}");
            let nothing = classifier.classify(&[0.0; 64]);
            assert!(
                pollster::block_on(nothing).unwrap_err().is_bad_input(),
                "{what}"
            );
            for wrong in [&[][..], &[0.0; 63], &[f32::NAN; 64], &[f32::INFINITY; 64]] {
                let examples = [("a", &[0.5; 64][..]), ("b", wrong)];
                let added = pollster::block_on(classifier.add_all(&examples));
                assert!(added.unwrap_err().is_bad_input(), "{what}");
                assert_eq!(classifier.labels().count(), 0, "{what}");
            }
            teach(&mut classifier, &[3]);
            let adapted = adapt(&mut classifier);
            if adaptation.fine_tune().is_some() {
                let error = adapted.unwrap_err();
                assert!(error.to_string().contains("at least 2 classes"), "{error}");
            } else {
                assert_eq!(
                    classify(&mut classifier, &drawing(0, 5))[0].probability,
                    1.0
                );
            }
            teach(&mut classifier, &[0, 3]);
            let wrong = classifier.classify(&[f32::NAN; 64]);
            assert!(
                pollster::block_on(wrong).unwrap_err().is_bad_input(),
                "{what}"
            );
        }
    }
}

#[test]
fn more_classes_than_outputs_are_an_error_that_says_so() {
    let mut classifier = tiny(Method::FoMaml).classifier();
    teach(&mut classifier, &[1, 1, 1, 1]);
    for error in [
        adapt(&mut classifier).unwrap_err(),
        pollster::block_on(classifier.classify(&drawing(0, 0))).unwrap_err(),
    ] {
        let text = error.to_string();
        assert!(
            error.is_bad_input() && text.contains("more classes"),
            "{text}"
        );
    }
    assert!(classifier.remove("3"));
    assert_eq!(classify(&mut classifier, &drawing(0, 0)).len(), 3);
}

#[test]
fn adapters_and_features_need_a_network_that_has_some() {
    let perceptron = |hidden| {
        let config = MlpConfig {
            input: Shape::Values(64),
            hidden,
            classes: 3,
        };
        config.graph().unwrap()
    };
    let maml = |network: Graph| {
        let config = LearnerConfig::new(MethodConfig::of(Method::Maml, 0), network);
        Learner::new(&config, &cpu()).unwrap()
    };
    let encoder = perceptron(vec![5]).as_encoder();
    let learner = Learner::protonet(&encoder, 0, &cpu()).unwrap();
    let error = learner.classifier_with(lora(2)).unwrap_err();
    assert!(
        error.is_bad_input() && error.to_string().contains("convolutions"),
        "{error}"
    );

    let mut classifier = maml(perceptron(vec![5])).classifier_with(head(3)).unwrap();
    teach(&mut classifier, &[3, 3]);
    assert_eq!(classify(&mut classifier, &drawing(0, 9)).len(), 2);

    let linear = maml(perceptron(vec![]));
    let mut classifier = linear.classifier_with(Adaptation::Prototypes).unwrap();
    teach(&mut classifier, &[3, 3]);
    let error = adapt(&mut classifier).unwrap_err();
    assert!(error.to_string().contains("no features"), "{error}");
}
