//! BENCHMARKS.md: one section per benchmark, each between two markers and replaced in place.

use super::measurement::{self, Measurement};
use crate::error::{Failure, Result};

/// The document before the first benchmark.
pub const EMPTY: &str = "# Benchmarks

`cargo xtask bench` writes the sections below; text outside their markers stays as it is. Times are
milliseconds, `ratio` is a peer's median over ours: above 1 is faster.
";

/// What is recorded of one run of a benchmark.
pub struct Section<'a> {
    pub name: &'a str,
    pub command: String,
    pub date: String,
    pub version: &'a str,
    /// How the figures were taken, one paragraph.
    pub note: &'a str,
    pub measurements: &'a [Measurement],
}

impl Section<'_> {
    fn render(&self) -> String {
        let mut devices: Vec<&str> = Vec::new();
        for measurement in self.measurements {
            if !devices.contains(&measurement.device.as_str()) {
                devices.push(&measurement.device);
            }
        }
        format!(
            "## {}\n\n`{}`, {}, forgeling {}, on {}\n\n{}\n\n{}",
            self.name,
            self.command,
            self.date,
            self.version,
            devices.join("; "),
            wrapped(self.note),
            measurement::table(self.measurements)
        )
    }
}

/// Lines of at most 120 characters.
fn wrapped(text: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + word.chars().count() < 120 => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines.join("\n")
}

/// Replaces the section of the same name, or adds it at the end.
pub fn replace(document: &str, section: &Section<'_>) -> Result<String> {
    let start = format!("<!-- bench:{} -->", section.name);
    let end = format!("<!-- /bench:{} -->", section.name);
    let block = format!("{start}\n{}\n{end}", section.render());
    let Some((before, rest)) = document.split_once(&start) else {
        return Ok(format!("{}\n\n{block}\n", document.trim_end()));
    };
    let (_, after) = rest.split_once(&end).ok_or_else(|| {
        Failure::new(format!(
            "BENCHMARKS.md has `{start}` but no `{end}` after it"
        ))
    })?;
    Ok(format!("{before}{block}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measurement(workload: &str) -> [Measurement; 1] {
        [Measurement {
            workload: workload.to_owned(),
            implementation: "forgeling".to_owned(),
            device: "lavapipe".to_owned(),
            median_ms: 2.0,
            min_ms: 1.0,
            max_ms: 3.0,
            rounds: 9,
            steps: None,
            open_ms: None,
            first_ms: None,
            launches: None,
            bytes: None,
            peak_bytes: None,
            peak_share: None,
            planned_bytes: None,
            last_bytes: None,
            slopes: None,
            sync_ms: None,
            ratio: None,
            episodes_per_second: None,
        }]
    }

    fn section<'a>(name: &'a str, measurements: &'a [Measurement]) -> Section<'a> {
        Section {
            name,
            command: format!("cargo xtask bench {name}"),
            date: "2026-01-02".to_owned(),
            version: "0.1.0",
            note: "Alone on the machine.",
            measurements,
        }
    }

    #[test]
    fn sections_are_added_then_replaced_in_place() {
        let (old, new, other) = (measurement("old"), measurement("new"), measurement("other"));
        let first = replace(EMPTY, &section("cpu", &old)).unwrap();
        let second = replace(&first, &section("gpu", &other)).unwrap();
        let by_hand = second.replace("<!-- bench:gpu -->", "A remark.\n\n<!-- bench:gpu -->");
        let third = replace(&by_hand, &section("cpu", &new)).unwrap();
        assert!(third.starts_with(EMPTY));
        assert!(third.contains("A remark.") && third.contains("| other"));
        assert!(third.contains("| new") && !third.contains("| old"));
        assert!(third.find("bench:cpu").unwrap() < third.find("bench:gpu").unwrap());
        assert_eq!(replace(&third, &section("cpu", &new)).unwrap(), third);
        assert!(
            third.contains("`cargo xtask bench cpu`, 2026-01-02, forgeling 0.1.0, on lavapipe")
        );
    }

    #[test]
    fn the_note_stands_before_the_table() {
        let rows = measurement("x");
        let text = replace(EMPTY, &section("cpu", &rows)).unwrap();
        assert!(text.contains("Alone on the machine.\n\n|"), "{text}");
    }

    #[test]
    fn long_notes_are_wrapped() {
        let text = wrapped(&"word ".repeat(50));
        assert_eq!(text.lines().count(), 3);
        assert!(
            text.lines()
                .all(|line| line.len() <= 120 && !line.ends_with(' '))
        );
        assert_eq!(wrapped(""), "");
    }

    #[test]
    fn a_marker_without_its_end_is_not_overwritten() {
        let rows = measurement("x");
        let broken = "# B\n<!-- bench:cpu -->\nkept\n";
        assert!(replace(broken, &section("cpu", &rows)).is_err());
    }
}
