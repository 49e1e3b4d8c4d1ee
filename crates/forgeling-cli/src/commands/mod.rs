//! One file for each command.

mod answers;
mod batch_size;
mod bench;
mod classes;
mod compress;
mod continual;
mod devices;
mod ending;
mod eval;
mod export;
mod fewshot;
mod import;
mod interrupt;
mod loading;
mod models;
mod predict;
mod profile;
mod same_run;
mod saving;
mod supervised;
mod tour;
mod train;
mod train_watch;
mod training_data;

pub use loading::{describe, digest, hex, load_learner, load_network};

use forgeling::{Device, Result};

use self::interrupt::unless_interrupted;
use crate::args::{Command, Common};
use crate::output::Output;

pub async fn run(command: Command, common: &Common, output: &Output) -> Result<()> {
    match command {
        Command::Tour(tour) => tour::run(&tour, common, output).await,
        Command::Devices(args) => devices::run(&args, common, output).await,
        Command::Train(args) => train::run(&args, common, output).await,
        Command::Eval(args) => eval::run(&args, common, output).await,
        Command::Predict(args) => predict::run(&args, common, output).await,
        Command::Profile(args) => profile::run(&args, common, output).await,
        Command::BatchSize(args) => batch_size::run(&args, common, output).await,
        Command::Models(args) => models::run(&args, output),
        Command::Import(args) => import::run(&args, common, output).await,
        Command::Export(args) => export::run(&args, common, output).await,
        Command::Compress(args) => compress::run(&args, common, output).await,
        Command::Bench(what) => bench::run(&what, common, output).await,
        Command::Fewshot(command) => fewshot::run(&command, common, output).await,
        Command::Continual(command) => continual::run(&command, common, output).await,
    }
}

/// Opens the device that was asked for and says why it is that one.
async fn open(common: &Common, output: &Output) -> Result<Device> {
    let device = Device::open(common.device).await?;
    output.line(format_args!("Device: {}", device.reason()));
    Ok(device)
}
