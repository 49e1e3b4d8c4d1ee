//! What commands of continual learning take.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Subcommand, ValueEnum};
use forgeling::continual::{Budget, FisherKind, HeadKind, Preset, Setting, StrategyName};
use forgeling::data::ImageShape;
use forgeling::device::MemoryBudget;
use forgeling::nn::catalog::Architecture;
use forgeling::train::Precision;
use forgeling::{Error, Result};

use super::network::ModelOption;
use super::{DataArgs, ModelChoice, NetworkArgs};
use crate::data::DataSource;

/// Continual learning.
#[derive(Subcommand)]
pub enum Continual {
    /// Learn contexts one after the other with one strategy, and tell how well each is known after each
    #[command(after_help = "\
Run i of --seeds N has the seed S + i, where S is that of --seed: the order of classes (unless it is
that of the data), permutations, initial weights, the order of examples, and what the strategy draws
follow from it, each from a stream of random numbers of its own. A preset sets everything that a run
follows from, which is printed; an option that is typed over it is printed as a change.

DIR/STRATEGY-seedI holds checkpoints while a run goes on, and outcome.json once it is finished. The same
command goes on where it was stopped or killed, also within a context, and does not repeat finished
runs; other runs there are refused, or moved to DIR/old-1 by --restart. DIR/report.html, DIR/R.csv and
DIR/rows.csv hold the results.

Runs no better than chance are named, and means without them stand beside those of all. The keys of
--json are in the README of the crate forgeling-cli.

Examples:
  forgeling continual run --data glyphs --strategy er --out glyphs-er
  forgeling continual run --data idx:mnist --setting task --strategy ewc --seeds 5 --out mnist-ewc
  forgeling continual run --data idx:mnist --preset mammoth --strategy derpp --buffer 200 --out derpp
  forgeling continual run --data idx:mnist --scenario permuted --contexts 10 --setting domain \\
      --strategy si --lambda 5 --out permuted-si
  forgeling continual run --data folder:photos --scenario blurred --strategy er --out blurred")]
    Run(Box<Run>),
    /// Learn the same contexts with several strategies, and put the results side by side
    #[command(after_help = "\
Strategies are compared on the same contexts with the same seeds. Where they would have unequal buffers
(those that keep examples), batch sizes or numbers of batches from the stream, the command says so and
ends, unless it is allowed. Options of strategies, such as --buffer, are for those that have such a
number. For all else, see forgeling continual run; with --json, rows holds what it prints for each
strategy, without the matrix, which is in R.csv.

Examples:
  forgeling continual compare --strategies naive,joint,er,agem --data glyphs --seeds 3 --out compared
  forgeling continual compare --strategies ewc,si,lwf --setting task --data idx:mnist --out penalties
  forgeling continual compare --strategies er,slda --allow-unequal --data idx:mnist --out unequal")]
    Compare(Box<Compare>),
}

#[derive(Args)]
pub struct Run {
    /// How to keep what was learned: naive, joint, cumulative, er, er-ace, der, derpp, agem, gdumb, icarl, ewc,
    /// online-ewc, si, mas, lwf, slda, rff or ncm
    #[arg(long, value_name = "NAME", default_value_t = StrategyName::Er)]
    pub strategy: StrategyName,
    #[command(flatten)]
    pub learning: LearningArgs,
}

#[derive(Args)]
pub struct Compare {
    /// Strategies with commas between: any of those of `continual run`
    #[arg(long, value_name = "LIST", value_delimiter = ',', required = true)]
    pub strategies: Vec<StrategyName>,
    /// Compare also where buffers, batch sizes or numbers of batches are not equal
    #[arg(long)]
    pub allow_unequal: bool,
    #[command(flatten)]
    pub learning: LearningArgs,
}

/// What is learned, and how.
#[derive(Args)]
pub struct LearningArgs {
    #[command(flatten)]
    pub data: DataArgs,
    /// Test on these images of the same classes [default: of idx:DIR and cifar:DIR their test images, of glyphs other drawings, of
    /// a folder with parts the one called test, otherwise a fifth of each class, the same for every seed]
    #[arg(long, value_name = "SOURCE")]
    pub test_data: Option<DataSource>,
    #[command(flatten)]
    pub scenario: ScenarioArgs,
    #[command(flatten)]
    pub network: OptionalNetwork,
    #[command(flatten)]
    pub protocol: ProtocolArgs,
    /// Runs, each with a seed of its own, from that of --seed on
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub seeds: u64,
    /// Precision of activations: auto, f32, f16 or bf16; parameters are f32 in all of them
    #[arg(long, value_name = "PRECISION", default_value_t = Precision::Auto)]
    pub precision: Precision,
    /// Test on all contexts also after so many steps, which shows how accuracy falls within a context
    #[arg(long, value_name = "STEPS", value_parser = at_least_one)]
    pub test_every: Option<usize>,
    /// Save a checkpoint after so many steps, and when contexts end
    #[arg(long, value_name = "STEPS", default_value_t = 500, value_parser = at_least_one)]
    pub checkpoint_every: usize,
    /// Folder for runs, report.html, R.csv and rows.csv
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Begin anew although the folder has these runs, which are moved to old-1 in it, or the next free number
    #[arg(long)]
    pub restart: bool,
}

/// What is learned after what.
#[derive(Args)]
#[command(next_help_heading = "Scenario")]
pub struct ScenarioArgs {
    /// How contexts differ
    #[arg(long, value_enum, default_value_t = ScenarioKind::Split)]
    pub scenario: ScenarioKind,
    /// How many; of split and blurred each has as many classes, of rotated each is turned by 15 degrees more
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = at_least_one)]
    pub contexts: usize,
    /// Classes of each context of split and blurred, as 2,3,5
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        conflicts_with = "contexts"
    )]
    pub sizes: Option<Vec<usize>>,
    /// By how many contexts an example of blurred comes too early or too late at most [default: 0.5]
    #[arg(long, value_name = "X")]
    pub overlap: Option<f64>,
    /// By how much each context of rotated is turned, counter-clockwise, as 0,15,30
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        allow_hyphen_values = true,
        conflicts_with_all = ["contexts", "sizes"]
    )]
    pub degrees: Option<Vec<f32>>,
    /// What is told of contexts, and what has to be told apart [default: class; of blurred, free]
    #[arg(long, value_enum)]
    pub setting: Option<SettingArg>,
    /// Whether classes come in an order that follows from the seed, or in that of the data
    #[arg(long, value_enum, default_value_t = ClassOrder::Shuffled)]
    pub class_order: ClassOrder,
}

impl ScenarioArgs {
    /// What is told.
    pub fn setting(&self) -> Setting {
        match (self.setting, self.scenario) {
            (Some(SettingArg::Task), _) => Setting::Task,
            (Some(SettingArg::Domain), _) => Setting::Domain,
            (Some(SettingArg::Class), _) => Setting::Class,
            (Some(SettingArg::Free), _) | (None, ScenarioKind::Blurred) => Setting::Free,
            (None, _) => Setting::Class,
        }
    }
}

/// How contexts differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ScenarioKind {
    /// In their classes
    Split,
    /// In the order of their pixels
    Permuted,
    /// In how images are turned
    Rotated,
    /// In their classes, one running into the next, without boundaries
    Blurred,
}

/// What a learner is told, and what it has to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SettingArg {
    /// The context of each example, also in tests: tell its classes apart
    Task,
    /// Where contexts end: tell the classes of any context apart, the same labels in all
    Domain,
    /// Where contexts end: tell all classes apart
    Class,
    /// Nothing
    Free,
}

/// In which order classes come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ClassOrder {
    /// One that follows from the seed
    Shuffled,
    /// That of the data
    Data,
}

/// The network, if it is not the preset's.
#[derive(Args)]
#[command(next_help_heading = "Network")]
pub struct OptionalNetwork {
    /// Network: a name that forgeling models lists, such as mlp, conv4 or resnet18, or a file that describes one
    /// [default: the preset's perceptron]
    #[arg(long, value_name = "NETWORK|FILE.json", conflicts_with = "weights")]
    pub model: Option<ModelChoice>,
    /// Neurons of mlp's hidden layer, channels of conv4's blocks or of a resnet's first stage [default: the network's]
    #[arg(long, value_name = "N", requires = "model")]
    pub width: Option<usize>,
    /// Another option of the network, such as depth=6 of vit; may be given more than once
    #[arg(long = "option", value_name = "NAME=N", requires = "model")]
    pub options: Vec<ModelOption>,
    /// Begin with the network of this model file of forgeling train, whose last layer is drawn anew: ncm's features,
    /// for example
    #[arg(long, value_name = "MODEL.safetensors")]
    pub weights: Option<PathBuf>,
}

impl OptionalNetwork {
    /// The one that was named.
    pub fn named(&self) -> Option<NetworkArgs> {
        Some(NetworkArgs {
            model: self.model.clone()?,
            width: self.width,
            options: self.options.clone(),
        })
    }

    /// The images that a described network takes.
    pub fn input(&self) -> Option<ImageShape> {
        match &self.model.as_ref()?.architecture {
            Architecture::Described(graph) => Some(graph.image_shape()),
            Architecture::Named(_) => None,
        }
    }
}

/// All that a run follows from beside data and network.
#[derive(Args)]
#[command(next_help_heading = "Protocol")]
pub struct ProtocolArgs {
    /// Published protocol whose values are set [default: vandeven; of the setting free, whose learners are told of no
    /// boundaries, mammoth]
    #[arg(long, value_enum)]
    pub preset: Option<PresetArg>,
    /// What is kept of earlier examples: so many in all as 500, of each class as 100/class, or bytes as 2MB [default: the
    /// preset's]
    #[arg(long, value_name = "BUDGET")]
    pub buffer: Option<BufferArg>,
    /// Which outputs count [default: the preset's]
    #[arg(long, value_enum)]
    pub head: Option<HeadArg>,
    /// Batches of each context; where all are shown at once, there are as many in all [default: the preset's]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub iterations: Option<usize>,
    /// Times to go through each context, in the place of a number of batches
    #[arg(long, value_name = "N", value_parser = at_least_one, conflicts_with = "iterations")]
    pub epochs: Option<usize>,
    /// New examples of a batch [default: the preset's]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub batch_size: Option<usize>,
    /// Learning rate, the same always; of gdumb, that at the beginning [default: the preset's]
    #[arg(long, value_name = "RATE")]
    pub learning_rate: Option<f64>,
    /// How strongly a strategy holds on: λ of ewc, online-ewc and mas, c of si, α of lwf, der and derpp [default: the
    /// preset's]
    #[arg(long, value_name = "X")]
    pub lambda: Option<f64>,
    /// How ewc and online-ewc measure importance: exact, exact:N (of N examples), sample, empirical or
    /// batched:N (of batches of N; common, but wrong) [default: the preset's]
    #[arg(long, value_name = "KIND")]
    pub fisher: Option<FisherArg>,
    /// Examples of before at each step, of strategies that keep some [default: the preset's]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub replayed: Option<usize>,
}

/// A published protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PresetArg {
    /// Van de Ven et al., 2022: Adam, batches of 128, 2 x 400 neurons (permuted: 2 x 1000, with a border of 2)
    #[value(name = "vandeven")]
    VanDeVen,
    /// Buzzega et al., 2020, as in Mammoth: SGD, one epoch, batches of 10, 2 x 100 neurons
    Mammoth,
}

impl ProtocolArgs {
    /// The preset, in a setting.
    pub fn preset(&self, setting: Setting) -> Preset {
        match (self.preset, setting) {
            (Some(PresetArg::VanDeVen), _) => Preset::VanDeVen,
            (Some(PresetArg::Mammoth), _) | (None, Setting::Free) => Preset::Mammoth,
            (None, _) => Preset::VanDeVen,
        }
    }
}

/// Which outputs count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum HeadArg {
    /// All, from the start
    All,
    /// Those of the contexts so far
    Growing,
    /// Those of the example's context, for --setting task
    PerTask,
    /// In training all, in tests those of the example's context, for --setting task
    MaskedAtTest,
}

impl From<HeadArg> for HeadKind {
    fn from(head: HeadArg) -> Self {
        match head {
            HeadArg::All => Self::All,
            HeadArg::Growing => Self::Growing,
            HeadArg::PerTask => Self::PerTask,
            HeadArg::MaskedAtTest => Self::MaskedAtTest,
        }
    }
}

/// How much is kept, as `500`, `100/class` or `2MB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BufferArg(pub Budget);

impl FromStr for BufferArg {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let count = |text: &str| text.parse().ok().filter(|&count: &usize| count > 0);
        let bytes = || match text.parse() {
            Ok(MemoryBudget::Bytes(bytes)) => usize::try_from(bytes).ok(),
            _ => None,
        };
        let budget = match text.strip_suffix("/class") {
            Some(number) => count(number).map(Budget::PerClass),
            None if text.bytes().all(|byte| byte.is_ascii_digit()) => {
                count(text).map(Budget::Total)
            }
            None => bytes().map(Budget::Bytes),
        };
        budget.map(Self).ok_or_else(|| {
            Error::invalid("parse_buffer", "not what a buffer can keep")
                .expected("examples in all such as 500, of each class such as 100/class, or bytes such as 2MB")
                .got(format!("'{text}'"))
        })
    }
}

/// How importance is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FisherArg(pub FisherKind);

impl FromStr for FisherArg {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let count = |text: &str| text.parse().ok().filter(|&count: &usize| count > 0);
        let kind = match text.split_once(':') {
            Some(("exact", examples)) => {
                count(examples).map(|examples| FisherKind::ExactOf { examples })
            }
            Some(("batched", size)) => {
                count(size).map(|batch_size| FisherKind::Batched { batch_size })
            }
            Some(_) => None,
            None => match text {
                "exact" => Some(FisherKind::Exact),
                "sample" => Some(FisherKind::Sample),
                "empirical" => Some(FisherKind::Empirical),
                _ => None,
            },
        };
        kind.map(Self).ok_or_else(|| {
            Error::invalid("parse_fisher", "no kind of Fisher's information")
                .expected("exact, exact:N, sample, empirical or batched:N")
                .got(format!("'{text}'"))
        })
    }
}

fn at_least_one(text: &str) -> Result<usize> {
    text.parse()
        .ok()
        .filter(|&number| number > 0)
        .ok_or_else(|| {
            Error::invalid("parse_number", "out of range")
                .expected("1 or more")
                .got(format!("'{text}'"))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_and_kinds_of_importance_are_read() {
        for (text, budget) in [
            ("500", Budget::Total(500)),
            ("100/class", Budget::PerClass(100)),
            ("2MB", Budget::Bytes(2_000_000)),
            ("1.5KiB", Budget::Bytes(1536)),
        ] {
            assert_eq!(text.parse::<BufferArg>().unwrap().0, budget);
        }
        for wrong in ["", "0", "0/class", "/class", "-1", "50%", "many", "0MB"] {
            assert!(wrong.parse::<BufferArg>().is_err(), "{wrong}");
        }
        for (text, kind) in [
            ("exact", FisherKind::Exact),
            ("exact:7", FisherKind::ExactOf { examples: 7 }),
            ("sample", FisherKind::Sample),
            ("empirical", FisherKind::Empirical),
            ("batched:3", FisherKind::Batched { batch_size: 3 }),
        ] {
            assert_eq!(text.parse::<FisherArg>().unwrap().0, kind);
        }
        for wrong in ["", "exact:0", "exact:", "sample:3", "batched", "fisher"] {
            assert!(wrong.parse::<FisherArg>().is_err(), "{wrong}");
        }
    }
}
