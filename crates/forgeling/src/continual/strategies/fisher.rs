//! The diagonal of Fisher's information matrix.

use burn::tensor::activation::softmax;
use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};

use super::by_parameter::ByParameter;
use super::importance::{Look, Of, one_hot};
use crate::continual::{ContinualBatch, Head, Scenario};
use crate::data::Rng;
use crate::error::{Error, Result};
use crate::nn::Network;

const OPERATION: &str = "fisher";
const FISHER_STREAM: u64 = 8;

/// How the diagonal of Fisher's information is computed. It is the mean, over examples `x`, of how much the square of the
/// log-likelihood's gradient is to be expected,
///
/// `F_i = E_x Σ_y p(y|x) (∂ log p(y|x) / ∂θ_i)²`
///
/// with the network's own probabilities `p = softmax(logits)` of the outputs that count. Names as in van de Ven, *On the
/// computation of the Fisher information in continual learning*, ICLR blog posts 2025 (arXiv 2502.11756), whose results for
/// EWC on Split-MNIST differ little between them, and on Split-CIFAR-10 do.
///
/// What is used elsewhere: van de Ven's repository computes `Exact` by default, Avalanche [`Batched`](Self::Batched) with
/// the batch size of training, Mammoth [`Weighted`](Self::Weighted). Their means differ too: the first divides by one example
/// less than there are, the last by batches times their size, also where the last batch is smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum FisherKind {
    /// All labels, weighted by their probabilities, for all examples. The default.
    #[default]
    Exact,
    /// The same for so many examples, drawn without repeating; for all, where there are not more.
    ExactOf {
        /// Examples.
        examples: usize,
    },
    /// One label of each example, drawn from the network's probabilities.
    Sample,
    /// The label that each example has, which is no longer Fisher's information: where the network is right and sure, it
    /// is 0.
    Empirical,
    /// As empirical, each square weighted by the probability of the label, `p(y|x) (∂ log p(y|x) / ∂θ_i)²`: examples that the
    /// network tells wrong, whose gradients are the largest, hardly count.
    Weighted,
    /// The squares of the mean gradients of mini-batches, with the labels that examples have: common, but wrong, since
    /// gradients cancel each other before they are squared. The only kind that depends on a batch size, about with its
    /// reciprocal. Examples are shuffled, and the last batch, which may be smaller, counts as much as the others.
    Batched {
        /// Examples of a mini-batch.
        batch_size: usize,
    },
}

impl FisherKind {
    /// # Errors
    /// When it is of no example.
    pub(super) fn validate(self) -> Result<()> {
        match self {
            Self::ExactOf { examples: 0 } | Self::Batched { batch_size: 0 } => Err(Error::invalid(
                OPERATION,
                "Fisher's information of no example",
            )
            .expected("1 or more")
            .got(0)),
            _ => Ok(()),
        }
    }
}

/// The diagonal of Fisher's information at the network's weights, for the examples to train on of a context and the outputs
/// that count for them. What is drawn follows from `seed`.
///
/// Nothing of the network changes: norms use their running statistics. Networks of layers of neurons, activations and
/// `flatten` take whole batches: a forward pass, for each label one back without gradients of weights, and in the end one
/// product of matrices for each layer. All other networks take a pass for each label of each example. Everything is in f32,
/// whatever the precision of training is, and nothing is read from the device.
///
/// # Errors
/// When there is no such context, the kind is of no example, nothing of the network is trained, images or outputs do not
/// fit it, or a label is none of the outputs that count.
pub fn fisher_diagonal(
    network: &Network,
    head: &Head,
    scenario: &Scenario,
    context: usize,
    kind: FisherKind,
    seed: u64,
) -> Result<ByParameter> {
    kind.validate()?;
    let look = Look::new(network, head, scenario, context, Of::Squares)?;
    let rng = Rng::new(seed).fork(FISHER_STREAM).fork(context as u64);
    diagonal(&look, kind, rng)
}

/// As [`fisher_diagonal`].
pub(super) fn diagonal(look: &Look<'_>, kind: FisherKind, mut rng: Rng) -> Result<ByParameter> {
    let active = look.active();
    let mut numbers: Vec<usize> = (0..look.count()).collect();
    let mut true_label = |logits: Tensor<2>, batch: &ContinualBatch| {
        let labels = one_hot(&logits, &active, &batch.images.labels)?;
        Ok(vec![softmax(logits, 1) - labels])
    };
    match kind {
        FisherKind::Exact => look.single(&numbers, &mut all_labels),
        FisherKind::ExactOf { examples } => {
            let count = numbers.len();
            let numbers = rng.choose_distinct(count, examples.min(count))?;
            look.single(&numbers, &mut all_labels)
        }
        FisherKind::Sample => look.single(&numbers, &mut |logits, _| {
            let probabilities = softmax(logits, 1);
            let drawn = drawn(&probabilities, &mut rng);
            Ok(vec![probabilities - drawn])
        }),
        FisherKind::Empirical => look.single(&numbers, &mut true_label),
        FisherKind::Weighted => look.single(&numbers, &mut |logits, batch| {
            let labels = one_hot(&logits, &active, &batch.images.labels)?;
            Ok(vec![toward(softmax(logits, 1), labels)])
        }),
        FisherKind::Batched { batch_size } => {
            rng.shuffle(&mut numbers);
            look.batched(&numbers, batch_size, &mut true_label)
        }
    }
}

/// How much the cross entropy with each label changes with the logits, times the root of the label's probability: squares
/// have it as their weight.
fn all_labels(logits: Tensor<2>, _batch: &ContinualBatch) -> Result<Vec<Tensor<2>>> {
    let ([_, labels], device) = (logits.dims(), logits.device());
    let probabilities = softmax(logits, 1);
    let slope = |label: usize| {
        let mut hot = vec![0.0f32; labels];
        hot[label] = 1.0;
        let hot = Tensor::<2>::from_data(TensorData::new(hot, [1, labels]), &device);
        toward(probabilities.clone(), hot)
    };
    Ok((0..labels).map(slope).collect())
}

/// The same for one label of each row, which is 1 there.
fn toward(probabilities: Tensor<2>, hot: Tensor<2>) -> Tensor<2> {
    let weight = (probabilities.clone() * hot.clone()).sum_dim(1).sqrt();
    (probabilities - hot) * weight
}

/// 1 at the place of a label that is drawn for each row from its probabilities. The random numbers are made here, one for
/// each row in their order, and the choice is made on the device.
pub(super) fn drawn(probabilities: &Tensor<2>, rng: &mut Rng) -> Tensor<2> {
    let ([rows, labels], device) = (probabilities.dims(), probabilities.device());
    let uniform: Vec<f32> = (0..rows).map(|_| rng.unit_f32()).collect();
    let uniform = Tensor::<2>::from_data(TensorData::new(uniform, [rows, 1]), &device);
    // A column has the probability of its label and of all before it. The last column is above every number, however the
    // sum is rounded.
    let up_to: Vec<f32> = (0..labels * labels)
        .map(|place| f32::from(place / labels <= place % labels))
        .collect();
    let up_to = Tensor::<2>::from_data(TensorData::new(up_to, [labels, labels]), &device);
    let sums = probabilities.clone().matmul(up_to);
    let sums = sums.slice([0..rows, 0..labels - 1]);
    let beyond = sums.lower_equal(uniform).float();
    // 1 up to the label that is meant, without those before it.
    let from = Tensor::cat(vec![Tensor::ones([rows, 1], &device), beyond.clone()], 1);
    let after = Tensor::cat(vec![beyond, Tensor::zeros([rows, 1], &device)], 1);
    from - after
}
