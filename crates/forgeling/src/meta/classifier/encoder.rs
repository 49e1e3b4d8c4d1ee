//! From images to features, each image by itself.

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};

use crate::data::ImageShape;
use crate::device::Readback;
use crate::error::{Error, Result};
use crate::meta::{Adaptable, AnyGradientMethod, Backbone, Model};
use crate::nn::{Conv4, Mlp, Normalization, Pass};
use crate::train::Encoder;

const OPERATION: &str = "adapt";
/// Images of one forward pass.
pub(super) const IMAGES_PER_PASS: usize = 256;

/// The encoder of a model that has running statistics, which needs no examples to embed an image.
pub(super) fn of(model: &Model) -> Option<Backbone> {
    match model.valid() {
        Model::Metric(model) => Some(model.encoder),
        Model::SimpleShot(model) => Some(model.encoder),
        Model::Gradient(_) => None,
    }
}

/// The encoder of any model. Gradient learners have no running statistics; those of all the examples together, at the
/// initial parameters, take their place. Of a perceptron it is what comes before the last layer and its ReLU.
pub(super) fn by_examples(
    model: &Model,
    examples: &[&[f32]],
    shape: ImageShape,
    device: &Device,
) -> Result<Backbone> {
    let learner = match model.valid() {
        Model::Metric(model) => return Ok(model.encoder),
        Model::SimpleShot(model) => return Ok(model.encoder),
        Model::Gradient(learner) => learner,
    };
    match learner.network {
        Adaptable::Mlp(network) => without_last(network).map(Backbone::Mlp),
        Adaptable::Conv4(network) => {
            let encoder = with_norms(network.encoder, &learner.method);
            let images = pixels(examples, shape, device);
            let (_, statistics) = encoder.forward(images, Normalization::Batch)?;
            Ok(Backbone::Conv4(encoder.normalizing_by(statistics)))
        }
    }
}

/// Whether a gradient learner's network makes features before its last layer.
pub(super) fn has_features(network: &Adaptable) -> bool {
    match network {
        Adaptable::Mlp(network) => network.layers.len() > 1,
        Adaptable::Conv4(_) => true,
    }
}

fn without_last(mut network: Mlp) -> Result<Mlp> {
    network.layers.pop();
    if network.layers.is_empty() {
        return Err(Error::invalid(OPERATION, "the network has no features")
            .expected("a hidden layer, or the model's own method"));
    }
    Ok(network)
}

/// Where gamma and beta are a method's own, those of its first step.
fn with_norms(mut encoder: Conv4, method: &AnyGradientMethod) -> Conv4 {
    if let AnyGradientMethod::MamlPlusPlus(method) = method {
        let first = |steps: Tensor<2>| steps.narrow(0, 0, 1).squeeze_dim::<1>(0);
        for (index, block) in encoder.blocks.iter_mut().enumerate() {
            let [gamma, beta] = [&method.gammas, &method.betas].map(|all| first(all[index].val()));
            block.gamma = block.gamma.clone().map(|_| gamma);
            block.beta = block.beta.clone().map(|_| beta);
        }
    }
    encoder
}

/// `[images, channels, height, width]`
pub(super) fn pixels(images: &[&[f32]], shape: ImageShape, device: &Device) -> Tensor<4> {
    let dims = [images.len(), shape.channels, shape.height, shape.width];
    Tensor::from_data(TensorData::new(images.concat(), dims), device)
}

/// Feature maps of images of one pass.
pub(super) fn maps(encoder: &Backbone, images: Tensor<4>) -> Result<Tensor<4>> {
    let mut pass = Pass::new(Normalization::Running, &images.device());
    encoder.maps(images, &mut pass)
}

/// The features of images, in as many passes as it takes.
pub(super) async fn embed(
    encoder: &Backbone,
    images: &[&[f32]],
    shape: ImageShape,
    device: &Device,
) -> Result<Vec<Vec<f32>>> {
    let mut features = Vec::with_capacity(images.len());
    for chunk in images.chunks(IMAGES_PER_PASS) {
        let output = maps(encoder, pixels(chunk, shape, device))?.flatten::<2>(1, 3);
        let width = output.dims()[1];
        let [values] = Readback::new().with(output).run().await?;
        features.extend(values.chunks_exact(width).map(<[f32]>::to_vec));
    }
    Ok(features)
}
