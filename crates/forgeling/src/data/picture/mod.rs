//! From image files to the inputs of a network.
//!
//! | file | what it holds |
//! |---|---|
//! | `decode` | from bytes to upright pixels, `whole_file`: whether bytes are missing |
//! | `raster` | pixels and their averages over areas |
//! | `paper`, `shapes`, `ink` | how light the paper is, what holds together, and what is drawn |
//! | `drawing` | drawings as inputs |
//! | `survey` | what kind of pictures a set holds |
//! | `reader` | reading the files of a set |

mod decode;
mod drawing;
mod ink;
mod paper;
mod raster;
mod reader;
mod shapes;
mod survey;
mod whole_file;

use serde::{Deserialize, Serialize};

pub(super) use self::decode::{CONVERT, ENDINGS};
use self::drawing::{Frame, draw};
use self::raster::{Area, Raster, to_byte, whole};
pub(super) use self::reader::scan;
pub use self::reader::{Pictures, read};
pub use self::survey::Survey;
use super::limits::Limits;
use super::preparation::{Fit, Framing, PictureKind, Preparation};
use crate::image_shape::ImageShape;

/// What is kept of an image's colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Colour {
    /// One channel, the luma of ITU-R BT.709.
    #[default]
    Grey,
    /// Red, green and blue.
    Rgb,
}

impl Colour {
    /// How many channels an image has.
    pub const fn channels(self) -> usize {
        match self {
            Self::Grey => 1,
            Self::Rgb => 3,
        }
    }
}

/// How pictures are read. What is `None` is decided for the whole set by looking at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PictureOptions {
    /// Rows and columns of the inputs. Default: 28.
    pub size: usize,
    /// What is kept of the colours. By default pictures keep what colours they have, and drawings none.
    pub colour: Option<Colour>,
    /// What they show.
    pub kind: Option<PictureKind>,
    /// How pictures are made square. Default: [`Fit::Crop`].
    pub fit: Fit,
    /// How drawings are framed.
    pub framing: Option<Framing>,
    /// Whether files that cannot be read are left out and counted. By default the first one is an error.
    pub skip_broken: bool,
    /// How much may be read.
    pub limits: Limits,
}

impl Default for PictureOptions {
    fn default() -> Self {
        Self {
            size: 28,
            colour: None,
            kind: None,
            fit: Fit::Crop,
            framing: None,
            skip_broken: false,
            limits: Limits::default(),
        }
    }
}

impl PictureOptions {
    /// Reads them as a model's training pictures were read.
    #[must_use]
    pub fn prepared(self, preparation: Preparation) -> Self {
        Self {
            kind: Some(preparation.kind),
            fit: preparation.fit,
            framing: preparation.framing,
            ..self
        }
    }
}

/// What all pictures of a set have in common.
#[derive(Debug, Clone, Copy)]
struct Recipe {
    shape: ImageShape,
    kind: PictureKind,
    fit: Fit,
    framing: Framing,
    light_ink: bool,
}

impl Recipe {
    /// `[channels, height, width]` bytes.
    fn prepare(&self, raster: &Raster) -> Vec<u8> {
        let shape = self.shape;
        match self.kind {
            PictureKind::Pictures => fitted(raster, shape, self.fit),
            PictureKind::Drawings => {
                let frame = match self.framing {
                    Framing::Whole => Frame::Whole,
                    Framing::Ink => Frame::Ink,
                };
                let plane = draw(raster, self.light_ink, frame, shape.height);
                plane.repeat(shape.channels)
            }
        }
    }
}

/// A picture as it is; what is transparent is black.
fn fitted(raster: &Raster, shape: ImageShape, fit: Fit) -> Vec<u8> {
    const BLACK: u32 = 0;
    let all = whole(raster.width, raster.height);
    let square = |side: f32| Area {
        left: (all.width - side) / 2.0,
        top: (all.height - side) / 2.0,
        width: side,
        height: side,
    };
    let values = match fit {
        Fit::Crop => raster.resample(square(all.width.min(all.height)), shape, BLACK),
        Fit::Stretch => raster.resample(all, shape, BLACK),
        Fit::Pad => {
            let mean = raster.resample(all, ImageShape::new(3, 1, 1), BLACK);
            let ground = [mean[0], mean[1], mean[2]];
            raster.resample_on(square(all.width.max(all.height)), shape, BLACK, ground)
        }
    };
    values.into_iter().map(to_byte).collect()
}
