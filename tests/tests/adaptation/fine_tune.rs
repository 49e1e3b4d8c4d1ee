//! When training ends, and what it leaves as it was.

use forgeling::ErrorKind;
use forgeling::data::Rng;
use forgeling::meta::{FineTuneEvent, Prediction};

use super::*;

fn adapt_watched(
    classifier: &mut Classifier,
) -> (forgeling::meta::FineTuneSummary, Vec<FineTuneEvent>) {
    let mut events = Vec::new();
    let summary = pollster::block_on(classifier.adapt(|event| {
        events.push(*event);
        ControlFlow::Continue(())
    }));
    (summary.unwrap().fine_tune.unwrap(), events)
}

/// Noise, which is of no class: what is learned of some says nothing of others.
fn teach_noise(classifier: &mut Classifier, classes: usize, each: usize) {
    let mut rng = Rng::new(5);
    for place in 0..classes * each {
        let image: Vec<f32> = (0..64).map(|_| rng.unit_f32()).collect();
        let label = (place % classes).to_string();
        pollster::block_on(classifier.add(&label, &image)).unwrap();
    }
}

#[test]
fn training_stops_when_the_held_out_loss_rises() {
    let config = FineTuneConfig {
        epochs: 300,
        learning_rate: 0.05,
        patience: 6,
        ..Default::default()
    };
    let with = |fine_tune| {
        let adapters = LoraConfig {
            fine_tune,
            ..Default::default()
        };
        [Adaptation::Head(fine_tune), Adaptation::Lora(adapters)]
    };
    for adaptation in with(config) {
        let mut classifier = tiny(Method::ProtoNet).classifier_with(adaptation).unwrap();
        teach_noise(&mut classifier, 3, 10);
        let (summary, events) = adapt_watched(&mut classifier);
        let search: Vec<&FineTuneEvent> = events.iter().filter(|event| event.searching).collect();
        let last = search.len();
        assert!(summary.stopped_early && last < 300, "{adaptation}: {last}");
        let losses: Vec<f64> = search.iter().map(|e| e.held_out_loss.unwrap()).collect();
        let best = losses.iter().copied().fold(f64::INFINITY, f64::min);
        assert!(losses[last - 1] > best, "{adaptation}: {losses:?}");
        let place = losses.iter().position(|&loss| loss == best).unwrap();
        assert_eq!(last, place + 1 + 6, "patience");
        assert!(
            summary.epochs == place + 1 || summary.epochs == 0,
            "{summary:?}"
        );
        // The training on all examples that follows.
        assert_eq!(events.len() - last, summary.epochs, "{adaptation}");
        let held_out = search[place].held_out_accuracy;
        assert!(summary.epochs == 0 || summary.held_out_accuracy == held_out);
    }
    // With more patience than epochs there is nothing to stop for.
    let patient = FineTuneConfig {
        epochs: 20,
        patience: 50,
        ..config
    };
    let mut classifier = tiny(Method::ProtoNet)
        .classifier_with(Adaptation::Head(patient))
        .unwrap();
    teach_noise(&mut classifier, 3, 10);
    let (summary, events) = adapt_watched(&mut classifier);
    let searched = events.iter().filter(|event| event.searching).count();
    assert!(!summary.stopped_early && searched == 20, "{summary:?}");
}

#[test]
fn with_few_examples_the_training_loss_decides() {
    let mut classifier = tiny(Method::ProtoNet).classifier_with(head(2000)).unwrap();
    teach(&mut classifier, &[2, 2, 5]);
    let (summary, events) = adapt_watched(&mut classifier);
    assert!(
        summary.stopped_early && summary.epochs < 2000,
        "{summary:?}"
    );
    assert!(
        events
            .iter()
            .all(|event| !event.searching && event.held_out_loss.is_none())
    );
    assert_eq!(
        (events.len(), summary.held_out_accuracy),
        (summary.epochs, None)
    );
    let (first, last) = (events[0].loss, summary.loss.unwrap());
    assert!(last < 0.5 * first, "{first} {last}");
}

fn answers(classifier: &mut Classifier) -> Vec<Vec<Prediction>> {
    let images: Vec<Vec<f32>> = (0..6).map(|place| drawing(place % 3, 20 + place)).collect();
    let images: Vec<&[f32]> = images.iter().map(Vec::as_slice).collect();
    pollster::block_on(classifier.classify_all(&images)).unwrap()
}

#[test]
fn what_is_stopped_or_fails_leaves_prototypes() {
    let learner = tiny(Method::ProtoNet);
    let mut prototypes = learner.classifier_with(Adaptation::Prototypes).unwrap();
    teach(&mut prototypes, &[4, 4, 4]);
    let expected = answers(&mut prototypes);
    let broken = FineTuneConfig {
        learning_rate: 1e38,
        ..Default::default()
    };
    for adaptation in [head(30), lora(30)] {
        for stop_at in [1, 3] {
            let mut classifier = learner.classifier_with(adaptation).unwrap();
            teach(&mut classifier, &[4, 4, 4]);
            let mut seen = 0;
            let stopped = pollster::block_on(classifier.adapt(|_| {
                seen += 1;
                if seen == stop_at {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            }));
            assert_eq!(stopped.unwrap_err().kind(), ErrorKind::Cancelled);
            assert!(seen <= stop_at + 1, "{seen}");
            assert_eq!(answers(&mut classifier), expected, "{adaptation}");
            // What was adapted stays, when adapting anew is stopped.
            adapt(&mut classifier).unwrap();
            let adapted = answers(&mut classifier);
            let stopped = classifier.adapt(|_| ControlFlow::Break(()));
            assert!(pollster::block_on(stopped).is_err());
            assert_eq!(answers(&mut classifier), adapted, "{adaptation}");
        }
    }
    let broken_lora = LoraConfig {
        fine_tune: broken,
        ..Default::default()
    };
    for adaptation in [Adaptation::Head(broken), Adaptation::Lora(broken_lora)] {
        let mut classifier = learner.classifier_with(adaptation).unwrap();
        teach(&mut classifier, &[4, 4, 4]);
        let unasked = pollster::block_on(classifier.classify(&drawing(0, 9)));
        assert!(unasked.unwrap_err().is_diverged(), "{adaptation}");
        assert!(adapt(&mut classifier).unwrap_err().is_diverged());
        assert_eq!(answers(&mut classifier), expected, "{adaptation}");
    }
}

#[test]
fn a_seed_gives_the_same_bits_and_the_learner_stays_as_it_was() {
    for method in [Method::ProtoNet, Method::Maml] {
        let learner = tiny(method);
        let before = pollster::block_on(learner.to_bytes()).unwrap();
        for adaptation in [head(10), lora(10)] {
            let run = |seed| {
                let mut classifier = learner.classifier_with(adaptation.seeded(seed)).unwrap();
                teach(&mut classifier, &[4, 4, 4]);
                let (summary, events) = adapt_watched(&mut classifier);
                let losses: Vec<f64> = events.iter().map(|event| event.loss).collect();
                (summary, losses, answers(&mut classifier))
            };
            let first = run(1);
            assert_eq!(first, run(1), "{method} {adaptation}");
            assert_ne!(first.1, run(2).1, "{method} {adaptation}");
            let after = pollster::block_on(learner.to_bytes()).unwrap();
            assert!(before == after, "{method} {adaptation}");
        }
    }
}
