//! One line of a benchmark's output, and the table of many.

use serde_json::Value;

use crate::error::{Failure, Result};

/// How long one implementation took for one workload.
#[derive(Debug, PartialEq)]
pub struct Measurement {
    pub workload: String,
    pub implementation: String,
    pub device: String,
    pub median_ms: f64,
    pub min_ms: f64,
    pub max_ms: f64,
    pub rounds: u64,
    /// Steps of a round.
    pub steps: Option<u64>,
    /// Milliseconds of the very first step, which compiles kernels.
    pub open_ms: Option<f64>,
    pub first_ms: Option<f64>,
    /// Kernels launched on a GPU in one step.
    pub launches: Option<u64>,
    pub bytes: Option<u64>,
    pub peak_bytes: Option<u64>,
    /// Parts of the peak of plain training.
    pub peak_share: Option<f64>,
    /// What the peak was planned to be.
    pub planned_bytes: Option<u64>,
    /// At the end of a long run: in use on the device, reserved there, and of the whole process.
    pub last_bytes: Option<[f64; 3]>,
    /// Bytes by which these grow in a step.
    pub slopes: Option<[f64; 3]>,
    /// Milliseconds of a step in which no device computed, where there are several.
    pub sync_ms: Option<f64>,
    /// A peer's median over ours; above 1 is faster.
    pub ratio: Option<f64>,
    pub episodes_per_second: Option<f64>,
}

impl Measurement {
    /// Reads one JSON object. Keys that are not known are left alone.
    pub fn parse(line: &str) -> Result<Self> {
        let value: Value = serde_json::from_str(line)
            .map_err(|cause| Failure::new(format!("not a measurement: {cause}: {line}")))?;
        let text = |key: &str| {
            value[key]
                .as_str()
                .map(str::to_owned)
                .ok_or_else(|| missing(key, line))
        };
        let number = |key: &str| value[key].as_f64().ok_or_else(|| missing(key, line));
        Ok(Self {
            workload: text("workload")?,
            implementation: text("implementation")?,
            device: text("device")?,
            median_ms: number("median_ms")?,
            min_ms: number("min_ms")?,
            max_ms: number("max_ms")?,
            rounds: value["rounds"]
                .as_u64()
                .ok_or_else(|| missing("rounds", line))?,
            steps: value["steps"].as_u64(),
            open_ms: value["open_ms"].as_f64(),
            first_ms: value["first_ms"].as_f64(),
            launches: value["launches"].as_u64(),
            bytes: value["bytes"].as_u64(),
            peak_bytes: value["peak_bytes"].as_u64(),
            peak_share: value["peak_share"].as_f64(),
            planned_bytes: value["planned_bytes"].as_u64(),
            last_bytes: three(&value["last_bytes"]),
            slopes: three(&value["slopes"]),
            sync_ms: value["sync_ms"].as_f64(),
            ratio: value["ratio"].as_f64(),
            episodes_per_second: value["episodes_per_second"].as_f64(),
        })
    }

    /// One line for whoever waits.
    pub fn progress(&self) -> String {
        format!(
            "{}, {}: {} ms",
            self.workload,
            self.implementation,
            milliseconds(self.median_ms)
        )
    }
}

fn three(value: &Value) -> Option<[f64; 3]> {
    let numbers: Option<Vec<f64>> = value.as_array()?.iter().map(Value::as_f64).collect();
    numbers?.try_into().ok()
}

fn missing(key: &str, line: &str) -> Failure {
    Failure::new(format!("a measurement without a usable `{key}`: {line}"))
}

/// A Markdown table, its columns aligned so that it also reads well in a terminal. The columns that not
/// every benchmark has appear where one measurement has them.
pub fn table(measurements: &[Measurement]) -> String {
    let mut rows = vec![
        [
            "workload",
            "implementation",
            "median ms",
            "min",
            "max",
            "rounds",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    rows.extend(measurements.iter().map(|m| {
        vec![
            cell(&m.workload),
            cell(&m.implementation),
            milliseconds(m.median_ms),
            milliseconds(m.min_ms),
            milliseconds(m.max_ms),
            m.rounds.to_string(),
        ]
    }));
    let steps = measurements.iter().map(|m| m.steps.map(|s| s.to_string()));
    optional(&mut rows, "steps", steps);
    let openings = measurements.iter().map(|m| m.open_ms.map(milliseconds));
    optional(&mut rows, "opening", openings);
    let firsts = measurements.iter().map(|m| m.first_ms.map(milliseconds));
    optional(&mut rows, "first step", firsts);
    let syncs = measurements.iter().map(|m| m.sync_ms.map(milliseconds));
    optional(&mut rows, "sync", syncs);
    let launches = measurements
        .iter()
        .map(|m| m.launches.map(|l| l.to_string()));
    optional(&mut rows, "launches", launches);
    let megabytes = |bytes: Option<u64>| bytes.map(|b| format!("{:.1}", b as f64 / 1e6));
    optional(
        &mut rows,
        "MB moved",
        measurements.iter().map(|m| megabytes(m.bytes)),
    );
    optional(
        &mut rows,
        "MB at peak",
        measurements.iter().map(|m| megabytes(m.peak_bytes)),
    );
    let shares = measurements
        .iter()
        .map(|m| m.peak_share.map(|share| format!("{:.0} %", 100.0 * share)));
    optional(&mut rows, "of f32's", shares);
    optional(
        &mut rows,
        "MB planned",
        measurements.iter().map(|m| megabytes(m.planned_bytes)),
    );
    let errors = measurements.iter().map(|m| {
        let (planned, peak) = (m.planned_bytes? as f64, m.peak_bytes? as f64);
        Some(format!("{:+.1} %", 100.0 * (planned / peak - 1.0)))
    });
    optional(&mut rows, "error", errors);
    for (place, what) in ["in use", "reserved", "of process"].into_iter().enumerate() {
        let last = |m: &Measurement| m.last_bytes.map(|last| format!("{:.2}", last[place] / 1e6));
        optional(
            &mut rows,
            &format!("MB {what}"),
            measurements.iter().map(last),
        );
        let slope = |m: &Measurement| m.slopes.map(|slopes| format!("{:+.1}", slopes[place]));
        optional(&mut rows, "B/step", measurements.iter().map(slope));
    }
    let ratios = measurements
        .iter()
        .map(|m| m.ratio.map(|r| format!("{r:.2}")));
    optional(&mut rows, "ratio", ratios);
    let rates = measurements
        .iter()
        .map(|m| m.episodes_per_second.map(|r| format!("{r:.1}")));
    optional(&mut rows, "episodes/s", rates);
    layout(&rows)
}

fn optional(rows: &mut [Vec<String>], title: &str, values: impl Iterator<Item = Option<String>>) {
    let values: Vec<_> = values.collect();
    if values.iter().all(Option::is_none) {
        return;
    }
    let cells =
        std::iter::once(title.to_owned()).chain(values.into_iter().map(Option::unwrap_or_default));
    for (row, cell) in rows.iter_mut().zip(cells) {
        row.push(cell);
    }
}

/// Two columns of text, then numbers.
fn layout(rows: &[Vec<String>]) -> String {
    const TEXTS: usize = 2;
    let columns = rows.first().map_or(0, Vec::len);
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            rows.iter()
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or(0)
                .max(2)
        })
        .collect();
    let line = |row: &Vec<String>| {
        let cells = row
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(column, (text, width))| {
                if column < TEXTS {
                    format!("{text:<width$}")
                } else {
                    format!("{text:>width$}")
                }
            });
        format!("| {} |", cells.collect::<Vec<_>>().join(" | "))
    };
    let rule = widths.iter().enumerate().map(|(column, width)| {
        if column < TEXTS {
            "-".repeat(*width)
        } else {
            format!("{}:", "-".repeat(width - 1))
        }
    });
    let rule = format!("| {} |", rule.collect::<Vec<_>>().join(" | "));
    let mut lines: Vec<_> = rows.iter().map(line).collect();
    lines.insert(1.min(lines.len()), rule);
    lines.join("\n")
}

/// Three significant digits are what a benchmark can promise.
fn milliseconds(value: f64) -> String {
    match value {
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v if v >= 1.0 => format!("{v:.2}"),
        v => format!("{v:.3}"),
    }
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"workload":"5-way | step","implementation":"forgeling","device":"flex","median_ms":12.345,"min_ms":0.5,"max_ms":150,"rounds":7,"later":true}"#;

    #[test]
    fn a_line_is_read() {
        let m = Measurement::parse(LINE).unwrap();
        assert_eq!(m.device, "flex");
        assert_eq!((m.median_ms, m.min_ms, m.max_ms), (12.345, 0.5, 150.0));
        assert_eq!((m.rounds, m.ratio, m.episodes_per_second), (7, None, None));
    }

    #[test]
    fn a_line_without_a_key_is_an_error_that_names_it() {
        let line = LINE.replace("median_ms", "median");
        let failure = Measurement::parse(&line).unwrap_err().to_string();
        assert!(failure.contains("`median_ms`"), "{failure}");
        assert!(Measurement::parse("{").is_err());
    }

    #[test]
    fn plans_and_slopes_have_columns() {
        let line = LINE.replace(
            "\"rounds\"",
            "\"peak_bytes\":2000000,\"planned_bytes\":1900000,\"peak_share\":0.5,\
             \"last_bytes\":[1000000,2000000,30000000],\"slopes\":[0.0,-2.5,12.25],\"rounds\"",
        );
        let text = table(&[Measurement::parse(&line).unwrap()]);
        for cell in ["50 %", "1.9", "-5.0 %", "30.00", "+0.0", "-2.5", "+12.2"] {
            assert!(text.contains(&format!(" {cell} |")), "{cell}: {text}");
        }
    }

    #[test]
    fn optional_columns_appear_where_one_row_has_them() {
        let mut two = [
            Measurement::parse(LINE).unwrap(),
            Measurement::parse(LINE).unwrap(),
        ];
        assert!(!table(&two).contains("ratio"));
        assert!(!table(&two).contains("steps"));
        two[1].ratio = Some(1.5);
        let text = table(&two);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 4);
        assert!(lines[0].ends_with("| ratio |"));
        assert!(lines[1].ends_with("| ----: |"));
        assert!(lines[2].starts_with("| 5-way \\| step | forgeling"));
        assert!(lines[2].contains("|      12.3 | 0.500 | 150 |"), "{text}");
        assert!(lines[3].ends_with("|  1.50 |"));
    }
}
