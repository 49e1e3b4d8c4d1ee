//! Tables, figures and files of results.

use std::fmt::Write as _;

use forgeling::Result;
use forgeling::report::{Bar, LineChart, Page, accuracy_matrix_figure, bars_figure};
use forgeling::train::model_file::write_atomically;

use super::super::fewshot::sections::origin;
use super::super::saving;
use super::row::{self, COUNTS, MEASURES, Row};
use super::{Bench, words};
use crate::output::Output;

/// Contexts whose accuracies fit beside each other on a screen.
const SHOWN: usize = 16;
const FILES: [&str; 3] = ["report.html", "R.csv", "rows.csv"];

/// Whether all files can be written.
pub fn try_files(bench: &Bench<'_>) -> Result<()> {
    FILES
        .iter()
        .try_for_each(|name| saving::try_file(&bench.args.out.join(name)))
}

/// Prints the table, and writes all files.
pub fn write(bench: &Bench<'_>, rows: &[Row], output: &Output) -> Result<()> {
    let texts = [page(bench, rows)?.render(), matrices(rows), runs(rows)];
    for (name, text) in FILES.iter().zip(texts) {
        write_atomically(&bench.args.out.join(name), text.as_bytes())?;
    }
    say(rows, output);
    let out = &bench.args.out;
    output.line(format_args!("Report: {}", out.join(FILES[0]).display()));
    Ok(())
}

fn say(rows: &[Row], output: &Output) {
    let (columns, lines) = row::table(rows);
    let width = |texts: &mut dyn Iterator<Item = &String>| {
        texts.map(|text| text.chars().count()).max().unwrap_or(0)
    };
    let first = width(&mut lines.iter().map(|(label, _)| label));
    let widths: Vec<usize> = (0..columns.len())
        .map(|at| {
            let cells = lines.iter().map(|(_, cells)| &cells[at]);
            width(&mut std::iter::once(&columns[at]).chain(cells))
        })
        .collect();
    let line = |label: &str, cells: &[String]| {
        let cells = cells.iter().zip(&widths);
        let cells: String = cells
            .map(|(cell, width)| format!("  {cell:>width$}"))
            .collect();
        output.line(format_args!("{label:<first$}{cells}"));
    };
    line("", &columns);
    for (label, cells) in &lines {
        line(label, cells);
    }
    if let [row] = rows
        && let Some(matrix) = row.matrix()
    {
        say_matrix(&matrix, output);
    }
    for said in rows.iter().flat_map(Row::flagged) {
        output.line(said);
    }
}

fn say_matrix(matrix: &[Vec<f64>], output: &Output) {
    let contexts = matrix.first().map_or(0, Vec::len);
    if contexts > SHOWN {
        return;
    }
    let line = |label: &str, cells: &mut dyn Iterator<Item = String>| {
        let cells: String = cells.map(|cell| format!(" {cell:>6}")).collect();
        output.line(format_args!("{label:<12}{cells}"));
    };
    output.line("Accuracy in %, on context:");
    line("", &mut (1..=contexts).map(|context| context.to_string()));
    for (after, row) in matrix.iter().enumerate() {
        let label = match after {
            0 => "untrained".into(),
            after => format!("after {after}"),
        };
        let cells = row.iter().map(|value| format!("{:.1}", 100.0 * value));
        line(&label, &mut { cells });
    }
}

fn page(bench: &Bench<'_>, rows: &[Row]) -> Result<Page> {
    let (columns, lines) = row::table(rows);
    let header: Vec<&str> = std::iter::once("")
        .chain(columns.iter().map(|name| &name[..]))
        .collect();
    let cells: Vec<Vec<String>> = lines
        .into_iter()
        .map(|(label, cells)| std::iter::once(label).chain(cells).collect())
        .collect();
    let mut page = Page::new("Continual learning")
        .paragraph(&bench.said())
        .table(&header, &cells)
        .paragraph(
            "Means over runs, with standard errors. Accuracy is that at the end, every context counting the same. Backward \
             transfer: how much higher it is than right after each context was learned. Forgetting: how much lower than the \
             best before the last context, and than right after. Forward transfer: how much better a context is known before \
             it is learned than before training.",
        );
    for said in rows.iter().flat_map(Row::flagged) {
        page = page.paragraph(&said);
    }
    for row in rows {
        if let Some(matrix) = row.matrix() {
            let contexts = bench.experiment().scenario().len();
            let caption = format!(
                "Accuracy on each of {contexts} contexts (columns) before training and after each (rows). Framed: the context \
                 that was just learned."
            );
            page = page
                .heading(&row.name().to_string())
                .figure(&accuracy_matrix_figure(&matrix)?, &caption);
        }
    }
    page = page.heading("Accuracy over contexts").figure(
        &course(rows).render(),
        "Mean accuracy on the contexts so far, after each. Dashed: strategies without such a course.",
    );
    let forgetting: Vec<Bar> = rows.iter().filter_map(forgotten).collect();
    if !forgetting.is_empty() {
        page = page.heading("Forgetting").figure(
            &bars_figure("forgetting, points", &forgetting),
            "Best accuracy before the last context minus the last one, on average over contexts; with standard errors.",
        );
    }
    let protocols: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let changed = row.plan.changed.iter();
            let changed: Vec<String> = changed
                .map(|change| {
                    format!(
                        "{}: {} instead of {}",
                        change.option, change.to, change.from
                    )
                })
                .collect();
            let said = row.plan.said(bench.setting);
            vec![row.name().to_string(), said, changed.join("; ")]
        })
        .collect();
    let preset = words::preset(bench.preset);
    let others = format!("other than in the preset {preset}");
    page = page
        .heading("Protocols")
        .table(&["strategy", "protocol", &others], &protocols);
    Ok(origin(page, &bench.origin()))
}

/// Mean accuracy on the contexts so far.
fn course(rows: &[Row]) -> LineChart {
    let contexts = rows.iter().find_map(|row| Some(row.matrix()?.len() - 1));
    let last = contexts.unwrap_or(2) as f64;
    let chart = LineChart::new("contexts learned", "accuracy, %");
    rows.iter().fold(chart, |chart, row| {
        let name = row.name().to_string();
        match row.matrix() {
            Some(matrix) => {
                let mean = |(after, row): (usize, &Vec<f64>)| {
                    let sum: f64 = row[..after].iter().sum();
                    (after as f64, 100.0 * sum / after as f64)
                };
                let points: Vec<(f64, f64)> = matrix.iter().enumerate().skip(1).map(mean).collect();
                chart.series(&name, points)
            }
            None => {
                let accuracy = row.mean(&MEASURES[0]).map_or(f64::NAN, |found| found.mean);
                chart.dashed(&name, [1.0, last].map(|at| (at, 100.0 * accuracy)))
            }
        }
    })
}

fn forgotten(row: &Row) -> Option<Bar> {
    let measure = MEASURES
        .iter()
        .find(|measure| measure.key == "forgetting")?;
    let found = row.mean(measure)?;
    Some(Bar {
        name: row.name().to_string(),
        value: 100.0 * found.mean,
        // As the caption says, a standard error.
        ci95: 100.0 * found.se.unwrap_or(0.0),
    })
}

/// Every accuracy of every run, before training and after each context; of strategies without a course, at the end.
fn matrices(rows: &[Row]) -> String {
    let mut csv = String::from("strategy,seed,after,context,accuracy\n");
    for row in rows {
        for done in &row.runs {
            let found = &done.outcome.accuracies;
            let contexts = found.last.len();
            let lines: Vec<(usize, &Vec<f64>)> = match &found.matrix {
                Some(matrix) => matrix.rows().iter().enumerate().collect(),
                None => vec![(0, &found.before), (contexts, &found.last)],
            };
            for (after, accuracies) in lines {
                for (place, accuracy) in accuracies.iter().enumerate() {
                    let (name, seed, context) = (row.name(), done.seed, place + 1);
                    // Writing to a string does not fail.
                    let _ = writeln!(csv, "{name},{seed},{after},{context},{accuracy}");
                }
            }
        }
    }
    csv
}

/// Every run with its measures and counts.
fn runs(rows: &[Row]) -> String {
    let measures = MEASURES.iter().map(|measure| measure.key);
    let keys: Vec<&str> = measures
        .chain(COUNTS.iter().map(|count| count.key))
        .collect();
    let mut csv = format!("strategy,seed,head,buffer,at_chance,{}\n", keys.join(","));
    for row in rows {
        let protocol = &row.plan.protocol;
        let buffer = protocol.buffer.map(|(budget, _)| words::budget(budget));
        for done in &row.runs {
            let outcome = &done.outcome;
            let measures = MEASURES.iter().map(|measure| (measure.of)(outcome));
            let measures = measures.map(|value| value.map_or(String::new(), |v| v.to_string()));
            let counts = COUNTS.iter().map(|count| (count.of)(outcome).to_string());
            let values: Vec<String> = measures.chain(counts).collect();
            // Writing to a string does not fail.
            let _ = writeln!(
                csv,
                "{},{},{},{},{},{}",
                row.name(),
                done.seed,
                words::head(protocol.head),
                buffer.as_deref().unwrap_or(""),
                row::is_at_chance(outcome),
                values.join(",")
            );
        }
    }
    csv
}
