//! From images to features, each image by itself.

use burn::module::Module;
use burn::tensor::{Tensor, TensorData};

use crate::data::ImageShape;
use crate::device::{Readback, TensorDevice};
use crate::error::{Error, Result};
use crate::meta::functional::Program;
use crate::meta::{AnyGradientMethod, Model};
use crate::nn::{Network, Normalization, Pass, Values, normalizing_by};

const OPERATION: &str = "adapt";
/// Images of one forward pass.
pub(super) const IMAGES_PER_PASS: usize = 256;

/// The encoder of a model that has running statistics, which needs no examples to embed an image.
pub(super) fn of(model: &Model) -> Option<Network> {
    match model.valid() {
        Model::Metric(model) => Some(model.encoder),
        Model::SimpleShot(model) => Some(model.encoder),
        Model::Gradient(_) => None,
    }
}

/// The encoder of any model. Gradient learners have no running statistics; those of all the examples together, at the
/// initial parameters, take their place.
pub(super) fn by_examples(
    model: &Model,
    examples: &[&[f32]],
    shape: ImageShape,
    device: &TensorDevice,
) -> Result<Network> {
    let learner = match model.valid() {
        Model::Metric(model) => return Ok(model.encoder),
        Model::SimpleShot(model) => return Ok(model.encoder),
        Model::Gradient(learner) => learner,
    };
    if !has_features(&learner.network) {
        return Err(Error::invalid(OPERATION, "the network has no features")
            .expected("a hidden layer, or the model's own method"));
    }
    let encoder = with_norms(learner.network, &learner.method)?.encoder();
    let statistics = {
        let mut pass = Pass::new(Normalization::Batch, device);
        encoder.features(pixels(examples, shape, device), &mut pass)?;
        pass.take_statistics()
    };
    normalizing_by(encoder, statistics)
}

/// Whether a gradient learner's network makes features before its last layer.
pub(super) fn has_features(network: &Network) -> bool {
    network.graph().features() != network.graph().output()
}

/// Where gamma and beta are a method's own, those of its first step.
fn with_norms(network: Network, method: &AnyGradientMethod) -> Result<Network> {
    let AnyGradientMethod::MamlPlusPlus(method) = method else {
        return Ok(network);
    };
    let nodes = Program::new(network.graph())?.norm_nodes();
    let first = |steps: Tensor<2>| steps.narrow(0, 0, 1).squeeze_dim::<1>(0);
    Ok(network.with_values(|node, values| {
        let place = nodes.iter().position(|&norm| norm == node);
        match (values, place) {
            (Values::BatchNorm(mut norm), Some(place)) => {
                let own = [&method.gammas[place], &method.betas[place]];
                let [gamma, beta] = own.map(|steps| first(steps.val()));
                norm.gamma = norm.gamma.map(|_| gamma);
                norm.beta = norm.beta.map(|_| beta);
                Values::BatchNorm(norm)
            }
            (values, _) => values,
        }
    }))
}

/// `[images, channels, height, width]`
pub(super) fn pixels(images: &[&[f32]], shape: ImageShape, device: &TensorDevice) -> Tensor<4> {
    let dims = [images.len(), shape.channels, shape.height, shape.width];
    Tensor::from_data(TensorData::new(images.concat(), dims), device)
}

/// Feature maps of images of one pass.
pub(super) fn maps(encoder: &Network, images: Tensor<4>) -> Result<Tensor<4>> {
    let mut pass = Pass::new(Normalization::Running, &images.device());
    encoder.features(images, &mut pass)
}

/// The features of images, in as many passes as it takes.
pub(super) async fn embed(
    encoder: &Network,
    images: &[&[f32]],
    shape: ImageShape,
    device: &TensorDevice,
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
