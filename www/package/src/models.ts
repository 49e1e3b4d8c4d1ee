// The library's catalog of networks, and its layers. Written by
//   FORGELING_WRITE=1 cargo test --release --workspace --test catalog

/**
 * The networks by name, with the images (channels, rows, columns) that each is usually shown, and its options.
 */
export const MODELS = {
  mlp: {
    about: "perceptron with hidden layers of one width",
    input: [1, 28, 28],
    options: {
      width: { about: "neurons of a hidden layer", default: 128, least: 1, most: 1048576 },
      depth: { about: "hidden layers", default: 1, least: 0, most: 64 },
    },
  },
  conv4: {
    about: "blocks of convolution and pooling, few-shot learning's standard",
    input: [1, 28, 28],
    options: {
      width: { about: "channels of every block", default: 64, least: 1, most: 4096 },
      blocks: { about: "number of blocks", default: 4, least: 1, most: 12 },
    },
  },
  conv6: {
    about: "six such blocks, of which the first four pool",
    input: [1, 28, 28],
    options: {
      width: { about: "channels of every block", default: 64, least: 1, most: 4096 },
    },
  },
  vit: {
    about: "small Vision Transformer",
    input: [1, 28, 28],
    options: {
      width: { about: "numbers that describe a patch", default: 64, least: 1, most: 4096 },
      depth: { about: "number of blocks", default: 4, least: 1, most: 64 },
      heads: { about: "heads of attention, which divide the width", default: 4, least: 1, most: 4096 },
      patch: { about: "rows and columns of a patch, which divide those of the images", default: 4, least: 1, most: 4096 },
    },
  },
  resnet12: {
    about: "residual network for few-shot learning",
    input: [1, 28, 28],
    options: {
      width: { about: "channels of the first block", default: 64, least: 1, most: 512 },
    },
  },
  resnet20: {
    about: "the paper's residual network of 20 layers for images of 32×32",
    input: [3, 32, 32],
    options: {
      width: { about: "channels of the first stage", default: 16, least: 1, most: 512 },
    },
  },
  resnet32: {
    about: "the paper's residual network of 32 layers for images of 32×32",
    input: [3, 32, 32],
    options: {
      width: { about: "channels of the first stage", default: 16, least: 1, most: 512 },
    },
  },
  resnet44: {
    about: "the paper's residual network of 44 layers for images of 32×32",
    input: [3, 32, 32],
    options: {
      width: { about: "channels of the first stage", default: 16, least: 1, most: 512 },
    },
  },
  resnet56: {
    about: "the paper's residual network of 56 layers for images of 32×32",
    input: [3, 32, 32],
    options: {
      width: { about: "channels of the first stage", default: 16, least: 1, most: 512 },
    },
  },
  resnet18: {
    about: "residual network of 18 layers",
    input: [3, 32, 32],
    options: {
      width: { about: "channels of the first stage", default: 64, least: 1, most: 512 },
      stem: { about: "rows of its first kernel: 3, or 7 with pooling for large images", default: 3, least: 3, most: 7 },
    },
  },
  resnet34: {
    about: "residual network of 34 layers",
    input: [3, 32, 32],
    options: {
      width: { about: "channels of the first stage", default: 64, least: 1, most: 512 },
      stem: { about: "rows of its first kernel: 3, or 7 with pooling for large images", default: 3, least: 3, most: 7 },
    },
  },
  resnet50: {
    about: "residual network of 50 layers with bottlenecks",
    input: [3, 32, 32],
    options: {
      width: { about: "channels of the first stage", default: 64, least: 1, most: 512 },
      stem: { about: "rows of its first kernel: 3, or 7 with pooling for large images", default: 3, least: 3, most: 7 },
    },
  },
} as const;

/** What a layer of a network can be. */
export const LAYERS = [
  "conv2d",
  "batchNorm",
  "layerNorm",
  "linear",
  "relu",
  "relu6",
  "gelu",
  "maxPool",
  "meanPool",
  "globalMeanPool",
  "flatten",
  "luminance",
  "add",
  "concat",
  "patches",
  "attention",
] as const;
