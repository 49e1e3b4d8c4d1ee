//! Continual learning: published tables, cell by cell.
//!
//! Every cell is `forgeling continual run`, which goes on where it was stopped and keeps the runs that are done.

mod tables;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;

use clap::Args;
use serde_json::{Value, json};

use self::tables::{Cell, Published, Table};
use super::{build_programs, commit, kept, program, record, work_folder};
use crate::data::{self, Set};
use crate::date;
use crate::error::{Failure, Result};
use crate::step::Step;
use crate::workspace::Workspace;

/// What to run, and how often.
#[derive(Args)]
pub struct Options {
    /// Folder of MNIST's four files, which are fetched where they are not there; by default in the target directory.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Runs of each cell; by default as many as the table says, and twice as many where the published standard error is above
    /// one point.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    seeds: Option<u32>,
    /// Only cells whose name contains this.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Cells at a time, which share the cores.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    jobs: u32,
    /// Forget an earlier run and begin again.
    #[arg(long)]
    restart: bool,
}

/// Which table.
#[derive(Clone, Copy)]
pub enum Which {
    Split,
    Mammoth,
    Permuted,
}

/// Trains, tests and records.
pub fn run(workspace: &Workspace, options: &Options, which: Which) -> Result<()> {
    let table = match which {
        Which::Split => tables::split_mnist(),
        Which::Mammoth => tables::mammoth_mnist(),
        Which::Permuted => tables::permuted_mnist(),
    };
    let mnist = data::ensure(workspace, Set::Mnist, options.data.as_deref())?;
    let mnist = format!("idx:{}", mnist.display());
    build_programs(workspace)?;
    let work = work_folder(workspace, table.name, options.restart)?;
    let only = options.only.as_deref().unwrap_or("");
    let cells = table.cells.iter().filter(|cell| cell.name().contains(only));
    let cells: Vec<&Cell> = cells.collect();
    if cells.is_empty() {
        return Err(Failure::new(format!("no cell's name contains '{only}'")));
    }
    let setup = Setup {
        workspace,
        table: &table,
        data: &["--data", &mnist],
        steps: None,
        work: &work,
        commit: commit(workspace)?,
        seeds: options.seeds,
        jobs: options.jobs,
    };
    let rows = setup.all(&cells)?;
    let seconds: f64 = rows.iter().filter_map(|row| row["seconds"].as_f64()).sum();
    let first = |key: &str| rows.first().map(|row| row[key].clone());
    let result = json!({
        "command": match options.seeds {
            Some(seeds) => format!("cargo xtask reproduce {} --seeds {seeds}", table.name),
            None => format!("cargo xtask reproduce {}", table.name),
        },
        "date": date::today(),
        "commit": setup.commit,
        "version": first("version"),
        "device": first("device"),
        "protocol": table.protocol,
        "seconds": seconds,
        "rows": rows.iter().map(without_common).collect::<Vec<_>>(),
    });
    match options.only {
        // A part is no table.
        Some(_) => println!("{result:#}"),
        None => record(workspace, table.name, &result)?,
    }
    Ok(())
}

fn without_common(row: &Value) -> Value {
    let mut row = row.clone();
    if let Some(row) = row.as_object_mut() {
        row.remove("version");
        row.remove("device");
    }
    row
}

/// What all cells share.
struct Setup<'a> {
    workspace: &'a Workspace,
    table: &'a Table,
    data: &'a [&'a str],
    /// Batches of each context, of strategies that take steps, where they are not the protocol's.
    steps: Option<&'a str>,
    work: &'a Path,
    commit: String,
    seeds: Option<u32>,
    jobs: u32,
}

impl Setup<'_> {
    /// Runs the cells, so many at a time, and gives their rows in the table's order.
    fn all(&self, cells: &[&Cell]) -> Result<Vec<Value>> {
        let queue: Mutex<VecDeque<usize>> = Mutex::new((0..cells.len()).collect());
        let rows: Mutex<Vec<Option<Value>>> = Mutex::new(vec![None; cells.len()]);
        let work = || -> Result<()> {
            loop {
                let next = queue.lock().ok().and_then(|mut queue| queue.pop_front());
                let Some(place) = next else {
                    return Ok(());
                };
                let row = self.row(cells[place])?;
                if let Ok(mut rows) = rows.lock() {
                    rows[place] = Some(row);
                }
            }
        };
        let results: Vec<Result<()>> = thread::scope(|scope| {
            let workers: Vec<_> = (0..self.jobs).map(|_| scope.spawn(work)).collect();
            let joined = workers.into_iter().map(|worker| worker.join());
            let panicked = || Err(Failure::new("a cell's thread panicked"));
            joined
                .map(|result| result.unwrap_or_else(|_| panicked()))
                .collect()
        });
        results.into_iter().collect::<Result<()>>()?;
        let rows = rows.into_inner().unwrap_or_default();
        Ok(rows.into_iter().flatten().collect())
    }

    fn row(&self, cell: &Cell) -> Result<Value> {
        let name = cell.name();
        let usual = match cell.published {
            Some(Published { se, .. }) if se > 1.0 => 2 * self.table.seeds,
            _ => self.table.seeds,
        };
        let seeds = self.seeds.or(cell.seeds).unwrap_or(usual);
        let chosen = match cell.lambdas {
            [] => None,
            _ => Some(self.choose(cell)?),
        };
        let file = self.work.join(format!("{name}-{seeds}.json"));
        let result = kept(&file, &self.commit, || {
            let step = self
                .command(cell, &name)
                .arg("--seeds")
                .arg(seeds.to_string());
            match &chosen {
                Some(tried) => step.arg("--lambda").arg(best(tried).to_string()),
                None => step,
            }
        })?;
        let mut row = compared(cell, &result);
        if let Some(tried) = chosen {
            row["lambda"] = json!(best(&tried));
            let pair = |&Tried { lambda, accuracy }: &Tried| json!([lambda, accuracy]);
            row["tried"] = tried.iter().map(pair).collect();
        }
        eprintln!(
            "{name}: {} ± {} {}",
            row["value"], row["se"], row["published"]
        );
        Ok(row)
    }

    /// What one run comes to with each factor, on images that are held out.
    fn choose(&self, cell: &Cell) -> Result<Vec<Tried>> {
        let tried = cell.lambdas.iter().map(|&lambda| {
            let name = format!("{}-{lambda:e}", cell.name());
            let file = self.work.join(format!("{name}.json"));
            let result = kept(&file, &self.commit, || {
                self.command(cell, &name)
                    .args(["--validation", "0.1", "--lambda"])
                    .arg(lambda.to_string())
            })?;
            let accuracy = result["accuracy"].as_f64().unwrap_or(0.0);
            eprintln!("{name}: {accuracy}");
            Ok(Tried { lambda, accuracy })
        });
        tried.collect()
    }

    /// The runs of a cell, in a folder of that name.
    fn command(&self, cell: &Cell, folder: &str) -> Step {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let threads = (cores / self.jobs as usize).max(1);
        let step = Step::new(program(self.workspace, "forgeling"))
            .env("RAYON_NUM_THREADS", threads.to_string())
            .args([
                "continual",
                "run",
                "--json",
                "--device",
                "cpu",
                "--seed",
                "1",
            ])
            .args(self.data.iter().copied())
            .args(self.table.arguments.iter().copied())
            .args(["--setting", cell.setting, "--strategy", cell.strategy])
            .args(cell.arguments.iter().copied())
            .arg("--out")
            .arg(self.work.join(folder));
        match self.steps.filter(|_| cell.takes_steps()) {
            Some(steps) => step.args(["--iterations", steps]),
            None => step,
        }
    }
}

/// Every cell of every table, as it is reproduced but on a few invented characters: what it finds means nothing, that it finds
/// something is the test.
pub fn miniature(workspace: &Workspace) -> Result<()> {
    for table in [
        tables::split_mnist(),
        tables::mammoth_mnist(),
        tables::permuted_mnist(),
    ] {
        let work = work_folder(workspace, &format!("{}-miniature", table.name), true)?;
        let setup = Setup {
            workspace,
            table: &table,
            data: &["--data", "glyphs", "--per-class", "12"],
            steps: Some("4"),
            work: &work,
            // Nothing is recorded, and a checkout without its history is tested, too.
            commit: String::new(),
            seeds: Some(1),
            jobs: 2,
        };
        let cells: Vec<&Cell> = table.cells.iter().collect();
        for row in setup.all(&cells)? {
            if !row["value"]
                .as_f64()
                .is_some_and(|value| (0.0..=100.0).contains(&value))
            {
                return Err(Failure::new(format!("no accuracy: {row}")));
            }
        }
    }
    Ok(())
}

/// A factor, and the accuracy with it on images that are held out.
#[derive(Clone, Copy)]
struct Tried {
    lambda: f64,
    accuracy: f64,
}

/// The factor of the highest accuracy, the smallest of these.
fn best(tried: &[Tried]) -> f64 {
    // Of equal ones the last is the largest.
    let best = tried.iter().rev();
    let best = best.max_by(|a, b| a.accuracy.total_cmp(&b.accuracy));
    best.map_or(f64::NAN, |tried| tried.lambda)
}

/// A row of the result, beside what was published.
fn compared(cell: &Cell, result: &Value) -> Value {
    let percent = |key: &str| result[key].as_f64().map(|value| 100.0 * value);
    let (value, se) = (percent("accuracy"), percent("accuracy_se").unwrap_or(0.0));
    let mut row = json!({
        "figure": cell.name(),
        "value": value,
        "se": se,
        "published": cell.published.map(|published| published.value),
        "published_se": cell.published.map(|published| published.se),
        "source": cell.source,
        "note": cell.note,
    });
    let keys = [
        "accuracies",
        "seeds",
        "seeds_at_chance",
        "head",
        "strategy",
        "protocol",
        "matrix",
        "bwt",
        "fwt",
        "forgetting",
        "forgetting_first_last",
        "buffer_bytes",
        "state_bytes",
        "model_bytes",
        "examples_seen",
        "examples_replayed",
        "seconds",
        "version",
        "device",
        "commit",
    ];
    for key in keys {
        row[key] = result[key].clone();
    }
    if let (Some(value), Some(published)) = (value, cell.published) {
        // Two standard errors of the difference, and never less than three points.
        let allowed = 2.0 * se.hypot(published.se);
        row["difference"] = json!(value - published.value);
        row["allowed"] = json!(allowed.max(3.0));
        row["within"] = json!((value - published.value).abs() <= allowed.max(3.0));
    }
    if let (Some(value), Some(least)) = (value, cell.least) {
        row["least"] = json!(least);
        row["within"] = json!(value >= least);
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_have_names_of_their_own() {
        for table in [
            tables::split_mnist(),
            tables::mammoth_mnist(),
            tables::permuted_mnist(),
        ] {
            let mut names: Vec<String> = table.cells.iter().map(Cell::name).collect();
            let count = names.len();
            names.sort();
            names.dedup();
            assert_eq!(names.len(), count, "{}", table.name);
        }
    }

    #[test]
    fn the_smallest_of_the_best_factors_is_chosen() {
        let tried = [(0.1, 0.2), (1.0, 0.7), (10.0, 0.7), (100.0, 0.3)];
        let tried = tried.map(|(lambda, accuracy)| Tried { lambda, accuracy });
        assert_eq!(best(&tried), 1.0);
        assert_eq!(best(&tried[..1]), 0.1);
    }

    #[test]
    fn what_is_allowed_follows_from_both_errors() {
        let table = tables::split_mnist();
        let find = |name: &str| {
            let found = table.cells.iter().find(|cell| cell.name() == name);
            found.unwrap()
        };
        let result = |accuracy: f64| json!({ "accuracy": accuracy, "accuracy_se": 0.01 });
        let within =
            |name: &str, accuracy| compared(find(name), &result(accuracy))["within"].clone();
        assert_eq!(within("class-er", 0.859), true);
        assert_eq!(within("class-er", 0.857), false);
        // The published error is 3.6.
        assert_eq!(within("class-agem", 0.651 - 0.074), true);
        assert_eq!(within("class-agem", 0.651 - 0.076), false);
    }
}
