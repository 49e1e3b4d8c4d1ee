//! 10,000 damaged files of weights of each kind, and files that mean harm: an answer or an error about the file, never a panic,
//! within bounded memory. What is damaged depends on a seed alone. With `--nocapture` each test says what it took.

#[allow(dead_code, reason = "other readers are tried by `hostile`")]
mod hostile_support;

use std::collections::BTreeMap;
use std::io::{Cursor, Read, Write};

use forgeling::data::{ImageShape, Rng};
use forgeling::import::{ImportConfig, ImportPlan, WeightFile};
use forgeling::{Device, DeviceChoice, Result};
use hostile_support::{Trial, damaged, join_header, renumbered, split_header};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

const MIB: usize = 1 << 20;
const COUNT: usize = 10_000;

fn golden(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/golden");
    std::fs::read(format!("{folder}/{name}")).unwrap()
}

fn config() -> ImportConfig {
    ImportConfig {
        input: Some(ImageShape::new(3, 32, 32)),
        options: BTreeMap::from([("width".into(), 1)]),
        ..ImportConfig::new("resnet18")
    }
}

/// All of the way to a model, if the file lets it.
fn import(bytes: &[u8], device: &Device) -> Result<()> {
    let file = WeightFile::read(bytes)?;
    let plan = ImportPlan::new(&file, &config())?;
    plan.check()?;
    pollster::block_on(plan.apply(&file, 0, device)).map(drop)
}

/// The files of an archive, by name.
fn unpacked(archive: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut zip = ZipArchive::new(Cursor::new(archive)).unwrap();
    let mut files = Vec::new();
    for index in 0..zip.len() {
        let mut entry = zip.by_index(index).unwrap();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        files.push((entry.name().unwrap().into_owned(), bytes));
    }
    files
}

fn packed(files: &[(String, Vec<u8>)], method: CompressionMethod) -> Vec<u8> {
    let options = SimpleFileOptions::default().compression_method(method);
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in files {
        zip.start_file(name.as_str(), options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// An archive of torch with this pickle and no storages.
fn archive_of(pickle: &[u8]) -> Vec<u8> {
    packed(
        &[("a/data.pkl".into(), pickle.to_vec())],
        CompressionMethod::Stored,
    )
}

/// A file of the old format with this pickle and no storages.
fn legacy_of(pickle: &[u8]) -> Vec<u8> {
    let magic = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
    [
        &magic[..],
        &b"\x80\x02M\xe9\x03."[..],
        b"\x80\x02}.",
        pickle,
        b"\x80\x02].",
    ]
    .concat()
}

fn cpu() -> Device {
    pollster::block_on(Device::open(DeviceChoice::Cpu)).unwrap()
}

#[test]
fn damaged_archives_of_pytorch() {
    let device = cpu();
    let mut trial = Trial::new("archive of PyTorch", 2 * MIB);
    let mut rng = Rng::new(21);
    let samples = [golden("weights.pth")];
    trial.read(|| import(&samples[0], &device)).unwrap();
    let files = unpacked(&samples[0]);
    let pickle = files
        .iter()
        .position(|(name, _)| name.ends_with("data.pkl"))
        .unwrap();
    for _ in 0..COUNT {
        // Half of them behind checksums that are right.
        let bytes = match rng.below(2) {
            0 => damaged(&mut rng, &samples),
            _ => {
                let mut files = files.clone();
                let place = if rng.below(4) > 0 {
                    pickle
                } else {
                    rng.below(files.len())
                };
                files[place].1 = damaged(&mut rng, &[files[place].1.clone()]);
                packed(&files, CompressionMethod::Stored)
            }
        };
        let _ = trial.read(|| import(&bytes, &device));
    }
    trial.end();
}

#[test]
fn damaged_old_files_of_pytorch() {
    let device = cpu();
    let mut trial = Trial::new("old file of PyTorch", 2 * MIB);
    let mut rng = Rng::new(22);
    let samples = [golden("weights_legacy.pth")];
    trial.read(|| import(&samples[0], &device)).unwrap();
    for _ in 0..COUNT {
        let bytes = damaged(&mut rng, &samples);
        let _ = trial.read(|| import(&bytes, &device));
    }
    trial.end();
}

#[test]
fn damaged_safetensors() {
    let device = cpu();
    let mut trial = Trial::new("safetensors", 2 * MIB);
    let mut rng = Rng::new(23);
    let samples = [golden("weights.safetensors")];
    trial.read(|| import(&samples[0], &device)).unwrap();
    let (header, values) = split_header(&samples[0]);
    for _ in 0..COUNT {
        let bytes = match rng.below(2) {
            0 => damaged(&mut rng, &samples),
            _ => join_header(&renumbered(&mut rng, header), values),
        };
        let _ = trial.read(|| import(&bytes, &device));
    }
    trial.end();
}

/// Pickles that ask for code, which a reader of Python would run.
#[test]
fn code_is_refused_by_its_name() {
    let device = cpu();
    let mut trial = Trial::new("pickle with code", 2 * MIB);
    trial
        .read(|| import(&golden("weights.pth"), &device))
        .unwrap();
    for (pickle, named) in [
        (
            &b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R."[..],
            "os.system",
        ),
        (b"\x80\x02cposix\nsystem\n(U\x04truetR.", "posix.system"),
        (
            b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.",
            "os.system",
        ),
        (
            b"\x80\x02cbuiltins\neval\nX\x01\x00\x00\x001\x85R.",
            "builtins.eval",
        ),
        // Named and not called, and within a dictionary of weights.
        (
            b"\x80\x02}X\x01\x00\x00\x00acnumpy.core.multiarray\n_reconstruct\ns.",
            "_reconstruct",
        ),
        (
            b"\x80\x02ctorch.nn.modules.linear\nLinear\n)\x81}b.",
            "Linear",
        ),
        (
            b"\x80\x02ctorch.storage\n_load_from_bytes\nU\x00\x85R.",
            "_load_from_bytes",
        ),
    ] {
        for bytes in [archive_of(pickle), legacy_of(pickle)] {
            let error = trial
                .read(|| import(&bytes, &device))
                .unwrap_err()
                .to_string();
            assert!(
                error.contains("asks for code") && error.contains(named),
                "{error}"
            );
        }
    }
    // Other ways to make objects: by instance, by extension, by attribute.
    for pickle in [
        &b"(S'true'\nios\nsystem\n."[..],
        b"\x80\x02\x82\x01.",
        b"\x80\x02ccollections\nOrderedDict\n)\x81.",
        b"\x80\x02ccollections\nOrderedDict\n}b.",
        b"\x80\x02(ccollections\nOrderedDict\no.",
    ] {
        let error = trial
            .read(|| import(&archive_of(pickle), &device))
            .unwrap_err();
        assert!(error.to_string().contains("pickle"), "{error}");
    }
    trial.end();
}

/// Few bytes that claim to be many, or become many.
#[test]
fn small_files_take_little_memory() {
    let device = cpu();
    let mut trial = Trial::new("bomb", 48 * MIB);
    trial
        .read(|| import(&golden("weights.pth"), &device))
        .unwrap();
    let mut refused = |bytes: &[u8], word: &str| {
        let error = trial
            .read(|| import(bytes, &device))
            .unwrap_err()
            .to_string();
        assert!(error.contains(word), "expected {word}: {error}");
    };
    // Each of a dictionary, and lists in lists: nothing is walked by recursion.
    refused(&legacy_of(&b"}".repeat(2 * MIB)), "too many values");
    let nested = [
        b"]".repeat(1 << 18),
        b"a".repeat((1 << 18) - 1),
        b".".to_vec(),
    ]
    .concat();
    refused(&legacy_of(&nested), "no weights by name");
    // A list that holds itself.
    refused(&legacy_of(b"\x80\x02]q\x00h\x00a."), "no weights by name");
    refused(
        &legacy_of(b"\x80\x02}q\x00X\x05\x00\x00\x00modelh\x00s."),
        "no weights by name",
    );
    // One long list becomes dictionaries again and again.
    let pair = b"NN\x86".repeat(1000);
    let calls = b"ccollections\nOrderedDict\nh\x00\x85R0".repeat(1000);
    let bytes = [&b"\x80\x02]("[..], &pair, b"eq\x00", &calls, b"."].concat();
    refused(&legacy_of(&bytes), "too many values");
    // One long name stands for every storage.
    let name = vec![b'n'; MIB];
    let length = (MIB as u32).to_le_bytes();
    let long = [&b"\x80\x02X"[..], &length, &name, b"q\x00"].concat();
    let storage = b"ctorch\nFloatStorage\nh\x00NK\x01tQ0";
    let bytes = [&long[..], &b"0(X\x07\x00\x00\x00storage"[..], storage, b"."].concat();
    refused(&legacy_of(&bytes), "other than a storage");

    // A text, a storage and a view that are longer than the file.
    refused(&legacy_of(b"\x80\x02X\xff\xff\xff\xffa."), "cut off");
    let of = |length: &[u8], shape: &[u8], stride: &[u8]| {
        let parts: [&[u8]; 9] = [
            b"\x80\x02}X\x01\x00\x00\x00actorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storage",
            b"ctorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu",
            length,
            b"tQK\x00",
            shape,
            b"\x85",
            stride,
            b"\x85\x89}tR",
            b"s.",
        ];
        parts.concat()
    };
    let stored = |pickle: Vec<u8>, method| {
        let files = [
            ("a/data.pkl".to_owned(), pickle),
            ("a/data/0".to_owned(), vec![0; 16]),
        ];
        packed(&files, method)
    };
    let many = b"\x8a\x07\x00\x00\x00\x00\x00\x00\x01";
    let plain = CompressionMethod::Stored;
    refused(
        &stored(of(b"K\x04", b"K\x04", b"K\x01"), plain),
        "missing: conv1.weight",
    );
    refused(
        &stored(of(many, b"K\x04", b"K\x01"), plain),
        "another length",
    );
    refused(
        &stored(of(b"K\x04", many, b"K\x00"), plain),
        "reaches beyond",
    );
    refused(
        &stored(of(b"K\x04", b"K\x05", b"K\x00"), plain),
        "reaches beyond",
    );
    refused(
        &stored(of(b"K\x04", b"K\x02", b"K\x04"), plain),
        "reaches beyond",
    );
    refused(
        &stored(of(b"J\xff\xff\xff\xff", b"K\x04", b"K\x01"), plain),
        "length",
    );
    let small = of(b"K\x04", b"K\x04", b"K\x01");
    refused(
        &stored(small.clone(), CompressionMethod::Deflated),
        "compressed",
    );

    // And for every tensor.
    let unended = &small[..small.len() - 1];
    let entries = b"h\x00N".repeat(1000);
    let bytes = [&long[..], &b"0"[..], unended, b"(", &entries, b"u."].concat();
    refused(&stored(bytes, plain), "two tensors have the name");

    // A head without numbers for any number of classes.
    let head = r#"{"fc.weight":{"dtype":"F32","shape":[1099511627776,0],"data_offsets":[0,0]}}"#;
    refused(&join_header(head, &[]), "classes is out of range");

    // Sixteen megabytes of zeros in as many kilobytes.
    let files = [("a/data.pkl".to_owned(), vec![b'}'; 16 * MIB])];
    refused(&packed(&files, CompressionMethod::Deflated), "compressed");
    // A checksum that is wrong, in the middle of the numbers.
    let mut bytes = stored(small, plain);
    let numbers = bytes
        .windows(16)
        .position(|window| window == [0; 16])
        .unwrap();
    bytes[numbers + 8] = 1;
    refused(&bytes, "checksum");
    trial.end();
}
