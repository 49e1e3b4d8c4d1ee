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
  conv1d: {
    about: "convolutions along sequences, such as sensor rows and pointer paths: maps of one row",
    input: [3, 1, 128],
    options: {
      width: { about: "channels of the first and last block, the second having twice as many", default: 128, least: 1, most: 2048 },
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
      token: { about: "1: a learned class token stands for the image, 0: the mean over the patches", default: 0, least: 0, most: 1 },
      fused: { about: "1: one layer for queries, keys and values, 0: three", default: 0, least: 0, most: 1 },
    },
  },
  vit_tiny: {
    about: "Vision Transformer ViT-Ti/16, as published weights have it",
    input: [3, 224, 224],
    options: {
      width: { about: "numbers that describe a patch, 64 for each head", default: 192, least: 1, most: 4096 },
      depth: { about: "number of blocks", default: 12, least: 1, most: 64 },
      patch: { about: "rows and columns of a patch, which divide those of the images", default: 16, least: 1, most: 4096 },
      token: { about: "1: a learned class token stands for the image, 0: the mean over the patches", default: 1, least: 0, most: 1 },
      fused: { about: "1: one layer for queries, keys and values, 0: three", default: 1, least: 0, most: 1 },
    },
  },
  vit_small: {
    about: "Vision Transformer ViT-S/16, as published weights have it",
    input: [3, 224, 224],
    options: {
      width: { about: "numbers that describe a patch, 64 for each head", default: 384, least: 1, most: 4096 },
      depth: { about: "number of blocks", default: 12, least: 1, most: 64 },
      patch: { about: "rows and columns of a patch, which divide those of the images", default: 16, least: 1, most: 4096 },
      token: { about: "1: a learned class token stands for the image, 0: the mean over the patches", default: 1, least: 0, most: 1 },
      fused: { about: "1: one layer for queries, keys and values, 0: three", default: 1, least: 0, most: 1 },
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
  mobilenet_v2: {
    about: "MobileNetV2: inverted residuals for small devices",
    input: [3, 32, 32],
    options: {
      width: { about: "channels, in percent of the paper's", default: 100, least: 1, most: 400 },
      stem: { about: "how many times smaller the first layers make images: 1, or 4 for large images", default: 1, least: 1, most: 4 },
    },
  },
  efficientnet_lite0: {
    about: "EfficientNet-Lite0: inverted residuals for photographs on small devices",
    input: [3, 224, 224],
    options: {
      width: { about: "channels, in percent of the paper's", default: 100, least: 1, most: 400 },
      stem: { about: "how many times smaller the first layers make images: 1, or 4 for large images", default: 4, least: 1, most: 4 },
    },
  },
  integration_shallow: {
    about: "residual pathways of colours and luminance, integrated along the way: two stages",
    input: [3, 32, 32],
    options: {
      width: { about: "channels of the first stage", default: 32, least: 1, most: 512 },
      stem: { about: "rows of its first kernel: 3, or 7 with pooling for large images", default: 3, least: 3, most: 7 },
      pathways: { about: "2: colours and luminance, 1: colours alone, 0: colours with luminance as another channel, both of the latter as wide as makes as many values", default: 2, least: 0, most: 2 },
      luminance: { about: "what it is of red, green and blue: as in ITU-R BT.709 or BT.601", default: 709, least: 601, most: 709 },
    },
  },
  integration_base: {
    about: "the same with three stages",
    input: [3, 32, 32],
    options: {
      width: { about: "channels of the first stage", default: 32, least: 1, most: 512 },
      stem: { about: "rows of its first kernel: 3, or 7 with pooling for large images", default: 3, least: 3, most: 7 },
      pathways: { about: "2: colours and luminance, 1: colours alone, 0: colours with luminance as another channel, both of the latter as wide as makes as many values", default: 2, least: 0, most: 2 },
      luminance: { about: "what it is of red, green and blue: as in ITU-R BT.709 or BT.601", default: 709, least: 601, most: 709 },
    },
  },
  integration_large: {
    about: "the same with four stages",
    input: [3, 32, 32],
    options: {
      width: { about: "channels of the first stage", default: 64, least: 1, most: 512 },
      stem: { about: "rows of its first kernel: 3, or 7 with pooling for large images", default: 3, least: 3, most: 7 },
      pathways: { about: "2: colours and luminance, 1: colours alone, 0: colours with luminance as another channel, both of the latter as wide as makes as many values", default: 2, least: 0, most: 2 },
      luminance: { about: "what it is of red, green and blue: as in ITU-R BT.709 or BT.601", default: 709, least: 601, most: 709 },
    },
  },
  dual_mlp_large: {
    about: "perceptrons of colours and of luminance with a shared classifier",
    input: [3, 32, 32],
    options: {
      width: { about: "neurons of the first hidden layers, each of the three others having half of those before", default: 1024, least: 1, most: 65536 },
      luminance: { about: "what it is of red, green and blue: as in ITU-R BT.709 or BT.601", default: 709, least: 601, most: 709 },
    },
  },
  multi_channel_resnet50: {
    about: "residual networks of 50 layers of colours and of luminance with a shared classifier",
    input: [3, 32, 32],
    options: {
      width: { about: "channels of the first stage", default: 64, least: 1, most: 512 },
      stem: { about: "rows of its first kernel: 3, or 7 with pooling for large images", default: 3, least: 3, most: 7 },
      luminance: { about: "what it is of red, green and blue: as in ITU-R BT.709 or BT.601", default: 709, least: 601, most: 709 },
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
  "firstToken",
  "flatten",
  "luminance",
  "channels",
  "add",
  "mix",
  "concat",
  "patches",
  "attention",
  "quantize",
] as const;
