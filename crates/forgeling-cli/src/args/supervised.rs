//! What supervised training, its profile and its batch size take.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use forgeling::data::{Augmentation, ImageShape};
use forgeling::device::DeviceList;
use forgeling::{Error, Result};

use serde::Deserialize;

use super::fewshot::UnknownArgs;
use super::network::{Beginning, ModelOption};
use super::recipe::Recipe;
use super::{
    HardwareArgs, ModelChoice, NetworkArgs, NormalizeKind, PictureArgs, PixelArgs, RecipeName,
};
use crate::data::DataSource;

/// The images.
#[derive(Args)]
#[command(next_help_heading = "Data")]
pub struct DataArgs {
    /// Images in classes: glyphs, omniglot:PATH (folder or zip), idx:DIR, cifar:DIR or folder:DIR
    /// (DIR/CLASS/*.png); or sounds: sounds:DIR (DIR/CLASS/*.wav)
    #[arg(long, value_name = "SOURCE")]
    pub data: DataSource,
    /// Channels, height and width to which images are brought; idx:DIR and cifar:DIR have sizes of their own; of
    /// sounds mel bands and frames, 100 to a second, as 1xBANDSxFRAMES, or BANDSx1xFRAMES for conv1d [default: those
    /// of --model FILE.json; 3x28x28 for pictures with colours, otherwise 1x28x28; of sounds 40 bands of a second]
    #[arg(long, value_name = "CxHxW")]
    pub input: Option<InputShape>,
    /// Characters to tell apart, of glyphs
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub classes: usize,
    /// Take the first N images of each class only [default: all, and 100 of glyphs, which have no end]
    #[arg(long, value_name = "N")]
    pub per_class: Option<usize>,
    #[command(flatten)]
    pub pictures: PictureArgs,
}

#[derive(Args)]
pub struct Train {
    /// Begin with the usual settings for a data set: its network, pixels, optimizer, schedule, epochs and batch
    #[arg(long, value_enum, value_name = "NAME")]
    pub recipe: Option<RecipeName>,
    /// Network: a name that forgeling models lists, such as mlp, conv4, resnet18 or vit, a file that describes
    /// one, or a model file whose training goes on, with a last layer of its own for other classes [default: the
    /// recipe's]
    #[arg(
        long,
        help_heading = "Network",
        value_name = "NETWORK|FILE.json|FILE.safetensors",
        required_unless_present = "recipe"
    )]
    pub model: Option<Beginning>,
    /// What of a model file stays as it is
    #[arg(long, help_heading = "Network", value_enum, value_name = "PART", default_value_t = Freeze::None)]
    pub freeze: Freeze,
    /// Neurons of mlp's hidden layer [default: 128], channels of conv4's blocks [default: 64] or of a
    /// resnet's first stage [default: 64]
    #[arg(long, help_heading = "Network", value_name = "N")]
    pub width: Option<usize>,
    /// Another option of the network, such as depth=6 of vit; may be given more than once
    #[arg(long = "option", help_heading = "Network", value_name = "NAME=N")]
    pub options: Vec<ModelOption>,
    #[command(flatten)]
    pub data: DataArgs,
    #[command(flatten)]
    pub pixels: PixelArgs,
    /// Part of each class's images to validate on and not to train on, the same ones for every seed; 0 for
    /// no validation
    #[arg(long, value_name = "FRACTION", default_value_t = 0.1)]
    pub validation: f64,
    /// Validate on these images of the same classes: idx:DIR and cifar:DIR have test images, glyphs others of
    /// the same characters
    #[arg(long, value_name = "SOURCE", conflicts_with = "validation")]
    pub validation_data: Option<DataSource>,
    /// Show each class's images as often as those of the largest class, by repeating them
    #[arg(long)]
    pub balance: bool,
    /// Times to go through the images, those before a resume included [default: the recipe's, otherwise 10, or of
    /// few images as many as make 400 steps, at most 100]
    #[arg(long, value_name = "N")]
    pub epochs: Option<usize>,
    /// Images of a batch; auto takes a power of two from 8 to 1024 that fits into --memory-budget, or half
    /// of the device's memory, and is at most a sixteenth of the images [default: the recipe's, otherwise 64, or
    /// of few images a power of two from 8 that makes 8 batches]
    #[arg(long, value_name = "N|auto")]
    pub batch_size: Option<BatchSize>,
    /// Batches whose gradients make one step
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub accumulate: usize,
    /// What moves the parameters [default: the recipe's, otherwise adam]
    #[arg(long, value_enum)]
    pub optimizer: Option<OptimizerKind>,
    /// Learning rate at the start, or the largest of one-cycle [default: the recipe's with its optimizer, otherwise
    /// 0.001 for adam, 0.01 for sgd]
    #[arg(long, value_name = "RATE")]
    pub learning_rate: Option<f64>,
    /// The learning rate over the steps [default: the recipe's, otherwise constant]
    #[arg(long, value_enum)]
    pub schedule: Option<ScheduleKind>,
    /// What pulls parameters to zero: of sgd added to gradients, times the parameter; of adam apart from them, as
    /// in AdamW [default: the recipe's with its optimizer, otherwise 0]
    #[arg(long, value_name = "DECAY")]
    pub weight_decay: Option<f64>,
    /// Average the weights of all steps, keeping this part of the average at each; the average is what is
    /// validated and saved
    #[arg(long, value_name = "DECAY", num_args = 0..=1, default_missing_value = "0.999")]
    pub ema: Option<f64>,
    /// Stop when the validation loss has not become smaller for so many epochs, and save the best model
    #[arg(long, value_name = "EPOCHS")]
    pub patience: Option<usize>,
    #[command(flatten)]
    pub hardware: HardwareArgs,
    /// Devices that share every batch, as 0,1 or cpu,gpu:0, in place of --device; a memory
    /// budget is that of each
    #[arg(long, value_name = "LIST")]
    pub devices: Option<DeviceList>,
    /// Folder for checkpoints, one after every epoch; if it has some of this run, training goes on from there; if all
    /// of them are damaged, or of another run, that is an error
    #[arg(long, value_name = "DIR")]
    pub checkpoint_dir: Option<PathBuf>,
    /// Begin anew although the folder has checkpoints, which are moved to old-1 in it, or the next free number
    #[arg(long, requires = "checkpoint_dir")]
    pub restart: bool,
    /// Save a checkpoint after this many steps too, for long epochs
    #[arg(long, value_name = "STEPS", requires = "checkpoint_dir")]
    pub checkpoint_every: Option<usize>,
    /// Try everything out on this many batches, and save nothing
    #[arg(long, value_name = "BATCHES", num_args = 0..=1, default_missing_value = "1")]
    pub fast_dev_run: Option<usize>,
    /// Model file to write
    #[arg(long, value_name = "FILE", required_unless_present = "fast_dev_run")]
    pub out: Option<PathBuf>,
    /// Folder for report.html: curves of loss and accuracy, and of how a network of two pathways weights them
    #[arg(long, value_name = "DIR")]
    pub report: Option<PathBuf>,
}

/// What is not trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Freeze {
    /// Nothing: all of it is trained
    None,
    /// All but the last layer; batch norm uses the statistics that it has
    Encoder,
}

/// What is trained how: what was typed, else the recipe's, else what is usual.
pub struct Settings {
    pub network: NetworkArgs,
    pub optimizer: OptimizerKind,
    /// `None` for the optimizer's usual one.
    pub learning_rate: Option<f64>,
    pub schedule: ScheduleKind,
    pub weight_decay: f64,
    /// `None` for what suits the number of images.
    pub epochs: Option<usize>,
    /// `None` for what suits the number of images.
    pub batch_size: Option<BatchSize>,
    pub normalize: NormalizeKind,
    pub augment: Augmentation,
    pub label_smoothing: f32,
}

impl Train {
    /// All that a recipe may say.
    ///
    /// # Errors
    /// When there is neither a network nor a recipe.
    pub fn settings(&self) -> Result<Settings> {
        let recipe = self.recipe.map(RecipeName::recipe).transpose()?;
        let recipe = recipe.as_ref();
        let network = match (&self.model, recipe, self.recipe) {
            (Some(Beginning(model)), ..) => model.clone(),
            (None, Some(recipe), Some(name)) => ModelChoice {
                text: format!("{name}'s"),
                architecture: recipe.architecture(),
                trained: None,
            },
            _ => {
                let error = Error::invalid("train", "there is no network to train");
                return Err(error.expected("--model or --recipe"));
            }
        };
        let optimizer = self.optimizer.or(recipe.map(|recipe| recipe.optimizer));
        let optimizer = optimizer.unwrap_or(OptimizerKind::Adam);
        // The rate and the decay of another optimizer say nothing.
        let same: Option<&Recipe> = recipe.filter(|recipe| recipe.optimizer == optimizer);
        let trained = network.trained.is_some();
        let normalize = self.pixels.normalize;
        let normalize = normalize.or(trained.then_some(NormalizeKind::Model));
        let normalize = normalize.or(recipe.map(|recipe| recipe.normalize));
        let normalize = normalize.unwrap_or_default();
        if !trained && (self.freeze != Freeze::None || normalize == NormalizeKind::Model) {
            let message = "there is no trained model to take anything from";
            return Err(Error::invalid("train", message).expected(
                "--model FILE.safetensors, or neither --freeze encoder nor --normalize model",
            ));
        }
        let augment = self.pixels.augment.as_ref().map(|steps| &steps.0);
        Ok(Settings {
            network: NetworkArgs {
                model: network,
                width: self.width,
                options: self.options.clone(),
            },
            optimizer,
            learning_rate: self
                .learning_rate
                .or(same.map(|recipe| recipe.learning_rate)),
            schedule: self
                .schedule
                .or(recipe.map(|recipe| recipe.schedule))
                .unwrap_or(ScheduleKind::Constant),
            weight_decay: self
                .weight_decay
                .or(same.map(|recipe| recipe.weight_decay))
                .unwrap_or(0.0),
            epochs: self.epochs.or(recipe.map(|recipe| recipe.epochs)),
            batch_size: self
                .batch_size
                .or(recipe.map(|recipe| BatchSize::Examples(recipe.batch_size))),
            normalize,
            augment: augment
                .or(recipe.map(|recipe| &recipe.augment))
                .cloned()
                .unwrap_or_default(),
            label_smoothing: self
                .pixels
                .label_smoothing
                .or(recipe.map(|recipe| recipe.label_smoothing))
                .unwrap_or(0.0),
        })
    }
}

#[derive(Args)]
pub struct Eval {
    /// Model file
    #[arg(long, value_name = "FILE")]
    pub model: PathBuf,
    /// Images or sounds of the model's classes: of glyphs others than it was trained on, of idx:DIR and
    /// cifar:DIR the test images
    #[arg(long, value_name = "SOURCE")]
    pub data: DataSource,
    /// Take the first N images of each class only [default: all, and 100 of glyphs]
    #[arg(long, value_name = "N")]
    pub per_class: Option<usize>,
    /// Images in one pass
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub batch_size: usize,
    #[command(flatten)]
    pub pictures: PictureArgs,
}

#[derive(Args)]
pub struct Predict {
    /// Model file
    #[arg(long, value_name = "FILE")]
    pub model: PathBuf,
    /// Folder of images, or image files; WAV files of a model that was trained on sounds
    #[arg(long, visible_alias = "sounds", value_name = "DIR|FILE", num_args = 1.., required = true)]
    pub images: Vec<PathBuf>,
    /// Write a table of path, class and probability too
    #[arg(long, value_name = "FILE")]
    pub csv: Option<PathBuf>,
    #[command(flatten)]
    pub unknown: UnknownArgs,
    #[command(flatten)]
    pub pictures: PictureArgs,
}

#[derive(Args)]
pub struct Profile {
    #[command(flatten)]
    pub network: NetworkArgs,
    #[command(flatten)]
    pub data: DataArgs,
    /// Images of a batch
    #[arg(long, value_name = "N")]
    pub batch_size: usize,
    /// Steps to measure, after two to warm up
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub steps: usize,
    #[command(flatten)]
    pub hardware: HardwareArgs,
    /// Write a trace for chrome://tracing or Perfetto
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
}

#[derive(Args)]
pub struct BatchSizeArgs {
    #[command(flatten)]
    pub network: NetworkArgs,
    /// Take the images' shape and classes from here: glyphs, omniglot:PATH, idx:DIR, cifar:DIR, folder:DIR or
    /// sounds:DIR
    #[arg(long, value_name = "SOURCE")]
    pub data: Option<DataSource>,
    /// Channels, height and width of the images [default: those of --model FILE.json; 1x28x28,
    /// for resnets without --data 3x32x32]
    #[arg(long, value_name = "CxHxW")]
    pub input: Option<InputShape>,
    /// Classes, where they do not follow from --data
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub classes: usize,
    #[command(flatten)]
    pub pictures: PictureArgs,
    /// Look for no larger batch than this
    #[arg(long, value_name = "N", default_value_t = 1024)]
    pub most: usize,
    #[command(flatten)]
    pub hardware: HardwareArgs,
}

/// Images of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchSize {
    /// As many as fit.
    Auto,
    /// So many.
    Examples(usize),
}

impl FromStr for BatchSize {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let examples = text.parse().ok().filter(|&examples| examples > 0);
        examples.map(Self::Examples).ok_or_else(|| {
            Error::invalid("parse_batch_size", "not a number of images")
                .expected("1 or more, or auto")
                .got(format!("'{text}'"))
        })
    }
}

/// The shape of an image, as `1x28x28`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InputShape(pub ImageShape);

impl FromStr for InputShape {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let sides = text.split('x').map(str::parse::<usize>);
        match sides.collect::<Result<Vec<_>, _>>().as_deref() {
            Ok(&[channels, height, width])
                if !ImageShape::new(channels, height, width).is_empty() =>
            {
                Ok(Self(ImageShape::new(channels, height, width)))
            }
            _ => Err(Error::invalid("parse_input", "not the shape of an image")
                .expected("channels, height and width, such as 1x28x28")
                .got(format!("'{text}'"))),
        }
    }
}

impl fmt::Display for InputShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ImageShape {
            channels,
            height,
            width,
        } = self.0;
        write!(f, "{channels}x{height}x{width}")
    }
}

/// What moves the parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OptimizerKind {
    /// Adaptive steps
    Adam,
    /// Plain steps with a momentum of 0.9
    Sgd,
}

/// The learning rate over the steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScheduleKind {
    /// The same always
    Constant,
    /// Down to zero at the end of the last epoch; a resumed run with other --epochs goes on along the new course
    Cosine,
    /// From a 25th up to the learning rate in the first 30 % of the steps, then down to nearly zero; a resumed run with
    /// other --epochs goes on along the new course
    OneCycle,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_shapes_are_read() {
        assert_eq!("auto".parse::<BatchSize>().unwrap(), BatchSize::Auto);
        let eight = BatchSize::Examples(8);
        assert_eq!("8".parse::<BatchSize>().unwrap(), eight);
        for wrong in ["0", "-1", "many", ""] {
            assert!(wrong.parse::<BatchSize>().is_err(), "{wrong}");
        }
        let shape = "3x32x16".parse::<InputShape>().unwrap();
        assert_eq!(shape.0, ImageShape::new(3, 32, 16));
        assert_eq!(shape.to_string(), "3x32x16");
        for wrong in ["28", "28x28", "1x0x28", "1x28x28x1", "axbxc", ""] {
            assert!(wrong.parse::<InputShape>().is_err(), "{wrong}");
        }
    }
}
