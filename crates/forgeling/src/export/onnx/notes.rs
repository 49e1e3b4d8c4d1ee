//! What an exported network says of itself to who runs it.

use serde_json::json;

use super::{OnnxValue, failed};
use crate::data::{Preparation, SoundPreparation, Standardization};
use crate::error::Result;
use crate::nn::graph::{Graph, Shape};
use crate::train::{ModelCard, SavedNetwork};

/// What is known of a network besides its graph. It goes into the file as text for people and as metadata for programs:
/// `model` and, where they are known, `classes`, `mean`, `deviation`, `pictures`, `sounds`, `resampling`, `source` and
/// `license`, and `input`, the sizes of an example. `model`, `resampling`, `source` and `license` are texts, the others JSON.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct OnnxNotes {
    /// What it is called.
    pub model: String,
    /// The name of each class, which the outputs are then logits of; none of an encoder.
    pub classes: Vec<String>,
    /// How the channels of its images are standardised before the network sees them; `None` where they stay within 0 and 1.
    pub normalization: Option<Standardization>,
    /// How pictures become its inputs, where that is known.
    pub pictures: Option<Preparation>,
    /// How sounds become its inputs, if it was trained on sounds.
    pub sounds: Option<SoundPreparation>,
    /// Where it is from.
    pub card: ModelCard,
}

impl From<&SavedNetwork> for OnnxNotes {
    fn from(saved: &SavedNetwork) -> Self {
        Self {
            model: saved.model.clone(),
            classes: saved.classes.clone(),
            normalization: saved.normalization.clone(),
            pictures: saved.pictures,
            sounds: saved.sounds,
            card: saved.card.clone(),
        }
    }
}

impl OnnxNotes {
    /// Whether they are of this network.
    pub(super) fn check(&self, graph: &Graph) -> Result<()> {
        let outputs = graph.output_shape().len();
        if !self.classes.is_empty() && self.classes.len() != outputs {
            return Err(failed("there is not one name for each class")
                .expected(format!("{outputs} names"))
                .got(self.classes.len()));
        }
        match &self.normalization {
            Some(constants) => constants.check_channels(graph.image_shape()),
            None => Ok(()),
        }
    }

    pub(super) fn input(&self, shape: Shape) -> OnnxValue {
        let name = match shape {
            Shape::Maps(_) if self.sounds.is_some() => "spectrograms",
            Shape::Maps(_) => "images",
            Shape::Tokens(_) => "tokens",
            Shape::Values(_) => "values",
        };
        OnnxValue {
            name: name.into(),
            sizes: shape.sizes(),
        }
    }

    pub(super) fn output(&self, shape: Shape) -> OnnxValue {
        let name = match self.classes.is_empty() {
            true => "features",
            false => "logits",
        };
        OnnxValue {
            name: name.into(),
            sizes: shape.sizes(),
        }
    }

    /// For people.
    pub(super) fn text(&self, input: &OnnxValue, output: &OnnxValue) -> String {
        let mut text = format!("{input}: ");
        text += match &input.name[..] {
            "images" => "channels before rows and columns, values from 0 to 1",
            "spectrograms" => "log-mel spectrograms as the metadata's sounds say",
            _ => "as the network was trained on",
        };
        if let Some(Standardization { mean, deviation }) = &self.normalization {
            text += &format!(
                ", of which each channel has become (x - mean) / deviation, mean {mean:?} and deviation {deviation:?}"
            );
        }
        text += &format!(". {output}");
        if !self.classes.is_empty() {
            text += ": one for each of the metadata's classes, whose probabilities are the softmax";
        }
        text + "."
    }

    /// For programs.
    pub(super) fn metadata(&self, graph: &Graph) -> Vec<(&'static str, String)> {
        let mut all = vec![
            ("model", self.model.clone()),
            ("input", json!(graph.input().sizes()).to_string()),
        ];
        let mut add = |key, value: Option<String>| all.extend(value.map(|value| (key, value)));
        let classes = (!self.classes.is_empty()).then_some(&self.classes);
        add("classes", classes.map(|names| json!(names).to_string()));
        let constants = self.normalization.as_ref();
        add("mean", constants.map(|all| json!(all.mean).to_string()));
        add(
            "deviation",
            constants.map(|all| json!(all.deviation).to_string()),
        );
        add("pictures", self.pictures.map(|all| json!(all).to_string()));
        add("sounds", self.sounds.map(|all| json!(all).to_string()));
        add(
            "resampling",
            self.card.resampling.map(|kind| kind.to_string()),
        );
        add("source", self.card.source.clone());
        add("license", self.card.license.clone());
        all
    }
}
