//! The networks of all methods.

use burn::module::Module;
use burn::tensor::Tensor;

use super::config::{LearnerConfig, MethodConfig};
use crate::device::{Device, TensorDevice};
use crate::error::Result;
use crate::meta::functional::{Program, Weights};
use crate::meta::gradient::{
    Adapted, FoBMaml, GradientLearner, GradientMethod, IMaml, Learning, Maml, MamlPlusPlus,
    MetaLoss, MetaSgd, Reptile,
};
use crate::meta::{
    Embedded, FewShot, Matching, MetricHead, MetricLearner, Prototypes, Relation, Ridge,
    SimpleShot, Stack,
};
use crate::nn::graph::Graph;
use crate::nn::{Network, Normalization, Pass};
use crate::ops::EpisodeCounts;
use crate::train::{Outcome, Trainable};

/// Heads' weights are drawn from another seed than the encoder's.
const HEAD_STREAM: u64 = 2;

/// A few-shot network, whichever method it is of.
#[derive(Module, Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "on 64 bits only; tensors are handles, and burn's modules are not boxed"
)]
pub enum Model {
    /// An encoder with a head that compares.
    Metric(MetricLearner<Network, Head>),
    /// A classifier's features.
    SimpleShot(SimpleShot<Network>),
    /// A network that adapts.
    Gradient(GradientLearner<AnyGradientMethod>),
}

/// How features are compared.
#[derive(Module, Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "on 64 bits only; tensors are handles, and burn's modules are not boxed"
)]
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
    /// A model with weights drawn from the configuration's seed.
    pub(super) fn new(config: &LearnerConfig, device: &Device) -> Result<Self> {
        config.validate()?;
        let device = &device.autodiff();
        let graph = config.graph()?;
        let seed = config.seed ^ HEAD_STREAM;
        let head = match config.method {
            MethodConfig::ProtoNet { distance } => {
                Head::Prototypes(Prototypes::new(distance, device))
            }
            MethodConfig::Matching => Head::Matching(Matching::new(device)),
            MethodConfig::R2d2 => Head::Ridge(Ridge::new(device)),
            MethodConfig::Relation => {
                let map = config.map();
                Head::Relation(Relation::new(map, map[0], seed, device)?)
            }
            MethodConfig::SimpleShot { classes } => {
                let encoder = Network::on(&graph, config.seed, device);
                let model = SimpleShot::new(encoder, config.features(), classes, seed)?;
                return Ok(Self::SimpleShot(model));
            }
            _ => return gradient(config, &graph, device),
        };
        let encoder = Network::on(&graph, config.seed, device);
        Ok(Self::Metric(MetricLearner { encoder, head }))
    }

    /// The network: the encoder of methods that compare, and the whole one of those that adapt.
    pub fn network(&self) -> &Network {
        match self {
            Self::Metric(model) => &model.encoder,
            Self::SimpleShot(model) => &model.encoder,
            Self::Gradient(model) => &model.network,
        }
    }
}

fn gradient(config: &LearnerConfig, graph: &Graph, device: &TensorDevice) -> Result<Model> {
    let network = Network::on(graph, config.seed, device);
    let program = Program::new(graph)?;
    let method = match config.method {
        MethodConfig::Reptile(config) => AnyGradientMethod::Reptile(Reptile::new(config)?),
        MethodConfig::MetaSgd(inner) => {
            AnyGradientMethod::MetaSgd(MetaSgd::new(inner, &program, device)?)
        }
        MethodConfig::MamlPP(config) => {
            AnyGradientMethod::MamlPlusPlus(MamlPlusPlus::new(config, &program, device)?)
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

impl Trainable for Model {}

impl FewShot for Model {
    fn loss<'a>(&'a self, stack: &Stack<'_>, pass: &mut Pass<'a>) -> Result<Outcome> {
        each!(self, Metric | SimpleShot | Gradient, model => model.loss(stack, pass))
    }

    fn held_out_loss<'a>(&'a self, stack: &Stack<'_>, pass: &mut Pass<'a>) -> Result<Outcome> {
        each!(self, Metric | SimpleShot | Gradient, model => model.held_out_loss(stack, pass))
    }

    fn predict(&self, stack: &Stack<'_>, normalization: Normalization) -> Result<Tensor<3>> {
        each!(self, Metric | SimpleShot | Gradient, model => model.predict(stack, normalization))
    }

    fn features(&self, stack: &Stack<'_>, normalization: Normalization) -> Result<[Tensor<3>; 2]> {
        each!(self, Metric | SimpleShot | Gradient, model => model.features(stack, normalization))
    }
}

impl Trainable for Head {}

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

    fn loss(&self, logits: Tensor<2>, labels: Vec<usize>) -> Result<Outcome> {
        each!(self, Prototypes | Matching | Relation | Ridge, head => head.loss(logits, labels))
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
}
