//! The networks of all methods.

use burn::module::Module;
use burn::tensor::Tensor;

use super::config::{EncoderConfig, LearnerConfig, MethodConfig};
use crate::device::Device;
use crate::error::Result;
use crate::meta::functional::{Functional, Layer, Network, Weights};
use crate::meta::gradient::{
    Adapted, FoBMaml, GradientLearner, GradientMethod, IMaml, Learning, Maml, MamlPlusPlus,
    MetaLoss, MetaSgd, Reptile,
};
use crate::meta::{
    Embedded, FewShot, Matching, MetricHead, MetricLearner, Prototypes, Relation, Ridge,
    SimpleShot, Stack,
};
use crate::nn::{BatchStatistics, Conv4, Conv4Classifier, Mlp, Normalization, Pass};
use crate::ops::EpisodeCounts;
use crate::train::{Encoder, Outcome, Trainable};

/// Heads' weights are drawn from another seed than the encoder's.
const HEAD_STREAM: u64 = 2;

/// A few-shot network, whichever method it is of.
#[derive(Module, Debug)]
pub enum Model {
    /// An encoder with a head that compares.
    Metric(MetricLearner<Backbone, Head>),
    /// A classifier's features.
    SimpleShot(SimpleShot<Backbone>),
    /// A network that adapts.
    Gradient(GradientLearner<Adaptable, AnyGradientMethod>),
}

/// What makes features.
#[derive(Module, Debug)]
pub enum Backbone {
    /// Of images.
    Conv4(Conv4),
    /// Of rows of numbers.
    Mlp(Mlp),
}

/// How features are compared.
#[derive(Module, Debug)]
pub enum Head {
    /// With means.
    Prototypes(Prototypes),
    /// With each example.
    Matching(Matching),
    /// By a network.
    Relation(Relation),
    /// By ridge regression.
    Ridge(Ridge),
}

/// A network with an output for each class.
#[derive(Module, Debug)]
pub enum Adaptable {
    /// Of images.
    Conv4(Conv4Classifier),
    /// Of rows of numbers.
    Mlp(Mlp),
}

/// How a network adapts.
#[derive(Module, Debug)]
pub enum AnyGradientMethod {
    /// MAML, FOMAML, ANIL.
    Maml(Maml),
    /// Reptile.
    Reptile(Reptile),
    /// Learned rates.
    MetaSgd(MetaSgd),
    /// MAML++.
    MamlPlusPlus(MamlPlusPlus),
    /// Implicit gradients.
    IMaml(IMaml),
    /// Implicit gradients of first order.
    FoBMaml(FoBMaml),
}

/// The same call for whichever there is.
macro_rules! each {
    ($self:expr, $($kind:ident)|+, $model:ident => $call:expr) => {
        match $self {
            $(Self::$kind($model) => $call),+
        }
    };
}

impl Model {
    /// A model with weights drawn from the seed of its encoder.
    pub(super) fn new(config: &LearnerConfig, device: &Device) -> Result<Self> {
        config.validate()?;
        let device = &device.autodiff();
        let head = match config.method {
            MethodConfig::ProtoNet { distance } => {
                Head::Prototypes(Prototypes::new(distance, device))
            }
            MethodConfig::Matching => Head::Matching(Matching::new(device)),
            MethodConfig::R2d2 => Head::Ridge(Ridge::new(device)),
            MethodConfig::Relation => Head::Relation(relation(&config.encoder, device)?),
            MethodConfig::SimpleShot { classes } => {
                let encoder = Backbone::new(&config.encoder, device)?;
                let features = config.encoder.features();
                let seed = seed(&config.encoder) ^ HEAD_STREAM;
                let model = SimpleShot::new(encoder, features, classes, seed)?;
                return Ok(Self::SimpleShot(model));
            }
            _ => return gradient(config, device),
        };
        let encoder = Backbone::new(&config.encoder, device)?;
        Ok(Self::Metric(MetricLearner { encoder, head }))
    }

    /// The convolutional encoder, if there is one.
    pub fn conv4(&self) -> Option<&Conv4> {
        let backbone = match self {
            Self::Metric(model) => &model.encoder,
            Self::SimpleShot(model) => &model.encoder,
            Self::Gradient(model) => {
                return match &model.network {
                    Adaptable::Conv4(network) => Some(&network.encoder),
                    Adaptable::Mlp(_) => None,
                };
            }
        };
        match backbone {
            Backbone::Conv4(conv4) => Some(conv4),
            Backbone::Mlp(_) => None,
        }
    }
}

fn seed(encoder: &EncoderConfig) -> u64 {
    match encoder {
        EncoderConfig::Conv4(config) => config.seed,
        EncoderConfig::Mlp(config) => config.seed,
    }
}

fn relation(encoder: &EncoderConfig, device: &burn::tensor::Device) -> Result<Relation> {
    let seed = seed(encoder) ^ HEAD_STREAM;
    let map = encoder.map();
    Relation::new(map, map[0], seed, device)
}

fn gradient(config: &LearnerConfig, device: &burn::tensor::Device) -> Result<Model> {
    let network = match &config.encoder {
        EncoderConfig::Conv4(conv4) => {
            Adaptable::Conv4(Conv4Classifier::new(conv4, config.ways, device)?)
        }
        EncoderConfig::Mlp(mlp) => Adaptable::Mlp(Mlp::new(mlp, device)?),
    };
    let layers = Network::new(network.layers());
    let method = match config.method {
        MethodConfig::Reptile(config) => AnyGradientMethod::Reptile(Reptile::new(config)?),
        MethodConfig::MetaSgd(inner) => {
            AnyGradientMethod::MetaSgd(MetaSgd::new(inner, &layers, device)?)
        }
        MethodConfig::MamlPP(config) => {
            AnyGradientMethod::MamlPlusPlus(MamlPlusPlus::new(config, &layers, device)?)
        }
        MethodConfig::IMaml(config) => AnyGradientMethod::IMaml(IMaml::new(config)?),
        MethodConfig::FoBMaml(config) => AnyGradientMethod::FoBMaml(FoBMaml::new(config)?),
        MethodConfig::Maml(config) => AnyGradientMethod::Maml(Maml::new(config)?),
        MethodConfig::ProtoNet { .. }
        | MethodConfig::Matching
        | MethodConfig::Relation
        | MethodConfig::R2d2
        | MethodConfig::SimpleShot { .. } => unreachable!("these adapt nothing"),
    };
    let model = GradientLearner::new(network, method, config.transductive);
    Ok(Model::Gradient(model))
}

impl Trainable for Model {
    fn absorb(self, statistics: Vec<BatchStatistics>) -> Self {
        match self {
            Self::Metric(model) => Self::Metric(model.absorb(statistics)),
            Self::SimpleShot(model) => Self::SimpleShot(model.absorb(statistics)),
            Self::Gradient(model) => Self::Gradient(model.absorb(statistics)),
        }
    }
}

impl FewShot for Model {
    fn loss<'a>(&'a self, stack: &Stack<'_>, pass: &mut Pass<'a>) -> Result<Outcome> {
        each!(self, Metric | SimpleShot | Gradient, model => model.loss(stack, pass))
    }

    fn predict(&self, stack: &Stack<'_>, normalization: Normalization) -> Result<Tensor<3>> {
        each!(self, Metric | SimpleShot | Gradient, model => model.predict(stack, normalization))
    }

    fn features(&self, stack: &Stack<'_>, normalization: Normalization) -> Result<[Tensor<3>; 2]> {
        each!(self, Metric | SimpleShot | Gradient, model => model.features(stack, normalization))
    }
}

impl Backbone {
    fn new(config: &EncoderConfig, device: &burn::tensor::Device) -> Result<Self> {
        Ok(match config {
            EncoderConfig::Conv4(config) => Self::Conv4(Conv4::new(config, device)?),
            EncoderConfig::Mlp(config) => Self::Mlp(Mlp::new(config, device)?),
        })
    }
}

impl Trainable for Backbone {
    fn absorb(self, statistics: Vec<BatchStatistics>) -> Self {
        match self {
            Self::Conv4(conv4) => Self::Conv4(conv4.absorb(statistics)),
            Self::Mlp(mlp) => Self::Mlp(mlp),
        }
    }
}

impl Encoder for Backbone {
    fn maps<'a>(&'a self, images: Tensor<4>, pass: &mut Pass<'a>) -> Result<Tensor<4>> {
        each!(self, Conv4 | Mlp, encoder => encoder.maps(images, pass))
    }

    fn norms(&self) -> usize {
        each!(self, Conv4 | Mlp, encoder => encoder.norms())
    }
}

impl Trainable for Head {
    fn absorb(self, statistics: Vec<BatchStatistics>) -> Self {
        match self {
            Self::Relation(head) => Self::Relation(head.absorb(statistics)),
            other => other,
        }
    }
}

impl MetricHead for Head {
    fn logits<'a>(&'a self, tasks: &Embedded, pass: &mut Pass<'a>) -> Result<Tensor<3>> {
        each!(self, Prototypes | Matching | Relation | Ridge, head => head.logits(tasks, pass))
    }

    fn equal_logits(
        &self,
        features: &Tensor<2>,
        counts: EpisodeCounts,
    ) -> Option<Result<Tensor<3>>> {
        each!(self, Prototypes | Matching | Relation | Ridge, head => head.equal_logits(features, counts))
    }

    fn norms(&self) -> usize {
        each!(self, Prototypes | Matching | Relation | Ridge, head => head.norms())
    }

    fn loss(&self, logits: Tensor<2>, labels: Vec<usize>) -> Result<Outcome> {
        each!(self, Prototypes | Matching | Relation | Ridge, head => head.loss(logits, labels))
    }
}

impl Trainable for Adaptable {}

impl Functional for Adaptable {
    fn layers(&self) -> Vec<Layer> {
        each!(self, Conv4 | Mlp, network => network.layers())
    }

    fn parameters(&self) -> Vec<Tensor<1>> {
        each!(self, Conv4 | Mlp, network => network.parameters())
    }
}

impl GradientMethod for AnyGradientMethod {
    fn adapt(&self, tasks: &Learning<'_>, initial: &Weights) -> Result<Adapted> {
        each!(self, Maml | Reptile | MetaSgd | MamlPlusPlus | IMaml | FoBMaml, method => {
            method.adapt(tasks, initial)
        })
    }

    fn answer(&self, tasks: &Learning<'_>, adapted: &Adapted) -> Result<Tensor<3>> {
        each!(self, Maml | Reptile | MetaSgd | MamlPlusPlus | IMaml | FoBMaml, method => {
            method.answer(tasks, adapted)
        })
    }

    fn meta_loss(&self, tasks: &Learning<'_>, initial: &Weights) -> Result<MetaLoss> {
        each!(self, Maml | Reptile | MetaSgd | MamlPlusPlus | IMaml | FoBMaml, method => {
            method.meta_loss(tasks, initial)
        })
    }

    fn absorb(self, statistics: Vec<BatchStatistics>) -> Self {
        match self {
            Self::MamlPlusPlus(method) => Self::MamlPlusPlus(method.absorb(statistics)),
            other => other,
        }
    }
}
