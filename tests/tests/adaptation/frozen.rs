//! A network that was trained for something else, as an encoder; features that are kept; mirror images.

use burn::module::Module;
use burn::tensor::{Tensor, TensorData};
use forgeling::data::{
    Examples, ImageShape, Preparation, Standardization, Targets, Task, TaskSource,
};
use forgeling::meta::{Embedding, Score};
use forgeling::nn::{Network, Normalization, Pass};
use forgeling::train::{ModelCard, SavedNetwork, TrainingHistory};
use forgeling_tests::{assert_close, devices};

use super::*;

const SHAPE: ImageShape = ImageShape::new(3, 8, 8);

/// A classifier of red, green and blue, standardised by constants of its own.
fn saved(device: &Device) -> SavedNetwork {
    let encoder = Conv4Config {
        channels: 3,
        filters: 4,
        blocks: 2,
        size: 8,
        ..Default::default()
    };
    let graph = encoder.graph().unwrap().with_outputs(2).unwrap();
    SavedNetwork {
        model: "conv4".into(),
        classes: ["one", "other"].map(String::from).to_vec(),
        pictures: Some(Preparation::DRAWINGS),
        sounds: None,
        normalization: Some(Standardization {
            mean: vec![0.5, 0.4, 0.3],
            deviation: vec![0.2, 0.3, 0.4],
        }),
        card: ModelCard::default(),
        history: TrainingHistory::default(),
        confidence: None,
        storage: Default::default(),
        network: Network::new(&graph, 3, device),
    }
}

/// Drawings in a colour of their own.
fn coloured(class: usize, example: usize) -> Vec<f32> {
    let drawing = drawing(class, example);
    let tint = |channel: usize| 0.3 + 0.2 * ((class + channel + example) % 3) as f32;
    let plane = |channel| drawing.iter().map(move |ink| ink * tint(channel));
    (0..3).flat_map(plane).collect()
}

fn mirrored(image: &[f32]) -> Vec<f32> {
    let rows = image.chunks_exact(SHAPE.width);
    rows.flat_map(|row| row.iter().rev().copied()).collect()
}

fn embed(classifier: &Classifier, images: &[&[f32]]) -> Vec<Embedding> {
    pollster::block_on(classifier.embed_all(images)).unwrap()
}

#[test]
fn a_classifiers_file_is_an_encoder_of_what_it_was_trained_on() {
    for device in devices() {
        let saved = saved(&device);
        let bytes = pollster::block_on(saved.to_bytes()).unwrap();
        let learner = Learner::from_bytes(&bytes, &device).unwrap();
        assert_eq!(learner.method(), Method::ProtoNet);
        assert_eq!(learner.input_shape(), SHAPE);
        assert_eq!(learner.pictures(), saved.pictures);
        assert_eq!(learner.history().classes, saved.classes);
        // The features of its network, of images that are standardised as it says.
        let image = coloured(1, 2);
        let values = saved.normalized(image.clone()).unwrap();
        let images = TensorData::new(values, [1, 3, 8, 8]);
        let images = Tensor::<4>::from_data(images, device.tensors());
        let network = saved.network.valid();
        let mut pass = Pass::new(Normalization::Running, device.tensors());
        let maps = network.features(images, &mut pass).unwrap();
        let features = maps.into_data().try_to_vec::<f32>().unwrap();
        let found = embed(&learner.classifier(), &[&image]);
        assert_close("features", &found[0].features, &features, 1e-5);
        // As a few-shot model of its own it is the same.
        let again = pollster::block_on(learner.to_bytes()).unwrap();
        let again = Learner::from_bytes(&again, &device).unwrap();
        assert_eq!(again.config(), learner.config());
        assert_eq!(embed(&again.classifier(), &[&image]), found);
    }
}

/// Tasks that are there already.
struct Given<'a>(std::slice::Iter<'a, Task>);

impl TaskSource for Given<'_> {
    fn next_task(&mut self) -> forgeling::Result<Option<Task>> {
        Ok(self.0.next().cloned())
    }

    fn state(&self) -> serde_json::Value {
        serde_json::Value::Null
    }

    fn resume(&mut self, _state: &serde_json::Value) -> forgeling::Result<()> {
        Ok(())
    }
}

#[test]
fn episodes_are_standardised_too() {
    let device = cpu();
    // Features are far apart then, which an untrained network's are not otherwise.
    let constants = Standardization {
        mean: vec![0.5, 0.4, 0.3],
        deviation: vec![0.002, 0.003, 0.004],
    };
    let saved = SavedNetwork {
        normalization: Some(constants.clone()),
        ..saved(&device)
    };
    let plain = SavedNetwork {
        normalization: None,
        ..saved.clone()
    };
    let task = |first: usize| {
        let examples = |each: std::ops::Range<usize>| {
            let places = each.flat_map(|example| (0..3).map(move |way| (way, example)));
            let places: Vec<(usize, usize)> = places.collect();
            Examples {
                inputs: (places.iter())
                    .flat_map(|&(way, example)| coloured(first + way, example))
                    .collect(),
                targets: Targets::Classes(places.iter().map(|&(way, _)| way).collect()),
            }
        };
        Task::new(SHAPE, 3, examples(0..2), examples(2..5)).unwrap()
    };
    let raw: Vec<Task> = (0..4).map(task).collect();
    let standardised = raw.iter().cloned();
    let standardised: Vec<Task> = standardised
        .map(|task| task.standardized(&constants).unwrap())
        .collect();
    let likelihood = |saved: SavedNetwork, tasks: &[Task]| {
        let learner = Learner::frozen(saved, &device).unwrap();
        let mut source = Given(tasks.iter());
        let found = learner.evaluate_tasks(&mut source, None, false, |class| class.to_string());
        let Score::Classification(details) = pollster::block_on(found).unwrap().score else {
            panic!("tasks of classes");
        };
        let features = pollster::block_on(learner.features(&tasks[0])).unwrap();
        let answers = pollster::block_on(learner.answer(tasks, false)).unwrap();
        (details.negative_log_likelihood, features, answers)
    };
    let by_model = likelihood(saved, &raw);
    assert_eq!(by_model, likelihood(plain.clone(), &standardised));
    let without = likelihood(plain, &raw);
    assert!(
        (by_model.0 - without.0).abs() > 0.1,
        "{} {}",
        by_model.0,
        without.0
    );
    assert!(by_model.1 != without.1 && by_model.2 != without.2);
}

#[test]
fn features_that_were_kept_answer_as_their_images() {
    let learner = Learner::frozen(saved(&cpu()), &cpu()).unwrap();
    for adaptation in [
        Adaptation::Prototypes,
        Adaptation::Lda,
        Adaptation::Ridge,
        head(3),
    ] {
        let mut by_pixels = learner.classifier_with(adaptation).unwrap();
        let mut by_features = by_pixels.clone();
        for place in 0..12 {
            let (label, image) = (["a", "b", "c"][place % 3], coloured(place % 3, place / 3));
            pollster::block_on(by_pixels.add(label, &image)).unwrap();
            let embedding = embed(&by_features, &[&image]).remove(0);
            // As a file may keep it.
            let text = serde_json::to_string(&embedding).unwrap();
            let embedding = serde_json::from_str(&text).unwrap();
            by_features.add_embedded(vec![(label, embedding)]).unwrap();
        }
        let images = [coloured(0, 9), coloured(1, 9), coloured(7, 1)];
        let images: Vec<&[f32]> = images.iter().map(Vec::as_slice).collect();
        let expected = pollster::block_on(by_pixels.answer_all(&images)).unwrap();
        let kept = embed(&by_features, &images);
        let found = pollster::block_on(by_features.answer_embedded(&kept)).unwrap();
        assert_eq!(found, expected, "{adaptation}");
    }
}

#[test]
fn features_of_another_network_are_refused_and_nothing_is_added() {
    let learner = Learner::frozen(saved(&cpu()), &cpu()).unwrap();
    let mut classifier = learner.classifier();
    let whole = embed(&classifier, &[&coloured(0, 0)]).remove(0);
    let mut shorter = whole.clone();
    shorter.features.pop();
    let mut broken = whole.clone();
    broken.features[0] = f32::NAN;
    let mut other = whole.clone();
    other.statistics.clear();
    for wrong in [shorter, broken, other] {
        let both = vec![("a", whole.clone()), ("a", wrong.clone())];
        assert!(classifier.add_embedded(both).unwrap_err().is_bad_input());
        assert_eq!(classifier.labels().count(), 0);
        let answer = pollster::block_on(classifier.answer_embedded(&[wrong]));
        assert!(answer.unwrap_err().is_bad_input());
    }
    // What adapts the network itself keeps pixels.
    for (learner, adaptation) in [(learner, lora(1)), (tiny(Method::Maml), Adaptation::Method)] {
        let mut classifier = learner.classifier_with(adaptation).unwrap();
        assert!(!classifier.embeds());
        let image = vec![0.5; learner.input_shape().len()];
        assert!(pollster::block_on(classifier.embed_all(&[&image])).is_err());
        assert!(classifier.add_embedded(vec![("a", whole.clone())]).is_err());
        assert!(classifier.with_mirrored().is_err());
    }
}

#[test]
fn mirror_images_have_the_same_features() {
    let learner = Learner::frozen(saved(&cpu()), &cpu()).unwrap();
    let (image, other) = (coloured(3, 1), mirrored(&coloured(3, 1)));
    let plain = embed(&learner.classifier(), &[&image, &other]);
    assert_ne!(plain[0].features, plain[1].features);
    let classifier = learner.classifier().with_mirrored().unwrap();
    let both = embed(&classifier, &[&image, &other]);
    assert_eq!(both[0].features, both[1].features);
    let means = plain[0].features.iter().zip(&plain[1].features);
    let means: Vec<f32> = means.map(|(a, b)| (a + b) / 2.0).collect();
    assert_close("mean", &both[0].features, &means, 1e-6);
    let mut begun = learner.classifier();
    pollster::block_on(begun.add("a", &image)).unwrap();
    assert!(begun.with_mirrored().unwrap_err().is_bad_input());
}
