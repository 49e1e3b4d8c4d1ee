//! Relation networks.

use burn::module::Module;
use burn::tensor::activation::sigmoid;
use burn::tensor::{Device, Tensor, TensorData};

use super::embedded::Embedded;
use super::{MetricHead, Trainable};
use crate::data::Rng;
use crate::error::{Error, Result};
use crate::nn::{BatchStatistics, ConvBlock, Linear, Pass};
use crate::ops::Activation;
use crate::train::{Outcome, Predictions};

const OPERATION: &str = "relation";

/// Classes told apart by a small network, which is shown a query's feature map beside that of a class:
///
/// `r = sigmoid(g([sum_k f(s_k), f(q)]))`, trained to be 1 for the query's class and 0 for the others, by the mean squared
/// error; the logits are what goes into the sigmoid.
///
/// `g` is one [`ConvBlock`] after the other, two at most and no more than the map's sides can be halved, then a layer of 8
/// neurons with ReLU, and one neuron. Sung et al., *Learning to Compare: Relation Network for Few-Shot Learning*, 2018
/// (arXiv 1711.06025). Where classes have different numbers of examples, each class's mean is taken times the task's
/// average number: with equal numbers, this is the sum.
///
/// Feature maps should have some size, as of a [`Conv4`](crate::nn::Conv4) with 2 or 3 blocks. A step holds the pairs
/// `[tasks * queries * ways, 2 channels, height, width]`, which are normalized together.
#[derive(Module, Debug)]
pub struct Relation {
    blocks: Vec<ConvBlock>,
    hidden: Linear,
    score: Linear,
    #[module(skip)]
    map: [usize; 3],
}

impl Relation {
    /// Neurons of the layer before the last, as in the paper.
    const HIDDEN: usize = 8;
    /// Blocks at most, as in the paper.
    const BLOCKS: usize = 2;

    /// A head for feature maps `[channels, height, width]`, with so many channels in its blocks (the paper has 64) and
    /// weights drawn from a seed.
    ///
    /// # Errors
    /// When a size is zero.
    pub fn new(map: [usize; 3], filters: usize, seed: u64, device: &Device) -> Result<Self> {
        let [channels, mut height, mut width] = map;
        if map.contains(&0) || filters == 0 {
            return Err(Error::invalid(OPERATION, "empty feature maps or blocks")
                .expected("every size at least 1")
                .got(format!("maps {map:?}, {filters} filters")));
        }
        let mut rng = Rng::new(seed);
        let mut blocks = Vec::new();
        let mut inputs = 2 * channels;
        while blocks.len() < Self::BLOCKS && height.min(width) >= 2 {
            blocks.push(ConvBlock::new(inputs, filters, &mut rng, device));
            inputs = filters;
            (height, width) = (height / 2, width / 2);
        }
        Ok(Self {
            blocks,
            hidden: Linear::new(inputs * height * width, Self::HIDDEN, &mut rng, device),
            score: Linear::new(Self::HIDDEN, 1, &mut rng, device),
            map,
        })
    }

    /// Maps of every class beside every query, `[tasks * queries * ways, 2 channels, height, width]`.
    fn pairs(tasks: &Embedded) -> Result<Tensor<4>> {
        let [count, supports, ways, queries, features] = tasks.sizes()?;
        let [channels, height, width] = tasks.map;
        let classes = tasks.means(tasks.support.clone())? * (supports as f64 / ways as f64);
        let pixels = features / channels;
        let each = [count, queries, ways, channels, pixels];
        let classes = classes.reshape([count, 1, ways, channels, pixels]);
        let queried = tasks.query.clone();
        let queried = queried.reshape([count, queries, 1, channels, pixels]);
        let pairs: Tensor<5> = Tensor::cat(vec![classes.expand(each), queried.expand(each)], 3);
        Ok(pairs.reshape([count * queries * ways, 2 * channels, height, width]))
    }
}

impl Trainable for Relation {
    fn absorb(mut self, statistics: Vec<BatchStatistics>) -> Self {
        for (block, batch) in self.blocks.iter_mut().zip(statistics) {
            *block = block.clone().absorb(batch);
        }
        self
    }
}

impl MetricHead for Relation {
    fn logits<'a>(&'a self, tasks: &Embedded, pass: &mut Pass<'a>) -> Result<Tensor<3>> {
        let [count, _, ways, queries, _] = tasks.sizes()?;
        if tasks.map != self.map {
            return Err(
                Error::invalid(OPERATION, "the head is for other feature maps")
                    .expected(format!("{:?}", self.map))
                    .got(format!("{:?}", tasks.map)),
            );
        }
        let mut hidden = pass.input(Self::pairs(tasks)?);
        for (index, block) in self.blocks.iter().enumerate() {
            let name = format_args!("relation.{index}");
            hidden = pass.block(name, block, hidden, ConvBlock::forward_with)?;
        }
        let hidden = self
            .hidden
            .forward(hidden.flatten(1, 3), Activation::Relu)?;
        let score = self.score.forward(hidden, Activation::None)?;
        Ok(pass.output(score).reshape([count, queries, ways]))
    }

    fn norms(&self) -> usize {
        self.blocks.len()
    }

    fn loss(&self, logits: Tensor<2>, labels: Vec<usize>) -> Result<Outcome> {
        let [rows, ways] = logits.dims();
        if labels.len() != rows || labels.iter().any(|&label| label >= ways) {
            return Err(
                Error::invalid(OPERATION, "the labels do not fit the logits")
                    .expected(format!("{rows} below {ways}"))
                    .got(format!("{labels:?}")),
            );
        }
        let mut targets = vec![0f32; rows * ways];
        for (row, label) in labels.iter().enumerate() {
            targets[row * ways + label] = 1.0;
        }
        let place = (&logits.device(), logits.dtype());
        let targets = Tensor::from_data(TensorData::new(targets, [rows, ways]), place);
        let error = sigmoid(logits.clone()) - targets;
        Ok(Outcome {
            loss: error.clone().mul(error).mean(),
            predictions: Some(Predictions {
                logits: logits.without_autodiff(),
                labels,
            }),
        })
    }
}
