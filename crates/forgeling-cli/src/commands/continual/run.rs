//! `forgeling continual run`

use forgeling::Result;
use serde_json::json;

use super::Bench;
use crate::args::{Common, ContinualRun};
use crate::output::Output;

pub async fn run(args: &ContinualRun, common: &Common, output: &Output) -> Result<()> {
    let bench = Bench::new(&args.learning, common, &[args.strategy], output).await?;
    let rows = bench.run(output).await?;
    for row in &rows {
        let mut object = row.object();
        object.insert("matrix".into(), json!(row.matrix()));
        object.extend(bench.object());
        output.object("continual run", &bench.device, common.seed, object);
    }
    Ok(())
}
