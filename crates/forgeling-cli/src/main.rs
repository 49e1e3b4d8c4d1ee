//! The forgeling command: it parses, calls the library and prints.

mod args;
mod commands;
mod data;
mod heartbeat;
mod output;
mod sounds;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command};
use output::Output;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let json = std::env::args_os().any(|word| word == "--json");
            return output::usage(&error, json);
        }
    };
    let output = Output::new(cli.common.json);
    let command = cli.command.unwrap_or_else(Command::tour);
    let result = pollster::block_on(commands::run(command, &cli.common, &output));
    output.end(&result)
}
