//! Families of networks, each a configuration that gives a [`Graph`](super::graph::Graph).

mod conv4;
mod mlp;
mod resnet;
mod vit;

pub use conv4::Conv4Config;
pub use mlp::MlpConfig;
pub use resnet::{Depth, ResNetConfig, Stem};
pub use vit::VitConfig;

use crate::error::{Error, Result};

/// Whether each of these is at least 1 and at most its limit.
fn check_ranges(
    operation: &'static str,
    ranges: impl IntoIterator<Item = (&'static str, usize, usize)>,
) -> Result<()> {
    for (name, value, high) in ranges {
        if !(1..=high).contains(&value) {
            return Err(Error::invalid(operation, format!("{name} is out of range"))
                .expected(format!("1 to {high}"))
                .got(value));
        }
    }
    Ok(())
}
