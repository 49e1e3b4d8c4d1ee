//! Methods that compare features: against PyTorch, in what they promise, and in what they learn.

mod golden;
mod learning;
mod promises;

use burn::tensor::{Device as Tensors, Tensor};
use forgeling::nn::Network;
use forgeling::nn::zoo::Conv4Config;

fn flex() -> Tensors {
    Tensors::flex().autodiff()
}

fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

/// A network for images of `size`, on the CPU.
fn encoder(size: usize, filters: usize, blocks: usize) -> Network {
    let config = Conv4Config {
        channels: 1,
        filters,
        blocks,
        size,
        ..Default::default()
    };
    Network::on(&config.graph().unwrap(), 1, &flex())
}
