//! A small run of training that can be stopped at any moment and started again: the subject of `tests/resume.rs`.
//!
//! `forgeling-resume FOLDER STEPS EVERY` goes on from the latest checkpoint in `FOLDER`, if there is one, saves one
//! every `EVERY` steps, and prints a line for each step: its number, the bits of its loss, and the loss scale.

use std::process::ExitCode;

use burn::optim::GradientsParams;
use burn::tensor::{Tensor, TensorData};
use forgeling::data::Rng;
use forgeling::nn::{Mlp, MlpConfig};
use forgeling::ops::softmax_cross_entropy;
use forgeling::train::{
    Adam, AdamConfig, Checkpoint, CheckpointConfig, CheckpointStore, EarlyStopping,
    EarlyStoppingConfig, Ema, EmaConfig, EmaRecord, Goal, LossScaler, LossScalerConfig,
    OptimizerRecord, Schedule, weights,
};
use forgeling::{Device, DeviceChoice, Readback, Result};

const INPUTS: usize = 24;
const CLASSES: usize = 3;
const BATCH: usize = 48;

/// All that changes from step to step.
struct Run {
    step: u64,
    loss: f32,
    model: Mlp,
    adam: Adam,
    scaler: LossScaler,
    ema: Ema<Mlp>,
    stopping: EarlyStopping,
    rng: Rng,
}

impl Run {
    fn new(device: &Device) -> Result<Self> {
        let config = MlpConfig {
            inputs: INPUTS,
            hidden: vec![256, 128],
            classes: CLASSES,
            seed: 1,
        };
        let model = Mlp::new(&config, &device.autodiff())?;
        let clipping = AdamConfig {
            clip_norm: Some(1.0),
            ..Default::default()
        };
        let scaling = LossScalerConfig {
            growth_interval: 20,
            ..Default::default()
        };
        let averaging = EmaConfig {
            decay: 0.98,
            warm_up: true,
        };
        Ok(Self {
            step: 0,
            loss: f32::INFINITY,
            ema: Ema::new(averaging, &model)?,
            model,
            adam: Adam::new(clipping)?,
            scaler: LossScaler::new(scaling)?,
            stopping: EarlyStopping::new(EarlyStoppingConfig::default())?,
            rng: Rng::new(2),
        })
    }

    async fn step(&mut self, schedule: &Schedule, device: &Device) -> Result<()> {
        let mut labels = Vec::with_capacity(BATCH);
        let mut inputs = Vec::with_capacity(BATCH * INPUTS);
        for _ in 0..BATCH {
            let label = self.rng.below(CLASSES);
            labels.push(label);
            inputs.extend((0..INPUTS).map(|i| {
                let center = if i % CLASSES == label { 0.5 } else { 0.0 };
                center + self.rng.normal()
            }));
        }
        if self.rng.below(50) == 0 {
            // Some steps are to be skipped.
            inputs[0] = f32::INFINITY;
        }
        let data = TensorData::new(inputs, [BATCH, INPUTS]);
        let x = Tensor::from_data(data, &device.autodiff());
        let loss = softmax_cross_entropy(self.model.forward(x)?, &labels)?;
        let scaled = loss.clone() * self.scaler.scale();
        let gradients = GradientsParams::from_grads(scaled.backward(), &self.model);
        self.adam.set_loss_scale(self.scaler.scale())?;
        let rate = schedule.rate(self.step as usize);
        self.model = self.adam.step(rate, self.model.clone(), gradients);
        let trip = Readback::new().with(loss);
        let trip = trip.with(self.adam.skipped().expect("a step was taken"));
        let [loss, skipped] = trip.run().await?;
        let overflow = skipped[0] > 0.0;
        if !overflow {
            self.ema.update(&self.model)?;
        }
        self.scaler.update(overflow);
        self.stopping.observe(f64::from(loss[0]));
        (self.step, self.loss) = (self.step + 1, loss[0]);
        Ok(())
    }

    async fn save(&self) -> Result<Checkpoint> {
        let mut checkpoint = Checkpoint::new(self.step);
        checkpoint.metric = Some(f64::from(self.loss)).filter(|loss| loss.is_finite());
        let optimizer = self.adam.state(&self.model).await?;
        let average = self.ema.state().await?;
        checkpoint.set_section("optimizer", &optimizer.summary)?;
        checkpoint.set_section("average", &average.updates)?;
        checkpoint.set_section("scaler", &self.scaler.state())?;
        checkpoint.set_section("stopping", &self.stopping.state())?;
        checkpoint.set_section("rng", &self.rng.state())?;
        for (group, tensors) in [
            ("model", weights::collect(&self.model).await?),
            ("optimizer", optimizer.moments),
            ("average", average.tensors),
        ] {
            checkpoint.tensors.insert(group.into(), tensors);
        }
        Ok(checkpoint)
    }

    fn load(mut self, mut checkpoint: Checkpoint) -> Result<Self> {
        self.step = checkpoint.step;
        self.model = weights::load(self.model, checkpoint.take_tensors("model")?)?;
        let optimizer = OptimizerRecord {
            summary: checkpoint.section("optimizer")?,
            moments: checkpoint.take_tensors("optimizer")?,
        };
        self.adam.load_state(&self.model, optimizer)?;
        self.ema.load_state(EmaRecord {
            updates: checkpoint.section("average")?,
            tensors: checkpoint.take_tensors("average")?,
        })?;
        self.scaler.load_state(checkpoint.section("scaler")?)?;
        self.stopping.load_state(checkpoint.section("stopping")?)?;
        self.rng = Rng::from_state(checkpoint.section("rng")?)?;
        Ok(self)
    }
}

async fn train(folder: &str, steps: u64, every: u64) -> Result<()> {
    let device = Device::open(DeviceChoice::Cpu).await?;
    let keep = CheckpointConfig {
        keep_last: 2,
        keep_best: Some(Goal::Minimize),
    };
    let mut store = CheckpointStore::open(folder, keep)?;
    let found = store.latest()?;
    if let Some(damaged) = found.damaged.into_iter().next() {
        // Training would go on from an older one; but no kill may break a file.
        return Err(damaged.error);
    }
    let mut run = Run::new(&device)?;
    if let Some(checkpoint) = found.checkpoint {
        run = run.load(checkpoint)?;
    }
    let schedule = Schedule::Cosine {
        initial: 0.01,
        floor: 0.0001,
        steps: steps as usize,
    };
    let schedule = schedule.with_warm_up(30);
    while run.step < steps {
        run.step(&schedule, &device).await?;
        println!(
            "{} {:08x} {:e}",
            run.step,
            run.loss.to_bits(),
            run.scaler.scale()
        );
        if run.step.is_multiple_of(every) || run.step == steps {
            store.save(&run.save().await?)?;
        }
    }
    Ok(())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, steps, every] = &*arguments else {
        eprintln!("usage: forgeling-resume FOLDER STEPS EVERY");
        return ExitCode::from(2);
    };
    let (Ok(steps), Ok(every)) = (steps.parse(), every.parse()) else {
        eprintln!("STEPS and EVERY are numbers");
        return ExitCode::from(2);
    };
    match pollster::block_on(train(folder, steps, every)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
