//! Every network of the catalog loses 30, 50 and 70 % and is then a network like any other.

use forgeling::compress::{Criterion, HeadPruning, PruningPlan, PruningTarget, loss_gradients};
use forgeling::data::ImageBatch;
use forgeling::export::{OnnxNotes, OnnxOptions, to_onnx};
use forgeling::nn::Network;
use forgeling::nn::catalog::MODELS;
use forgeling::train::{
    CrossEntropy, HardwareConfig, HardwareManager, ModelCard, SavedNetwork, Trainer, TrainerConfig,
    TrainingHistory,
};
use forgeling_tests::waves;
use pollster::block_on;

use crate::common::{answers, config, cpu, narrow};

pub fn saved(network: &Network) -> SavedNetwork {
    let classes = network.graph().output_shape().len();
    SavedNetwork {
        model: "pruned".into(),
        classes: (0..classes).map(|class| class.to_string()).collect(),
        pictures: None,
        sounds: None,
        normalization: None,
        card: ModelCard::default(),
        history: TrainingHistory::default(),
        confidence: None,
        storage: Default::default(),
        network: network.clone(),
    }
}

#[test]
fn pruned_networks_run_train_save_load_and_export() {
    let device = cpu();
    for (index, entry) in MODELS.iter().enumerate() {
        let graph = narrow(entry.name);
        let network = Network::new(&graph, 1, &device);
        let shape = graph.image_shape();
        let batch = ImageBatch {
            shape,
            images: waves(4 * shape.len(), 1.0),
            labels: vec![0, 3, 9, 3],
        };
        let batches = std::slice::from_ref(&batch);
        let gradients = loss_gradients(&network, &CrossEntropy, batches, &device).unwrap();
        let whole = block_on(saved(&network).to_bytes()).unwrap().len();
        for (percent, fraction) in [(30, 0.3), (50, 0.5), (70, 0.7)] {
            let name = format!("{} at {percent} %", entry.name);
            let config = config(|config| {
                config.target = PruningTarget::Channels(fraction);
                config.criterion = Criterion::Taylor;
                if index % 2 == 1 {
                    config.heads = HeadPruning::Heads;
                }
            });
            let plan = block_on(PruningPlan::of(&network, &config, Some(&gradients))).unwrap();
            let mut pruned = plan.apply(&network).unwrap();
            let left = plan.after.values as f64 / plan.before.values as f64;
            assert!(
                left < 1.0 - fraction / 2.0,
                "{name}: {left} of the values left"
            );
            assert_eq!(
                pruned.graph().output_shape(),
                graph.output_shape(),
                "{name}"
            );
            assert!(
                answers(&pruned, &device)
                    .iter()
                    .all(|value| value.is_finite()),
                "{name}"
            );

            let manager = HardwareManager::on(device.clone(), HardwareConfig::default()).unwrap();
            let mut trainer = Trainer::new(TrainerConfig::default(), manager).unwrap();
            let before = block_on(forgeling::train::weights::collect(&pruned)).unwrap();
            let step = trainer.step_on(&mut pruned, &CrossEntropy, batches);
            let step = block_on(step).unwrap();
            assert!(step.loss.is_finite() && !step.skipped, "{name}");
            let after = block_on(forgeling::train::weights::collect(&pruned)).unwrap();
            assert_ne!(before, after, "{name}");

            let bytes = block_on(saved(&pruned).to_bytes()).unwrap();
            assert!(
                bytes.len() < whole,
                "{name}: {} of {whole} bytes",
                bytes.len()
            );
            let back = SavedNetwork::from_bytes(&bytes, &device).unwrap();
            assert_eq!(back.network.graph(), pruned.graph(), "{name}");
            let [a, b] = [&back.network, &pruned].map(|network| answers(network, &device));
            assert_eq!(a, b, "{name}");
            let notes = OnnxNotes::from(&back);
            let file = block_on(to_onnx(&back.network, &notes, OnnxOptions::default())).unwrap();
            let values = 4 * plan.after.values as usize;
            assert!(
                (values..2 * values + 100_000).contains(&file.bytes.len()),
                "{name}"
            );
        }
    }
}
