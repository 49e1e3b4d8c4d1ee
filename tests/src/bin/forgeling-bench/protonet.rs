//! ProtoNet's training step, with our operations and with stock ones of burn.

use forgeling::Device;
use forgeling::meta::{EpisodeTrainer, FitConfig, Learner};
use forgeling::nn::zoo::Conv4Config;
use forgeling::ops::{Implementation, set_implementation};

use crate::data::Episodes;
use crate::runner::{Contestant, OURS, Result, Turn, description, timed};

/// A network in training on one device.
pub struct Trained<'a> {
    name: String,
    device: String,
    implementation: Implementation,
    model: Learner,
    trainer: EpisodeTrainer,
    episodes: &'a Episodes,
    steps: usize,
}

impl<'a> Trained<'a> {
    pub fn ours(filters: usize, episodes: &'a Episodes, device: &Device) -> Result<Self> {
        Self::new(OURS, Implementation::Own, filters, episodes, device)
    }

    pub fn composite(
        name: &str,
        filters: usize,
        episodes: &'a Episodes,
        device: &Device,
    ) -> Result<Self> {
        Self::new(name, Implementation::Composite, filters, episodes, device)
    }

    fn new(
        name: &str,
        implementation: Implementation,
        filters: usize,
        episodes: &'a Episodes,
        device: &Device,
    ) -> Result<Self> {
        let config = Conv4Config {
            filters,
            ..Default::default()
        };
        let fit = FitConfig {
            batch_episodes: episodes.episodes,
            ..Default::default()
        };
        Ok(Self {
            name: name.to_owned(),
            device: description(device),
            implementation,
            model: Learner::protonet(&config.graph()?, 0, device)?,
            trainer: EpisodeTrainer::new(fit)?,
            episodes,
            steps: 0,
        })
    }

    fn steps(&mut self, steps: usize) -> Result<Turn> {
        timed(&self.model.device().tensors().clone(), steps, || {
            let batch = &self.episodes.batches[self.steps % self.episodes.batches.len()];
            self.steps += 1;
            let step = self.trainer.step_on(&mut self.model, batch.tasks()?);
            Ok(pollster::block_on(step)?.loss)
        })
    }
}

impl Contestant for Trained<'_> {
    fn name(&self) -> &str {
        &self.name
    }

    fn device(&self) -> &str {
        &self.device
    }

    fn turn(&mut self, steps: usize) -> Result<Turn> {
        set_implementation(self.implementation);
        let turn = self.steps(steps);
        set_implementation(Implementation::Own);
        turn
    }
}

/// What is measured, for the table.
pub fn workload(filters: usize, episodes: usize) -> String {
    let plural = if episodes == 1 { "" } else { "s" };
    format!(
        "ProtoNet training step, Conv4-{filters}, 5-way 5-shot 15-query, 28×28, \
         {episodes} episode{plural} per step"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_counts_its_episodes() {
        assert!(workload(32, 1).ends_with("1 episode per step"));
        assert!(workload(64, 8).ends_with("8 episodes per step"));
    }
}
