//! The same training in several precisions, with the same seeds: the subject of `forgeling-precision` and, in small, of
//! `tests/mixed_precision.rs`.

use std::ops::ControlFlow;

use forgeling::data::{Dataset, Glyphs, Loader, LoaderConfig, Queries, Shots, Split, Ways};
use forgeling::meta::{EvaluateConfig, FitConfig, Learner};
use forgeling::nn::Network;
use forgeling::nn::graph::Shape;
use forgeling::nn::zoo::{Conv4Config, MlpConfig};
use forgeling::train::{
    CrossEntropy, Epochs, HalvingSchedule, HardwareConfig, HardwareManager, Precision, Run,
    Schedule, TrainEvent, Trainer, TrainerConfig,
};
use forgeling::{Device, DeviceChoice, Error, Result};

/// What a run came to.
#[derive(Debug, Clone, Copy)]
pub struct Figures {
    /// On unseen data, as a fraction, computed in f32 whatever was trained in.
    pub accuracy: f64,
    /// Half the width of the 95 % confidence interval over episodes.
    pub ci95: Option<f64>,
    /// Mean training loss of the last steps.
    pub loss: f64,
    /// Optimizer steps.
    pub steps: usize,
    /// Seconds of training.
    pub seconds: f64,
}

/// ProtoNet with a Conv4 on [`Glyphs`].
#[derive(Debug, Clone, Copy)]
pub struct Episodes {
    /// Filters of each convolution.
    pub filters: usize,
    /// Support examples of each of five classes.
    pub shots: usize,
    /// Query examples of each.
    pub queries: usize,
    /// Episodes to train on.
    pub episodes: usize,
    /// The learning rate over the episodes.
    pub schedule: HalvingSchedule,
    /// Episodes of unseen characters to test on.
    pub tests: usize,
}

impl Episodes {
    /// Trains and tests. `seed` is that of the weights, of the training episodes and of the test episodes.
    ///
    /// # Errors
    /// When the device cannot compute in this precision, and when it fails.
    pub fn run(
        &self,
        device: &Device,
        precision: Precision,
        seed: u64,
        mut progress: impl FnMut(usize, f64),
    ) -> Result<Figures> {
        let ways = Ways::new(5)?;
        let shots = Shots::new(self.shots)?;
        let queries = Queries::new(self.queries)?;
        let config = FitConfig {
            ways,
            shots,
            queries,
            episodes: Some(self.episodes),
            schedule: self.schedule,
            hardware: hardware(device, precision)?,
            seed,
            ..Default::default()
        };
        let encoder = Conv4Config {
            filters: self.filters,
            ..Default::default()
        };
        let mut model = Learner::protonet(&encoder.graph()?, seed, device)?;
        let train = Glyphs::new(0, Split::Train, 300)?;
        let fit = model.fit(&train, config, |event| {
            progress(event.episode, event.loss);
            ControlFlow::Continue(())
        });
        let summary = pollster::block_on(fit)?;
        let test = Glyphs::new(0, Split::Test, 300)?;
        let config = EvaluateConfig {
            ways,
            shots,
            queries,
            episodes: self.tests,
            seed,
            ..Default::default()
        };
        // On the CPU wherever it was trained, where it is fast.
        let evaluation = pollster::block_on(async {
            let cpu = Device::open(DeviceChoice::Cpu).await?;
            let model = Learner::from_bytes(&model.to_bytes().await?, &cpu)?;
            model.evaluate(&test, config).await
        })?;
        Ok(Figures {
            accuracy: evaluation.accuracy,
            ci95: Some(evaluation.ci95),
            loss: summary.loss,
            steps: summary.steps,
            seconds: summary.seconds,
        })
    }
}

/// A perceptron with one hidden layer.
#[derive(Debug, Clone, Copy)]
pub struct Images {
    /// Neurons of the hidden layer.
    pub hidden: usize,
    /// Images of a step.
    pub batch: usize,
    /// Times through the images, each with half the learning rate of the one before.
    pub epochs: usize,
    /// The first learning rate.
    pub rate: f64,
}

impl Images {
    /// Trains on one set and tests on another of the same classes. `seed` is that of the weights and of the images' order.
    ///
    /// # Errors
    /// When the device cannot compute in this precision, and when it fails.
    pub fn run(
        &self,
        (train, test): (impl Dataset + 'static, impl Dataset + 'static),
        device: &Device,
        precision: Precision,
        seed: u64,
        mut progress: impl FnMut(usize, f64),
    ) -> Result<Figures> {
        let config = MlpConfig {
            input: Shape::Values(train.image_shape().len()),
            hidden: vec![self.hidden],
            classes: train.class_count(),
        };
        let mut model = Network::new(&config.graph()?, seed, device);
        let loader = LoaderConfig {
            batch_size: self.batch,
            seed,
            ..Default::default()
        };
        let mut source = Epochs::of(Loader::new(train, loader)?);
        let config = TrainerConfig {
            epochs: Some(self.epochs),
            schedule: Schedule::Halving(HalvingSchedule {
                initial: self.rate,
                every: source.loader().batches_per_epoch(),
            }),
            ..Default::default()
        };
        let hardware_of = |precision| {
            let config = hardware(device, precision)?;
            HardwareManager::on(device.clone(), config)
        };
        let mut trainer = Trainer::new(config, hardware_of(precision)?)?;
        let run = Run::on(&mut source);
        let fit = trainer.fit(&mut model, &CrossEntropy, run, |event| {
            if let TrainEvent::Step(step) = event {
                progress(step.examples, step.loss);
            }
            ControlFlow::Continue(())
        });
        let summary = pollster::block_on(fit)?;
        let mut source = Epochs::of(Loader::new(test, LoaderConfig::validation(500))?);
        let judge = Trainer::new(TrainerConfig::default(), hardware_of(Precision::F32)?)?;
        let tested = pollster::block_on(judge.validate(&model, &CrossEntropy, &mut source))?;
        Ok(Figures {
            accuracy: tested.accuracy.expect("classes are told apart"),
            ci95: None,
            loss: summary.loss,
            steps: summary.steps,
            seconds: summary.seconds,
        })
    }
}

/// Training in `precision`, and in no other without a word.
fn hardware(device: &Device, precision: Precision) -> Result<HardwareConfig> {
    if precision == Precision::F16 && !device.info().f16 {
        return Err(
            Error::invalid("mixed_precision", "the device does not compute in f16")
                .got(&device.info().name),
        );
    }
    Ok(HardwareConfig {
        precision,
        ..Default::default()
    })
}
