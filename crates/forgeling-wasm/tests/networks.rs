//! In a browser: networks by name and of the page's own, in few-shot learning and in training, on the CPU.
#![cfg(target_arch = "wasm32")]
#![recursion_limit = "256"]

#[path = "common/page.rs"]
mod page;

use forgeling_wasm::{ClassifierTrainer, Dataset, Device, Network, ProtoNet, Trainer};
use js_sys::{Array, Function, Reflect};
use page::{device, object, plain, text};
use serde_json::{Value, json};
use wasm_bindgen::prelude::*;
use wasm_bindgen_test::{console_log, wasm_bindgen_test, wasm_bindgen_test_configure};

wasm_bindgen_test_configure!(run_in_browser);

const SIZE: usize = 16;

async fn cpu() -> Device {
    device("cpu").await
}

fn learner(device: &Device, config: &Value) -> ProtoNet {
    let made = ProtoNet::create(device, object(config));
    made.unwrap_or_else(|error| panic!("{}", text(&error, "message")))
}

/// Maps added to those of two layers before, with names of the page's own.
fn own(input: Value) -> Value {
    json!({ "input": input, "layers": [
        { "conv2d": { "filters": 6, "kernel": 3, "padding": "same" }, "name": "first_Layer" },
        "batchNorm", "relu", { "maxPool": 2, "name": "halved" },
        { "conv2d": { "filters": 6, "kernel": [3, 1], "padding": "same" } }, "batchNorm",
        { "relu": {}, "name": "left" },
        { "add": {}, "inputs": ["left", "halved"] }, { "maxPool": { "size": 2 } }, "flatten",
    ] })
}

/// The values in a model file, behind the length of its header and the header, which says how long training took.
fn weights(file: &[u8]) -> &[u8] {
    let (length, rest) = file.split_first_chunk::<8>().unwrap();
    &rest[u64::from_le_bytes(*length) as usize..]
}

/// 5-way 1-shot accuracy on characters that were not seen in training.
async fn accuracy(model: &ProtoNet, episodes: usize) -> f64 {
    let test = Dataset::glyphs(0, "test", 100, SIZE).unwrap();
    let settings = json!({ "shots": 1, "queries": 5, "episodes": episodes });
    let found = model.evaluate(&test, object(&settings)).await.unwrap();
    plain(&found)["accuracy"].as_f64().unwrap()
}

/// Takes steps of so many episodes each; gives the losses.
async fn train(model: &ProtoNet, batch: usize, steps: usize) -> Vec<f64> {
    let data = Dataset::glyphs(0, "train", 1000, SIZE).unwrap();
    let settings = json!({
        "shots": 1, "queries": 3, "batchEpisodes": batch, "learningRate": 5e-3, "halveEvery": 100_000,
    });
    let trainer = Trainer::new(model, &data, object(&settings)).unwrap();
    let mut losses = Vec::new();
    for _ in 0..steps {
        let step = trainer.step().await.unwrap();
        losses.push(plain(&step)["loss"].as_f64().unwrap());
    }
    model.finish(&data).unwrap();
    losses
}

/// Networks, steps and least gains are those of the native test, `few_shot/encoders.rs`.
#[wasm_bindgen_test]
async fn a_prototypical_resnet_12_learns() {
    let config = json!({ "model": "resnet12", "filters": 8, "size": SIZE, "seed": 0 });
    let model = learner(&cpu().await, &config);
    let before = accuracy(&model, 100).await;
    train(&model, 1, 150).await;
    let after = accuracy(&model, 100).await;
    console_log!("ProtoNet on ResNet-12: {before} before, {after} after");
    assert!(after >= before + 0.08, "{before} before, {after} after");
}

#[wasm_bindgen_test]
async fn a_conv_6_learns_to_adapt() {
    let config =
        json!({ "method": "maml", "model": "conv6", "filters": 16, "size": SIZE, "seed": 0 });
    let model = learner(&cpu().await, &config);
    let before = accuracy(&model, 100).await;
    train(&model, 4, 160).await;
    let after = accuracy(&model, 100).await;
    console_log!("MAML on Conv6: {before} before, {after} after");
    assert!(after >= before + 0.06, "{before} before, {after} after");
}

#[wasm_bindgen_test]
async fn few_shot_methods_train_a_network_of_the_pages_own_and_save_it() {
    let device = cpu().await;
    for method in ["protonet", "anil"] {
        let network = own(json!([1, SIZE, SIZE]));
        let config = json!({ "method": method, "model": network, "seed": 1 });
        let model = learner(&device, &config);
        let untrained = model.save().await.unwrap();
        let losses = train(&model, 1, 3).await;
        assert!(losses.iter().all(|loss| loss.is_finite()), "{losses:?}");
        let bytes = model.save().await.unwrap();
        assert_ne!(
            weights(&bytes),
            weights(&untrained),
            "{method} changed nothing"
        );

        let loaded = ProtoNet::load(&device, bytes).await;
        let loaded = loaded.unwrap_or_else(|error| panic!("{}", text(&error, "message")));
        assert_eq!(accuracy(&loaded, 5).await, accuracy(&model, 5).await);
        assert_eq!(
            plain(&loaded.config().unwrap()),
            plain(&model.config().unwrap())
        );
    }
}

#[wasm_bindgen_test]
async fn a_network_of_the_pages_own_is_trained_on_its_examples() {
    let device = cpu().await;
    let glyphs = Dataset::glyphs(3, "train", 3, SIZE).unwrap();
    let examples = |first: usize| {
        let (mut images, mut labels) = (Vec::new(), Vec::new());
        for place in 0..60 {
            images.extend(glyphs.image(place % 3, first + place / 3).unwrap());
            labels.push((place % 3) as u32);
        }
        (images, labels)
    };
    let options = json!({
        "model": own(json!([1, SIZE, SIZE])), "classes": ["a", "b", "c"], "epochs": 12,
        "batchSize": 8, "learningRate": 5e-3, "seed": 1,
    });
    let trainer = ClassifierTrainer::create(&device, object(&options));
    let trainer = trainer.unwrap_or_else(|error| panic!("{}", text(&error, "message")));
    let (images, labels) = examples(0);
    trainer.add(&images, &labels).unwrap();
    let pace = Function::new_no_args("return Promise.resolve()");
    let report = Function::new_no_args("");
    let fitted = trainer.fit(pace, report, false, None, vec![], Array::new());
    fitted.await.unwrap();

    let (images, labels) = examples(100);
    let found = trainer.predict(images.clone()).await.unwrap();
    let right = found.chunks(3).zip(&labels).filter(|(row, label)| {
        let own = row[**label as usize];
        row.iter().all(|&other| other <= own)
    });
    let right = right.count() as f64 / labels.len() as f64;
    console_log!("a graph: {right} right");
    // Guessing gives a third, give or take 0.06 on 60 images.
    assert!(right >= 0.6, "{right}");

    let network = Network::load(&device, trainer.save().await.unwrap()).await;
    let network = network.unwrap_or_else(|error| panic!("{}", text(&error, "message")));
    assert_eq!(network.predict(images).await.unwrap(), found);
    let config = plain(&network.config().unwrap());
    assert_eq!(config["model"], "graph");
    let summary = plain(&network.summary().unwrap());
    assert_eq!(summary, plain(&trainer.summary().unwrap()));
    assert_eq!(summary["output"], json!([3]));
    let trained = 9 * 6 + 6 + (3 * 6 + 1) * 6 + 2 * 12 + (6 * 16 + 1) * 3;
    assert_eq!(summary["trained_values"], trained);
    let counts = (trainer.trained_values(), trainer.buffer_values());
    assert_eq!(counts, (trained as f64, 24.0));
    let names = |layers: &Value| {
        let layers = layers.as_array().unwrap().iter();
        layers
            .map(|layer| layer["name"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        names(&summary["layers"]),
        names(&config["network"]["layers"])
    );
    assert_eq!(summary["layers"][0]["name"], "first_Layer");
}

#[wasm_bindgen_test]
async fn what_a_learner_is_made_from_is_told() {
    let device = cpu().await;
    let relation = json!({ "method": "relation", "filters": 3, "size": SIZE, "seed": 9 });
    let relation = plain(&learner(&device, &relation).config().unwrap());
    let told = (&relation["method"], &relation["seed"], &relation["size"]);
    assert_eq!(told, (&json!("relation"), &json!(9), &json!(SIZE)));
    // Its head compares maps: the encoder has two blocks.
    let layers = relation["network"]["layers"].as_array().unwrap().iter();
    let convolutions = layers.filter(|layer| layer.get("conv2d").is_some());
    assert_eq!(convolutions.count(), 2);

    let network = own(json!([3, 12, 8]));
    let config = json!({ "method": "maml", "model": network, "ways": 4 });
    let model = learner(&device, &config);
    let config = plain(&model.config().unwrap());
    let told = (&config["channels"], &config["size"], &config["ways"]);
    assert_eq!(told, (&json!(3), &Value::Null, &json!(4)));
    let encoder = 27 * 6 + 6 + (3 * 6 + 1) * 6 + 2 * 12;
    let head = (6 * 3 * 2 + 1) * 4;
    assert_eq!(model.trained_values().unwrap(), f64::from(encoder + head));
    assert_eq!(model.buffer_values().unwrap(), 24.0);
    let summary = plain(&model.summary().unwrap());
    assert_eq!(summary["trained_values"], encoder + head);
    assert_eq!(summary["features"], json!([36]));
    // What it says of itself makes another one.
    let again = json!({ "method": "maml", "model": config["network"], "ways": 4 });
    let again = learner(&device, &again);
    assert_eq!(plain(&again.config().unwrap()), config);
}

#[wasm_bindgen_test]
async fn what_is_wrong_with_a_graph_is_told_with_its_layer() {
    let device = cpu().await;
    let graph = |layers: Value| json!({ "input": [1, 8, 8], "layers": layers });
    let huge = json!([
        { "conv2d": { "filters": 1_048_576, "kernel": 3 }, "name": "wide" },
        { "conv2d": { "filters": 1_048_576, "kernel": 3 }, "name": "wider" },
    ]);
    let window = json!(["relu", { "conv2d": { "filters": 2, "kernel": 9 }, "name": "big" }]);
    let twice = json!([{ "relu": {}, "name": "a" }, { "gelu": {}, "name": "a" }]);
    let early = json!([{ "add": {}, "inputs": ["later", "input"], "name": "sum" }, "relu"]);
    let misspelt = json!([{ "conv2d": { "filters": 2, "kernal": 3 }, "name": "typo" }]);
    for (layers, named) in [
        (huge, "'wide"),
        (window, "'big'"),
        (twice, "'a'"),
        (early, "'sum'"),
        (misspelt, "typo"),
        (json!([{ "swish": {}, "name": "new" }]), "new"),
        (json!([]), "layer"),
    ] {
        let model = graph(layers);
        let few_shot = ProtoNet::create(&device, object(&json!({ "model": model })));
        let options = json!({ "model": model, "classes": ["a", "b"] });
        let trainer = ClassifierTrainer::create(&device, object(&options));
        let warm_up = json!({ "model": model });
        let report = Function::new_no_args("");
        let warm = device.warm_up(object(&warm_up), report).await;
        for error in [few_shot.err(), trainer.err(), warm.err()] {
            let error = error.unwrap();
            let message = text(&error, "message");
            assert_eq!(text(&error, "code"), "invalid_argument", "{message}");
            assert!(message.contains(named), "{named}: {message}");
        }
    }
    // A graph has its own sizes, and a network with outputs has as many as there are classes.
    let sizes = json!({ "model": graph(json!(["flatten"])), "filters": 3 });
    let error = ProtoNet::create(&device, object(&sizes)).err().unwrap();
    assert!(text(&error, "message").contains("filters"));
    let outputs = json!(["flatten", { "linear": { "outputs": 3 }, "name": "three" }]);
    let options = json!({ "model": graph(outputs), "classes": ["a", "b"] });
    let error = ClassifierTrainer::create(&device, object(&options));
    let error = error.err().unwrap();
    assert!(text(&error, "message").contains("'three'"));
    let got = (text(&error, "expected"), text(&error, "got"));
    assert_eq!(got, ("2".into(), "3".into()));
}

#[wasm_bindgen_test]
async fn options_that_never_end_are_an_error() {
    let device = cpu().await;
    let around = js_sys::Object::new();
    Reflect::set(&around, &"model".into(), &around).unwrap();
    let deep = Function::new_no_args(
        "let all = 1; for (let i = 0; i < 3000; i += 1) all = [all]; return { model: all };",
    );
    let deep = deep.call0(&JsValue::NULL).unwrap();
    for options in [JsValue::from(around), deep] {
        let error = ProtoNet::create(&device, options).err().unwrap();
        assert_eq!(text(&error, "code"), "invalid_argument");
    }
}
