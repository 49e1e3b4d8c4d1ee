//! Lists of episodes: what comes back from them, and what they refuse.

use forgeling::Result;
use forgeling::data::tasks::{EpisodeList, EpisodeTasks, UnevenConfig, UnevenTasks};
use forgeling::data::{
    Dataset, EpisodeSampler, ImageShape, Queries, Rotated, Shots, Task, TaskPlan, TaskSource, Ways,
};
use forgeling_tests::task_digests::{glyphs, uneven, waves};
use proptest::prelude::*;

fn take(source: &mut dyn TaskSource, count: usize) -> Vec<Task> {
    let next = |_| source.next_task().unwrap().unwrap();
    (0..count).map(next).collect()
}

/// Two examples of each class.
struct Named(&'static [&'static str]);

const TWINS: Named = Named(&["one", "two", "one"]);

impl Dataset for Named {
    fn class_count(&self) -> usize {
        self.0.len()
    }

    fn class_name(&self, class: usize) -> String {
        self.0[class].into()
    }

    fn class_len(&self, _: usize) -> usize {
        2
    }

    fn image_shape(&self) -> ImageShape {
        ImageShape::new(1, 1, 2)
    }

    fn read(&self, _: usize, _: usize, out: &mut [f32]) -> Result<()> {
        out.fill(0.0);
        Ok(())
    }
}

/// A list's end is an end, and it stays one.
#[test]
fn a_list_ends() {
    let set = glyphs().unwrap();
    let list = EpisodeList::draw("", &mut uneven().unwrap(), &set, 9).unwrap();
    let mut list = list.tasks(&set).unwrap();
    take(&mut list, 9);
    assert_eq!(list.next_task().unwrap(), None);
    assert_eq!(list.next_task().unwrap(), None);
    let beyond = serde_json::json!({ "next": 10, "of": 9 });
    assert!(list.resume(&beyond).unwrap_err().is_bad_input());
}

#[test]
fn turned_classes_are_listed_with_their_turn() {
    let turned = Rotated::new(glyphs().unwrap()).unwrap();
    let sampler = EpisodeSampler::new(
        Ways::new(5).unwrap(),
        Shots::new(2).unwrap(),
        Queries::new(1).unwrap(),
        3,
    );
    let mut drawn = EpisodeTasks::new(&turned, sampler, None, 0).unwrap();
    let list = EpisodeList::draw("turned", &mut drawn.clone(), &turned, 4).unwrap();
    assert!(
        list.episodes()[0]
            .classes
            .iter()
            .all(|name| name.ends_with('°'))
    );
    let read = EpisodeList::from_json(&list.to_json()).unwrap();
    assert_eq!(
        (read.source(), read.episodes()),
        ("turned", list.episodes())
    );
    assert_eq!(
        take(&mut read.tasks(&turned).unwrap(), 4),
        take(&mut drawn, 4)
    );
    // The set that was not turned has no such class.
    let error = read.tasks(glyphs().unwrap()).unwrap_err();
    assert!(
        error.to_string().contains("episodes[0] has the class"),
        "{error}"
    );
}

#[test]
fn damaged_lists_are_refused_and_the_file_and_the_episode_named() {
    let good = r#"{"classes": ["kind 0", "kind 1"], "support": [[0], [1]], "query": [[1], []]}"#;
    let list = |episode: &str| {
        format!(
            r#"{{"format": 1, "source": "", "image_shape": [1, 1, 2], "episodes": [{good}, {episode}]}}"#
        )
    };
    let set = Named(&["kind 0", "kind 1", "kind 2"]);
    assert!(
        EpisodeList::from_json(&list(good))
            .unwrap()
            .tasks(&set)
            .is_ok()
    );
    let cases = [
        (
            "\"kind 0\", \"kind 1\"",
            "\"kind 0\", \"kind 0\"",
            "the class \"kind 0\" twice",
        ),
        ("\"kind 0\", \"kind 1\"", "", "no class"),
        ("\"kind 1\"", "\"kind 7\"", "which the set has not"),
        (
            "[[0], [1]]",
            "[[0], []]",
            "no example of \"kind 1\" to learn from",
        ),
        (
            "[[0], [1]]",
            "[[0]]",
            "1 lists of support examples and 2 classes",
        ),
        (
            "[[0], [1]]",
            "[[0], [2]]",
            "example 2 of \"kind 1\", which has 2 examples",
        ),
        (
            "[[0], [1]]",
            "[[0], [1, 1]]",
            "example 1 of \"kind 1\" twice",
        ),
        ("[[1], []]", "[[0], []]", "example 0 of \"kind 0\" twice"),
        ("[[1], []]", "[[], []]", "no query"),
    ];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("episodes.json");
    for (part, instead, reason) in cases {
        std::fs::write(&path, list(&good.replacen(part, instead, 1))).unwrap();
        let error = EpisodeList::load(&path).and_then(|list| list.tasks(&set).map(drop));
        let error = error.expect_err(reason);
        let text = error.to_string();
        assert!(error.is_bad_input() && text.contains(reason), "{text}");
        assert!(
            text.contains("episodes[1]") && text.contains("episodes.json"),
            "{text}"
        );
    }
    let documents = [
        (
            "\"format\": 1",
            "\"format\": 2",
            "another format (expected 1, got 2)",
        ),
        ("\"format\": 1,", "", "missing field `format`"),
        ("\"source\"", "\"sauce\"", "unknown field"),
        (
            "[1, 1, 2]",
            "[1, 1, 3]",
            "of other images (expected [1, 1, 3], got [1, 1, 2])",
        ),
        ("\"query\"", "\"queries\"", "unknown field"),
        ("[[0], [1]]", "[[0], [-1]]", "invalid value"),
    ];
    for (part, instead, reason) in documents {
        let read = EpisodeList::from_json(&list(good).replacen(part, instead, 1));
        let error = read
            .and_then(|list| list.tasks(&set).map(drop))
            .expect_err(reason);
        assert!(error.to_string().contains(reason), "{error}");
    }
    assert!(EpisodeList::from_json("").unwrap_err().is_bad_input());
    let none = r#"{"format": 1, "source": "", "image_shape": [1, 1, 2], "episodes": []}"#;
    assert!(
        EpisodeList::from_json(none)
            .unwrap_err()
            .to_string()
            .contains("no episode")
    );
    let missing = EpisodeList::load(folder.path().join("missing.json")).unwrap_err();
    assert!(missing.to_string().contains("missing.json"), "{missing}");
}

#[test]
fn ambiguous_names_and_foreign_tasks_cannot_be_listed() {
    let plan = |classes: &[usize]| TaskPlan {
        classes: classes.to_vec(),
        support: vec![vec![0]; classes.len()],
        query: vec![vec![1]; classes.len()],
    };
    let refused = |plan: TaskPlan| {
        EpisodeList::new("", &[plan], &TWINS)
            .unwrap_err()
            .to_string()
    };
    assert!(EpisodeList::new("", &[plan(&[1])], &TWINS).is_ok());
    assert!(refused(plan(&[1, 2])).contains("\"one\", of which the set has several"));
    assert!(refused(plan(&[0, 2])).contains("\"one\" twice"));
    let waves = EpisodeList::draw("", &mut waves().unwrap(), &TWINS, 2).unwrap_err();
    assert!(
        waves.to_string().contains("not of a set's examples"),
        "{waves}"
    );
    let set = glyphs().unwrap();
    let mut short = EpisodeList::draw("", &mut uneven().unwrap(), &set, 2)
        .unwrap()
        .tasks(&set)
        .unwrap();
    let error = EpisodeList::draw("", &mut short, &set, 3).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("fewer tasks (expected 3, got 2)"),
        "{error}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn lists_come_back_from_json(
        seed in any::<u64>(),
        ways in 1..4usize,
        more in 0..3usize,
        shots in 1..3usize,
        queries in 1..3usize,
        source in ".*",
    ) {
        let set = glyphs().unwrap();
        let config = UnevenConfig {
            ways: ways..=ways + more,
            shots: 1..=shots,
            queries: 1..=queries,
            augment: None,
            seed,
        };
        let mut drawn = UnevenTasks::new(&set, config).unwrap();
        let list = EpisodeList::draw(&source, &mut drawn.clone(), &set, 3).unwrap();
        let read = EpisodeList::from_json(&list.to_json()).unwrap();
        prop_assert_eq!(read.to_json(), list.to_json());
        prop_assert_eq!(read.source(), source);
        prop_assert_eq!(take(&mut read.tasks(&set).unwrap(), 3), take(&mut drawn, 3));
    }
}
