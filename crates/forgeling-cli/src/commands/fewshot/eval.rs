//! `forgeling fewshot eval`

use forgeling::Result;
use forgeling::data::{Dataset, Split};
use forgeling::meta::{EvaluateConfig, Learner};
use serde_json::json;

use super::super::open;
use super::{describe, episode};
use crate::args::{Common, FewshotEval};
use crate::data::GLYPH_CLASSES;
use crate::output::Output;

pub async fn run(args: &FewshotEval, common: &Common, output: &Output) -> Result<()> {
    let (ways, shots, queries) = episode(args.episode)?;
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
    let config = EvaluateConfig {
        ways,
        shots,
        queries,
        episodes: args.episodes,
        transductive: args.transductive,
        seed: common.seed,
    };
    let evaluation = model.evaluate(&*data, config).await?;
    output.line(format_args!(
        "{ways}-way {shots}-shot on {} classes: {}, {:.1} episodes/s",
        data.class_count(),
        describe(&evaluation),
        evaluation.episodes_per_second
    ));
    output.object(
        "fewshot eval",
        &device,
        common.seed,
        json!({
            "method": "protonet",
            "ways": ways,
            "shots": shots,
            "episodes": evaluation.episodes,
            "accuracy": evaluation.accuracy,
            "ci95": evaluation.ci95,
            "transductive": evaluation.transductive,
            "episodes_per_second": evaluation.episodes_per_second,
        }),
    );
    Ok(())
}
