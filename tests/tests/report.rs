//! Figures: principal components against those that `golden/pca.py` printed with NumPy, and a page of every kind.

use forgeling::data::tasks::{Sine, SineTasks};
use forgeling::data::{EpisodeSampler, Glyphs, Queries, Shots, Split, Ways};
use forgeling::meta::{Score, Scores, Side, confusion};
use forgeling::report::{
    Bar, LineChart, Page, QueryPrediction, ScatterPoint, bars_figure, confusion_figure,
    episode_figure, pca, reliability_figure, scatter_figure,
};
use serde_json::Value;

#[test]
fn principal_components_are_those_of_numpy() {
    let golden: Value = serde_json::from_str(include_str!("../golden/pca.json")).unwrap();
    for case in golden.as_array().unwrap() {
        let rows: Vec<Vec<f32>> = serde_json::from_value(case["rows"].clone()).unwrap();
        let points: Vec<[f64; 2]> = serde_json::from_value(case["points"].clone()).unwrap();
        let explained: [f64; 2] = serde_json::from_value(case["explained"].clone()).unwrap();
        let plane = pca(&rows).unwrap();
        assert_eq!(plane.points.len(), points.len());
        for (found, expected) in plane.points.iter().zip(&points) {
            let off = (found.0 - expected[0])
                .abs()
                .max((found.1 - expected[1]).abs());
            assert!(off < 1e-7, "{found:?} and {expected:?}");
        }
        for (found, expected) in plane.explained.iter().zip(explained) {
            assert!((found - expected).abs() < 1e-10, "{found} and {expected}");
        }
    }
}

/// Logits that are right more often than not, and surer than they should be.
fn logits(labels: &[usize], ways: usize, rng: &mut forgeling::data::Rng) -> Vec<f32> {
    let row = |&label: &usize| {
        let noise = (0..ways).map(|_| 2.5 * rng.normal()).collect::<Vec<f32>>();
        let row = noise.into_iter().enumerate();
        row.map(|(way, noise)| noise + if way == label { 3.5 } else { 0.0 })
            .collect::<Vec<f32>>()
    };
    labels.iter().flat_map(row).collect()
}

/// Opens as many elements as it closes, and has neither NaN nor infinity.
fn is_whole(svg: &str) {
    let opened = svg.matches('<').count() - svg.matches("</").count();
    let closed = svg.matches("</").count() + svg.matches("/>").count();
    assert_eq!(opened, closed, "{svg}");
    assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
}

#[test]
fn a_page_has_every_figure() {
    let mut rng = forgeling::data::Rng::new(3);
    let names: Vec<String> = [
        "Tibetan/character07",
        "Futurama/character12",
        "Angelic/character03 at 90°",
        "Keble/character21",
        "Oriya/character40",
    ]
    .map(String::from)
    .into();
    let labels: Vec<usize> = (0..75).map(|query| query / 15).collect();
    let mut scores = Scores::new();
    let mut answers = Vec::new();
    for _ in 0..20 {
        answers = logits(&labels, 5, &mut rng);
        scores.classified(&answers, &labels, &names).unwrap();
    }
    let Score::Classification(score) = scores.score().unwrap() else {
        panic!("of classes");
    };

    let points: Vec<ScatterPoint> = {
        let features = |class: usize, rng: &mut forgeling::data::Rng| -> Vec<f32> {
            let center = |n: usize| if n % 5 == class { 4.0 } else { 0.0 };
            (0..16).map(|n| center(n) + rng.normal()).collect()
        };
        let classes: Vec<usize> = (0..100).map(|index| index % 5).collect();
        let rows: Vec<Vec<f32>> = classes
            .iter()
            .map(|&class| features(class, &mut rng))
            .collect();
        let plane = pca(&rows).unwrap();
        let points = plane.points.iter().zip(&classes).enumerate();
        let point = |(index, (&at, &class)): (usize, (&(f64, f64), &usize))| ScatterPoint {
            at,
            class,
            side: if index < 10 {
                Side::Support
            } else {
                Side::Query
            },
        };
        points.map(point).collect()
    };

    let mut waves = SineTasks::new(Default::default()).unwrap();
    let wave = waves.draw();
    let task = waves.task_of(wave).unwrap();
    let curve = |wave: Sine| {
        (-50..=50)
            .map(move |x| f64::from(x) / 10.0)
            .map(move |x| (x, f64::from(wave.value(x as f32))))
    };
    let guess = |share: f32| Sine {
        amplitude: wave.amplitude * share,
        phase: wave.phase + (1.0 - share),
    };
    let known = task
        .support()
        .inputs
        .iter()
        .map(|&x| (f64::from(x), f64::from(wave.value(x))));
    let sine = LineChart::new("x", "y")
        .dashed("truth", curve(wave))
        .points("10 known points", known)
        .series("pretrained, 10 steps", curve(guess(0.2)))
        .series("MAML, 0 steps", curve(guess(0.4)))
        .series("MAML, 1 step", curve(guess(0.8)))
        .series("MAML, 10 steps", curve(guess(0.97)))
        .render();

    let bar = |name: &str, value: f64, ci95: f64| Bar {
        name: name.into(),
        value,
        ci95,
    };
    let bars = bars_figure(
        "accuracy on 600 episodes of 5 classes, 1 example each, %",
        &[
            bar("Prototypical networks", 97.31, 0.21),
            bar("MAML, 5 inner steps", 95.84, 0.35),
            bar("ANIL, 5 inner steps", 94.9, 0.4),
            bar("Nearest neighbours of the pixels themselves", 43.2, 1.1),
            bar("Chance", 20.0, 0.0),
            bar("Reptile", f64::NAN, f64::NAN),
        ],
    );

    let glyphs = Glyphs::new(1, Split::Test, 20).unwrap();
    let sampler = |seed| {
        EpisodeSampler::new(
            Ways::DEFAULT,
            Shots::new(2).unwrap(),
            Queries::new(3).unwrap(),
            seed,
        )
    };
    let batch = sampler(0).sample(&glyphs).unwrap();
    let verdicts: Vec<QueryPrediction> = (0..15)
        .map(|query| QueryPrediction {
            way: query / 3 % 4,
            probability: 0.8,
        })
        .collect();

    let counts = confusion(&answers, &labels, 5).unwrap();
    let many: Vec<String> = (0..40).map(|class| format!("class {class}")).collect();
    let mut diagonal = vec![vec![0; 40]; 40];
    for (class, row) in diagonal.iter_mut().enumerate() {
        row[class] = 80 + class;
        row[(class * 7 + 3) % 40] += 20;
    }
    let figures = [
        (sine, "A wave."),
        (bars, "Methods."),
        (confusion_figure(&names, &counts).unwrap(), "Confusion."),
        (
            confusion_figure(&many, &diagonal).unwrap(),
            "Confusion of many.",
        ),
        (
            scatter_figure(&points, &names, ("first component", "second component")).unwrap(),
            "Features.",
        ),
        (
            reliability_figure(&score.calibration).unwrap(),
            "Calibration.",
        ),
        (
            LineChart::new("episode", "loss")
                .series("loss", [(0.0, 2.0), (50.0, 0.7), (100.0, 0.2)])
                .render(),
            "One curve.",
        ),
        (episode_figure(&batch, &verdicts).unwrap(), "An episode."),
    ];
    let mut page = Page::new("Every figure");
    for (svg, caption) in &figures {
        is_whole(svg);
        page = page.figure(svg, caption);
    }
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("figures.html");
    std::fs::write(path, page.render()).unwrap();
}
