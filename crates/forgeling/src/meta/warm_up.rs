//! Compiling kernels before the first step needs them.

use burn::module::Module;
use burn::tensor::Tensor;
use serde::Serialize;

use super::{EpisodeTrainer, FewShot, FitConfig, Learner, Model, Stack};
use crate::data::{EpisodeBatch, Queries, Shots, Ways};
use crate::device::{Device, Readback};
use crate::error::Result;
use crate::nn::graph::Graph;
use crate::nn::{Normalization, Pass};

/// How far [`Device::warm_up`] has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct WarmUpEvent {
    /// Parts that are compiled.
    pub done: usize,
    /// Parts there are.
    pub total: usize,
}

impl Device {
    /// Compiles what training and evaluating a prototypical network of `encoder` needs, so that its first step takes hardly
    /// longer than the others. Calls `on_event` after each part; a page can paint in between.
    ///
    /// Which kernels a network needs depends on its channels. They are kept for as long as the process or page lives,
    /// whichever network asks for them again. On the CPU there is nothing to compile, and no event.
    ///
    /// # Errors
    /// When the network takes no images, and when the device fails.
    pub async fn warm_up(
        &self,
        encoder: &Graph,
        mut on_event: impl FnMut(WarmUpEvent),
    ) -> Result<()> {
        let mut model = Learner::protonet(encoder, 0, self)?;
        if self.is_cpu() {
            return Ok(());
        }
        let Model::Metric(learner) = &model.model else {
            return Ok(());
        };
        // Each block, a whole step, and evaluation.
        let network = learner.encoder.clone();
        let places = network.ends();
        let total = places.len() + 2;
        let mut done = 0;
        let mut report = || {
            done += 1;
            on_event(WarmUpEvent { done, total });
        };
        let batch = smallest(encoder)?;
        let shape = batch.shape;
        let dims = [2, shape.channels, shape.height, shape.width];
        for place in places {
            let part = network.up_to(place);
            let mut pass = Pass::new(Normalization::Batch, &self.autodiff());
            let images = Tensor::zeros(dims, &self.autodiff());
            let output = part.features(images, &mut pass)?;
            Readback::new().with(output).run_all().await?;
            report();
        }
        let mut trainer = EpisodeTrainer::new(FitConfig::default())?;
        let tasks = batch.tasks()?;
        trainer.step_on(&mut model, tasks.clone()).await?;
        report();
        let frozen = model.model.valid();
        for stack in Stack::of(&tasks) {
            let logits = frozen.predict(&stack, Normalization::Running)?;
            Readback::new().with(logits).run_all().await?;
        }
        report();
        Ok(())
    }
}

/// An episode of two black images and their like.
fn smallest(encoder: &Graph) -> Result<EpisodeBatch> {
    let shape = encoder.image_shape();
    let images = vec![0.0; 2 * shape.len()];
    Ok(EpisodeBatch {
        episodes: 1,
        ways: Ways::new(2)?,
        shots: Shots::new(1)?,
        queries: Queries::new(1)?,
        shape,
        support: images.clone(),
        query: images,
        classes: vec![0, 1],
        support_examples: vec![0; 2],
        query_examples: vec![1; 2],
    })
}
