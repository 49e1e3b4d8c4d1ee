//! How far answers can be believed: probabilities that are as often right as they say, and pictures of nothing known.

use std::ops::ControlFlow;
use std::sync::Arc;

use forgeling::data::{Dataset, Glyphs, Loader, LoaderConfig, Rng, Split, Subset};
use forgeling::meta::{
    Adaptation, Answer, FineTuneConfig, FitConfig, Learner, LearnerConfig, LoraConfig, Method,
    MethodConfig,
};
use forgeling::nn::Network;
use forgeling::nn::catalog::ModelConfig;
use forgeling::nn::graph::Shape;
use forgeling::nn::zoo::{Conv4Config, MlpConfig};
use forgeling::train::{
    CrossEntropy, Epochs, HardwareConfig, HardwareManager, ModelCard, Run, SavedNetwork, Schedule,
    Trainer, TrainerConfig, TrainingHistory,
};
use forgeling::{Device, DeviceChoice};

fn cpu() -> Device {
    pollster::block_on(Device::open(DeviceChoice::Cpu)).unwrap()
}

fn read(data: &dyn Dataset, class: usize, example: usize) -> Vec<f32> {
    let mut image = vec![0.0; data.image_shape().len()];
    data.read(class, example, &mut image).unwrap();
    image
}

/// Uniform noise, and pictures of one grey each.
fn nothing(pixels: usize, seed: u64) -> Vec<Vec<f32>> {
    let mut rng = Rng::new(seed);
    let noise = (0..6).map(|_| (0..pixels).map(|_| rng.unit_f32()).collect());
    let flat = [0.0, 0.1, 0.5, 1.0].map(|grey| vec![grey; pixels]);
    noise.chain(flat).collect()
}

fn borrowed(images: &[Vec<f32>]) -> Vec<&[f32]> {
    images.iter().map(Vec::as_slice).collect()
}

/// Part of the answers that say unknown rather than anything else.
fn refused(answers: &[Answer]) -> f64 {
    let refused = answers.iter().filter(|answer| answer.unknown > 0.5);
    refused.count() as f64 / answers.len() as f64
}

fn mean(answers: &[Answer], of: impl Fn(&Answer) -> f64) -> f64 {
    answers.iter().map(of).sum::<f64>() / answers.len() as f64
}

/// The expected calibration error over 15 bins, and the mean negative log likelihood.
#[derive(Default)]
struct Calibration {
    bins: [f64; 15],
    surprise: f64,
    count: f64,
}

impl Calibration {
    /// Names with their probabilities, the largest first, of which one is right.
    fn add(&mut self, predictions: &[forgeling::meta::Prediction], right: &str) {
        let sum: f64 = predictions.iter().map(|p| p.probability).sum();
        let sure = predictions[0].probability / sum;
        let hit = f64::from(u8::from(predictions[0].label == right));
        self.bins[((sure * 15.0) as usize).min(14)] += sure - hit;
        let own = predictions.iter().find(|p| p.label == right).unwrap();
        self.surprise -= (own.probability / sum).max(1e-30).ln();
        self.count += 1.0;
    }

    fn error(&self) -> f64 {
        self.bins.iter().map(|gap| gap.abs()).sum::<f64>() / self.count
    }

    fn likelihood(&self) -> f64 {
        self.surprise / self.count
    }
}

/// What many tasks of five characters come to.
#[derive(Default)]
struct Found {
    raw: Calibration,
    calibrated: Calibration,
    /// Answers to drawings of the five, of a sixth character, and to pictures of nothing.
    known: Vec<Answer>,
    sixth: Vec<Answer>,
    nothing: Vec<Answer>,
    /// Of the last task.
    calibrated_on: usize,
}

fn tasks(learner: &Learner, adaptation: Adaptation, shots: usize, count: usize) -> Found {
    let glyphs = Glyphs::new(0, Split::Test, 300).unwrap();
    let mut rng = Rng::new(11);
    let mut found = Found::default();
    for task in 0..count {
        let classes = rng.choose_distinct(300, 6).unwrap();
        let mut classifier = learner.classifier_with(adaptation).unwrap();
        for class in &classes[..5] {
            let (label, images) = (
                class.to_string(),
                (0..shots).map(|e| read(&glyphs, *class, e)),
            );
            let images: Vec<Vec<f32>> = images.collect();
            let examples: Vec<(&str, &[f32])> =
                images.iter().map(|i| (&label[..], &i[..])).collect();
            pollster::block_on(classifier.add_all(&examples)).unwrap();
        }
        let summary = classifier.adapt(|_| ControlFlow::Continue(()));
        found.calibrated_on = pollster::block_on(summary).unwrap().calibrated_on;
        let mut answer = |images: &[Vec<f32>]| {
            pollster::block_on(classifier.answer_all(&borrowed(images))).unwrap()
        };
        found.nothing.extend(answer(&nothing(784, task as u64)));
        let sixth: Vec<Vec<f32>> = (20..25).map(|e| read(&glyphs, classes[5], e)).collect();
        found.sixth.extend(answer(&sixth));
        for class in &classes[..5] {
            let label = class.to_string();
            let images: Vec<Vec<f32>> = (20..25).map(|e| read(&glyphs, *class, e)).collect();
            let answers = pollster::block_on(classifier.answer_all(&borrowed(&images))).unwrap();
            let raw = pollster::block_on(classifier.classify_all(&borrowed(&images))).unwrap();
            for (answer, raw) in answers.iter().zip(&raw) {
                found.raw.add(raw, &label);
                found.calibrated.add(&answer.predictions, &label);
            }
            found.known.extend(answers);
        }
    }
    found
}

impl Found {
    fn print(&self, name: &str) {
        println!(
            "{name}: calibration error {:.3} raw, {:.3} now; likelihood {:.3} raw, {:.3} now; refused {:.3} known, {:.3} \
             sixth, {:.3} nothing; best {:.3} known, {:.3} sixth",
            self.raw.error(),
            self.calibrated.error(),
            self.raw.likelihood(),
            self.calibrated.likelihood(),
            refused(&self.known),
            refused(&self.sixth),
            refused(&self.nothing),
            mean(&self.known, |a| a.predictions[0].probability),
            mean(&self.sixth, |a| a.predictions[0].probability),
        );
    }
}

fn fitted(method: Method, episodes: usize) -> Learner {
    let encoder = Conv4Config {
        filters: 8,
        ..Default::default()
    };
    let config = LearnerConfig {
        seed: 1,
        ways: 5,
        ..LearnerConfig::new(MethodConfig::of(method, 0), encoder.graph().unwrap())
    };
    let mut learner = Learner::new(&config, &cpu()).unwrap();
    let train = Glyphs::new(0, Split::Train, 300).unwrap();
    let fit = FitConfig {
        episodes: Some(episodes),
        ..Default::default()
    };
    pollster::block_on(learner.fit(&train, fit, |_| ControlFlow::Continue(()))).unwrap();
    learner
}

#[test]
fn few_shot_answers_are_as_often_right_as_they_say_and_refuse_what_is_nothing() {
    let learner = fitted(Method::ProtoNet, 200);
    let found = tasks(&learner, Adaptation::Method, 5, 40);
    found.print("protonet");
    assert_eq!(found.calibrated_on, 25);
    let (raw, now) = (&found.raw, &found.calibrated);
    assert!(now.error() < raw.error().max(0.05), "{}", now.error());
    // It is trained for tasks like these, and 25 examples must not make it worse. 0.827 and 0.828 when this was written.
    assert!(now.likelihood() < raw.likelihood() + 0.005);
    check(&found);
    assert!(surer(&found) > 0.015);
    for answer in found.known.iter().chain(&found.nothing) {
        let sum: f64 = answer.predictions.iter().map(|p| p.probability).sum();
        assert!((sum + answer.unknown - 1.0).abs() < 1e-9);
    }

    // One example each: nothing to calibrate on, but noise is still no drawing.
    let found = tasks(&learner, Adaptation::Method, 1, 20);
    found.print("one shot");
    assert_eq!(found.calibrated_on, 0);
    assert_eq!(found.raw.surprise, found.calibrated.surprise);
    assert!(refused(&found.nothing) >= 0.95 && refused(&found.known) <= 0.05);
}

/// Noise and greys are refused, and drawings are not.
fn check(found: &Found) {
    assert!(refused(&found.nothing) >= 0.95);
    assert!(refused(&found.known) <= 0.06);
}

/// How much surer the best answer is of characters that are known than of one that is not.
fn surer(found: &Found) -> f64 {
    let best = |answers| mean(answers, |answer| answer.predictions[0].probability);
    best(&found.known) - best(&found.sixth)
}

#[test]
fn heads_adapters_and_inner_steps_are_calibrated_too() {
    let protonet = fitted(Method::ProtoNet, 100);
    let epochs = 20;
    let head = FineTuneConfig {
        epochs,
        ..Default::default()
    };
    let lora = LoraConfig {
        fine_tune: head,
        ..Default::default()
    };
    let ridge = fitted(Method::R2d2, 60);
    let maml = fitted(Method::FoMaml, 20);
    // The change of the likelihood was 0.020, -0.006, -0.353 and -0.070 when this was written.
    for (name, learner, adaptation, calibrated_on, most) in [
        ("head", &protonet, Adaptation::Head(head), 25, 0.04),
        ("lora", &protonet, Adaptation::Lora(lora), 5, 0.03),
        ("ridge regression", &ridge, Adaptation::Method, 25, -0.15),
        ("inner steps", &maml, Adaptation::Method, 25, -0.02),
    ] {
        let found = tasks(learner, adaptation, 5, 6);
        found.print(name);
        assert_eq!(found.calibrated_on, calibrated_on, "{name}");
        let (raw, now) = (&found.raw, &found.calibrated);
        assert!(now.likelihood() < raw.likelihood() + most, "{name}");
        check(&found);
    }
}

/// A network trained for some epochs on ten characters, and what it was not trained on.
fn network(model: &str, epochs: usize) -> (SavedNetwork, Subset<Glyphs>) {
    let glyphs = Glyphs::new(0, Split::Train, 10).unwrap();
    let glyphs = Subset::first(glyphs, 80).unwrap();
    let (train, held_out) = glyphs.split(0.25, 0).unwrap();
    let mut config = ModelConfig::new(model).unwrap();
    config.input = train.image_shape();
    let width = if model == "mlp" { 64 } else { 8 };
    config.options.insert("width".into(), width);
    let graph = config.graph().unwrap();
    let mut network = Network::new(&graph, 0, &cpu());
    let classes = (0..10).map(|class| train.class_name(class)).collect();
    let mut source = Epochs::of(Loader::new(Arc::new(train), LoaderConfig::default()).unwrap());
    let manager = HardwareManager::on(cpu(), HardwareConfig::default()).unwrap();
    let trainer = TrainerConfig {
        epochs: Some(epochs),
        schedule: Schedule::Constant { rate: 0.003 },
        ..Default::default()
    };
    let mut trainer = Trainer::new(trainer, manager).unwrap();
    let run = Run::on(&mut source);
    let fit = trainer.fit(&mut network, &CrossEntropy, run, |_| {
        ControlFlow::Continue(())
    });
    pollster::block_on(fit).unwrap();
    let saved = SavedNetwork {
        model: model.into(),
        classes,
        pictures: None,
        sounds: None,
        normalization: None,
        card: ModelCard::default(),
        history: TrainingHistory::default(),
        confidence: None,
        storage: Default::default(),
        network,
    };
    (saved, held_out)
}

fn answers(saved: &SavedNetwork, images: &[Vec<f32>]) -> Vec<Answer> {
    pollster::block_on(saved.answer(&borrowed(images), &cpu())).unwrap()
}

#[test]
fn trained_networks_are_calibrated_on_what_was_held_out() {
    let glyphs = Glyphs::new(0, Split::Train, 40).unwrap();
    for (model, epochs) in [("mlp", 30), ("conv4", 6)] {
        let (mut saved, held_out) = network(model, epochs);
        let known: Vec<Vec<f32>> = (0..400)
            .map(|i| read(&glyphs, i % 10, 1000 + i / 10))
            .collect();
        let others: Vec<Vec<f32>> = (0..300)
            .map(|i| read(&glyphs, 10 + i % 30, i / 30))
            .collect();
        let nothing: Vec<Vec<f32>> = (0..10).flat_map(|seed| nothing(784, seed)).collect();
        let raw = answers(&saved, &known);
        assert!(raw.iter().all(|answer| answer.unknown < 0.001));
        pollster::block_on(saved.calibrate(&held_out, &cpu())).unwrap();
        let confidence = saved.confidence.clone().unwrap();
        assert_eq!(confidence.temperature.examples, 200);
        let mut found = Found {
            known: answers(&saved, &known),
            sixth: answers(&saved, &others),
            nothing: answers(&saved, &nothing),
            ..Default::default()
        };
        for (place, (raw, now)) in raw.iter().zip(&found.known).enumerate() {
            let right = &saved.classes[place % 10];
            found.raw.add(&raw.predictions, right);
            found.calibrated.add(&now.predictions, right);
        }
        found.print(model);
        let (raw, now) = (&found.raw, &found.calibrated);
        // 0.168 and 0.064 of the perceptron, 0.344 and 0.051 of Conv4 when this was written.
        assert!(now.error() < 0.6 * raw.error(), "{}", now.error());
        assert!(now.likelihood() < raw.likelihood() - 0.15);
        check(&found);
        assert!(surer(&found) > 0.05);

        // A file keeps it.
        let bytes = pollster::block_on(saved.to_bytes()).unwrap();
        let loaded = SavedNetwork::from_bytes(&bytes, &cpu()).unwrap();
        for (before, after) in found.known.iter().zip(answers(&loaded, &known)) {
            assert!((before.unknown - after.unknown).abs() < 1e-9);
            for (before, after) in before.predictions.iter().zip(&after.predictions) {
                assert_eq!(before.label, after.label);
                assert!((before.probability - after.probability).abs() < 1e-9);
            }
        }
        // One that is out of range is refused.
        saved.confidence.as_mut().unwrap().temperature.value = 0.0;
        let refused = pollster::block_on(saved.to_bytes()).unwrap_err();
        assert!(refused.to_string().contains("temperature"), "{refused}");
    }
}

#[test]
fn images_that_do_not_fit_are_errors_and_change_nothing() {
    let (mut saved, held_out) = network("mlp", 1);
    pollster::block_on(saved.calibrate(&held_out, &cpu())).unwrap();
    let before = saved.confidence.clone();
    let small = Glyphs::new(0, Split::Train, 10).unwrap().with_size(12);
    let fewer = Glyphs::new(0, Split::Train, 9).unwrap();
    let none = Subset::first(Glyphs::new(0, Split::Train, 10).unwrap(), 0).unwrap();
    let wrong: [&dyn Dataset; 3] = [&small.unwrap(), &fewer, &none];
    for wrong in wrong {
        let error = pollster::block_on(saved.calibrate(wrong, &cpu())).unwrap_err();
        assert!(error.is_bad_input(), "{error}");
        assert_eq!(saved.confidence, before);
    }
    for wrong in [vec![0.0; 783], vec![f32::NAN; 784]] {
        let images = [&[0.5; 784][..], &wrong[..]];
        let error = pollster::block_on(saved.answer(&images, &cpu())).unwrap_err();
        assert!(error.to_string().contains("image 1"), "{error}");
    }
    assert!(answers(&saved, &[]).is_empty());
}

#[test]
fn rows_of_numbers_have_answers_too() {
    // No features before the last layer: what is like the examples is all that is known.
    let linear = MlpConfig {
        input: Shape::Values(6),
        hidden: vec![],
        classes: 2,
    };
    let config = LearnerConfig {
        ways: 2,
        ..LearnerConfig::new(MethodConfig::of(Method::Maml, 0), linear.graph().unwrap())
    };
    let learner = Learner::new(&config, &cpu()).unwrap();
    let mut classifier = learner.classifier();
    let mut rng = Rng::new(2);
    for place in 0..8 {
        let row: Vec<f32> = (0..6).map(|_| rng.unit_f32()).collect();
        pollster::block_on(classifier.add(["a", "b"][place % 2], &row)).unwrap();
    }
    let near = pollster::block_on(classifier.answer(&[0.2, 0.9, 0.4, 0.6, 0.1, 0.7])).unwrap();
    let far = pollster::block_on(classifier.answer(&[90.0, -90.0, 90.0, -90.0, 90.0, 90.0]));
    assert!(near.unknown < 0.5 && near.class(0.5).is_some(), "{near:?}");
    assert!(far.unwrap().unknown > 0.99);
}
