//! Learning from examples as they are pushed.
//!
//! - `config`: how.
//! - `pushed`: the examples of a call as batches.
//! - `saved`: a learner as bytes.

mod config;
mod pushed;
mod saved;

use std::fmt;
use std::ops::ControlFlow;

use burn::module::Module;

use self::config::Parts;
pub use self::config::{ContinualLearnerConfig, LearnerStrategy};
use self::pushed::Pushed;
use super::{Budget, Buffer, BufferConfig, ContinualBatch, ContinualLoss, Head, Policy};
use crate::data::{ImageBatch, ImageShape, Rng};
use crate::device::Readback;
use crate::error::{Error, ErrorKind, Result};
use crate::nn::graph::{Graph, Shape};
use crate::nn::{Network, Normalization, Pass};
use crate::train::parts::{Method, Replay};
use crate::train::score::chosen;
use crate::train::{
    HardwareManager, Paced, Run, StopReason, TrainEvent, TrainSummary, Trainer, count_right,
    softmax,
};

const OPERATION: &str = "continual_learner";
const LEARN: &str = "continual_learn";
const END_TASK: &str = "end_task";
const CLASSIFY: &str = "continual_classify";
const ORDER_STREAM: u64 = 10;
/// Images of a pass that answers.
const PASS: usize = 64;

/// Learns one task after the other from examples that are pushed, such as those of a page: [`learn`](Self::learn) some, as
/// often as there are some, then [`end_task`](Self::end_task). The optimizer's state, the examples that are kept and what
/// else the strategy keeps go on from call to call.
///
/// ```
/// use std::ops::ControlFlow;
///
/// use forgeling::continual::{ContinualLearner, ContinualLearnerConfig};
/// use forgeling::data::{ImageBatch, ImageShape};
/// use forgeling::nn::zoo::MlpConfig;
/// use forgeling::train::{HardwareConfig, HardwareManager};
///
/// # pollster::block_on(async {
/// let shape = ImageShape::new(1, 1, 2);
/// let graph = MlpConfig { input: shape.into(), hidden: vec![8], classes: 10 }.graph()?;
/// let manager = HardwareManager::open(HardwareConfig::default()).await?;
/// let mut learner = ContinualLearner::new(&graph, ContinualLearnerConfig::default(), manager)?;
/// for labels in [vec![7, 2], vec![0, 3]] {
///     let images = ImageBatch { shape, images: vec![0.0, 1.0, 1.0, 0.0], labels };
///     learner.learn(images.clone(), |_| ControlFlow::Continue(())).await?;
///     learner.end_task(Some(images)).await?;
/// }
/// assert_eq!(learner.accuracy_matrix().iter().map(Vec::len).collect::<Vec<_>>(), [1, 2]);
/// assert_ne!(learner.classify(&[0.5, 0.5]).await?, [1]);
/// # Ok::<(), forgeling::Error>(()) }).unwrap();
/// ```
pub struct ContinualLearner {
    config: ContinualLearnerConfig,
    head: Head,
    network: Network,
    trainer: Trainer,
    objective: ContinualLoss,
    method: Option<Box<dyn Method<Network, ContinualBatch>>>,
    buffer: Option<Buffer>,
    /// How often something was learned.
    calls: u64,
    /// Whether something of the task was learned.
    begun: bool,
    /// Test examples, each in a buffer that has room for all of them.
    tests: Vec<Buffer>,
    matrix: Vec<Vec<f64>>,
}

impl fmt::Debug for ContinualLearner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContinualLearner")
            .field("config", &self.config)
            .field("network", &self.network)
            .field("steps", &self.steps())
            .field("tasks", &self.matrix.len())
            .finish_non_exhaustive()
    }
}

impl ContinualLearner {
    /// A learner that has learned nothing. `graph` has an output for each class that may come.
    ///
    /// # Errors
    /// When the network has no output for classes, a number of the configuration is out of range, the budget has no room for
    /// an example, or the head needs contexts.
    pub fn new(
        graph: &Graph,
        config: ContinualLearnerConfig,
        manager: HardwareManager,
    ) -> Result<Self> {
        let shape = graph.image_shape();
        let outputs = match graph.output_shape() {
            Shape::Values(outputs) => outputs,
            other => {
                let message = "the network does not tell classes apart";
                return Err(Error::invalid(OPERATION, message)
                    .expected("an output for each class")
                    .got(other));
            }
        };
        let head = Head::one_by_one(config.head, shape, outputs)?;
        let Parts {
            objective,
            method,
            buffer,
        } = config.parts(&head, shape)?;
        Ok(Self {
            network: Network::new(graph, config.seed, manager.device()),
            trainer: Trainer::new(config.trainer()?, manager)?,
            head,
            objective,
            method,
            buffer,
            calls: 0,
            begun: false,
            tests: Vec::new(),
            matrix: Vec::new(),
            config,
        })
    }

    /// As configured.
    pub fn config(&self) -> &ContinualLearnerConfig {
        &self.config
    }

    /// The network, whose output `i` is the label `i`.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The shape of the images.
    pub fn image_shape(&self) -> ImageShape {
        self.network.graph().image_shape()
    }

    /// How many classes there may be.
    pub fn classes(&self) -> usize {
        self.head.outputs()
    }

    /// Steps so far.
    pub fn steps(&self) -> usize {
        self.trainer.steps()
    }

    /// The examples of before, where some are kept.
    pub fn buffer(&self) -> Option<&Buffer> {
        self.buffer.as_ref()
    }

    /// Learns these examples of the task, in an order that follows from the seed and from how often this was called, together
    /// with examples of before. `on_event` is called for everything that happens; `ControlFlow::Break` ends it after the
    /// step. Gives all training so far, and whether this call was ended.
    ///
    /// # Errors
    /// When there is no example, images are of another shape or not one for each label, a label is not below
    /// [`classes`](Self::classes), or a value is not finite; nothing is changed then. As
    /// [`Trainer::fit`](crate::train::Trainer::fit), after which what was learned until then is kept.
    pub async fn learn(
        &mut self,
        images: ImageBatch,
        on_event: impl FnMut(&TrainEvent) -> ControlFlow<()>,
    ) -> Result<TrainSummary> {
        self.learn_paced(images, &async || Ok(()), on_event).await
    }

    /// As [`learn`](Self::learn); `pace` is called and waited for before each step, as by [`Paced`].
    ///
    /// # Errors
    /// As [`learn`](Self::learn), and those of `pace`.
    pub async fn learn_paced(
        &mut self,
        images: ImageBatch,
        pace: &impl AsyncFn() -> Result<()>,
        mut on_event: impl FnMut(&TrainEvent) -> ControlFlow<()>,
    ) -> Result<TrainSummary> {
        self.check(LEARN, &images)?;
        self.head.reveal(&images.labels);
        let rng = Rng::new(self.config.seed)
            .fork(ORDER_STREAM)
            .fork(self.calls);
        self.calls += 1;
        let (task, batch_size) = (self.matrix.len(), self.config.batch_size);
        let mut pushed = Pushed::new(images, task, batch_size, rng);
        let mut source = Paced::new(&mut pushed, pace);
        let mut run = Run::on(&mut source);
        if let Some(method) = &mut self.method {
            run = run.with_method(&mut **method);
        }
        if let Some(buffer) = &mut self.buffer {
            run = run.replaying(buffer);
        }
        let before = self.trainer.steps();
        let (mut epochs, mut reason) = (0, StopReason::Finished);
        let fit = self
            .trainer
            .fit(&mut self.network, &self.objective, run, |event| {
                if let TrainEvent::Stopped { step, .. } = event {
                    // For the trainer, it is always asked for.
                    let step = *step;
                    return on_event(&TrainEvent::Stopped { step, reason });
                }
                if on_event(event).is_break() {
                    reason = StopReason::Asked;
                }
                epochs += usize::from(matches!(event, TrainEvent::Epoch { .. }));
                match reason == StopReason::Asked || epochs == self.config.epochs {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                }
            });
        let fitted = fit.await;
        self.begun |= self.trainer.steps() > before;
        fitted?;
        Ok(self.trainer.summary(reason))
    }

    /// Ends the task, so that what is learned next is another one, and tests on its test examples, if there are some, and on
    /// those of all tasks before: a new row of the [matrix](Self::accuracy_matrix). Test examples are kept for that; they may
    /// be of any class that may come.
    ///
    /// # Errors
    /// When nothing of the task was learned, as [`learn`](Self::learn) for the test examples, and when the device fails;
    /// nothing is changed then.
    pub async fn end_task(&mut self, test: Option<ImageBatch>) -> Result<&[f64]> {
        self.end_task_paced(test, &async || Ok(())).await
    }

    /// As [`end_task`](Self::end_task); `pace` is called and waited for before each pass.
    ///
    /// # Errors
    /// As [`end_task`](Self::end_task), and those of `pace`.
    pub async fn end_task_paced(
        &mut self,
        test: Option<ImageBatch>,
        pace: &impl AsyncFn() -> Result<()>,
    ) -> Result<&[f64]> {
        if !self.begun {
            return Err(
                Error::invalid(END_TASK, "nothing of the task was learned").expected("learn first")
            );
        }
        let mut added = None;
        if let Some(images) = test {
            self.check(END_TASK, &images)?;
            let mut kept = self.test_buffer(images.len())?;
            kept.remember(&ContinualBatch::new(images, None), None, None)?;
            added = Some(kept);
        }
        let mut row = Vec::with_capacity(self.tests.len() + 1);
        for test in self.tests.iter().chain(&added) {
            row.push(self.test(test, pace).await?);
        }
        self.tests.extend(added);
        self.begun = false;
        self.matrix.push(row);
        Ok(&self.matrix[self.matrix.len() - 1])
    }

    /// Accuracies, a row after each task that has ended and a column for each that has test examples, in their order: where
    /// all have some, row `i` has the accuracies on the tasks `0..=i`.
    pub fn accuracy_matrix(&self) -> &[Vec<f64>] {
        &self.matrix
    }

    /// The most probable class of each image of [this shape](Self::image_shape); one after the other.
    ///
    /// # Errors
    /// As [`probabilities`](Self::probabilities).
    pub async fn classify(&self, images: &[f32]) -> Result<Vec<usize>> {
        let logits = self.answers(images).await?;
        Ok(logits.chunks_exact(self.classes()).map(chosen).collect())
    }

    /// The probability of each class for each image, image by image: 0 of those that are no answer.
    ///
    /// # Errors
    /// When there is no image, when the values are not whole images or one is not finite, when nothing was learned and the
    /// head grows, and when the device fails.
    pub async fn probabilities(&self, images: &[f32]) -> Result<Vec<f32>> {
        let logits = self.answers(images).await?;
        let rows = logits.chunks_exact(self.classes());
        Ok(rows.flat_map(softmax).collect())
    }

    /// The outputs for images that were not checked.
    async fn answers(&self, images: &[f32]) -> Result<Vec<f32>> {
        let shape = self.image_shape();
        let count = images.len() / shape.len();
        let labels = vec![0; count];
        self.check_images(CLASSIFY, shape, images, count)?;
        if self.head.come().is_some_and(|come| !come.contains(&true)) {
            let message = "no class has come yet";
            return Err(Error::invalid(CLASSIFY, message).expected("learn first"));
        }
        let mut all = Vec::with_capacity(count * self.classes());
        let parts = images.chunks(PASS * shape.len()).zip(labels.chunks(PASS));
        for (images, labels) in parts {
            let images = ImageBatch {
                shape,
                images: images.to_vec(),
                labels: labels.to_vec(),
            };
            all.extend(self.logits(&ContinualBatch::new(images, None)).await?);
        }
        Ok(all)
    }

    /// The outputs in one pass, −1e30 of those that are no answer.
    async fn logits(&self, batch: &ContinualBatch) -> Result<Vec<f32>> {
        let network = self.network.valid();
        let device = self.trainer.manager().device();
        let mut pass = Pass::new(Normalization::Running, device.tensors());
        let logits = self.head.logits(&network, batch, &mut pass)?;
        let answers = self.head.answers(logits, batch);
        let [logits] = Readback::new().with(answers).run().await?;
        if let Some(logit) = logits.iter().find(|logit| !logit.is_finite()) {
            let message = "an output of the network is not finite";
            return Err(Error::new(ErrorKind::Diverged, CLASSIFY, message).got(logit));
        }
        Ok(logits)
    }

    /// The share of test examples that are told right.
    async fn test(&self, test: &Buffer, pace: &impl AsyncFn() -> Result<()>) -> Result<f64> {
        let (count, mut right) = (test.len(), 0);
        for first in (0..count).step_by(PASS) {
            pace().await?;
            let batch = test.examples(first..(first + PASS).min(count))?;
            right += count_right(&self.logits(&batch).await?, &batch.images.labels);
        }
        Ok(right as f64 / count as f64)
    }

    /// An empty buffer with room for so many test examples.
    fn test_buffer(&self, examples: usize) -> Result<Buffer> {
        let config = BufferConfig {
            budget: Budget::Total(examples),
            policy: Policy::Reservoir,
            logits: 0,
            seed: 0,
        };
        Buffer::new(config, self.image_shape(), self.classes())
    }

    /// Whether these are examples with labels of classes.
    fn check(&self, operation: &'static str, images: &ImageBatch) -> Result<()> {
        self.check_images(operation, images.shape, &images.images, images.len())?;
        let classes = self.classes();
        match images.labels.iter().find(|label| **label >= classes) {
            Some(label) => Err(Error::invalid(operation, "a label is no class")
                .expected(format!("a class below {classes}"))
                .got(label)),
            None => Ok(()),
        }
    }

    /// Whether these are so many images, 1 or more, of finite values.
    fn check_images(
        &self,
        operation: &'static str,
        shape: ImageShape,
        values: &[f32],
        count: usize,
    ) -> Result<()> {
        let expected = self.image_shape();
        if count == 0 {
            return Err(Error::invalid(operation, "there is no example").expected("1 or more"));
        }
        if shape != expected || count.checked_mul(shape.len()) != Some(values.len()) {
            let message = "the images are of another shape, or not as many as there should be";
            return Err(Error::invalid(operation, message)
                .expected(format!("{count} images of {expected}"))
                .got(format!("{} values of images of {shape}", values.len())));
        }
        let Some(place) = values.iter().position(|value| !value.is_finite()) else {
            return Ok(());
        };
        let message = format!(
            "example {} has a value that is not finite",
            place / shape.len()
        );
        Err(Error::bad_data(operation, message).got(values[place]))
    }
}
