//! What kind of pictures a whole set holds.

use serde::Serialize;

use super::ink::{Ink, ink};
use super::raster::Raster;
use super::{Framing, PictureKind};
use crate::data::dataset::Dataset as _;
use crate::data::image_set::ImageSet;

/// Pictures that a survey looks at, and keeps until they are prepared.
pub(super) const SURVEYED: usize = 256;

/// A drawing covers between these parts of its picture.
const INKED: (f32, f32) = (2e-4, 0.4);
/// A stroke is at most this part of the drawing wide.
const THICKEST: f32 = 0.2;
/// This part of a drawing's edges at least are those of its ink. Of photographs of objects it is half of them.
const EXPLAINED: f32 = 0.93;
/// Clean scans whose ink takes this part of the side, in the middle of them all, are framed already.
const FRAMED: f32 = 0.4;
/// The longer side of a framed one is at most so many times the shorter.
const SQUARE: f32 = 1.25;
/// The part of a set that is to be clean.
const MOST: f32 = 0.9;
/// Red, green and blue that differ by so much, of 255, are a colour.
const COLOURFUL: f32 = 24.0;
/// The part of a picture's pixels, and of a set's pictures, from which it is one in colour.
const COLOURED: (f32, f32) = (0.02, 0.05);

/// What was seen in a set of pictures.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Survey {
    /// How many pictures there are.
    pub pictures: usize,
    /// How many of them, spread evenly, were looked at.
    pub looked_at: usize,
    /// How many of those look like thin ink on plain paper.
    pub drawings: usize,
    /// How many are lighter where they are inked.
    pub light_ink: usize,
    /// How many are as clean as a scan: white paper without shadows.
    pub clean: usize,
    /// How many are clean, nearly square and filled by their ink.
    pub framed: usize,
    /// How many have colours.
    pub coloured: usize,
}

/// What is seen in one picture.
pub(super) struct Evidence {
    dark: Seen,
    light: Seen,
    coloured: bool,
}

#[derive(Default)]
struct Seen {
    contrast: f32,
    drawn: bool,
    clean: bool,
    framed: bool,
}

impl Evidence {
    /// Looks at a picture, and at what is drawn only where that is asked for.
    pub fn of(raster: &Raster, about_ink: bool) -> Self {
        let shape = (raster.width as f32, raster.height as f32);
        let seen = |light_ink| match about_ink {
            true => Seen::of(&ink(raster, light_ink), shape),
            false => Seen::default(),
        };
        Self {
            dark: seen(false),
            light: seen(true),
            coloured: is_coloured(raster),
        }
    }
}

impl Seen {
    fn of(ink: &Ink, (width, height): (f32, f32)) -> Self {
        let extent = ink.bounds.map_or(0.0, |area| area.width.max(area.height));
        let (short, long) = (width.min(height), width.max(height));
        Self {
            contrast: ink.contrast,
            drawn: (INKED.0..INKED.1).contains(&ink.share)
                && ink.thickness <= THICKEST
                && ink.explained >= EXPLAINED,
            clean: ink.clean,
            framed: ink.clean && extent >= FRAMED * long && long <= SQUARE * short,
        }
    }
}

fn is_coloured(raster: &Raster) -> bool {
    if raster.channels == 1 {
        return false;
    }
    let pixels = raster.width * raster.height;
    let colour = |index: &usize| {
        let rgb = raster.rgb(*index, 255);
        let most = rgb.into_iter().fold(0.0, f32::max);
        most - rgb.into_iter().fold(255.0, f32::min) > COLOURFUL
    };
    (0..pixels).filter(colour).count() as f32 >= COLOURED.0 * pixels as f32
}

impl Survey {
    /// What so many pictures are, by some of them.
    pub(super) fn of(pictures: usize, seen: &[&Evidence]) -> Self {
        let mut survey = Self {
            pictures,
            looked_at: seen.len(),
            ..Self::default()
        };
        let lighter = |evidence: &&&Evidence| match (evidence.dark.clean, evidence.light.clean) {
            (true, false) => false,
            (false, true) => true,
            _ => evidence.light.contrast > evidence.dark.contrast,
        };
        survey.light_ink = seen.iter().filter(lighter).count();
        let light_ink = survey.has_light_ink();
        for evidence in seen {
            let ink = if light_ink {
                &evidence.light
            } else {
                &evidence.dark
            };
            survey.drawings += usize::from(ink.drawn);
            survey.clean += usize::from(ink.clean);
            survey.framed += usize::from(ink.framed);
            survey.coloured += usize::from(evidence.coloured);
        }
        survey
    }

    /// What images in memory are, by up to 256 of them.
    pub fn of_set(set: &ImageSet) -> Self {
        let all: Vec<(usize, usize)> = (0..set.class_count())
            .flat_map(|class| (0..set.class_len(class)).map(move |example| (class, example)))
            .collect();
        let count = all.len().min(SURVEYED);
        let seen: Vec<Evidence> = (0..count)
            .filter_map(|place| {
                let (class, example) = all[place * all.len() / count];
                Raster::of_planes(set.image_shape(), set.image(class, example)?)
            })
            .map(|raster| Evidence::of(&raster, true))
            .collect();
        Self::of(all.len(), &seen.iter().collect::<Vec<_>>())
    }

    /// Whether ink is lighter than paper, as chalk is.
    pub fn has_light_ink(&self) -> bool {
        2 * self.light_ink > self.looked_at
    }

    /// Whether there are colours to be seen.
    pub fn has_colours(&self) -> bool {
        self.part(self.coloured) > COLOURED.1
    }

    /// The kind that most of them are; [`PictureKind::Pictures`] of none.
    pub fn kind(&self) -> PictureKind {
        if 2 * self.drawings > self.looked_at {
            PictureKind::Drawings
        } else {
            PictureKind::Pictures
        }
    }

    /// How drawings are framed: scans that are filled by their ink stay as they are.
    pub fn framing(&self) -> Framing {
        if self.part(self.clean) >= MOST && 2 * self.framed > self.looked_at {
            Framing::Whole
        } else {
            Framing::Ink
        }
    }

    fn part(&self, of: usize) -> f32 {
        of as f32 / self.looked_at.max(1) as f32
    }

    /// What was seen, for people: for example `48 of 50 look like dark ink on plain paper`.
    pub fn explain(&self) -> String {
        let ink = if self.has_light_ink() {
            "light"
        } else {
            "dark"
        };
        let paper = if self.has_light_ink() {
            "a plain dark ground"
        } else {
            "plain paper"
        };
        let of = if self.looked_at < self.pictures {
            format!("{} looked at", self.looked_at)
        } else {
            self.pictures.to_string()
        };
        format!("{} of {of} look like {ink} ink on {paper}", self.drawings)
    }
}
