//! Dark experience replay.

use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};

use super::replayed::{check_examples, check_factor, first, nothing};
use crate::continual::head::MASKED;
use crate::continual::{ContinualBatch, Head};
use crate::device::TensorDevice;
use crate::error::{Error, Result};
use crate::nn::{Network, Pass};
use crate::ops::softmax_cross_entropy;
use crate::train::Batch;
use crate::train::parts::{LossTerm, Method, Needs, Part, RunState, Sections, StepContext};

const OPERATION: &str = "der";

/// How [`Der`] replays.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DerConfig {
    /// Examples of a draw, or as many as there are: one draw at each step, two where `beta` is not 0.
    pub examples: usize,
    /// What answers count.
    pub alpha: f64,
    /// What labels count: 0 for DER, more for DER++.
    pub beta: f64,
}

/// Dark experience replay: part `der` of a run, which adds
///
/// `α · mean((z − z')²) + β · L_old`,
///
/// where `z'` is what the network answered to an example when it was kept, `z` what it answers now, and `L_old` the mean
/// cross entropy on other examples of before. The mean of squares is over all outputs that counted when the example was
/// kept, of all examples together. Buzzega et al., "Dark experience for general continual learning: a strong, simple
/// baseline", NeurIPS 2020 (arXiv 2004.07211).
///
/// It keeps nothing but the run's buffer, which must have room for answers
/// ([`BufferConfig::logits`](crate::continual::BufferConfig::logits)) and keep examples as they come. A step costs a forward
/// and a backward pass on the examples more, of both draws for DER++.
///
/// The two draws of DER++ have no example in common where there are enough; Mammoth's are independent. Mammoth has all
/// outputs from the start, so that its mean is over all of them.
#[derive(Debug, Clone)]
pub struct Der {
    head: Head,
    config: DerConfig,
}

impl Der {
    /// For a network with this head.
    ///
    /// # Errors
    /// When no example is asked for, or a factor is negative or not finite.
    pub fn new(head: Head, config: DerConfig) -> Result<Self> {
        check_examples(OPERATION, config.examples)?;
        check_factor(OPERATION, "alpha", config.alpha)?;
        check_factor(OPERATION, "beta", config.beta)?;
        Ok(Self { head, config })
    }

    fn draws(&self) -> usize {
        match self.config.beta > 0.0 {
            true => self.config.examples.saturating_mul(2),
            false => self.config.examples,
        }
    }

    /// The mean squared difference from what was answered.
    fn distance(&self, logits: Tensor<2>, kept: &[Vec<f32>]) -> Result<Tensor<1>> {
        let outputs = self.head.outputs();
        let lacks = |message: &str, got: String| {
            Err(Error::invalid(OPERATION, message)
                .expected(format!("a buffer that keeps {outputs} logits"))
                .got(got))
        };
        if let Some(row) = kept
            .iter()
            .find(|row| !row.is_empty() && row.len() != outputs)
        {
            let message = "what was answered is not of this network";
            return lacks(message, format!("{} logits", row.len()));
        }
        let counts = |value: f32| value > MASKED / 10.0;
        let counting = kept.iter().flatten().filter(|value| counts(**value));
        let counting = counting.count();
        if counting == 0 {
            let message = "it is not known what was answered to the examples of before";
            return lacks(message, "none".into());
        }
        let (mut targets, mut weights) = (Vec::new(), Vec::new());
        for row in kept {
            for output in 0..outputs {
                let value = row.get(output).copied().filter(|value| counts(*value));
                targets.push(value.unwrap_or(0.0));
                weights.push(f32::from(value.is_some()) / counting as f32);
            }
        }
        let tensor = |values: Vec<f32>| {
            let data = TensorData::new(values, [kept.len(), outputs]);
            Tensor::<2>::from_data(data, &logits.device())
        };
        let (targets, weights) = (tensor(targets), tensor(weights));
        let difference = logits - targets;
        Ok((difference.clone() * difference * weights).sum())
    }
}

impl RunState for Der {
    fn save(&self, _to: &mut Sections) -> Result<()> {
        Ok(())
    }

    fn load(&mut self, _from: &Sections, _device: &TensorDevice) -> Result<()> {
        Ok(())
    }
}

impl Part<Network> for Der {
    fn name(&self) -> &'static str {
        "der"
    }

    fn needs(&self) -> Needs {
        Needs {
            replayed: self.draws(),
            ..Needs::default()
        }
    }
}

impl LossTerm<Network, ContinualBatch> for Der {
    fn loss<'m>(
        &self,
        step: &StepContext<'_, ContinualBatch>,
        model: &'m Network,
        _batch: &ContinualBatch,
        pass: &mut Pass<'m>,
    ) -> Result<Tensor<1>> {
        let DerConfig {
            examples,
            alpha,
            beta,
        } = self.config;
        let Some(old) = first(step.replayed, self.draws()) else {
            return Ok(nothing(pass));
        };
        if old.logits.len() != old.len() {
            let message = "the buffer keeps no answers";
            return Err(Error::invalid(OPERATION, message)
                .expected(format!(
                    "a buffer with room for {} logits",
                    self.head.outputs()
                ))
                .got(format!("{} of {}", old.logits.len(), old.len())));
        }
        let logits = self.head.logits(model, &old, pass)?;
        // Where there are too few for two draws, they have some in common.
        let each = old.len().min(examples);
        let loss = self.distance(logits.clone().narrow(0, 0, each), &old.logits[..each])?;
        let loss = loss * alpha;
        if beta == 0.0 {
            return Ok(loss);
        }
        let second = old.part(old.len() - each..old.len());
        self.head.check_labels(&second, true)?;
        let logits = logits.narrow(0, old.len() - each, each);
        let masked = self.head.masked(logits, &second);
        Ok(loss + softmax_cross_entropy(masked, &second.images.labels)? * beta)
    }
}

impl Method<Network, ContinualBatch> for Der {
    fn term(&self) -> Option<&dyn LossTerm<Network, ContinualBatch>> {
        Some(self)
    }

    fn on_replica(&self) -> Option<Box<dyn Method<Network, ContinualBatch> + Send>> {
        Some(Box::new(self.clone()))
    }
}
