//! Layers that work in 8 bits, in a browser.

use burn::tensor::{Device as Tensors, Tensor, TensorData};
use forgeling::compress::{QuantizationConfig, quantize};
use forgeling::data::{ImageBatch, ImageShape};
use forgeling::nn::graph::Graph;
use forgeling::nn::{Network, Normalization, Pass};
use forgeling::ops::Levels;
use forgeling::train::CrossEntropy;
use forgeling::train::weights::{collect, load};
use wasm_bindgen_test::wasm_bindgen_test;

use super::blocks_parity::{ROUNDED_SIZES, fake_quantized};
use super::common::{cpu, everywhere};
use super::values;

#[wasm_bindgen_test]
async fn rounded_values_equal_their_reference_on_cpu_and_webgpu() {
    for sizes in ROUNDED_SIZES {
        for levels in [Levels::WEIGHTS, Levels { low: -2, high: 3 }] {
            let run = async |body, dtype, device: &Tensors| {
                fake_quantized(body, sizes, levels, dtype, device).await
            };
            everywhere(&format!("{sizes:?} {levels:?}"), run).await;
        }
    }
}

#[wasm_bindgen_test]
async fn layers_in_8_bits_multiply_bytes_on_the_cpu() {
    let device = cpu().await;
    let graph = Graph::from_json(
        r#"{ "input": [3, 10, 9], "layers": [ { "conv2d": { "filters": 32, "kernel": 3 } }, "relu", "flatten",
        { "linear": { "outputs": 35 } } ] }"#,
    );
    let network = Network::on(&graph.unwrap(), 0, device.tensors());
    let batch = ImageBatch {
        shape: ImageShape::new(3, 10, 9),
        images: values::waves(5 * 270, 1.0),
        labels: vec![0; 5],
    };
    let config = QuantizationConfig::default();
    let small = quantize(
        &network,
        &config,
        &CrossEntropy,
        std::slice::from_ref(&batch),
        &device,
    );
    let small = small.await.unwrap().network;
    let answers = async |network: &Network, device: &Tensors| {
        let mut pass = Pass::new(Normalization::Running, device);
        let images = TensorData::new(batch.images.clone(), [5, 3, 10, 9]);
        let found = network.forward(Tensor::from_data(images, device), &mut pass);
        let found = found.unwrap().into_data_async().await.unwrap();
        found.try_into_vec::<f32>().unwrap()
    };
    let tracked = Network::new(small.graph(), 0, &device);
    let tracked = load(tracked, collect(&small).await.unwrap()).unwrap();
    let floats = answers(&tracked, &device.autodiff()).await;
    let bytes = answers(&small, device.tensors()).await;
    values::assert_close("bytes", &bytes, &floats, 0.02);
    assert_ne!(bytes, floats, "nothing was multiplied in bytes");
}
