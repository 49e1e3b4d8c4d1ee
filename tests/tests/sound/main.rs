//! Sounds and sequences: the front end, files, and that networks learn of them.

mod files;
mod front_end;
mod gestures;
mod learning;

use std::ops::ControlFlow;

use forgeling::data::{ImageSet, Loader, LoaderConfig};
use forgeling::nn::Network;
use forgeling::nn::catalog::ModelConfig;
use forgeling::train::{
    CrossEntropy, Epochs, HardwareConfig, HardwareManager, Run, Schedule, Trainer, TrainerConfig,
};
use forgeling::{Device, DeviceChoice};

fn cpu() -> Device {
    pollster::block_on(Device::open(DeviceChoice::Cpu)).unwrap()
}

/// A network of the zoo, and what trained it.
struct Trained {
    network: Network,
    trainer: Trainer,
}

/// A network of the zoo with so many channels, trained on a set.
fn trained(model: &str, width: usize, epochs: usize, data: ImageSet) -> Trained {
    use forgeling::data::Dataset;
    let mut config = ModelConfig::new(model).unwrap();
    config.input = data.image_shape();
    config.classes = data.class_count();
    config.options.insert("width".into(), width);
    let mut network = Network::new(&config.graph().unwrap(), 0, &cpu());
    let loader = LoaderConfig {
        batch_size: 16,
        ..Default::default()
    };
    let mut source = Epochs::of(Loader::new(data, loader).unwrap());
    let manager = HardwareManager::on(cpu(), HardwareConfig::default()).unwrap();
    let config = TrainerConfig {
        epochs: Some(epochs),
        schedule: Schedule::Cosine {
            initial: 0.004,
            floor: 0.0,
            steps: epochs * source.loader().batches_per_epoch(),
        },
        ..Default::default()
    };
    let mut trainer = Trainer::new(config, manager).unwrap();
    let run = Run::on(&mut source);
    let fit = trainer.fit(&mut network, &CrossEntropy, run, |_| {
        ControlFlow::Continue(())
    });
    pollster::block_on(fit).unwrap();
    Trained { network, trainer }
}

impl Trained {
    /// The part of a set that it tells right, and of each class.
    fn accuracy(&self, data: ImageSet) -> (f64, Vec<f64>) {
        let loader = Loader::new(data, LoaderConfig::validation(64)).unwrap();
        let mut source = Epochs::of(loader);
        let score = self
            .trainer
            .score(&self.network, &CrossEntropy, &mut source);
        let scored = pollster::block_on(score).unwrap();
        let classes = scored.classes.iter();
        (
            scored.validation.accuracy.unwrap(),
            classes.map(|class| class.accuracy()).collect(),
        )
    }
}
