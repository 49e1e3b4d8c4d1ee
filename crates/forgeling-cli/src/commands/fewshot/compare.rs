//! `forgeling fewshot compare`

use std::fs;
use std::path::Path;

use forgeling::data::tasks::{EpisodeList, EpisodeTasks};
use forgeling::data::{Dataset, EpisodeSampler, Preparation, Split};
use forgeling::meta::{Classification, Evaluation, FitRun, Learner, LearnerConfig, Method};
use forgeling::report::{Bar, LineChart, Page, bars_figure};
use forgeling::train::TrainEvent;
use forgeling::train::model_file::write_atomically;
use forgeling::{Device, Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::saving;
use super::learning::{self, Data, Sets};
use super::{accuracy, describe, episode, evaluate, sections};
use crate::args::{Common, Compare, EpisodeArgs, LearningArgs};
use crate::data::{DataSource, GLYPH_CLASSES, Wanted};
use crate::output::Output;

/// Points of a learning curve.
const POINTS: usize = 40;

/// What one method came to, as it is kept.
#[derive(Clone, Serialize, Deserialize)]
struct Row {
    method: Method,
    accuracy: f64,
    ci95: f64,
    transductive: bool,
    /// Of training.
    seconds: f64,
    /// Trained on.
    episodes: usize,
    steps: usize,
    values: u64,
    /// Tested in a second.
    episodes_per_second: f64,
    details: Classification,
}

/// A method that was trained and tested.
#[derive(Serialize, Deserialize)]
struct Done {
    /// Everything that decides the result.
    settings: Value,
    rows: Vec<Row>,
    /// Episodes and accuracy.
    curve: Vec<(f64, f64)>,
}

pub async fn run(args: &Compare, common: &Common, output: &Output) -> Result<()> {
    let Sets {
        train: data,
        test,
        preparation,
        classes,
        ..
    } = learning::load(&args.learning, None, output)?;
    let test = match test {
        Some(test) => test,
        None => held_out(&args.learning, data.image_shape().channels)?,
    };
    learning::check(&args.learning, &*data)?;
    learning::check(&args.learning, &*test)?;
    let list = draw(args, common.seed, &*test)?;
    let device = learning::device(&args.learning, common, output).await?;
    let report = args.out.join("report.html");
    saving::try_file(&report)?;
    for method in &args.methods {
        for name in [format!("{method}.json"), format!("{method}.safetensors")] {
            saving::try_file(&args.out.join(name))?;
        }
    }
    write_atomically(&args.out.join("episodes.json"), list.to_json().as_bytes())?;

    let bench = Bench {
        args,
        seed: common.seed,
        data,
        test,
        preparation,
        classes,
        list,
        device,
    };
    let mut all = Vec::new();
    for &method in &args.methods {
        all.push(bench.method(method, output).await?);
    }
    let page = bench.page(&all).await?;
    write_atomically(&report, page.render().as_bytes())?;
    output.line(format_args!("Report: {}", report.display()));
    let rows: Vec<&Row> = all.iter().flat_map(|done| &done.rows).collect();
    output.object(
        "fewshot compare",
        &bench.device,
        common.seed,
        json!({ "rows": rows.iter().map(|row| summary(row)).collect::<Vec<_>>(), "report": report }),
    );
    Ok(())
}

/// The classes to test on where none are named: glyphs have some, files do not.
fn held_out(args: &LearningArgs, channels: usize) -> Result<Data> {
    if args.data != DataSource::Glyphs {
        return Err(Error::invalid("compare", "no images to test on").expected("--test-data"));
    }
    let test = args.data.load(Wanted {
        split: Split::Test,
        size: args.side(),
        channels: Some(channels),
        glyphs: GLYPH_CLASSES,
        pictures: &args.pictures,
        model: None,
    })?;
    learning::in_channels(test.images.into_dataset(false)?, Some(channels))
}

fn draw(args: &Compare, seed: u64, test: &dyn Dataset) -> Result<EpisodeList> {
    let (ways, shots, queries) = episode(EpisodeArgs {
        queries: args.test_queries.unwrap_or(args.learning.episode.queries),
        ..args.learning.episode
    })?;
    let sampler = EpisodeSampler::new(ways, shots, queries, seed);
    let mut tasks = EpisodeTasks::new(test, sampler, None, seed)?;
    let source = args
        .learning
        .test_data
        .as_ref()
        .unwrap_or(&args.learning.data);
    let source = format!("{source}: {ways}-way {shots}-shot {queries}-query, seed {seed}");
    EpisodeList::draw(&source, &mut tasks, test, args.test_episodes)
}

fn summary(row: &Row) -> Value {
    json!({
        "method": row.method,
        "accuracy": row.accuracy,
        "ci95": row.ci95,
        "transductive": row.transductive,
        "seconds": row.seconds,
        "episodes": row.episodes,
        "steps": row.steps,
        "values": row.values,
        "episodes_per_second": row.episodes_per_second,
        "calibration_error": row.details.calibration.expected_error,
    })
}

/// What all methods share.
struct Bench<'a> {
    args: &'a Compare,
    seed: u64,
    data: Data,
    test: Data,
    preparation: Preparation,
    /// Trained on, where their names tell them from others.
    classes: Vec<String>,
    list: EpisodeList,
    device: Device,
}

impl Bench<'_> {
    /// Trains and tests a method, unless that was done before.
    async fn method(&self, method: Method, output: &Output) -> Result<Done> {
        let args = &self.args.learning;
        let classes = self.data.class_count();
        let config = learning::learner(args, method, self.seed, &*self.data)?;
        let fit = learning::fit(args, method, self.seed, classes, self.preparation.kind)?;
        let settings = json!({
            "learner": config,
            "pictures": self.preparation,
            "fit": fit,
            "data": args.data.to_string(),
            "rotations": args.rotations,
            "episodes": self.list.source(),
            "count": self.list.episodes().len(),
            "version": env!("CARGO_PKG_VERSION"),
        });
        let kept = self.args.out.join(format!("{method}.json"));
        if !self.args.restart
            && let Some(done) = kept_result(&kept, &settings)
        {
            output.line(format_args!("{method}: done before, in {}", kept.display()));
            say(&done, &config, output);
            return Ok(done);
        }
        let mut model = Learner::new(&config, &self.device)?;
        model.set_pictures(self.preparation);
        saving::try_model(&self.model(method), model.counts().all())?;
        let mut curve = Vec::new();
        let run = FitRun::on(&*self.data);
        let trained = learning::train(&mut model, run, fit, output, |event| {
            if let TrainEvent::Step(step) = event {
                curve.push((step.examples as f64, step.accuracy.unwrap_or_default()));
            }
        })
        .await?;
        if trained.stopped {
            return Err(Error::new(
                forgeling::ErrorKind::Cancelled,
                "compare",
                format!("{method} was stopped; the methods before it are kept"),
            ));
        }
        model.set_classes(self.classes.clone());
        saving::save_model(&self.model(method), &model.to_bytes().await?)?;
        let mut rows = Vec::new();
        // The papers' figures of methods that adapt are transductive.
        let ways: &[bool] = if method.adapts() {
            &[false, true]
        } else {
            &[false]
        };
        for &transductive in ways {
            let found = evaluate(&model, &*self.test, &self.list, transductive).await?;
            rows.push(Row {
                method,
                accuracy: found.accuracy,
                ci95: found.ci95,
                transductive,
                seconds: trained.seconds,
                episodes: trained.episodes,
                steps: trained.steps,
                values: model.counts().all(),
                episodes_per_second: found.episodes_per_second,
                details: found.details,
            });
        }
        let done = Done {
            settings,
            rows,
            curve: thin(&curve),
        };
        write_atomically(&kept, json!(done).to_string().as_bytes())?;
        say(&done, &config, output);
        Ok(done)
    }

    fn model(&self, method: Method) -> std::path::PathBuf {
        self.args.out.join(format!("{method}.safetensors"))
    }

    async fn page(&self, all: &[Done]) -> Result<Page> {
        let (ways, shots, _) = episode(self.args.learning.episode)?;
        let mut rows: Vec<&Row> = all.iter().flat_map(|done| &done.rows).collect();
        rows.sort_by(|a, b| b.accuracy.total_cmp(&a.accuracy));
        let name = |row: &Row| match row.transductive {
            true => format!("{}, transductive", row.method),
            false => row.method.to_string(),
        };
        let bars: Vec<Bar> = rows
            .iter()
            .map(|row| Bar {
                name: name(row),
                value: 100.0 * row.accuracy,
                ci95: 100.0 * row.ci95,
            })
            .collect();
        let table: Vec<Vec<String>> = rows.iter().map(|row| cells(row)).collect();
        let curves = all.iter().fold(
            LineChart::new("training episodes", "accuracy"),
            |chart, done| {
                let method = done.rows.first().map_or("", |row| row.method.name());
                chart.series(method, done.curve.iter().copied())
            },
        );
        let page = Page::new("Few-shot methods side by side")
            .paragraph(&format!(
                "{ways}-way {shots}-shot. Every method was trained on {} with the same seed and answered the very same \
                 {} test episodes ({}), which episodes.json lists. An interval is 95 % of the mean over episodes.",
                self.args.learning.data,
                self.list.episodes().len(),
                self.list.source()
            ))
            .figure(&bars_figure("accuracy, %", &bars), "Accuracy on unseen classes")
            .table(
                &["method", "accuracy", "batch norm of queries", "calibration error", "trained", "values", "episodes/s"],
                &table,
            )
            .paragraph(
                "Transductive: batch norm sees the queries of an episode together, which usually raises the figure and \
                 cannot be had where queries come one by one.",
            )
            .heading("Learning curves")
            .figure(&curves.render(), "Accuracy on the training classes' queries");
        let Some(best) = rows.iter().find(|row| !row.transductive) else {
            return Ok(page);
        };
        let model = Learner::load(self.model(best.method), &self.device)?;
        let page = page.heading(&format!("The best: {}", best.method));
        let page = sections::calibration(page, &evaluation(best))?;
        let page = sections::classes(page, &evaluation(best));
        let page = sections::episode(page, &model, &*self.test, &self.list).await?;
        Ok(sections::origin(page, &self.origin(all)))
    }

    /// Models and data of the report.
    fn origin(&self, all: &[Done]) -> [(&'static str, String); 3] {
        let methods = all
            .iter()
            .filter_map(|done| Some(done.rows.first()?.method));
        let models = methods.map(|method| self.model(method).display().to_string());
        let args = &self.args.learning;
        let test = args.test_data.as_ref().unwrap_or(&args.data);
        let classes = |data: &Data| data.class_count();
        [
            ("models", models.collect::<Vec<_>>().join(", ")),
            (
                "data",
                format!("{}: {} classes", args.data, classes(&self.data)),
            ),
            (
                "test data",
                format!("{test}: {} classes", classes(&self.test)),
            ),
        ]
    }
}

fn say(done: &Done, config: &LearnerConfig, output: &Output) {
    for row in &done.rows {
        output.line(format_args!(
            "{:<10} {}; {} episodes in {:.0} s",
            row.method.name(),
            describe(&evaluation(row), config),
            row.episodes,
            row.seconds
        ));
    }
}

fn cells(row: &Row) -> Vec<String> {
    vec![
        row.method.to_string(),
        accuracy(row.accuracy, row.ci95),
        if row.transductive {
            "transductive"
        } else {
            "each query by itself"
        }
        .to_string(),
        format!("{:.2} %", 100.0 * row.details.calibration.expected_error),
        format!("{} episodes, {:.0} s", row.episodes, row.seconds),
        row.values.to_string(),
        format!("{:.1}", row.episodes_per_second),
    ]
}

fn evaluation(row: &Row) -> Evaluation {
    Evaluation {
        accuracy: row.accuracy,
        ci95: row.ci95,
        episodes: row.details.accuracies.len(),
        transductive: row.transductive,
        episodes_per_second: row.episodes_per_second,
        details: row.details.clone(),
    }
}

/// What is kept of an earlier run of the same settings.
fn kept_result(path: &Path, settings: &Value) -> Option<Done> {
    let done: Done = serde_json::from_str(&fs::read_to_string(path).ok()?).ok()?;
    (done.settings == *settings).then_some(done)
}

/// Means of as many points as a figure can show.
fn thin(curve: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let each = curve.len().div_ceil(POINTS).max(1);
    let mean = |part: &[(f64, f64)]| {
        let count = part.len() as f64;
        let accuracy = part.iter().map(|point| point.1).sum::<f64>() / count;
        (part[part.len() - 1].0, accuracy)
    };
    curve.chunks(each).map(mean).collect()
}
