//! Budgets that are kept.

use burn::tensor::{Tensor, TensorData};
use forgeling::device::{Ledger, MemoryBudget, Phase};
use forgeling::nn::graph::Graph;
use forgeling::nn::zoo::Conv4Config;
use forgeling::nn::{MemoryPlan, Network, Normalization, Pass, PlanConfig, absorb};
use forgeling::ops::{Activation, linear, softmax_cross_entropy};
use forgeling::train::{Adam, AdamConfig};
use forgeling::{Device, Readback, Result};

use crate::values::waves;

const FILTERS: usize = 16;
const CLASSES: usize = FILTERS;

fn encoder() -> Graph {
    let config = Conv4Config {
        filters: FILTERS,
        ..Default::default()
    };
    config.graph().unwrap()
}

/// A small network in training, with a budget of its own.
pub struct Trainee {
    model: Network,
    adam: Adam,
    device: Device,
    /// Its account.
    pub ledger: Ledger,
}

impl Trainee {
    /// With a budget in bytes.
    pub fn new(device: &Device, budget: u64) -> Self {
        let ledger = Ledger::new(device, MemoryBudget::bytes(budget).unwrap()).unwrap();
        let _entered = ledger.enter();
        Self {
            model: Network::new(&encoder(), 0, device),
            adam: Adam::new(AdamConfig::default()).unwrap(),
            device: device.clone(),
            ledger: ledger.clone(),
        }
    }

    /// What a step on so many images is planned to need at most.
    pub fn planned(device: &Device, images: usize) -> u64 {
        Self::plan(device, images).peak
    }

    fn plan(device: &Device, images: usize) -> MemoryPlan {
        let network = encoder().with_outputs(CLASSES).unwrap();
        MemoryPlan::new(&network, images, PlanConfig::default(), device).unwrap()
    }

    /// A forward pass, a backward pass and a step; nothing has moved if it does not fit.
    pub async fn step(&mut self, images: usize) -> Result<f32> {
        let ledger = self.ledger.clone();
        ledger.attach(self.run(images)).await
    }

    async fn run(&mut self, images: usize) -> Result<f32> {
        let mut pass = Pass::new(Normalization::Batch, &self.device.autodiff());
        let values = TensorData::new(waves(images * 784, 1.0), [images, 1, 28, 28]);
        let maps = self.model.features(pass.values(values), &mut pass)?;
        let labels: Vec<usize> = (0..images).map(|row| row % CLASSES).collect();
        let loss = softmax_cross_entropy(maps.flatten(1, 3), &labels)?;
        let statistics = pass.take_statistics();
        let gradients = pass.backward(loss.clone(), &self.model)?;
        self.ledger.check("backward")?;
        let moved = self.adam.step(1e-3, self.model.clone(), gradients);
        self.model = absorb(moved, statistics)?;
        let [loss] = Readback::new().with(loss).run().await?;
        Ok(loss[0])
    }
}

/// An operation that does not fit is an error before anything is allocated, and the device computes on.
pub async fn refuses_and_goes_on(device: &Device) {
    let ledger = Ledger::new(device, MemoryBudget::bytes(1_000_000).unwrap()).unwrap();
    let on = device.tensors();
    let layer = |rows: usize| {
        let (x, weight) = (Tensor::ones([rows, 8], on), Tensor::ones([8, 500], on));
        linear(x, weight, None, Activation::None)
    };
    {
        let _entered = ledger.enter();
        let before = device.memory();
        let error = layer(1000).unwrap_err();
        let text = error.to_string();
        assert!(error.is_out_of_memory() && error.is_device(), "{text}");
        assert!(
            text.contains("linear") && text.contains("1000000"),
            "{text}"
        );
        assert!(
            error.found().is_some_and(|got| got.contains("2000000")),
            "{text}"
        );
        let grown = device.memory().in_use.saturating_sub(before.in_use);
        assert!(grown < 1_000_000, "{grown} bytes were allocated");
        let fits = layer(100).unwrap();
        assert!(ledger.in_use() >= 200_000 && ledger.in_use() <= ledger.budget());
        let [values] = Readback::new().with(fits).run().await.unwrap();
        assert!(values.iter().all(|value| *value == 8.0));
    }
    // Outside, the budget is nobody's.
    let [values] = Readback::new()
        .with(layer(1000).unwrap())
        .run()
        .await
        .unwrap();
    assert_eq!(values.len(), 500_000);
    assert!(ledger.peak() <= ledger.budget());
}

/// Two trainers by turns on one thread: each within its own budget, and the one refused does not stop the other.
pub async fn takes_turns(device: &Device) {
    let (few, many) = (4, 40);
    let budget = |images| Trainee::planned(device, images) * 3 / 2;
    let mut small = Trainee::new(device, budget(few));
    let mut large = Trainee::new(device, budget(many));
    for _ in 0..3 {
        assert!(large.step(many).await.unwrap().is_finite());
        assert!(small.step(few).await.unwrap().is_finite());
        let refused = small.step(many).await.unwrap_err();
        assert!(refused.is_out_of_memory(), "{refused}");
    }
    for trainee in [&small, &large] {
        let (peak, budget) = (trainee.ledger.peak(), trainee.ledger.budget());
        assert!(peak > 0 && peak <= budget, "{peak} of {budget}");
    }
    // A trainer that does nothing holds its parameters and moments, which are few here.
    assert!(
        large.ledger.in_use() < budget(few),
        "{}",
        large.ledger.in_use()
    );
}

/// What does not fit where it cannot be refused is told afterwards. On a GPU, whose backward pass needs more than its
/// forward pass.
pub async fn tells_of_the_backward_pass(device: &Device) {
    let images = 40;
    let phases = Trainee::plan(device, images).phases;
    let [forward, backward] = [Phase::Forward, Phase::Backward].map(|p| phases[&p]);
    let mut tight = Trainee::new(device, (forward + backward) / 2);
    let error = tight.step(images).await.unwrap_err();
    assert!(error.is_out_of_memory(), "{error}");
    assert_eq!(error.operation(), "backward");
    assert!(tight.step(1).await.unwrap().is_finite());
}
