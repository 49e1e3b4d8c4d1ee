//! A stranger's pictures, on the command line.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use common::{forgeling, json};
use forgeling_tests::baselines::{LogisticRegression, accuracy};
use forgeling_tests::photographs::{OBJECTS, Photograph, object, stroke, write_tree};
use image::{GrayImage, Luma, Rgb, RgbImage};
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::Value;
use tempfile::tempdir;

fn run(arguments: &[&str]) -> Command {
    let mut command = forgeling();
    command.args(arguments).args(["--device", "cpu"]);
    command
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value}"))
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// How many of the images were named after the class that their file names begin with.
fn right(object: &Value) -> f64 {
    let rows = object["predictions"].as_array().unwrap();
    let named = |row: &&Value| {
        let file = Path::new(row["path"].as_str().unwrap())
            .file_name()
            .unwrap();
        let class = row["class"].as_str().unwrap_or("unknown");
        file.to_str().unwrap().starts_with(&format!("{class}-"))
    };
    rows.iter().filter(named).count() as f64 / rows.len() as f64
}

fn write(path: PathBuf, photograph: &Photograph) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, photograph.jpeg(80)).unwrap();
}

/// The README's two lines, with a smaller network trained for a shorter time.
#[test]
fn photographed_strokes_are_told_apart_by_a_model_of_invented_ones() {
    let dir = tempdir().unwrap();
    let model = dir.path().join("model.safetensors");
    let train = ["fewshot", "train", "--data", "glyphs", "--filters", "32"];
    run(&train)
        .args(["--episodes", "400", "--out"])
        .arg(&model)
        .assert()
        .success()
        .stdout(contains("1×28×28 images, augmented"));
    let (mut shots, mut found) = ([1, 5], [0.0, 0.0]);
    const TASKS: usize = 3;
    for task in 0..TASKS {
        let root = dir.path().join(task.to_string());
        let alphabet = 100 + task as u64;
        for class in 0..5 {
            for example in 5..13 {
                let file = format!("query/c{class}-{example}.jpg");
                write(root.join(file), &stroke(alphabet, class, example));
            }
        }
        for (shots, found) in shots.iter_mut().zip(&mut found) {
            let support = root.join(format!("support{shots}"));
            let class = |class: usize| {
                let drawings = (0..*shots).map(|example| stroke(alphabet, class, example));
                (format!("c{class}"), drawings.collect::<Vec<_>>())
            };
            write_tree(&support, &(0..5).map(class).collect::<Vec<_>>()).unwrap();
            let mut classify = run(&["fewshot", "classify", "--model", text(&model)]);
            classify.args(["--support", text(&support), "--unknown", "0"]);
            let object = json(classify.args(["--query", text(&root.join("query"))]), 0);
            *found += right(&object) / TASKS as f64;
        }
    }
    assert!(
        found[1] >= 0.9 && found[0] >= 0.75,
        "{found:?} with a chance of 0.2"
    );

    // Noise is like none of them.
    let noise = dir.path().join("noise");
    fs::create_dir(&noise).unwrap();
    for seed in 0..10u32 {
        let image = GrayImage::from_fn(60, 60, |x, y| {
            let value = (x * 7919 + y * 104_729 + seed * 15_485_863).wrapping_mul(2_654_435_761);
            Luma([(value >> 24) as u8])
        });
        image.save(noise.join(format!("{seed}.png"))).unwrap();
    }
    let support = dir.path().join("0/support5");
    let mut classify = run(&["fewshot", "classify", "--model", text(&model)]);
    classify.args(["--support", text(&support), "--query", text(&noise)]);
    let object = json(&mut classify, 0);
    let rows = object["predictions"].as_array().unwrap();
    let unknown = rows.iter().filter(|row| row["class"].is_null()).count();
    assert!(unknown >= 9, "{object}");
    assert!(number(&object["adaptation"]["calibrated_on"]) > 0.0);
}

/// Trees of photographed objects: so many of each class to train on, and 60 others.
fn objects(dir: &Path, each: usize) -> (String, String) {
    let tree = |name: &str, from: usize, to: usize| {
        let class = |class: usize| {
            let photographs = (from..to).map(|example| object(2, class, example));
            (OBJECTS[class], photographs.collect::<Vec<_>>())
        };
        let root = dir.join(name);
        write_tree(&root, &(0..OBJECTS.len()).map(class).collect::<Vec<_>>()).unwrap();
        format!("folder:{}", root.display())
    };
    (tree("train", 0, each), tree("test", 100, 160))
}

/// At least what logistic regression makes of the same pixels, minus two points.
#[test]
fn a_network_learns_photographed_objects_in_colour() {
    let dir = tempdir().unwrap();
    let (train, test) = objects(dir.path(), 40);
    let pixels = |from: usize, to: usize| {
        let (mut rows, mut labels) = (Vec::new(), Vec::new());
        for class in 0..OBJECTS.len() {
            for example in from..to {
                rows.extend(object(2, class, example).thumbnail(28));
                labels.push(class);
            }
        }
        (rows, labels)
    };
    let ((rows, labels), (others, truth)) = (pixels(0, 40), pixels(100, 160));
    let baseline = LogisticRegression::fit(&rows, &labels).predict(&others);
    let baseline = accuracy(&baseline, &truth);

    let model = dir.path().join("objects.safetensors");
    let arguments = [
        "train", "--model", "conv4", "--width", "32", "--data", &train,
    ];
    run(&arguments)
        .args(["--epochs", "40", "--batch-size", "16", "--out"])
        .arg(&model)
        .assert()
        .success()
        .stdout(contains("(3×28×28)").and(contains("Read as pictures")));
    let eval = |data: &str| {
        json(
            &mut run(&["eval", "--model", text(&model), "--data", data]),
            0,
        )
    };
    let found = eval(&test);
    let accuracy = number(&found["accuracy"]);
    assert!(
        accuracy >= baseline - 0.02,
        "{accuracy}, logistic regression {baseline}"
    );
    assert_eq!(found["per_class"].as_array().unwrap().len(), 3);
    assert_eq!(found["balanced_accuracy"], found["accuracy"], "60 of each");

    // Some of the classes, and one that is none.
    let some = dir.path().join("some");
    fs::create_dir(&some).unwrap();
    fs::rename(dir.path().join("test/mug"), some.join("mug")).unwrap();
    let only = eval(&format!("folder:{}", some.display()));
    assert_eq!(only["per_class"].as_array().unwrap().len(), 1);
    assert_eq!(number(&only["examples"]), 60.0);
    fs::rename(some.join("mug"), some.join("Mugs")).unwrap();
    let folder = format!("folder:{}", some.display());
    let mut eval = run(&["eval", "--model", text(&model), "--data", &folder]);
    let error = json(&mut eval, 3);
    let message = error["error"]["message"].as_str().unwrap();
    assert!(message.contains("'Mugs' may be 'mug'"), "{error}");

    predicts(dir.path(), &model, &some.join("Mugs"));
}

fn predicts(dir: &Path, model: &Path, images: &Path) {
    let csv = dir.join("answers.csv");
    let mut predict = run(&["predict", "--model", text(model), "--images", text(images)]);
    let object = json(predict.args(["--csv", text(&csv)]), 0);
    let rows = object["predictions"].as_array().unwrap();
    assert_eq!(rows.len(), 60);
    let mugs = rows.iter().filter(|row| row["class"] == "mug").count();
    assert!(mugs > 40, "{object}");
    assert_eq!(object["calibrated"], true);
    let table = fs::read_to_string(&csv).unwrap();
    assert_eq!(table.lines().count(), 61);
    assert!(
        table.starts_with("path,class,probability,unknown\n"),
        "{table}"
    );

    // One that cannot be read is a line of its own; the others are answered, and the status says so.
    fs::write(
        images.join("broken.jpg"),
        b"\xff\xd8 not much of a photograph",
    )
    .unwrap();
    let mut predict = run(&["predict", "--model", text(model), "--images", text(images)]);
    predict
        .assert()
        .code(3)
        .stdout(contains("mug"))
        .stderr(contains("broken.jpg").count(1));
    let object = json(&mut predict, 3);
    assert_eq!(object["predictions"].as_array().unwrap().len(), 60);
    assert_eq!(object["failed"].as_array().unwrap().len(), 1);
    assert!(
        object["failed"][0]["path"]
            .as_str()
            .unwrap()
            .ends_with("broken.jpg")
    );

    // Gray files are repeated for a model in colour.
    let gray = dir.join("gray.png");
    GrayImage::from_pixel(50, 40, Luma([128]))
        .save(&gray)
        .unwrap();
    let mut predict = run(&["predict", "--model", text(model), "--images", text(&gray)]);
    assert_eq!(
        json(&mut predict, 0)["predictions"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

/// A picture whose mean brightness is noise around a level.
fn noisy(level: u8, seed: u32, colour: bool) -> RgbImage {
    RgbImage::from_fn(24, 24, |x, y| {
        let value = (x * 7919 + y * 104_729 + seed * 15_485_863).wrapping_mul(2_654_435_761);
        let value = level + (value >> 24) as u8 / 6;
        Rgb([value, value, if colour { value / 2 } else { value }])
    })
}

fn write_noise(root: &Path, classes: &[(&str, u8, u32)], colour: bool) {
    for (name, level, count) in classes {
        let folder = root.join(name);
        fs::create_dir_all(&folder).unwrap();
        for index in 0..*count {
            let image = noisy(*level, index, colour);
            image.save(folder.join(format!("{index:03}.png"))).unwrap();
        }
    }
}

/// A perceptron on a folder.
fn mlp(data: &Path, out: &Path, more: &[&str]) -> Command {
    let data = format!("folder:{}", data.display());
    let mut command = run(&["train", "--model", "mlp", "--data", &data]);
    command.args([
        "--epochs",
        "8",
        "--batch-size",
        "8",
        "--learning-rate",
        "0.003",
    ]);
    command.args(more).arg("--out").arg(out);
    command
}

#[test]
fn lights_off_and_lights_on_are_two_classes() {
    let dir = tempdir().unwrap();
    let root = dir.path().join("lights");
    write_noise(&root, &[("off", 10, 40), ("on", 200, 40)], false);
    let object = json(&mut mlp(&root, &dir.path().join("m"), &[]), 0);
    assert_eq!(number(&object["validation_accuracy"]), 1.0, "{object}");
    assert_eq!(object["pictures"]["kind"], "pictures");
    assert_eq!(object["input"]["channels"], 1);
    // What people ask for is what is done.
    let object = json(
        &mut mlp(&root, &dir.path().join("m"), &["--as", "drawings"]),
        0,
    );
    assert_eq!(object["pictures"]["kind"], "drawings");
    mlp(&root, &dir.path().join("m"), &["--as", "photos"])
        .assert()
        .code(2)
        .stderr(contains("drawings, pictures or auto"));
}

#[test]
fn uneven_classes_are_told_of_and_evened_out() {
    let dir = tempdir().unwrap();
    let root = dir.path().join("uneven");
    // So alike that the smaller class is given up.
    write_noise(&root, &[("a", 100, 100), ("b", 101, 10)], true);
    let out = dir.path().join("m");
    mlp(&root, &out, &[])
        .assert()
        .success()
        .stdout(contains("Imbalance: 'a' has 90 images to train on, 'b' 9."));
    let object = json(&mut mlp(&root, &out, &[]), 0);
    let rows = object["per_class"].as_array().unwrap();
    let mean = (number(&rows[0]["accuracy"]) + number(&rows[1]["accuracy"])) / 2.0;
    let balanced = number(&object["validation_balanced_accuracy"]);
    assert!((mean - balanced).abs() < 1e-9, "{object}");
    assert_eq!(object["input"]["channels"], 3);
    let even = json(&mut mlp(&root, &out, &["--balance"]), 0);
    // 180 images instead of 99, in batches of 8.
    assert_eq!(number(&even["steps"]), 8.0 * 23.0, "{even}");
    assert_eq!(number(&object["steps"]), 8.0 * 13.0, "{object}");
    // A model in gray has its reasons, and is told what it does not see.
    mlp(&root, &out, &["--input", "1x28x28"])
        .assert()
        .success()
        .stdout(contains("(1×28×28)").and(contains("The images have colours")));
}

#[test]
fn parts_of_a_folder_are_used_and_shared_images_are_told_of() {
    let dir = tempdir().unwrap();
    let root = dir.path().join("data");
    let classes = [("off", 10, 20), ("on", 200, 20)];
    write_noise(&root.join("train"), &classes, false);
    write_noise(&root.join("val"), &[("off", 10, 3), ("on", 200, 3)], false);
    let out = dir.path().join("m");
    mlp(&root, &out, &[]).assert().success().stdout(
        contains("on 40 images (1×28×28) of 2 classes, 6 to validate on").and(contains(
            "6 of the 6 images to validate on are trained on too",
        )),
    );
    let object = json(&mut mlp(&root, &out, &["--validation", "0"]), 0);
    assert!(object["validation_accuracy"].is_null(), "{object}");
    fs::rename(root.join("val/on"), root.join("val/light")).unwrap();
    let error = json(&mut mlp(&root, &out, &[]), 3);
    let message = error["error"]["message"].as_str().unwrap();
    assert!(
        message.contains("'light'") && message.contains("'on'"),
        "{error}"
    );
}

/// Half of the arrows are stored turned, with an orientation that says so.
#[test]
fn turned_copies_of_arrows_are_classified_as_the_upright_ones() {
    let dir = tempdir().unwrap();
    let arrow = |up: bool, seed: u32| {
        RgbImage::from_fn(40, 40, |x, y| {
            let y = if up { y } else { 39 - y };
            let (dx, dy) = (x.abs_diff(20), y.abs_diff(8 + seed % 5));
            let head = y >= 8 + seed % 5 && dx.abs_diff(dy) <= 1 && dy < 12;
            let shaft = dx <= 1 && (8..34).contains(&y);
            Rgb([if head || shaft { 20 } else { 230 }; 3])
        })
    };
    let root = dir.path().join("arrows");
    let query = dir.path().join("query");
    for (name, up) in [("up", true), ("down", false)] {
        let folder = root.join(name);
        fs::create_dir_all(&folder).unwrap();
        fs::create_dir_all(&query).unwrap();
        for seed in 0..20 {
            let image = arrow(up, seed);
            image.save(folder.join(format!("{seed}.png"))).unwrap();
            let turned = image::imageops::rotate270(&image);
            // Stored a quarter to the left: 6 turns it to the right.
            let path = query.join(format!("{name}-{seed}.png"));
            fs::write(path, with_orientation(&turned, 6)).unwrap();
        }
    }
    let model = dir.path().join("m");
    mlp(&root, &model, &[]).assert().success();
    let mut predict = run(&["predict", "--unknown", "0", "--model", text(&model)]);
    let object = json(predict.args(["--images", text(&query)]), 0);
    assert_eq!(right(&object), 1.0, "{object}");
}

fn with_orientation(image: &RgbImage, orientation: u8) -> Vec<u8> {
    use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};
    let exif = [
        b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".as_slice(),
        &[orientation, 0, 0, 0, 0, 0, 0, 0],
    ];
    let mut bytes = Vec::new();
    let mut encoder = PngEncoder::new(&mut bytes);
    encoder.set_exif_metadata(exif.concat()).unwrap();
    let (width, height) = image.dimensions();
    encoder
        .write_image(image, width, height, ExtendedColorType::Rgb8)
        .unwrap();
    bytes
}

#[test]
fn few_shot_models_remember_what_they_were_trained_on() {
    let dir = tempdir().unwrap();
    let root = dir.path().join("alphabet");
    let classes: Vec<(String, Vec<Photograph>)> = (0..6)
        .map(|class| {
            let drawings = (0..8).map(|example| stroke(7, class, example));
            (format!("letter {class}"), drawings.collect())
        })
        .collect();
    write_tree(&root, &classes).unwrap();
    let source = format!("folder:{}", root.display());
    let model = dir.path().join("m");
    let mut train = run(&["fewshot", "train", "--data", &source, "--filters", "4"]);
    train
        .args(["--episodes", "3", "--shots", "2", "--queries", "2", "--out"])
        .arg(&model)
        .assert()
        .success()
        .stdout(contains("Read as drawings").and(contains("1×28×28 images, augmented")));
    let mut eval = run(&[
        "fewshot",
        "eval",
        "--data",
        &source,
        "--model",
        text(&model),
    ]);
    eval.args(["--episodes", "2", "--shots", "2", "--queries", "2"])
        .assert()
        .success()
        .stdout(contains(
            "Test classes are training classes, by their names: 6 of 6",
        ));
    let error = json(
        &mut run(&["predict", "--model", text(&model), "--images", text(&root)]),
        3,
    );
    let message = error["error"]["message"].as_str().unwrap();
    assert!(message.contains("forgeling fewshot classify"), "{error}");
}
