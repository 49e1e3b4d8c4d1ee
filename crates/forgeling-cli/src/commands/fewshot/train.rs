//! `forgeling fewshot train`

use forgeling::Result;
use forgeling::meta::{EvaluateConfig, Evaluation, FitSummary, Learner};
use serde_json::json;

use super::super::saving;
use super::{describe, episode, learning};
use crate::args::{Common, FewshotTrain};
use crate::output::Output;

pub async fn run(args: &FewshotTrain, common: &Common, output: &Output) -> Result<()> {
    let (method, seed) = (args.method, common.seed);
    let (data, test) = learning::load(&args.learning, output)?;
    let classes = data.class_count();
    let fit = learning::fit(&args.learning, method, seed, classes)?;
    let config = learning::learner(&args.learning, method, seed, classes)?;
    learning::check(&args.learning, &*data)?;
    if let Some(test) = &test {
        learning::check(&args.learning, &**test)?;
    }

    let device = learning::device(&args.learning, common, output).await?;
    let mut model = Learner::new(&config, &device)?;
    saving::try_model(&args.out, model.parameter_count())?;
    output.line(format_args!(
        "Training {method} on {classes} classes: {}-way {}-shot, {} values. Ctrl-C stops and saves.",
        fit.ways,
        fit.shots,
        model.parameter_count()
    ));
    let summary = learning::train(&mut model, &*data, fit, |_| ()).await?;
    saving::save_model(&args.out, &model.to_bytes().await?)?;
    output.line(format_args!(
        "{} episodes in {:.0} s ({:.1}/s){}: loss {:.3}, accuracy {:.1} % on the training classes.",
        summary.episodes,
        summary.seconds,
        summary.episodes_per_second,
        if summary.stopped { ", stopped" } else { "" },
        summary.loss,
        100.0 * summary.accuracy
    ));
    output.line(format_args!("Saved {}", args.out.display()));

    let mut test_evaluation = None;
    if let Some(test) = test {
        let (ways, shots, queries) = episode(args.learning.episode)?;
        let config = EvaluateConfig {
            ways,
            shots,
            queries,
            seed,
            ..Default::default()
        };
        let evaluation = model.evaluate(&*test, config).await?;
        output.line(format_args!(
            "Test classes ({}): {}",
            test.class_count(),
            describe(&evaluation, model.config())
        ));
        test_evaluation = Some(evaluation);
    }
    output.object(
        "fewshot train",
        &device,
        seed,
        object(args, &summary, test_evaluation.as_ref()),
    );
    Ok(())
}

fn object(
    args: &FewshotTrain,
    summary: &FitSummary,
    test: Option<&Evaluation>,
) -> serde_json::Value {
    let episode = args.learning.episode;
    let mut object = json!({
        "method": args.method,
        "ways": episode.ways,
        "shots": episode.shots,
        "queries": episode.queries,
        "episodes": summary.episodes,
        "loss": summary.loss,
        "accuracy": summary.accuracy,
        "episodes_per_second": summary.episodes_per_second,
        "seconds": summary.seconds,
        "stopped": summary.stopped,
        "model": args.out.display().to_string(),
    });
    if let Some(test) = test {
        object["test"] = json!(test);
    }
    object
}
