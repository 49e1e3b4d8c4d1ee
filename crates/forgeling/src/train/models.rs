//! The networks of [`crate::nn`] as what can be trained.

use burn::tensor::Tensor;

use super::objective::{Classify, Encoder, Trainable};
use crate::error::Result;
use crate::nn::{Network, Pass};

impl Trainable for Network {}

impl Classify for Network {
    fn logits<'a>(&'a self, images: Tensor<4>, pass: &mut Pass<'a>) -> Result<Tensor<2>> {
        self.forward(images, pass)
    }
}

impl Encoder for Network {
    fn maps<'a>(&'a self, images: Tensor<4>, pass: &mut Pass<'a>) -> Result<Tensor<4>> {
        self.features(images, pass)
    }
}
