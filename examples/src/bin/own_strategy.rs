//! A strategy of one's own against forgetting: examples of before are learned again, those that are known least the most.
//!
//! `cargo run --release --package forgeling-examples --bin own_strategy`

use std::ops::ControlFlow;

use forgeling::burn::tensor::activation::log_softmax;
use forgeling::burn::tensor::{Int, Tensor, TensorData};
use forgeling::continual::{
    AccuracyMatrix, Budget, Buffer, BufferConfig, ContextScore, ContinualBatch, ContinualLoss,
    Head, HeadKind, InOrder, Kind, Pace, Policy, Scenario, ScenarioBuffer, ScenarioConfig, Setting,
    Shows, Stream, StreamConfig,
};
use forgeling::data::{Glyphs, Split, Subset};
use forgeling::device::TensorDevice;
use forgeling::nn::zoo::MlpConfig;
use forgeling::nn::{Network, Pass};
use forgeling::train::parts::{LossTerm, Method, Needs, Part, RunState, Sections, StepContext};
use forgeling::train::{HardwareConfig, HardwareManager, Run, TrainEvent, Trainer, TrainerConfig};
use forgeling::{Device, DeviceChoice, Result};

/// Adds `mean of -(1 - p) log p` over examples of before, where `p` is the probability of their label: the focal loss of Lin et
/// al., 2017. What changes in a run, which examples are kept, is in the run's buffer: there is nothing to save.
struct Focal {
    head: Head,
    examples: usize,
}

impl RunState for Focal {
    fn save(&self, _to: &mut Sections) -> Result<()> {
        Ok(())
    }

    fn load(&mut self, _from: &Sections, _device: &TensorDevice) -> Result<()> {
        Ok(())
    }
}

impl Part<Network> for Focal {
    fn name(&self) -> &str {
        "focal"
    }

    fn needs(&self) -> Needs {
        Needs {
            replayed: self.examples,
            ..Default::default()
        }
    }
}

impl LossTerm<Network, ContinualBatch> for Focal {
    fn loss<'m>(
        &self,
        step: &StepContext<'_, ContinualBatch>,
        model: &'m Network,
        _batch: &ContinualBatch,
        pass: &mut Pass<'m>,
    ) -> Result<Tensor<1>> {
        let Some(old) = step.replayed else {
            return Ok(pass.output(pass.values(TensorData::new(vec![0.0f32], [1]))));
        };
        let logits = self.head.masked(self.head.logits(model, old, pass)?, old);
        let labels: Vec<i32> = old
            .images
            .labels
            .iter()
            .map(|&label| label as i32)
            .collect();
        let places = TensorData::new(labels, [old.images.labels.len(), 1]);
        let places = Tensor::<2, Int>::from_data(places, &logits.device());
        let log_p = log_softmax(logits, 1).gather(1, places);
        Ok(((log_p.clone().exp() - 1.0) * log_p).mean())
    }
}

impl Method<Network, ContinualBatch> for Focal {
    fn term(&self) -> Option<&dyn LossTerm<Network, ContinualBatch>> {
        Some(self)
    }
}

fn main() -> Result<()> {
    pollster::block_on(run())
}

async fn run() -> Result<()> {
    let device = Device::open(DeviceChoice::Auto).await?;
    println!("{}", device.reason());

    // Ten invented characters, two after two, of which all are to be told apart.
    let glyphs = Glyphs::new(0, Split::Train, 10)?;
    let drawings = |from: usize| vec![(from..from + 100).collect::<Vec<_>>(); 10];
    let config = ScenarioConfig {
        kind: Kind::split_evenly(10, 5)?,
        setting: Setting::Class,
        class_order: None,
    };
    let train = Subset::new(glyphs, drawings(0))?;
    let scenario = Scenario::new(train, Subset::new(glyphs, drawings(1000))?, config)?;
    for with in [false, true] {
        let matrix = learn(&scenario, with, &device).await?;
        println!("\n{}", if with { "with it" } else { "without" });
        for (after, row) in matrix.rows().iter().enumerate() {
            let row = row.iter().map(|share| format!("{:>6.1}", 100.0 * share));
            println!("after {after}: {} %", row.collect::<String>());
        }
    }
    Ok(())
}

/// Trains on one context after the other, and tests on all of them after each.
async fn learn(scenario: &Scenario, with: bool, device: &Device) -> Result<AccuracyMatrix> {
    let head = Head::new(HeadKind::All, scenario)?;
    let objective = ContinualLoss::new(head.clone());
    let mut focal = Focal { head, examples: 32 };
    let buffer = BufferConfig {
        budget: Budget::PerClass(10),
        policy: Policy::PerClassAtEnd,
        logits: 0,
        seed: 0,
    };
    let buffer = Buffer::new(buffer, scenario.image_shape(), scenario.outputs())?;
    let mut buffer = ScenarioBuffer::new(buffer, scenario.clone())?;
    let graph = MlpConfig {
        input: scenario.image_shape().into(),
        ..Default::default()
    };
    let mut model = Network::new(&graph.graph()?, 0, device);
    let stream = StreamConfig {
        shows: Shows::Each,
        pace: Pace::Iterations {
            iterations: 50,
            batch_size: 32,
        },
        seed: 0,
    };
    let mut stream = Stream::new(scenario.clone(), stream)?;
    let config = TrainerConfig {
        epochs: Some(stream.epochs()),
        ..Default::default()
    };
    let manager = HardwareManager::on(device.clone(), HardwareConfig::default())?;
    let mut trainer = Trainer::new(config, manager)?;

    let contexts = 0..scenario.len();
    let test = |context| InOrder::new(scenario, Split::Test, context, 100);
    let mut tests = contexts.map(test).collect::<Result<Vec<_>>>()?;
    let mut accuracies = Vec::new();
    for test in &mut tests {
        let found = trainer.validate(&model, &objective, test).await?;
        accuracies.push(found.accuracy.unwrap_or(0.0));
    }
    let mut run = Run::on(&mut stream);
    if with {
        run = run.with_method(&mut focal).replaying(&mut buffer);
    }
    for (context, test) in tests.iter_mut().enumerate() {
        run = run.validated_on(&context.to_string(), test);
    }
    let on_event = |event: &TrainEvent| {
        if let TrainEvent::Validated { validation, .. } = event {
            accuracies.push(validation.accuracy.unwrap_or(0.0));
        }
        ControlFlow::Continue(())
    };
    trainer.fit(&mut model, &objective, run, on_event).await?;

    let score = |context| -> Result<ContextScore> {
        let context = scenario.context(Split::Test, context)?;
        Ok(ContextScore {
            examples: context.example_count(),
            chance: context.chance(),
        })
    };
    let scores = (0..scenario.len()).map(score).collect::<Result<Vec<_>>>()?;
    let mut matrix = AccuracyMatrix::new(scores)?;
    for row in accuracies.chunks(scenario.len()) {
        matrix.push(row.to_vec())?;
    }
    Ok(matrix)
}
