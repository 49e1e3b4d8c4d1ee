//! Loaders: what they read, and that every malformed input is an error that names the file and the reason.

mod data_support;

use std::fs;
use std::io::{Cursor, Write};
use std::path::Path;

use data_support::{put, refused};
use forgeling::Result;
use forgeling::data::{
    Colour, Dataset, Fit, ImageSet, Limits, PictureKind, PictureOptions, folder, omniglot,
    read_pictures,
};
use image::{DynamicImage, GrayImage, ImageFormat, Luma, Rgb, RgbImage, Rgba, RgbaImage};
use tempfile::tempdir;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

fn encode(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.into().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// White paper with a dark left half; `shade` tells drawings apart.
fn drawing(side: u32, shade: u8) -> Vec<u8> {
    let image = GrayImage::from_fn(side, side, |x, _| {
        Luma([if x < side / 2 { shade } else { 255 }])
    });
    encode(image, ImageFormat::Png)
}

fn zip_of(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in files {
        zip.start_file(*name, SimpleFileOptions::default()).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// Files that are read as they are, stretched.
fn as_they_are(size: usize) -> PictureOptions {
    PictureOptions {
        size,
        kind: Some(PictureKind::Pictures),
        fit: Fit::Stretch,
        ..PictureOptions::default()
    }
}

/// One file by itself.
fn load_image(path: impl AsRef<Path>, options: &PictureOptions) -> Result<Vec<u8>> {
    read_pictures(&[path.as_ref()], options)?.images.remove(0)
}

fn characters() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("top/Zulu/character02/0002_01.png", drawing(8, 0)),
        ("top/Alpha/character01/0001_02.png", drawing(8, 102)),
        ("top/Alpha/character01/0001_01.png", drawing(8, 0)),
        ("top/Alpha/character02/0003_01.png", drawing(8, 51)),
        ("top/README.txt", b"not a drawing".to_vec()),
        ("top/Alpha/.hidden.png", b"not a drawing".to_vec()),
    ]
}

fn check_characters(set: &ImageSet) {
    let names: Vec<_> = (0..set.class_count()).map(|c| set.class_name(c)).collect();
    assert_eq!(
        names,
        ["Alpha/character01", "Alpha/character02", "Zulu/character02"]
    );
    assert_eq!(set.groups(), ["Alpha", "Zulu"]);
    assert_eq!(set.class_group(2), Some("Zulu"));
    assert_eq!((set.class_len(0), set.class_len(1)), (2, 1));
    // Ink is 1, paper 0.
    assert_eq!(set.image(0, 0), Some(&[255, 255, 0, 0].repeat(4)[..]));
    assert_eq!(set.image(0, 1), Some(&[153, 153, 0, 0].repeat(4)[..]));
}

#[test]
fn omniglot_reads_folder_and_zip_alike() {
    let dir = tempdir().unwrap();
    for (name, bytes) in characters() {
        put(&dir.path().join("tree"), name, bytes);
    }
    let zip = put(dir.path(), "tree.zip", zip_of(&characters()));
    check_characters(&omniglot::load(dir.path().join("tree"), 4).unwrap());
    check_characters(&omniglot::load(dir.path().join("tree/top"), 4).unwrap());
    check_characters(&omniglot::load(zip, 4).unwrap());
}

#[test]
fn a_drawing_found_twice_counts_once() {
    let dir = tempdir().unwrap();
    put(
        dir.path(),
        "small1/Latin/character01/0001_01.png",
        drawing(4, 0),
    );
    put(
        dir.path(),
        "small2/Latin/character01/0001_01.png",
        drawing(4, 0),
    );
    put(
        dir.path(),
        "small2/Latin/character01/0001_02.png",
        drawing(4, 0),
    );
    let set = omniglot::load(dir.path(), 4).unwrap();
    assert_eq!((set.class_count(), set.image_count()), (1, 2));
}

#[test]
fn resizing_averages_areas() {
    let dir = tempdir().unwrap();
    // 3 columns onto 2: each target covers one and a half.
    let image = GrayImage::from_fn(3, 1, |x, _| Luma([[0, 90, 240][x as usize]]));
    let path = put(dir.path(), "a.png", encode(image, ImageFormat::Png));
    let values = load_image(&path, &as_they_are(2)).unwrap();
    assert_eq!(values, [30, 190, 30, 190]);
    // Enlarging repeats.
    let values = load_image(&path, &as_they_are(6)).unwrap();
    assert_eq!(values, [0, 0, 90, 90, 240, 240].repeat(6));
}

#[test]
fn folder_sorts_classes_and_takes_every_format() {
    let dir = tempdir().unwrap();
    let grey = |v| GrayImage::from_pixel(5, 5, Luma([v]));
    put(dir.path(), "b/2.JPG", encode(grey(255), ImageFormat::Jpeg));
    put(
        dir.path(),
        "b/1.webp",
        encode(
            RgbaImage::from_pixel(5, 5, Rgba([0, 0, 0, 0])),
            ImageFormat::WebP,
        ),
    );
    put(dir.path(), "a/x.png", encode(grey(0), ImageFormat::Png));
    put(dir.path(), "a/notes.txt", "left out");
    put(dir.path(), "loose.png", "left out");
    let options = PictureOptions {
        kind: Some(PictureKind::Drawings),
        ..as_they_are(3)
    };
    let found = folder::load(dir.path(), &options).unwrap();
    assert_eq!(found.left_out.to_string(), "1 file left out: txt");
    let set = found.set;
    assert_eq!(
        (set.class_name(0), set.class_name(1)),
        ("a".into(), "b".into())
    );
    // A page that is all black has no ink on it.
    assert_eq!(set.image(0, 0), Some(&[0; 9][..]));
    // What is transparent is paper.
    assert_eq!(set.image(1, 0), Some(&[0; 9][..]));
    assert_eq!(set.image(1, 1), Some(&[0; 9][..]));
    let (listed, _) = folder::list_images(dir.path().join("b")).unwrap();
    assert_eq!(
        listed,
        [dir.path().join("b/1.webp"), dir.path().join("b/2.JPG")]
    );
    assert_eq!(folder::list_images(&listed[0]).unwrap().0, listed[..1]);
}

#[test]
fn colours_are_kept_where_there_are_some() {
    let dir = tempdir().unwrap();
    let red = RgbImage::from_pixel(4, 4, Rgb([255, 0, 51]));
    put(dir.path(), "c/red.png", encode(red, ImageFormat::Png));
    let load = |colour| {
        let options = PictureOptions {
            colour,
            ..as_they_are(1)
        };
        let found = folder::load(dir.path(), &options).unwrap();
        found.set.image(0, 0).unwrap().to_vec()
    };
    assert_eq!(load(Some(Colour::Rgb)), [255, 0, 51]);
    assert_eq!(load(Some(Colour::Grey)), [58]);
    assert_eq!(load(None), [255, 0, 51]);
    let grey = GrayImage::from_pixel(4, 4, Luma([7]));
    put(dir.path(), "c/red.png", encode(grey, ImageFormat::Png));
    assert_eq!(load(None), [7]);
    assert_eq!(load(Some(Colour::Rgb)), [7, 7, 7]);
}

#[test]
fn damaged_and_false_images_are_refused() {
    let dir = tempdir().unwrap();
    let options = as_they_are(4);
    let load = |name: &str, bytes: &[u8]| load_image(put(dir.path(), name, bytes), &options);
    let good = drawing(40, 0);
    refused(
        load("cut.png", &good[..good.len() / 2]),
        "cut.png",
        "cannot be decoded",
    );
    refused(load("empty.png", &[]), "empty.png", "not an image");
    refused(
        load("text.png", b"this is text"),
        "text.png",
        "not an image",
    );
    refused(
        load("other.jpg", b"GIF89a\x01\0\x01\0"),
        "other.jpg",
        "cannot be decoded",
    );
    refused(
        load_image(dir.path().join("none.png"), &options),
        "none.png",
        "read_pictures",
    );
    refused(load_image(dir.path(), &options), "", "not a regular file");
    let path = put(dir.path(), "good.png", &good);
    for size in [0, usize::MAX] {
        let found = load_image(&path, &as_they_are(size));
        refused(found, "", "cannot have this size");
    }
}

/// A PNG whose header claims other sides than its pixels have, with a right checksum.
fn claiming(width: u32, height: u32) -> Vec<u8> {
    let mut png = drawing(4, 0);
    png[16..20].copy_from_slice(&width.to_be_bytes());
    png[20..24].copy_from_slice(&height.to_be_bytes());
    let mut crc = flate2::Crc::new();
    crc.update(&png[12..29]);
    png[29..33].copy_from_slice(&crc.sum().to_be_bytes());
    png
}

#[test]
fn huge_claims_are_refused_before_decoding() {
    let dir = tempdir().unwrap();
    put(
        dir.path(),
        "A/character01/big.png",
        claiming(60_000, 60_000),
    );
    refused(omniglot::load(dir.path(), 4), "big.png", "60000 × 60000");
    let limits = Limits {
        pixels: 63,
        ..Limits::default()
    };
    let dir = tempdir().unwrap();
    put(dir.path(), "A/character01/d.png", drawing(8, 0));
    refused(
        omniglot::load_with(dir.path(), 4, &limits),
        "d.png",
        "8 × 8",
    );
    assert!(
        omniglot::load_with(
            dir.path(),
            4,
            &Limits {
                pixels: 64,
                ..limits
            }
        )
        .is_ok()
    );
    let limits = Limits {
        entry_bytes: 20,
        ..Limits::default()
    };
    refused(
        omniglot::load_with(dir.path(), 4, &limits),
        "d.png",
        "too large",
    );
    let limits = Limits {
        entries: 0,
        ..Limits::default()
    };
    refused(
        omniglot::load_with(dir.path(), 4, &limits),
        "",
        "too many files",
    );
    let limits = Limits {
        depth: 1,
        ..Limits::default()
    };
    refused(
        omniglot::load_with(dir.path(), 4, &limits),
        "character01",
        "too deeply",
    );
    let limits = Limits {
        total_bytes: 20,
        ..Limits::default()
    };
    refused(
        omniglot::load_with(dir.path(), 4, &limits),
        "d.png",
        "too much data",
    );
}

#[test]
fn omniglot_refuses_trees_of_another_kind() {
    let dir = tempdir().unwrap();
    refused(omniglot::load(dir.path(), 28), "", "no drawing");
    refused(
        omniglot::load(dir.path().join("absent"), 28),
        "absent",
        "load_omniglot",
    );
    put(dir.path(), "character01/x.png", drawing(4, 0));
    refused(
        omniglot::load(dir.path(), 28),
        "character01/x.png",
        "alphabet",
    );
    let dir = tempdir().unwrap();
    put(dir.path(), "A/character01/x.png", "no png");
    refused(
        omniglot::load(dir.path(), 28),
        "A/character01/x.png",
        "not an image",
    );
    refused(omniglot::load(dir.path(), 0), "", "pixel");
    refused(omniglot::load(dir.path(), usize::MAX), "", "too large");
}

#[test]
fn hostile_archives_are_refused() {
    let dir = tempdir().unwrap();
    let load = |bytes: Vec<u8>, limits: &Limits| {
        omniglot::load_with(put(dir.path(), "set.zip", bytes), 4, limits)
    };
    let free = Limits::default();
    let whole = zip_of(&characters());
    refused(
        load(whole[..whole.len() / 2].to_vec(), &free),
        "set.zip",
        "not a readable zip",
    );
    refused(
        load(b"no archive".to_vec(), &free),
        "set.zip",
        "not a readable zip",
    );
    refused(load(zip_of(&[]), &free), "set.zip", "no drawing");
    for name in [
        "../A/character01/x.png",
        "/A/character01/x.png",
        "A/../../x/y.png",
        "A\\..\\..\\x.png",
        "C:/A/x.png",
    ] {
        let error = refused(
            load(zip_of(&[(name, drawing(4, 0))]), &free),
            "set.zip",
            "leads out of",
        );
        assert!(error.message().contains(&format!("{name:?}")), "{error}");
    }
    let mut linked = ZipWriter::new(Cursor::new(Vec::new()));
    linked
        .add_symlink(
            "A/character01/x.png",
            "/etc/hostname",
            SimpleFileOptions::default(),
        )
        .unwrap();
    refused(
        load(linked.finish().unwrap().into_inner(), &free),
        "A/character01/x.png",
        "is a link",
    );

    // 8 MB of zeros in a few KB.
    let bomb = zip_of(&[("A/character01/x.png", vec![0; 8 << 20])]);
    assert!(bomb.len() < 20_000);
    let limits = Limits {
        entry_bytes: 1 << 20,
        ..free
    };
    refused(load(bomb, &limits), "A/character01/x.png", "too large");
    refused(
        load(whole.clone(), &Limits { entries: 3, ..free }),
        "set.zip",
        "too many files",
    );
    refused(
        load(
            whole.clone(),
            &Limits {
                total_bytes: 100,
                ..free
            },
        ),
        "set.zip",
        "too large",
    );

    // One flipped byte inside an entry.
    let mut flipped = zip_of(&[("A/character01/x.png", drawing(64, 0))]);
    let middle = 30 + "A/character01/x.png".len() + 10;
    flipped[middle] ^= 0xff;
    refused(
        load(flipped, &free),
        "A/character01/x.png",
        "cannot be read",
    );
}

#[cfg(unix)]
#[test]
fn loops_of_links_are_refused_and_other_links_followed() {
    use std::os::unix::fs::symlink;
    let dir = tempdir().unwrap();
    put(dir.path(), "A/character01/x.png", drawing(4, 0));
    symlink(dir.path().join("A"), dir.path().join("B")).unwrap();
    assert_eq!(omniglot::load(dir.path(), 4).unwrap().class_count(), 2);
    symlink(dir.path(), dir.path().join("A/character01/up")).unwrap();
    refused(omniglot::load(dir.path(), 4), "up", "a link leads back");

    let dir = tempdir().unwrap();
    symlink(dir.path().join("self.png"), dir.path().join("self.png")).unwrap();
    refused(omniglot::load(dir.path(), 4), "self.png", "load_omniglot");
    refused(folder::list_images(dir.path()), "self.png", "list_images");
}

#[test]
fn folders_without_images_or_with_inner_folders_are_refused() {
    let dir = tempdir().unwrap();
    let options = PictureOptions::default();
    refused(folder::load(dir.path(), &options), "", "no class");
    fs::create_dir(dir.path().join("void")).unwrap();
    refused(folder::load(dir.path(), &options), "void", "no image");
    refused(
        folder::list_images(dir.path().join("void")),
        "void",
        "no image",
    );
    put(dir.path(), "void/inner/x.png", drawing(4, 0));
    refused(folder::load(dir.path(), &options), "inner", "a folder lies");
    let dir = tempdir().unwrap();
    put(dir.path(), "a/broken.png", "no");
    refused(
        folder::load(dir.path(), &options),
        "broken.png",
        "not an image",
    );
    let limits = Limits {
        total_bytes: 10,
        ..Limits::default()
    };
    put(dir.path(), "a/broken.png", drawing(4, 0));
    let options = PictureOptions { limits, ..options };
    refused(folder::load(dir.path(), &options), "", "too much data");
}
