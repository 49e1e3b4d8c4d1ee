//! `forgeling tour`: learning to learn, shown on a machine with nothing but this program.

use forgeling::data::{
    EpisodeBatch, EpisodeSampler, Glyphs, Preparation, Queries, Shots, Split, Ways,
};
use forgeling::meta::{EvaluateConfig, Evaluation, FitConfig, FitSummary, Learner};
use forgeling::nn::zoo::Conv4Config;
use forgeling::report::{LineChart, Page, QueryPrediction, episode_figure};
use forgeling::train::{StepEvent, model_file::write_atomically};
use forgeling::{Device, Result};
use serde_json::json;

use super::devices::adapters;
use super::fewshot::describe;
use super::fewshot::sections::command;
use super::{open, saving, unless_interrupted};
use crate::args::{Common, Tour};
use crate::output::{Output, Progress, TestProgress};

/// Small enough that two cores need about a minute.
const FILTERS: usize = 32;
const TRAIN_CLASSES: usize = 1000;
/// Shown in the report: the same episode for everyone with the same seed.
const EPISODE_SEED: u64 = 77;

struct Story {
    before: Evaluation,
    after: Evaluation,
    summary: FitSummary,
    events: Vec<StepEvent>,
}

pub async fn run(args: &Tour, common: &Common, output: &Output) -> Result<()> {
    let begun = std::time::Instant::now();
    let device = open(common, output).await?;
    let config = Conv4Config {
        filters: FILTERS,
        ..Default::default()
    };
    let train = Glyphs::new(0, Split::Train, TRAIN_CLASSES)?;
    let test = Glyphs::new(0, Split::Test, TRAIN_CLASSES)?;
    let mut model = Learner::protonet(&config.graph()?, common.seed, &device)?;
    model.set_pictures(Preparation::DRAWINGS);
    let report = args.out.join("report.html");
    let model_path = args.out.join("model.safetensors");
    saving::try_file(&report)?;
    saving::try_model(&model_path, model.counts().all())?;

    let evaluation = EvaluateConfig {
        seed: common.seed,
        ..Default::default()
    };
    output.line(
        "The task: see 5 drawings of each of 5 characters never seen before, then name new drawings of them.",
    );
    // A fifth of the episodes is enough to see where it starts.
    let fewer = EvaluateConfig {
        episodes: 120,
        ..evaluation
    };
    let before = evaluate(&model, &test, fewer).await?;
    output.line(format_args!(
        "Untrained: {}",
        describe(&before, model.config())
    ));

    let fit = FitConfig {
        episodes: Some(args.episodes),
        seed: common.seed,
        ..Default::default()
    };
    let progress = Progress::new(model.method(), fit.episodes, None);
    let interrupted = unless_interrupted();
    let mut events = Vec::new();
    let summary = model
        .fit(&train, fit, |event| {
            progress.update(event);
            events.push(*event);
            interrupted()
        })
        .await;
    progress.finish();
    let summary = summary?;
    output.line(format_args!(
        "Trained:   {} episodes of other characters in {:.0} s ({:.1} episodes/s)",
        summary.episodes, summary.seconds, summary.episodes_per_second
    ));
    saving::save_model(&model_path, &model.to_bytes().await?)?;
    let after = evaluate(&model, &test, evaluation).await?;
    output.line(format_args!(
        "Now:       {}",
        describe(&after, model.config())
    ));

    let story = Story {
        before,
        after,
        summary,
        events,
    };
    let page = page(&story, &model, &test, &device, common).await?;
    write_atomically(&report, page.render().as_bytes())?;
    output.line(format_args!("Report: {}", report.display()));
    output.line(format_args!("Model:  {}", model_path.display()));
    output.line(
        "Next: forgeling fewshot classify --help shows how to use it on ten images of your own.",
    );
    output.object(
        "tour",
        &device,
        common.seed,
        json!({
            "accuracy_before": story.before.accuracy,
            "accuracy_after": story.after.accuracy,
            "ci95_after": story.after.ci95,
            "transductive": story.after.transductive,
            "episodes": story.summary.episodes,
            "episodes_per_second": story.summary.episodes_per_second,
            "seconds": begun.elapsed().as_secs_f64(),
            "report": report.display().to_string(),
            "model": model_path.display().to_string(),
        }),
    );
    Ok(())
}

/// With progress on standard error.
async fn evaluate(model: &Learner, test: &Glyphs, config: EvaluateConfig) -> Result<Evaluation> {
    let progress = TestProgress::new(config.episodes);
    let evaluation = model
        .evaluate_watched(test, config, |done| progress.update(done))
        .await;
    progress.finish();
    evaluation
}

async fn page(
    story: &Story,
    model: &Learner,
    test: &Glyphs,
    device: &Device,
    common: &Common,
) -> Result<Page> {
    let sampler = |seed| {
        EpisodeSampler::new(Ways::DEFAULT, Shots::DEFAULT, Queries::DEFAULT, seed).sample(test)
    };
    let batch = sampler(EPISODE_SEED)?;
    let verdicts = verdicts(model, &batch).await?;
    let right = verdicts
        .iter()
        .enumerate()
        .filter(|(row, v)| v.way == row / batch.queries.get())
        .count();
    let gain = 100.0 * (story.after.accuracy - story.before.accuracy);
    let curve = |name, value: fn(&StepEvent) -> f64| {
        let points = smooth(&story.events, value);
        LineChart::new("episode", name)
            .series(name, points)
            .render()
    };

    let (adapters, absence) = adapters(common).await;
    let mut devices: Vec<Vec<String>> = vec![vec!["used".into(), device.reason().into()]];
    devices.extend(adapters.iter().map(|a| {
        vec![
            format!("gpu:{}", a.index),
            format!("{} ({}, {})", a.name, a.kind.name(), a.backend),
        ]
    }));
    devices.extend(absence.map(|reason| vec!["GPU".into(), reason]));

    Ok(Page::new("Forgeling: a network that learned to learn characters")
        .result(&format!(
            "{:.1} % right after training, {:.1} % before: {gain:.1} points gained on characters it had never seen.",
            100.0 * story.after.accuracy,
            100.0 * story.before.accuracy
        ))
        .paragraph(
            "The network saw 5 drawings of each of 5 unknown characters and named new drawings of them. \
             It was trained on other characters of the same invented alphabet; none of the test characters \
             was among them. A prototypical network compares a drawing's features with the mean features \
             of each class.",
        )
        .table(
            &["", "5-way 5-shot accuracy, 95 % confidence interval"],
            &[
                vec!["untrained".to_string(), describe(&story.before, model.config())],
                vec!["trained".to_string(), describe(&story.after, model.config())],
            ],
        )
        .heading("Learning curve")
        .figure(&curve("loss in nats", |e| e.loss), "Cross entropy of the queries, mean of the last 20 steps")
        .figure(
            &curve("accuracy", |e| e.accuracy),
            "Accuracy on the training characters' queries, mean of the last 20 steps",
        )
        .heading("One episode")
        .figure(
            &episode_figure(&batch, &verdicts)?,
            &format!(
                "Each row is a character. {right} of {} queries are right (solid frames); a wrong one carries the \
                 number of the class it was taken for.",
                verdicts.len()
            ),
        )
        .heading("Run")
        .table(
            &["", ""],
            &[
                vec!["episodes".to_string(), story.summary.episodes.to_string()],
                vec!["training time".into(), format!("{:.0} s", story.summary.seconds)],
                vec!["speed".into(), format!("{:.1} episodes/s", story.summary.episodes_per_second)],
                vec![
                    "trained values".into(),
                    model.counts().trained.to_string(),
                ],
                vec!["command".into(), command()],
                vec!["version".into(), env!("CARGO_PKG_VERSION").into()],
            ],
        )
        .heading("Devices")
        .table(&["", ""], &devices))
}

/// What the model says of every query of the first episode of `batch`.
async fn verdicts(model: &Learner, batch: &EpisodeBatch) -> Result<Vec<QueryPrediction>> {
    let image = batch.shape.len();
    let names: Vec<String> = batch
        .support_labels()
        .iter()
        .map(usize::to_string)
        .collect();
    let support: Vec<(&str, &[f32])> = names
        .iter()
        .map(String::as_str)
        .zip(batch.support.chunks_exact(image))
        .collect();
    let mut classifier = model.classifier();
    classifier.add_all(&support).await?;
    let queries: Vec<&[f32]> = batch.query.chunks_exact(image).collect();
    let predictions = classifier.classify_all(&queries).await?;
    Ok(predictions
        .iter()
        .map(|ranked| QueryPrediction {
            way: ranked[0].label.parse().unwrap_or(usize::MAX),
            probability: ranked[0].probability,
        })
        .collect())
}

/// Means over the last 20 steps.
fn smooth(events: &[StepEvent], value: fn(&StepEvent) -> f64) -> Vec<(f64, f64)> {
    (0..events.len())
        .map(|end| {
            let window = &events[end.saturating_sub(19)..=end];
            let mean = window.iter().map(value).sum::<f64>() / window.len() as f64;
            (events[end].episode as f64, mean)
        })
        .collect()
}
