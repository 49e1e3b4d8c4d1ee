//! `forgeling fewshot eval`

use forgeling::data::tasks::{EpisodeList, EpisodeTasks};
use forgeling::data::{Dataset, EpisodeSampler, Split};
use forgeling::meta::{Evaluation, Learner};
use forgeling::report::Page;
use forgeling::train::model_file::write_atomically;
use forgeling::{Error, Result};
use serde_json::json;

use super::super::{load_learner, open, saving};
use super::learning::{in_channels, warn_of_shared};
use super::{describe, episode, evaluate, sections};
use crate::args::{Common, FewshotEval};
use crate::data::{DataSource, GLYPH_CLASSES, Images, Wanted};
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
    let model = load_learner(&args.model, &device)?;
    let shape = model.input_shape();
    let wanted = Wanted {
        split: Split::Test,
        size: shape.height,
        channels: Some(shape.channels),
        glyphs: GLYPH_CLASSES,
        pictures: &args.pictures,
        model: model.pictures(),
    };
    let load = |source: &DataSource, split| -> Result<Images> {
        let loaded = source.load(Wanted { split, ..wanted })?;
        loaded.notes.iter().for_each(|note| output.line(note));
        Ok(loaded.images)
    };
    let mut images = load(&args.data, Split::Test)?;
    if let Some(exclude) = &args.exclude {
        let (kept, dropped) = images.without_groups_of(&load(exclude, Split::Train)?);
        output.line(format_args!("Left out {dropped} classes."));
        images = kept;
    }
    let trained = &model.history().classes;
    warn_of_shared(&args.data, trained, &images.class_names(), output);
    let data = in_channels(images.into_dataset(false)?, wanted.channels)?;
    let list = episodes(args, common.seed, &*data)?;
    if let Some(path) = &args.save_episodes {
        write_atomically(path, list.to_json().as_bytes())?;
        output.line(format_args!("Saved {}", path.display()));
    }
    let evaluation = evaluate(&model, &*data, &list, args.transductive).await?;
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
        let page = page(args, &model, &*data, &list, &evaluation).await?;
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
        let list = EpisodeList::load(path)?;
        let single = list.episodes().iter();
        let single = single.filter(|episode| episode.classes.len() < 2).count();
        if single > 0 {
            let what = "episodes of one class, of which every answer is right";
            return Err(Error::bad_data("replay_episodes", what)
                .expected("at least 2 classes in every episode")
                .got(format!("{single} with fewer"))
                .path(path));
        }
        return Ok(list);
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
    args: &FewshotEval,
    model: &Learner,
    data: &dyn Dataset,
    list: &EpisodeList,
    evaluation: &Evaluation,
) -> Result<Page> {
    let method = model.method();
    let page = Page::new(&format!("{method} on {}", args.data))
        .result(&describe(evaluation, model.config()))
        .paragraph(&format!("Episodes: {}.", list.source()));
    let page = sections::calibration(page, evaluation)?;
    let page = sections::classes(page, evaluation);
    let page = sections::episode(page, model, data, list).await?;
    let values = model.counts().all();
    let rows = [
        (
            "model",
            format!("{}: {method}, {values} values", args.model.display()),
        ),
        (
            "data",
            format!("{}: {} classes", args.data, data.class_count()),
        ),
    ];
    Ok(sections::origin(page, &rows))
}
