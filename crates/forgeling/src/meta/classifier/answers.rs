//! What has been made of the examples, and answers images.

use burn::module::Module;
use burn::tensor::{Tensor, TensorData};

use super::encoder::{self, IMAGES_PER_PASS};
use crate::data::{Examples, ImageShape, Targets, Task};
use crate::device::{Device, Readback};
use crate::error::{Error, Result};
use crate::meta::gradient::{Adapted, GradientLearner};
use crate::meta::{AnyGradientMethod, Embedded, Learner, MetricHead, Model, Stack};
use crate::nn::{LinearLayer, Network, Normalization, Pass};
use crate::ops::{Activation, squared_distance};

/// What has been made of the examples.
#[derive(Debug, Clone)]
pub(super) enum Answers {
    /// The mean feature of each class.
    Prototypes {
        encoder: Network,
        /// `[classes, features]`
        means: Vec<f32>,
    },
    /// A linear layer.
    Linear { encoder: Network, head: LinearLayer },
    /// A metric learner's own head.
    Metric {
        model: Box<Model>,
        /// Without queries yet.
        support: Box<Embedded>,
    },
    /// A gradient learner's own parameters.
    Gradient {
        learner: Box<GradientLearner<AnyGradientMethod>>,
        support: Examples,
        adapted: Adapted,
    },
}

impl Answers {
    /// Class means of features, class after class.
    pub fn prototypes<'a>(encoder: Network, classes: impl Iterator<Item = &'a [Vec<f32>]>) -> Self {
        let means = classes.flat_map(mean).collect();
        Self::Prototypes { encoder, means }
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

    /// Logits of images, `[images, classes]`.
    ///
    /// # Errors
    /// When the device fails.
    pub async fn logits(
        &self,
        images: &[&[f32]],
        shape: ImageShape,
        device: &Device,
    ) -> Result<Vec<f32>> {
        let mut logits = Vec::new();
        for images in images.chunks(IMAGES_PER_PASS) {
            let maps = |encoder: &Network| {
                encoder::maps(encoder, encoder::pixels(images, shape, device.tensors()))
            };
            let found = match self {
                Self::Prototypes { encoder, means } => {
                    let features = maps(encoder)?.flatten::<2>(1, 3);
                    logits.extend(distances(features, means).await?);
                    continue;
                }
                Self::Linear { encoder, head } => {
                    head.forward(maps(encoder)?.flatten(1, 3), Activation::None)?
                }
                Self::Metric { model, support } => {
                    compare(model, support, maps(compared(model)?)?)?
                }
                Self::Gradient {
                    learner,
                    support,
                    adapted,
                } => {
                    let classes = support.classes().and_then(|c| c.iter().max());
                    let query = Examples {
                        inputs: images.concat(),
                        targets: Targets::Classes(vec![0; images.len()]),
                    };
                    let outputs = classes.map_or(0, |class| class + 1);
                    let task = [Task::new(shape, outputs, support.clone(), query)?];
                    let answers = learner.answer(&Stack::of(&task)[0], adapted)?;
                    answers.squeeze_dim(0)
                }
            };
            let [found] = Readback::new().with(found).run().await?;
            logits.extend(found);
        }
        Ok(logits)
    }

    /// Logits of features that a model's own head compares, `[rows, classes]`; `map` is what they were flattened from.
    ///
    /// # Errors
    /// When something else answers, and when the device fails.
    pub async fn logits_of_features(&self, rows: &[&[f32]], map: [usize; 3]) -> Result<Vec<f32>> {
        let Self::Metric { model, support } = self else {
            return Err(Error::invalid("adapt", "no features are compared"));
        };
        let [channels, height, width] = map;
        let values = TensorData::new(rows.concat(), [rows.len(), channels, height, width]);
        let maps = Tensor::from_data(values, &support.support.device());
        let logits = compare(model, support, maps)?;
        let [logits] = Readback::new().with(logits).run().await?;
        Ok(logits)
    }
}

/// What makes the features that a model's own head compares.
fn compared(model: &Model) -> Result<&Network> {
    match model {
        Model::Metric(model) => Ok(&model.encoder),
        Model::SimpleShot(model) => Ok(&model.encoder),
        Model::Gradient(_) => Err(Error::invalid("classify", "the model compares no features")),
    }
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

/// `-|feature - mean|^2` for every feature and mean.
async fn distances(features: Tensor<2>, means: &[f32]) -> Result<Vec<f32>> {
    let [_, width] = features.dims();
    let [features] = Readback::new().with(features).run().await?;
    // So few numbers that a trip to the device would cost more.
    let of_feature = |feature| {
        let means = means.chunks_exact(width);
        means.map(move |mean| -squared_distance(feature, mean))
    };
    Ok(features.chunks_exact(width).flat_map(of_feature).collect())
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
