//! What few-shot commands take.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use forgeling::data::ImageShape;
use forgeling::device::DeviceList;
use forgeling::meta::{Adaptation, Method};
use forgeling::nn::catalog::Architecture;

use super::{HardwareArgs, ModelChoice, PictureArgs};
use crate::data::DataSource;

#[derive(Subcommand)]
pub enum Fewshot {
    /// Train a few-shot model on episodes
    #[command(after_help = "\
Methods that compare features (protonet, matching, relation, r2d2, simpleshot) answer at once; methods
that adapt (maml, fomaml, anil, reptile, metasgd, mamlpp, imaml, fobmaml) take gradient steps on the
labelled examples first. Where in doubt: protonet.

Drawings are turned, slanted, stretched and moved at random unless told otherwise (--no-augment). For
alphabets add --rotations, and train methods that compare on more classes than they are tested on
(--train-ways 20).

Examples:
  forgeling fewshot train --data glyphs --episodes 1000 --out model.safetensors
  forgeling fewshot train --method maml --data glyphs --shots 1 --minutes 5 --out maml.safetensors
  forgeling fewshot train --data omniglot:images_background_small1.zip --rotations --train-ways 20 \\
      --test-data omniglot:images_background_small2.zip --minutes 10 --out omniglot.safetensors
  forgeling fewshot train --data folder:photos --size 32 --out photos.safetensors")]
    Train(Box<Train>),
    /// Train several methods on the same episodes, test them on the same episodes, and write a report
    #[command(after_help = "\
Each method trains for as long as the others, on the same data with the same seed, and answers the very
same test episodes. Run again with the same --out, the methods that are done are not trained again.

Examples:
  forgeling fewshot compare --methods protonet,maml,r2d2 --data glyphs --shots 1 --minutes 2
  forgeling fewshot compare --methods protonet,anil --data omniglot:images_background_small1.zip --rotations \\
      --test-data omniglot:images_background_small2.zip --episodes 2000 --out omniglot-methods")]
    Compare(Box<Compare>),
    /// Measure accuracy on classes a model has not seen, with a 95 % confidence interval
    #[command(after_help = "\
Examples:
  forgeling fewshot eval --model model.safetensors --data glyphs --ways 20 --shots 1
  forgeling fewshot eval --model omniglot.safetensors --data omniglot:images_background_small2.zip \\
      --exclude omniglot:images_background_small1.zip --shots 1
  forgeling fewshot eval --model model.safetensors --data glyphs --save-episodes episodes.json
  forgeling fewshot eval --model other.safetensors --data glyphs --replay episodes.json --report report")]
    Eval(Eval),
    /// Classify images by a few labelled examples
    #[command(after_help = "\
The support folder holds one folder of images for each class (CLASS/*.png, jpg, webp, bmp, gif or
tiff); the query folder holds the images to classify. They are read as the model's training images
were: drawings, which it takes for ink on paper, or pictures.

The model may also be one of `forgeling train` or `forgeling import`: its features are then compared,
and nothing of it is trained. For photographs that is the one to take; the README says where to get it.
Their features are kept on disk, so that the same photographs are not computed again.

An image that is like none of the examples is `unknown`. Confidences are calibrated on the examples
where there are two or more of each class.

Examples:
  forgeling fewshot classify --model model.safetensors --support photos/support --query photos/query
  forgeling fewshot classify --model lite0.safetensors --support s --query q --adapt lda --mirrored
  forgeling fewshot classify --model model.safetensors --support s --query q --unknown 0.8 --json
  forgeling fewshot classify --model model.safetensors --support s --query q --adapt lora")]
    Classify(Classify),
}

/// Ways, shots and queries.
#[derive(Args, Clone, Copy)]
pub struct EpisodeArgs {
    /// Classes in an episode
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub ways: usize,
    /// Labelled examples of each class
    #[arg(long, value_name = "K", default_value_t = 5)]
    pub shots: usize,
    /// Examples of each class to classify
    #[arg(long, value_name = "Q", default_value_t = 15)]
    pub queries: usize,
}

/// What is learned from, and for how long.
#[derive(Args)]
pub struct LearningArgs {
    /// Training images: glyphs, omniglot:PATH (folder or zip), idx:DIR, cifar:DIR or folder:DIR
    /// (DIR/CLASS/*.png)
    #[arg(long, value_name = "SOURCE")]
    pub data: DataSource,
    /// Images for a final evaluation; groups (alphabets) that are also in the training images are left out
    #[arg(long, value_name = "SOURCE")]
    pub test_data: Option<DataSource>,
    #[command(flatten)]
    pub episode: EpisodeArgs,
    /// Classes in a training episode of protonet, matching, relation and r2d2; all but relation learn better from more
    /// than they are tested on [default: --ways]
    #[arg(long, value_name = "N")]
    pub train_ways: Option<usize>,
    #[command(flatten)]
    pub hardware: HardwareArgs,
    /// Stop after this many episodes [default: 1000, unless --minutes is given]
    #[arg(long, value_name = "N")]
    pub episodes: Option<usize>,
    /// Stop after this many minutes
    #[arg(long, value_name = "M")]
    pub minutes: Option<f64>,
    /// Episodes of one optimizer step [default: 1 for methods that compare, 8 for those that adapt]
    #[arg(long, value_name = "N")]
    pub batch_episodes: Option<usize>,
    /// Devices that share the episodes of each step, as 0,1 or cpu,gpu:0, in place of --device
    #[arg(long, value_name = "LIST")]
    pub devices: Option<DeviceList>,
    /// Learning rate of Adam at the start
    #[arg(long, value_name = "RATE", default_value_t = 1e-3)]
    pub learning_rate: f64,
    /// Halve the learning rate after this many episodes [default: 2000 for methods that compare, 20000 for those
    /// that adapt]
    #[arg(long, value_name = "N")]
    pub halve_every: Option<usize>,
    /// Network: a name that forgeling models lists, such as conv4, conv6 or resnet12, or a file that describes
    /// one. Methods that adapt take no vit
    #[arg(long, value_name = "NETWORK|FILE.json", default_value = "conv4")]
    pub model: ModelChoice,
    /// The network's width: channels of conv4's blocks [default: the network's, 64 for conv4]
    #[arg(long, value_name = "N")]
    pub filters: Option<usize>,
    /// Height and width to which images are resized [default: those of --model FILE.json, otherwise 28]
    #[arg(long, value_name = "PIXELS")]
    pub size: Option<usize>,
    /// 1 for gray images, 3 for colour [default: 3 for pictures with colours, 1 for drawings]
    #[arg(long, value_name = "N")]
    pub channels: Option<usize>,
    /// Train on each class turned by 90, 180 and 270 degrees as further classes: for alphabets such as
    /// Omniglot's
    #[arg(long)]
    pub rotations: bool,
    /// Turn, slant, stretch and move each training image a little at random [default: for drawings]
    #[arg(long, overrides_with = "no_augment")]
    pub augment: bool,
    /// Train on the images as they are
    #[arg(long)]
    pub no_augment: bool,
    #[command(flatten)]
    pub pictures: PictureArgs,
    #[command(flatten)]
    pub method: MethodArgs,
}

impl LearningArgs {
    /// The images that a described network takes.
    fn described(&self) -> Option<ImageShape> {
        match &self.model.architecture {
            Architecture::Described(graph) => Some(graph.image_shape()),
            Architecture::Named(_) => None,
        }
    }

    /// Height and width to which images are resized.
    pub fn side(&self) -> usize {
        let described = self.described().map(|shape| shape.height);
        self.size.or(described).unwrap_or(28)
    }

    /// Channels, if they are not to follow from the images.
    pub fn wanted_channels(&self) -> Option<usize> {
        self.channels
            .or(self.described().map(|shape| shape.channels))
    }
}

/// Settings of methods.
#[derive(Args)]
#[command(next_help_heading = "Method")]
pub struct MethodArgs {
    /// Distance of protonet: euclidean, cosine or mahalanobis
    #[arg(long, value_enum, value_name = "DISTANCE", default_value_t = DistanceArg::Euclidean)]
    pub distance: DistanceArg,
    /// Gradient steps on a support, for methods that adapt [default: the method's]
    #[arg(long, value_name = "N")]
    pub inner_steps: Option<usize>,
    /// The same in evaluation and use [default: as in training; 16 for reptile]
    #[arg(long, value_name = "N")]
    pub test_steps: Option<usize>,
    /// Learning rate of these steps [default: the method's]
    #[arg(long, value_name = "RATE")]
    pub inner_rate: Option<f64>,
    /// How strongly imaml and fobmaml hold adapted parameters at the initial ones [default: the method's]
    #[arg(long, value_name = "LAMBDA")]
    pub lambda: Option<f64>,
    /// Let batch norm normalize the queries of a training episode together, as papers on methods that adapt do
    #[arg(long)]
    pub transductive: bool,
}

/// How protonet measures.
#[derive(Clone, Copy, clap::ValueEnum)]
pub enum DistanceArg {
    /// Squared Euclidean distance
    Euclidean,
    /// Cosine with a learned temperature
    Cosine,
    /// Mahalanobis distance with diagonal covariances
    Mahalanobis,
}

impl From<DistanceArg> for forgeling::meta::Distance {
    fn from(distance: DistanceArg) -> Self {
        match distance {
            DistanceArg::Euclidean => Self::Euclidean,
            DistanceArg::Cosine => Self::Cosine,
            DistanceArg::Mahalanobis => Self::Mahalanobis,
        }
    }
}

#[derive(Args)]
pub struct Train {
    /// How to learn from few examples: protonet, matching, relation, r2d2, simpleshot, maml, fomaml, anil,
    /// reptile, metasgd, mamlpp, imaml or fobmaml
    #[arg(long, value_name = "METHOD", default_value_t = Method::ProtoNet)]
    pub method: Method,
    #[command(flatten)]
    pub learning: LearningArgs,
    /// Average the weights of all steps, keeping this part of the average at each; the average is what is
    /// validated and saved
    #[arg(long, value_name = "DECAY", num_args = 0..=1, default_missing_value = "0.999")]
    pub ema: Option<f64>,
    /// Images of unseen classes to validate on while training
    #[arg(long, value_name = "SOURCE")]
    pub validation_data: Option<DataSource>,
    /// Episodes of a validation, the same ones every time
    #[arg(
        long,
        value_name = "N",
        default_value_t = 50,
        requires = "validation_data"
    )]
    pub validation_episodes: usize,
    /// Validate after so many steps
    #[arg(
        long,
        value_name = "STEPS",
        default_value_t = 100,
        requires = "validation_data"
    )]
    pub validate_every: usize,
    /// Stop when the validation loss has not become smaller for so many validations, and save the best model
    #[arg(long, value_name = "VALIDATIONS", requires = "validation_data")]
    pub patience: Option<usize>,
    /// Folder for checkpoints; if it has some of this run, training goes on from there; if all of them are damaged,
    /// or of another run, that is an error
    #[arg(long, value_name = "DIR")]
    pub checkpoint_dir: Option<PathBuf>,
    /// Begin anew although the folder has checkpoints, which are moved to old-1 in it, or the next free number
    #[arg(long, requires = "checkpoint_dir")]
    pub restart: bool,
    /// Save a checkpoint after so many steps, and at the end
    #[arg(
        long,
        value_name = "STEPS",
        default_value_t = 100,
        requires = "checkpoint_dir"
    )]
    pub checkpoint_every: usize,
    /// Model file to write
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

#[derive(Args)]
pub struct Compare {
    /// Methods with commas between: any of those of `fewshot train`
    #[arg(long, value_name = "LIST", value_delimiter = ',', required = true)]
    pub methods: Vec<Method>,
    #[command(flatten)]
    pub learning: LearningArgs,
    /// Test episodes
    #[arg(long, value_name = "N", default_value_t = 600)]
    pub test_episodes: usize,
    /// Examples of each class to classify in them [default: --queries]
    #[arg(long, value_name = "Q")]
    pub test_queries: Option<usize>,
    /// Folder for report.html, the models, and the test episodes as JSON
    #[arg(long, value_name = "DIR", default_value = "forgeling-compare")]
    pub out: PathBuf,
    /// Train all methods again, done or not
    #[arg(long)]
    pub restart: bool,
}

#[derive(Args)]
pub struct Eval {
    /// Model file
    #[arg(long, value_name = "FILE")]
    pub model: PathBuf,
    /// Test images: glyphs (characters held out from training), omniglot:PATH, idx:DIR, cifar:DIR or
    /// folder:DIR
    #[arg(long, value_name = "SOURCE")]
    pub data: DataSource,
    /// Leave out the groups (alphabets) that occur in these images
    #[arg(long, value_name = "SOURCE")]
    pub exclude: Option<DataSource>,
    #[command(flatten)]
    pub episode: EpisodeArgs,
    /// Number of episodes
    #[arg(long, value_name = "N", default_value_t = 600)]
    pub episodes: usize,
    /// Let batch norm use the statistics of each test episode's queries together
    #[arg(long)]
    pub transductive: bool,
    /// Write the episodes to a JSON file, so that others can be tested on the very same ones
    #[arg(long, value_name = "FILE")]
    pub save_episodes: Option<PathBuf>,
    /// Take the episodes from such a file; ways, shots, queries and --episodes are then its
    #[arg(long, value_name = "FILE", conflicts_with_all = ["save_episodes", "ways", "shots", "queries", "episodes"])]
    pub replay: Option<PathBuf>,
    /// Folder for report.html: calibration, classes, an episode with its confusions and features
    #[arg(long, value_name = "DIR")]
    pub report: Option<PathBuf>,
    #[command(flatten)]
    pub pictures: PictureArgs,
}

#[derive(Args)]
pub struct Classify {
    /// Model file: of fewshot train, or of train or import, whose features are then compared
    #[arg(long, value_name = "FILE")]
    pub model: PathBuf,
    /// Folder with one folder of example images for each class
    #[arg(long, value_name = "DIR")]
    pub support: PathBuf,
    /// Folder of images to classify, or one image
    #[arg(long, value_name = "DIR|FILE")]
    pub query: PathBuf,
    /// What to make of the examples: method (what the model was trained for), prototypes (nearest class means),
    /// lda (linear discriminants), ridge (ridge regression), head (train a linear layer) or lora (train that and
    /// low-rank adapters of the convolutions); the last two are for images unlike those of training, and want 5
    /// or more examples of each class
    #[arg(long, value_name = "HOW", default_value_t = Adaptation::Method)]
    pub adapt: Adaptation,
    /// Take the mean features of each image and of its mirror image: for things whose left and right mean
    /// nothing. Takes twice as long
    #[arg(long)]
    pub mirrored: bool,
    /// Folder for the features of photographs, found again by what the files hold [default: forgeling/features
    /// in the user's folder for caches]
    #[arg(long, value_name = "DIR")]
    pub cache: Option<PathBuf>,
    /// Neither look for features on disk nor keep them
    #[arg(long, conflicts_with = "cache")]
    pub no_cache: bool,
    #[command(flatten)]
    pub unknown: UnknownArgs,
    #[command(flatten)]
    pub pictures: PictureArgs,
}

/// When an answer is `unknown`.
#[derive(Args, Clone, Copy)]
pub struct UnknownArgs {
    /// Answer `unknown` where the most probable class is less probable than this; 0 names a class for
    /// every image [default: where an image is more probably of no class than of that one]
    #[arg(long = "unknown", value_name = "P")]
    pub below: Option<f64>,
}
