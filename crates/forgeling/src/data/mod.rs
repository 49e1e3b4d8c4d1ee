//! Labelled images, where they come from, and the episodes drawn from them. Plain arrays, no tensors.
//!
//! | module | what it holds |
//! |---|---|
//! | [`dataset`] | [`Dataset`], the one thing everything else reads, and [`ImageShape`] |
//! | [`image_set`] | [`ImageSet`]: images in memory, grouped into classes |
//! | [`rotate`] | [`Rotated`]: each class four times, turned by quarters |
//! | [`augment`] | [`Augmentation`]: training images changed at random: [`RandomAffine`], flips, crops, colours, mixtures |
//! | [`glyphs`] | [`Glyphs`]: an endless invented alphabet in varying handwriting |
//! | [`channels`] | [`InChannels`]: grey images as colour ones, and the other way round |
//! | [`subset`] | [`Subset`]: some of a set's examples; the split into training and validation |
//! | [`balance`] | [`imbalance`]: whether some classes have far more examples than others |
//! | [`classes`] | [`match_classes`]: a set's classes in the order of known names |
//! | [`duplicates`] | [`shared_images`]: how many images two sets have in common |
//! | [`table`] | [`TableSet`]: rows of plain numbers |
//! | [`episode`] | [`EpisodeSampler`]: N-way K-shot episodes, seeded and resumable |
//! | [`standardize`] | [`Standardization`]: columns of a table, or channels of images, with mean 0 and variance 1 |
//! | [`task`] | [`Task`]: support and queries of one task, of classes or of numbers to predict |
//! | [`tasks`] | [`EpisodeTasks`](tasks::EpisodeTasks) and other sources of tasks; lists of episodes to share |
//! | [`loader`] | [`Loader`], [`EpisodeLoader`]: batches rendered ahead by threads, resumable |
//! | [`sound`] | [`LogMel`]: from sounds to spectrograms, which networks take as pictures or sequences |
//! | [`preparation`] | [`Preparation`]: what kind of pictures a model takes, and how they are framed |
//! | | [`Rng`]: random numbers that are the same on every platform |
//! | `omniglot`, `idx`, `cifar`, `folder` | loaders for files (cargo feature `files`) |
//! | `picture` | from image files to inputs (cargo feature `files`) |
//! | `limits` | `Limits`: how much a loader may read (cargo feature `files`) |

pub mod augment;
pub mod balance;
pub mod channels;
pub mod classes;
pub mod dataset;
pub mod duplicates;
pub mod episode;
pub mod glyphs;
pub mod image_set;
pub mod loader;
pub mod preparation;
pub mod rotate;
pub mod sound;
pub mod standardize;
pub mod subset;
pub mod table;
pub mod task;
pub mod tasks;

#[cfg(feature = "files")]
mod archive;
#[cfg(feature = "files")]
pub mod cifar;
#[cfg(feature = "files")]
pub mod folder;
#[cfg(feature = "files")]
pub mod idx;
#[cfg(feature = "files")]
pub mod limits;
#[cfg(feature = "files")]
pub mod omniglot;
#[cfg(feature = "files")]
mod picture;
#[cfg(feature = "files")]
mod walk;

pub use crate::image_shape::ImageShape;
pub use crate::rng::{Rng, RngState};
pub use augment::{
    Augmentation, ColourJitter, Crop, Cutmix, Cutout, Erase, Fill, Flip, Mixup, RandomAffine,
    ResizedCrop,
};
pub use balance::{Imbalance, imbalance};
pub use channels::InChannels;
pub use classes::{Missing, Reordered, match_classes, shared_classes};
pub use dataset::{Dataset, check_read};
pub use duplicates::shared_images;
pub use episode::{EpisodeBatch, EpisodePlan, EpisodeSampler, Queries, SamplerState, Shots, Ways};
pub use glyphs::{Glyphs, Split};
pub use image_set::ImageSet;
pub use loader::{
    EpisodeLoader, EpisodeLoaderConfig, EpisodeLoaderState, ImageBatch, Loader, LoaderConfig,
    LoaderState, MixedBatch, MixedLabels,
};
pub use preparation::{Fit, Framing, PictureKind, Preparation};

pub use rotate::{Rotated, Turn};
pub use sound::{Bands, LogMel, LogMelConfig, MelScale, Padding, SoundPreparation, Spectrum};
pub use standardize::Standardization;
pub use subset::{Subset, split_examples};
pub use table::TableSet;
pub use task::{Examples, Targets, Task, TaskPlan, TaskSource};

#[cfg(feature = "files")]
pub use folder::{Folder, LeftOut};
#[cfg(feature = "files")]
pub use idx::{IdxImages, IdxSplit};
#[cfg(feature = "files")]
pub use limits::Limits;
#[cfg(feature = "files")]
pub use picture::{Colour, PictureOptions, Pictures, Survey, read as read_pictures};
#[cfg(feature = "files")]
pub use sound::SoundOptions;
