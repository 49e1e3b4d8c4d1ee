//! What is kept.

use burn::tensor::Device as Tensors;
use forgeling::continual::{Budget, Buffer, BufferConfig, ContinualBatch, Policy};
use forgeling::data::{ImageBatch, ImageShape, Rng};
use forgeling::train::parts::{Replay, RunState, Sections};
use forgeling::{Error, Result};
use proptest::prelude::*;

use super::common::{SHAPE, numbered, numbers};

const POINT: ImageShape = ImageShape::new(1, 1, 1);

fn config(budget: Budget, policy: Policy, seed: u64) -> BufferConfig {
    BufferConfig {
        budget,
        policy,
        logits: 0,
        seed,
    }
}

/// Images of one pixel.
fn points(labels: &[usize], value: impl Fn(usize) -> f32) -> ContinualBatch {
    let images = ImageBatch {
        shape: POINT,
        images: (0..labels.len()).map(value).collect(),
        labels: labels.to_vec(),
    };
    ContinualBatch::new(images, None)
}

/// How far counts are from `expected` each, where so many of the same probability are chosen without repeating: about as many
/// as there are counts, give or take the root of twice as many.
fn chi_square(counts: &[usize], expected: f64, probability: f64) -> f64 {
    let apart = counts.iter().map(|count| *count as f64 - expected);
    apart.map(|apart| apart * apart).sum::<f64>() / (expected * (1.0 - probability))
}

#[test]
fn a_reservoir_keeps_every_example_with_the_same_probability() {
    const RUNS: usize = 20_000;
    let labels: Vec<usize> = (0..50).collect();
    let batch = points(&labels, |_| 0.0);
    let (mut kept, mut drawn) = ([0; 50], [0; 50]);
    for seed in 0..RUNS {
        let config = config(Budget::Total(5), Policy::Reservoir, seed as u64);
        let mut buffer = Buffer::new(config, POINT, 50).unwrap();
        buffer.remember(&batch, None, None).unwrap();
        assert_eq!(buffer.len(), 5);
        buffer.counts().keys().for_each(|label| kept[*label] += 1);
        let draw = buffer.draw(2).unwrap().unwrap();
        draw.images
            .labels
            .iter()
            .for_each(|label| drawn[*label] += 1);
    }
    // 49 degrees of freedom: 4 standard deviations are 89. A place drawn below `seen − 1` or `seen + 1` comes to 400.
    let statistic = chi_square(&kept, RUNS as f64 / 10.0, 0.1);
    assert!(statistic < 95.0, "{statistic}: {kept:?}");
    let statistic = chi_square(&drawn, RUNS as f64 / 25.0, 0.04);
    assert!(statistic < 95.0, "{statistic}: {drawn:?}");
}

#[test]
fn a_balanced_buffer_keeps_as_many_of_each_class_and_any_of_them() {
    const RUNS: usize = 20_000;
    // 40 of one class, then 12 of another.
    let labels: Vec<usize> = (0..52).map(|place| usize::from(place >= 40)).collect();
    let batch = points(&labels, |place| place as f32 / 255.0);
    let mut kept = [0; 52];
    for seed in 0..RUNS {
        let config = config(Budget::Total(10), Policy::ClassBalanced, seed as u64);
        let mut buffer = Buffer::new(config, POINT, 2).unwrap();
        buffer.remember(&batch, None, None).unwrap();
        assert!(buffer.counts().values().eq(&[5, 5]));
        for value in buffer.examples(0..10).unwrap().images.images {
            kept[(value * 255.0).round() as usize] += 1;
        }
    }
    let runs = RUNS as f64;
    let first = chi_square(&kept[..40], runs / 8.0, 1.0 / 8.0);
    let second = chi_square(&kept[40..], runs * 5.0 / 12.0, 5.0 / 12.0);
    assert!(first < 75.0 && second < 32.0, "{first}, {second}: {kept:?}");
}

#[test]
fn a_few_of_a_long_tail_are_all_kept_and_the_room_is_filled() {
    let mut labels: Vec<usize> = [(0, 1000), (1, 100), (2, 10), (3, 1)]
        .into_iter()
        .flat_map(|(label, count)| std::iter::repeat_n(label, count))
        .collect();
    Rng::new(1).shuffle(&mut labels);
    let config = config(Budget::Total(100), Policy::ClassBalanced, 0);
    let mut buffer = Buffer::new(config, POINT, 4).unwrap();
    for part in labels.chunks(10) {
        buffer.remember(&points(part, |_| 1.0), None, None).unwrap();
    }
    let counts: Vec<usize> = buffer.counts().into_values().collect();
    assert_eq!((counts[2], counts[3], buffer.len()), (10, 1, 100));
    assert!(counts[0].abs_diff(counts[1]) <= 1, "{counts:?}");
}

#[test]
fn examples_of_a_context_are_kept_when_it_ends() {
    let set = numbered(&[9, 2, 9]);
    let at_end = |budget| {
        let config = config(budget, Policy::PerClassAtEnd, 3);
        Buffer::new(config, SHAPE, 6).unwrap()
    };
    // So many of each class.
    let mut buffer = at_end(Budget::PerClass(4));
    let batch = ContinualBatch::new(
        ImageBatch {
            shape: SHAPE,
            images: vec![0.0; 4],
            labels: vec![0],
        },
        Some(0),
    );
    buffer.remember(&batch, Some(0), None).unwrap();
    assert!(buffer.is_empty() && buffer.draw(3).unwrap().is_none());
    buffer.end_context(&set, 0..3, 0).unwrap();
    assert!(buffer.counts().values().eq(&[4, 2, 4]));
    // The same labels in another context are other classes; the same context again takes the place of the first time.
    buffer.end_context(&set, 0..3, 1).unwrap();
    buffer.end_context(&set, 0..3, 0).unwrap();
    assert!(buffer.counts().values().eq(&[8, 4, 8]));
    let all = buffer.examples(0..20).unwrap();
    assert_eq!(all.contexts[..10], [1; 10]);
    assert_eq!(all.contexts[10..], [0; 10]);
    for range in [0..10, 10..20] {
        let mut examples = numbers(&buffer.examples(range.clone()).unwrap().images);
        let labels = &all.images.labels[range];
        assert!(
            examples
                .iter()
                .zip(labels)
                .all(|((class, _), label)| class == label)
        );
        examples.sort_unstable();
        examples.dedup();
        assert_eq!(examples.len(), 10);
    }
    // So many in all, those that were chosen first stay longest.
    let mut buffer = at_end(Budget::Total(10));
    let chosen = [vec![8, 3, 5, 1, 7], vec![1, 0], vec![2, 4, 6, 8]];
    buffer.end_context_with(&set, 0..3, 0, &chosen).unwrap();
    assert!(buffer.counts().values().eq(&[4, 2, 4]));
    buffer.end_context_with(&set, 3..6, 1, &chosen).unwrap();
    assert_eq!(buffer.len(), 10);
    let kept = numbers(&buffer.examples(0..5).unwrap().images);
    assert_eq!(kept, [(0, 8), (0, 3), (1, 1), (2, 2), (2, 4)]);
    let before = buffer.clone();
    let wrong: [Result<()>; 5] = [
        buffer.end_context(&set, 0..2, 0),
        buffer.end_context(&set, 4..7, 0),
        buffer.end_context(&set, 0..3, usize::MAX),
        buffer.end_context_with(&set, 0..3, 0, &[vec![0], vec![7], vec![0]]),
        buffer.end_context_with(&set, 0..3, 0, &[vec![0]]),
    ];
    assert!(
        wrong
            .iter()
            .all(|found| found.as_ref().is_err_and(Error::is_bad_input))
    );
    assert_eq!(buffer, before);
    let mut other = Buffer::new(config(Budget::Total(1), Policy::Reservoir, 0), SHAPE, 6).unwrap();
    assert!(other.end_context(&set, 0..3, 0).unwrap_err().is_bad_input());
}

#[test]
fn what_does_not_fit_is_refused_and_nothing_of_it_is_kept() {
    let mut config = config(Budget::Total(10), Policy::Reservoir, 0);
    config.logits = 2;
    let mut buffer = Buffer::new(config, POINT, 3).unwrap();
    buffer
        .remember(&points(&[0, 1], |_| 0.5), None, None)
        .unwrap();
    let before = buffer.clone();
    let other_shape = ContinualBatch::new(
        ImageBatch {
            shape: SHAPE,
            images: vec![0.0; 4],
            labels: vec![0],
        },
        None,
    );
    let good = || points(&[0, 1], |_| 0.5);
    let (mut short, mut contexts, mut logits, mut many, mut nan) =
        (good(), good(), good(), good(), good());
    short.images.images.pop();
    contexts.contexts = vec![0];
    logits.logits = vec![vec![1.0]];
    many.logits = vec![vec![1.0, 2.0], vec![1.0, 2.0, 3.0]];
    nan.logits = vec![vec![1.0], vec![f32::NAN]];
    for (batch, words) in [
        (points(&[0, 3], |_| 0.5), "label"),
        (points(&[0, 1], |place| [0.5, f32::NAN][place]), "finite"),
        (other_shape, "another shape"),
        (short, "one image"),
        (contexts, "context"),
        (logits, "logits"),
        (many, "room"),
        (nan, "finite"),
    ] {
        let error = buffer.remember(&batch, None, None).unwrap_err();
        assert!(
            error.is_bad_input() && error.to_string().contains(words),
            "{error}"
        );
        assert_eq!(buffer, before);
    }
    assert!(buffer.examples(1..3).is_err());
    for budget in [Budget::Total(0), Budget::PerClass(0), Budget::Bytes(8)] {
        let config = super::buffers::config(budget, Policy::Reservoir, 0);
        assert!(Buffer::new(config, POINT, 3).unwrap_err().is_bad_input());
    }
    assert!(Buffer::new(config, POINT, 0).is_err());
    assert!(Buffer::new(config, ImageShape::new(1, 0, 4), 3).is_err());
}

#[test]
fn logits_are_kept_with_their_example() {
    let config = BufferConfig {
        logits: 3,
        ..config(Budget::Bytes(4 * (1 + 8 + 16)), Policy::Reservoir, 1)
    };
    let mut buffer = Buffer::new(config, POINT, 50).unwrap();
    let labels: Vec<usize> = (0..50).collect();
    let mut batch = points(&labels, |_| 0.0);
    batch.logits = labels
        .iter()
        .map(|&label| vec![label as f32; label % 4])
        .collect();
    batch.contexts = labels.clone();
    buffer.remember(&batch, None, None).unwrap();
    assert_eq!((buffer.len(), buffer.bytes()), (4, 100));
    let drawn = buffer.draw(9).unwrap().unwrap();
    assert_eq!(drawn.images.labels.len(), 4);
    for ((label, logits), context) in drawn
        .images
        .labels
        .iter()
        .zip(&drawn.logits)
        .zip(drawn.contexts)
    {
        assert_eq!(*logits, vec![*label as f32; label % 4]);
        assert_eq!(context, *label);
    }
}

fn saved(buffer: &Buffer) -> Sections {
    let mut sections = Sections::default();
    buffer.save(&mut sections).unwrap();
    sections
}

fn filled(policy: Policy, value: impl Fn(usize) -> f32) -> Buffer {
    let config = BufferConfig {
        logits: 2,
        ..config(Budget::Total(20), policy, 4)
    };
    let mut buffer = Buffer::new(config, POINT, 5).unwrap();
    let labels: Vec<usize> = (0..60).map(|place| place * place % 5).collect();
    let mut batch = points(&labels, value);
    batch.logits = (0..60).map(|place| vec![place as f32; place % 3]).collect();
    buffer.remember(&batch, None, None).unwrap();
    buffer
}

#[test]
fn a_buffer_goes_on_where_it_was_saved() {
    let device = Tensors::flex();
    for policy in [Policy::Reservoir, Policy::ClassBalanced] {
        for scale in [255.0, 256.0] {
            let value = |place: usize| place as f32 / scale;
            let mut buffer = filled(policy, value);
            buffer.draw(3).unwrap();
            let mut other = Buffer::new(*buffer.config(), POINT, 5).unwrap();
            other.load(&saved(&buffer), &device).unwrap();
            assert_eq!(other, buffer);
            for one in [&mut buffer, &mut other] {
                one.remember(&points(&[0, 1, 2, 3, 4], value), None, None)
                    .unwrap();
            }
            assert_eq!(other.draw(7).unwrap(), buffer.draw(7).unwrap());
            assert_eq!(other, buffer);
        }
    }
}

#[test]
fn a_damaged_buffer_is_an_error_and_leaves_what_was_there() {
    let device = Tensors::flex();
    let good = filled(Policy::Reservoir, |place| place as f32 / 256.0);
    let mut buffer = filled(Policy::Reservoir, |_| 0.0);
    let before = buffer.clone();
    let mut refuse = |damage: &dyn Fn(&mut Sections), words: &str| {
        let mut sections = saved(&good);
        damage(&mut sections);
        let error = buffer.load(&sections, &device).unwrap_err();
        assert!(
            error.is_bad_input() && error.to_string().contains(words),
            "{error}"
        );
        assert_eq!(buffer, before);
    };
    for name in ["images", "labels", "contexts", "logits", "logit counts"] {
        let change = |sections: &mut Sections, to: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = sections.bytes(name).unwrap().to_vec();
            to(&mut bytes);
            sections.set_bytes(name, bytes);
        };
        refuse(
            &|s| change(s, &|bytes| bytes.truncate(bytes.len() - 1)),
            name,
        );
        refuse(
            &|s| change(s, &|bytes| bytes.truncate(bytes.len() - 4)),
            "long",
        );
        refuse(&|s| change(s, &|bytes| bytes.extend([0; 4])), "long");
        if name != "contexts" {
            let words = match name {
                "labels" => "range",
                "logit counts" => "logits",
                _ => "finite",
            };
            refuse(&|s| change(s, &|bytes| bytes[..4].fill(255)), words);
        }
    }
    let text = |sections: &Sections| sections.get::<serde_json::Value>("buffer").unwrap();
    for (field, value) in [
        ("examples", 1_000_000.into()),
        ("examples", u64::MAX.into()),
        ("classes", 4.into()),
        (
            "shape",
            serde_json::json!({"channels": 1, "height": 1, "width": 2}),
        ),
        ("storing", serde_json::json!([0, 0, 0, 0])),
        ("floats", false.into()),
    ] {
        let damage = |sections: &mut Sections| {
            let mut kept = text(sections);
            kept[field] = value.clone();
            sections.set("buffer", &kept).unwrap();
        };
        refuse(&damage, "");
    }
    refuse(&|sections| *sections = Sections::default(), "buffer");
    let other = filled(Policy::ClassBalanced, |_| 0.0);
    refuse(&|sections| *sections = saved(&other), "configuration");
    // More than the budget, though every list is as long.
    let more = |sections: &mut Sections| {
        let mut kept = text(sections);
        kept["examples"] = 21.into();
        sections.set("buffer", &kept).unwrap();
        for name in ["images", "labels", "contexts", "logit counts"] {
            let mut bytes = sections.bytes(name).unwrap().to_vec();
            bytes.extend([0; 4]);
            sections.set_bytes(name, bytes);
        }
    };
    refuse(&more, "budget");
}

fn policies() -> impl Strategy<Value = Policy> {
    prop_oneof![
        Just(Policy::Reservoir),
        Just(Policy::ClassBalanced),
        Just(Policy::PerClassAtEnd)
    ]
}

fn budgets() -> impl Strategy<Value = Budget> {
    prop_oneof![
        (1usize..30).prop_map(Budget::Total),
        (1usize..8).prop_map(Budget::PerClass),
        (9usize..300).prop_map(Budget::Bytes),
    ]
}

/// Labels with a long tail, the last half of whose values may not be those of bytes.
fn streams() -> impl Strategy<Value = Vec<(Vec<usize>, bool)>> {
    let label =
        prop_oneof![8 => Just(0usize), 4 => Just(1), 2 => Just(2), 1 => Just(3), 1 => Just(4)];
    let batch = (
        prop::collection::vec(label, 1..12),
        prop::bool::weighted(0.05),
    );
    prop::collection::vec(batch, 1..20)
}

proptest! {
    #[test]
    fn a_budget_holds_and_is_used(
        policy in policies(), budget in budgets(), stream in streams(), seed in any::<u64>(),
    ) {
        let mut buffer = Buffer::new(config(budget, policy, seed), POINT, 5).unwrap();
        let (mut seen, mut floats) = ([0usize; 5], false);
        for (number, (labels, float)) in stream.into_iter().enumerate() {
            if policy == Policy::PerClassAtEnd {
                // Contexts come back.
                let context = number % 3;
                let lens: Vec<usize> = (0..5).map(|c| labels.iter().filter(|l| **l == c).count()).collect();
                let mut set = forgeling::data::ImageSet::new(POINT).unwrap();
                for (class, len) in lens.iter().enumerate() {
                    set.add_class(class.to_string(), None).unwrap();
                    (0..*len).for_each(|_| set.push(class, &[7]).unwrap());
                }
                buffer.end_context(&set, 0..5, context).unwrap();
                match budget {
                    Budget::Total(most) => prop_assert!(buffer.len() <= most && buffer.len() >= most.min(labels.len())),
                    Budget::PerClass(most) => {
                        let all = buffer.examples(0..buffer.len()).unwrap();
                        for context in 0..3 {
                            for label in 0..5 {
                                let each = all.contexts.iter().zip(&all.images.labels);
                                let count = each.filter(|of| *of == (&context, &label)).count();
                                prop_assert!(count <= most);
                            }
                        }
                    }
                    Budget::Bytes(most) => prop_assert!(buffer.bytes() <= most),
                }
                continue;
            }
            floats |= float;
            buffer.remember(&points(&labels, |_| if float { 0.3 } else { 0.2 }), None, None).unwrap();
            labels.iter().for_each(|label| seen[*label] += 1);
            let counts = buffer.counts();
            let all: usize = seen.iter().sum();
            let limit = match budget {
                Budget::Total(most) => most,
                Budget::Bytes(most) => most / if floats { 12 } else { 9 },
                Budget::PerClass(most) => {
                    for (label, seen) in seen.iter().enumerate() {
                        let count = counts.get(&label).copied().unwrap_or(0);
                        prop_assert_eq!(count, most.min(*seen));
                    }
                    continue;
                }
            };
            if let Budget::Bytes(most) = budget {
                prop_assert!(buffer.bytes() <= most);
            }
            prop_assert_eq!(buffer.len(), limit.min(all));
            if policy == Policy::ClassBalanced {
                let classes = seen.iter().filter(|count| **count > 0).count();
                for (label, seen) in seen.iter().enumerate() {
                    let count = counts.get(&label).copied().unwrap_or(0);
                    prop_assert!(count >= (limit / classes).min(*seen), "{:?} of {:?}", counts, seen);
                }
            }
        }
    }
}
