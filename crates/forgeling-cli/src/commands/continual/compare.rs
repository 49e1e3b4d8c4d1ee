//! `forgeling continual compare`

use std::collections::BTreeSet;

use forgeling::{Error, Result};
use serde_json::{Value, json};

use super::plan::batch_size;
use super::{Bench, words};
use crate::args::{Common, ContinualCompare};
use crate::output::Output;

const OPERATION: &str = "continual_compare";

pub async fn run(args: &ContinualCompare, common: &Common, output: &Output) -> Result<()> {
    let mut once = BTreeSet::new();
    if let Some(twice) = args.strategies.iter().find(|name| !once.insert(**name)) {
        return Err(Error::invalid(OPERATION, "a strategy is named twice").got(twice));
    }
    let bench = Bench::new(&args.learning, common, &args.strategies, output).await?;
    for unequal in bench.unequal()? {
        if !args.allow_unequal {
            return Err(Error::invalid(
                OPERATION,
                format!("the strategies have unequal {unequal}"),
            )
            .expected("equal ones, or --allow-unequal"));
        }
        output.line(format_args!("Unequal {unequal}."));
    }
    let rows = bench.run(output).await?;
    let rows: Vec<Value> = rows.iter().map(|row| Value::Object(row.object())).collect();
    let mut object = bench.object();
    object.insert("rows".into(), json!(rows));
    output.object("continual compare", &bench.device, common.seed, object);
    Ok(())
}

impl Bench<'_> {
    /// What makes the comparison unequal, and who has what of it.
    fn unequal(&self) -> Result<Vec<String>> {
        let mut buffers: Vec<(String, String)> = Vec::new();
        let mut sizes = Vec::new();
        let mut batches = Vec::new();
        let mut networks = Vec::new();
        for (plan, runs) in &self.strategies {
            let name = plan.name.to_string();
            let graph = runs.first().map(|run| run.experiment.graph());
            let values = graph.map_or(0, |graph| graph.counts().all());
            networks.push((name.clone(), values.to_string()));
            let protocol = &plan.protocol;
            if let Some((budget, _)) = protocol.buffer {
                buffers.push((name.clone(), words::budget(budget)));
            }
            sizes.push((name.clone(), batch_size(protocol.pace).to_string()));
            batches.push((name, runs.first().map_or(Ok(0), |run| run.batches())?));
        }
        let counts = batches.iter().map(|(_, count)| *count);
        let (least, most) = (counts.clone().min(), counts.max());
        let least = least.unwrap_or(0);
        // The last batch of each context may be smaller where contexts come one by one.
        let contexts = self.experiment().scenario().len();
        let apart = most.unwrap_or(0) - least >= contexts;
        let batches = batches.into_iter().map(|(name, count)| {
            let told = if apart { count } else { least };
            (name, told.to_string())
        });
        Ok([
            ("buffers", buffers),
            ("batch sizes", sizes),
            ("numbers of batches", batches.collect()),
            ("numbers of values of the network", networks),
        ]
        .into_iter()
        .filter_map(|(what, values)| Some(format!("{what}: {}", differing(&values)?)))
        .collect())
    }
}

/// Who has what, if not all have the same.
fn differing(values: &[(String, String)]) -> Option<String> {
    let distinct: BTreeSet<&String> = values.iter().map(|(_, value)| value).collect();
    if distinct.len() < 2 {
        return None;
    }
    let said = values.iter().map(|(name, value)| format!("{name} {value}"));
    Some(said.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_said_of_all() {
        let values = |second: &str| {
            let pair = |name: &str, value: &str| (name.to_string(), value.to_string());
            [pair("er", "500"), pair("gdumb", second)]
        };
        assert_eq!(differing(&values("500")), None);
        let said = differing(&values("4400")).unwrap();
        assert_eq!(said, "er 500, gdumb 4400");
    }
}
