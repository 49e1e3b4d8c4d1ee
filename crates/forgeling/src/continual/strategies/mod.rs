//! How networks learn without forgetting, as parts of a run.
//!
//! - [`Er`], [`Der`]: examples of before are learned again, by their labels or by what was answered to them; with
//!   [`NewMask::CurrentClasses`](super::NewMask::CurrentClasses), `Er` is ER-ACE.
//! - [`AGem`]: no step makes the loss on examples of before larger.
//! - [`Icarl`]: classes are told apart by the nearest mean of features of examples that were chosen for it.
//! - [`Ewc`], [`Si`], [`Mas`]: parameters that mattered are held where they were, each by a `penalty`; `importance` looks
//!   through examples, through `dense` layers by batches; [`FisherKind`]: what of Fisher's information is taken.
//! - [`Lwf`]: old answers are kept on new examples.
//! - [`ByParameter`]: a tensor for each parameter of a network.
//! - `replayed`: what these have in common; `kept_network`: a network in a checkpoint.

mod a_gem;
mod by_parameter;
mod dense;
mod der;
mod er;
mod ewc;
mod fisher;
mod icarl;
mod importance;
mod kept_network;
#[cfg(test)]
mod learning_tests;
mod lwf;
mod mas;
mod penalty;
#[cfg(test)]
mod regularization_tests;
#[cfg(test)]
mod replay_tests;
mod replayed;
mod si;

pub use a_gem::{AGem, AGemConfig};
pub use by_parameter::ByParameter;
pub use der::{Der, DerConfig};
pub use er::{Er, ErConfig, ReplayWeight};
pub use ewc::{Ewc, EwcConfig};
pub use fisher::{FisherKind, fisher_diagonal};
pub use icarl::{Icarl, IcarlConfig};
pub use lwf::{Distilled, Lwf, LwfConfig};
pub use mas::{Mas, MasConfig, MasKind};
pub use si::{PathIntegral, Si, SiConfig};

use std::fmt::Debug;

use serde::de::DeserializeOwned;

use super::Scenario;
use crate::error::{Error, Result};
use crate::train::parts::Sections;

/// Whether a scenario tells a strategy where contexts end.
fn check_boundaries(operation: &'static str, scenario: &Scenario) -> Result<()> {
    let setting = scenario.config().setting;
    match setting.reveals().task_boundaries {
        true => Ok(()),
        false => Err(
            Error::invalid(operation, "it has to be told where contexts end")
                .expected("a setting with boundaries")
                .got(format!("{setting:?}")),
        ),
    }
}

/// Whether a number of a configuration is right, and what it is to be.
fn check_number(
    operation: &'static str,
    name: &str,
    value: f64,
    right: bool,
    expected: &str,
) -> Result<()> {
    // In f32 too, in which it is used.
    match right && (value as f32).is_finite() {
        true => Ok(()),
        false => Err(Error::invalid(operation, format!("{name} is out of range"))
            .expected(expected)
            .got(value)),
    }
}

/// Whether what a strategy kept is of the same configuration.
fn check_config<C: DeserializeOwned + PartialEq + Debug>(
    operation: &'static str,
    own: &C,
    from: &Sections,
) -> Result<()> {
    let saved: C = from.get("config")?;
    match saved == *own {
        true => Ok(()),
        false => Err(
            Error::bad_data(operation, "what was saved is of another configuration")
                .expected(format!("{own:?}"))
                .got(format!("{saved:?}")),
        ),
    }
}
