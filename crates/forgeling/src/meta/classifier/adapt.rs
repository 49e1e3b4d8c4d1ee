//! What a classifier makes of its examples.

use std::ops::ControlFlow;

use burn::module::Module;

use super::answers::{Answers, Rule};
use super::calibrate::{Calibrated, FOLDS};
use super::config::Adaptation;
use super::distances::Distances;
use super::fine_tune::{FineTuneEvent, FineTuneSummary, FineTuning};
use super::linear::{lda, ridge};
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
                let rule = Rule::metric(&self.learner, &self.examples());
                (
                    Answers::by(rule, None),
                    self.compared_held_out().await?,
                    true,
                )
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

    /// Discriminants, or a regression with that penalty with which examples that are held out are told best.
    pub(super) async fn by_linear(&self) -> Result<Calibrated> {
        /// More than one of them is never far from the best; with single examples of classes nothing says which.
        const PENALTIES: [f64; 5] = [1.0, 1e-3, 1e-2, 1e-1, 10.0];
        let (prototypes, features) = self.prototypes().await?;
        let classes: Vec<&[Vec<f32>]> = self.by_class(&features).collect();
        let held_out = |penalty: Option<f64>| {
            let fit = |rows: &[&[Vec<f32>]]| penalty.map_or_else(|| lda(rows), |p| ridge(rows, p));
            self.fitted_held_out(&classes, fit)
        };
        let (linear, held_out) = if self.adaptation == Adaptation::Lda {
            (lda(&classes)?, held_out(None)?)
        } else {
            let mut best = (PENALTIES[0], held_out(Some(PENALTIES[0]))?);
            for penalty in PENALTIES.into_iter().skip(1) {
                let found = held_out(Some(penalty))?;
                if found.squared_error() < best.1.squared_error() {
                    best = (penalty, found);
                }
            }
            (ridge(&classes, best.0)?, best.1)
        };
        let other = match &prototypes {
            Answers::Encoded { encoder, .. } => Some(encoder.clone()),
            _ => None,
        };
        let strangeness = self.distances(&features).strangeness();
        let answers = Answers::by(Rule::Linear(linear), other);
        self.calibrated(answers, Some(prototypes), &held_out, &strangeness)
    }

    fn distances(&self, features: &[Vec<f32>]) -> Distances {
        Distances::of(&self.by_class(features).collect::<Vec<_>>())
    }

    /// The prototypes, and the features of all examples, class after class.
    async fn prototypes(&self) -> Result<(Answers, Vec<Vec<f32>>)> {
        let kept = self.examples().into_iter().flatten();
        if self.encoder.is_some() {
            let features: Vec<Vec<f32>> = kept.cloned().collect();
            let rule = Rule::prototypes(self.by_class(&features));
            return Ok((Answers::by(rule, None), features));
        }
        let pixels: Vec<&[f32]> = kept.map(Vec::as_slice).collect();
        let shape = self.learner.input_shape();
        let device = self.learner.device.tensors();
        let encoder = encoder::by_examples(&self.learner.model, &pixels, shape, device)?;
        let features = encoder::embed(&encoder, &pixels, shape, device).await?;
        let rule = Rule::prototypes(self.by_class(&features));
        Ok((Answers::by(rule, Some(encoder)), features))
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
        let Some(config) = self.adaptation.fine_tune() else {
            return Err(Error::invalid(OPERATION, "nothing to train"));
        };
        let other = match &prototypes.answers {
            Answers::Encoded { encoder, .. } => Some(encoder.clone()),
            _ => None,
        };
        let by_class: Vec<&[Vec<f32>]> = self.by_class(&features).collect();
        let adapters = match (self.adaptation, &other) {
            (Adaptation::Lora(config), Some(encoder)) => {
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
            Some(adapted) => Some(adapted.merged()?.valid()),
            None => other,
        };
        let head = tuned.into_head().await?;
        // Features that were trained on these examples would find all others strange.
        let strangeness = Distances::of(&by_class).strangeness();
        let answers = Answers::by(Rule::Linear(head), encoder);
        let known = Some(prototypes.answers);
        Ok((
            self.calibrated(answers, known, &held_out, &strangeness)?,
            summary,
        ))
    }
}
