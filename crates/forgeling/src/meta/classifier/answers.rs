//! What has been made of the examples, and answers images.

use std::borrow::Cow;

use burn::module::Module;
use burn::tensor::{Tensor, TensorData};

use super::encoder::{self, images_per_pass};
use super::linear::Linear;
use crate::data::{Examples, ImageShape, Targets, Task};
use crate::device::{Device, Readback};
use crate::error::{Error, Result};
use crate::meta::gradient::{Adapted, GradientLearner};
use crate::meta::{AnyGradientMethod, Embedded, Learner, MetricHead, Model, Stack};
use crate::nn::{Network, Normalization, Pass};
use crate::ops::squared_distance;

/// Images of one pass of a network that adapts, at most.
const IMAGES_PER_PASS: usize = 256;

/// What has been made of the examples.
#[derive(Debug, Clone)]
pub(super) enum Answers {
    /// From the features that the classifier's own encoder makes.
    Features(Rule),
    /// From those of another one: its norms follow from the examples, or it has learned from them.
    Encoded { encoder: Network, rule: Rule },
    /// A gradient learner's own parameters.
    Gradient {
        learner: Box<GradientLearner<AnyGradientMethod>>,
        support: Examples,
        adapted: Adapted,
    },
}

/// From features to logits.
#[derive(Debug, Clone)]
pub(super) enum Rule {
    /// The mean feature of each class, `[classes, features]`.
    Prototypes(Vec<f32>),
    /// A linear layer.
    Linear(Linear),
    /// A metric learner's own head.
    Metric {
        model: Box<Model>,
        /// Without queries yet.
        support: Box<Embedded>,
    },
}

/// What is to be answered: features where the classifier has an encoder, otherwise pixels as the network takes them.
pub(super) enum Asked<'a> {
    Pixels(Vec<Cow<'a, [f32]>>),
    Features(Vec<Cow<'a, [f32]>>),
}

/// What inputs and features are.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    pub image: ImageShape,
    /// `[channels, height, width]` that features were flattened from.
    pub map: [usize; 3],
}

impl Rule {
    /// Class means of features, class after class.
    pub fn prototypes<'a>(classes: impl Iterator<Item = &'a [Vec<f32>]>) -> Self {
        Self::Prototypes(classes.flat_map(mean).collect())
    }

    /// The model's own head on features, class after class.
    pub fn metric(learner: &Learner, classes: &[&[Vec<f32>]]) -> Self {
        let (ways, width) = (classes.len(), learner.config.features());
        let mut features = Vec::new();
        let mut onehot = Vec::new();
        for (class, examples) in classes.iter().enumerate() {
            for example in *examples {
                features.extend_from_slice(example);
                onehot.extend((0..ways).map(|way| f32::from(u8::from(way == class))));
            }
        }
        let device = learner.device.tensors();
        let count = onehot.len() / ways;
        let tensor = |values, width| {
            Tensor::<3>::from_data(TensorData::new(values, [1, count, width]), device)
        };
        let support = tensor(features, width);
        Self::Metric {
            model: Box::new(learner.model.valid()),
            support: Box::new(Embedded {
                query: support.clone().narrow(1, 0, 1),
                onehot: tensor(onehot, ways),
                support,
                // The maps' sizes are those of the queries', which come later.
                map: [width, 1, 1],
            }),
        }
    }

    /// Logits of features, `[rows, classes]`.
    ///
    /// # Errors
    /// When the device fails.
    pub async fn logits(&self, rows: &[Cow<'_, [f32]>], map: [usize; 3]) -> Result<Vec<f32>> {
        match self {
            Self::Prototypes(means) => {
                let width = map.iter().product::<usize>().max(1);
                // So few numbers that a trip to the device would cost more.
                let of_row = |row| {
                    let means = means.chunks_exact(width);
                    means.map(move |mean| -squared_distance(row, mean))
                };
                Ok(rows.iter().flat_map(|row| of_row(row)).collect())
            }
            Self::Linear(linear) => Ok(rows.iter().flat_map(|row| linear.scores(row)).collect()),
            Self::Metric { model, support } => {
                let [channels, height, width] = map;
                let values: Vec<f32> = rows.iter().flat_map(|row| row.iter().copied()).collect();
                let values = TensorData::new(values, [rows.len(), channels, height, width]);
                let maps = Tensor::from_data(values, &support.support.device());
                let logits = compare(model, support, maps)?;
                let [logits] = Readback::new().with(logits).run().await?;
                Ok(logits)
            }
        }
    }
}

impl Answers {
    /// By a rule on features of the classifier's own encoder, or of that one where it has none.
    pub fn by(rule: Rule, other: Option<Network>) -> Self {
        match other {
            None => Self::Features(rule),
            Some(encoder) => Self::Encoded { encoder, rule },
        }
    }

    /// The model's inner steps on pixels, class after class.
    ///
    /// # Errors
    /// When there are more classes than the network has outputs.
    pub fn gradient(
        learner: &GradientLearner<AnyGradientMethod>,
        classes: &[&[Vec<f32>]],
        shape: ImageShape,
    ) -> Result<Self> {
        let labels = classes.iter().enumerate();
        let labels = labels.flat_map(|(class, examples)| examples.iter().map(move |_| class));
        let support = Examples {
            targets: Targets::Classes(labels.collect()),
            inputs: classes.concat().concat(),
        };
        let any = Examples {
            inputs: classes[0][0].clone(),
            targets: Targets::Classes(vec![0]),
        };
        let learner = Box::new(learner.valid());
        let task = [Task::new(shape, classes.len(), support.clone(), any)?];
        let adapted = learner.adapt(&Stack::of(&task)[0])?;
        Ok(Self::Gradient {
            learner,
            support,
            adapted,
        })
    }

    /// Logits `[images, classes]`.
    ///
    /// # Errors
    /// When the device fails.
    pub async fn logits(
        &self,
        asked: &Asked<'_>,
        sizes: Sizes,
        device: &Device,
    ) -> Result<Vec<f32>> {
        match (self, asked) {
            (Self::Features(rule), Asked::Features(rows)) => rule.logits(rows, sizes.map).await,
            (Self::Encoded { encoder, rule }, Asked::Pixels(images)) => {
                let images: Vec<&[f32]> = images.iter().map(AsRef::as_ref).collect();
                let rows = encoder::embed(encoder, &images, sizes.image, device.tensors()).await?;
                let rows: Vec<Cow<'_, [f32]>> = rows.into_iter().map(Cow::Owned).collect();
                rule.logits(&rows, sizes.map).await
            }
            (
                Self::Gradient {
                    learner,
                    support,
                    adapted,
                },
                Asked::Pixels(images),
            ) => {
                let classes = support.classes().and_then(|c| c.iter().max());
                let outputs = classes.map_or(0, |class| class + 1);
                let most = images_per_pass(learner.network.graph(), IMAGES_PER_PASS);
                let mut logits = Vec::new();
                for images in images.chunks(most) {
                    let query = Examples {
                        inputs: images.iter().flat_map(|i| i.iter().copied()).collect(),
                        targets: Targets::Classes(vec![0; images.len()]),
                    };
                    let task = [Task::new(sizes.image, outputs, support.clone(), query)?];
                    let answers = learner.answer(&Stack::of(&task)[0], adapted)?;
                    let [found] = Readback::new().with(answers).run().await?;
                    logits.extend(found);
                }
                Ok(logits)
            }
            (Self::Features(_), Asked::Pixels(_)) => Err(unfit("features")),
            (_, Asked::Features(_)) => Err(unfit("pixels")),
        }
    }
}

fn unfit(expected: &str) -> Error {
    Error::invalid("classify", "the classifier answers something else").expected(expected)
}

/// What a model's own head says of images' maps.
fn compare(model: &Model, support: &Embedded, maps: Tensor<4>) -> Result<Tensor<2>> {
    let [_, channels, height, width] = maps.dims();
    let task = Embedded {
        query: maps.flatten::<2>(1, 3).unsqueeze_dim(0),
        map: [channels, height, width],
        ..support.clone()
    };
    let mut pass = Pass::new(Normalization::Running, &support.support.device());
    let logits = match model {
        Model::Metric(model) => model.head.logits(&task, &mut pass)?,
        Model::SimpleShot(model) => model.centroids.logits(&task, &mut pass)?,
        Model::Gradient(_) => {
            return Err(Error::invalid("classify", "the model compares no features"));
        }
    };
    Ok(logits.squeeze_dim(0))
}

/// The mean of rows of one length.
pub(super) fn mean(rows: &[Vec<f32>]) -> Vec<f32> {
    let mut mean = vec![0.0; rows.first().map_or(0, Vec::len)];
    for row in rows {
        for (mean, value) in mean.iter_mut().zip(row) {
            *mean += value / rows.len() as f32;
        }
    }
    mean
}
