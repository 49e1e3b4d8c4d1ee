//! Reading the files of a set.

use std::path::Path;

use super::decode::decode;
use super::raster::{Raster, to_byte, whole};
use super::survey::{Evidence, SURVEYED, Survey};
use super::{Colour, PictureKind, PictureOptions, Preparation, Recipe};
use crate::data::limits::{Limits, read_file};
use crate::error::{Error, Result};
use crate::image_shape::ImageShape;

const READ: &str = "read_pictures";
/// Pictures are averaged down to a short side of so many pixels, or twice the wanted side, before anything else.
const WORKING: usize = 384;

/// The pictures of a set as inputs.
#[derive(Debug)]
pub struct Pictures {
    /// The shape of each.
    pub shape: ImageShape,
    /// How they were prepared.
    pub preparation: Preparation,
    /// What was seen in them.
    pub survey: Survey,
    /// Each as `[channels, height, width]` bytes, in the order of the paths, or why it cannot be read.
    pub images: Vec<Result<Vec<u8>>>,
}

impl Pictures {
    /// The images as values from 0 to 1, the inputs of a network.
    pub fn into_values(self) -> Vec<Result<Vec<f32>>> {
        let values = |bytes: Vec<u8>| {
            let bytes = bytes.into_iter();
            bytes.map(|byte| f32::from(byte) / 255.0).collect()
        };
        let images = self.images.into_iter();
        images.map(|image| image.map(values)).collect()
    }
}

/// Reads files as one set: what kind of pictures they are, whether ink is dark or light, and whether there are colours is
/// decided for all of them together, by looking at up to 256 spread evenly.
///
/// ```no_run
/// use forgeling::data::{PictureOptions, read_pictures};
/// # fn main() -> forgeling::Result<()> {
/// let pictures = read_pictures(&["one.jpg", "two.jpg"], &PictureOptions::default())?;
/// println!("{} ({})", pictures.preparation.kind, pictures.survey.explain());
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// When the size or the number of pictures is out of range. What is wrong with a file stands in its place.
pub fn read<P: AsRef<Path> + Sync>(paths: &[P], options: &PictureOptions) -> Result<Pictures> {
    let limits = &options.limits;
    let size = options.size as u64;
    let most = size.saturating_mul(size).saturating_mul(3);
    if size == 0 || most > limits.pixels {
        return Err(Error::invalid(READ, "images cannot have this size")
            .expected(format!("1 or more, and at most {} values", limits.pixels))
            .got(size));
    }
    let side = WORKING.max(2 * options.size);
    let upright = |path: &P| -> Result<Raster> {
        let path = path.as_ref();
        let bytes = read_file(READ, path, limits)?;
        decode(READ, &bytes, side, limits).map_err(|error| error.path(path))
    };
    let count = paths.len().min(SURVEYED);
    let looked_at: Vec<usize> = (0..count).map(|i| i * paths.len() / count).collect();
    let about_ink = options.kind != Some(PictureKind::Pictures);
    let seen = each(&looked_at, |&index| {
        let raster = upright(&paths[index])?;
        let evidence = Evidence::of(&raster, about_ink);
        Ok((raster, evidence))
    });
    let evidence: Vec<&Evidence> = seen.iter().flatten().map(|(_, seen)| seen).collect();
    let survey = Survey::of(paths.len(), &evidence);
    let recipe = recipe(options, &survey);
    let bytes = (recipe.shape.len() as u64).saturating_mul(paths.len() as u64);
    if bytes > limits.total_bytes {
        return Err(Error::bad_data(READ, "there is too much data")
            .expected(format!("at most {} bytes in all", limits.total_bytes))
            .got(format!("{} pictures of {}", paths.len(), recipe.shape)));
    }

    let mut at_hand: Vec<Option<Result<Raster>>> = paths.iter().map(|_| None).collect();
    for (index, seen) in looked_at.into_iter().zip(seen) {
        at_hand[index] = Some(seen.map(|(raster, _)| raster));
    }
    let places: Vec<_> = paths.iter().zip(at_hand).collect();
    let images = each(places, |(path, raster)| {
        let raster = raster.unwrap_or_else(|| upright(path))?;
        Ok(recipe.prepare(&raster))
    });
    Ok(Pictures {
        shape: recipe.shape,
        preparation: Preparation {
            kind: recipe.kind,
            fit: options.fit,
            framing: (recipe.kind == PictureKind::Drawings).then_some(recipe.framing),
        },
        survey,
        images,
    })
}

fn recipe(options: &PictureOptions, survey: &Survey) -> Recipe {
    let kind = options.kind.unwrap_or_else(|| survey.kind());
    let colour = options.colour.unwrap_or(match kind {
        PictureKind::Pictures if survey.has_colours() => Colour::Rgb,
        _ => Colour::Grey,
    });
    Recipe {
        shape: ImageShape::new(colour.channels(), options.size, options.size),
        kind,
        fit: options.fit,
        framing: options.framing.unwrap_or_else(|| survey.framing()),
        light_ink: survey.has_light_ink(),
    }
}

/// A scan of dark ink on white paper, stretched to `size` × `size` bytes where ink is 255.
pub(in crate::data) fn scan(
    operation: &'static str,
    bytes: &[u8],
    size: usize,
    limits: &Limits,
) -> Result<Vec<u8>> {
    const WHITE: u32 = 255;
    let raster = decode(operation, bytes, WORKING.max(2 * size), limits)?;
    let shape = ImageShape::new(1, size, size);
    let light = raster.resample(whole(raster.width, raster.height), shape, WHITE);
    Ok(light
        .into_iter()
        .map(|light| to_byte(255.0 - light))
        .collect())
}

/// What `make` makes of each item, on all cores.
#[cfg(feature = "rayon")]
fn each<I, T: Send>(items: I, make: impl Fn(I::Item) -> T + Sync + Send) -> Vec<T>
where
    I: rayon::iter::IntoParallelIterator,
    I::Iter: rayon::iter::IndexedParallelIterator,
{
    use rayon::iter::ParallelIterator as _;
    items.into_par_iter().map(make).collect()
}

/// What `make` makes of each item.
#[cfg(not(feature = "rayon"))]
fn each<I: IntoIterator, T>(items: I, make: impl Fn(I::Item) -> T) -> Vec<T> {
    items.into_iter().map(make).collect()
}
