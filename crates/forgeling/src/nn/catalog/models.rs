//! The catalog's rows, and what each makes of what is asked for.

use super::{Asked, Entry, OPERATION, Setting};
use crate::error::{Error, Result};
use crate::image_shape::ImageShape;
use crate::nn::graph::{Graph, LuminanceStandard};
use crate::nn::zoo::{
    Conv4Config, Depth, DualMlpConfig, EfficientNetConfig, IntegrationConfig, MlpConfig,
    MobileNetConfig, MultiChannelResNetConfig, Pathways, ResNetConfig, SequenceConfig, Stem,
    VitConfig,
};

const fn setting(
    name: &'static str,
    about: &'static str,
    [default, least, most]: [usize; 3],
) -> Setting {
    Setting {
        name,
        about,
        default,
        least,
        most,
    }
}

const GREY: ImageShape = ImageShape::new(1, 28, 28);
const COLOR: ImageShape = ImageShape::new(3, 32, 32);
const PHOTOGRAPH: ImageShape = ImageShape::new(3, 224, 224);
const STEM: Setting = setting(
    "stem",
    "rows of its first kernel: 3, or 7 with pooling for large images",
    [3, 3, 7],
);
const RESNET: &[Setting] = &[
    setting("width", "channels of the first stage", [64, 1, 512]),
    STEM,
];

const LUMINANCE: Setting = setting(
    "luminance",
    "what it is of red, green and blue: as in ITU-R BT.709 or BT.601",
    [709, 601, 709],
);

/// Of two pathways that are integrated, with so many channels at first.
const fn pathways(width: usize) -> [Setting; 4] {
    [
        setting("width", "channels of the first stage", [width, 1, 512]),
        STEM,
        setting(
            "pathways",
            "2: colours and luminance, 1: colours alone, 0: colours with luminance as another channel, both of the latter as wide as makes as many values",
            [2, 0, 2],
        ),
        LUMINANCE,
    ]
}

const SMALL_RESNET: &[Setting] = &[setting(
    "width",
    "channels of the first stage",
    [16, 1, 512],
)];

const PERCENT: Setting = setting(
    "width",
    "channels, in percent of the paper's",
    [100, 1, 400],
);

/// Of a network that takes the default of its input.
const fn shrinking(default: usize) -> Setting {
    setting(
        "stem",
        "how many times smaller the first layers make images: 1, or 4 for large images",
        [default, 1, 4],
    )
}

const CLASS_TOKEN: &str =
    "1: a learned class token stands for the image, 0: the mean over the patches";
const FUSED: &str = "1: one layer for queries, keys and values, 0: three";

/// Of a Vision Transformer as published, of so many numbers a patch.
const fn transformer(width: usize) -> [Setting; 5] {
    [
        setting(
            "width",
            "numbers that describe a patch, 64 for each head",
            [width, 1, 4096],
        ),
        setting("depth", "number of blocks", [12, 1, 64]),
        setting(
            "patch",
            "rows and columns of a patch, which divide those of the images",
            [16, 1, 4096],
        ),
        setting("token", CLASS_TOKEN, [1, 0, 1]),
        setting("fused", FUSED, [1, 0, 1]),
    ]
}

/// All of them, the smallest of each family first.
pub const MODELS: [Entry; 22] = [
    Entry {
        name: "mlp",
        about: "perceptron with hidden layers of one width",
        input: GREY,
        options: &[
            setting("width", "neurons of a hidden layer", [128, 1, 1 << 20]),
            setting("depth", "hidden layers", [1, 0, 64]),
        ],
        graph: mlp,
    },
    Entry {
        name: "conv4",
        about: "blocks of convolution and pooling, few-shot learning's standard",
        input: GREY,
        options: &[
            setting("width", "channels of every block", [64, 1, 4096]),
            setting("blocks", "number of blocks", [4, 1, 12]),
        ],
        graph: conv4,
    },
    Entry {
        name: "conv6",
        about: "six such blocks, of which the first four pool",
        input: GREY,
        options: &[setting("width", "channels of every block", [64, 1, 4096])],
        graph: conv6,
    },
    Entry {
        name: "conv1d",
        about: "convolutions along sequences, such as sensor rows and pointer paths: maps of one row",
        input: ImageShape::new(3, 1, 128),
        options: &[setting(
            "width",
            "channels of the first and last block, the second having twice as many",
            [128, 1, 2048],
        )],
        graph: conv1d,
    },
    Entry {
        name: "vit",
        about: "small Vision Transformer",
        input: GREY,
        options: &[
            setting("width", "numbers that describe a patch", [64, 1, 4096]),
            setting("depth", "number of blocks", [4, 1, 64]),
            setting(
                "heads",
                "heads of attention, which divide the width",
                [4, 1, 4096],
            ),
            setting(
                "patch",
                "rows and columns of a patch, which divide those of the images",
                [4, 1, 4096],
            ),
            setting("token", CLASS_TOKEN, [0, 0, 1]),
            setting("fused", FUSED, [0, 0, 1]),
        ],
        graph: vit,
    },
    Entry {
        name: "vit_tiny",
        about: "Vision Transformer ViT-Ti/16, as published weights have it",
        input: PHOTOGRAPH,
        options: &transformer(192),
        graph: published_vit,
    },
    Entry {
        name: "vit_small",
        about: "Vision Transformer ViT-S/16, as published weights have it",
        input: PHOTOGRAPH,
        options: &transformer(384),
        graph: published_vit,
    },
    Entry {
        name: "resnet12",
        about: "residual network for few-shot learning",
        input: GREY,
        options: &[setting(
            "width",
            "channels of the first block",
            [64, 1, 512],
        )],
        graph: |asked| resnet(asked, Depth::Twelve),
    },
    Entry {
        name: "resnet20",
        about: "the paper's residual network of 20 layers for images of 32×32",
        input: COLOR,
        options: SMALL_RESNET,
        graph: |asked| resnet(asked, Depth::Twenty),
    },
    Entry {
        name: "resnet32",
        about: "the paper's residual network of 32 layers for images of 32×32",
        input: COLOR,
        options: SMALL_RESNET,
        graph: |asked| resnet(asked, Depth::ThirtyTwo),
    },
    Entry {
        name: "resnet44",
        about: "the paper's residual network of 44 layers for images of 32×32",
        input: COLOR,
        options: SMALL_RESNET,
        graph: |asked| resnet(asked, Depth::FortyFour),
    },
    Entry {
        name: "resnet56",
        about: "the paper's residual network of 56 layers for images of 32×32",
        input: COLOR,
        options: SMALL_RESNET,
        graph: |asked| resnet(asked, Depth::FiftySix),
    },
    Entry {
        name: "resnet18",
        about: "residual network of 18 layers",
        input: COLOR,
        options: RESNET,
        graph: |asked| resnet(asked, Depth::Eighteen),
    },
    Entry {
        name: "resnet34",
        about: "residual network of 34 layers",
        input: COLOR,
        options: RESNET,
        graph: |asked| resnet(asked, Depth::ThirtyFour),
    },
    Entry {
        name: "resnet50",
        about: "residual network of 50 layers with bottlenecks",
        input: COLOR,
        options: RESNET,
        graph: |asked| resnet(asked, Depth::Fifty),
    },
    Entry {
        name: "mobilenet_v2",
        about: "MobileNetV2: inverted residuals for small devices",
        input: COLOR,
        options: &[PERCENT, shrinking(1)],
        graph: mobilenet,
    },
    Entry {
        name: "efficientnet_lite0",
        about: "EfficientNet-Lite0: inverted residuals for photographs on small devices",
        input: PHOTOGRAPH,
        options: &[PERCENT, shrinking(4)],
        graph: efficientnet,
    },
    Entry {
        name: "integration_shallow",
        about: "residual pathways of colours and luminance, integrated along the way: two stages",
        input: COLOR,
        options: &pathways(32),
        graph: |asked| integration(asked, IntegrationConfig::shallow()),
    },
    Entry {
        name: "integration_base",
        about: "the same with three stages",
        input: COLOR,
        options: &pathways(32),
        graph: |asked| integration(asked, IntegrationConfig::base()),
    },
    Entry {
        name: "integration_large",
        about: "the same with four stages",
        input: COLOR,
        options: &pathways(64),
        graph: |asked| integration(asked, IntegrationConfig::large()),
    },
    Entry {
        name: "dual_mlp_large",
        about: "perceptrons of colours and of luminance with a shared classifier",
        input: COLOR,
        options: &[
            setting(
                "width",
                "neurons of the first hidden layers, each of the three others having half of those before",
                [1024, 1, 1 << 16],
            ),
            LUMINANCE,
        ],
        graph: dual_mlp,
    },
    Entry {
        name: "multi_channel_resnet50",
        about: "residual networks of 50 layers of colours and of luminance with a shared classifier",
        input: COLOR,
        options: &[RESNET[0], RESNET[1], LUMINANCE],
        graph: multi_channel_resnet,
    },
];

fn mlp(asked: &Asked<'_>) -> Result<Graph> {
    let config = MlpConfig {
        input: asked.input.into(),
        hidden: vec![asked.option("width"); asked.option("depth")],
        classes: asked.classes,
    };
    config.graph()
}

fn conv4(asked: &Asked<'_>) -> Result<Graph> {
    convolutional(asked, asked.option("blocks"), 0)
}

fn conv6(asked: &Asked<'_>) -> Result<Graph> {
    convolutional(asked, 6, 2)
}

fn convolutional(asked: &Asked<'_>, blocks: usize, unpooled: usize) -> Result<Graph> {
    let config = Conv4Config {
        filters: asked.option("width"),
        blocks,
        unpooled,
        ..Default::default()
    };
    let graph = config.graph_for(asked.input)?;
    graph.with_outputs(asked.classes)
}

fn vit(asked: &Asked<'_>) -> Result<Graph> {
    let width = asked.option("width");
    let config = VitConfig {
        channels: asked.input.channels,
        size: asked.side()?,
        patch: asked.option("patch"),
        width,
        depth: asked.option("depth"),
        heads: asked.option("heads"),
        hidden: 4 * width,
        classes: asked.classes,
        class_token: asked.option("token") == 1,
        fused: asked.option("fused") == 1,
        ..Default::default()
    };
    config.graph()
}

fn published_vit(asked: &Asked<'_>) -> Result<Graph> {
    let config = VitConfig {
        channels: asked.input.channels,
        size: asked.side()?,
        patch: asked.option("patch"),
        depth: asked.option("depth"),
        class_token: asked.option("token") == 1,
        fused: asked.option("fused") == 1,
        ..VitConfig::published(asked.option("width"), asked.classes)
    };
    config.graph()
}

fn conv1d(asked: &Asked<'_>) -> Result<Graph> {
    let config = SequenceConfig {
        input: asked.input,
        filters: asked.option("width"),
        classes: asked.classes,
    };
    config.graph()
}

fn mobilenet(asked: &Asked<'_>) -> Result<Graph> {
    let config = MobileNetConfig {
        input: asked.input,
        stem: asked.stem([1, 4])?,
        width: asked.option("width") as f64 / 100.0,
        classes: asked.classes,
    };
    config.graph()
}

fn efficientnet(asked: &Asked<'_>) -> Result<Graph> {
    let config = EfficientNetConfig {
        input: asked.input,
        stem: asked.stem([1, 4])?,
        width: asked.option("width") as f64 / 100.0,
        classes: asked.classes,
    };
    config.graph()
}

fn luminance(asked: &Asked<'_>) -> Result<LuminanceStandard> {
    match asked.option("luminance") {
        709 => Ok(LuminanceStandard::Bt709),
        601 => Ok(LuminanceStandard::Bt601),
        other => Err(Error::invalid(OPERATION, "no such luminance")
            .expected("709 or 601")
            .got(other)),
    }
}

fn integration(asked: &Asked<'_>, size: IntegrationConfig) -> Result<Graph> {
    let config = IntegrationConfig {
        input: asked.input,
        stem: asked.stem([3, 7])?,
        width: asked.option("width"),
        pathways: match asked.option("pathways") {
            0 => Pathways::RgbLuminance,
            1 => Pathways::Rgb,
            _ => Pathways::Two,
        },
        luminance: luminance(asked)?,
        classes: asked.classes,
        ..size
    };
    config.graph()
}

fn dual_mlp(asked: &Asked<'_>) -> Result<Graph> {
    let config = DualMlpConfig {
        input: asked.input,
        width: asked.option("width"),
        luminance: luminance(asked)?,
        classes: asked.classes,
    };
    config.graph()
}

fn multi_channel_resnet(asked: &Asked<'_>) -> Result<Graph> {
    let config = MultiChannelResNetConfig {
        tower: residual(asked, Depth::Fifty)?,
        luminance: luminance(asked)?,
    };
    config.graph()
}

fn resnet(asked: &Asked<'_>, depth: Depth) -> Result<Graph> {
    residual(asked, depth)?.graph()
}

fn residual(asked: &Asked<'_>, depth: Depth) -> Result<ResNetConfig> {
    let stem = match depth {
        Depth::Eighteen | Depth::ThirtyFour | Depth::Fifty => asked.stem([3, 7])?,
        _ => Stem::Small,
    };
    Ok(ResNetConfig {
        depth,
        input: asked.input,
        stem,
        width: asked.option("width"),
        classes: asked.classes,
    })
}
