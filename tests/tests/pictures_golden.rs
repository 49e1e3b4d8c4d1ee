//! What becomes of drawings and pictures, in the library and in the page.
//!
//! `golden/pictures.json` holds small pictures and the values that the library makes of them. The tests of the npm package
//! compare `imageToInk` and `imageToPixels` with the same values.
//!
//! `FORGELING_WRITE_GOLDEN=1 cargo test --release --workspace --test pictures_golden` draws the pictures and writes the
//! file anew.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use forgeling::data::{Colour, Framing, PictureKind, PictureOptions, read_pictures};
use image::{ExtendedColorType, save_buffer};
use serde_json::{Value, json};
use tempfile::tempdir;

/// From the package's folder, where cargo starts tests.
const GOLDEN: &str = "golden/pictures.json";
const DRAWINGS: [usize; 2] = [28, 20];
const PICTURES: usize = 20;

/// `times` rows and columns of the picture that is read are one of `pixels`.
struct Picture {
    name: String,
    channels: usize,
    width: usize,
    height: usize,
    times: usize,
    pixels: Vec<u8>,
}

impl Picture {
    /// Each pixel is what `paint` says of its centre: values from 0 to 1.
    fn new<const N: usize>(
        name: &str,
        (width, height): (usize, usize),
        times: usize,
        paint: impl Fn(f32, f32) -> [f32; N],
    ) -> Self {
        let centre = |i: usize| ((i % width) as f32 + 0.5, (i / width) as f32 + 0.5);
        let pixels = (0..width * height).flat_map(|i| {
            let (x, y) = centre(i);
            paint(x, y).map(|value| (255.0 * value).round() as u8)
        });
        Self {
            name: name.to_owned(),
            channels: N,
            width,
            height,
            times,
            pixels: pixels.collect(),
        }
    }

    fn read(value: &Value) -> Self {
        let number = |key: &str| value[key].as_u64().unwrap() as usize;
        let text = |key: &str| value[key].as_str().unwrap();
        Self {
            name: text("name").to_owned(),
            channels: number("channels"),
            width: number("width"),
            height: number("height"),
            times: number("times"),
            pixels: STANDARD.decode(text("pixels")).unwrap(),
        }
    }

    /// The picture and what the library makes of it.
    fn golden(&self, dir: &Path) -> Value {
        let path = dir.join("picture.png");
        let (width, height) = (self.width * self.times, self.height * self.times);
        let pixel = |x: usize, y: usize| {
            let start = (y / self.times * self.width + x / self.times) * self.channels;
            &self.pixels[start..start + self.channels]
        };
        let pixels: Vec<u8> = (0..width * height)
            .flat_map(|i| pixel(i % width, i / width).to_vec())
            .collect();
        let colour = match self.channels {
            1 => ExtendedColorType::L8,
            3 => ExtendedColorType::Rgb8,
            _ => ExtendedColorType::Rgba8,
        };
        save_buffer(&path, &pixels, width as u32, height as u32, colour).unwrap();
        let made = |size, kind, framing, colour| {
            let options = PictureOptions {
                size,
                kind: Some(kind),
                framing,
                colour: Some(colour),
                ..PictureOptions::default()
            };
            let image = read_pictures(&[&path], &options).unwrap().images.remove(0);
            json!(STANDARD.encode(image.unwrap()))
        };
        let drawings = DRAWINGS.map(|size| {
            let values = made(
                size,
                PictureKind::Drawings,
                Some(Framing::Ink),
                Colour::Grey,
            );
            json!({ "size": size, "values": values })
        });
        let pictures = [Colour::Grey, Colour::Rgb].map(|colour| {
            let values = made(PICTURES, PictureKind::Pictures, None, colour);
            json!({ "size": PICTURES, "channels": colour.channels(), "values": values })
        });
        json!({
            "name": self.name,
            "channels": self.channels,
            "width": self.width,
            "height": self.height,
            "times": self.times,
            "pixels": STANDARD.encode(&self.pixels),
            "drawings": drawings,
            "pictures": pictures,
        })
    }
}

/// How much of the pixel at (x, y) a stroke of this width along these points covers.
fn stroke((x, y): (f32, f32), points: &[(f32, f32)], width: f32) -> f32 {
    let to_segment = |ends: &[(f32, f32)]| {
        let ((ax, ay), (bx, by)) = (ends[0], ends[1]);
        let (along_x, along_y) = (bx - ax, by - ay);
        let length = along_x * along_x + along_y * along_y;
        let part = (((x - ax) * along_x + (y - ay) * along_y) / length).clamp(0.0, 1.0);
        (ax + part * along_x - x).hypot(ay + part * along_y - y)
    };
    let nearest = points.windows(2).map(to_segment).fold(f32::MAX, f32::min);
    (0.5 + width / 2.0 - nearest).clamp(0.0, 1.0)
}

/// Evenly distributed from 0 to 1, and the same everywhere.
fn noise(x: f32, y: f32, seed: u32) -> f32 {
    let mut bits = (x as u32 * 7919 + y as u32 * 104_729 + seed).wrapping_mul(0x9e37_79b1);
    bits = (bits ^ (bits >> 15)).wrapping_mul(0x85eb_ca77);
    (bits ^ (bits >> 13)) as f32 / u32::MAX as f32
}

fn pictures() -> Vec<Picture> {
    let hook = [
        (30.0, 14.0),
        (62.0, 22.0),
        (44.0, 38.0),
        (60.0, 56.0),
        (36.0, 60.0),
    ];
    let cross = [(12.0, 40.0), (24.0, 50.0), (18.0, 34.0), (13.0, 53.0)];
    let wave = [
        (6.0, 5.0),
        (20.0, 2.0),
        (34.0, 6.0),
        (50.0, 2.5),
        (63.0, 5.0),
    ];
    vec![
        Picture::new("dim page", (96, 72), 1, |x, y| {
            let light = 0.62 - 0.003 * x - 0.001 * y + 0.02 * noise(x, y, 1);
            let light = light * (1.0 - 0.55 * stroke((x, y), &hook, 3.0));
            [light, 0.93 * light, 0.8 * light]
        }),
        Picture::new("light ink on a dark board", (96, 72), 1, |x, y| {
            let ground = 0.12 + 0.001 * x + 0.03 * noise(x, y, 2);
            [ground + 0.5 * stroke((x, y), &hook, 3.5)]
        }),
        Picture::new("clean page", (80, 60), 1, |x, y| {
            [1.0 - 0.95 * stroke((x, y), &cross, 1.6)]
        }),
        Picture::new("page beside a dark desk", (96, 72), 6, |x, y| {
            let desk = if x < 14.0 + 0.05 * y { 0.2 } else { 1.0 };
            let light = (0.8 - 0.002 * y) * desk + 0.02 * noise(x, y, 4);
            [light * (1.0 - 0.7 * stroke((x, y), &hook, 2.5))]
        }),
        Picture::new("see-through drawing", (48, 40), 10, |x, y| {
            let ink = stroke((x, y), &[(9.0, 30.0), (30.0, 8.0), (40.0, 27.0)], 2.2);
            [0.9, x / 48.0, 0.1, ink]
        }),
        Picture::new("coloured and a little transparent", (64, 48), 1, |x, y| {
            let inside = (x - 40.0).hypot(y - 20.0) < 11.0;
            let opacity = if y < 24.0 { 1.0 } else { 0.6 + 0.006 * x };
            match inside {
                true => [0.85, 0.25 + 0.01 * y, 0.1, opacity],
                false => [0.2 + 0.005 * x, 0.45, 0.9 - 0.008 * y, opacity],
            }
        }),
        Picture::new("wide", (96, 8), 33, |x, y| {
            let paper = 0.7 + 0.002 * x;
            let ink = stroke((x, y), &wave, 1.2);
            [
                paper * (1.0 - ink),
                paper * (1.0 - 0.8 * ink),
                paper * (1.0 - 0.4 * ink),
            ]
        }),
        Picture::new("noise", (72, 66), 1, |x, y| [noise(x, y, 8)]),
        Picture::new("speckled page", (72, 66), 1, |x, y| {
            let specks = noise(x / 2.0, y / 3.0, 9).powi(40) + 0.6 * noise(x, y, 10).powi(20);
            [0.2 + 0.3 * (1.0 - specks).max(0.0) + 0.002 * x]
        }),
    ]
}

#[test]
fn drawings_and_pictures_become_what_they_become_in_the_page() {
    let dir = tempdir().unwrap();
    if std::env::var_os("FORGELING_WRITE_GOLDEN").is_some() {
        let golden = pictures()
            .iter()
            .map(|picture| picture.golden(dir.path()))
            .collect();
        let text = serde_json::to_string_pretty(&Value::Array(golden)).unwrap();
        fs::write(GOLDEN, text + "\n").unwrap();
    }
    let golden: Vec<Value> = serde_json::from_slice(&fs::read(GOLDEN).unwrap()).unwrap();
    assert_eq!(golden.len(), pictures().len());
    for expected in &golden {
        let picture = Picture::read(expected);
        let found = picture.golden(dir.path());
        for made in ["drawings", "pictures"] {
            assert_eq!(found[made], expected[made], "{made} of {}", picture.name);
        }
    }
}
