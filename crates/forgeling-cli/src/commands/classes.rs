//! How well each class is told apart.

use forgeling::train::Tally;
use serde::Serialize;

use crate::output::Output;

/// Classes that are listed; of more, those that are classified worst.
const TOLD: usize = 12;

/// One class.
#[derive(Serialize)]
pub struct Row {
    class: String,
    examples: usize,
    accuracy: f64,
}

/// The classes that there are examples of.
pub fn rows(names: &[String], tallies: &[Tally]) -> Vec<Row> {
    let with_examples = names
        .iter()
        .zip(tallies)
        .filter(|(_, tally)| tally.total > 0);
    with_examples
        .map(|(name, tally)| Row {
            class: name.clone(),
            examples: tally.total,
            accuracy: tally.accuracy(),
        })
        .collect()
}

/// A line for each class, the worst first where there are many.
pub fn tell(rows: &[Row], output: &Output) {
    let mut rows: Vec<&Row> = rows.iter().collect();
    if rows.len() > TOLD {
        rows.sort_by(|a, b| a.accuracy.total_cmp(&b.accuracy));
        rows.truncate(TOLD);
        output.line(format_args!("The {TOLD} classes that are told least well:"));
    }
    let widest = rows.iter().map(|row| row.class.chars().count()).max();
    let width = widest.unwrap_or(0).min(32);
    for row in rows {
        output.line(format_args!(
            "  {:<width$}  {:>6.1} % of {}",
            row.class,
            100.0 * row.accuracy,
            row.examples
        ));
    }
}
