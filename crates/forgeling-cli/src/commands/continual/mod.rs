//! Continual learning.
//!
//! - `run`, `compare`: the commands.
//! - `data`: what is learned and tested on. `plan`: a strategy's protocol, a preset and what was typed over it; `words`: how
//!   it is said.
//! - [`Bench`]: all runs of a command. `one`: a run. `row`: what a strategy's runs came to; `report`: tables and files.

mod bench;
mod compare;
mod data;
mod one;
mod plan;
mod report;
mod row;
mod run;
mod words;

use forgeling::Result;

use self::bench::Bench;
use crate::args::{Common, Continual};
use crate::output::Output;

pub async fn run(command: &Continual, common: &Common, output: &Output) -> Result<()> {
    match command {
        Continual::Run(args) => run::run(args, common, output).await,
        Continual::Compare(args) => compare::run(args, common, output).await,
    }
}
