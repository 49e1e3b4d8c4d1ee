//! In a browser: a classifier in training on the page's own examples, on the CPU and on WebGPU.
#![cfg(target_arch = "wasm32")]
#![recursion_limit = "256"]

#[path = "common/page.rs"]
mod page;

use std::cell::RefCell;
use std::rc::Rc;

use forgeling_wasm::{ClassifierTrainer, Dataset, Device, Network, Profiling};
use js_sys::{Array, Function, Uint8Array};
use page::{device, object, plain, text};
use serde_json::{Value, json};
use wasm_bindgen::prelude::*;
use wasm_bindgen_test::{console_log, wasm_bindgen_test, wasm_bindgen_test_configure};

wasm_bindgen_test_configure!(run_in_browser);

const CLASSES: u32 = 3;
const PLACES: [&str; 2] = ["cpu", "gpu:0"];

/// Glyphs and their classes, from the example with this number on.
fn glyphs(size: usize, first: usize, each: usize) -> (Vec<f32>, Vec<u32>) {
    let data = Dataset::glyphs(3, "train", CLASSES as usize, size).unwrap();
    let (mut images, mut labels) = (Vec::new(), Vec::new());
    for example in first..first + each {
        for class in 0..CLASSES {
            images.extend(data.image(class as usize, example).unwrap());
            labels.push(class);
        }
    }
    (images, labels)
}

fn trainer(device: &Device, options: &Value, examples: &(Vec<f32>, Vec<u32>)) -> ClassifierTrainer {
    let mut all = json!({ "classes": ["a", "b", "c"], "hardware": { "precision": "f32" } });
    let entries = options.as_object().unwrap().clone();
    all.as_object_mut().unwrap().extend(entries);
    let trainer = ClassifierTrainer::create(device, object(&all));
    let trainer = trainer.unwrap_or_else(|error| panic!("{}", text(&error, "message")));
    trainer.add(&examples.0, &examples.1).unwrap();
    trainer
}

/// What training reports until it ends, or until `stop` steps are taken.
async fn events(
    trainer: &ClassifierTrainer,
    stop: Option<u64>,
    found: &[(&str, &Uint8Array)],
) -> Result<Vec<Value>, JsValue> {
    let told = Rc::new(RefCell::new(Vec::new()));
    let report = {
        let told = told.clone();
        Closure::<dyn FnMut(JsValue) -> bool>::new(move |event: JsValue| {
            let event = plain(&event);
            let over = stop.is_some() && event["step"].as_u64() == stop;
            told.borrow_mut().push(event);
            over
        })
    };
    let places = found.iter().map(|(place, _)| (*place).into()).collect();
    let bytes: Array = found
        .iter()
        .map(|(_, bytes)| JsValue::from(*bytes))
        .collect();
    let pace = Function::new_no_args("return Promise.resolve()");
    let report: Function = report.into_js_value().unchecked_into();
    trainer.fit(pace, report, true, None, places, bytes).await?;
    Ok(told.take())
}

fn named<'a>(events: &'a [Value], name: &str) -> Vec<&'a Value> {
    events
        .iter()
        .filter(|event| event["event"] == name)
        .collect()
}

fn losses(events: &[Value]) -> Vec<f64> {
    let steps = named(events, "step").into_iter();
    steps.map(|step| step["loss"].as_f64().unwrap()).collect()
}

/// The share of images whose class is the most probable one.
fn share_right(probabilities: &[f32], labels: &[u32]) -> f64 {
    let rows = probabilities.chunks(CLASSES as usize).zip(labels);
    let right = rows.filter(|(row, label)| {
        let own = row[**label as usize];
        row.iter().all(|&other| other <= own)
    });
    right.count() as f64 / labels.len() as f64
}

#[wasm_bindgen_test]
async fn every_network_learns_and_is_saved() {
    // Untrained networks, and those whose labels are shuffled, get a third right.
    for (model, epochs, floor) in [
        (json!({ "kind": "mlp", "size": 16, "hidden": 24 }), 12, 0.8),
        (json!({ "kind": "conv4", "size": 16, "filters": 6 }), 8, 0.9),
        (
            json!({ "kind": "resnet18", "size": 16, "channels": 1, "width": 2 }),
            6,
            0.6,
        ),
    ] {
        for place in PLACES {
            let device = device(place).await;
            let options = json!({
                "model": model, "epochs": epochs, "batchSize": 8, "learningRate": 5e-3, "validation": 0.2,
                "ema": { "decay": 0.5 }, "earlyStopping": { "patience": 50 }, "seed": 1,
                "optimizer": { "adam": { "weightDecay": 1e-3, "clipNorm": 5.0 } },
            });
            let trainer = trainer(&device, &options, &glyphs(16, 0, 20));
            let events = events(&trainer, None, &[]).await.unwrap();
            for (name, count) in [
                ("step", 6 * epochs),
                ("epoch", epochs),
                ("validated", epochs),
            ] {
                assert_eq!(named(&events, name).len(), count, "{name}");
            }
            let last = events.last().unwrap();
            assert_eq!(
                (&last["event"], &last["reason"]),
                (&json!("stopped"), &json!("finished"))
            );
            let losses = losses(&events);
            assert!(
                losses[losses.len() - 1] < 0.6 * losses[0],
                "{model} on {place}: {losses:?}"
            );

            let (images, labels) = glyphs(16, 100, 20);
            let found = trainer.predict(images.clone()).await.unwrap();
            let right = share_right(&found, &labels);
            console_log!("{model} on {place}: {right} right");
            assert!(right >= floor, "{model} on {place}: {right}");
            let sum: f32 = found.iter().sum();
            assert!((sum - labels.len() as f32).abs() < 1e-3);

            let network = Network::load(&device, trainer.save().await.unwrap()).await;
            let network = network.unwrap_or_else(|error| panic!("{}", text(&error, "message")));
            assert_eq!(network.predict(images).await.unwrap(), found);
            assert_eq!(network.classes(), ["a", "b", "c"]);
            assert_eq!(plain(&network.training().unwrap())["steps"], 6 * epochs);
            let config = plain(&network.config().unwrap());
            assert_eq!(config["model"], model["kind"]);
            assert_eq!(
                config["input"],
                json!({ "channels": 1, "height": 16, "width": 16 })
            );
            assert_eq!(config["classes"], json!(["a", "b", "c"]));
        }
    }
}

#[wasm_bindgen_test]
async fn a_budget_halves_the_micro_batch_and_keeps_the_losses() {
    for place in PLACES {
        let device = device(place).await;
        let examples = glyphs(16, 0, 200);
        // Half of the memory must suffice for the parameters and their gradients.
        let hidden = if place == "cpu" { 128 } else { 32 };
        let options = |hardware: Value| {
            json!({
                "model": { "kind": "mlp", "size": 16, "hidden": hidden }, "steps": 6, "batchSize": 512,
                "optimizer": { "sgd": {} }, "learningRate": 0.1, "hardware": hardware,
            })
        };
        let free = trainer(&device, &options(json!({ "preset": "fast" })), &examples);
        let plan = plain(&free.plan(None).unwrap());
        let peak = plan["peak"].as_u64().unwrap();
        let expected = events(&free, None, &[]).await.unwrap();
        assert!(named(&expected, "micro_batch").is_empty());
        // What was freed but not taken back would count for the next trainer.
        drop(free);

        // On the CPU only large buffers of our own count, which are less than what is planned for a GPU.
        let mut parts = if place == "cpu" { 2..=8 } else { 2..=2 };
        let (tight, got, budget) = loop {
            let part = parts.next().expect("one of the budgets is too small");
            let budget = peak / part;
            let hardware = json!({ "preset": "fast", "memoryBudget": { "bytes": budget } });
            let tight = trainer(&device, &options(hardware), &examples);
            let got = events(&tight, None, &[]).await.unwrap();
            if part > 7 || place != "cpu" || !named(&got, "micro_batch").is_empty() {
                break (tight, got, budget);
            }
        };
        let halved = named(&got, "micro_batch");
        console_log!("{place}: {peak} bytes planned, {budget} allowed: {halved:?}");
        assert!(!halved.is_empty(), "{got:?}");
        let micro = halved[halved.len() - 1]["examples"].as_u64().unwrap();
        assert!((32..=256).contains(&micro), "{micro}");
        for (got, expected) in losses(&got).iter().zip(losses(&expected)) {
            assert!(
                (got - expected).abs() < 1e-5,
                "{got} and {expected} on {place}"
            );
        }
        let report = plain(&tight.report().unwrap());
        let told = (&report["memory_budget"], &report["micro_batch"]);
        assert_eq!(told, (&json!(budget), &json!(micro)));
        let smaller = plain(&tight.plan(None).unwrap());
        assert!(smaller["peak"].as_u64().unwrap() < peak, "{smaller}");
    }
}

#[wasm_bindgen_test]
async fn a_run_goes_on_from_the_last_whole_checkpoint_bit_for_bit() {
    let device = device("cpu").await;
    let examples = glyphs(16, 0, 10);
    let options = json!({
        "model": { "kind": "conv4", "size": 16, "filters": 4 }, "epochs": 4, "batchSize": 7, "augment": true,
        "validation": 0.2, "ema": { "decay": 0.9 }, "checkpointEvery": 2,
        "schedule": { "kind": "cosine", "initial": 0.01, "floor": 0.0, "steps": 16 },
    });
    let whole = trainer(&device, &options, &examples);
    let expected = events(&whole, None, &[]).await.unwrap();
    let stopped = trainer(&device, &options, &examples);
    assert!(stopped.checkpoint().is_none());
    let first = events(&stopped, Some(6), &[]).await.unwrap();
    assert_eq!(first.last().unwrap()["reason"], "asked");
    let bytes = stopped.checkpoint().unwrap();

    let broken = bytes.slice(0, bytes.length());
    broken.set_index(500, broken.get_index(500) ^ 1);
    let again = trainer(&device, &options, &examples);
    let found = [("newer", &broken), ("older", &bytes)];
    let second = events(&again, None, &found).await.unwrap();
    let resumed = &second[0];
    assert_eq!(
        (&resumed["event"], &resumed["step"]),
        (&json!("resumed"), &json!(6))
    );
    let damaged = resumed["damaged"].as_array().unwrap();
    assert!(damaged.len() == 1 && damaged[0].as_str().unwrap().starts_with("newer: "));
    let both: Vec<f64> = losses(&first).into_iter().chain(losses(&second)).collect();
    assert_eq!(both, losses(&expected));
    let (images, _) = glyphs(16, 100, 4);
    let predicted = again.predict(images.clone()).await.unwrap();
    assert_eq!(predicted, whole.predict(images).await.unwrap());

    // The same trainer goes on where it was, too.
    let latest = stopped.checkpoint().unwrap();
    let second = events(&stopped, None, &[("own", &latest)]).await.unwrap();
    let both: Vec<f64> = losses(&first).into_iter().chain(losses(&second)).collect();
    assert_eq!(both, losses(&expected));
    // A checkpoint of another network is no checkpoint of this one.
    let other = json!({ "model": { "kind": "mlp", "size": 16 }, "epochs": 1 });
    let other = trainer(&device, &other, &examples);
    let wrong = events(&other, None, &[("foreign", &bytes)])
        .await
        .unwrap_err();
    assert_eq!(text(&wrong, "code"), "bad_data");
}

#[wasm_bindgen_test]
async fn training_can_be_profiled_and_is_left_as_it_was() {
    for place in PLACES {
        let device = device(place).await;
        let options = json!({ "model": { "kind": "conv4", "size": 16, "filters": 4 }, "steps": 2 });
        let trainer = trainer(&device, &options, &glyphs(16, 0, 10));
        let (images, _) = glyphs(16, 100, 2);
        let before = trainer.predict(images.clone()).await.unwrap();
        let profiling = Profiling::start(&device, object(&json!({ "gpu": "spans" }))).unwrap();
        let pace = Function::new_no_args("return Promise.resolve()");
        trainer.rehearse(3, pace).await.unwrap();
        let profile = plain(&profiling.finish().await.unwrap());
        let phases: Vec<&str> = profile["phases"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| row["name"].as_str().unwrap())
            .collect();
        for phase in ["data", "forward", "backward", "step", "readback"] {
            assert!(phases.contains(&phase), "{phase} is not in {phases:?}");
        }
        assert!(profile["table"].as_str().unwrap().contains("backward"));
        let trace: Value = serde_json::from_str(profile["trace"].as_str().unwrap()).unwrap();
        assert!(!trace["traceEvents"].as_array().unwrap().is_empty());
        if place != "cpu" {
            assert!(!profile["kernels"].as_array().unwrap().is_empty());
            assert!(profile["peak_bytes"].as_u64().unwrap() > 0);
        }
        assert_eq!(trainer.predict(images).await.unwrap(), before);
        assert_eq!(trainer.steps().unwrap(), 0);
        let memory = plain(&device.memory().unwrap());
        let bytes = |key: &str| memory[key].as_u64().unwrap();
        assert!(
            bytes("limit") >= bytes("peak") && bytes("peak") >= bytes("in_use"),
            "{memory}"
        );
    }
}

#[wasm_bindgen_test]
async fn what_is_wrong_is_an_error_with_its_code() {
    let device = device("cpu").await;
    let create = |options: Value| {
        ClassifierTrainer::create(&device, object(&options))
            .err()
            .unwrap()
    };
    let conv4 = json!({ "kind": "conv4", "size": 16, "filters": 4 });
    for (options, named) in [
        (json!({ "classes": ["a"] }), "model"),
        (json!({ "model": conv4, "classes": [] }), "classes"),
        (
            json!({ "model": conv4, "classes": ["a"], "epoch": 3 }),
            "epoch",
        ),
        (
            json!({ "model": conv4, "classes": ["a"], "batch_size": 3 }),
            "batch_size",
        ),
        (
            json!({ "model": conv4, "classes": ["a"], "batchSize": 0 }),
            "batch_size",
        ),
        (
            json!({ "model": conv4, "classes": ["a"], "validation": 1.0 }),
            "share",
        ),
        (
            json!({ "model": conv4, "classes": ["a"], "earlyStopping": {} }),
            "validate",
        ),
        (
            json!({ "model": conv4, "classes": ["a"], "hardware": { "device": "cpu" } }),
            "device",
        ),
        (
            json!({ "model": conv4, "classes": ["a"], "hardware": { "microBatches": 1 } }),
            "micro_batches",
        ),
        (
            json!({ "model": { "kind": "conv4", "hidden": 3 }, "classes": ["a"] }),
            "conv4 has no 'hidden'",
        ),
        (
            json!({ "model": { "kind": "mlp", "width": 3 }, "classes": ["a"] }),
            "mlp has no 'width'",
        ),
        (
            json!({ "model": { "kind": "resnet18", "filters": 3 }, "classes": ["a"] }),
            "resnet18 has no 'filters'",
        ),
        (
            json!({ "model": { "kind": "conv6", "inputs": 3 }, "classes": ["a"] }),
            "conv6 has no 'inputs'",
        ),
        (
            json!({ "model": { "kind": "vit", "depth": 0 }, "classes": ["a"] }),
            "depth is out of range",
        ),
        (
            json!({ "model": { "kind": "vit", "depth": 1.5 }, "classes": ["a"] }),
            "'depth' is out of range",
        ),
        (
            json!({ "model": { "kind": "vgg" }, "classes": ["a"] }),
            "unknown network",
        ),
        (
            json!({ "model": "vgg", "classes": ["a"] }),
            "unknown network",
        ),
        (json!({ "model": { "kind": 3 }, "classes": ["a"] }), "kind"),
        (json!({ "model": {}, "classes": ["a"] }), "input"),
        (
            json!({ "model": { "kind": "mlp", "inputs": 3, "size": 3 }, "classes": ["a"] }),
            "twice",
        ),
    ] {
        let error = create(options);
        let message = text(&error, "message");
        assert_eq!(text(&error, "code"), "invalid_argument");
        assert!(message.contains(named), "{message}");
    }

    let options = json!({ "model": { "kind": "mlp", "inputs": 2 }, "epochs": 1 });
    let trainer = trainer(&device, &options, &(vec![0.0, 1.0, -5.0, 7.5], vec![0, 2]));
    assert_eq!(trainer.counts().unwrap(), [1, 0, 1]);
    for (values, labels, code) in [
        (&[0.0, 1.0, 2.0][..], &[0, 1][..], "invalid_argument"),
        (&[0.0, 1.0], &[3], "invalid_argument"),
        (&[], &[], "invalid_argument"),
        (&[0.0, f32::NAN], &[0], "bad_data"),
    ] {
        assert_eq!(
            text(&trainer.add(values, labels).unwrap_err(), "code"),
            code
        );
    }
    assert_eq!(
        trainer.counts().unwrap(),
        [1, 0, 1],
        "after an error nothing is added"
    );
    let error = trainer.predict(vec![1.0]).await.unwrap_err();
    assert_eq!(text(&error, "code"), "invalid_argument");
    let error = Network::load(&device, vec![1, 2, 3]).await.err().unwrap();
    assert_eq!(text(&error, "code"), "bad_data");

    let refuse = Function::new_no_args("return Promise.reject(new Error('the disk is full'))");
    let report = Function::new_no_args("");
    let fitted = trainer.fit(refuse, report, false, None, vec![], Array::new());
    let error = fitted.await.unwrap_err();
    assert_eq!(text(&error, "code"), "io");
    assert!(text(&error, "message").contains("the disk is full"));
    assert!(
        events(&trainer, None, &[]).await.is_ok(),
        "it can be trained after that"
    );
}
