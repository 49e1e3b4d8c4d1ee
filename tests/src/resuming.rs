//! Optimizers that are saved on one device and go on on another.

use burn::module::Module;
use burn::tensor::Device as Tensors;
use forgeling::Readback;
use forgeling::train::weights::{collect, load};
use forgeling::train::{Adam, Checkpoint, OptimizerRecord, Sgd};

use super::bag::{Bag, Optimizer, SIZES, values};

/// An optimizer whose state can be saved.
#[allow(async_fn_in_trait)]
pub trait Resumable: Optimizer {
    /// What it keeps.
    async fn state<M: Module>(&self, module: &M) -> forgeling::Result<OptimizerRecord>;
    /// Goes on from there.
    fn load_state<M: Module>(
        &mut self,
        module: &M,
        record: OptimizerRecord,
    ) -> forgeling::Result<()>;
}

impl Resumable for Adam {
    async fn state<M: Module>(&self, module: &M) -> forgeling::Result<OptimizerRecord> {
        Adam::state(self, module).await
    }

    fn load_state<M: Module>(
        &mut self,
        module: &M,
        record: OptimizerRecord,
    ) -> forgeling::Result<()> {
        Adam::load_state(self, module, record)
    }
}

impl Resumable for Sgd {
    async fn state<M: Module>(&self, module: &M) -> forgeling::Result<OptimizerRecord> {
        Sgd::state(self, module).await
    }

    fn load_state<M: Module>(
        &mut self,
        module: &M,
        record: OptimizerRecord,
    ) -> forgeling::Result<()> {
        Sgd::load_state(self, module, record)
    }
}

fn stepped(optimizer: &mut impl Optimizer, bag: Bag, phase: f64, spoiled: bool) -> Bag {
    let mut gradients = bag.gradients(phase, 1.0 / phase);
    if spoiled {
        bag.spoil(&mut gradients, f32::NAN);
    }
    optimizer.step(0.01, bag, gradients)
}

/// Two more steps: the values, and last of all what is said of steps that were skipped.
async fn two_more(mut optimizer: impl Optimizer, mut bag: Bag) -> Vec<Vec<f32>> {
    for phase in [40.0, 50.0] {
        bag = stepped(&mut optimizer, bag, phase, false);
    }
    let mut values = values(&bag).await;
    let trip = Readback::new().with(optimizer.skipped().unwrap());
    values.extend(trip.run::<1>().await.unwrap());
    values
}

/// Three steps on `first`, one of which is skipped, and two more: there, and by a new optimizer of a new module on
/// `second`, which is given the bytes of a checkpoint.
///
/// # Panics
/// When anything fails, or a record that is loaded is not what is read again.
pub async fn continued<O: Resumable>(
    new: impl Fn() -> O,
    first: &Tensors,
    second: &Tensors,
) -> [Vec<Vec<f32>>; 2] {
    let (mut bag, mut optimizer) = (Bag::new(&SIZES, first), new());
    for (phase, spoiled) in [(10.0, false), (20.0, true), (30.0, false)] {
        bag = stepped(&mut optimizer, bag, phase, spoiled);
    }
    let OptimizerRecord { summary, moments } = optimizer.state(&bag).await.unwrap();
    assert_eq!(summary.skipped, 1);
    assert!(summary.parameters.values().all(|steps| *steps == 2));
    assert_eq!(summary.parameters.len(), SIZES.len() + 2);
    let mut checkpoint = Checkpoint::new(3);
    let model = collect(&bag).await.unwrap();
    checkpoint.set_section("optimizer", &summary).unwrap();
    checkpoint.tensors.insert("optimizer".into(), moments);
    checkpoint.tensors.insert("model".into(), model);
    let bytes = checkpoint.encode().unwrap();
    let expected = two_more(optimizer, bag).await;

    let mut checkpoint = Checkpoint::decode(&bytes).unwrap();
    let there = load(
        Bag::new(&SIZES, second),
        checkpoint.take_tensors("model").unwrap(),
    );
    let (there, mut optimizer) = (there.unwrap(), new());
    let record = OptimizerRecord {
        summary: checkpoint.section("optimizer").unwrap(),
        moments: checkpoint.take_tensors("optimizer").unwrap(),
    };
    optimizer.load_state(&there, record.clone()).unwrap();
    let mut again = optimizer.state(&there).await.unwrap();
    again.moments.sort_by(|a, b| a.name.cmp(&b.name));
    assert_eq!(again, record);
    [expected, two_more(optimizer, there).await]
}
