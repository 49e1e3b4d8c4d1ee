//! Classifiers that are computed on features that are not trained.

use std::ops::ControlFlow;

use burn::module::Module;
use burn::tensor::TensorData;

use super::single_pass::{Learner, Spent};
use super::strategy::FrozenFeatures;
use super::{Experiment, RunEvent};
use crate::continual::{ClosedForm, ClosedFormRule, ContinualBatch, Head, InOrder, RandomFeatures};
use crate::data::ImageBatch;
use crate::device::{Device, Readback, TensorDevice};
use crate::error::Result;
use crate::nn::{Network, Normalization, Pass};
use crate::train::parts::{RunState, Sections};
use crate::train::score::chosen;
use crate::train::{Batch, Source};

/// A classifier in closed form, with what makes its features.
pub(super) struct Computed {
    classifier: ClosedForm,
    features: Features,
    head: Head,
}

enum Features {
    Raw,
    Random(RandomFeatures),
    Network(Box<Network>, Device),
}

impl Computed {
    pub fn new(
        experiment: &Experiment,
        rule: ClosedFormRule,
        features: FrozenFeatures,
        device: &Device,
    ) -> Result<Self> {
        let (inputs, seeds) = (experiment.scenario.image_shape().len(), experiment.seeds);
        let (features, width) = match features {
            FrozenFeatures::Raw => (Features::Raw, inputs),
            FrozenFeatures::Random { width } => {
                let random = RandomFeatures::new(inputs, width, seeds.strategy)?;
                (Features::Random(random), width)
            }
            FrozenFeatures::Network => {
                let network = experiment.network(device)?.encoder().valid();
                let width = network.graph().features_shape().len();
                (Features::Network(Box::new(network), device.clone()), width)
            }
        };
        Ok(Self {
            classifier: ClosedForm::new(rule, width, experiment.scenario.outputs())?,
            features,
            head: experiment.head()?,
        })
    }

    /// The features of images, row by row.
    async fn features(&self, images: &ImageBatch) -> Result<Vec<f32>> {
        match &self.features {
            Features::Raw => Ok(images.images.clone()),
            Features::Random(random) => random.apply(&images.images),
            Features::Network(network, device) => {
                let shape = images.shape;
                let dims = [images.len(), shape.channels, shape.height, shape.width];
                let values = TensorData::new(images.images.clone(), dims);
                let mut pass = Pass::new(Normalization::Running, device.tensors());
                let features = network.features(pass.values(values), &mut pass)?;
                let [features] = Readback::new().with(pass.output(features)).run().await?;
                Ok(features)
            }
        }
    }
}

impl RunState for Computed {
    fn save(&self, to: &mut Sections) -> Result<()> {
        self.classifier.save(to)
    }

    fn load(&mut self, from: &Sections, device: &TensorDevice) -> Result<()> {
        self.classifier.load(from, device)
    }
}

impl Learner for Computed {
    async fn learn(&mut self, batch: &ContinualBatch) -> Result<()> {
        let features = self.features(&batch.images).await?;
        self.classifier.learn(&features, &batch.images.labels)
    }

    async fn begin_test(
        &mut self,
        _on_event: &mut impl FnMut(RunEvent<'_>) -> ControlFlow<()>,
    ) -> Result<bool> {
        Ok(true)
    }

    async fn test(&mut self, tests: &mut InOrder) -> Result<f64> {
        let (mut right, mut all) = (0, 0);
        while let Some(batch) = tests.next().await? {
            let features = self.features(&batch.images).await?;
            let mut scores = self.classifier.scores(&features)?;
            let outputs = self.classifier.classes();
            for (place, row) in scores.chunks_exact_mut(outputs).enumerate() {
                let active = self.head.answering(batch.contexts.get(place).copied());
                for (output, score) in row.iter_mut().enumerate() {
                    if !active.contains(&output) {
                        *score = f32::NEG_INFINITY;
                    }
                }
                right += usize::from(chosen(row) == batch.images.labels[place]);
            }
            all += batch.len();
        }
        Ok(right as f64 / all.max(1) as f64)
    }

    fn spent(&self) -> Spent {
        let (model_bytes, random) = match &self.features {
            Features::Raw => (0, 0),
            Features::Random(random) => (0, 4 * (random.inputs() * random.width()) as u64),
            Features::Network(network, _) => (4 * network.graph().counts().all(), 0),
        };
        Spent {
            steps: 0,
            replayed: 0,
            multiply_adds: 0,
            model_bytes,
            buffer_bytes: 0,
            state_bytes: self.classifier.bytes() + random,
        }
    }
}
