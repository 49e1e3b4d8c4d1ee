//! What a classifier makes of its examples.

use std::ops::ControlFlow;

use burn::module::Module;

use super::answers::Answers;
use super::config::Adaptation;
use super::fine_tune::{FineTuneEvent, FineTuneSummary, FineTuning};
use super::support::Support;
use super::tuned::Tuned;
use super::{Classifier, OPERATION, encoder};
use crate::error::{Error, Result};
use crate::meta::{Backbone, Model};
use crate::nn::LoraConv4;

impl Classifier {
    pub(super) fn check_classes(&self) -> Result<()> {
        if self.classes.is_empty() {
            return Err(
                Error::invalid(OPERATION, "there is no example yet").expected("at least one")
            );
        }
        if self.adaptation.fine_tune().is_some() && self.classes.len() < 2 {
            return Err(Error::invalid(OPERATION, "nothing to choose between")
                .expected("examples of at least 2 classes")
                .got(self.classes.len()));
        }
        Ok(())
    }

    /// What is kept of the examples of each class.
    fn examples(&self) -> Vec<&[Vec<f32>]> {
        let classes = self.classes.iter();
        classes.map(|class| &class.examples[..]).collect()
    }

    pub(super) async fn by_method(&self) -> Result<Answers> {
        match (&self.learner.model, self.learner.euclidean()) {
            (Model::Gradient(learner), _) => {
                Answers::gradient(learner, &self.examples(), self.learner.input_shape())
            }
            (_, true) => Ok(self.prototypes().await?.0),
            (_, false) => Ok(Answers::metric(&self.learner, &self.examples())),
        }
    }

    /// The prototypes, and the features of all examples, class after class.
    pub(super) async fn prototypes(&self) -> Result<(Answers, Vec<Vec<f32>>)> {
        let kept = self.examples().into_iter().flatten();
        let (encoder, features) = match &self.encoder {
            Some(encoder) => (encoder.clone(), kept.cloned().collect()),
            None => {
                let pixels: Vec<&[f32]> = kept.map(Vec::as_slice).collect();
                let shape = self.learner.input_shape();
                let device = self.learner.device.tensors();
                let encoder = encoder::by_examples(&self.learner.model, &pixels, shape, device)?;
                let features = self.embed(&encoder, &pixels).await?;
                (encoder, features)
            }
        };
        let answers = Answers::prototypes(encoder, self.by_class(&features));
        Ok((answers, features))
    }

    /// Rows that lie class after class, by class.
    fn by_class<'a>(&self, rows: &'a [Vec<f32>]) -> impl Iterator<Item = &'a [Vec<f32>]> {
        let mut rest = rows;
        self.classes.iter().map(move |class| {
            let (own, others) = rest.split_at(class.examples.len());
            rest = others;
            own
        })
    }

    pub(super) async fn fine_tune(
        &self,
        prototypes: Answers,
        features: Vec<Vec<f32>>,
        on_event: &mut impl FnMut(&FineTuneEvent) -> ControlFlow<()>,
        pace: &impl AsyncFn() -> Result<()>,
    ) -> Result<(Answers, FineTuneSummary)> {
        let (Answers::Prototypes { encoder, .. }, Some(config)) =
            (prototypes, self.adaptation.fine_tune())
        else {
            return Err(Error::invalid(OPERATION, "nothing to train"));
        };
        let by_class: Vec<&[Vec<f32>]> = self.by_class(&features).collect();
        let adapters = match (self.adaptation, &encoder) {
            (Adaptation::Lora(config), Backbone::Conv4(conv4)) => {
                let seed = config.fine_tune.seed;
                let conv4 = conv4.clone().train();
                Some(LoraConv4::new(conv4, config.rank, config.alpha, seed)?)
            }
            _ => None,
        };
        let inputs = match adapters {
            Some(_) => self.examples(),
            None => by_class.clone(),
        };
        let support = Support::new(&inputs, &by_class);
        let device = &self.learner.device;
        let tuning = FineTuning {
            support: &support,
            config,
            shape: self.learner.input_shape(),
            device,
        };
        let start =
            |chosen: &[usize]| Tuned::prototypes(&support, chosen, adapters.clone(), device);
        let (tuned, summary) = tuning.run(start, on_event, pace).await?;
        let encoder = match &tuned.encoder {
            Some(adapted) => Backbone::Conv4(adapted.merged()?.valid()),
            None => encoder,
        };
        let head = tuned.into_head();
        Ok((Answers::Linear { encoder, head }, summary))
    }
}
