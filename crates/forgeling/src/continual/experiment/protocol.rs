//! All that a run follows from beside data and network.

use serde::{Deserialize, Serialize};

use super::strategy::{FrozenFeatures, GDumbConfig, Strategy, StrategyName};
use crate::continual::strategies::{
    AGemConfig, DerConfig, ErConfig, EwcConfig, FisherKind, IcarlConfig, LwfConfig, MasConfig,
    MasKind, PathIntegral, ReplayWeight, SiConfig,
};
use crate::continual::{Budget, ClosedFormRule, HeadKind, Kind, Pace, Policy, Scenario, Setting};
use crate::error::Result;
use crate::nn::graph::{Builder, Graph, Layer, Linear, Norm};
use crate::nn::zoo::MlpConfig;
use crate::train::{AdamConfig, OptimizerConfig, Schedule, SgdConfig};

/// All that a run follows from beside data, network and seeds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Protocol {
    /// How it keeps what it has learned.
    pub strategy: Strategy,
    /// Which outputs of the network count.
    pub head: HeadKind,
    /// How many batches there are of each context, or of all where all are shown at once.
    pub pace: Pace,
    /// What moves the weights. Its state is kept from context to context.
    pub optimizer: OptimizerConfig,
    /// The learning rate over the steps of the whole run.
    pub schedule: Schedule,
    /// How many examples are kept, and which, where the strategy keeps some.
    pub buffer: Option<(Budget, Policy)>,
}

/// A published protocol, whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// Van de Ven, Tuytelaars and Tolias, "Three types of incremental learning", Nature Machine Intelligence, 2022, as in
    /// their repository: a perceptron with two hidden layers of 400, Adam with 1e-3, 2,000 batches of 128 of each context
    /// (as many for all together where they are shown at once); a head for each context where it is told. For permuted
    /// images layers of 1,000, 1e-4 and 5,000 batches. 100 examples a class are kept when a context ends.
    VanDeVen,
    /// Buzzega et al., "Dark experience for general continual learning", NeurIPS 2020, as in their repository Mammoth: a
    /// perceptron with two hidden layers of 100, SGD, one epoch in batches of 10; all outputs from the start, masked in tests
    /// where contexts are told. A reservoir of 200, 500 or 5,120 examples, for which learning rates were chosen; other sizes
    /// take those of the next.
    Mammoth,
}

impl Preset {
    /// The network of the protocol for a strategy. That of GDumb is its authors', with batch norm behind each hidden layer,
    /// which makes raw pixels as good as normalized ones.
    ///
    /// # Errors
    /// When the scenario's images or labels make no network.
    pub fn network(self, strategy: StrategyName, scenario: &Scenario) -> Result<Graph> {
        let hidden = match (self, &scenario.config().kind) {
            (Self::VanDeVen, Kind::Permuted { .. }) => 1000,
            (Self::VanDeVen, _) => 400,
            (Self::Mammoth, _) => 100,
        };
        if strategy == StrategyName::Gdumb {
            return normed(hidden, scenario);
        }
        let config = MlpConfig {
            input: scenario.image_shape().into(),
            hidden: vec![hidden; 2],
            classes: scenario.outputs(),
        };
        config.graph()
    }

    /// The protocol for a strategy, with its usual buffer or another.
    pub fn protocol(
        self,
        strategy: StrategyName,
        scenario: &Scenario,
        budget: Option<Budget>,
    ) -> Protocol {
        match self {
            Self::VanDeVen => van_de_ven(strategy, scenario, budget),
            Self::Mammoth => mammoth(strategy, scenario, budget),
        }
    }
}

/// Random features of the strategies that have some.
const RANDOM_FEATURES: usize = 2000;

/// That of GDumb's authors.
const GDUMB: OptimizerConfig = OptimizerConfig::Sgd(SgdConfig {
    momentum: 0.9,
    nesterov: false,
    weight_decay: 1e-6,
    clip_norm: None,
});

/// A perceptron with two hidden layers, each normed over the batch.
fn normed(hidden: usize, scenario: &Scenario) -> Result<Graph> {
    let mut graph = Builder::new(scenario.image_shape().into())?;
    graph.then("flatten", Layer::Flatten)?;
    for name in ["layers.0", "layers.1"] {
        let layer = Linear {
            bias: false,
            ..Linear::new(hidden)
        };
        graph.then(name, Layer::Linear(layer))?;
        graph.then(format!("{name}.norm"), Layer::BatchNorm(Norm::default()))?;
        graph.then(format!("{name}.relu"), Layer::Relu)?;
    }
    graph.then("layers.2", Layer::Linear(Linear::new(scenario.outputs())))?;
    graph.finish()
}

fn van_de_ven(name: StrategyName, scenario: &Scenario, budget: Option<Budget>) -> Protocol {
    let permuted = matches!(scenario.config().kind, Kind::Permuted { .. });
    let setting = scenario.config().setting;
    let (iterations, rate) = if permuted { (5000, 1e-4) } else { (2000, 1e-3) };
    // λ and c were chosen by the authors on the test accuracy of one seed.
    let by_setting = |task, domain, class| match setting {
        _ if permuted => None,
        Setting::Task => Some(task),
        Setting::Domain => Some(domain),
        Setting::Class | Setting::Free => Some(class),
    };
    let lambda = by_setting(1e5, 1e10, 1e9).unwrap_or(100.0);
    let c = by_setting(10.0, 5e4, 5e3).unwrap_or(10.0);
    let replay = ErConfig {
        examples: 128,
        weight: ReplayWeight::ByContext,
    };
    let fisher = match permuted {
        true => FisherKind::ExactOf { examples: 1000 },
        false => FisherKind::Exact,
    };
    let strategy = match name {
        StrategyName::Er => Strategy::Er(replay),
        StrategyName::ErAce => Strategy::ErAce(ErConfig {
            weight: ReplayWeight::Added,
            ..replay
        }),
        StrategyName::Agem => Strategy::AGem(AGemConfig { examples: 128 }),
        StrategyName::Icarl => Strategy::Icarl(IcarlConfig {
            examples: 128,
            ..Default::default()
        }),
        StrategyName::Ewc => ewc(lambda, fisher, None),
        StrategyName::OnlineEwc => ewc(lambda, fisher, Some(1.0)),
        StrategyName::Si => Strategy::Si(SiConfig::new(c)),
        StrategyName::Lwf => Strategy::Lwf(LwfConfig::default()),
        other => usual(other, scenario),
    };
    let contexts = match name {
        StrategyName::Joint => scenario.len(),
        _ => 1,
    };
    Protocol {
        head: match (setting, name) {
            (Setting::Task, _) => HeadKind::PerTask,
            (_, StrategyName::Icarl) => HeadKind::Growing,
            _ => HeadKind::All,
        },
        pace: match name {
            StrategyName::Gdumb | StrategyName::Slda | StrategyName::Rff | StrategyName::Ncm => {
                Pace::Epochs {
                    epochs: 1,
                    batch_size: 128,
                }
            }
            _ => Pace::Iterations {
                iterations: iterations * contexts,
                batch_size: 128,
            },
        },
        optimizer: match name {
            StrategyName::Gdumb => GDUMB,
            _ => OptimizerConfig::Adam(AdamConfig::default()),
        },
        schedule: Schedule::Constant { rate },
        buffer: strategy.keeps_examples().then(|| {
            let usual = match name {
                StrategyName::Gdumb => Budget::Total(4400),
                _ => Budget::PerClass(100),
            };
            (budget.unwrap_or(usual), strategy.policy(true))
        }),
        strategy,
    }
}

fn mammoth(name: StrategyName, scenario: &Scenario, budget: Option<Budget>) -> Protocol {
    let budget = budget.unwrap_or(Budget::Total(500));
    // The column of the table that fits.
    let size = match budget {
        Budget::Total(examples) => examples,
        Budget::PerClass(examples) => examples.saturating_mul(scenario.outputs()),
        Budget::Bytes(bytes) => bytes / scenario.image_shape().len().max(1),
    };
    let column = match size {
        0..=350 => 0,
        351..=2810 => 1,
        _ => 2,
    };
    let one_of = |values: [f64; 3]| values[column];
    let replay = |weight| ErConfig {
        examples: 10,
        weight,
    };
    let draws = |of: [usize; 3]| of[column];
    let (strategy, rate) = match name {
        StrategyName::Er => (
            Strategy::Er(replay(ReplayWeight::One)),
            one_of([0.01, 0.1, 0.1]),
        ),
        StrategyName::ErAce => (Strategy::ErAce(replay(ReplayWeight::Added)), 0.03),
        StrategyName::Der => (
            Strategy::Der(DerConfig {
                examples: draws([10, 128, 128]),
                alpha: one_of([0.2, 1.0, 0.5]),
                beta: 0.0,
            }),
            one_of([0.03, 0.03, 0.1]),
        ),
        StrategyName::Derpp => (
            Strategy::Der(DerConfig {
                examples: draws([128, 10, 64]),
                alpha: one_of([0.2, 1.0, 0.2]),
                beta: one_of([1.0, 0.5, 0.5]),
            }),
            one_of([0.03, 0.03, 0.1]),
        ),
        StrategyName::Agem => (Strategy::AGem(AGemConfig { examples: 128 }), 0.1),
        StrategyName::Icarl => (
            Strategy::Icarl(IcarlConfig {
                examples: 10,
                ..Default::default()
            }),
            0.1,
        ),
        // 90 there, whose penalty has no 1/2.
        StrategyName::Ewc => (ewc(180.0, FisherKind::Weighted, None), 0.03),
        StrategyName::OnlineEwc => (ewc(180.0, FisherKind::Weighted, Some(1.0)), 0.03),
        StrategyName::Si => (
            Strategy::Si(SiConfig {
                c: 1.0,
                xi: 0.9,
                path: PathIntegral::WithoutPenalty,
            }),
            0.1,
        ),
        StrategyName::Lwf => (
            Strategy::Lwf(LwfConfig {
                distilled: crate::continual::strategies::Distilled::Known,
                ..Default::default()
            }),
            0.03,
        ),
        other => (usual(other, scenario), 0.03),
    };
    let weight_decay = match name {
        StrategyName::Lwf => 5e-4,
        _ => 0.0,
    };
    Protocol {
        head: match (scenario.config().setting, name) {
            (Setting::Task, _) => HeadKind::MaskedAtTest,
            (_, StrategyName::Icarl) => HeadKind::Growing,
            _ => HeadKind::All,
        },
        pace: Pace::Epochs {
            epochs: 1,
            batch_size: 10,
        },
        optimizer: match name {
            StrategyName::Gdumb => GDUMB,
            _ => OptimizerConfig::Sgd(SgdConfig {
                weight_decay,
                ..Default::default()
            }),
        },
        schedule: Schedule::Constant { rate },
        buffer: strategy
            .keeps_examples()
            .then(|| (budget, strategy.policy(false))),
        strategy,
    }
}

fn ewc(lambda: f64, fisher: FisherKind, online: Option<f64>) -> Strategy {
    Strategy::Ewc(EwcConfig {
        lambda,
        fisher,
        online,
        seed: 0,
    })
}

/// A strategy with numbers of its own papers, where a protocol has none for it.
fn usual(name: StrategyName, scenario: &Scenario) -> Strategy {
    let replay = |weight| ErConfig {
        examples: 32,
        weight,
    };
    let closed = |rule, features| Strategy::ClosedForm { rule, features };
    let random = FrozenFeatures::Random {
        width: RANDOM_FEATURES,
    };
    match name {
        StrategyName::Naive => Strategy::Naive,
        StrategyName::Joint => Strategy::Joint,
        StrategyName::Cumulative => Strategy::Cumulative,
        StrategyName::Er => Strategy::Er(replay(ReplayWeight::One)),
        StrategyName::ErAce => Strategy::ErAce(replay(ReplayWeight::Added)),
        StrategyName::Der | StrategyName::Derpp => Strategy::Der(DerConfig {
            examples: 128,
            alpha: 0.5,
            beta: if name == StrategyName::Der { 0.0 } else { 0.5 },
        }),
        StrategyName::Agem => Strategy::AGem(AGemConfig { examples: 128 }),
        StrategyName::Gdumb => Strategy::GDumb(GDumbConfig {
            shift: scenario.image_shape().height / 7,
            ..Default::default()
        }),
        StrategyName::Icarl => Strategy::Icarl(IcarlConfig::default()),
        StrategyName::Ewc => ewc(1.0, FisherKind::Exact, None),
        StrategyName::OnlineEwc => ewc(1.0, FisherKind::Exact, Some(1.0)),
        StrategyName::Si => Strategy::Si(SiConfig::new(1.0)),
        StrategyName::Mas => Strategy::Mas(MasConfig {
            lambda: 1.0,
            kind: MasKind::default(),
            seed: 0,
        }),
        StrategyName::Lwf => Strategy::Lwf(LwfConfig::default()),
        StrategyName::Slda => closed(ClosedFormRule::STREAMING_LDA, random),
        StrategyName::Rff => closed(ClosedFormRule::RIDGE, random),
        StrategyName::Ncm => closed(ClosedFormRule::NearestMean, FrozenFeatures::Network),
    }
}
