//! Waves to be continued from a few of their points.

use std::f32::consts::PI;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{other_tasks, parse};
use crate::data::episode::room;
use crate::data::{Examples, ImageShape, Rng, Targets, Task, TaskSource};
use crate::error::{Error, Result};

/// `y = amplitude · sin(x - phase)`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sine {
    /// Between 0.1 and 5 where [`SineTasks`] drew it.
    pub amplitude: f32,
    /// Between 0 and π where [`SineTasks`] drew it.
    pub phase: f32,
}

impl Sine {
    /// The value at `x`, the same on every platform.
    pub fn value(&self, x: f32) -> f32 {
        let angle = f64::from(x) - f64::from(self.phase);
        (f64::from(self.amplitude) * libm::sin(angle)) as f32
    }
}

/// How many points a task has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SineConfig {
    /// Points to learn from. Default 10, as in the paper's main comparison.
    pub support: usize,
    /// Points to predict. Default 10, as the authors' code has for training.
    pub queries: usize,
    /// Default 0.
    pub seed: u64,
}

impl Default for SineConfig {
    fn default() -> Self {
        Self {
            support: 10,
            queries: 10,
            seed: 0,
        }
    }
}

/// The regression tasks of the MAML paper, without end: each a [`Sine`], of whose points some are known. Amplitudes are
/// uniform in 0.1 to 5, phases in 0 to π, and the points' x in -5 to 5; a task has inputs of the shape `[1, 1, 1]` and one
/// number to predict for each.
///
/// Paper: Finn, Abbeel and Levine, "Model-agnostic meta-learning for fast adaptation of deep networks", ICML 2017, section
/// 5.1. The sign of the phase, which the paper does not say, is that of its authors' code.
///
/// ```
/// use forgeling::data::tasks::{Sine, SineTasks};
/// # fn main() -> forgeling::Result<()> {
/// let mut tasks = SineTasks::new(Default::default())?;
/// let wave: Sine = tasks.draw();
/// // A task of this very wave, of which a figure may show all of it.
/// let task = tasks.task_of(wave)?;
/// assert_eq!(task.support().inputs.len(), 10);
/// let curve: Vec<f32> = (-50..=50).map(|x| wave.value(x as f32 / 10.0)).collect();
/// assert!(curve.iter().all(|y| y.abs() <= wave.amplitude));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct SineTasks {
    config: SineConfig,
    rng: Rng,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    config: SineConfig,
    rng: Rng,
}

impl SineTasks {
    /// # Errors
    /// When a task would have nothing to learn from or to predict.
    pub fn new(config: SineConfig) -> Result<Self> {
        if config.support == 0 || config.queries == 0 {
            return Err(
                Error::invalid("sine_tasks", "nothing to learn from or to predict")
                    .expected("1 or more points on either side")
                    .got(format!("{} and {}", config.support, config.queries)),
            );
        }
        let rng = Rng::new(config.seed);
        Ok(Self { config, rng })
    }

    /// As configured.
    pub fn config(&self) -> &SineConfig {
        &self.config
    }

    /// Draws the next wave: [`next_task`](TaskSource::next_task) draws one and makes a [task of it](Self::task_of).
    pub fn draw(&mut self) -> Sine {
        Sine {
            amplitude: self.rng.range(0.1, 5.0),
            phase: self.rng.range(0.0, PI),
        }
    }

    /// Draws points of a wave.
    ///
    /// # Errors
    /// When there is no room for so many, and when the wave is not finite; nothing is then drawn.
    pub fn task_of(&mut self, wave: Sine) -> Result<Task> {
        let mut rng = self.rng.clone();
        let mut side = |count: usize| -> Result<Examples> {
            let mut inputs = room([1, 1, count, 1])?;
            inputs.fill_with(|| rng.range(-5.0, 5.0));
            let targets = Targets::Values(inputs.iter().map(|&x| wave.value(x)).collect());
            Ok(Examples { inputs, targets })
        };
        let (support, query) = (side(self.config.support)?, side(self.config.queries)?);
        let task = Task::new(ImageShape::new(1, 1, 1), 1, support, query)?;
        self.rng = rng;
        Ok(task)
    }
}

impl TaskSource for SineTasks {
    fn next_task(&mut self) -> Result<Option<Task>> {
        let before = self.rng.clone();
        let wave = self.draw();
        let task = self.task_of(wave);
        if task.is_err() {
            self.rng = before;
        }
        task.map(Some)
    }

    fn state(&self) -> serde_json::Value {
        json!({ "config": self.config, "rng": self.rng })
    }

    fn resume(&mut self, state: &serde_json::Value) -> Result<()> {
        let state: State = parse(state)?;
        if state.config != self.config {
            return Err(other_tasks());
        }
        self.rng = state.rng;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_phase_moves_the_wave_to_the_right() {
        let wave = Sine {
            amplitude: 2.0,
            phase: 1.0,
        };
        assert_eq!(wave.value(1.0), 0.0);
        assert!((wave.value(1.0 + PI / 2.0) - 2.0).abs() < 1e-6);
        assert!((wave.value(0.0) + 2.0 * 1f32.sin()).abs() < 1e-6);
    }

    #[test]
    fn waves_fill_the_papers_ranges() {
        let mut tasks = SineTasks::new(SineConfig::default()).unwrap();
        let waves: Vec<Sine> = (0..4000).map(|_| tasks.draw()).collect();
        let about = |values: Vec<f32>, low: f32, high: f32| {
            let mean = values.iter().sum::<f32>() / values.len() as f32;
            assert!(values.iter().all(|value| (low..=high).contains(value)));
            let middle = (low + high) / 2.0;
            assert!((mean - middle).abs() < 0.03 * (high - low), "{mean}");
        };
        about(waves.iter().map(|wave| wave.amplitude).collect(), 0.1, 5.0);
        about(waves.iter().map(|wave| wave.phase).collect(), 0.0, PI);
        let points =
            (0..400).flat_map(|_| tasks.next_task().unwrap().unwrap().query().inputs.clone());
        about(points.collect(), -5.0, 5.0);
    }

    #[test]
    fn sides_without_a_point_are_errors() {
        for config in [
            SineConfig {
                support: 0,
                ..Default::default()
            },
            SineConfig {
                queries: 0,
                ..Default::default()
            },
        ] {
            assert!(SineTasks::new(config).unwrap_err().is_bad_input());
        }
    }
}
