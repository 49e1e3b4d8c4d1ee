//! What becomes of a stranger's image files.

mod data_support;

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use data_support::{put, refused};
use forgeling::Result;
use forgeling::data::{
    Dataset, Fit, Framing, Glyphs, PictureKind, PictureOptions, Pictures, Split, folder,
    read_pictures,
};
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::codecs::webp::WebPEncoder;
use image::{
    DynamicImage, ExtendedColorType, GrayImage, ImageEncoder, ImageFormat, Luma, Rgb, RgbImage,
};
use tempfile::tempdir;

fn encode(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.into().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn options(kind: Option<PictureKind>, size: usize) -> PictureOptions {
    PictureOptions {
        size,
        kind,
        ..PictureOptions::default()
    }
}

fn as_pictures(size: usize) -> PictureOptions {
    options(Some(PictureKind::Pictures), size)
}

fn read_one(path: &Path, options: &PictureOptions) -> Result<Vec<u8>> {
    read_pictures(&[path], options)?.images.remove(0)
}

/// An image in colour that no turn leaves as it is, with sides of its own.
fn pattern() -> RgbImage {
    RgbImage::from_fn(24, 16, |x, y| {
        Rgb([(x * 10) as u8, (y * 15) as u8, (x * y) as u8])
    })
}

/// With an EXIF orientation.
fn turned(image: &RgbImage, orientation: u16, format: ImageFormat) -> Vec<u8> {
    let [low, high] = orientation.to_le_bytes();
    // A TIFF header and one entry: tag 0x0112, one unsigned short.
    let exif = [
        b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".as_slice(),
        &[low, high, 0, 0, 0, 0, 0, 0],
    ]
    .concat();
    let mut bytes = Vec::new();
    let (width, height) = image.dimensions();
    let kind = ExtendedColorType::Rgb8;
    macro_rules! write {
        ($encoder:expr) => {{
            let mut encoder = $encoder;
            encoder.set_exif_metadata(exif).unwrap();
            encoder.write_image(image, width, height, kind).unwrap();
        }};
    }
    match format {
        ImageFormat::Png => write!(PngEncoder::new(&mut bytes)),
        ImageFormat::Jpeg => write!(JpegEncoder::new_with_quality(&mut bytes, 100)),
        _ => write!(WebPEncoder::new_lossless(&mut bytes)),
    }
    bytes
}

#[test]
fn images_are_turned_as_their_exif_orientation_says() {
    let dir = tempdir().unwrap();
    let upright = pattern();
    let stretched = PictureOptions {
        fit: Fit::Stretch,
        ..as_pictures(9)
    };
    let path = put(
        dir.path(),
        "upright.png",
        encode(upright.clone(), ImageFormat::Png),
    );
    let expected = read_one(&path, &stretched).unwrap();
    for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP] {
        for orientation in 1..=8u16 {
            // What a camera stores that is held so: the orientation undone.
            let undo = [1, 2, 3, 4, 5, 8, 7, 6][usize::from(orientation) - 1];
            let mut stored = DynamicImage::from(upright.clone());
            stored.apply_orientation(image::metadata::Orientation::from_exif(undo).unwrap());
            let bytes = turned(&stored.into_rgb8(), orientation, format);
            let found = read_one(&put(dir.path(), "turned", bytes), &stretched).unwrap();
            let slack = if format == ImageFormat::Jpeg { 14 } else { 0 };
            for (a, b) in found.iter().zip(&expected) {
                assert!(a.abs_diff(*b) <= slack, "{format:?} {orientation}: {a} {b}");
            }
        }
    }
}

#[test]
fn every_format_is_read_and_none_that_ends_early() {
    let dir = tempdir().unwrap();
    let expected = read_one(
        &put(dir.path(), "a", encode(pattern(), ImageFormat::Png)),
        &as_pictures(16),
    )
    .unwrap();
    let progressive = include_bytes!("../golden/progressive.jpg").to_vec();
    let files = [
        ("png", encode(pattern(), ImageFormat::Png)),
        ("webp", encode(pattern(), ImageFormat::WebP)),
        ("bmp", encode(pattern(), ImageFormat::Bmp)),
        ("gif", encode(pattern(), ImageFormat::Gif)),
        ("tiff", encode(pattern(), ImageFormat::Tiff)),
        ("jpg", encode(pattern(), ImageFormat::Jpeg)),
        ("progressive.jpg", progressive),
    ];
    for (name, bytes) in files {
        let path = dir.path().join(name);
        let read = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            read_one(&path, &as_pictures(16))
        };
        let whole = read(&bytes).unwrap();
        if matches!(name, "png" | "webp" | "bmp" | "tiff") {
            assert_eq!(whole, expected, "{name}");
        }
        for length in 0..bytes.len() {
            // Some formats end with what no pixel needs: then nothing is lost.
            match read(&bytes[..length]) {
                Ok(found) => assert_eq!(found, whole, "{name} cut at {length}"),
                Err(error) => assert!(error.is_bad_input(), "{name}: {error}"),
            }
        }
        if name.ends_with("jpg") {
            let cut = read(&bytes[..bytes.len() - 1]);
            refused(cut, name, "the JPEG ends early");
        }
    }
}

/// Pen strokes of class `class`, dark on white.
fn glyph(class: usize, example: usize, size: usize) -> GrayImage {
    let glyphs = Glyphs::new(3, Split::Test, 40).unwrap();
    let glyphs = glyphs.with_size(size).unwrap();
    let mut values = vec![0.0; size * size];
    glyphs.read(class, example, &mut values).unwrap();
    GrayImage::from_fn(size as u32, size as u32, |x, y| {
        let ink = values[y as usize * size + x as usize];
        Luma([255 - (ink * 255.0).round() as u8])
    })
}

fn write_all(dir: &Path, images: impl IntoIterator<Item = DynamicImage>) -> Vec<PathBuf> {
    let images = images.into_iter().enumerate();
    images
        .map(|(index, image)| {
            put(
                dir,
                &format!("{index:03}.png"),
                encode(image, ImageFormat::Png),
            )
        })
        .collect()
}

#[test]
fn clean_scans_stay_as_they_are_whatever_colour_their_ink_has() {
    let dir = tempdir().unwrap();
    let scans: Vec<GrayImage> = (0..30).map(|class| glyph(class, 1, 28)).collect();
    let paths = write_all(dir.path(), scans.iter().cloned().map(DynamicImage::from));
    let found = read_pictures(&paths, &options(None, 28)).unwrap();
    assert_eq!(found.preparation.kind, PictureKind::Drawings);
    assert_eq!(found.preparation.framing, Some(Framing::Whole));
    assert!(!found.survey.has_light_ink());
    let check = |found: Pictures| {
        for (image, scan) in found.images.into_iter().zip(&scans) {
            let ink: Vec<u8> = scan.pixels().map(|pixel| 255 - pixel[0]).collect();
            assert_eq!(image.unwrap(), ink);
        }
    };
    check(found);
    let inverted = scans.iter().map(|scan| {
        let mut scan = DynamicImage::from(scan.clone());
        scan.invert();
        scan
    });
    let paths = write_all(dir.path(), inverted);
    let found = read_pictures(&paths, &options(None, 28)).unwrap();
    assert!(found.survey.has_light_ink());
    check(found);
}

#[test]
fn a_drawing_far_off_on_a_large_page_is_brought_to_the_middle() {
    let dir = tempdir().unwrap();
    let page = |dx: u32, dy: u32, paper: u8| {
        let drawing = glyph(4, 0, 120);
        GrayImage::from_fn(640, 480, |x, y| {
            let inside = (dx..dx + 120).contains(&x) && (dy..dy + 120).contains(&y);
            let shade = if inside {
                drawing.get_pixel(x - dx, y - dy)[0]
            } else {
                255
            };
            Luma([(u32::from(shade) * u32::from(paper) / 255) as u8])
        })
    };
    let pages = [page(30, 300, 255), page(450, 20, 255), page(200, 150, 120)];
    let paths = write_all(dir.path(), pages.map(DynamicImage::from));
    let found = read_pictures(&paths, &options(None, 28)).unwrap();
    assert_eq!(found.preparation.kind, PictureKind::Drawings);
    assert_eq!(found.preparation.framing, Some(Framing::Ink));
    let images: Vec<Vec<u8>> = found.images.into_iter().map(Result::unwrap).collect();
    for other in &images[1..] {
        let apart = images[0]
            .iter()
            .zip(other)
            .map(|(a, b)| f64::from(a.abs_diff(*b)));
        let mean = apart.sum::<f64>() / 784.0;
        assert!(mean < 12.0, "{mean} of 255 apart");
    }
    // 0.64 of 28 are 18 pixels.
    let inked = |x: usize, y: usize| images[0][y * 28 + x] > 60;
    let rows = (0..28).filter(|&y| (0..28).any(|x| inked(x, y)));
    let columns = (0..28).filter(|&x| (0..28).any(|y| inked(x, y)));
    let longer = rows.count().max(columns.count());
    assert!((16..=20).contains(&longer), "{longer}");
}

#[test]
fn light_and_dark_pictures_are_never_inverted() {
    let dir = tempdir().unwrap();
    let noise = |seed: u32, bright: bool| {
        DynamicImage::from(GrayImage::from_fn(40, 30, |x, y| {
            let value = (x * 7919 + y * 104_729 + seed * 15_485_863).wrapping_mul(2_654_435_761);
            Luma([(value >> 24) as u8 / 4 + if bright { 190 } else { 0 }])
        }))
    };
    let paths = write_all(dir.path(), (0..40).map(|i| noise(i, i % 2 == 0)));
    let found = read_pictures(&paths, &options(None, 8)).unwrap();
    assert_eq!(found.preparation.kind, PictureKind::Pictures);
    for (index, image) in found.images.into_iter().enumerate() {
        let image = image.unwrap();
        let mean = image.iter().map(|&value| u32::from(value)).sum::<u32>() / 64;
        assert_eq!(
            mean > 128,
            index % 2 == 0,
            "image {index} has a mean of {mean}"
        );
    }
}

#[test]
fn pictures_keep_their_proportions() {
    let dir = tempdir().unwrap();
    // Three squares side by side: red, green, blue.
    let image = RgbImage::from_fn(30, 10, |x, _| {
        let mut colour = [0; 3];
        colour[(x / 10) as usize] = 240;
        Rgb(colour)
    });
    let path = put(dir.path(), "wide.png", encode(image, ImageFormat::Png));
    let fit = |fit| {
        let options = PictureOptions {
            fit,
            ..as_pictures(3)
        };
        let found = read_pictures(&[&path], &options).unwrap();
        assert_eq!(found.shape.channels, 3);
        found.into_values().remove(0).unwrap()
    };
    let near = |found: Vec<f32>, expected: [[f32; 9]; 3]| {
        for (a, b) in found.iter().zip(expected.as_flattened()) {
            assert!((a * 255.0 - b).abs() < 0.6, "{found:?}");
        }
    };
    near(fit(Fit::Crop), [[0.0; 9], [240.0; 9], [0.0; 9]]);
    let column = |at: usize| std::array::from_fn(|i| if i % 3 == at { 240.0 } else { 0.0 });
    near(fit(Fit::Stretch), [0, 1, 2].map(column));
    // Above and below is the mean.
    let band = |at: usize| {
        std::array::from_fn(|i| match i / 3 {
            1 if i % 3 == at => 240.0,
            1 => 0.0,
            _ => 80.0,
        })
    };
    near(fit(Fit::Pad), [0, 1, 2].map(band));
}

#[test]
fn what_is_no_image_is_counted_or_passed_over() {
    let dir = tempdir().unwrap();
    let root = dir.path();
    let image = || encode(pattern(), ImageFormat::Png);
    for clutter in [
        "a/.DS_Store",
        "a/Thumbs.db",
        "a/@eaDir/x.png",
        "a/desktop.ini",
        "__MACOSX/a/._x.png",
        ".hidden/x.png",
    ] {
        put(root, clutter, "clutter");
    }
    put(root, "a/x.png", image());
    put(root, "b/x.png", image());
    let load = |options: &PictureOptions| folder::load(root, options);
    let found = load(&as_pictures(8)).unwrap();
    assert!(found.left_out.is_empty(), "{}", found.left_out);
    assert_eq!(found.set.class_count(), 2);
    for index in 0..3 {
        put(root, &format!("b/{index}.HEIC"), "heic");
    }
    let text = load(&as_pictures(8)).unwrap().left_out.to_string();
    assert!(text.starts_with("3 files left out: heic"), "{text}");
    assert!(text.contains("magick mogrify"), "{text}");
    put(root, "a/notes.txt", "text");
    let text = load(&as_pictures(8)).unwrap().left_out.to_string();
    assert!(
        text.starts_with("4 files left out: 3 heic, 1 txt"),
        "{text}"
    );

    put(root, "b/broken.jpg", "broken");
    refused(load(&as_pictures(8)), "broken.jpg", "not an image");
    let skipping = PictureOptions {
        skip_broken: true,
        ..as_pictures(8)
    };
    let found = load(&skipping).unwrap();
    assert_eq!(
        (found.set.image_count(), found.left_out.broken.len()),
        (2, 1)
    );
    assert!(
        found
            .left_out
            .to_string()
            .contains("1 broken file left out")
    );
    put(root, "c/broken.jpg", "broken");
    refused(load(&skipping), "c", "no image of the class can be read");
    // Nothing but what telephones write.
    fs::remove_file(root.join("c/broken.jpg")).unwrap();
    put(root, "c/x.heic", "heic");
    refused(load(&as_pictures(8)), "c", "magick mogrify");
}

#[test]
fn parts_of_a_folder_are_told_apart() {
    let dir = tempdir().unwrap();
    let root = dir.path();
    for part in ["Train", "val", "test"] {
        put(
            root,
            &format!("{part}/a/x.png"),
            encode(pattern(), ImageFormat::Png),
        );
    }
    let part = |split| folder::part(root, split).unwrap();
    assert_eq!(part(Split::Train), root.join("Train"));
    assert_eq!(part(Split::Test), root.join("test"));
    let (_, validation) = folder::validation_parts(root).unwrap().unwrap();
    assert_eq!(validation, root.join("val"));
    fs::remove_dir_all(root.join("test")).unwrap();
    assert_eq!(part(Split::Test), root.join("val"));
    // A class may be called so.
    fs::remove_dir_all(root.join("Train")).unwrap();
    assert_eq!(part(Split::Test), root);
}

/// 12,000 × 9,000 pixels.
#[test]
fn a_photograph_of_108_megapixels_is_read() {
    let dir = tempdir().unwrap();
    let image = GrayImage::from_fn(12_000, 9_000, |x, _| {
        Luma([if x < 6000 { 20 } else { 220 }])
    });
    let path = put(dir.path(), "large.jpg", encode(image, ImageFormat::Jpeg));
    let found = read_one(&path, &as_pictures(2)).unwrap();
    for (found, expected) in found.iter().zip([20u8, 220, 20, 220]) {
        assert!(found.abs_diff(expected) < 3, "{found}");
    }
}
