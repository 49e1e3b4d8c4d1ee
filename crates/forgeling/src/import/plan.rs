//! Which tensor of a file goes where in a network.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::key_map::Origin;
use super::{KeyMap, WeightFile, WeightFormat, key_maps, shown};
use crate::data::{Fit, ImageShape, PictureKind, Preparation};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::nn::Network;
use crate::nn::catalog::{Entry, ModelConfig};
use crate::nn::graph::{Graph, Layer};
use crate::train::{ModelCard, SavedNetwork, TrainingHistory, weights};

const OPERATION: &str = "import_weights";
/// A count of batches that PyTorch keeps beside running statistics and nothing reads.
const COUNTER: &str = "num_batches_tracked";
/// Classes of ImageNet, of a file without a head.
const IMAGENET: usize = 1000;

/// What becomes of the last layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Head {
    /// It comes from the file. The default.
    #[default]
    Published,
    /// It begins untrained, whatever the file has.
    New,
}

/// What weights are wanted for.
#[derive(Debug, Clone, PartialEq)]
pub struct ImportConfig {
    /// The network's name in the [catalog](crate::nn::catalog).
    pub model: String,
    /// The images that it takes; those that it was published for by default.
    pub input: Option<ImageShape>,
    /// Options of the network beyond those that the published weights need.
    pub options: BTreeMap<String, usize>,
    /// The name of each class; numbers from 0 by default, as many as the file's head has.
    pub classes: Option<Vec<String>>,
    /// What becomes of the last layer.
    pub head: Head,
    /// Where the weights are from, for the model's card.
    pub source: Option<String>,
    /// Under what licence they are, for the model's card.
    pub license: Option<String>,
}

impl ImportConfig {
    /// Of the network of this name, with nothing else said.
    pub fn new(model: &str) -> Self {
        Self {
            model: model.into(),
            input: None,
            options: BTreeMap::new(),
            classes: None,
            head: Head::default(),
            source: None,
            license: None,
        }
    }
}

/// A tensor of the file that is not as the network needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    /// Its name in the file.
    pub name: String,
    /// What the network needs.
    pub expected: String,
    /// What the file has.
    pub got: String,
}

/// Which tensors of a file become which values of a network, and what of both is left over.
#[derive(Debug, Clone)]
pub struct ImportPlan {
    /// The names that the file has.
    pub map: &'static KeyMap,
    /// The kind of the file.
    pub format: WeightFormat,
    /// The network.
    pub graph: Graph,
    /// The name of each class.
    pub classes: Vec<String>,
    /// What the network needs and the file has not, by the file's names.
    pub missing: Vec<String>,
    /// What the file has and the network does not need.
    pub unexpected: Vec<String>,
    /// What has another shape than the network needs, or holds no floats.
    pub misfits: Vec<Misfit>,
    /// Values of the network that stay untrained.
    pub untrained: Vec<String>,
    config: ImportConfig,
    /// By our names.
    origins: BTreeMap<String, Origin>,
}

impl ImportPlan {
    /// Plans to take a network from a file. Problems with single tensors are in the plan; see [`check`](Self::check).
    ///
    /// # Errors
    /// When there is no such network, when no publisher's names are known for it, and when options or input do not suit it.
    pub fn new(file: &WeightFile<'_>, config: &ImportConfig) -> Result<Self> {
        let names: BTreeSet<&str> = file.names().collect();
        let shapes: HashMap<&str, &[usize]> = file.shapes().collect();
        if config.head == Head::New && config.classes.is_none() {
            return Err(Error::invalid(
                OPERATION,
                "a new head needs the names of its classes",
            ));
        }
        let (map, graph) = best_map(&names, config)?;
        let head = head_of(map, &graph);
        let outputs = head.as_ref().and_then(|(weight, _)| {
            let shape = shapes.get(weight.name.as_str())?;
            shape.first().copied().filter(|outputs| *outputs > 0)
        });
        let count = match &config.classes {
            Some(classes) => classes.len(),
            None => outputs.unwrap_or(IMAGENET),
        };
        // Before the names: an empty tensor can claim any number of rows.
        let graph = graph_of(map, config, count)?;
        let numbered = || (0..count).map(|class| class.to_string()).collect();
        let classes = config.classes.clone().unwrap_or_else(numbered);
        let head = head.map(|(_, node)| format!("{node}."));
        let mut plan = Self {
            map,
            format: file.format(),
            classes,
            missing: Vec::new(),
            unexpected: Vec::new(),
            misfits: Vec::new(),
            untrained: Vec::new(),
            config: config.clone(),
            origins: BTreeMap::new(),
            graph,
        };
        let mut used = BTreeSet::new();
        for (ours, origin) in origins(map, &plan.graph) {
            let Some(origin) = origin else {
                plan.missing.push(ours);
                continue;
            };
            used.insert(origin.name.clone());
            let of_head = head.as_ref().is_some_and(|head| ours.starts_with(head));
            if of_head && config.head == Head::New {
                plan.untrained.push(ours);
                continue;
            }
            // Queries, keys and values may be one tensor of theirs.
            let known = plan.missing.contains(&origin.name)
                || plan.misfits.iter().any(|misfit| misfit.name == origin.name);
            match file
                .tensors
                .iter()
                .find(|tensor| tensor.name == origin.name)
            {
                _ if known => {}
                None => plan.missing.push(origin.name),
                Some(tensor) if tensor.shape != origin.shape => plan.misfits.push(Misfit {
                    expected: format!("{:?}", origin.shape),
                    got: format!("{:?}", tensor.shape),
                    name: origin.name,
                }),
                Some(tensor) if !tensor.is_float() => plan.misfits.push(Misfit {
                    name: origin.name,
                    expected: "floats".into(),
                    got: "whole numbers".into(),
                }),
                Some(_) => {
                    plan.origins.insert(ours, origin);
                }
            }
        }
        let is_counter = |name: &str| name.rsplit('.').next() == Some(COUNTER);
        let left_over = names
            .iter()
            .filter(|name| !used.contains(**name) && !is_counter(name));
        plan.unexpected = left_over.map(|name| (*name).to_owned()).collect();
        Ok(plan)
    }

    /// How many tensors of the file are taken.
    pub fn taken(&self) -> usize {
        let names: BTreeSet<&str> = self
            .origins
            .values()
            .map(|origin| origin.name.as_str())
            .collect();
        names.len()
    }

    /// What is taken: the name in the network, and the one in the file.
    pub fn moves(&self) -> impl Iterator<Item = (&str, &str)> {
        let moves = self.origins.iter();
        moves.map(|(ours, origin)| (ours.as_str(), origin.name.as_str()))
    }

    /// Whether everything fits.
    ///
    /// # Errors
    /// When something is missing, unexpected or of another shape; the error names all of it.
    pub fn check(&self) -> Result<()> {
        let misfits = self.misfits.iter().map(|misfit| {
            let Misfit {
                name,
                expected,
                got,
            } = misfit;
            format!(
                "{} (expected {expected}, got {got})",
                shown(name.as_bytes())
            )
        });
        let misfits: Vec<String> = misfits.collect();
        let unexpected = self.unexpected.iter().map(|name| shown(name.as_bytes()));
        let unexpected: Vec<String> = unexpected.collect();
        let problems: Vec<String> = [
            ("missing", &self.missing),
            ("unexpected", &unexpected),
            ("of another shape", &misfits),
        ]
        .into_iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(what, names)| format!("{} {what}: {}", names.len(), names.join(", ")))
        .collect();
        if problems.is_empty() {
            return Ok(());
        }
        let head = head_of(self.map, &self.graph).map(|(weight, _)| weight.name);
        let of_head = |misfit: &Misfit| head.as_ref() == Some(&misfit.name);
        let hint = match self.misfits.iter().any(of_head) {
            true => {
                "; the file's head is for other classes, and a new one can be left untrained in its place"
            }
            false => "",
        };
        let message = format!(
            "the weights do not fit {} by {}'s names: {}{hint}",
            self.config.model,
            self.map.publisher,
            problems.join("; ")
        );
        Err(Error::bad_data(OPERATION, message))
    }

    /// The network with the file's weights, as a model file holds it. What stays untrained is drawn by `seed`.
    ///
    /// # Errors
    /// As [`check`](Self::check); when `file` is not the one that was planned with, when a weight is not finite, and when
    /// the device fails.
    pub async fn apply(
        &self,
        file: &WeightFile<'_>,
        seed: u64,
        device: &Device,
    ) -> Result<SavedNetwork> {
        self.check()?;
        let network = Network::new(&self.graph, seed, device);
        let mut tensors = weights::collect(&network).await?;
        for tensor in &mut tensors {
            let Some(origin) = self.origins.get(&tensor.name) else {
                continue;
            };
            let found = file
                .tensors
                .iter()
                .find(|stored| stored.name == origin.name);
            let found = found.filter(|stored| stored.shape == origin.shape && stored.is_float());
            let found = found.ok_or_else(|| {
                let message = "the file is not the one that was planned with";
                Error::invalid(OPERATION, message).expected(&origin.name)
            })?;
            tensor.values = origin.values(found.values());
        }
        Ok(SavedNetwork {
            model: self.config.model.clone(),
            classes: self.classes.clone(),
            pictures: Some(Preparation {
                kind: PictureKind::Pictures,
                fit: Fit::Crop,
                framing: None,
            }),
            sounds: None,
            normalization: Some(self.map.normalization()),
            card: ModelCard {
                resampling: Some(self.map.resampling),
                source: self.config.source.clone(),
                license: self.config.license.clone(),
            },
            history: TrainingHistory::default(),
            confidence: None,
            storage: Default::default(),
            network: weights::load(network, tensors)?,
        })
    }
}

/// The names of classes in a text, one on each line. Lines that are empty are left out; two classes may have one name, as in
/// ImageNet.
///
/// # Errors
/// When there is no name.
pub fn class_names(text: &str) -> Result<Vec<String>> {
    let names = text.lines().map(str::trim).filter(|name| !name.is_empty());
    let names: Vec<String> = names.map(str::to_owned).collect();
    if names.is_empty() {
        return Err(Error::bad_data(OPERATION, "no names of classes").expected("one on each line"));
    }
    Ok(names)
}

/// The map of which most names are in the file, and the network with as many classes as ImageNet.
fn best_map(names: &BTreeSet<&str>, config: &ImportConfig) -> Result<(&'static KeyMap, Graph)> {
    let model = Entry::find(&config.model)?.name;
    let mut best: Option<(usize, &'static KeyMap, Graph)> = None;
    for map in key_maps().filter(|map| map.model == model) {
        let graph = graph_of(map, config, IMAGENET)?;
        let found = origins(map, &graph)
            .filter(|(_, origin)| {
                let name = origin.as_ref().map(|origin| origin.name.as_str());
                name.is_some_and(|name| names.contains(name))
            })
            .count();
        if best.as_ref().is_none_or(|(most, ..)| found > *most) {
            best = Some((found, map, graph));
        }
    }
    best.map(|(_, map, graph)| (map, graph)).ok_or_else(|| {
        let known: BTreeSet<&str> = key_maps().map(|map| map.model).collect();
        let known: Vec<&str> = known.into_iter().collect();
        Error::invalid(OPERATION, "no published weights are known for this network")
            .expected(known.join(", "))
            .got(format!("'{model}'"))
    })
}

fn graph_of(map: &KeyMap, config: &ImportConfig, classes: usize) -> Result<Graph> {
    let mut options = config.options.clone();
    for (name, value) in map.options {
        options.entry((*name).into()).or_insert(*value);
    }
    let config = ModelConfig {
        model: config.model.clone(),
        input: config.input.unwrap_or(map.input),
        classes,
        options,
    };
    config.graph()
}

/// The values of a network by name, each with where it comes from.
fn origins(map: &KeyMap, graph: &Graph) -> impl Iterator<Item = (String, Option<Origin>)> {
    graph
        .nodes()
        .iter()
        .enumerate()
        .flat_map(move |(place, node)| {
            let parameters = graph.parameters(place).into_iter();
            parameters.map(move |parameter| {
                let ours = format!("{}.{}", node.name, parameter.field);
                (ours, map.origin(node, &parameter))
            })
        })
}

/// Where the weight of the last layer comes from, if it is one of neurons, and the layer's name.
fn head_of(map: &KeyMap, graph: &Graph) -> Option<(Origin, String)> {
    let place = graph.output();
    let node = &graph.nodes()[place];
    if !matches!(node.layer, Layer::Linear(_)) {
        return None;
    }
    let parameters = graph.parameters(place);
    let weight = parameters
        .iter()
        .find(|parameter| parameter.field == "weight")?;
    Some((map.origin(node, weight)?, node.name.clone()))
}
