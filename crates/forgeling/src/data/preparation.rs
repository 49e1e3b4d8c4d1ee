//! How pictures become inputs of a network.
//!
//! Pictures are of one of two kinds, which is decided once for a whole set and kept with the model:
//!
//! - *Drawings*, ink on paper: the light is levelled, the paper becomes 0 and the ink 1, and the square around the ink is
//!   scaled to the input's size with a margin of 0.18 on each side. Scans that are clean and framed already stay as they
//!   are.
//! - *Pictures*, of anything else: colours and brightness stay, and so do proportions, by default.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// What a set of pictures shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PictureKind {
    /// Ink on paper: what counts is where ink is, not how light the paper is nor where the drawing lies on it.
    Drawings,
    /// Anything else, such as photographs of objects: as they are.
    Pictures,
}

/// How a picture is made square.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fit {
    /// The square in its middle is taken. The default.
    #[default]
    Crop,
    /// All of it is taken, on a ground of its mean colour.
    Pad,
    /// It is stretched.
    Stretch,
}

/// What of a drawing's page is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Framing {
    /// All of a clean scan; the square around the ink of any other page.
    Whole,
    /// The square around the ink.
    Ink,
}

/// How pictures were made inputs, as a model file keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preparation {
    /// What they show.
    pub kind: PictureKind,
    /// How pictures are made square. It says nothing of drawings.
    #[serde(default)]
    pub fit: Fit,
    /// How drawings are framed; `None` where that is decided for each set. It says nothing of pictures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub framing: Option<Framing>,
}

impl Preparation {
    /// Drawings of which nothing more is known, as invented ones are.
    pub const DRAWINGS: Self = Self {
        kind: PictureKind::Drawings,
        fit: Fit::Crop,
        framing: None,
    };
}

macro_rules! names {
    ($type:ty, $operation:literal, $message:literal, $($variant:ident $name:literal),+) => {
        impl std::str::FromStr for $type {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                match text {
                    $($name => Ok(Self::$variant),)+
                    _ => Err(Error::invalid($operation, $message)
                        .expected([$($name),+].join(", "))
                        .got(format!("'{text}'"))),
                }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(match self {
                    $(Self::$variant => $name,)+
                })
            }
        }
    };
}

names!(PictureKind, "parse_kind", "unknown kind of pictures", Drawings "drawings", Pictures "pictures");
names!(Fit, "parse_fit", "unknown way to make pictures square", Crop "crop", Pad "pad", Stretch "stretch");
