//! Random numbers, episodes and the sets they are drawn from.

use std::collections::BTreeSet;

use forgeling::data::{
    Dataset, EpisodeSampler, ImageSet, ImageShape, Queries, Rng, RngState, Rotated, SamplerState,
    Shots, Turn, Ways,
};
use forgeling::rng::split_mix64;
use proptest::prelude::*;

/// Reference outputs: <https://prng.di.unimi.it/splitmix64.c> run on seed 1234567.
#[test]
fn split_mix_gives_the_reference_outputs() {
    let mut state = 1_234_567;
    let outputs: Vec<u64> = (0..5).map(|_| split_mix64(&mut state)).collect();
    assert_eq!(
        outputs,
        [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
            4_593_380_528_125_082_431,
            16_408_922_859_458_223_821,
        ]
    );
}

/// Reference outputs: <https://prng.di.unimi.it/xoshiro256plusplus.c> run on the state 1, 2, 3, 4.
#[test]
fn xoshiro_gives_the_reference_outputs() {
    let mut rng = Rng::from_state(RngState([1, 2, 3, 4])).unwrap();
    let outputs: Vec<u64> = (0..10).map(|_| rng.next_u64()).collect();
    assert_eq!(
        outputs,
        [
            41_943_041,
            58_720_359,
            3_588_806_011_781_223,
            3_591_011_842_654_386,
            9_228_616_714_210_784_205,
            9_973_669_472_204_895_162,
            14_011_001_112_246_962_877,
            12_406_186_145_184_390_807,
            15_849_039_046_786_891_736,
            10_450_023_813_501_588_000,
        ]
    );
}

#[test]
fn state_of_zeros_is_refused() {
    assert!(
        Rng::from_state(RngState([0; 4]))
            .unwrap_err()
            .is_bad_input()
    );
    assert!(serde_json::from_str::<Rng>("[0,0,0,0]").is_err());
}

#[test]
fn forks_differ_and_leave_the_parent_alone() {
    let parent = Rng::new(5);
    let before = parent.state();
    let firsts: BTreeSet<u64> = (0..1000).map(|n| parent.fork(n).next_u64()).collect();
    assert_eq!(firsts.len(), 1000);
    assert_eq!(parent.state(), before);
    assert_eq!(parent.fork(3), parent.fork(3));
    assert_ne!(parent.fork(3), Rng::new(6).fork(3));
}

#[test]
fn below_is_uniform() {
    let mut rng = Rng::new(11);
    let mut counts = [0u32; 7];
    for _ in 0..70_000 {
        counts[rng.below(7)] += 1;
    }
    // The standard deviation of each count is 93.
    assert!(
        counts.iter().all(|count| count.abs_diff(10_000) < 500),
        "{counts:?}"
    );
    assert_eq!(rng.below(0), 0);
}

#[test]
fn normal_values_have_mean_zero_and_variance_one() {
    let mut rng = Rng::new(12);
    let values: Vec<f64> = (0..50_000).map(|_| f64::from(rng.normal())).collect();
    let mean = values.iter().sum::<f64>() / 50_000.0;
    let variance = values.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / 50_000.0;
    assert!(
        mean.abs() < 0.02 && (variance - 1.0).abs() < 0.03,
        "{mean} {variance}"
    );
    let tail = values.iter().filter(|v| v.abs() > 1.96).count() as f64 / 50_000.0;
    assert!((tail - 0.05).abs() < 0.006, "{tail}");
}

#[test]
fn choice_from_a_huge_range_takes_little_memory() {
    let chosen = Rng::new(1).choose_distinct(usize::MAX, 1000).unwrap();
    assert_eq!(chosen.iter().collect::<BTreeSet<_>>().len(), 1000);
    assert!(Rng::new(1).choose_distinct(3, 4).is_err());
}

#[test]
fn every_order_of_a_choice_is_equally_likely() {
    let mut rng = Rng::new(2);
    let mut counts = std::collections::BTreeMap::new();
    for _ in 0..24_000 {
        *counts
            .entry(rng.choose_distinct(4, 3).unwrap())
            .or_insert(0u32) += 1;
    }
    assert_eq!(counts.len(), 24);
    assert!(
        counts.values().all(|count| count.abs_diff(1000) < 200),
        "{counts:?}"
    );
}

/// Class `c` has `lens[c]` images of 1 × 1 × 2: the class and the example.
fn numbered(lens: &[usize]) -> ImageSet {
    let mut set = ImageSet::new(ImageShape::new(1, 1, 2)).unwrap();
    for (class, &len) in lens.iter().enumerate() {
        set.add_class(format!("c{class}"), None).unwrap();
        for example in 0..len {
            set.push(class, &[class as u8, example as u8]).unwrap();
        }
    }
    set
}

fn sampler(ways: usize, shots: usize, queries: usize, seed: u64) -> EpisodeSampler {
    EpisodeSampler::new(
        Ways::new(ways).unwrap(),
        Shots::new(shots).unwrap(),
        Queries::new(queries).unwrap(),
        seed,
    )
}

proptest! {
    #[test]
    fn episodes_are_what_was_asked_for(
        ways in 1usize..7, shots in 1usize..5, queries in 1usize..5,
        surplus in 0usize..4, episodes in 1usize..4, seed: u64,
    ) {
        let lens: Vec<usize> = (0..ways + surplus).map(|c| shots + queries + c % 3).collect();
        let set = numbered(&lens);
        let batch = sampler(ways, shots, queries, seed).sample_batch(&set, episodes).unwrap();
        prop_assert_eq!(batch.support.len(), batch.support_dims().iter().product::<usize>());
        prop_assert_eq!(batch.query.len(), batch.query_dims().iter().product::<usize>());
        prop_assert_eq!(batch.support_dims(), [episodes, ways, shots, 1, 1, 2]);
        prop_assert_eq!(batch.query_labels().len(), batch.query_examples.len());
        for episode in 0..episodes {
            let plan = batch.plan(episode).unwrap();
            let distinct: BTreeSet<_> = plan.classes.iter().collect();
            prop_assert_eq!(distinct.len(), ways);
            for (way, &class) in plan.classes.iter().enumerate() {
                prop_assert!(class < lens.len());
                let learn = &plan.support[way * shots..(way + 1) * shots];
                let ask = &plan.query[way * queries..(way + 1) * queries];
                let used: BTreeSet<_> = learn.iter().chain(ask).collect();
                prop_assert_eq!(used.len(), shots + queries);
                prop_assert!(used.iter().all(|&&example| example < lens[class]));
                for (shot, &example) in learn.iter().enumerate() {
                    let image = batch.support_image(episode, way, shot).unwrap();
                    prop_assert_eq!(image, [class as f32 / 255.0, example as f32 / 255.0]);
                }
                for (query, &example) in ask.iter().enumerate() {
                    let image = batch.query_image(episode, way, query).unwrap();
                    prop_assert_eq!(image, [class as f32 / 255.0, example as f32 / 255.0]);
                }
            }
        }
        prop_assert!(batch.plan(episodes).is_none());
        prop_assert!(batch.query_image(0, ways, 0).is_none());
    }

    #[test]
    fn a_seed_fixes_the_order_and_a_state_resumes_it(seed: u64, before in 0usize..5) {
        let set = numbered(&[9; 12]);
        let mut first = sampler(5, 2, 3, seed);
        let mut second = sampler(5, 2, 3, seed);
        for _ in 0..before {
            prop_assert_eq!(first.plan(&set).unwrap(), second.plan(&set).unwrap());
        }
        let saved = serde_json::to_string(&first.state()).unwrap();
        let state: SamplerState = serde_json::from_str(&saved).unwrap();
        let mut resumed = EpisodeSampler::from_state(state).unwrap();
        let batch = resumed.sample_batch(&set, 2).unwrap();
        prop_assert_eq!(batch.plan(0).unwrap(), first.plan(&set).unwrap());
        prop_assert_eq!(batch.plan(1).unwrap(), first.plan(&set).unwrap());
        let other = sampler(5, 2, 3, seed ^ 1).plan(&set).unwrap();
        prop_assert_ne!(sampler(5, 2, 3, seed).plan(&set).unwrap(), other);
    }
}

#[test]
fn labels_count_the_ways_of_each_episode() {
    let batch = sampler(2, 1, 2, 0)
        .sample_batch(&numbered(&[3, 3]), 2)
        .unwrap();
    assert_eq!(batch.query_labels(), [0, 0, 1, 1, 0, 0, 1, 1]);
    assert_eq!(batch.support_labels(), [0, 1, 0, 1]);
}

#[test]
fn every_class_comes_up() {
    let set = numbered(&[2; 10]);
    let mut sampler = sampler(3, 1, 1, 4);
    let mut counts = [0u32; 10];
    for _ in 0..2000 {
        for class in sampler.plan(&set).unwrap().classes {
            counts[class] += 1;
        }
    }
    assert!(
        counts.iter().all(|count| count.abs_diff(600) < 120),
        "{counts:?}"
    );
}

#[test]
fn too_few_examples_or_classes_are_errors_that_say_so() {
    let set = numbered(&[9, 4, 9]);
    let mut wide = sampler(3, 3, 2, 0);
    let error = wide.plan(&set).unwrap_err();
    assert!(error.message().contains("c1"), "{error}");
    assert_eq!(error.found(), Some("4"));
    assert!(error.expectation().unwrap().starts_with('5'), "{error}");
    // A failure does not move the sampler.
    assert_eq!(wide, sampler(3, 3, 2, 0));
    // Nor does one after episodes that could be drawn.
    let mut narrow = sampler(1, 3, 2, 0);
    assert!(narrow.clone().plan(&set).is_ok());
    assert!(narrow.sample_batch(&set, 50).is_err());
    assert_eq!(narrow, sampler(1, 3, 2, 0));
    assert!(
        sampler(1, 3, 2, 0)
            .check(&set)
            .unwrap_err()
            .message()
            .contains("c1")
    );
    assert!(sampler(3, 2, 2, 0).check(&set).is_ok());

    let error = sampler(4, 1, 1, 0).plan(&set).unwrap_err();
    assert_eq!(error.found(), Some("3"));
    assert!(sampler(3, 1, 1, 0).sample_batch(&set, 0).is_err());
    assert!(Ways::new(0).is_err() && Shots::new(0).is_err() && Queries::new(0).is_err());
    assert!(serde_json::from_str::<Ways>("0").is_err());
    let error = sampler(3, 1, 1, 0)
        .sample_batch(&set, usize::MAX / 64)
        .unwrap_err();
    assert!(error.is_out_of_memory(), "{error}");
}

#[test]
fn rotation_turns_every_channel_counter_clockwise() {
    let mut set = ImageSet::new(ImageShape::new(2, 3, 3)).unwrap();
    let class = set.add_class("a", None).unwrap();
    let pixels: Vec<u8> = (0..18).collect();
    set.push(class, &pixels).unwrap();
    let turned = Rotated::new(&set).unwrap();
    assert_eq!(
        (
            turned.class_count(),
            turned.class_len(3),
            turned.class_len(4)
        ),
        (4, 1, 0)
    );
    assert_eq!(turned.origin(3), (0, Turn::ThreeQuarters));
    let expected: [[u8; 9]; 4] = [
        [0, 1, 2, 3, 4, 5, 6, 7, 8],
        [2, 5, 8, 1, 4, 7, 0, 3, 6],
        [8, 7, 6, 5, 4, 3, 2, 1, 0],
        [6, 3, 0, 7, 4, 1, 8, 5, 2],
    ];
    for (class, expected) in expected.iter().enumerate() {
        let mut out = [0.0; 18];
        turned.read(class, 0, &mut out).unwrap();
        let bytes = out.map(|value| (value * 255.0).round() as u8);
        assert_eq!(bytes[..9], expected[..], "class {class}");
        assert_eq!(
            bytes[9..],
            expected.map(|value| value + 9)[..],
            "class {class}"
        );
    }
    assert_eq!(turned.class_name(1), "a at 90°");
    assert!(Rotated::new(numbered(&[1])).is_err());
}

#[test]
fn image_sets_check_what_they_are_given() {
    let shape = ImageShape::new(1, 1, 2);
    assert!(ImageSet::new(ImageShape::new(1, 0, 2)).is_err());
    let names = ["b", "a", "b"];
    let set = ImageSet::from_f32(shape, &names, &[0.0, 1.0, 0.2, 0.4, 0.6, 0.8]).unwrap();
    assert_eq!((set.class_count(), set.image_count()), (2, 3));
    assert_eq!((set.class_name(0), set.class_len(0)), ("b".to_owned(), 2));
    assert_eq!(set.image(0, 1), Some(&[153, 204][..]));
    for bad in [f32::NAN, -0.1, 1.1, f32::INFINITY] {
        assert!(
            ImageSet::from_f32(shape, &["a"], &[0.0, bad])
                .unwrap_err()
                .is_bad_input()
        );
    }
    assert!(ImageSet::from_f32(shape, &["a"], &[0.0; 3]).is_err());
    let mut set = set;
    assert!(set.add_class("a", None).is_err());
    assert!(set.push(0, &[1]).is_err() && set.push(2, &[1, 2]).is_err());
    let mut out = [0.0; 2];
    assert!(set.read(2, 0, &mut out).is_err());
    let error = set.read(1, 1, &mut out).unwrap_err();
    assert!(error.message().contains("class a"), "{error}");
    assert!(set.read(0, 0, &mut out[..1]).is_err());
}

#[test]
fn held_out_groups_leave_and_classes_keep_their_images() {
    let shape = ImageShape::new(1, 1, 1);
    let mut all = ImageSet::new(shape).unwrap();
    for (value, (name, group)) in [
        ("k1", Some("K")),
        ("l1", Some("L")),
        ("none", None),
        ("k2", Some("K")),
    ]
    .into_iter()
    .enumerate()
    {
        let class = all.add_class(name, group).unwrap();
        all.push(class, &[value as u8]).unwrap();
    }
    let mut test = ImageSet::new(shape).unwrap();
    test.add_class("other", Some("K")).unwrap();
    let rest = all.without_groups_of(&test);
    assert_eq!(all.groups(), ["K", "L"]);
    assert_eq!(rest.groups(), ["L"]);
    assert_eq!(rest.class_count(), 2);
    assert_eq!(rest.class_index("none"), Some(1));
    assert_eq!(rest.image(1, 0), Some(&[2][..]));
    assert_eq!(rest.class_index("k1"), None);
}
