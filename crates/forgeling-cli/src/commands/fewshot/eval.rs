//! `forgeling fewshot eval`

use forgeling::Result;
use forgeling::data::tasks::{EpisodeList, EpisodeTasks};
use forgeling::data::{Dataset, EpisodeSampler, Split};
use forgeling::meta::{Evaluation, Learner};
use forgeling::report::Page;
use forgeling::train::model_file::write_atomically;
use serde_json::json;

use super::super::{open, saving};
use super::{describe, episode, sections};
use crate::args::{Common, FewshotEval};
use crate::data::GLYPH_CLASSES;
use crate::output::Output;

pub async fn run(args: &FewshotEval, common: &Common, output: &Output) -> Result<()> {
    let report = args
        .report
        .as_ref()
        .map(|folder| folder.join("report.html"));
    for place in [&report, &args.save_episodes].into_iter().flatten() {
        saving::try_file(place)?;
    }
    let device = open(common, output).await?;
    let model = Learner::load(&args.model, &device)?;
    let shape = model.input_shape();
    let mut images = args.data.load(Split::Test, shape, GLYPH_CLASSES)?;
    if let Some(exclude) = &args.exclude {
        let (kept, dropped) =
            images.without_groups_of(&exclude.load(Split::Train, shape, GLYPH_CLASSES)?);
        output.line(format_args!("Left out {dropped} classes."));
        images = kept;
    }
    let data = images.into_dataset(false)?;
    let list = episodes(args, common.seed, &*data)?;
    if let Some(path) = &args.save_episodes {
        write_atomically(path, list.to_json().as_bytes())?;
        output.line(format_args!("Saved {}", path.display()));
    }
    let evaluation = model
        .evaluate_list(&*data, &list, args.transductive)
        .await?;
    let sizes = list.sizes();
    output.line(format_args!(
        "{} on {} classes: {}, {:.1} episodes/s",
        sizes.map_or(
            "Episodes of several sizes".into(),
            |[ways, shots, _]| format!("{ways}-way {shots}-shot")
        ),
        data.class_count(),
        describe(&evaluation, model.config()),
        evaluation.episodes_per_second
    ));
    if let Some(path) = &report {
        let title = format!("{} on {}", model.method(), args.data);
        let page = page(&title, &model, &*data, &list, &evaluation).await?;
        write_atomically(path, page.render().as_bytes())?;
        output.line(format_args!("Report: {}", path.display()));
    }
    let details = &evaluation.details;
    output.object(
        "fewshot eval",
        &device,
        common.seed,
        json!({
            "method": model.method(),
            "ways": sizes.map(|[ways, ..]| ways),
            "shots": sizes.map(|[_, shots, _]| shots),
            "episodes": evaluation.episodes,
            "accuracy": evaluation.accuracy,
            "ci95": evaluation.ci95,
            "transductive": evaluation.transductive,
            "episodes_per_second": evaluation.episodes_per_second,
            "calibration_error": details.calibration.expected_error,
            "negative_log_likelihood": details.negative_log_likelihood,
            "accuracies": details.accuracies,
            "classes": details.classes,
        }),
    );
    Ok(())
}

fn episodes(args: &FewshotEval, seed: u64, data: &dyn Dataset) -> Result<EpisodeList> {
    if let Some(path) = &args.replay {
        return EpisodeList::load(path);
    }
    let (ways, shots, queries) = episode(args.episode)?;
    let sampler = EpisodeSampler::new(ways, shots, queries, seed);
    let mut tasks = EpisodeTasks::new(data, sampler, None, seed)?;
    let source = format!(
        "{}: {ways}-way {shots}-shot {queries}-query, seed {seed}",
        args.data
    );
    EpisodeList::draw(&source, &mut tasks, data, args.episodes)
}

async fn page(
    title: &str,
    model: &Learner,
    data: &dyn Dataset,
    list: &EpisodeList,
    evaluation: &Evaluation,
) -> Result<Page> {
    let page = Page::new(title)
        .result(&describe(evaluation, model.config()))
        .paragraph(&format!("Episodes: {}.", list.source()));
    let page = sections::calibration(page, evaluation)?;
    let page = sections::classes(page, evaluation);
    sections::episode(page, model, data, list).await
}
