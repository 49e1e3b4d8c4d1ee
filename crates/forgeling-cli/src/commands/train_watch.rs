//! What `forgeling train` tells of a run while it goes on, and the page that it writes of it.

use std::path::{Path, PathBuf};

use forgeling::Result;
use forgeling::report::{LineChart, Page, mix_figure};
use forgeling::train::model_file::write_atomically;
use forgeling::train::{MixCurve, TrainEvent};

use super::ending;
use super::fewshot::sections::origin;
use crate::args::Train;
use crate::output::{Output, StepProgress};

/// Tells people what happens.
pub struct Watch<'a> {
    pub output: &'a Output,
    pub progress: StepProgress,
    pub epochs: usize,
    pub validated: bool,
    /// What is known of the epoch, until it has been validated.
    epoch: String,
    /// Steps of the checkpoint that the run went on from.
    pub resumed_from: Option<usize>,
    pub curves: Curves,
}

/// Loss and accuracy after each epoch, of the images to train on and of those to validate on.
#[derive(Default)]
pub struct Curves {
    epoch: usize,
    losses: [Vec<(f64, f64)>; 2],
    accuracies: [Vec<(f64, f64)>; 2],
}

impl Curves {
    fn add(&mut self, set: usize, loss: f64, accuracy: Option<f64>) {
        let epoch = self.epoch as f64;
        self.losses[set].push((epoch, loss));
        self.accuracies[set].extend(accuracy.map(|accuracy| (epoch, accuracy)));
    }
}

/// Where the report is written.
pub fn report_place(folder: &Path) -> PathBuf {
    folder.join("report.html")
}

impl<'a> Watch<'a> {
    pub fn new(output: &'a Output, steps: usize, epochs: usize, validated: bool) -> Self {
        Self {
            output,
            progress: StepProgress::new(steps),
            epochs,
            validated,
            epoch: String::new(),
            resumed_from: None,
            curves: Curves::default(),
        }
    }

    fn line(&self, text: impl std::fmt::Display) {
        self.progress.aside(|| self.output.line(&text));
    }

    /// Writes the report, if one was asked for.
    pub fn report(&self, args: &Train, network: &str, mixes: &[MixCurve]) -> Result<()> {
        let Some(path) = args.report.as_deref().map(report_place) else {
            return Ok(());
        };
        let figure = |label: &str, curves: &[Vec<(f64, f64)>; 2]| {
            let mut chart = LineChart::new("epochs", label);
            for (name, curve) in ["trained on", "held out"].into_iter().zip(curves) {
                if !curve.is_empty() {
                    chart = chart.series(name, curve.iter().copied());
                }
            }
            chart.render()
        };
        let Curves {
            losses, accuracies, ..
        } = &self.curves;
        let mut page = Page::new(&format!("{network} on {}", args.data.data))
            .heading("Learning")
            .figure(&figure("loss", losses), "Mean loss of each epoch")
            .figure(
                &figure("accuracy", accuracies),
                "Images that were told right",
            );
        if !mixes.is_empty() {
            let caption = "Each mix weights what goes into it; the weights of a mix add up to 1";
            let figure = mix_figure(mixes);
            page = page.heading("Pathways").figure(&figure, caption);
        }
        let page = origin(page, &[("data", args.data.data.to_string())]);
        write_atomically(&path, page.render().as_bytes())?;
        self.output.line(format_args!("Report: {}", path.display()));
        Ok(())
    }

    /// Tells an event.
    pub fn tell(&mut self, event: &TrainEvent) {
        let percent = |accuracy: &Option<f64>| 100.0 * accuracy.unwrap_or(0.0);
        match event {
            TrainEvent::Step(step) => self.progress.update(step),
            TrainEvent::Skipped { step, loss_scale } => self.line(format_args!(
                "Step {step} was skipped: a gradient was not finite; losses are scaled with {loss_scale} now."
            )),
            TrainEvent::MicroBatch { examples, .. } => self.line(format_args!(
                "Memory did not suffice: {examples} images at a time from here on."
            )),
            TrainEvent::Epoch {
                epoch,
                loss,
                accuracy,
                ..
            } => {
                self.curves.epoch = *epoch;
                self.curves.add(0, *loss, *accuracy);
                let (epochs, accuracy) = (self.epochs, percent(accuracy));
                self.epoch =
                    format!("Epoch {epoch}/{epochs}: loss {loss:.3}, accuracy {accuracy:.1} %");
                if !self.validated {
                    self.line(&self.epoch);
                }
            }
            TrainEvent::Validated { validation, .. } => {
                self.curves.add(1, validation.loss, validation.accuracy);
                self.line(format_args!(
                    "{}; validation loss {:.3}, {}",
                    self.epoch,
                    validation.loss,
                    ending::accuracies(validation)
                ));
            }
            TrainEvent::Resumed {
                step,
                epoch,
                damaged,
            } => {
                self.resumed_from = Some(*step);
                for problem in damaged {
                    self.line(format_args!("Not used: {problem}"));
                }
                self.line(format_args!("Going on after step {step}, epoch {epoch}."));
                if *epoch >= self.epochs {
                    self.line(format_args!(
                        "With --epochs {} nothing is left to train: the checkpoint's model is saved as it is.",
                        self.epochs
                    ));
                }
            }
            TrainEvent::DeviceDropped {
                name,
                reason,
                remaining,
                ..
            } => self.line(format_args!(
                "{name} failed and is left out, {remaining} go on: {reason}"
            )),
            _ => {}
        }
    }
}
