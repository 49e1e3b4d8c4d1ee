//! In a browser: a learner of one task after the other, on the CPU.
#![cfg(target_arch = "wasm32")]
#![recursion_limit = "256"]

#[path = "common/page.rs"]
mod page;

use std::future::Future;
use std::task::{Context, Waker};

use forgeling_wasm::{Continual, Dataset, Device};
use js_sys::Function;
use page::{device, object, plain, text};
use serde_json::{Value, json};
use wasm_bindgen::prelude::*;
use wasm_bindgen_test::{wasm_bindgen_test, wasm_bindgen_test_configure};

wasm_bindgen_test_configure!(run_in_browser);

const CLASSES: usize = 5;
const SIZE: usize = 12;
/// One never comes.
const TASKS: [[u32; 2]; 2] = [[4, 1], [0, 3]];

/// Glyphs of these classes, from the example with this number on.
fn glyphs(labels: &[u32], first: usize, each: usize) -> (Vec<f32>, Vec<u32>) {
    let data = Dataset::glyphs(0, "train", CLASSES, SIZE).unwrap();
    let (mut images, mut all) = (Vec::new(), Vec::new());
    for example in first..first + each {
        for &label in labels {
            images.extend(data.image(label as usize, example).unwrap());
            all.push(label);
        }
    }
    (images, all)
}

fn options(strategy: &str) -> Value {
    json!({
        "model": { "kind": "mlp", "size": SIZE, "hidden": 32 }, "classes": CLASSES, "strategy": strategy,
        "buffer": { "total": 60 }, "replayed": 20, "epochs": 10, "batchSize": 10, "seed": 3,
    })
}

fn pace() -> Function {
    Function::new_no_args("return Promise.resolve()")
}

async fn learn(learner: &Continual, labels: &[u32], first: usize) -> Result<Value, JsValue> {
    let (values, labels) = glyphs(labels, first, 20);
    let report = Function::new_no_args("return false");
    let summary = learner.learn(values, labels, pace(), report).await?;
    Ok(plain(&summary))
}

/// Two pushes of a task, and its end.
async fn task(learner: &Continual, labels: &[u32]) -> Vec<f64> {
    for first in [0, 20] {
        let summary = learn(learner, labels, first).await.unwrap();
        assert_eq!(summary["reason"], json!("finished"));
    }
    let (values, labels) = glyphs(labels, 40, 20);
    let row = learner.end_task(Some(values), Some(labels), pace()).await;
    row.unwrap()
}

async fn learner(device: &Device, strategy: &str) -> Continual {
    Continual::create(device, object(&options(strategy))).unwrap()
}

#[wasm_bindgen_test]
async fn what_is_replayed_is_not_forgotten_and_it_goes_on_from_bytes() {
    let device = device("cpu").await;
    let mut after = Vec::new();
    for strategy in ["naive", "er"] {
        let first = learner(&device, strategy).await;
        let row = task(&first, &TASKS[0]).await;
        assert!(row.len() == 1 && row[0] > 0.7, "{row:?}");
        let bytes = first.save().await.unwrap();
        let other = Continual::load(&device, &bytes, JsValue::UNDEFINED).unwrap();
        let row = task(&first, &TASKS[1]).await;
        assert_eq!(task(&other, &TASKS[1]).await, row);
        let matrix = plain(&first.accuracy_matrix().unwrap());
        assert_eq!(plain(&other.accuracy_matrix().unwrap()), matrix);
        let second: Vec<f64> = serde_json::from_value(matrix[1].clone()).unwrap();
        assert_eq!(second, row);
        after.push(row[0]);
        let (images, _) = glyphs(&[0, 1, 2, 3, 4], 70, 8);
        let probabilities = first.predict(images.clone()).await.unwrap();
        assert_eq!(other.predict(images.clone()).await.unwrap(), probabilities);
        assert!(
            probabilities
                .chunks(CLASSES)
                .all(|row| row[2] == 0.0 && row[0] > 0.0)
        );
        let answers = first.classify(images).await.unwrap();
        assert!(answers.len() == 40 && !answers.contains(&2));
        assert_eq!(first.steps().unwrap(), 2 * 2 * 10 * 4);
    }
    assert!(after[1] > after[0] + 0.2, "{after:?}");
}

#[wasm_bindgen_test]
async fn what_is_wrong_is_said() {
    let device = device("cpu").await;
    for (option, value) in [
        ("strategy", json!("none")),
        ("head", json!("per_task")),
        ("bufer", json!(1)),
        ("classes", json!(0)),
    ] {
        let mut options = options("er");
        options[option] = value;
        let error = Continual::create(&device, object(&options)).err();
        let error = error.unwrap_or_else(|| panic!("{option} must be refused"));
        assert_eq!(text(&error, "code"), "invalid_argument", "{option}");
    }
    let learner = learner(&device, "er").await;
    let error = learner.end_task(None, None, pace()).await.unwrap_err();
    assert_eq!(text(&error, "operation"), "end_task");
    let report = Function::new_no_args("return false");
    let (values, _) = glyphs(&[0], 0, 1);
    let learned = learner.learn(values, vec![5], pace(), report).await;
    let error = learned.unwrap_err();
    assert_eq!(text(&error, "got"), "5");
    learn(&learner, &[0, 1], 0).await.unwrap();
    assert!(
        learner
            .end_task(None, None, pace())
            .await
            .unwrap()
            .is_empty()
    );
    let mut bytes = learner.save().await.unwrap();
    let place = bytes.len() / 2;
    bytes[place] ^= 1;
    let error = Continual::load(&device, &bytes, JsValue::UNDEFINED).err();
    assert_eq!(text(&error.unwrap(), "code"), "bad_data");
    // While it learns, other calls fail.
    let (values, labels) = glyphs(&[0, 1], 0, 20);
    let report = Function::new_no_args("return false");
    let mut learning = Box::pin(learner.learn(values, labels, pace(), report));
    let mut context = Context::from_waker(Waker::noop());
    assert!(learning.as_mut().poll(&mut context).is_pending());
    let error = learner.accuracy_matrix().unwrap_err();
    assert!(text(&error, "message").contains("busy"));
    learning.await.unwrap();
    learner.accuracy_matrix().unwrap();
}
