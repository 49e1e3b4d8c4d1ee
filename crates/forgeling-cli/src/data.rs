//! Naming a source of images or sounds on the command line, and loading images.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use forgeling::data::{
    Colour, Dataset, Glyphs, IdxSplit, ImageSet, ImageShape, Limits, PictureKind, PictureOptions,
    Preparation, Rotated, Split, Survey, cifar, folder, idx, omniglot,
};
use forgeling::{Error, Result};

use crate::args::PictureArgs;

/// Classes of invented characters for episodes: as many as Omniglot's training set.
pub const GLYPH_CLASSES: usize = 1000;
/// One invented alphabet for everyone: runs with other seeds differ in weights and episodes only.
const GLYPH_SEED: u64 = 0;

/// Where images come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DataSource {
    Glyphs,
    Omniglot(PathBuf),
    Idx(PathBuf),
    Cifar(PathBuf),
    Folder(PathBuf),
    Sounds(PathBuf),
}

impl FromStr for DataSource {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let unknown = || {
            Error::invalid("parse_source", "unknown source of images")
                .expected("glyphs, omniglot:PATH, idx:DIR, cifar:DIR, folder:DIR or sounds:DIR")
                .got(format!("'{text}'"))
        };
        if text == "glyphs" {
            return Ok(Self::Glyphs);
        }
        let (kind, path) = text
            .split_once(':')
            .filter(|(_, path)| !path.is_empty())
            .ok_or_else(unknown)?;
        let path = expanded(path);
        match kind {
            "omniglot" => Ok(Self::Omniglot(path)),
            "idx" => Ok(Self::Idx(path)),
            "cifar" => Ok(Self::Cifar(path)),
            "folder" => Ok(Self::Folder(path)),
            "sounds" => Ok(Self::Sounds(path)),
            _ => Err(unknown()),
        }
    }
}

/// `~` as the user's own folder. Shells do this at the beginning of a word only.
fn expanded(path: &str) -> PathBuf {
    let rest = match path {
        "~" => Some(""),
        _ => path.strip_prefix("~/"),
    };
    match (rest, std::env::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => path.into(),
    }
}

/// As it is typed.
impl fmt::Display for DataSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Glyphs => f.write_str("glyphs"),
            Self::Omniglot(path) => write!(f, "omniglot:{}", path.display()),
            Self::Idx(path) => write!(f, "idx:{}", path.display()),
            Self::Cifar(path) => write!(f, "cifar:{}", path.display()),
            Self::Folder(path) => write!(f, "folder:{}", path.display()),
            Self::Sounds(path) => write!(f, "sounds:{}", path.display()),
        }
    }
}

/// Which of a source's images are wanted, and how.
#[derive(Clone, Copy)]
pub struct Wanted<'a> {
    /// Of glyphs, IDX files and CIFAR, and of folders with `train` and `test` beside each other.
    pub split: Split,
    /// Rows and columns of image files and glyphs; IDX files and CIFAR have their own.
    pub size: usize,
    /// 1 or 3; `None` for 3 where pictures have colours, otherwise 1.
    pub channels: Option<usize>,
    /// How many characters there are of glyphs.
    pub glyphs: usize,
    /// How image files are read.
    pub pictures: &'a PictureArgs,
    /// How the model's own images were read.
    pub model: Option<Preparation>,
}

/// Images, how they came to be inputs, and what is to be said of that.
pub struct Loaded {
    pub images: Images,
    pub preparation: Preparation,
    pub notes: Vec<String>,
}

/// Images as loaded, before turning: files keep their groups.
pub enum Images {
    Glyphs(Glyphs),
    Files(ImageSet),
}

impl DataSource {
    /// Loads the images. `split` matters to glyphs, IDX files, CIFAR and folders of two parts; the other sources are what
    /// their path holds. Images that come in gray stay so, whatever channels are wanted: see [`in_channels`].
    pub fn load(&self, wanted: Wanted<'_>) -> Result<Loaded> {
        if let Some(other) = wanted
            .channels
            .filter(|channels| !matches!(channels, 1 | 3))
        {
            return Err(
                Error::invalid("load_images", "no images have so many channels")
                    .expected("1 or 3")
                    .got(other),
            );
        }
        match self {
            Self::Glyphs => {
                let glyphs = Glyphs::new(GLYPH_SEED, wanted.split, wanted.glyphs)?;
                let images = Images::Glyphs(glyphs.with_size(wanted.size)?);
                Ok(Loaded::drawings(images))
            }
            Self::Omniglot(path) => {
                let set = omniglot::load(path, wanted.size)?;
                Ok(Loaded::drawings(Images::Files(set)))
            }
            Self::Idx(dir) => {
                let split = match wanted.split {
                    Split::Train => IdxSplit::Train,
                    Split::Test => IdxSplit::Test,
                };
                let idx::IdxSet { set, notes } = idx::open(dir, split, &Limits::default())?;
                let survey = Survey::of_set(&set);
                let preparation = Preparation {
                    kind: survey.kind(),
                    ..Preparation::DRAWINGS
                };
                Ok(Loaded {
                    images: Images::Files(set),
                    preparation,
                    notes: notes
                        .iter()
                        .map(|note| format!("{self}: {note}."))
                        .collect(),
                })
            }
            Self::Cifar(dir) => Ok(Loaded {
                images: Images::Files(cifar::load(dir, wanted.split)?),
                preparation: Preparation {
                    kind: PictureKind::Pictures,
                    ..Preparation::DRAWINGS
                },
                notes: Vec::new(),
            }),
            Self::Folder(dir) => from_folder(dir, wanted),
            Self::Sounds(_) => Err(Error::invalid("load_images", "sounds are no images")
                .expected("another source; train, eval, predict and continual take sounds")
                .got(self)),
        }
    }
}

impl Loaded {
    fn drawings(images: Images) -> Self {
        Self {
            images,
            preparation: Preparation::DRAWINGS,
            notes: Vec::new(),
        }
    }
}

fn from_folder(dir: &Path, wanted: Wanted<'_>) -> Result<Loaded> {
    let part = folder::part(dir, wanted.split)?;
    let options = picture_options(wanted.size, wanted.channels, wanted.pictures, wanted.model);
    let loaded = folder::load(&part, &options)?;
    let mut notes = Vec::new();
    if part != dir {
        notes.push(format!("Reading {}.", part.display()));
    }
    let channels = loaded.set.image_shape().channels;
    let options = (&options, wanted.model.is_some());
    notes.extend(told(options, loaded.preparation, &loaded.survey, channels));
    if !loaded.left_out.is_empty() {
        notes.push(format!("{}.", loaded.left_out));
    }
    Ok(Loaded {
        images: Images::Files(loaded.set),
        preparation: loaded.preparation,
        notes,
    })
}

/// Checks that a network takes what image files become.
pub fn takes_pictures(operation: &'static str, shape: ImageShape) -> Result<()> {
    if shape.height == shape.width && matches!(shape.channels, 1 | 3) {
        return Ok(());
    }
    Err(Error::invalid(operation, "the network takes no pictures")
        .expected("1 or 3 channels, as many rows as columns")
        .got(shape))
}

/// How image files are read: as the model's own were, where nothing else was typed.
pub fn picture_options(
    size: usize,
    channels: Option<usize>,
    pictures: &PictureArgs,
    model: Option<Preparation>,
) -> PictureOptions {
    let options = PictureOptions {
        size,
        colour: channels.map(|channels| match channels {
            1 => Colour::Grey,
            _ => Colour::Rgb,
        }),
        ..PictureOptions::default()
    };
    pictures.over(match model {
        Some(preparation) => options.prepared(preparation),
        None => options,
    })
}

/// What people learn of how pictures were read; `options` come with whether they are a model's.
pub fn told(
    (options, by_model): (&PictureOptions, bool),
    preparation: Preparation,
    survey: &Survey,
    channels: usize,
) -> Vec<String> {
    let mut notes = Vec::new();
    let kind = preparation.kind;
    let other = match kind {
        PictureKind::Drawings => "pictures",
        PictureKind::Pictures => "drawings",
    };
    let how = match kind {
        PictureKind::Drawings => "drawings: light levelled, ink = 1",
        PictureKind::Pictures => "pictures: colours and brightness as they are",
    };
    match options.kind {
        None => notes.push(format!(
            "Read as {how}. {} (--as {other} reads them otherwise).",
            survey.explain()
        )),
        Some(_) if by_model && survey.looked_at > 0 && survey.kind() != kind => {
            notes.push(format!(
                "The model was trained on {kind}; these do not look like them: {} (--as {other}).",
                survey.explain()
            ))
        }
        Some(_) => {}
    }
    if kind == PictureKind::Pictures && channels == 1 && survey.has_colours() {
        notes.push("The images have colours, of which gray inputs see nothing.".into());
    }
    notes
}

impl Images {
    /// The shape of each.
    pub fn shape(&self) -> ImageShape {
        match self {
            Images::Glyphs(glyphs) => glyphs.image_shape(),
            Images::Files(set) => set.image_shape(),
        }
    }

    /// The names of their classes.
    pub fn class_names(&self) -> Vec<String> {
        let data: &dyn Dataset = match self {
            Images::Glyphs(glyphs) => glyphs,
            Images::Files(set) => set,
        };
        let classes = 0..data.class_count();
        classes.map(|class| data.class_name(class)).collect()
    }

    /// Without the groups that occur in `other`, and how many classes that left out.
    pub fn without_groups_of(self, other: &Images) -> (Self, usize) {
        match (self, other) {
            (Images::Files(set), Images::Files(other)) => {
                let kept = set.without_groups_of(other);
                let dropped = set.class_count() - kept.class_count();
                (Images::Files(kept), dropped)
            }
            (images, _) => (images, 0),
        }
    }

    /// The images as classes to draw episodes from, each class also turned by quarters if asked for.
    pub fn into_dataset(self, rotations: bool) -> Result<Box<dyn Dataset>> {
        Ok(match (self, rotations) {
            (Images::Glyphs(glyphs), false) => Box::new(glyphs),
            (Images::Glyphs(glyphs), true) => Box::new(Rotated::new(glyphs)?),
            (Images::Files(set), false) => Box::new(set),
            (Images::Files(set), true) => Box::new(Rotated::new(set)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_parse() {
        assert_eq!("glyphs".parse::<DataSource>().unwrap(), DataSource::Glyphs);
        let folder = "folder:a/b".parse::<DataSource>().unwrap();
        assert_eq!(folder.to_string(), "folder:a/b");
        let sounds = "sounds:a/b".parse::<DataSource>().unwrap();
        assert_eq!(sounds, DataSource::Sounds("a/b".into()));
        assert_eq!(sounds.to_string(), "sounds:a/b");
        assert_eq!(
            "omniglot:a:b.zip".parse::<DataSource>().unwrap(),
            DataSource::Omniglot("a:b.zip".into())
        );
        let cifar = "cifar:data".parse::<DataSource>().unwrap();
        assert_eq!(cifar, DataSource::Cifar("data".into()));
        assert_eq!(cifar.to_string(), "cifar:data");
        for wrong in ["", "omniglot", "omniglot:", "mnist:x", "glyphs:1"] {
            assert!(wrong.parse::<DataSource>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_own_folder_is_found() {
        let home = std::env::home_dir().unwrap();
        for (typed, place) in [
            ("folder:~/a", home.join("a")),
            ("folder:~", home.clone()),
            ("folder:~a", PathBuf::from("~a")),
        ] {
            assert_eq!(
                typed.parse::<DataSource>().unwrap(),
                DataSource::Folder(place)
            );
        }
    }
}
