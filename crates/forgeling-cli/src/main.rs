//! The forgeling command: it parses, calls the library and prints.

mod args;
mod commands;
mod data;
mod output;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command};
use output::Output;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // Help and version are no errors; clap prints them, and wrong usage for people, by itself.
        Err(error) if error.use_stderr() && std::env::args_os().any(|word| word == "--json") => {
            return output::usage(&error);
        }
        Err(error) => error.exit(),
    };
    let output = Output::new(cli.common.json);
    let command = cli.command.unwrap_or_else(Command::tour);
    match pollster::block_on(commands::run(command, &cli.common, &output)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => output.error(&error),
    }
}
