//! Classes matched by name, uneven classes, and what two sets have in common.

use std::sync::Arc;

use forgeling::Result;
use forgeling::data::{
    Dataset, Glyphs, ImageSet, ImageShape, Imbalance, Loader, LoaderConfig, Missing, Split, Subset,
    TableSet, classes, imbalance, match_classes, shared_classes, shared_images,
};

const SHAPE: ImageShape = ImageShape::new(1, 1, 3);

/// Classes with so many images each, of which no two are alike from the number `first` on.
fn set(classes: &[(&str, usize)], first: u8) -> ImageSet {
    let mut set = ImageSet::new(SHAPE).unwrap();
    let mut number = first;
    for (name, count) in classes {
        let class = set.add_class(*name, None).unwrap();
        for _ in 0..*count {
            set.push(class, &[number, 7, 255]).unwrap();
            number += 1;
        }
    }
    set
}

/// As the command line holds sets.
fn examples(classes: &[(&str, usize)]) -> Subset<Arc<dyn Dataset>> {
    let data: Arc<dyn Dataset> = Arc::new(set(classes, 0));
    Subset::first(data, usize::MAX).unwrap()
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// The number of an image that [`set`] made.
fn number(data: &impl Dataset, class: usize, example: usize) -> f32 {
    let mut image = [0.0; 3];
    data.read(class, example, &mut image).unwrap();
    (image[0] * 255.0).round()
}

#[track_caller]
fn refusal<T>(result: Result<T>) -> String {
    let error = result.err().expect("must be refused");
    assert!(error.is_bad_input(), "{error}");
    error.to_string()
}

#[test]
fn classes_come_in_the_order_of_the_known_ones() {
    let known = names(&["cat", "dog", "elk", "owl"]);
    let found = || examples(&[("owl", 2), ("cat", 1), ("elk", 3)]);
    let matched = match_classes(found(), &known, Missing::Allowed).unwrap();
    let all: Vec<_> = (0..4).map(|class| matched.class_name(class)).collect();
    assert_eq!(all, known);
    assert_eq!(matched.class_count(), 4);
    let lens: Vec<_> = (0..5).map(|class| matched.class_len(class)).collect();
    assert_eq!(lens, [1, 0, 3, 2, 0]);
    assert_eq!(matched.missing(), ["dog"]);
    assert_eq!(number(&matched, 0, 0), 2.0);
    assert_eq!(number(&matched, 2, 1), 4.0);
    assert_eq!(number(&matched, 3, 1), 1.0);
    let text = refusal(matched.read(1, 0, &mut [0.0; 3]));
    assert!(text.contains("class dog has no such example"), "{text}");
    refusal(matched.read(4, 0, &mut [0.0; 3]));

    let text = refusal(match_classes(found(), &known, Missing::Refused));
    assert_eq!(
        text,
        "match_classes: the classes differ; missing: 'dog' \
         (expected 'cat', 'dog', 'elk', 'owl', got 'owl', 'cat', 'elk')"
    );
    let same = examples(&[("cat", 1), ("dog", 2), ("elk", 1), ("owl", 1)]);
    let same = match_classes(same, &known, Missing::Refused).unwrap();
    assert_eq!((number(&same, 1, 1), same.missing().len()), (2.0, 0));
}

#[test]
fn what_differs_is_named() {
    let known = names(&["cat", "tea cup", "owl"]);
    for missing in [Missing::Allowed, Missing::Refused] {
        let found = examples(&[("Cat", 1), ("Tea-Cups", 1), ("owl", 1), ("yak", 1)]);
        let text = refusal(match_classes(found, &known, missing));
        let told = "the classes differ; unknown: 'Cat', 'Tea-Cups', 'yak'; missing: 'cat', 'tea cup'; \
                    'Cat' may be 'cat', 'Tea-Cups' may be 'tea cup' (";
        assert!(text.contains(told), "{text}");
    }
    // Fewer letters than the known name; and a name that is there beside the other one.
    let found = || examples(&[("dog", 1), ("cat", 1), ("cat_", 1)]);
    let text = refusal(match_classes(
        found(),
        &names(&["dogs", "cat"]),
        Missing::Allowed,
    ));
    let told = "'dog' may be 'dogs', 'cat_' may be 'cat' (";
    assert!(text.contains(told), "{text}");
    let text = refusal(match_classes(found(), &names(&["emu"]), Missing::Allowed));
    assert!(!text.contains("may be"), "{text}");
}

#[test]
fn long_lists_are_shortened() {
    let known: Vec<String> = (0..9).map(|index| format!("{index}")).collect();
    let found: Vec<String> = (0..7).map(|index| format!("{index}s")).collect();
    let found: Vec<_> = found.iter().map(|name| (name.as_str(), 1)).collect();
    let text = refusal(match_classes(examples(&found), &known, Missing::Refused));
    assert_eq!(
        text,
        "match_classes: the classes differ; unknown: '0s', '1s', '2s', '3s', '4s' and 2 more; \
         missing: '0', '1', '2', '3', '4' and 4 more; '0s' may be '0', '1s' may be '1', '2s' may be '2', \
         '3s' may be '3', '4s' may be '4' and 2 more \
         (expected '0', '1', '2', '3', '4' and 4 more, got '0s', '1s', '2s', '3s', '4s' and 2 more)"
    );
    assert_eq!(
        classes::listed(&["a", "b", "c", "d", "e"]),
        "'a', 'b', 'c', 'd', 'e'"
    );
}

/// A set whose classes all have one name.
struct Namesakes;

impl Dataset for Namesakes {
    fn class_count(&self) -> usize {
        2
    }
    fn class_name(&self, _: usize) -> String {
        "x".into()
    }
    fn class_len(&self, _: usize) -> usize {
        1
    }
    fn image_shape(&self) -> ImageShape {
        SHAPE
    }
    fn read(&self, _: usize, _: usize, _: &mut [f32]) -> Result<()> {
        Ok(())
    }
}

#[test]
fn names_that_stand_twice_are_refused_unless_the_lists_are_the_same() {
    let told = "two classes are called 'x'";
    let error = match_classes(Namesakes, &names(&["x"]), Missing::Allowed).err();
    assert!(error.unwrap().to_string().contains(told));
    let known = names(&["x", "x"]);
    let text = refusal(match_classes(
        examples(&[("x", 1)]),
        &known,
        Missing::Allowed,
    ));
    assert!(text.contains(told), "{text}");
    assert!(match_classes(Namesakes, &known, Missing::Refused).is_ok());
}

#[test]
fn loaders_run_over_classes_without_examples() {
    let known = names(&["a", "b", "c", "d", "e"]);
    for workers in [0, 2] {
        let found = examples(&[("d", 3), ("b", 2)]);
        let matched = match_classes(found, &known, Missing::Allowed).unwrap();
        let config = LoaderConfig {
            workers,
            ..LoaderConfig::validation(4)
        };
        let mut loader = Loader::new(matched, config).unwrap();
        assert_eq!(loader.batches_per_epoch(), 2);
        let (mut labels, mut numbers) = (Vec::new(), Vec::new());
        for _ in 0..2 {
            let batch = pollster::block_on(loader.next()).unwrap();
            labels.extend(batch.labels);
            let first = batch.images.chunks(3).map(|image| image[0] * 255.0);
            numbers.extend(first.map(f32::round));
        }
        assert_eq!(labels, [1, 1, 3, 3, 3]);
        assert_eq!(numbers, [3.0, 4.0, 0.0, 1.0, 2.0]);
    }
}

#[test]
fn balanced_classes_repeat_their_examples_evenly() {
    let uneven = examples(&[("many", 23), ("none", 0), ("few", 5), ("one", 1)]);
    let balanced = uneven.clone().balanced(1).unwrap();
    let lens: Vec<_> = (0..4).map(|class| balanced.class_len(class)).collect();
    assert_eq!(lens, [23, 0, 23, 23]);
    assert_eq!(balanced.examples()[0], uneven.examples()[0]);
    let few = &balanced.examples()[2];
    assert_eq!(few[..5], [0, 1, 2, 3, 4]);
    for example in 0..5 {
        let times = few.iter().filter(|&&found| found == example).count();
        assert!((4..=5).contains(&times), "{example}: {times} times");
    }
    let again = |seed| uneven.clone().balanced(seed).unwrap().examples()[2].clone();
    assert_eq!(again(1), *few);
    assert!((2..6).any(|seed| again(seed) != *few), "seeds do nothing");
    assert_eq!(number(&balanced, 3, 22), 28.0);
}

#[test]
fn only_uneven_classes_are_told_of() {
    assert_eq!(imbalance(&examples(&[("a", 9), ("b", 3), ("c", 0)])), None);
    assert_eq!(imbalance(&examples(&[])), None);
    assert_eq!(imbalance(&Glyphs::new(1, Split::Train, 5).unwrap()), None);
    let uneven = examples(&[("a", 3), ("b", 10), ("c", 3), ("d", 10), ("e", 0)]);
    let told = Imbalance {
        largest: ("b".into(), 10),
        smallest: ("a".into(), 3),
        ratio: 10.0 / 3.0,
    };
    assert_eq!(imbalance(&uneven), Some(told));
    assert_eq!(imbalance(&uneven.balanced(3).unwrap()), None);
}

#[test]
fn shared_classes_are_those_with_examples_in_both() {
    let a = examples(&[("owl", 1), ("cat", 2), ("yak", 1), ("elk", 0)]);
    let b = examples(&[("cat", 1), ("elk", 1), ("owl", 3), ("yak", 0), ("emu", 1)]);
    assert_eq!(shared_classes(&a, &b), ["owl", "cat"]);
}

#[test]
fn shared_images_are_counted_in_the_second_set() {
    let a = set(&[("a", 3), ("b", 4)], 0);
    // The numbers 5 and 6 of `a`, whatever they are called there, and two more.
    let mut b = set(&[("c", 3), ("d", 1)], 5);
    assert_eq!(shared_images(&a, &b).unwrap(), Some(2));
    b.push(1, &[6, 7, 255]).unwrap();
    b.push(1, &[6, 7, 254]).unwrap();
    assert_eq!(shared_images(&a, &b).unwrap(), Some(3));
    assert_eq!(shared_images(&b, &a).unwrap(), Some(2));
    let same = ImageSet::from_f32(ImageShape::new(3, 1, 1), &["a"], &[0.0, 7.0 / 255.0, 1.0]);
    assert_eq!(shared_images(&a, &same.unwrap()).unwrap(), Some(0));
}

/// One class of images of one value each, a number of their own with a sign.
struct Numbers(usize, f32);

impl Dataset for Numbers {
    fn class_count(&self) -> usize {
        1
    }
    fn class_name(&self, _: usize) -> String {
        "number".into()
    }
    fn class_len(&self, _: usize) -> usize {
        self.0
    }
    fn image_shape(&self) -> ImageShape {
        ImageShape::new(1, 1, 1)
    }
    fn read(&self, _: usize, example: usize, out: &mut [f32]) -> Result<()> {
        out[0] = self.1 * example as f32;
        Ok(())
    }
}

#[test]
fn only_so_many_images_are_compared() {
    let half = Numbers(100_000, 1.0);
    assert_eq!(shared_images(&half, &half).unwrap(), Some(100_000));
    let more = Numbers(100_001, 1.0);
    assert_eq!(shared_images(&half, &more).unwrap(), None);
    let endless = Numbers(usize::MAX, 1.0);
    assert_eq!(shared_images(&endless, &endless).unwrap(), None);
    // Nothing but 0 is its own opposite.
    assert_eq!(shared_images(&half, &Numbers(9, -1.0)).unwrap(), Some(1));
}

#[test]
fn rows_of_numbers_are_a_dataset() {
    let values = [-4.0, 8e9, 0.5, 2.0, -1.0, 3.0];
    let table = TableSet::from_rows(2, &["b", "a", "b"], &values).unwrap();
    assert_eq!(
        (table.class_name(0), table.class_len(0), table.class_len(1)),
        ("b".into(), 2, 1)
    );
    assert_eq!(table.features(), 2);
    let mut loader = Loader::new(table, LoaderConfig::validation(3)).unwrap();
    let batch = pollster::block_on(loader.next()).unwrap();
    assert_eq!((batch.dims(), batch.labels), ([3, 1, 1, 2], vec![0, 0, 1]));
    assert_eq!(batch.images, [-4.0, 8e9, -1.0, 3.0, 0.5, 2.0]);

    assert!(TableSet::from_rows(0, &["a"], &[]).is_err());
    assert!(TableSet::from_rows(2, &["a"], &[1.0]).is_err());
    let error = TableSet::from_rows(1, &["a", "b"], &[1.0, f32::NAN]).unwrap_err();
    assert!(error.to_string().contains("row 1"), "{error}");
}
