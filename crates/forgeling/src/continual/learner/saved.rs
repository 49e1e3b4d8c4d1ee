//! A learner as bytes.

use serde::{Deserialize, Serialize};

use super::{Buffer, ContinualLearner, ContinualLearnerConfig};
use crate::error::{Error, Result};
use crate::nn::graph::Graph;
use crate::train::parts::{RunState, Sections};
use crate::train::{Checkpoint, HardwareManager};

const OPERATION: &str = "load_continual_learner";
/// The section with what [`Saved`] has.
const LEARNER: &str = "learner";
const HEAD: &str = "head";
const BUFFER: &str = "buffer";

/// All but what is in sections of its own.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    config: ContinualLearnerConfig,
    graph: Graph,
    calls: u64,
    begun: bool,
    /// How many examples each test has.
    tests: Vec<usize>,
    matrix: Vec<Vec<f64>>,
}

fn test(place: usize) -> String {
    format!("test {place}")
}

async fn write(name: &str, of: &dyn RunState, to: &mut Checkpoint) -> Result<()> {
    let mut sections = Sections::default();
    of.save(&mut sections)?;
    sections.write(name, to).await
}

impl ContinualLearner {
    /// All of it, from which [`load`](Self::load) goes on: network, optimizer, what the strategy keeps, random numbers, test
    /// examples, matrix, graph and configuration, as a [`Checkpoint`]'s bytes.
    ///
    /// # Errors
    /// When the device fails, or a weight is not finite.
    pub async fn save(&self) -> Result<Vec<u8>> {
        let mut checkpoint = self.trainer.state(&self.network).await?;
        let saved = Saved {
            config: self.config.clone(),
            graph: self.network.graph().clone(),
            calls: self.calls,
            begun: self.begun,
            tests: self.tests.iter().map(Buffer::len).collect(),
            matrix: self.matrix.clone(),
        };
        checkpoint.set_section(LEARNER, &saved)?;
        write(HEAD, &self.head.progress(), &mut checkpoint).await?;
        if let Some(method) = &self.method {
            write(method.name(), &**method, &mut checkpoint).await?;
        }
        if let Some(buffer) = &self.buffer {
            write(BUFFER, buffer, &mut checkpoint).await?;
        }
        for (place, kept) in self.tests.iter().enumerate() {
            write(&test(place), kept, &mut checkpoint).await?;
        }
        checkpoint.encode()
    }

    /// A learner from the bytes of [`save`](Self::save), which goes on as the other would have: on the CPU bit for bit.
    ///
    /// # Errors
    /// When the bytes are damaged, or of something else.
    pub fn load(bytes: &[u8], manager: HardwareManager) -> Result<Self> {
        let mut from = Checkpoint::decode(bytes)?;
        let saved: Saved = from.section(LEARNER)?;
        let bad = |message: &str| Error::bad_data(OPERATION, message);
        // Before anything of the claimed size is made.
        let claimed = saved.graph.counts().all();
        let weights = from.tensors.get("model").into_iter().flatten();
        let present: u64 = weights.map(|tensor| tensor.values.len() as u64).sum();
        if claimed != present {
            return Err(bad("the weights do not fit the network")
                .expected(format!("{claimed} values"))
                .got(present));
        }
        let mut accuracies = saved.matrix.iter().flatten();
        let in_range = accuracies.all(|value| (0.0..=1.0).contains(value));
        let longest = saved.matrix.iter().map(Vec::len).max().unwrap_or(0);
        if !in_range
            || longest != saved.tests.len()
            || !saved.matrix.is_sorted_by_key(|row| row.len())
        {
            return Err(bad("the matrix is not one of accuracies on the tests")
                .expected(format!("columns for {} tests", saved.tests.len()))
                .got(format!("{:?}", saved.matrix)));
        }
        let mut learner = Self::new(&saved.graph, saved.config, manager)?;
        learner
            .trainer
            .load_state(&mut from, &mut learner.network)?;
        let device = learner.trainer.manager().device().tensors().clone();
        let mut read =
            |name: &str, of: &mut dyn RunState| of.load(&Sections::read(name, &mut from)?, &device);
        read(HEAD, &mut learner.head.progress())?;
        if let Some(method) = &mut learner.method {
            let name = method.name().to_string();
            read(&name, &mut **method)?;
        }
        if let Some(buffer) = &mut learner.buffer {
            read(BUFFER, buffer)?;
        }
        for (place, examples) in saved.tests.into_iter().enumerate() {
            let mut kept = learner.test_buffer(examples)?;
            read(&test(place), &mut kept)?;
            if kept.len() != examples {
                return Err(bad("a test has not all of its examples")
                    .expected(examples)
                    .got(kept.len()));
            }
            learner.tests.push(kept);
        }
        (learner.calls, learner.begun) = (saved.calls, saved.begun);
        learner.matrix = saved.matrix;
        Ok(learner)
    }
}
