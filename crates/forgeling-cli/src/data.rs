//! Naming a source of images on the command line.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use forgeling::data::{
    Colour, Dataset, FolderOptions, Glyphs, IdxSplit, ImageSet, ImageShape, Ink, Rotated, Split,
    folder, idx, omniglot,
};
use forgeling::{Error, Result};

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
    Folder(PathBuf),
}

impl FromStr for DataSource {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let unknown = || {
            Error::invalid("parse_source", "unknown source of images")
                .expected("glyphs, omniglot:PATH, idx:DIR or folder:DIR")
                .got(format!("'{text}'"))
        };
        if text == "glyphs" {
            return Ok(Self::Glyphs);
        }
        let (kind, path) = text
            .split_once(':')
            .filter(|(_, path)| !path.is_empty())
            .ok_or_else(unknown)?;
        match kind {
            "omniglot" => Ok(Self::Omniglot(path.into())),
            "idx" => Ok(Self::Idx(path.into())),
            "folder" => Ok(Self::Folder(path.into())),
            _ => Err(unknown()),
        }
    }
}

/// As it is typed.
impl fmt::Display for DataSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Glyphs => f.write_str("glyphs"),
            Self::Omniglot(path) => write!(f, "omniglot:{}", path.display()),
            Self::Idx(path) => write!(f, "idx:{}", path.display()),
            Self::Folder(path) => write!(f, "folder:{}", path.display()),
        }
    }
}

/// Images as loaded, before turning: files keep their groups.
pub enum Images {
    Glyphs(Glyphs),
    Files(ImageSet),
}

impl DataSource {
    /// Loads the images in the shape the network takes. `split` matters to glyphs and IDX only; the other
    /// sources are what their path holds. `glyphs` is how many characters there are of those.
    pub fn load(&self, split: Split, shape: ImageShape, glyphs: usize) -> Result<Images> {
        let size = shape.height;
        if shape.width != size {
            return Err(
                Error::invalid("load_images", "images are loaded as squares")
                    .expected("as many rows as columns")
                    .got(shape),
            );
        }
        let grey = |set: ImageSet| match shape.channels {
            1 => Ok(Images::Files(set)),
            other => Err(Error::invalid("load_images", "these images are grey")
                .expected("--channels 1")
                .got(other)),
        };
        match self {
            Self::Glyphs => {
                let glyphs = Glyphs::new(GLYPH_SEED, split, glyphs)?;
                Ok(Images::Glyphs(glyphs.with_size(size)?))
            }
            Self::Omniglot(path) => grey(omniglot::load(path, size)?),
            Self::Idx(dir) => grey(idx::load(
                dir,
                match split {
                    Split::Train => IdxSplit::Train,
                    Split::Test => IdxSplit::Test,
                },
            )?),
            Self::Folder(dir) => {
                let colour = match shape.channels {
                    1 => Colour::Grey,
                    3 => Colour::Rgb,
                    other => {
                        return Err(Error::invalid(
                            "load_images",
                            "no images have so many channels",
                        )
                        .expected("1 or 3")
                        .got(other));
                    }
                };
                let options = FolderOptions {
                    size,
                    colour,
                    // As `classify` reads a user's images.
                    ink: Ink::Auto,
                    ..Default::default()
                };
                Ok(Images::Files(folder::load(dir, &options)?))
            }
        }
    }
}

impl Images {
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
        assert_eq!(
            "omniglot:a:b.zip".parse::<DataSource>().unwrap(),
            DataSource::Omniglot("a:b.zip".into())
        );
        for wrong in ["", "omniglot", "omniglot:", "mnist:x", "glyphs:1"] {
            assert!(wrong.parse::<DataSource>().is_err(), "{wrong}");
        }
    }
}
