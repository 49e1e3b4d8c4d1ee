//! Writes photographs of pen strokes and of objects to try the command on: `forgeling-photographs DIR`.
//!
//! `DIR/strokes/TASK/` holds `support1`, `support5` (a folder for each of five characters) and `query`, whose files are
//! named after their character; `DIR/objects/` holds `ten` and `forty` of each of three objects, `test`, and `query`.
//! Prints one JSON object: what logistic regression and the nearest mean make of the objects' pixels.

use std::error::Error;
use std::path::{Path, PathBuf};

use forgeling_tests::baselines::{LogisticRegression, accuracy, nearest_mean};
use forgeling_tests::photographs::{OBJECTS, Photograph, object, stroke, write_tree};
use serde_json::json;

/// Tasks of five characters.
const TASKS: usize = 12;
const WAYS: usize = 5;
/// Examples from here on are to be classified.
const FIRST_QUERY: usize = 5;
const QUERIES: usize = 12;
/// Objects that nobody trains on.
const TEST: std::ops::Range<usize> = 100..160;
const SEED: u64 = 2;

fn main() -> Result<(), Box<dyn Error>> {
    let root = std::env::args_os().nth(1).map(PathBuf::from);
    let root = root.ok_or("forgeling-photographs DIR")?;
    for task in 0..TASKS {
        strokes(
            &root.join("strokes").join(task.to_string()),
            100 + task as u64,
        )?;
    }
    let objects = root.join("objects");
    for (name, examples) in [("ten", 0..10), ("forty", 0..40), ("test", TEST)] {
        let class = |class: usize| {
            let photographs = examples.clone().map(|example| object(SEED, class, example));
            (OBJECTS[class], photographs.collect::<Vec<_>>())
        };
        let classes: Vec<_> = (0..OBJECTS.len()).map(class).collect();
        write_tree(&objects.join(name), &classes)?;
    }
    for (class, name) in OBJECTS.iter().enumerate() {
        for example in TEST {
            let file = format!("query/{name}-{example}.jpg");
            write(&objects.join(file), &object(SEED, class, example))?;
        }
    }
    let baselines: Vec<_> = [10, 40].map(baselines).into_iter().collect();
    println!("{}", json!({ "baselines": baselines }));
    Ok(())
}

fn strokes(root: &Path, alphabet: u64) -> Result<(), Box<dyn Error>> {
    for shots in [1, 5] {
        let class = |class: usize| {
            let drawings = (0..shots).map(|example| stroke(alphabet, class, example));
            (format!("c{class}"), drawings.collect::<Vec<_>>())
        };
        let classes: Vec<_> = (0..WAYS).map(class).collect();
        write_tree(&root.join(format!("support{shots}")), &classes)?;
    }
    for class in 0..WAYS {
        for example in FIRST_QUERY..FIRST_QUERY + QUERIES {
            let file = format!("query/c{class}-{example}.jpg");
            write(&root.join(file), &stroke(alphabet, class, example))?;
        }
    }
    Ok(())
}

fn write(path: &Path, photograph: &Photograph) -> std::io::Result<()> {
    std::fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
    std::fs::write(path, photograph.jpeg(80))
}

/// What simple models make of 28 × 28 pixels in colour.
fn baselines(each: usize) -> serde_json::Value {
    let pixels = |examples: std::ops::Range<usize>| {
        let (mut rows, mut labels) = (Vec::new(), Vec::new());
        for class in 0..OBJECTS.len() {
            for example in examples.clone() {
                rows.extend(object(SEED, class, example).thumbnail(28));
                labels.push(class);
            }
        }
        (rows, labels)
    };
    let ((train, labels), (test, truth)) = (pixels(0..each), pixels(TEST));
    let regression = LogisticRegression::fit(&train, &labels).predict(&test);
    json!({
        "examples of each class": each,
        "logistic regression": accuracy(&regression, &truth),
        "nearest mean": accuracy(&nearest_mean(&train, &labels, &test), &truth),
    })
}
