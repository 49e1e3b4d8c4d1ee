//! Images in memory, grouped into classes.

use std::collections::{BTreeMap, BTreeSet};

use super::dataset::{Dataset, check_read};
use crate::error::{Error, Result};
use crate::image_shape::ImageShape;

#[derive(Debug, Clone)]
struct Class {
    name: String,
    group: Option<String>,
    /// One image after the other.
    pixels: Vec<u8>,
}

/// Images held as bytes (0 is paper, 255 is ink), grouped into named classes, which may in turn belong to
/// groups such as alphabets.
///
/// ```
/// use forgeling::data::{Dataset, ImageSet, ImageShape};
/// # fn main() -> forgeling::Result<()> {
/// let mut set = ImageSet::new(ImageShape::new(1, 2, 2))?;
/// let class = set.add_class("diagonal", None)?;
/// set.push(class, &[255, 0, 0, 255])?;
/// let mut image = [0.0; 4];
/// set.read(class, 0, &mut image)?;
/// assert_eq!(image, [1.0, 0.0, 0.0, 1.0]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct ImageSet {
    shape: ImageShape,
    classes: Vec<Class>,
    by_name: BTreeMap<String, usize>,
}

impl ImageSet {
    /// A set without classes, for images of `shape`.
    ///
    /// # Errors
    ///
    /// If an image of `shape` would have no value.
    pub fn new(shape: ImageShape) -> Result<Self> {
        if shape.is_empty() {
            return Err(
                Error::invalid("new_image_set", "an image without a pixel holds nothing")
                    .expected("channels, height and width of 1 or more")
                    .got(shape),
            );
        }
        Ok(Self {
            shape,
            classes: Vec::new(),
            by_name: BTreeMap::new(),
        })
    }

    /// One class per different name, in order of first appearance; `pixels` holds one image after the other,
    /// each `[channels, height, width]` with values in `0..=1`, and `names` the class of each.
    ///
    /// # Errors
    ///
    /// If `pixels` does not hold exactly `names.len()` images, or a value lies outside `0..=1`.
    pub fn from_f32<S: AsRef<str>>(shape: ImageShape, names: &[S], pixels: &[f32]) -> Result<Self> {
        let operation = "image_set_from_f32";
        let mut set = Self::new(shape)?;
        if names.len().checked_mul(shape.len()) != Some(pixels.len()) {
            return Err(
                Error::invalid(operation, "there must be one name for each image")
                    .expected(format!("{} images of {} values", names.len(), shape.len()))
                    .got(format!("{} values", pixels.len())),
            );
        }
        let mut bytes = vec![0; shape.len()];
        for (index, (name, image)) in names.iter().zip(pixels.chunks(shape.len())).enumerate() {
            for (byte, &value) in bytes.iter_mut().zip(image) {
                if !(0.0..=1.0).contains(&value) {
                    let message = format!("image {index} has a value out of range");
                    return Err(Error::bad_data(operation, message)
                        .expected("0 to 1")
                        .got(value));
                }
                *byte = (value * 255.0).round() as u8;
            }
            let name = name.as_ref();
            let class = match set.class_index(name) {
                Some(class) => class,
                None => set.add_class(name, None)?,
            };
            set.push(class, &bytes)?;
        }
        Ok(set)
    }

    /// Adds a class without images and returns its index.
    ///
    /// # Errors
    ///
    /// If there is a class of this name.
    pub fn add_class(&mut self, name: impl Into<String>, group: Option<&str>) -> Result<usize> {
        let name = name.into();
        if self.by_name.contains_key(&name) {
            let message = format!("there is a class {name} already");
            return Err(Error::invalid("add_class", message));
        }
        let class = self.classes.len();
        self.by_name.insert(name.clone(), class);
        self.classes.push(Class {
            name,
            group: group.map(str::to_owned),
            pixels: Vec::new(),
        });
        Ok(class)
    }

    /// Adds an image, `[channels, height, width]` bytes, to `class`.
    ///
    /// # Errors
    ///
    /// If there is no such class or the image has another length.
    pub fn push(&mut self, class: usize, pixels: &[u8]) -> Result<()> {
        let operation = "push_image";
        let (shape, count) = (self.shape, self.classes.len());
        if pixels.len() != shape.len() {
            return Err(Error::invalid(operation, "the image has the wrong length")
                .expected(format!("{} bytes for {shape}", shape.len()))
                .got(pixels.len()));
        }
        let class = self.classes.get_mut(class).ok_or_else(|| {
            Error::invalid(operation, "there is no such class")
                .expected(format!("a class below {count}"))
                .got(class)
        })?;
        class.pixels.extend_from_slice(pixels);
        Ok(())
    }

    /// The index of the class called `name`.
    pub fn class_index(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// The group `class` belongs to.
    pub fn class_group(&self, class: usize) -> Option<&str> {
        self.classes.get(class)?.group.as_deref()
    }

    /// The bytes of one image.
    pub fn image(&self, class: usize, example: usize) -> Option<&[u8]> {
        self.classes
            .get(class)?
            .pixels
            .chunks_exact(self.shape.len())
            .nth(example)
    }

    /// How many images there are in all.
    pub fn image_count(&self) -> usize {
        (0..self.classes.len())
            .map(|class| self.class_len(class))
            .sum()
    }

    /// The names of all groups, sorted.
    pub fn groups(&self) -> Vec<&str> {
        let groups: BTreeSet<_> = self
            .classes
            .iter()
            .filter_map(|class| class.group.as_deref())
            .collect();
        groups.into_iter().collect()
    }

    /// A copy without the classes whose group `other` has, too: what is left to train on when `other` is the
    /// held-out test. Classes without a group stay.
    #[must_use]
    pub fn without_groups_of(&self, other: &Self) -> Self {
        let held_out = other.groups();
        let classes: Vec<_> = self
            .classes
            .iter()
            .filter(|class| {
                class
                    .group
                    .as_deref()
                    .is_none_or(|group| held_out.binary_search(&group).is_err())
            })
            .cloned()
            .collect();
        let by_name = classes
            .iter()
            .enumerate()
            .map(|(index, class)| (class.name.clone(), index))
            .collect();
        Self {
            shape: self.shape,
            classes,
            by_name,
        }
    }
}

impl Dataset for ImageSet {
    fn class_count(&self) -> usize {
        self.classes.len()
    }

    fn class_name(&self, class: usize) -> String {
        match self.classes.get(class) {
            Some(class) => class.name.clone(),
            None => format!("class {class}"),
        }
    }

    fn class_len(&self, class: usize) -> usize {
        self.classes
            .get(class)
            .map_or(0, |class| class.pixels.len() / self.shape.len())
    }

    fn image_shape(&self) -> ImageShape {
        self.shape
    }

    fn read(&self, class: usize, example: usize, out: &mut [f32]) -> Result<()> {
        check_read(self, class, example, out)?;
        let bytes = self.image(class, example).unwrap_or_default();
        for (value, &byte) in out.iter_mut().zip(bytes) {
            *value = f32::from(byte) / 255.0;
        }
        Ok(())
    }
}
