//! What goes through a forward pass beside the activations.

use std::fmt::Display;

use burn::module::Module;
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::{DType, Gradients, Tensor, TensorData};

use super::{BatchStatistics, Normalization};
use crate::device::TensorDevice;
use crate::device::profile;
use crate::error::{Error, Result};
use crate::ops;
use crate::ops::plan::worth_cutting;

/// What a network needs to know of a forward pass, and what the pass leaves behind for the backward pass.
///
/// A network runs its larger parts through [`block`](Self::block). There, a pass can leave out what the part would keep
/// for the backward pass ([`checkpointing`](Self::checkpointing)), and look for the first part whose output is not
/// finite ([`watching`](Self::watching)).
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use forgeling::nn::zoo::Conv4Config;
/// use forgeling::nn::{Network, Normalization, Pass};
///
/// let device = Device::flex().autodiff();
/// let graph = Conv4Config { filters: 4, ..Default::default() }.graph()?;
/// let model = Network::on(&graph, 0, &device);
/// let images = Tensor::ones([2, 1, 28, 28], &device);
/// let mut pass = Pass::new(Normalization::Batch, &device).checkpointing(true);
/// let features = model.features(images, &mut pass)?;
/// let gradients = pass.backward(features.sum(), &model)?;
/// assert_eq!(gradients.len(), 4 * 3);
/// # Ok::<(), forgeling::Error>(())
/// ```
pub struct Pass<'a> {
    normalization: Normalization,
    device: TensorDevice,
    dtype: DType,
    checkpointing: bool,
    /// Numbers of the largest input of a block so far.
    largest: usize,
    watching: bool,
    observing: bool,
    observed: Vec<(String, Tensor<1>)>,
    step: usize,
    statistics: Vec<BatchStatistics>,
    segments: Vec<Box<dyn Recompute<'a> + 'a>>,
    path: Vec<String>,
    watched: Vec<(String, Tensor<1>)>,
    /// Of the watched norms: where each is, with its variance.
    variances: Vec<(String, Tensor<1>)>,
}

impl<'a> Pass<'a> {
    /// A pass in f32 that keeps everything. `device` is where [`values`](Self::values) go, tracked or not.
    pub fn new(normalization: Normalization, device: &TensorDevice) -> Self {
        Self {
            normalization,
            device: device.clone(),
            dtype: DType::F32,
            checkpointing: false,
            largest: 0,
            watching: false,
            observing: false,
            observed: Vec::new(),
            step: 0,
            statistics: Vec::new(),
            segments: Vec::new(),
            path: Vec::new(),
            watched: Vec::new(),
            variances: Vec::new(),
        }
    }

    /// The dtype that [`input`](Self::input) casts to. Default f32.
    #[must_use]
    pub fn computing_in(mut self, dtype: DType) -> Self {
        self.dtype = dtype;
        self
    }

    /// Whether a [`block`](Self::block) keeps its input only, and is computed once more in the backward pass. That is
    /// less memory for up to a third more time. Chen et al., *Training Deep Nets with Sublinear Memory Cost*, 2016
    /// (arXiv 1604.06174). A block whose input is small beside that of an earlier one, at most half of it, keeps what it
    /// would keep otherwise: such blocks take as long as the large ones but little memory, and theirs is free again when
    /// the large ones need most. Default off.
    #[must_use]
    pub fn checkpointing(mut self, on: bool) -> Self {
        self.checkpointing = on;
        self
    }

    /// Whether the pass keeps a sum of each block's output, for [`watched`](Self::watched). Default off.
    #[must_use]
    pub fn watching(mut self, on: bool) -> Self {
        self.watching = on;
        self
    }

    /// Whether layers that would round values leave them as they are, and the pass keeps them
    /// ([`take_observed`](Self::take_observed)). Default off.
    #[must_use]
    pub fn observing(mut self, on: bool) -> Self {
        self.observing = on;
        self
    }

    /// Whether layers that would round values leave them as they are.
    pub(crate) fn is_observing(&self) -> bool {
        self.observing
    }

    /// Keeps values that were to be rounded, with the name of their scale, if this pass is [observing](Self::observing); says
    /// whether it is.
    pub(crate) fn observe<const D: usize>(
        &mut self,
        name: impl FnOnce() -> String,
        values: &Tensor<D>,
    ) -> bool {
        if self.observing {
            let values = self.output(values.clone().without_autodiff());
            let length = values.shape().num_elements();
            self.observed.push((name(), values.reshape([length])));
        }
        self.observing
    }

    /// The values that layers would have rounded, each with the name of its scale, in the order of the layers.
    pub fn take_observed(&mut self) -> Vec<(String, Tensor<1>)> {
        std::mem::take(&mut self.observed)
    }

    /// How many optimizer steps were taken before this pass, for losses that change over training. Default 0.
    #[must_use]
    pub fn after_steps(mut self, step: usize) -> Self {
        self.step = step;
        self
    }

    /// How many optimizer steps were taken before this pass.
    pub fn step(&self) -> usize {
        self.step
    }

    /// Adds a value to those [watched](Self::watched), if this pass is [watching](Self::watching).
    pub fn watch<const D: usize>(&mut self, name: impl Display, value: impl FnOnce() -> Tensor<D>) {
        if self.watching {
            let sum = self.output(value().without_autodiff()).sum();
            self.watched.push((name.to_string(), sum));
        }
    }

    /// Where batch norm takes mean and variance from.
    pub fn normalization(&self) -> Normalization {
        self.normalization
    }

    /// A network's input from values of the host, which casts them to the dtype of this pass: the device has them once.
    pub fn values<const D: usize>(&self, values: TensorData) -> Tensor<D> {
        Tensor::from_data(values, (&self.device, self.dtype))
    }

    /// A network's input in the dtype of this pass. Parameters, statistics, norms, softmax and losses stay f32.
    pub fn input<const D: usize>(&self, tensor: Tensor<D>) -> Tensor<D> {
        if tensor.dtype() == self.dtype {
            return tensor;
        }
        tensor.cast(self.dtype)
    }

    /// A network's output in f32, in which losses are computed.
    pub fn output<const D: usize>(&self, tensor: Tensor<D>) -> Tensor<D> {
        if tensor.dtype() == DType::F32 {
            return tensor;
        }
        tensor.cast(DType::F32)
    }

    /// Adds what a norm found in this batch.
    pub fn collect(&mut self, found: BatchStatistics) {
        if self.watching {
            let norm = match self.path.is_empty() {
                true => "the variance of a batch norm".into(),
                false => format!("the variance in {}", self.path.join(".")),
            };
            self.variances.push((norm, found.variance()));
        }
        self.statistics.push(found);
    }

    /// The variances that norms found in this batch, if this pass is [watching](Self::watching).
    pub(crate) fn variances(&self) -> &[(String, Tensor<1>)] {
        &self.variances
    }

    /// What the norms found in this batch, which is then no longer in the pass.
    pub fn take_statistics(&mut self) -> Vec<BatchStatistics> {
        std::mem::take(&mut self.statistics)
    }

    /// Runs what has run in this pass before: what norms find in it, which they have found already, does not count again.
    ///
    /// # Errors
    /// Those of `run`.
    pub(crate) fn uncounted<T>(&mut self, run: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let found = std::mem::take(&mut self.statistics);
        let watched = self.variances.len();
        let result = run(self);
        self.statistics = found;
        self.variances.truncate(watched);
        result
    }

    /// What was [watched](Self::watch) so far and the outputs of blocks, in their order, with the sum of each, if this pass
    /// is [watching](Self::watching).
    pub fn watched(&self) -> &[(String, Tensor<1>)] {
        &self.watched
    }

    /// Runs a part of a network on its input. `name` is the part's name in the module, for example `blocks.0`.
    ///
    /// `run` may be called twice, on the part without tracking and again in the backward pass, and does the same both
    /// times. What goes around the block, as in a residual network, belongs into it; only what comes out of another
    /// block may go both ways.
    ///
    /// # Errors
    /// Those of `run`.
    pub fn block<M: Module, const I: usize, const O: usize>(
        &mut self,
        name: impl Display,
        part: &'a M,
        input: Tensor<I>,
        run: impl Fn(&M, Tensor<I>, &mut Pass<'_>) -> Result<Tensor<O>> + 'a,
    ) -> Result<Tensor<O>> {
        let _span = profile::named(&name);
        self.enter(&name);
        let size = input.shape().num_elements();
        self.largest = self.largest.max(size);
        let cut = self.checkpointing && worth_cutting(size, self.largest);
        let output = if cut && input.device().is_autodiff() {
            self.checkpoint(part, input, run)?
        } else {
            run(part, input, self)?
        };
        self.leave(&output);
        Ok(output)
    }

    /// As [`block`](Self::block), of a part that is never computed once more.
    ///
    /// # Errors
    /// Those of `run`.
    pub fn part<const O: usize>(
        &mut self,
        name: impl Display,
        run: impl FnOnce(&mut Self) -> Result<Tensor<O>>,
    ) -> Result<Tensor<O>> {
        let _span = profile::named(&name);
        self.enter(&name);
        let output = run(self)?;
        self.leave(&output);
        Ok(output)
    }

    fn enter(&mut self, name: &impl Display) {
        if self.watching {
            self.path.push(name.to_string());
        }
    }

    fn leave<const D: usize>(&mut self, output: &Tensor<D>) {
        if self.watching {
            let sum = self.output(output.clone().without_autodiff()).sum();
            let name = format!("the output of {}", self.path.join("."));
            self.watched.push((name, sum));
            self.path.pop();
        }
    }

    fn checkpoint<M: Module, const I: usize, const O: usize>(
        &mut self,
        part: &'a M,
        input: Tensor<I>,
        run: impl Fn(&M, Tensor<I>, &mut Pass<'_>) -> Result<Tensor<O>> + 'a,
    ) -> Result<Tensor<O>> {
        let mut untracked = self.again(&self.device.clone().inner());
        let output = run(&part.valid(), input.clone().inner(), &mut untracked)?;
        self.statistics.append(&mut untracked.statistics);
        let output = Tensor::from_inner(output).require_grad();
        let (dtype, normalization, device) = (self.dtype, self.normalization, self.device.clone());
        self.segments.push(Box::new(Segment {
            input,
            output: output.clone(),
            run: move |input| {
                let mut pass = Pass::new(normalization, &device).computing_in(dtype);
                run(part, input, &mut pass)
            },
        }));
        Ok(output)
    }

    /// A pass inside a block, which is not cut again.
    fn again(&self, device: &TensorDevice) -> Pass<'a> {
        Pass::new(self.normalization, device)
            .computing_in(self.dtype)
            .after_steps(self.step)
    }

    /// The gradients of `loss`, which comes of this pass, for the parameters of `module`.
    ///
    /// # Errors
    /// When the loss depends on no parameter, and when a block that is computed once more fails.
    pub fn backward<M: Module>(self, loss: Tensor<1>, module: &M) -> Result<GradientsParams> {
        if !loss.is_tracked() {
            let message = "the loss depends on no parameter that is trained";
            return Err(Error::invalid("backward", message));
        }
        let mut tape = Tape {
            roots: vec![loss.backward()],
        };
        drop(loss);
        for segment in self.segments.into_iter().rev() {
            segment.backward(&mut tape)?;
        }
        let mut roots = tape.roots.into_iter();
        let first = roots.next().expect("there is a loss");
        let Some(second) = roots.next() else {
            return Ok(GradientsParams::from_grads(first, module));
        };
        let mut sum = GradientsAccumulator::new();
        for root in [first, second].into_iter().chain(roots) {
            sum.accumulate(module, GradientsParams::from_grads(root, module));
        }
        Ok(sum.grads())
    }
}

/// Gradients of everything so far, from each of the places where a backward pass began.
struct Tape {
    roots: Vec<Gradients>,
}

impl Tape {
    /// The gradient of a leaf, from wherever it was used.
    fn take<const D: usize>(&mut self, leaf: &Tensor<D>) -> Option<Tensor<D>> {
        let roots = self.roots.iter_mut();
        roots
            .filter_map(|root| leaf.grad_remove(root))
            .reduce(|sum, gradient| sum + gradient)
    }

    /// Goes on backward from `tensor`, whose gradient is known.
    fn seed<const D: usize>(&mut self, tensor: Tensor<D>, gradient: Tensor<D>) {
        if tensor.is_tracked() {
            self.roots.push(ops::seed(tensor, gradient).backward());
        }
    }
}

/// A part of a network that is to be computed once more.
trait Recompute<'a> {
    fn backward(self: Box<Self>, tape: &mut Tape) -> Result<()>;
}

struct Segment<const I: usize, const O: usize, F> {
    input: Tensor<I>,
    /// Where the graph was cut.
    output: Tensor<O>,
    run: F,
}

impl<'a, const I: usize, const O: usize, F> Recompute<'a> for Segment<I, O, F>
where
    F: Fn(Tensor<I>) -> Result<Tensor<O>> + 'a,
{
    fn backward(self: Box<Self>, tape: &mut Tape) -> Result<()> {
        let Self { input, output, run } = *self;
        let Some(gradient) = tape.take(&output) else {
            return Ok(());
        };
        drop(output);
        if !input.is_tracked() {
            let again = run(input)?;
            tape.seed(again, gradient);
            return Ok(());
        }
        let leaf = Tensor::from_inner(input.clone().inner()).require_grad();
        let again = run(leaf.clone())?;
        tape.seed(again, gradient);
        if let Some(gradient) = tape.take(&leaf) {
            if input.is_require_grad() {
                // The end of the block before, which looks for it by itself.
                let last = tape.roots.last_mut().expect("one was just added");
                input.grad_replace(last, gradient);
            } else {
                tape.seed(input, gradient);
            }
        }
        Ok(())
    }
}
