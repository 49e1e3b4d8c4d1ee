//! Model files: what is loaded goes on exactly as what was saved; what is broken is refused.

use std::fs;

use forgeling::data::{EpisodeSampler, Glyphs, Queries, Shots, Split, Ways};
use forgeling::meta::{EpisodeTrainer, EvaluateConfig, FitConfig, Learner};
use forgeling::nn::graph::Graph;
use forgeling::nn::zoo::Conv4Config;
use forgeling::train::weights::collect;
use forgeling::{Device, DeviceChoice};
use forgeling_tests::{devices, gpus};

fn encoder() -> Graph {
    let config = Conv4Config {
        filters: 6,
        blocks: 3,
        size: 16,
        ..Default::default()
    };
    config.graph().unwrap()
}

fn glyphs() -> Glyphs {
    Glyphs::new(1, Split::Train, 20)
        .unwrap()
        .with_size(16)
        .unwrap()
}

fn trained(device: &Device) -> Learner {
    let mut model = Learner::protonet(&encoder(), 3, device).unwrap();
    let mut trainer = EpisodeTrainer::new(FitConfig::default()).unwrap();
    for _ in 0..3 {
        pollster::block_on(trainer.step(&mut model, &glyphs())).unwrap();
    }
    model
}

#[test]
fn one_further_step_is_the_same_on_the_loaded_copy() {
    let folder = tempfile::tempdir().unwrap();
    for device in devices() {
        let mut model = trained(&device);
        let path = folder.path().join("deep/er/model.safetensors");
        pollster::block_on(model.save(&path)).unwrap();
        let mut loaded = Learner::load(&path, &device).unwrap();
        assert_eq!(loaded.config(), model.config());
        assert_eq!(loaded.history(), model.history());
        assert_eq!(loaded.history().episodes, 3);
        let (a, b) = (
            pollster::block_on(collect(model.model().network())),
            pollster::block_on(collect(loaded.model().network())),
        );
        assert_eq!(a.unwrap(), b.unwrap());

        let sampler = EpisodeSampler::new(Ways::DEFAULT, Shots::DEFAULT, Queries::DEFAULT, 9);
        let step = |model: &mut Learner| {
            let mut trainer = EpisodeTrainer::new(FitConfig::default()).unwrap();
            let batch = sampler.clone().sample(&glyphs()).unwrap();
            let tasks = batch.tasks().unwrap();
            let event = pollster::block_on(trainer.step_on(model, tasks)).unwrap();
            (
                event.loss,
                pollster::block_on(collect(model.model().network())).unwrap(),
            )
        };
        let ((loss, weights), (loaded_loss, loaded_weights)) =
            (step(&mut model), step(&mut loaded));
        if device.is_cpu() {
            assert_eq!((loss, weights), (loaded_loss, loaded_weights));
        } else {
            assert!(
                (loss - loaded_loss).abs() < 1e-4 * loss,
                "{loss} and {loaded_loss}"
            );
        }
    }
    let left: Vec<_> = fs::read_dir(folder.path().join("deep/er"))
        .unwrap()
        .collect();
    assert_eq!(left.len(), 1, "no temporary file stays behind");
}

#[test]
fn a_file_moves_between_devices() {
    let cpu = pollster::block_on(Device::open(DeviceChoice::Cpu)).unwrap();
    let model = trained(&cpu);
    let bytes = pollster::block_on(model.to_bytes()).unwrap();
    let test = Glyphs::new(1, Split::Test, 20)
        .unwrap()
        .with_size(16)
        .unwrap();
    let config = EvaluateConfig {
        episodes: 4,
        ..Default::default()
    };
    let accuracy = |model: &Learner| {
        pollster::block_on(model.evaluate(&test, config))
            .unwrap()
            .accuracy
    };
    for device in gpus() {
        let there = Learner::from_bytes(&bytes, &device).unwrap();
        // A query near a border may fall to the other side.
        assert!((accuracy(&there) - accuracy(&model)).abs() < 0.02);
    }
}

#[test]
fn broken_and_foreign_files_are_errors_that_name_the_file() {
    let device = pollster::block_on(Device::open(DeviceChoice::Cpu)).unwrap();
    let bytes = pollster::block_on(trained(&device).to_bytes()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let load = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        Learner::load(&path, &device).unwrap_err()
    };
    for length in [0, 1, 7, 8, 9, 100, bytes.len() / 2, bytes.len() - 1] {
        let error = load(&bytes[..length]);
        assert!(
            error.is_bad_input() && error.file() == Some(path.as_path()),
            "{length}: {error}"
        );
    }
    let replaced = |from: &str, to: &str| {
        assert_eq!(from.len(), to.len(), "the header keeps its length");
        let at = bytes
            .windows(from.len())
            .position(|window| window == from.as_bytes())
            .expect(from);
        let mut changed = bytes.clone();
        changed[at..at + to.len()].copy_from_slice(to.as_bytes());
        changed
    };
    for (from, to, word) in [
        ("few-shot", "few-shut", "architecture"),
        ("\\\"format\\\":1", "\\\"format\\\":2", "format"),
        ("\\\"filters\\\":6", "\\\"filters\\\":7", "fit"),
        ("\\\"filters\\\":6", "\\\"filters\\\":0", "filters"),
        ("\\\"filters\\\":6", "\\\"filterz\\\":6", "filterz"),
        ("blocks.0.norm.gamma", "blocks.0.norm.gamna", "blocks.0"),
    ] {
        let error = load(&replaced(from, to));
        assert!(
            error.is_bad_input() && error.to_string().contains(word),
            "{from}: {error}"
        );
    }
    let mut poisoned = bytes.clone();
    let end = poisoned.len();
    poisoned[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    assert!(load(&poisoned).to_string().contains("not finite"));
    let missing = Learner::load(folder.path().join("none"), &device).unwrap_err();
    assert_eq!(missing.kind(), forgeling::ErrorKind::Io);
}

#[test]
fn saving_over_a_model_keeps_the_old_one_when_it_fails() {
    let device = pollster::block_on(Device::open(DeviceChoice::Cpu)).unwrap();
    let model = trained(&device);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    pollster::block_on(model.save(&path)).unwrap();
    let before = fs::read(&path).unwrap();
    // A folder in the place of the file cannot be replaced by a file.
    let blocked = folder.path().join("blocked");
    fs::create_dir_all(blocked.join("inside")).unwrap();
    assert!(
        pollster::block_on(model.save(&blocked))
            .unwrap_err()
            .is_bad_input()
    );
    assert!(blocked.join("inside").is_dir());
    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        2,
        "no temporary file stays behind"
    );
}
