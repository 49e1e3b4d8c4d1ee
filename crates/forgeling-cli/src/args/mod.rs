//! What can be typed.

mod bench;
mod compress;
mod continual;
mod export;
mod fewshot;
mod import;
mod network;
mod pictures;
mod pixels;
mod recipe;
mod small_file;
mod supervised;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use forgeling::DeviceChoice;
use forgeling::device::MemoryBudget;
use forgeling::train::{HardwareConfig, Precision, Preset};

pub use bench::{Bench, BenchModel};
pub use compress::{Compress, WeightFormat};
pub use continual::{
    ClassOrder, Compare as ContinualCompare, Continual, LearningArgs as ContinualArgs,
    ProtocolArgs, Run as ContinualRun, ScenarioArgs, ScenarioKind,
};
pub use export::Export;
pub use fewshot::{
    Classify, Compare, EpisodeArgs, Eval as FewshotEval, Fewshot, LearningArgs,
    Train as FewshotTrain, UnknownArgs,
};
pub use import::Import;
pub use network::{ModelChoice, Models, NetworkArgs, Shown, named_once};
pub use pictures::PictureArgs;
pub use pixels::{NormalizeKind, PixelArgs};
pub use recipe::RecipeName;
pub use supervised::{
    BatchSize, BatchSizeArgs, DataArgs, Eval, Freeze, InputShape, OptimizerKind, Predict, Profile,
    ScheduleKind, Settings, Train,
};

/// Train small neural networks where the data is.
///
/// Without a command, the tour runs: it trains a network on invented characters, shows that it can tell
/// apart characters it has never seen, and writes a report. It needs no data and no GPU.
#[derive(Parser)]
#[command(
    name = "forgeling",
    version,
    max_term_width = 100,
    after_help = "\
Examples:
  forgeling
  forgeling devices
  forgeling train --model conv4 --data idx:mnist --epochs 3 --out mnist.safetensors
  forgeling fewshot train --data glyphs --episodes 1000 --out glyphs.safetensors
  forgeling fewshot classify --model glyphs.safetensors --support photos/support --query photos/query"
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub common: Common,
}

/// Below the options of a command's own.
const LAST: usize = 100;

/// What every command takes.
#[derive(Args)]
pub struct Common {
    /// Device: auto, cpu, gpu, or gpu:N with N from `forgeling devices`
    #[arg(
        long,
        global = true,
        display_order = LAST,
        value_name = "DEVICE",
        default_value = "auto"
    )]
    pub device: DeviceChoice,
    /// Seed of weights, episodes and batches; the same seed gives the same run
    #[arg(
        long,
        global = true,
        display_order = LAST,
        value_name = "N",
        default_value_t = 0
    )]
    pub seed: u64,
    /// Print one JSON object on standard output
    #[arg(long, global = true, display_order = LAST)]
    pub json: bool,
}

#[derive(Subcommand)]
pub enum Command {
    /// Train on invented characters and report what was learned (about two minutes)
    #[command(after_help = "\
Examples:
  forgeling tour
  forgeling tour --out my-tour --episodes 200")]
    Tour(Tour),
    /// List the adapters of this machine and say which one would be used, and why
    #[command(after_help = "\
Examples:
  forgeling devices
  forgeling devices --json
  FORGELING_DEVICE=gpu:0 forgeling devices
  forgeling devices --recommend resnet18 --batch-size 256")]
    Devices(Devices),
    /// Train a network to tell classes of images apart
    #[command(after_help = "\
With --checkpoint-dir, the same command goes on where it was stopped, killed or came to its end: with
a larger --epochs, it trains for those that are left. Ctrl-C, SIGTERM and SIGHUP stop after the step,
with everything saved; a second one stops at once.

Examples:
  forgeling train --model conv4 --data idx:mnist --validation-data idx:mnist --epochs 3 --out mnist.safetensors
  forgeling train --model conv4 --data folder:photos --out photos.safetensors
  forgeling train --model resnet18 --data folder:photos --input 3x32x32 --batch-size auto \\
      --memory-budget 50% --checkpoint-dir photos-run --out photos.safetensors
  forgeling train --model mlp --data glyphs --optimizer sgd --schedule cosine --ema --out glyphs.safetensors
  forgeling train --model resnet20 --option width=16 --data cifar:data --validation-data cifar:data --normalize data \\
      --augment crop=4,flip,mixup=0.2 --out cifar.safetensors
  forgeling train --recipe fashion-mnist --data idx:fashion --validation-data idx:fashion --out fashion.safetensors
  forgeling train --model conv4 --data glyphs --devices cpu,gpu:0 --out glyphs.safetensors")]
    Train(Box<Train>),
    /// Measure the accuracy of a model that `forgeling train` has made
    #[command(after_help = "\
Examples:
  forgeling eval --model mnist.safetensors --data idx:mnist
  forgeling eval --model photos.safetensors --data folder:other-photos --json")]
    Eval(Eval),
    /// Name the classes of images with a model that `forgeling train` has made
    #[command(after_help = "\
An image that is like none of the training images is `unknown`. Confidences are calibrated on the
images that training has validated on. Images that cannot be read are told one by one, and the exit
status is 3 then; the others are answered.

Examples:
  forgeling predict --model photos.safetensors --images new-photos
  forgeling predict --model photos.safetensors --images a.jpg b.png --unknown 0.8 --json
  forgeling predict --model photos.safetensors --images new-photos --csv answers.csv")]
    Predict(Predict),
    /// Show where the time of training steps goes: phases, modules and kernels
    #[command(after_help = "\
On a GPU the milliseconds are those of the host, which asks for work and waits for it in the phase
that reads values back; where the GPU has a clock, its own are told beside them.

Examples:
  forgeling profile --model conv4 --data glyphs --batch-size 64
  forgeling profile --model resnet18 --data folder:photos --input 3x32x32 --batch-size 32 --trace trace.json
      (open trace.json in https://ui.perfetto.dev)")]
    Profile(Profile),
    /// Find the largest batch that fits into memory: plan it, print the plan, and take two steps with it
    #[command(after_help = "\
Examples:
  forgeling batch-size --model resnet18 --memory-budget 500MB
  forgeling batch-size --model conv4 --data folder:photos --input 3x64x64 --checkpointing")]
    BatchSize(BatchSizeArgs),
    /// List the networks, or show one, or a model file: layers, shapes, values, multiply-adds and where it is from
    #[command(after_help = "\
A network of one's own is a JSON file: the shape of its input, and its layers in their order. A layer
takes the one before it unless it names its inputs.

  { \"input\": [1, 28, 28], \"layers\": [
      { \"conv2d\": { \"filters\": 32, \"kernel\": 3, \"padding\": \"same\" } }, \"batchNorm\", \"relu\", \"maxPool\",
      \"flatten\", { \"linear\": { \"outputs\": 64 } }, \"relu\" ] }

One that does not end in linear is given a last layer for the classes.

Examples:
  forgeling models
  forgeling models resnet18 --option width=16 --draw network.svg
  forgeling models photos.safetensors
  forgeling models conv4 --describe my-network.json
  forgeling train --model my-network.json --data folder:photos --out photos.safetensors")]
    Models(Models),
    /// Make a model file of published weights: safetensors or PyTorch
    #[command(after_help = "\
The names of torchvision and timm are known. Tensors that are missing, not expected or of another shape
are named, and nothing is written then. No code that a file asks for is run.

Examples:
  forgeling import resnet18-f37072fd.pth --model resnet18 --out resnet18.safetensors
  forgeling import resnet18-f37072fd.pth --model resnet18 --dry-run
  forgeling import checkpoint.pth --model resnet50 --classes names.txt --head new --out photos.safetensors")]
    Import(Import),
    /// Write a network as an ONNX file, which ONNX Runtime, browsers and other programs run
    #[command(after_help = "\
The file takes any number of examples at once, in f32, and says how to feed it: its metadata has the
classes, and mean and deviation where channels are standardised. What comes out are logits.

Examples:
  forgeling export photos.safetensors --onnx photos.onnx
  forgeling export photos.safetensors --onnx photos.onnx --precision f16 --json")]
    Export(Export),
    /// Make a model smaller and faster: remove channels, round weights, and train what is left
    #[command(after_help = "\
What would go is printed first, layer by layer. Channels go first, then weights are rounded. Accuracy is
measured before and after each, on images that are not trained on.

Examples:
  forgeling compress --model mnist.safetensors --data idx:mnist --prune 0.5 --out small.safetensors
  forgeling compress --model mnist.safetensors --data idx:mnist --prune 0.5 --of values --dry-run
  forgeling compress --model photos.safetensors --data folder:photos --prune 0.7 --of macs --steps 5 \\
      --epochs 3 --distill --round-to 8 --protect stem --out small.safetensors
  forgeling compress --model mnist.safetensors --data idx:mnist --quantize int8 --qat-epochs 3 --out small.safetensors
  forgeling compress --model mnist.safetensors --data idx:mnist --prune 0.5 --quantize f16 --out small.safetensors")]
    Compress(Box<Compress>),
    /// Measure how long something takes
    #[command(subcommand)]
    Bench(Bench),
    /// Few-shot learning: train, compare, evaluate, classify
    #[command(subcommand)]
    Fewshot(Fewshot),
    /// Continual learning: one thing after another, and what is left of each
    #[command(subcommand)]
    Continual(Continual),
}

impl Command {
    /// What runs when nothing is named.
    pub fn tour() -> Self {
        Self::Tour(Tour {
            out: "forgeling-tour".into(),
            episodes: TOUR_EPISODES,
        })
    }
}

const TOUR_EPISODES: usize = 400;

#[derive(Args)]
pub struct Tour {
    /// Folder for report.html and the trained model
    #[arg(long, value_name = "DIR", default_value = "forgeling-tour")]
    pub out: PathBuf,
    /// Training episodes
    #[arg(long, value_name = "N", default_value_t = TOUR_EPISODES)]
    pub episodes: usize,
}

#[derive(Args)]
pub struct Devices {
    /// Say how to train this network on the chosen device, and why
    #[arg(long, value_name = "NETWORK|FILE.json")]
    pub recommend: Option<ModelChoice>,
    /// Examples of a step that --recommend is for
    #[arg(long, value_name = "N", default_value_t = 64, requires = "recommend")]
    pub batch_size: usize,
    /// Images that --recommend is for [default: those that the network is usually shown]
    #[arg(long, value_name = "CxHxW", requires = "recommend")]
    pub input: Option<InputShape>,
    /// Classes that --recommend is for
    #[arg(long, value_name = "N", default_value_t = 10, requires = "recommend")]
    pub classes: usize,
}

/// How training uses the hardware.
#[derive(Args)]
#[command(next_help_heading = "Hardware")]
pub struct HardwareArgs {
    /// Begin with the settings for a purpose: fast, memory_constrained, high_throughput or browser
    #[arg(long, value_name = "PRESET", default_value_t = Preset::Fast)]
    pub preset: Preset,
    /// Precision of activations: auto, f32, f16 or bf16; parameters are f32 in all of them [default: the
    /// preset's, auto for fast]
    #[arg(long, value_name = "PRECISION")]
    pub precision: Option<Precision>,
    /// Keep only the inputs of blocks for the backward pass and compute them once more there
    #[arg(long)]
    pub checkpointing: bool,
    /// The most memory that training may take, as 500MB, 1.5GiB or 50% of the device's: batches are dealt
    /// out in parts that fit [default: the preset's, none for fast]
    #[arg(long, value_name = "MEMORY")]
    pub memory_budget: Option<MemoryBudget>,
}

impl HardwareArgs {
    pub fn config(&self) -> HardwareConfig {
        let preset = HardwareConfig::from(self.preset);
        HardwareConfig {
            precision: self.precision.unwrap_or(preset.precision),
            gradient_checkpointing: self.checkpointing || preset.gradient_checkpointing,
            memory_budget: self.memory_budget.or(preset.memory_budget),
            ..preset
        }
    }
}
