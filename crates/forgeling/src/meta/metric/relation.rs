//! Relation networks.

use burn::module::Module;
use burn::tensor::activation::sigmoid;
use burn::tensor::{Tensor, TensorData};

use super::embedded::Embedded;
use super::{MetricHead, Trainable};
use crate::data::Rng;
use crate::device::TensorDevice;
use crate::error::{Error, Result};
use crate::nn::{ConvBlock, LinearLayer, Pass};
use crate::ops::{Activation, Conv2dOptions, conv2d};
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
/// Feature maps should have some size, as of [`Conv4Config`](crate::nn::zoo::Conv4Config) with 2 or 3 blocks. The first block's
/// convolution, of maps beside each other, is the sum of two: each is taken once for a class or a query, not for every
/// pair. A step holds these sums, `[tasks * queries * ways, channels, height, width]`, which are normalized together.
#[derive(Module, Debug)]
pub struct Relation {
    blocks: Vec<ConvBlock>,
    hidden: LinearLayer,
    score: LinearLayer,
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
    pub fn new(map: [usize; 3], filters: usize, seed: u64, device: &TensorDevice) -> Result<Self> {
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
            hidden: LinearLayer::new(inputs * height * width, Self::HIDDEN, &mut rng, device),
            score: LinearLayer::new(Self::HIDDEN, 1, &mut rng, device),
            map,
        })
    }

    /// Values that such a head holds, running statistics included; `None` if their number overflows.
    pub(crate) fn value_count(map: [usize; 3], filters: usize) -> Option<usize> {
        let [channels, mut height, mut width] = map;
        let mut inputs = channels.checked_mul(2)?;
        let mut count = Self::HIDDEN + 1;
        for _ in 0..Self::BLOCKS {
            if height.min(width) < 2 {
                break;
            }
            let block = inputs
                .checked_mul(9)?
                .checked_add(5)?
                .checked_mul(filters)?;
            count = count.checked_add(block)?;
            inputs = filters;
            (height, width) = (height / 2, width / 2);
        }
        let features = inputs.checked_mul(height)?.checked_mul(width)?;
        count.checked_add(features.checked_add(1)?.checked_mul(Self::HIDDEN)?)
    }

    /// Maps of every class beside those of every query, `[tasks * queries * ways, 2 features]`.
    fn pairs(tasks: &Embedded, classes: Tensor<3>) -> Result<Tensor<2>> {
        let [count, _, ways, queries, features] = tasks.sizes()?;
        let each = [count, queries, ways, features];
        let classes = classes.reshape([count, 1, ways, features]);
        let queried = tasks.query.clone().reshape([count, queries, 1, features]);
        let pairs: Tensor<4> = Tensor::cat(vec![classes.expand(each), queried.expand(each)], 3);
        Ok(pairs.reshape([count * queries * ways, 2 * features]))
    }

    /// The convolution of maps of every class beside every query with the first block's weight.
    fn convolved(
        &self,
        tasks: &Embedded,
        classes: Tensor<3>,
        weight: Tensor<4>,
        pass: &Pass<'_>,
    ) -> Result<Tensor<4>> {
        let [count, _, ways, queries, _] = tasks.sizes()?;
        let [channels, height, width] = self.map;
        let filters = weight.dims()[0];
        let options = Conv2dOptions {
            padding: [1, 1],
            ..Default::default()
        };
        let half = |maps: Tensor<3>, first: usize| {
            let [_, each, _] = maps.dims();
            let maps = pass.input(maps.reshape([count * each, channels, height, width]));
            let weight = weight.clone().narrow(1, first, channels);
            conv2d(maps, weight, None, options)
        };
        let of_classes = half(classes, 0)?.reshape([count, 1, ways, filters * height * width]);
        let of_queries = half(tasks.query.clone(), channels)?;
        let of_queries = of_queries.reshape([count, queries, 1, filters * height * width]);
        Ok((of_classes + of_queries).reshape([count * queries * ways, filters, height, width]))
    }
}

impl Trainable for Relation {}

impl MetricHead for Relation {
    fn logits<'a>(&'a self, tasks: &Embedded, pass: &mut Pass<'a>) -> Result<Tensor<3>> {
        let [count, supports, ways, queries, _] = tasks.sizes()?;
        if tasks.map != self.map {
            return Err(
                Error::invalid(OPERATION, "the head is for other feature maps")
                    .expected(format!("{:?}", self.map))
                    .got(format!("{:?}", tasks.map)),
            );
        }
        let classes = tasks.means(tasks.support.clone())? * (supports as f64 / ways as f64);
        let hidden = match self.blocks.split_first() {
            None => pass.input(Self::pairs(tasks, classes)?),
            Some((first, others)) => {
                let convolved = self.convolved(tasks, classes, first.weight.val(), pass)?;
                let mut maps =
                    pass.block("relation.0", first, convolved, ConvBlock::forward_convolved)?;
                for (index, block) in others.iter().enumerate() {
                    let name = format_args!("relation.{}", index + 1);
                    maps = pass.block(name, block, maps, ConvBlock::forward)?;
                }
                maps.flatten(1, 3)
            }
        };
        let hidden = self.hidden.forward(hidden, Activation::Relu)?;
        let score = self.score.forward(hidden, Activation::None)?;
        Ok(pass.output(score).reshape([count, queries, ways]))
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
