//! What is printed of images that were classified.

use std::path::{Path, PathBuf};

use forgeling::data::LeftOut;
use forgeling::train::{Answer, Prediction};
use forgeling::{Error, Result};
use serde::Serialize;
use serde_json::Value;

use crate::args::UnknownArgs;
use crate::output::{Output, describe};

const UNKNOWN: &str = "unknown";
/// Classes that JSON tells of each image, the most probable first.
const TOLD: usize = 5;

/// An image that was classified.
#[derive(Serialize)]
pub struct Row {
    path: String,
    /// `None` where the answer is unknown.
    class: Option<String>,
    /// Of the class, or of the most probable one.
    probability: f64,
    /// That it is of none of the classes.
    unknown: f64,
    classes: Vec<Class>,
}

#[derive(Serialize)]
struct Class {
    class: String,
    probability: f64,
}

/// An image that could not be.
#[derive(Serialize)]
pub struct Failed {
    path: String,
    message: String,
    error: Value,
}

impl UnknownArgs {
    /// Checks the threshold.
    pub fn check(self) -> Result<()> {
        match self.below.filter(|below| !(0.0..=1.0).contains(below)) {
            None => Ok(()),
            Some(other) => Err(Error::invalid("classify", "--unknown is out of range")
                .expected("0 to 1")
                .got(other)),
        }
    }

    /// The class that is named, if one is.
    fn named(self, answer: &Answer) -> Option<&Prediction> {
        let best = answer.predictions.first()?;
        let known = match self.below {
            Some(below) => best.probability >= below,
            None => best.probability >= answer.unknown,
        };
        known.then_some(best)
    }
}

/// Images that were read, with their paths, and those that were not.
pub struct Sorted<T> {
    pub read: Vec<(PathBuf, T)>,
    pub failed: Vec<(PathBuf, Error)>,
}

/// Tells those that were read from those that were not.
pub fn sorted<T>(paths: &[PathBuf], images: Vec<Result<T>>) -> Sorted<T> {
    let (read, failed) = (Vec::new(), Vec::new());
    let mut sorted = Sorted { read, failed };
    for (path, image) in paths.iter().zip(images) {
        match image {
            Ok(values) => sorted.read.push((path.clone(), values)),
            Err(error) => sorted.failed.push((path.clone(), error)),
        }
    }
    sorted
}

/// Tells each answer, and each image that there is none for; the command fails then.
pub fn tell(
    answers: &[(&Path, Answer)],
    failed: &[(PathBuf, Error)],
    args: UnknownArgs,
    output: &Output,
) -> (Vec<Row>, Vec<Failed>) {
    let rows: Vec<Row> = answers
        .iter()
        .map(|(path, answer)| row(path, answer, args))
        .collect();
    for row in &rows {
        output.line(row.text());
    }
    let failed = failed.iter().map(|(path, error)| {
        output.bad_part(error);
        Failed {
            path: path.display().to_string(),
            message: error.to_string(),
            error: describe(error),
        }
    });
    let failed: Vec<Failed> = failed.collect();
    (rows, failed)
}

fn row(path: &Path, answer: &Answer, args: UnknownArgs) -> Row {
    let classes = answer.predictions.iter().take(TOLD);
    Row {
        path: path.display().to_string(),
        class: args.named(answer).map(|found| found.label.clone()),
        probability: answer
            .predictions
            .first()
            .map_or(0.0, |found| found.probability),
        unknown: answer.unknown,
        classes: classes
            .map(|found| Class {
                class: found.label.clone(),
                probability: found.probability,
            })
            .collect(),
    }
}

impl Row {
    /// For example ` 93.1 %  mug               photos/1.jpg`.
    fn text(&self) -> String {
        match &self.class {
            Some(class) => format!(
                "{:>5.1} %  {class:<16}  {}",
                100.0 * self.probability,
                self.path
            ),
            None => {
                let nearest = self.classes.first().map_or("", |found| &found.class);
                let likely = 100.0 * self.probability;
                format!(
                    "         {UNKNOWN:<16}  {}  ({nearest} {likely:.1} %)",
                    self.path
                )
            }
        }
    }
}

/// Path, class and probability of each image, with a header; an unknown one has no class. Images that could not be read
/// have neither.
pub fn csv(rows: &[Row], failed: &[Failed]) -> String {
    let mut text = String::from("path,class,probability,unknown\n");
    for row in rows {
        let class = row.class.as_deref().unwrap_or_default();
        let (path, class) = (field(&row.path), field(class));
        text += &format!("{path},{class},{:.6},{:.6}\n", row.probability, row.unknown);
    }
    for failed in failed {
        text += &format!("{},,,\n", field(&failed.path));
    }
    text
}

/// A field as RFC 4180 has it.
fn field(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

/// Says what was left out.
pub fn left_out(left_out: &LeftOut, output: &Output) {
    if !left_out.is_empty() {
        output.line(format_args!("{left_out}."));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_quote_what_needs_it() {
        let answer = |label: &str, probability| Answer {
            predictions: vec![Prediction {
                label: label.into(),
                probability,
            }],
            unknown: 1.0 - probability,
        };
        let args = UnknownArgs { below: None };
        let rows = [
            row(Path::new("a,b.png"), &answer("a \"cup\"", 0.75), args),
            row(Path::new("c.png"), &answer("cup", 0.25), args),
        ];
        let failed = [Failed {
            path: "d.png".into(),
            message: String::new(),
            error: Value::Null,
        }];
        assert_eq!(
            csv(&rows, &failed),
            "path,class,probability,unknown\n\"a,b.png\",\"a \"\"cup\"\"\",0.750000,0.250000\n\
             c.png,,0.250000,0.750000\nd.png,,,\n"
        );
        let named = |below, probability| {
            let args = UnknownArgs { below: Some(below) };
            args.named(&answer("cup", probability)).is_some()
        };
        assert!(named(0.0, 0.1) && named(0.7, 0.75) && !named(0.8, 0.75));
        assert!(rows[1].text().contains("unknown") && rows[1].text().contains("cup 25.0 %"));
    }
}
