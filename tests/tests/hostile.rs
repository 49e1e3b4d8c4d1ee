//! 10,000 damaged files through every reader: an answer or an error about the input, never a panic, within bounded memory.
//! What is damaged depends on a seed alone. With `--nocapture` each test says what it took.

mod hostile_support;

use std::io::{Cursor, Write};
use std::path::Path;

use flate2::{Compression, write::GzEncoder};
use forgeling::data::tasks::EpisodeList;
use forgeling::data::{
    Colour, IdxSplit, ImageSet, ImageShape, Limits, PictureOptions, Rng, TaskSource, folder, idx,
    omniglot,
};
use forgeling::meta::{Learner, LearnerConfig, MetaTrainingHistory, Method, MethodConfig};
use forgeling::nn::Network;
use forgeling::nn::catalog::ModelConfig;
use forgeling::nn::graph::{Graph, Shape};
use forgeling::nn::zoo::{Conv4Config, MlpConfig};
use forgeling::train::weights::NamedTensor;
use forgeling::train::{Checkpoint, ModelCard, SavedNetwork, TrainingHistory, model_file};
use forgeling::{Device, DeviceChoice, Result};
use hostile_support::{
    Trial, damaged, join_header, lossy_webp, numbers, progressive_jpeg, put, renumbered,
    split_header, with_checksum, with_png_checksums,
};
use image::{DynamicImage, ImageFormat, Rgba, RgbaImage};
use tempfile::tempdir;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

const MIB: usize = 1 << 20;

/// Small, so that whatever goes beyond what a limit allows shows.
const LIMITS: Limits = Limits {
    entry_bytes: 1 << 20,
    total_bytes: 4 << 20,
    pixels: 1 << 16,
    entries: 100,
    depth: 4,
};

#[test]
fn damaged_idx_files() {
    let mut trial = Trial::new("idx file", 8 * MIB);
    let mut rng = Rng::new(1);
    let dir = tempdir().unwrap();
    let file = |magic: [u8; 4], sides: &[u32], body: &[u8]| {
        let mut bytes = magic.to_vec();
        sides
            .iter()
            .for_each(|side| bytes.extend(side.to_be_bytes()));
        bytes.extend(body);
        bytes
    };
    let rows: Vec<u8> = (0..4)
        .flat_map(|row| [0, 0, 0, row % 2 + 1, 0, 0, 0, 9])
        .collect();
    let samples = [
        file([0, 0, 8, 3], &[4, 3, 2], &[9; 24]),
        file([0, 0, 8, 1], &[4], &[1, 2, 1, 2]),
        file([0, 0, 12, 2], &[4, 2], &rows),
        b"0 48\n1 65 97\n2 66 98\n".to_vec(),
    ];
    let names = [
        "emnist-train-images-idx3-ubyte",
        "emnist-train-labels-idx1-ubyte",
        "emnist-train-labels-idx2-int",
        "emnist-mapping.txt",
    ];
    let load = |changed: usize, bytes: &[u8]| {
        // Labels of one kind or the other.
        let (labels, others) = if changed == 2 { (2, 1) } else { (1, 2) };
        let _ = std::fs::remove_file(dir.path().join(names[others]));
        for part in [0, labels, 3] {
            let bytes = if part == changed {
                bytes
            } else {
                &samples[part]
            };
            put(dir.path(), names[part], bytes);
        }
        idx::open(dir.path(), IdxSplit::Train, &LIMITS)
    };
    for (part, sample) in samples.iter().enumerate() {
        trial.read(|| load(part, sample)).unwrap();
    }
    for _ in 0..2000 {
        let part = rng.below(4);
        // Sometimes another part altogether.
        let mut bytes = match rng.below(10) {
            0 => damaged(&mut rng, &samples),
            _ => damaged(&mut rng, &samples[part..=part]),
        };
        if part < 3 && rng.below(2) == 0 {
            bytes = gzip(&bytes);
            if rng.below(2) == 0 {
                bytes = damaged(&mut rng, &[bytes]);
            }
        }
        let _ = trial.read(|| load(part, &bytes));
    }
    // What unpacks to more than a file may hold.
    let bomb = gzip(&file([0, 0, 8, 3], &[60, 256, 256], &vec![0; 64 * MIB]));
    trial.read(|| load(0, &bomb)).unwrap_err();
    trial.end();
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
    gz.write_all(bytes).unwrap();
    gz.finish().unwrap()
}

#[test]
fn damaged_archives() {
    let mut trial = Trial::new("archive", 16 * MIB);
    let mut rng = Rng::new(2);
    let dir = tempdir().unwrap();
    let drawing = pictures().swap_remove(0).1.swap_remove(0);
    let archive = |drawings: [&[u8]; 2], method: CompressionMethod| {
        let options = SimpleFileOptions::default().compression_method(method);
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, bytes) in ["top/Greek/character01/1.png", "top/Latin/character02/2.png"]
            .into_iter()
            .zip(drawings)
        {
            zip.start_file(name, options).unwrap();
            zip.write_all(bytes).unwrap();
        }
        zip.finish().unwrap().into_inner()
    };
    let methods = [CompressionMethod::Stored, CompressionMethod::Deflated];
    let samples = methods.map(|method| archive([&drawing; 2], method));
    let load = |bytes: &[u8]| {
        let path = put(dir.path(), "images.zip", bytes);
        omniglot::load_with(path, 8, &LIMITS)
    };
    for sample in &samples {
        trial.read(|| load(sample)).unwrap();
    }
    let pictures = [drawing.clone()];
    for _ in 0..1500 {
        let bytes = match rng.below(4) {
            0 => {
                let picture = with_png_checksums(damaged(&mut rng, &pictures));
                archive([&drawing, &picture], methods[rng.below(2)])
            }
            _ => damaged(&mut rng, &samples),
        };
        let _ = trial.read(|| load(&bytes));
    }
    let bomb = archive([&drawing, &vec![0; 64 * MIB]], CompressionMethod::Deflated);
    trial.read(|| load(&bomb)).unwrap_err();
    trial
        .read(|| load(&claiming_entries(&samples[0])))
        .unwrap_err();
    trial.end();
}

/// An archive of 1 MiB whose directory, by its zip64 record, has a million entries and the size for them.
fn claiming_entries(archive: &[u8]) -> Vec<u8> {
    const CLAIMED: u64 = 1_000_000;
    // What is in front of the directory could be as many files.
    let end = archive.len() - 22;
    let at = u32::from_le_bytes(*archive[end + 16..].first_chunk().unwrap()) as usize;
    let mut bytes = vec![0; MIB];
    bytes.extend(&archive[at..end]);
    let record = bytes.len() as u64;
    bytes.extend(b"PK\x06\x06");
    bytes.extend(44u64.to_le_bytes());
    bytes.extend([45, 0, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    for value in [CLAIMED, CLAIMED, 46 * CLAIMED, MIB as u64] {
        bytes.extend(value.to_le_bytes());
    }
    bytes.extend(b"PK\x06\x07\0\0\0\0");
    bytes.extend(record.to_le_bytes());
    bytes.extend(1u32.to_le_bytes());
    bytes.extend(b"PK\x05\x06\0\0\0\0");
    bytes.extend([0xff; 12]);
    bytes.extend([0; 2]);
    bytes
}

/// Every format of pictures, with samples.
fn pictures() -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let all = |format| {
        let picture = DynamicImage::ImageRgba8(RgbaImage::from_fn(20, 12, |x, y| {
            Rgba([12 * x as u8, 20 * y as u8, (x * y) as u8, 255 - x as u8])
        }));
        // Grey, colour, transparent, deep: those that a format has.
        let kinds = [
            DynamicImage::ImageLuma8(picture.to_luma8()),
            DynamicImage::ImageRgb8(picture.to_rgb8()),
            DynamicImage::ImageLuma16(picture.to_luma16()),
            picture,
        ];
        let encoded = kinds.iter().filter_map(|kind| {
            let mut bytes = Cursor::new(Vec::new());
            kind.write_to(&mut bytes, format).ok()?;
            Some(bytes.into_inner())
        });
        encoded.collect::<Vec<_>>()
    };
    vec![
        ("png", all(ImageFormat::Png)),
        (
            "jpg",
            [all(ImageFormat::Jpeg), vec![progressive_jpeg()]].concat(),
        ),
        (
            "webp",
            [all(ImageFormat::WebP), vec![lossy_webp()]].concat(),
        ),
        ("bmp", all(ImageFormat::Bmp)),
        ("gif", all(ImageFormat::Gif)),
        ("tiff", all(ImageFormat::Tiff)),
    ]
}

/// Reads a picture, alone in its class.
fn read_picture(dir: &Path, ending: &str, bytes: &[u8]) -> Result<ImageSet> {
    let root = dir.join(ending);
    put(&root, &format!("class/picture.{ending}"), bytes);
    let options = PictureOptions {
        size: 8,
        colour: Some(Colour::Rgb),
        limits: LIMITS,
        ..Default::default()
    };
    folder::load(&root, &options).map(|found| found.set)
}

#[test]
fn damaged_pictures() {
    let mut rng = Rng::new(3);
    let dir = tempdir().unwrap();
    for (ending, samples) in pictures() {
        // A lossy WebP's partitions can claim 16 MiB.
        let mut trial = Trial::new(ending, 24 * MIB);
        for sample in &samples {
            trial
                .read(|| read_picture(dir.path(), ending, sample))
                .unwrap();
        }
        for _ in 0..800 {
            let mut bytes = damaged(&mut rng, &samples);
            if ending == "png" && rng.below(4) > 0 {
                bytes = with_png_checksums(bytes);
            }
            let _ = trial.read(|| read_picture(dir.path(), ending, &bytes));
        }
        trial.end();
    }
}

fn cpu() -> Device {
    pollster::block_on(Device::open(DeviceChoice::Cpu)).unwrap()
}

/// Network files: one of each kind.
fn networks(device: &Device) -> Vec<Vec<u8>> {
    let of = |model: &str| {
        let mut config = ModelConfig::new(model).unwrap();
        config.input = ImageShape::new(1, 16, 16);
        config.classes = 2;
        config.options.insert("width".into(), 2);
        let graph = config.graph().unwrap();
        let saved = SavedNetwork {
            model: model.into(),
            classes: vec!["0".into(), "1".into()],
            pictures: None,
            sounds: None,
            normalization: None,
            card: ModelCard::default(),
            history: TrainingHistory::default(),
            confidence: None,
            storage: Default::default(),
            network: Network::new(&graph, 0, device),
        };
        pollster::block_on(saved.to_bytes()).unwrap()
    };
    ["mlp", "conv4", "resnet18"].map(of).to_vec()
}

/// Files of few-shot learners: one of each method, on images and on rows of numbers.
fn learners(device: &Device) -> Vec<Vec<u8>> {
    let conv4 = Conv4Config {
        filters: 2,
        blocks: 2,
        size: 8,
        ..Default::default()
    };
    let mlp = MlpConfig {
        input: Shape::Values(4),
        hidden: vec![3],
        classes: 2,
    };
    let (conv4, mlp) = (conv4.graph().unwrap(), mlp.graph().unwrap());
    let of = |method: Method, network: &Graph| {
        // Both layers of the perceptron are its encoder where it is compared with.
        let network = match method.adapts() {
            true => network.clone(),
            false => network.clone().as_encoder(),
        };
        let config = LearnerConfig {
            ways: 2,
            ..LearnerConfig::new(MethodConfig::of(method, 3), network)
        };
        let learner = Learner::new(&config, device).unwrap();
        pollster::block_on(learner.to_bytes()).unwrap()
    };
    let methods = Method::ALL.into_iter();
    methods
        .flat_map(|method| [of(method, &conv4), of(method, &mlp)])
        .collect()
}

type ReadModel = fn(&[u8], &Device) -> Result<()>;
const READ_NETWORK: ReadModel = |bytes, device| SavedNetwork::from_bytes(bytes, device).map(drop);
const READ_LEARNER: ReadModel = |bytes, device| Learner::from_bytes(bytes, device).map(drop);

#[test]
fn damaged_model_files() {
    let device = cpu();
    let mut rng = Rng::new(4);
    for (what, samples, read) in [
        ("network", networks(&device), READ_NETWORK),
        ("learner", learners(&device), READ_LEARNER),
    ] {
        let mut trial = Trial::new(what, 8 * MIB);
        for sample in &samples {
            trial.read(|| read(sample, &device)).unwrap();
        }
        for _ in 0..1000 {
            let bytes = match rng.below(2) {
                0 => damaged(&mut rng, &samples),
                _ => {
                    let (header, values) = split_header(&samples[rng.below(samples.len())]);
                    join_header(&renumbered(&mut rng, header), values)
                }
            };
            let _ = trial.read(|| read(&bytes, &device));
        }
        trial.end();
    }
}

/// Every number of every configuration, replaced by what would make a large network.
#[test]
fn claims_of_model_files_are_not_believed() {
    let device = cpu();
    for (what, samples, read) in [
        ("network's claim", networks(&device), READ_NETWORK),
        ("learner's claim", learners(&device), READ_LEARNER),
    ] {
        let mut trial = Trial::new(what, 8 * MIB);
        for sample in &samples {
            let (header, values) = split_header(sample);
            let config = header.find("config").unwrap()..header.find("summary").unwrap();
            let text = &header[config.clone()];
            for place in numbers(text) {
                for claim in [64, 4096, 65_536, 1 << 20, 1 << 40, (1 << 56) + 1, u64::MAX] {
                    let mut changed = text.to_owned();
                    changed.replace_range(place.clone(), &claim.to_string());
                    let header =
                        [&header[..config.start], &changed, &header[config.end..]].concat();
                    let _ = trial.read(|| read(&join_header(&header, values), &device));
                }
            }
        }
        trial.end();
    }
}

/// Files with as many values as their encoder has, where the method would have many more.
#[test]
fn claims_of_methods_are_not_believed() {
    let device = cpu();
    let mut trial = Trial::new("method's claim", 24 * MIB);
    let wide = Conv4Config {
        filters: 4096,
        blocks: 1,
        size: 4,
        ..Default::default()
    };
    let rows = MlpConfig {
        input: Shape::Values(1),
        hidden: Vec::new(),
        classes: 1 << 20,
    };
    let wide = wide.graph().unwrap();
    let rows = rows.graph().unwrap().as_encoder();
    let mut steps = MethodConfig::of(Method::MamlPP, 0);
    steps.inner_mut().unwrap().steps = 10_000;
    for (method, encoder, values) in [
        (MethodConfig::Relation, &wide, 1 << 17),
        (MethodConfig::Relation, &rows, 1 << 21),
        (steps, &wide, 1 << 18),
    ] {
        let config = LearnerConfig::new(method, encoder.clone());
        let tensor = NamedTensor {
            name: "any".into(),
            shape: vec![values],
            values: vec![0.0; values],
        };
        let summary = MetaTrainingHistory::default();
        let header = model_file::Header::new("few-shot", config, summary);
        let bytes = model_file::encode(&header, &[tensor]).unwrap();
        let error = trial.read(|| READ_LEARNER(&bytes, &device)).unwrap_err();
        assert!(error.to_string().contains("do not fit"), "{error}");
    }
    trial
        .read(|| READ_LEARNER(&learners(&device)[0], &device))
        .unwrap();
    trial.end();
}

#[test]
fn damaged_checkpoints() {
    let mut trial = Trial::new("checkpoint", 8 * MIB);
    let mut rng = Rng::new(5);
    let mut checkpoint = Checkpoint::new(12);
    checkpoint.metric = Some(0.25);
    checkpoint.set_section("rng", &rng.state()).unwrap();
    let tensor = |name: &str, shape: &[usize]| NamedTensor {
        name: name.into(),
        shape: shape.to_vec(),
        values: vec![1.5; shape.iter().product()],
    };
    let model = vec![tensor("a.weight", &[3, 4]), tensor("a.bias", &[4])];
    checkpoint.tensors.insert("model".into(), model);
    checkpoint.tensors.insert("optimizer".into(), Vec::new());
    let samples = [checkpoint.encode().unwrap()];
    let (header, values) = split_header(&samples[0]);
    assert!(with_checksum(samples[0].clone()) == samples[0]);
    trial.read(|| Checkpoint::decode(&samples[0])).unwrap();
    for _ in 0..1000 {
        let mut bytes = match rng.below(2) {
            0 => damaged(&mut rng, &samples),
            _ => join_header(&renumbered(&mut rng, header), values),
        };
        if rng.below(4) > 0 {
            bytes = with_checksum(bytes);
        }
        let _ = trial.read(|| Checkpoint::decode(&bytes));
    }
    trial.end();
}

#[test]
fn damaged_episode_lists() {
    let mut trial = Trial::new("episode list", 8 * MIB);
    let mut rng = Rng::new(6);
    let names = ["a", "a", "a", "b", "b", "b"];
    let set = ImageSet::from_f32(ImageShape::new(1, 2, 2), &names, &[0.5; 24]).unwrap();
    let text = r#"{"format": 1, "source": "by hand", "image_shape": [1, 2, 2], "episodes": [
        {"classes": ["a", "b"], "support": [[0], [1]], "query": [[1, 2], [0]]},
        {"classes": ["b"], "support": [[2]], "query": [[0]]}]}"#;
    let run = |text: &str| {
        let mut tasks = EpisodeList::from_json(text)?.tasks(&set)?;
        while tasks.next_task()?.is_some() {}
        Ok(())
    };
    trial.read(|| run(text)).unwrap();
    let samples = [text.as_bytes().to_vec()];
    for _ in 0..1100 {
        let changed = match rng.below(2) {
            0 => String::from_utf8_lossy(&damaged(&mut rng, &samples)).into_owned(),
            _ => renumbered(&mut rng, text),
        };
        let _ = trial.read(|| run(&changed));
    }
    let deep = "[".repeat(100_000);
    let inside = text.replace("[1, 2, 2]", &deep);
    for text in [deep, inside] {
        trial.read(|| run(&text)).unwrap_err();
    }
    trial.end();
}
