//! Few photographs of each kind of thing: EfficientNet-Lite0 with its published weights, frozen, beside Conv4 from scratch.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::photographs::right;
use super::{build_programs, commit, described, kept, program, record, work_folder};
use crate::data::{self, Set, create, remove};
use crate::error::{Failure, Result};
use crate::stamps;
use crate::step::Step;
use crate::workspace::Workspace;

const NAME: &str = "encoders";
const SHOTS: usize = 5;
/// Which photographs are the examples.
const DRAWS: usize = 5;

/// Where to begin.
#[derive(Args)]
pub struct Options {
    /// Forget an earlier run and begin again.
    #[arg(long)]
    restart: bool,
}

/// What answers.
struct Way {
    name: &'static str,
    arguments: &'static [&'static str],
}

const WAYS: [Way; 6] = [
    Way {
        name: "nearest class mean",
        arguments: &["--adapt", "prototypes"],
    },
    Way {
        name: "nearest class mean, with mirror images",
        arguments: &["--adapt", "prototypes", "--mirrored"],
    },
    Way {
        name: "linear discriminants",
        arguments: &["--adapt", "lda"],
    },
    Way {
        name: "linear discriminants, with mirror images",
        arguments: &["--adapt", "lda", "--mirrored"],
    },
    Way {
        name: "ridge regression",
        arguments: &["--adapt", "ridge"],
    },
    Way {
        name: "trained head",
        arguments: &["--adapt", "head"],
    },
];

/// Gets the weights and the photographs, classifies, trains and records.
pub fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    build_programs(workspace)?;
    let commit = commit(workspace)?;
    let work = work_folder(workspace, NAME, options.restart)?;
    let weights = data::ensure(workspace, Set::Lite0, None)?;
    let encoder = work.join("lite0.safetensors");
    kept(&work.join("import.json"), &commit, || {
        forgeling(workspace)
            .args(["import", "--json", "--model", "efficientnet_lite0"])
            .arg(weights.join("efficientnet-lite0-57934424.pth"))
            .arg("--out")
            .arg(&encoder)
    })?;
    let rendered = work.join("rendered");
    kept(&work.join("rendered.json"), &commit, || {
        Step::new(program(workspace, "forgeling-photographs")).arg(&rendered)
    })?;
    let sets = [
        ("stamps, seven kinds", stamps::ensure(workspace, None)?),
        (
            "rendered, three kinds",
            rendered.join("objects").join("forty"),
        ),
    ];
    let mut rows = Vec::new();
    let mut last = Value::Null;
    for (set, folder) in &sets {
        let mut found = vec![Vec::new(); WAYS.len() + 1];
        let mut milliseconds = f64::INFINITY;
        for draw in 0..DRAWS {
            let here = work.join(format!("{}-{draw}", &set[..6]));
            let task = Task::lay_out(folder, &here, draw)?;
            for (place, way) in WAYS.iter().enumerate() {
                let file = here.join(format!("way-{place}.json"));
                let answered = kept(&file, &commit, || {
                    let command = forgeling(workspace);
                    command
                        .args(["fewshot", "classify", "--json", "--device", "cpu"])
                        .args(["--no-cache", "--unknown", "0", "--model"])
                        .arg(&encoder)
                        .args(way.arguments)
                        .arg("--support")
                        .arg(&task.support)
                        .arg("--query")
                        .arg(&task.query)
                })?;
                if place == 0 {
                    let seconds = answered["features"]["seconds"].as_f64();
                    let images = answered["features"]["computed"].as_f64();
                    let each = seconds
                        .zip(images)
                        .map(|(seconds, images)| seconds / images);
                    milliseconds = milliseconds.min(1000.0 * each.unwrap_or(f64::INFINITY));
                }
                found[place].push(right(&answered)?);
                last = answered;
            }
            found[WAYS.len()].push(task.train_anew(workspace, &here, &commit)?);
        }
        let names = WAYS.iter().map(|way| format!("Lite0, {}", way.name));
        let names = names.chain(["Conv4 from scratch".into()]);
        for (name, accuracies) in names.zip(found) {
            let (mean, se) = mean_and_error(&accuracies);
            let figure = format!("{set}, {SHOTS} of each: {name}");
            eprintln!("{figure}: {mean:.3} ± {se:.3}");
            rows.push(json!({
                "figure": figure, "value": mean, "se": se, "accuracies": accuracies, "seeds": DRAWS,
                "published": null, "source": "nobody has published figures on these photographs",
            }));
        }
        rows.push(json!({
            "figure": format!("{set}: milliseconds a photograph, Lite0 at 224 x 224"),
            "value": milliseconds, "seeds": 1, "published": null,
            "source": "the fastest of five passes over all photographs",
        }));
    }
    record(workspace, NAME, &described(NAME, &rows, &last))
}

/// The program, built before, so that nothing changes on the way.
fn forgeling(workspace: &Workspace) -> Step {
    Step::new(program(workspace, "forgeling"))
}

/// Photographs as a user has them.
struct Task {
    /// A folder of examples for each kind.
    support: PathBuf,
    /// All others, each named after its kind.
    query: PathBuf,
}

impl Task {
    /// Copies photographs to where the commands look for them. Which are examples follows from `draw` and their names.
    fn lay_out(from: &Path, to: &Path, draw: usize) -> Result<Self> {
        let task = Self {
            support: to.join("support"),
            query: to.join("query"),
        };
        remove(&task.support)?;
        remove(&task.query)?;
        create(&task.query)?;
        for kind in kinds(from)? {
            let name = kind
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let mut photographs = pictures(&kind)?;
            photographs.sort_by_cached_key(|path| {
                let file = path.file_name().unwrap_or_default().to_string_lossy();
                Sha256::digest(format!("{draw} {file}"))
            });
            if photographs.len() <= SHOTS {
                return Err(Failure::new(format!(
                    "{} has too few photographs",
                    kind.display()
                )));
            }
            let examples = task.support.join(&name);
            create(&examples)?;
            for (place, photograph) in photographs.iter().enumerate() {
                let file = photograph.file_name().unwrap_or_default().to_string_lossy();
                let copy = match place < SHOTS {
                    true => examples.join(&*file),
                    false => task.query.join(format!("{name}-{file}")),
                };
                fs::copy(photograph, &copy)
                    .map_err(|cause| Failure::file("write", &copy, &cause))?;
            }
        }
        Ok(task)
    }

    /// The part that Conv4 names rightly after training on the examples alone, with the README's lines.
    fn train_anew(&self, workspace: &Workspace, work: &Path, commit: &str) -> Result<f64> {
        let model = work.join("conv4.safetensors");
        kept(&work.join("train.json"), commit, || {
            forgeling(workspace)
                .args(["train", "--json", "--device", "cpu", "--model", "conv4"])
                .args(["--input", "3x84x84", "--as", "pictures", "--data"])
                .arg(format!("folder:{}", self.support.display()))
                .arg("--out")
                .arg(&model)
        })?;
        let answered = kept(&work.join("predict.json"), commit, || {
            forgeling(workspace)
                .args([
                    "predict",
                    "--json",
                    "--device",
                    "cpu",
                    "--unknown",
                    "0",
                    "--model",
                ])
                .arg(&model)
                .arg("--images")
                .arg(&self.query)
        })?;
        right(&answered)
    }
}

fn kinds(folder: &Path) -> Result<Vec<PathBuf>> {
    data::entries(folder, |path| path.is_dir())
}

fn pictures(folder: &Path) -> Result<Vec<PathBuf>> {
    data::entries(folder, |path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        [".png", ".jpg"].iter().any(|ending| name.ends_with(ending))
    })
}

fn mean_and_error(values: &[f64]) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values
        .iter()
        .map(|value| (value - mean) * (value - mean))
        .sum();
    (mean, (squares / (count - 1.0) / count).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_draw_has_other_examples_and_all_photographs() {
        let folder =
            std::env::temp_dir().join(format!("forgeling-encoders-{}", std::process::id()));
        let (from, to) = (folder.join("from"), folder.join("to"));
        for (kind, count) in [("a", 11), ("b", 26)] {
            create(&from.join(kind)).unwrap();
            for image in 0..count {
                fs::write(from.join(kind).join(format!("{image:02}.png")), "").unwrap();
            }
        }
        let mut seen = Vec::new();
        for draw in 0..2 {
            let task = Task::lay_out(&from, &to, draw).unwrap();
            let support = |kind: &str| pictures(&task.support.join(kind)).unwrap();
            assert_eq!((support("a").len(), support("b").len()), (SHOTS, SHOTS));
            assert_eq!(pictures(&task.query).unwrap().len(), 11 + 26 - 2 * SHOTS);
            seen.extend(support("a"));
        }
        seen.sort();
        seen.dedup();
        assert!(seen.len() > SHOTS);
        remove(&folder).unwrap();
    }

    #[test]
    fn errors_of_means_come_out_by_hand() {
        let (mean, error) = mean_and_error(&[1.0, 2.0, 3.0]);
        assert_eq!(mean, 2.0);
        assert!((error - (1f64 / 3.0).sqrt()).abs() < 1e-12);
    }
}
