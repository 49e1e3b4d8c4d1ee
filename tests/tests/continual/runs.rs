//! Streams and buffers in training, stopped and resumed.

use std::ops::ControlFlow;

use burn::tensor::Tensor;
use forgeling::continual::{
    Budget, Buffer, BufferConfig, ContinualBatch, Kind, Pace, Policy, Scenario, ScenarioBuffer,
    Setting, Shows, Stream, StreamConfig,
};
use forgeling::data::{Glyphs, Split, Subset};
use forgeling::device::TensorDevice;
use forgeling::nn::graph::Shape;
use forgeling::nn::zoo::MlpConfig;
use forgeling::nn::{Network, Pass};
use forgeling::train::parts::{LossTerm, Method, Needs, Part, RunState, Sections, StepContext};
use forgeling::train::weights::collect;
use forgeling::train::{
    Checkpoint, Classify, CrossEntropy, HardwareConfig, HardwareManager, Objective, Outcome, Run,
    StopReason, TrainEvent, Trainer, TrainerConfig,
};
use forgeling::{Device, DeviceChoice, Result};
use pollster::block_on;

use super::common::{Memory, config};

const SIZE: usize = 8;
const STEPS: usize = 24;

/// Cross entropy with all labels as outputs.
struct AllLabels;

impl<M: Classify> Objective<M> for AllLabels {
    type Batch = ContinualBatch;

    fn forward<'a>(
        &self,
        model: &'a M,
        batch: &ContinualBatch,
        pass: &mut Pass<'a>,
    ) -> Result<Outcome> {
        CrossEntropy.forward(model, &batch.images, pass)
    }
}

/// The loss on examples of before, and what it was told of contexts.
#[derive(Default)]
struct Replayed {
    told: Vec<String>,
}

impl RunState for Replayed {
    fn save(&self, to: &mut Sections) -> Result<()> {
        to.set("told", &self.told)
    }

    fn load(&mut self, from: &Sections, _device: &TensorDevice) -> Result<()> {
        self.told = from.get("told")?;
        Ok(())
    }
}

impl<M: Classify> Part<M> for Replayed {
    fn name(&self) -> &str {
        "replayed"
    }

    fn needs(&self) -> Needs {
        Needs {
            task_boundaries: true,
            replayed: 6,
            ..Default::default()
        }
    }

    fn begin_task(&mut self, task: usize, _model: &M) -> Result<()> {
        self.told.push(format!("begin {task}"));
        Ok(())
    }

    fn end_task(&mut self, task: usize, _model: &M) -> Result<()> {
        self.told.push(format!("end {task}"));
        Ok(())
    }
}

impl<M: Classify> LossTerm<M, ContinualBatch> for Replayed {
    fn loss<'m>(
        &self,
        step: &StepContext<'_, ContinualBatch>,
        model: &'m M,
        batch: &ContinualBatch,
        pass: &mut Pass<'m>,
    ) -> Result<Tensor<1>> {
        let before = step.replayed.map(|before| &before.images);
        // Nothing is there before the first step is taken.
        let images = before.unwrap_or(&batch.images);
        Ok(CrossEntropy.forward(model, images, pass)?.loss)
    }
}

impl<M: Classify> Method<M, ContinualBatch> for Replayed {
    fn term(&self) -> Option<&dyn LossTerm<M, ContinualBatch>> {
        Some(self)
    }
}

fn stream(setting: Setting) -> Stream {
    let glyphs = |count| {
        let glyphs = Glyphs::new(0, Split::Train, 6).unwrap();
        Subset::first(glyphs.with_size(SIZE).unwrap(), count).unwrap()
    };
    let kind = Kind::split_evenly(6, 3).unwrap();
    let scenario = Scenario::new(glyphs(12), glyphs(4), config(kind, setting, Some(2))).unwrap();
    let pace = Pace::Iterations {
        iterations: STEPS / 3,
        batch_size: 7,
    };
    let config = StreamConfig {
        shows: Shows::Each,
        pace,
        seed: 3,
    };
    Stream::new(scenario, config).unwrap()
}

struct Trained {
    weights: Vec<u32>,
    buffer: Buffer,
    told: Vec<String>,
}

/// Until that step, or to the end.
fn train(
    memory: &mut Memory,
    until: Option<usize>,
    setting: Setting,
    policy: Policy,
) -> Result<Trained> {
    let device = block_on(Device::open(DeviceChoice::Cpu))?;
    let mut stream = stream(setting);
    let scenario = stream.scenario().clone();
    let mlp = MlpConfig {
        input: Shape::Values(SIZE * SIZE),
        hidden: vec![16],
        classes: scenario.outputs(),
    };
    let mut model = Network::new(&mlp.graph()?, 0, &device);
    let config = BufferConfig {
        budget: Budget::Total(15),
        policy,
        logits: 0,
        seed: 1,
    };
    let buffer = Buffer::new(config, scenario.image_shape(), scenario.outputs())?;
    let mut buffer = ScenarioBuffer::new(buffer, scenario)?;
    let mut part = Replayed::default();
    let config = TrainerConfig {
        epochs: Some(stream.epochs()),
        checkpoint_every: Some(1),
        ..Default::default()
    };
    let manager = HardwareManager::on(device, HardwareConfig::default())?;
    let mut trainer = Trainer::new(config, manager)?;
    let run = Run::on(&mut stream)
        .with_method(&mut part)
        .replaying(&mut buffer)
        .saved_in(memory);
    let fit = trainer.fit(&mut model, &AllLabels, run, |event| match event {
        TrainEvent::Step(step) if Some(step.step) == until => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    let summary = block_on(fit)?;
    let reason = until.map_or(StopReason::Finished, |_| StopReason::Asked);
    assert_eq!(summary.reason, reason);
    assert_eq!(summary.steps, until.unwrap_or(STEPS));
    let weights = block_on(collect(&model))?.into_iter();
    let bits = weights.flat_map(|tensor| tensor.values).map(f32::to_bits);
    Ok(Trained {
        weights: bits.collect(),
        buffer: buffer.buffer().clone(),
        told: part.told,
    })
}

#[test]
fn a_run_that_is_stopped_in_the_middle_of_a_context_goes_on_bit_for_bit() {
    for policy in [
        Policy::Reservoir,
        Policy::ClassBalanced,
        Policy::PerClassAtEnd,
    ] {
        let train = |memory: &mut Memory, until| train(memory, until, Setting::Class, policy);
        let whole = train(&mut Memory::default(), None).unwrap();
        let told = ["begin 0", "end 0", "begin 1", "end 1", "begin 2", "end 2"];
        assert_eq!(whole.told, told);
        assert_eq!(whole.buffer.len(), 15);
        let mut kept = whole.buffer.counts().into_keys();
        if policy == Policy::Reservoir {
            assert!(kept.all(|label| label < 6));
        } else {
            assert!(kept.eq(0..6), "{policy:?}");
        }
        for until in [1, 5, 8, 9, 23] {
            let mut memory = Memory::default();
            train(&mut memory, Some(until)).unwrap();
            let resumed = train(&mut memory, None).unwrap();
            assert!(
                resumed.weights == whole.weights,
                "stopped after {until} steps"
            );
            assert_eq!(resumed.buffer, whole.buffer);
            assert_eq!(resumed.told, told);
        }
    }
}

#[test]
fn a_checkpoint_holds_the_buffer_in_as_many_bytes_as_it_has() {
    let mut memory = Memory::default();
    let trained = train(&mut memory, None, Setting::Class, Policy::Reservoir).unwrap();
    let checkpoint = Checkpoint::decode(memory.0.last().unwrap()).unwrap();
    let bytes: usize = checkpoint.bytes.values().map(Vec::len).sum();
    assert_eq!(bytes, trained.buffer.bytes());
}

#[test]
fn what_needs_boundaries_is_refused_where_there_are_none() {
    for (policy, words) in [
        (Policy::Reservoir, "where tasks end"),
        (Policy::PerClassAtEnd, "when a context ends"),
    ] {
        let trained = train(&mut Memory::default(), None, Setting::Free, policy);
        let error = trained.err().expect("must be refused");
        assert!(error.to_string().contains(words), "{error}");
    }
}
