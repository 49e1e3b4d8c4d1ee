//! How a model adapts to a user's examples.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::nn::check_lora;
use crate::train::AdamConfig;

const OPERATION: &str = "adaptation";

/// What a [`Classifier`](super::Classifier) does with its examples. In JSON: `{"name": "head", "epochs": 50}`.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "lowercase", deny_unknown_fields)]
pub enum Adaptation {
    /// What the model was trained for: its own head over the examples' features, or, where a model learns by gradients,
    /// its own inner steps. The default.
    #[default]
    Method,
    /// Nearest class means of the features, by the squared Euclidean distance, whatever the model was trained for.
    Prototypes,
    /// Linear discriminant analysis of the features, in closed form: as prototypes, but a distance counts less along which
    /// examples of one class differ much. Their covariance is shrunk towards the unit matrix by as much as few examples need
    /// (oracle approximating shrinkage).
    Lda,
    /// Ridge regression of the features on which class an example is of, in closed form, with the penalty with which
    /// examples that are held out are told best.
    Ridge,
    /// A linear layer on the features, trained on the examples. It begins as the prototypes.
    Head(FineTuneConfig),
    /// As [`Head`](Self::Head), with [low-rank adapters](crate::nn::Network::adapted) of every convolution beside it.
    Lora(LoraConfig),
}

/// How a fine-tuning goes on, and when it ends.
///
/// Where every class has at least 3 examples, a part of each is held out first: what is trained on the others says after
/// how many epochs the held-out loss is the smallest, 0 included. All examples are then trained on for so many epochs.
/// Where a class has fewer, there is nothing to hold out: training ends when its own loss (and a hundredth of a nat) has
/// not fallen by a hundredth of itself for [`patience`](Self::patience) epochs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FineTuneConfig {
    /// The most epochs. Default 100.
    pub epochs: usize,
    /// Learning rate of Adam. Default 0.003.
    pub learning_rate: f64,
    /// Epochs without improvement after which to stop. Default 10.
    pub patience: usize,
    /// The part of each class's examples that is held out: at least 1, and at least 2 are left. Default 0.2.
    pub held_out: f64,
    /// Part of itself that a parameter loses at each step, times the learning rate. Default 0.
    pub weight_decay: f64,
    /// Seed of what is held out, of the order of the examples, and of adapters. Default 0.
    pub seed: u64,
}

impl Default for FineTuneConfig {
    fn default() -> Self {
        Self {
            epochs: 100,
            learning_rate: 0.003,
            patience: 10,
            held_out: 0.2,
            weight_decay: 0.0,
            seed: 0,
        }
    }
}

impl FineTuneConfig {
    /// Checks the numbers.
    ///
    /// # Errors
    /// When one is out of range.
    pub fn validate(&self) -> Result<()> {
        let open = |value: f64, most: f64| value > 0.0 && value < most;
        let rate = self.learning_rate;
        let checks = [
            ("epochs", self.epochs > 0, "at least 1"),
            ("patience", self.patience > 0, "at least 1"),
            (
                "learning_rate",
                open(rate, f64::INFINITY),
                "a positive number",
            ),
            ("held_out", open(self.held_out, 1.0), "between 0 and 1"),
        ];
        if let Some((name, _, expected)) = checks.iter().find(|(_, right, _)| !right) {
            let message = format!("{name} is out of range");
            return Err(Error::invalid(OPERATION, message).expected(*expected));
        }
        self.adam().validate()
    }

    pub(super) fn adam(&self) -> AdamConfig {
        AdamConfig {
            weight_decay: self.weight_decay,
            ..Default::default()
        }
    }
}

/// Low-rank adapters, and how they are trained.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoraConfig {
    /// Columns of a factor. Default 4.
    pub rank: usize,
    /// What, divided by the rank, the product of two factors is multiplied with. Default 4.
    pub alpha: f64,
    /// How adapters and head are trained.
    pub fine_tune: FineTuneConfig,
}

impl Default for LoraConfig {
    fn default() -> Self {
        Self {
            rank: 4,
            alpha: 4.0,
            fine_tune: FineTuneConfig::default(),
        }
    }
}

impl Adaptation {
    /// The names, as on command lines.
    pub const NAMES: [&'static str; 6] = ["method", "prototypes", "lda", "ridge", "head", "lora"];

    /// The name in JSON and on command lines.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::Prototypes => "prototypes",
            Self::Lda => "lda",
            Self::Ridge => "ridge",
            Self::Head(_) => "head",
            Self::Lora(_) => "lora",
        }
    }

    /// The same with another seed, where something is drawn.
    #[must_use]
    pub fn seeded(mut self, seed: u64) -> Self {
        match &mut self {
            Self::Head(config) => config.seed = seed,
            Self::Lora(config) => config.fine_tune.seed = seed,
            Self::Method | Self::Prototypes | Self::Lda | Self::Ridge => {}
        }
        self
    }

    /// How training goes on, where there is some.
    pub fn fine_tune(&self) -> Option<&FineTuneConfig> {
        match self {
            Self::Head(config) => Some(config),
            Self::Lora(config) => Some(&config.fine_tune),
            Self::Method | Self::Prototypes | Self::Lda | Self::Ridge => None,
        }
    }

    /// Checks the numbers.
    ///
    /// # Errors
    /// When one is out of range.
    pub fn validate(&self) -> Result<()> {
        if let Self::Lora(config) = self {
            check_lora(config.rank, config.alpha)?;
        }
        self.fine_tune().map_or(Ok(()), FineTuneConfig::validate)
    }
}

impl std::fmt::Display for Adaptation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// By name, with the defaults.
impl std::str::FromStr for Adaptation {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Ok(match text {
            "method" => Self::Method,
            "prototypes" => Self::Prototypes,
            "lda" => Self::Lda,
            "ridge" => Self::Ridge,
            "head" => Self::Head(FineTuneConfig::default()),
            "lora" => Self::Lora(LoraConfig::default()),
            _ => {
                return Err(Error::invalid("parse_adaptation", "unknown adaptation")
                    .expected(Self::NAMES.join(", "))
                    .got(format!("'{text}'")));
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_json_go_both_ways() {
        for name in Adaptation::NAMES {
            let adaptation: Adaptation = name.parse().unwrap();
            assert_eq!(adaptation.to_string(), name);
            let json = serde_json::to_string(&adaptation).unwrap();
            let back: Adaptation = serde_json::from_str(&json).unwrap();
            assert_eq!(back, adaptation, "{json}");
        }
        let short: Adaptation = serde_json::from_str(r#"{"name": "head", "epochs": 7}"#).unwrap();
        assert_eq!(short.fine_tune().map(|config| config.epochs), Some(7));
        assert!("heads".parse::<Adaptation>().unwrap_err().is_bad_input());
    }

    #[test]
    fn numbers_out_of_range_are_errors_that_name_them() {
        let right = FineTuneConfig::default();
        #[rustfmt::skip]
        let wrong = [
            ("epochs", FineTuneConfig { epochs: 0, ..right }),
            ("patience", FineTuneConfig { patience: 0, ..right }),
            ("learning_rate", FineTuneConfig { learning_rate: f64::NAN, ..right }),
            ("held_out", FineTuneConfig { held_out: 1.0, ..right }),
            ("weight_decay", FineTuneConfig { weight_decay: -1.0, ..right }),
        ];
        for (name, config) in wrong {
            let error = Adaptation::Head(config).validate().unwrap_err();
            assert!(
                error.is_bad_input() && error.to_string().contains(name),
                "{error}"
            );
        }
        for (rank, alpha) in [(0, 1.0), (1, 0.0), (1, f64::NAN)] {
            let config = LoraConfig {
                rank,
                alpha,
                ..Default::default()
            };
            let error = Adaptation::Lora(config).validate().unwrap_err();
            assert!(error.is_bad_input(), "{error}");
        }
    }
}
