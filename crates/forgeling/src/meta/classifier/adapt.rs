//! What a classifier makes of its examples.

use std::ops::ControlFlow;

use burn::module::Module;

use super::answers::Answers;
use super::calibrate::{Calibrated, FOLDS};
use super::config::Adaptation;
use super::distances::Distances;
use super::fine_tune::{FineTuneEvent, FineTuneSummary, FineTuning};
use super::support::Support;
use super::tuned::Tuned;
use super::{Classifier, OPERATION, encoder};
use crate::error::{Error, Result};
use crate::meta::Model;

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

    pub(super) async fn by_method(&self) -> Result<Calibrated> {
        let (answers, held_out, features) = match &self.learner.model {
            Model::Gradient(learner) => {
                let shape = self.learner.input_shape();
                let answers = Answers::gradient(learner, &self.examples(), shape)?;
                let held_out = self.stepped_held_out(learner).await?;
                (answers, held_out, encoder::has_features(&learner.network))
            }
            _ if self.learner.euclidean() => return Ok(self.by_prototypes().await?.0),
            _ => {
                let answers = Answers::metric(&self.learner, &self.examples());
                (answers, self.compared_held_out().await?, true)
            }
        };
        if !features {
            return self.calibrated(answers, None, &held_out, &[]);
        }
        let (prototypes, features) = self.prototypes().await?;
        let strangeness = self.distances(&features).strangeness();
        self.calibrated(answers, Some(prototypes), &held_out, &strangeness)
    }

    /// The prototypes as what answers, and the features of all examples, class after class.
    pub(super) async fn by_prototypes(&self) -> Result<(Calibrated, Vec<Vec<f32>>)> {
        let (answers, features) = self.prototypes().await?;
        let distances = self.distances(&features);
        let (held_out, strangeness) = (distances.held_out(), distances.strangeness());
        let calibrated = self.calibrated(answers, None, &held_out, &strangeness)?;
        Ok((calibrated, features))
    }

    fn distances(&self, features: &[Vec<f32>]) -> Distances {
        Distances::of(&self.by_class(features).collect::<Vec<_>>())
    }

    /// The prototypes, and the features of all examples, class after class.
    async fn prototypes(&self) -> Result<(Answers, Vec<Vec<f32>>)> {
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
        prototypes: Calibrated,
        features: Vec<Vec<f32>>,
        on_event: &mut impl FnMut(&FineTuneEvent) -> ControlFlow<()>,
        pace: &impl AsyncFn() -> Result<()>,
    ) -> Result<(Calibrated, FineTuneSummary)> {
        let (Answers::Prototypes { encoder, .. }, Some(config)) =
            (&prototypes.answers, self.adaptation.fine_tune())
        else {
            return Err(Error::invalid(OPERATION, "nothing to train"));
        };
        let by_class: Vec<&[Vec<f32>]> = self.by_class(&features).collect();
        let adapters = match self.adaptation {
            Adaptation::Lora(config) => {
                let (seed, network) = (config.fine_tune.seed, encoder.clone().train());
                Some(network.adapted(config.rank, config.alpha, seed)?)
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
        // Each fold is another training, and one of adapters takes its time.
        let folds = if adapters.is_some() { 1 } else { FOLDS };
        let held_out = tuning.held_out(start, summary.epochs, folds, pace).await?;
        let encoder = match &tuned.encoder {
            Some(adapted) => adapted.merged()?.valid(),
            None => encoder.clone(),
        };
        let head = tuned.into_head();
        // Features that were trained on these examples would find all others strange.
        let strangeness = Distances::of(&by_class).strangeness();
        let answers = Answers::Linear { encoder, head };
        let known = Some(prototypes.answers);
        Ok((
            self.calibrated(answers, known, &held_out, &strangeness)?,
            summary,
        ))
    }
}
