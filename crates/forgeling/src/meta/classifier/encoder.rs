//! From images to features, each image by itself.

use burn::module::Module;
use burn::tensor::{Tensor, TensorData};

use crate::data::ImageShape;
use crate::device::{Readback, TensorDevice};
use crate::error::{Error, Result};
use crate::meta::functional::Program;
use crate::meta::{AnyGradientMethod, Model};
use crate::nn::graph::{Graph, Wire};
use crate::nn::{Network, Normalization, Pass, Values, normalizing_by};
use crate::ops::is_cpu;

const OPERATION: &str = "adapt";
/// Images of one forward pass, at most.
const IMAGES_PER_PASS: usize = 256;
/// Values of a layer's output in one pass, at most: 128 MiB.
const VALUES_PER_PASS: usize = 1 << 25;
/// The same on the CPU, for an encoder: 16 MiB, of which caches hold more from one layer to the next. EfficientNet-Lite0 takes
/// 29 ms a photograph, and 34 with as many as above.
const VALUES_ON_CPU: usize = 1 << 22;

/// How many images go through a network at once, at most `most`: the largest output of a layer says how many.
pub(in crate::meta) fn images_per_pass(graph: &Graph, most: usize) -> usize {
    images_with(VALUES_PER_PASS, graph, most)
}

fn images_with(values: usize, graph: &Graph, most: usize) -> usize {
    let outputs = (0..graph.nodes().len()).map(|node| graph.shape(Wire::Node(node)).len());
    let largest = outputs.fold(graph.input().len(), usize::max);
    (values / largest.max(1)).clamp(1, most)
}

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
fn pixels(images: &[&[f32]], shape: ImageShape, device: &TensorDevice) -> Tensor<4> {
    let dims = [images.len(), shape.channels, shape.height, shape.width];
    Tensor::from_data(TensorData::new(images.concat(), dims), device)
}

/// The features of images, in as many passes as it takes.
pub(super) async fn embed(
    encoder: &Network,
    images: &[&[f32]],
    shape: ImageShape,
    device: &TensorDevice,
) -> Result<Vec<Vec<f32>>> {
    let mut features = Vec::with_capacity(images.len());
    let values = match is_cpu(device) {
        true => VALUES_ON_CPU,
        false => VALUES_PER_PASS,
    };
    for chunk in images.chunks(images_with(values, encoder.graph(), IMAGES_PER_PASS)) {
        let images = pixels(chunk, shape, device);
        let mut pass = Pass::new(Normalization::Running, &images.device());
        let output = encoder.features(images, &mut pass)?.flatten::<2>(1, 3);
        let width = output.dims()[1];
        let [values] = Readback::new().with(output).run().await?;
        features.extend(values.chunks_exact(width).map(<[f32]>::to_vec));
    }
    Ok(features)
}

/// The mean of the features of images and of their mirror images, which are as left and right may be.
pub(super) async fn embed_both(
    encoder: &Network,
    images: &[&[f32]],
    shape: ImageShape,
    device: &TensorDevice,
) -> Result<Vec<Vec<f32>>> {
    let mirrored = images.iter().map(|image| mirrored(image, shape));
    let mirrored: Vec<Vec<f32>> = mirrored.collect();
    let others: Vec<&[f32]> = mirrored.iter().map(Vec::as_slice).collect();
    let mut features = embed(encoder, images, shape, device).await?;
    let others = embed(encoder, &others, shape, device).await?;
    for (row, other) in features.iter_mut().zip(others) {
        for (value, other) in row.iter_mut().zip(other) {
            *value = (*value + other) / 2.0;
        }
    }
    Ok(features)
}

fn mirrored(image: &[f32], shape: ImageShape) -> Vec<f32> {
    let rows = image.chunks_exact(shape.width.max(1));
    rows.flat_map(|row| row.iter().rev().copied()).collect()
}
