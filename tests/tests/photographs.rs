//! The photographs that other tests read, and how hard they are.

use forgeling::data::Rng;
use forgeling_tests::baselines::{LogisticRegression, accuracy, nearest_mean};
use forgeling_tests::photographs::{OBJECTS, Photograph, object, stroke, write_tree};

/// The side of the thumbnails that the baselines see.
const SIZE: usize = 28;

#[test]
fn a_photograph_follows_from_its_numbers() {
    for make in [stroke, object] {
        let first = make(1, 2, 3);
        assert_eq!(first, make(1, 2, 3));
        for (seed, class, example) in [(2, 2, 3), (1, 1, 3), (1, 2, 4)] {
            assert_ne!(
                first,
                make(seed, class, example),
                "{seed} {class} {example}"
            );
        }
    }
}

#[test]
fn photographs_are_upright_and_lying() {
    for (make, sides) in [
        (stroke as fn(u64, usize, usize) -> Photograph, [480, 640]),
        (object, [240, 320]),
    ] {
        let photographs: Vec<_> = (0..12).map(|example| make(1, 0, example)).collect();
        for p in &photographs {
            assert_eq!([p.width.min(p.height), p.width.max(p.height)], sides);
            assert_eq!(p.rgb.len(), p.width * p.height * 3);
        }
        let lying = photographs.iter().filter(|p| p.width > p.height).count();
        assert!((1..12).contains(&lying), "{lying} of 12 are lying");
    }
}

#[test]
fn files_hold_the_photograph() {
    let photograph = object(1, 0, 0);
    let png = image::load_from_memory(&photograph.png())
        .unwrap()
        .to_rgb8();
    assert_eq!(png.as_raw(), &photograph.rgb);

    let dir = tempfile::tempdir().unwrap();
    let other = stroke(1, 0, 0);
    let classes = [
        ("mug", vec![photograph.clone(), other.clone()]),
        ("pen", vec![other.clone()]),
    ];
    write_tree(dir.path(), &classes).unwrap();
    for (name, written) in [
        ("mug/000.jpg", &photograph),
        ("mug/001.jpg", &other),
        ("pen/000.jpg", &other),
    ] {
        let read = image::open(dir.path().join(name)).unwrap().to_rgb8();
        let sizes = [read.width() as usize, read.height() as usize];
        assert_eq!(sizes, [written.width, written.height], "{name}");
        let apart = read.as_raw().iter().zip(&written.rgb);
        let apart: u64 = apart.map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
        let mean = apart as f64 / written.rgb.len() as f64;
        assert!(mean < 8.0, "{name} is off by {mean} of 255");
    }
    assert_eq!(
        std::fs::read_dir(dir.path().join("pen")).unwrap().count(),
        1
    );
}

#[test]
fn a_thumbnail_is_the_middle_averaged() {
    // Four columns and two rows: the middle is columns 1 and 2.
    let red = [9, 0, 10, 200, 9, 20, 30, 200];
    let photograph = Photograph {
        width: 4,
        height: 2,
        rgb: red.iter().flat_map(|r| [*r, 255, 0]).collect(),
    };
    let whole = photograph.thumbnail(1);
    assert_eq!(whole, [15.0 / 255.0, 1.0, 0.0]);
    let pixels = photograph.thumbnail(2);
    let red: Vec<f32> = pixels
        .iter()
        .step_by(3)
        .map(|r| (r * 255.0).round())
        .collect();
    assert_eq!(red, [0.0, 10.0, 20.0, 30.0]);
    // 0.299 * 9 + 0.587 * 255 is 152.4.
    assert_eq!(photograph.grey()[0], 152);
}

/// What a small network has to reach on objects, and what it needs colour for.
#[test]
fn objects_are_hard_for_means_easy_for_weights_and_need_colour() {
    let thumbnails = |examples: std::ops::Range<usize>| {
        let numbers = examples.flat_map(|example| (0..OBJECTS.len()).map(move |c| (c, example)));
        let (mut rows, mut labels) = (Vec::new(), Vec::new());
        for (class, example) in numbers {
            rows.extend(object(1, class, example).thumbnail(SIZE));
            labels.push(class);
        }
        (rows, labels)
    };
    let (train, labels) = thumbnails(0..40);
    let (test, expected) = thumbnails(1000..1060);
    let logistic = |train: &[f32], test: &[f32]| {
        accuracy(
            &LogisticRegression::fit(train, &labels).predict(test),
            &expected,
        )
    };
    let grey = |rows: &[f32]| -> Vec<f32> {
        let brightness = |p: &[f32]| 0.299 * p[0] + 0.587 * p[1] + 0.114 * p[2];
        rows.chunks_exact(3).map(brightness).collect()
    };
    let nearest = accuracy(&nearest_mean(&train, &labels, &test), &expected);
    let colour = logistic(&train, &test);
    let without = logistic(&grey(&train), &grey(&test));
    println!(
        "nearest mean {nearest:.3}, logistic regression {colour:.3}, without colour {without:.3}"
    );
    assert!((0.5..=0.75).contains(&nearest), "{nearest}");
    assert!((0.82..=0.97).contains(&colour), "{colour}");
    assert!(
        without < colour - 0.08,
        "{without} without colour, {colour} with it"
    );
}

/// Nothing is to be had without finding the ink: 5-way 5-shot, plain pixels are at chance.
#[test]
fn strokes_are_at_chance_for_plain_pixels() {
    let (classes, shots, each) = (10, 5, 10);
    let rows: Vec<Vec<Vec<f32>>> = (0..classes)
        .map(|class| {
            (0..each)
                .map(|e| stroke(1, class, e).thumbnail(SIZE))
                .collect()
        })
        .collect();
    let mut rng = Rng::new(5);
    let (mut found, mut expected) = (Vec::new(), Vec::new());
    for _ in 0..40 {
        let (mut train, mut labels, mut test) = (Vec::new(), Vec::new(), Vec::new());
        for (label, class) in rng
            .choose_distinct(classes, 5)
            .unwrap()
            .into_iter()
            .enumerate()
        {
            for (row, thumbnail) in rows[class].iter().enumerate() {
                if row < shots {
                    train.extend(thumbnail);
                    labels.push(label);
                } else {
                    test.extend(thumbnail);
                    expected.push(label);
                }
            }
        }
        found.extend(nearest_mean(&train, &labels, &test));
    }
    let right = accuracy(&found, &expected);
    assert!(right < 0.35, "{right}");
}
