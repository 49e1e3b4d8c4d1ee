//! The networks of [`crate::nn`] as what can be trained.

use burn::tensor::Tensor;

use super::objective::{Classifier, Encoder, Trainable};
use crate::error::Result;
use crate::nn::{
    BasicBlock, BatchStatistics, Conv4, Conv4Classifier, LoraConv4, Mlp, Pass, ResNet18, Vit,
};

impl Trainable for Mlp {}

impl Classifier for Mlp {
    fn logits<'a>(&'a self, images: Tensor<4>, pass: &mut Pass<'a>) -> Result<Tensor<2>> {
        self.forward_with(images.flatten(1, 3), pass)
    }
}

/// The outputs are the features.
impl Encoder for Mlp {
    fn maps<'a>(&'a self, images: Tensor<4>, pass: &mut Pass<'a>) -> Result<Tensor<4>> {
        let features = self.forward_with(images.flatten(1, 3), pass)?;
        Ok(features.unsqueeze_dims(&[2, 3]))
    }

    fn norms(&self) -> usize {
        0
    }
}

impl Trainable for Conv4 {
    fn absorb(self, statistics: Vec<BatchStatistics>) -> Self {
        Conv4::absorb(self, statistics)
    }
}

impl Encoder for Conv4 {
    fn maps<'a>(&'a self, images: Tensor<4>, pass: &mut Pass<'a>) -> Result<Tensor<4>> {
        self.maps_with(images, pass)
    }

    fn norms(&self) -> usize {
        self.blocks.len()
    }
}

impl Trainable for LoraConv4 {}

/// Always with running statistics, which stay as they are.
impl Encoder for LoraConv4 {
    fn maps<'a>(&'a self, images: Tensor<4>, pass: &mut Pass<'a>) -> Result<Tensor<4>> {
        self.maps_with(images, pass)
    }

    fn norms(&self) -> usize {
        0
    }
}

impl Trainable for Conv4Classifier {
    fn absorb(self, statistics: Vec<BatchStatistics>) -> Self {
        Conv4Classifier::absorb(self, statistics)
    }
}

impl Classifier for Conv4Classifier {
    fn logits<'a>(&'a self, images: Tensor<4>, pass: &mut Pass<'a>) -> Result<Tensor<2>> {
        self.forward_with(images, pass)
    }
}

impl Trainable for ResNet18 {
    fn absorb(self, statistics: Vec<BatchStatistics>) -> Self {
        ResNet18::absorb(self, statistics)
    }
}

impl Classifier for ResNet18 {
    fn logits<'a>(&'a self, images: Tensor<4>, pass: &mut Pass<'a>) -> Result<Tensor<2>> {
        self.forward_with(images, pass)
    }
}

/// The means over all pixels are the features; the last layer is not used.
impl Encoder for ResNet18 {
    fn maps<'a>(&'a self, images: Tensor<4>, pass: &mut Pass<'a>) -> Result<Tensor<4>> {
        let features = self.features_with(images, pass)?;
        Ok(features.unsqueeze_dims(&[2, 3]))
    }

    fn norms(&self) -> usize {
        let blocks = self.blocks.iter();
        let of_block = |block: &BasicBlock| 2 + usize::from(block.shortcut.is_some());
        1 + blocks.map(of_block).sum::<usize>()
    }
}

impl Trainable for Vit {}

impl Classifier for Vit {
    fn logits<'a>(&'a self, images: Tensor<4>, pass: &mut Pass<'a>) -> Result<Tensor<2>> {
        self.forward_with(images, pass)
    }
}
