use super::*;

#[test]
fn flips_and_crops_move_whole_pixels() {
    let shape = ImageShape::new(2, 2, 3);
    let image = || (1..=12).map(|x| x as f32).collect::<Vec<f32>>();
    let mut flipped = image();
    Flip { probability: 1.0 }.apply(shape, &mut flipped, &mut Rng::new(0));
    assert_eq!(
        flipped,
        [
            3.0, 2.0, 1.0, 6.0, 5.0, 4.0, 9.0, 8.0, 7.0, 12.0, 11.0, 10.0
        ]
    );
    let cut = |fill, place| {
        let mut image = image();
        Crop { padding: 1, fill }.cut(shape, &mut image, place);
        image
    };
    assert_eq!(cut(Fill::Zeros, [1, 1]), image());
    assert_eq!(
        cut(Fill::Zeros, [0, 2]),
        [0.0, 0.0, 0.0, 2.0, 3.0, 0.0, 0.0, 0.0, 0.0, 8.0, 9.0, 0.0]
    );
    assert_eq!(
        cut(Fill::Reflect, [0, 2]),
        [
            5.0, 6.0, 5.0, 2.0, 3.0, 2.0, 11.0, 12.0, 11.0, 8.0, 9.0, 8.0
        ]
    );
    assert_eq!(
        cut(Fill::Reflect, [2, 0]),
        [
            5.0, 4.0, 5.0, 2.0, 1.0, 2.0, 11.0, 10.0, 11.0, 8.0, 7.0, 8.0
        ]
    );
    // Every place comes about equally often: 9 of them, 900 times.
    let mut counts = std::collections::BTreeMap::new();
    let mut rng = Rng::new(4);
    for _ in 0..900 {
        let mut image = image();
        let crop = Crop {
            padding: 1,
            fill: Fill::Zeros,
        };
        crop.apply(shape, &mut image, &mut rng);
        *counts.entry(format!("{image:?}")).or_insert(0) += 1;
    }
    // The deviation of a count is 9.4.
    assert_eq!(counts.len(), 9);
    assert!(
        counts.values().all(|count| (53..=147).contains(count)),
        "{counts:?}"
    );
}

#[test]
fn parts_have_the_areas_and_ratios_that_were_asked_for() {
    let shape = ImageShape::new(1, 200, 200);
    let crop = ResizedCrop::default();
    let mut rng = Rng::new(6);
    let (mut areas, mut logs) = (Vec::new(), Vec::new());
    for _ in 0..2000 {
        let part = crop.part(shape, &mut rng);
        assert!(part.top + part.height <= 200 && part.left + part.width <= 200);
        areas.push(part.pixels() as f64 / 40_000.0);
        let ratio = part.width as f64 / part.height as f64;
        assert!((0.73..=1.37).contains(&ratio), "{ratio}");
        logs.push(libm::log(ratio));
    }
    assert!(areas.iter().all(|area| (0.078..=1.0).contains(area)));
    // Small areas always fit. Below a half they are uniform: each tenth from 0.1 on has the same count.
    let counts: Vec<usize> = (1..5)
        .map(|tenth| {
            let range = tenth as f64 / 10.0..(tenth + 1) as f64 / 10.0;
            areas.iter().filter(|area| range.contains(area)).count()
        })
        .collect();
    // About 2000 * 0.1 / 0.92 = 217 each, with a deviation of 14; more, as the largest are drawn again.
    assert!(
        counts.iter().all(|count| (160..=310).contains(count)),
        "{counts:?}"
    );
    // Wide and high ones are as likely: the mean's deviation is 0.0037.
    let mean = logs.iter().sum::<f64>() / logs.len() as f64;
    assert!(mean.abs() < 0.02, "{mean}");

    // Where nothing fits, the middle.
    let wide = ResizedCrop {
        scale: [1.0; 2],
        ratio: [2.0; 2],
    };
    let part = wide.part(ImageShape::new(1, 10, 10), &mut rng);
    assert_eq!(
        (part.top, part.left, part.height, part.width),
        (2, 0, 5, 10)
    );
}

#[test]
fn a_resized_part_of_a_slope_is_a_slope() {
    let shape = ImageShape::new(2, 12, 12);
    let slope = |i: usize| 0.01 * (i % 12) as f32 + 0.05 * (i % 144 / 12) as f32;
    let mut image: Vec<f32> = (0..shape.len()).map(slope).collect();
    let half = ResizedCrop {
        scale: [0.25; 2],
        ratio: [1.0; 2],
    };
    half.apply(shape, &mut image, &mut Rng::new(2));
    // Twice as large: half as steep, but for the border's pixels.
    for row in 1..10 {
        for column in 1..10 {
            let at = |row: usize, column: usize| image[row * 12 + column];
            let (right, down) = (
                at(row, column + 1) - at(row, column),
                at(row + 1, column) - at(row, column),
            );
            assert!(
                (right - 0.005).abs() < 1e-5 && (down - 0.025).abs() < 1e-5,
                "{row} {column}"
            );
        }
    }
    assert_eq!(image[..144], image[144..]);
}

#[test]
fn colours_follow_their_formulas() {
    let shape = ImageShape::new(3, 1, 2);
    let none = ColourJitter {
        brightness: 0.0,
        contrast: 0.0,
        saturation: 0.0,
        hue: 0.0,
    };
    // Red, and a dark blue-green.
    let image = [1.0, 0.0, 0.0, 0.4, 0.0, 0.2];
    let changed = |jitter: ColourJitter, seed: u64| {
        let mut image = image;
        jitter.apply(shape, &mut image, &mut Rng::new(seed));
        image
    };
    let lumas = [0.2126, 0.7152 * 0.4 + 0.0722 * 0.2];
    let mean = (lumas[0] + lumas[1]) / 2.0;
    for seed in 0..20 {
        // Each draws one number, in this order.
        let draws: Vec<f32> = {
            let mut rng = Rng::new(seed);
            (0..4).map(|_| 2.0 * rng.unit_f32() - 1.0).collect()
        };
        let near = |found: [f32; 6], wanted: [f32; 6]| {
            for (found, wanted) in found.iter().zip(wanted) {
                let wanted = wanted.clamp(0.0, 1.0);
                assert!((found - wanted).abs() < 1e-5, "{found} instead of {wanted}");
            }
        };
        let f = 1.0 + 0.5 * draws[0];
        let brightness = ColourJitter {
            brightness: 0.5,
            ..none
        };
        near(changed(brightness, seed), image.map(|x| f * x));
        let f = 1.0 + 0.5 * draws[1];
        let contrast = ColourJitter {
            contrast: 0.5,
            ..none
        };
        near(
            changed(contrast, seed),
            image.map(|x| f * x + (1.0 - f) * mean),
        );
        let f = 1.0 + 0.5 * draws[2];
        let saturation = ColourJitter {
            saturation: 0.5,
            ..none
        };
        let grey = [lumas[0], lumas[1]].repeat(3);
        let wanted: Vec<f32> = image
            .iter()
            .zip(&grey)
            .map(|(x, y)| f * x + (1.0 - f) * y)
            .collect();
        near(changed(saturation, seed), wanted.try_into().unwrap());
        // Red turns to green one way and to blue the other; the lightest and the darkest channel stay.
        let turn = 0.5 * draws[3];
        let turned = changed(ColourJitter { hue: 0.5, ..none }, seed);
        let second = if turn < 0.0 { 4 } else { 2 };
        let towards = 1.0 - (6.0 * turn.abs() - 1.0).abs().min(1.0);
        if turn.abs() <= 1.0 / 6.0 {
            assert!((turned[0] - 1.0).abs() < 1e-5);
            assert!((turned[second] - towards).abs() < 1e-4, "{turned:?} {turn}");
        }
        for pixel in 0..2 {
            let range = |image: &[f32; 6]| {
                let pixel = [0, 2, 4].map(|channel| image[channel + pixel]);
                let most = pixel.into_iter().fold(0.0f32, f32::max);
                (most, pixel.into_iter().fold(1.0f32, f32::min))
            };
            let (found, wanted) = (range(&turned), range(&image));
            assert!((found.0 - wanted.0).abs() < 1e-5 && (found.1 - wanted.1).abs() < 1e-5);
        }
    }
    // Grey has neither saturation nor hue.
    let mut grey = [0.2, 0.8];
    let shape = ImageShape::new(1, 1, 2);
    let jitter = ColourJitter {
        saturation: 0.9,
        hue: 0.5,
        ..none
    };
    jitter.apply(shape, &mut grey, &mut Rng::new(1));
    assert_eq!(grey, [0.2, 0.8]);
}

#[test]
fn squares_and_rectangles_are_hidden_in_all_channels() {
    let shape = ImageShape::new(2, 10, 11);
    let mut rng = Rng::new(3);
    let mut whole = 0;
    for _ in 0..400 {
        let mut image = vec![0.5; shape.len()];
        let cutout = Cutout {
            size: 4,
            probability: 1.0,
            value: 0.25,
        };
        cutout.apply(shape, &mut image, &mut rng);
        let hidden = image.iter().filter(|x| **x == 0.25).count();
        // At a corner a quarter of the square is left.
        assert!((8..=32).contains(&hidden), "{hidden}");
        whole += usize::from(hidden == 32);
        assert_eq!(image[..110], image[110..]);
    }
    // The square is whole about 7 · 8 of 110 pixels: 204 of 400, with a deviation of 10.
    assert!((154..=254).contains(&whole), "{whole}");

    let shape = ImageShape::new(1, 50, 40);
    let (mut times, mut sum) = (0, 0.0);
    for _ in 0..1000 {
        let mut image = ramp(shape);
        Erase {
            value: 1.0,
            ..Default::default()
        }
        .apply(shape, &mut image, &mut rng);
        let hidden = image.iter().filter(|x| **x == 1.0).count() as f64 / 2000.0;
        if hidden > 0.0 {
            times += 1;
            sum += hidden;
            assert!((0.015..=0.35).contains(&hidden), "{hidden}");
        }
    }
    assert!((420..=580).contains(&times), "{times}");
    // The mean of 0.02 to 0.33 is 0.175, with a deviation of 0.004; wide ones that do not fit are drawn again.
    assert!((0.15..=0.19).contains(&(sum / f64::from(times))));
}

#[test]
fn beta_has_its_mean_and_variance() {
    for alpha in [0.001f32, 0.2, 1.0, 4.0] {
        let mut rng = Rng::new(9);
        let draws: Vec<f64> = (0..20_000).map(|_| mix::beta(alpha, &mut rng)).collect();
        assert!(draws.iter().all(|x| (0.0..=1.0).contains(x)));
        let mean = draws.iter().sum::<f64>() / 20_000.0;
        let variance = draws.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / 20_000.0;
        let wanted = 1.0 / (4.0 * (2.0 * f64::from(alpha) + 1.0));
        assert!((mean - 0.5).abs() < 0.02, "{alpha}: {mean}");
        assert!(
            (variance - wanted).abs() < 0.006,
            "{alpha}: {variance} instead of {wanted}"
        );
    }
}

#[test]
fn steps_that_do_not_fit_are_refused_with_both_sizes() {
    let shape = ImageShape::new(3, 7, 9);
    let refused = |step: Step, words: &[&str]| {
        let steps = Augmentation {
            steps: vec![Step::Flip(Flip::default()), step],
        };
        let error = steps.validate(shape).unwrap_err();
        let text = error.to_string();
        assert!(error.is_bad_input() && text.contains("step 2"), "{text}");
        assert!(words.iter().all(|word| text.contains(word)), "{text}");
    };
    assert!(everything().validate(shape).is_ok());
    let crop = |padding| {
        Step::Crop(Crop {
            padding,
            ..Default::default()
        })
    };
    refused(crop(7), &["7", "[3, 7, 9]"]);
    assert!(one(crop(6)).validate(shape).is_ok());
    let cutout = |size| {
        Step::Cutout(Cutout {
            size,
            ..Default::default()
        })
    };
    refused(cutout(8), &["8", "[3, 7, 9]"]);
    refused(Step::Flip(Flip { probability: 1.5 }), &["1.5"]);
    let alpha = |alpha| {
        Step::Mixup(Mixup {
            alpha,
            ..Default::default()
        })
    };
    refused(alpha(0.0), &["alpha"]);
    let scale = |scale| {
        Step::ResizedCrop(ResizedCrop {
            scale,
            ..Default::default()
        })
    };
    refused(scale([0.5, 0.2]), &["turned round"]);
    refused(scale([0.0, 0.2]), &["area"]);
    refused(
        Step::Erase(Erase {
            ratio: [0.3, f32::INFINITY],
            ..Default::default()
        }),
        &["ratio"],
    );
    let hue = ColourJitter {
        hue: 0.6,
        ..Default::default()
    };
    refused(Step::Colour(hue), &["hue"]);
    let colour = one(Step::Colour(ColourJitter::default()));
    assert!(colour.validate(ImageShape::new(2, 4, 4)).is_err());
    let twice = Augmentation {
        steps: vec![alpha(0.2), Step::Cutmix(Cutmix::default())],
    };
    assert!(
        twice
            .validate(shape)
            .unwrap_err()
            .to_string()
            .contains("mix")
    );
}

#[test]
fn steps_are_written_as_json_and_read_with_their_defaults() {
    let all = everything();
    let text = serde_json::to_string(&all).unwrap();
    assert_eq!(serde_json::from_str::<Augmentation>(&text).unwrap(), all);
    let short = r#"[{"kind": "resized_crop"}, {"kind": "cutmix", "alpha": 0.5}]"#;
    let wanted = Augmentation {
        steps: vec![
            Step::ResizedCrop(ResizedCrop::default()),
            Step::Cutmix(Cutmix {
                alpha: 0.5,
                ..Default::default()
            }),
        ],
    };
    assert_eq!(serde_json::from_str::<Augmentation>(short).unwrap(), wanted);
    for wrong in [
        r#"[{"kind": "spin"}]"#,
        r#"[{"kind": "flip", "alpha": 1}]"#,
        r#"{}"#,
    ] {
        assert!(
            serde_json::from_str::<Augmentation>(wrong).is_err(),
            "{wrong}"
        );
    }
}
