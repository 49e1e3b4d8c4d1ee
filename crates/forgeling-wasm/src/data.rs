//! Images in classes.

use std::sync::Arc;

use forgeling::Error;
use forgeling::data::{self, Dataset as _, Glyphs, ImageSet, ImageShape, Split};
use wasm_bindgen::prelude::*;

use crate::convert::{JsResult, failure};

/// Images in classes, from which episodes are drawn.
#[wasm_bindgen]
#[derive(Clone)]
pub struct Dataset(pub(crate) Arc<dyn data::Dataset>);

#[wasm_bindgen]
impl Dataset {
    /// Invented characters; `split` is `"train"` or `"test"`.
    pub fn glyphs(seed: u64, split: &str, classes: usize, size: usize) -> JsResult<Dataset> {
        let split = match split {
            "train" => Split::Train,
            "test" => Split::Test,
            other => {
                let error = Error::invalid("glyphs", "unknown split").expected("train or test");
                return Err(failure(error.got(format!("'{other}'"))));
            }
        };
        let glyphs = Glyphs::new(seed, split, classes).and_then(|glyphs| glyphs.with_size(size));
        Ok(Self(Arc::new(glyphs.map_err(failure)?)))
    }

    /// Images of the page's own: `names[i]` is the class of image `i`, `pixels` holds all images one after
    /// the other with values from 0 to 1.
    #[wasm_bindgen(js_name = fromImages)]
    pub fn from_images(
        names: Vec<String>,
        channels: usize,
        height: usize,
        width: usize,
        pixels: &[f32],
    ) -> JsResult<Dataset> {
        let shape = ImageShape::new(channels, height, width);
        let set = ImageSet::from_f32(shape, &names, pixels).map_err(failure)?;
        Ok(Self(Arc::new(set)))
    }

    /// Number of classes.
    #[wasm_bindgen(getter, js_name = classCount)]
    pub fn class_count(&self) -> usize {
        self.0.class_count()
    }

    /// Channels of every image.
    #[wasm_bindgen(getter)]
    pub fn channels(&self) -> usize {
        self.0.image_shape().channels
    }

    /// Height of every image in pixels.
    #[wasm_bindgen(getter)]
    pub fn height(&self) -> usize {
        self.0.image_shape().height
    }

    /// Width of every image in pixels.
    #[wasm_bindgen(getter)]
    pub fn width(&self) -> usize {
        self.0.image_shape().width
    }

    /// A class's name.
    #[wasm_bindgen(js_name = className)]
    pub fn class_name(&self, index: usize) -> String {
        self.0.class_name(index)
    }

    /// One image as channels × height × width values.
    pub fn image(&self, class: usize, example: usize) -> JsResult<Vec<f32>> {
        let mut pixels = vec![0.0; self.0.image_shape().len()];
        self.0.read(class, example, &mut pixels).map_err(failure)?;
        Ok(pixels)
    }
}
