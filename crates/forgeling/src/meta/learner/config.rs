//! Which method learns, on which network.

use serde::{Deserialize, Serialize};

use crate::data::Standardization;
use crate::error::{Error, Result};
use crate::meta::functional::Program;
use crate::meta::gradient::{
    AdaptedPart, FoBMamlConfig, IMamlConfig, InnerConfig, MamlConfig, MamlPlusPlusConfig, Order,
    ReptileConfig,
};
use crate::meta::{Distance, Relation};
use crate::nn::graph::{Graph, Layer, Shape};

const OPERATION: &str = "learner_config";

/// The methods by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// [`Prototypes`](crate::meta::Prototypes): distances to the classes' means.
    ProtoNet,
    /// [`Matching`](crate::meta::Matching): attention over the support.
    Matching,
    /// [`Relation`](crate::meta::Relation): a network that compares.
    Relation,
    /// [`Ridge`](crate::meta::Ridge): ridge regression in closed form.
    R2d2,
    /// [`SimpleShot`](crate::meta::SimpleShot): a plain classifier's features, centered and normalized.
    SimpleShot,
    /// [`Maml`](crate::meta::gradient::Maml) of exact second order.
    Maml,
    /// [`Maml`](crate::meta::gradient::Maml) of first order.
    FoMaml,
    /// [`Maml`](crate::meta::gradient::Maml) of the last layer.
    Anil,
    /// [`Reptile`](crate::meta::gradient::Reptile).
    Reptile,
    /// [`MetaSgd`](crate::meta::gradient::MetaSgd): learned rates.
    MetaSgd,
    /// [`MamlPlusPlus`](crate::meta::gradient::MamlPlusPlus).
    MamlPP,
    /// [`IMaml`](crate::meta::gradient::IMaml): implicit gradients.
    IMaml,
    /// [`FoBMaml`](crate::meta::gradient::FoBMaml): implicit gradients of first order.
    FoBMaml,
}

impl Method {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::ProtoNet,
        Self::Matching,
        Self::Relation,
        Self::R2d2,
        Self::SimpleShot,
        Self::Maml,
        Self::FoMaml,
        Self::Anil,
        Self::Reptile,
        Self::MetaSgd,
        Self::MamlPP,
        Self::IMaml,
        Self::FoBMaml,
    ];

    /// The name in JSON, model files and on command lines.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ProtoNet => "protonet",
            Self::Matching => "matching",
            Self::Relation => "relation",
            Self::R2d2 => "r2d2",
            Self::SimpleShot => "simpleshot",
            Self::Maml => "maml",
            Self::FoMaml => "fomaml",
            Self::Anil => "anil",
            Self::Reptile => "reptile",
            Self::MetaSgd => "metasgd",
            Self::MamlPP => "mamlpp",
            Self::IMaml => "imaml",
            Self::FoBMaml => "fobmaml",
        }
    }

    /// Whether parameters are adapted to a task by gradients.
    pub const fn adapts(self) -> bool {
        !matches!(
            self,
            Self::ProtoNet | Self::Matching | Self::Relation | Self::R2d2 | Self::SimpleShot
        )
    }
}

impl std::fmt::Display for Method {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Method {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let named = Self::ALL.into_iter().find(|method| method.name() == text);
        named.ok_or_else(|| {
            Error::invalid("parse_method", "unknown method")
                .expected(Self::ALL.map(Self::name).join(", "))
                .got(format!("'{text}'"))
        })
    }
}

/// A method with its settings.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "lowercase", deny_unknown_fields)]
pub enum MethodConfig {
    /// Prototypes.
    ProtoNet {
        /// Between a query and a prototype. Default squared and Euclidean.
        #[serde(default)]
        distance: Distance,
    },
    /// Attention.
    Matching,
    /// A network that compares.
    Relation,
    /// Ridge regression.
    R2d2,
    /// Nearest centroids of a classifier's features.
    SimpleShot {
        /// Classes of the set that the classifier is trained on.
        classes: usize,
    },
    /// MAML, FOMAML or ANIL.
    Maml(MamlConfig),
    /// Reptile.
    Reptile(ReptileConfig),
    /// Learned rates.
    MetaSgd(InnerConfig),
    /// MAML++.
    MamlPP(MamlPlusPlusConfig),
    /// Implicit gradients.
    IMaml(IMamlConfig),
    /// Implicit gradients of first order.
    FoBMaml(FoBMamlConfig),
}

impl MethodConfig {
    /// A method with its default settings. `classes` are those of the training set, for the methods that ask.
    pub fn of(method: Method, classes: usize) -> Self {
        let maml = |order, part| {
            Self::Maml(MamlConfig {
                order,
                part,
                ..Default::default()
            })
        };
        match method {
            Method::ProtoNet => Self::ProtoNet {
                distance: Distance::default(),
            },
            Method::Matching => Self::Matching,
            Method::Relation => Self::Relation,
            Method::R2d2 => Self::R2d2,
            Method::SimpleShot => Self::SimpleShot { classes },
            Method::Maml => maml(Order::Second, AdaptedPart::All),
            Method::FoMaml => maml(Order::First, AdaptedPart::All),
            Method::Anil => maml(Order::Second, AdaptedPart::Head),
            Method::Reptile => Self::Reptile(ReptileConfig::default()),
            Method::MetaSgd => Self::MetaSgd(InnerConfig::default()),
            Method::MamlPP => Self::MamlPP(MamlPlusPlusConfig::default()),
            Method::IMaml => Self::IMaml(IMamlConfig::default()),
            Method::FoBMaml => Self::FoBMaml(FoBMamlConfig::default()),
        }
    }

    /// Which method it is.
    pub fn method(&self) -> Method {
        match self {
            Self::ProtoNet { .. } => Method::ProtoNet,
            Self::Matching => Method::Matching,
            Self::Relation => Method::Relation,
            Self::R2d2 => Method::R2d2,
            Self::SimpleShot { .. } => Method::SimpleShot,
            Self::Maml(MamlConfig { order, part, .. }) => match (part, order) {
                (AdaptedPart::Head, _) => Method::Anil,
                (AdaptedPart::All, Order::First) => Method::FoMaml,
                (AdaptedPart::All, Order::Second) => Method::Maml,
            },
            Self::Reptile(_) => Method::Reptile,
            Self::MetaSgd(_) => Method::MetaSgd,
            Self::MamlPP(_) => Method::MamlPP,
            Self::IMaml(_) => Method::IMaml,
            Self::FoBMaml(_) => Method::FoBMaml,
        }
    }

    /// The inner steps, where a method takes some.
    pub fn inner_mut(&mut self) -> Option<&mut InnerConfig> {
        match self {
            Self::Maml(config) => Some(&mut config.inner),
            Self::Reptile(config) => Some(&mut config.inner),
            Self::MetaSgd(inner) => Some(inner),
            Self::MamlPP(config) => Some(&mut config.inner),
            Self::IMaml(config) => Some(&mut config.inner),
            Self::FoBMaml(config) => Some(&mut config.inner),
            _ => None,
        }
    }
}

impl Default for MethodConfig {
    fn default() -> Self {
        Self::of(Method::ProtoNet, 0)
    }
}

/// The shape of a [`Learner`](super::Learner).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LearnerConfig {
    /// How it learns from a support.
    pub method: MethodConfig,
    /// The network. Methods that compare features take what makes them ([`Graph::encoder`]). Methods that adapt take it as it
    /// is if it ends in a layer of neurons, whose outputs are then the most classes of a task; otherwise a head for
    /// [`ways`](Self::ways) classes is added.
    pub network: Graph,
    /// Of the initial weights.
    #[serde(default)]
    pub seed: u64,
    /// The most classes of a task, for the methods whose network has an output for each. Default 5.
    #[serde(default = "usual_ways")]
    pub ways: usize,
    /// Whether in training batch norm normalizes the queries of a task with the statistics of all of them, as the papers
    /// on gradient learners do. Otherwise with those of the task's support, so that each query is answered by itself, as
    /// it is in use. Only for methods that adapt. Default `false`.
    #[serde(default)]
    pub transductive: bool,
    /// How the channels of images are standardised before the network sees them; `None`, the default, where they stay within
    /// 0 and 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub normalization: Option<Standardization>,
}

fn usual_ways() -> usize {
    5
}

impl LearnerConfig {
    /// A learner of this method on this network, with the seed 0, 5 ways, not transductive.
    pub fn new(method: MethodConfig, network: Graph) -> Self {
        Self {
            method,
            network,
            seed: 0,
            ways: usual_ways(),
            transductive: false,
            normalization: None,
        }
    }

    /// What of the network the method takes, with a head where one belongs to it.
    ///
    /// # Errors
    /// When the ways are out of range.
    pub fn graph(&self) -> Result<Graph> {
        if !self.method.method().adapts() {
            return Ok(self.network.encoder());
        }
        match self.network.nodes()[self.network.output()].layer {
            Layer::Linear(_) => Ok(self.network.clone()),
            _ => self.network.with_outputs(self.ways),
        }
    }

    /// Checks every size.
    ///
    /// # Errors
    /// When one is zero or beyond reason, when the method cannot adapt the network (the error names the layer), and when images
    /// cannot be standardised as it says.
    pub fn validate(&self) -> Result<()> {
        /// More than any of these methods is made for.
        const MOST_WAYS: usize = 1 << 16;
        let counts = match self.method {
            MethodConfig::SimpleShot { classes } => [("ways", self.ways), ("classes", classes)],
            _ => [("ways", self.ways); 2],
        };
        for (name, count) in counts {
            if !(1..=MOST_WAYS).contains(&count) {
                return Err(Error::invalid(OPERATION, format!("{name} is out of range"))
                    .expected(format!("1 to {MOST_WAYS}"))
                    .got(count));
            }
        }
        if let Some(inner) = self.method.clone().inner_mut() {
            inner.validate()?;
        }
        if let Some(constants) = &self.normalization {
            constants.check_channels(self.network.image_shape())?;
        }
        if self.method.method().adapts() {
            Program::new(&self.graph()?)?;
        }
        Ok(())
    }

    /// Whether queries that are answered one by one are normalized with running statistics. Otherwise it is with those of
    /// the support.
    pub fn keeps_running_statistics(&self) -> bool {
        let method = self.method.method();
        !method.adapts() || method == Method::MamlPP && self.transductive
    }

    /// How many features the network makes.
    pub fn features(&self) -> usize {
        self.network.features_shape().len()
    }

    /// What these are flattened from: `[channels, height, width]`.
    pub(crate) fn map(&self) -> [usize; 3] {
        match self.network.features_shape() {
            Shape::Maps(sizes) => sizes,
            other => [other.len(), 1, 1],
        }
    }

    /// Whether adapters have something to change.
    pub(crate) fn has_convolutions(&self) -> bool {
        let encoder = self.network.encoder();
        let mut nodes = encoder.nodes().iter();
        nodes.any(|node| matches!(node.layer, Layer::Conv2d(_)))
    }

    /// The least number of values that such a model holds.
    pub(super) fn least_values(&self) -> Result<u64> {
        let graph = self.graph()?;
        let features = self.features() as u64;
        let own = match &self.method {
            MethodConfig::SimpleShot { classes } => features.saturating_mul(*classes as u64),
            MethodConfig::Relation => {
                let map = self.map();
                Relation::value_count(map, map[0]).map_or(u64::MAX, |count| count as u64)
            }
            // Scale, shift and running statistics of each norm for each step.
            MethodConfig::MamlPP(maml) => {
                let nodes = 0..graph.nodes().len();
                let norms =
                    nodes.filter(|&node| matches!(graph.nodes()[node].layer, Layer::BatchNorm(_)));
                let channels: u64 = norms
                    .map(|node| graph.parameters(node)[0].len() as u64)
                    .sum();
                (4 * channels).saturating_mul(maml.inner.steps as u64)
            }
            _ => 0,
        };
        Ok(graph.counts().all().saturating_add(own))
    }
}
