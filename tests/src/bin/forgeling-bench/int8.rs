//! Networks that multiply bytes, beside the same in f32.

use burn::module::Module;
use burn::tensor::{Device as Tensors, Tensor, TensorData};
use forgeling::Device;
use forgeling::compress::{QuantizationConfig, quantize};
use forgeling::data::ImageBatch;
use forgeling::nn::catalog::ModelConfig;
use forgeling::nn::graph::Graph;
use forgeling::nn::{Network, Normalization, Pass};
use forgeling::train::CrossEntropy;
use forgeling_tests::waves;

use crate::runner::{Contestant, OURS, Result, Turn, description, timed};

/// What is measured.
#[derive(Debug, Clone, Copy)]
pub struct Work {
    name: &'static str,
    /// A graph in JSON, or the name of a network with its width.
    network: (&'static str, Option<usize>),
    /// Images, or rows.
    batch: usize,
}

const NEURONS: &str = r#"{ "input": [512], "layers": [ { "linear": { "outputs": 512 } } ] }"#;
const CONVOLUTION: &str = r#"{ "input": [64, 28, 28], "layers": [
    { "conv2d": { "filters": 64, "kernel": 3, "padding": "same" } }, "flatten" ] }"#;

/// Layers by themselves, then whole networks.
pub const WORKS: [Work; 8] = [
    Work::new("512 neurons of 512 values", (NEURONS, None), 1),
    Work::new("512 neurons of 512 values", (NEURONS, None), 64),
    Work::new(
        "Convolution 3x3, [64, 28, 28] to 64",
        (CONVOLUTION, None),
        1,
    ),
    Work::new(
        "Convolution 3x3, [64, 28, 28] to 64",
        (CONVOLUTION, None),
        16,
    ),
    Work::new("Conv4 of 64 filters", ("conv4", Some(64)), 1),
    Work::new("Conv4 of 64 filters", ("conv4", Some(64)), 64),
    Work::new("ViT of width 128", ("vit", Some(128)), 1),
    Work::new("ViT of width 128", ("vit", Some(128)), 64),
];

impl Work {
    const fn new(name: &'static str, network: (&'static str, Option<usize>), batch: usize) -> Self {
        Self {
            name,
            network,
            batch,
        }
    }

    /// For the table.
    pub fn name(&self) -> String {
        format!("{}, batch {}, forward", self.name, self.batch)
    }

    fn graph(&self) -> Result<Graph> {
        Ok(match self.network {
            (written, None) => Graph::from_json(written)?,
            (model, Some(width)) => {
                let mut config = ModelConfig::new(model)?;
                config.options.insert("width".into(), width);
                config.graph()?
            }
        })
    }
}

/// A network on one device.
pub struct Evaluated {
    name: &'static str,
    description: String,
    device: Tensors,
    network: Network,
    images: Tensor<4>,
}

/// The network in 8 bits and in f32.
pub fn pair(work: Work, device: &Device) -> Result<[Evaluated; 2]> {
    let network = Network::new(&work.graph()?, 1, device).valid();
    let shape = network.graph().image_shape();
    let batch = ImageBatch {
        shape,
        images: waves(work.batch * shape.len(), 1.0),
        labels: vec![0; work.batch],
    };
    let sizes = [work.batch, shape.channels, shape.height, shape.width];
    let data = TensorData::new(batch.images.clone(), sizes);
    let images = Tensor::from_data(data, device.tensors());
    let (config, batches) = (QuantizationConfig::default(), [batch]);
    let small = quantize(&network, &config, &CrossEntropy, &batches, device);
    let small = pollster::block_on(small)?.network;
    let contestant = |name, network| Evaluated {
        name,
        description: description(device),
        device: device.tensors().clone(),
        network,
        images: images.clone(),
    };
    Ok([contestant(OURS, small), contestant("f32", network)])
}

impl Contestant for Evaluated {
    fn name(&self) -> &str {
        self.name
    }

    fn device(&self) -> &str {
        &self.description
    }

    fn turn(&mut self, steps: usize) -> Result<Turn> {
        timed(&self.device, steps, || {
            let mut pass = Pass::new(Normalization::Running, &self.device);
            let outputs = self.network.forward(self.images.clone(), &mut pass)?;
            let first: Vec<f32> = outputs.slice([0..1, 0..1]).into_data().try_into_vec()?;
            Ok(f64::from(first[0]))
        })
    }
}
