//! Nearest centroids of features that were centered and scaled to length 1.

use burn::module::{Module, Param};
use burn::tensor::{Tensor, TensorData};

use super::embedded::{Embedded, unit};
use super::{MetricHead, Trainable};
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::nn::{Normalization, Pass};
use crate::ops::prototype_logits;
use crate::train::Encoder;

const OPERATION: &str = "center_features";

/// Nearest centroid after *CL2N*: features minus a mean of many, then scaled to length 1:
///
/// `logit = -|u(q) - mean_k u(s_k)|^2`, `u(x) = (x - m) / |x - m|`
///
/// Wang et al., *SimpleShot: Revisiting Nearest-Neighbor Classification for Few-Shot Learning*, 2019 (arXiv 1911.04623).
/// Nothing in it is trained: with any encoder that has learned something, `MetricLearner { encoder, head }` is a
/// few-shot method.
#[derive(Module, Debug)]
pub struct Centroids {
    /// `m`, `[features]`; not trained.
    mean: Param<Tensor<1>>,
}

impl Centroids {
    /// The head with a mean `m`, `[features]`. It has to be that of the encoder's features, flattened.
    pub fn new(mean: Tensor<1>) -> Self {
        let mean = Param::from_tensor(mean.detach()).set_require_grad(false);
        Self { mean }
    }

    /// The head with the mean feature of `images` images of a set, as many of each class as there are, with running
    /// statistics. The encoder's classes of training are what this is meant for. Nothing is read back from the device.
    ///
    /// # Errors
    /// When there are no images, or not so many, and when they cannot be read or do not fit the encoder.
    pub fn of<E: Encoder>(encoder: &E, dataset: &dyn Dataset, images: usize) -> Result<Self> {
        /// Images of a pass.
        const BATCH: usize = 256;
        let devices = encoder.devices();
        let device = devices.first();
        let device = device.ok_or_else(|| Error::invalid(OPERATION, "no parameter"))?;
        let frozen = encoder.valid();
        let shape = dataset.image_shape();
        let places = spread(dataset, images)?;
        let mut sum: Option<Tensor<1>> = None;
        for places in places.chunks(BATCH) {
            let mut values = vec![0.0; places.len() * shape.len()];
            let images = values.chunks_exact_mut(shape.len().max(1));
            for (&(class, example), image) in places.iter().zip(images) {
                dataset.read(class, example, image)?;
            }
            let dims = [places.len(), shape.channels, shape.height, shape.width];
            let mut pass = Pass::new(Normalization::Running, &device.clone().inner());
            let images = pass.values(TensorData::new(values, dims));
            let features = frozen.maps(images, &mut pass)?.flatten::<2>(1, 3);
            let part = features.sum_dim(0).squeeze_dim(0);
            sum = Some(match sum {
                Some(sum) => sum + part,
                None => part,
            });
        }
        let sum = sum.ok_or_else(|| Error::invalid(OPERATION, "the mean of no image"))?;
        let mean = sum / places.len() as f64;
        Ok(Self::new(if device.is_autodiff() {
            Tensor::from_inner(mean)
        } else {
            mean
        }))
    }
}

/// The first examples of all classes, then the second ones, and so on: `images` of them.
fn spread(dataset: &dyn Dataset, images: usize) -> Result<Vec<(usize, usize)>> {
    let classes = 0..dataset.class_count();
    let longest = classes.clone().map(|class| dataset.class_len(class)).max();
    let places = (0..longest.unwrap_or(0)).flat_map(|example| {
        let having = classes
            .clone()
            .filter(move |&class| example < dataset.class_len(class));
        having.map(move |class| (class, example))
    });
    let places: Vec<_> = places.take(images).collect();
    if places.len() < images {
        return Err(Error::invalid(OPERATION, "the set has not so many images")
            .expected(format!("at most {}", places.len()))
            .got(images));
    }
    Ok(places)
}

impl Trainable for Centroids {}

impl MetricHead for Centroids {
    fn logits<'a>(&'a self, tasks: &Embedded, _pass: &mut Pass<'a>) -> Result<Tensor<3>> {
        let [.., features] = tasks.sizes()?;
        let mean = self.mean.val();
        if mean.dims() != [features] {
            return Err(Error::invalid(OPERATION, "the mean is of other features")
                .expected(format!("[{features}]"))
                .got(format!("{:?}", mean.dims())));
        }
        let mean: Tensor<3> = mean.cast(tasks.query.dtype()).unsqueeze();
        let of_support = unit(tasks.support.clone() - mean.clone());
        let centroids = tasks.means(of_support)?;
        prototype_logits(unit(tasks.query.clone() - mean), centroids)
    }
}
