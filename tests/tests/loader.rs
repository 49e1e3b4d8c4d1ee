//! Batches rendered ahead: the same ones with any number of workers, in order, resumable, and without panics.

use std::collections::BTreeSet;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use forgeling::data::{
    Dataset, EpisodeLoader, EpisodeLoaderConfig, EpisodeSampler, ImageShape, Loader, LoaderConfig,
    LoaderState, Queries, RandomAffine, Shots, Subset, Ways, split_examples,
};
use forgeling::{Error, Result};
use forgeling_tests::loading::{
    DIGESTS, digests, episode_loader, image_loader, resumed_loaders_go_on, take_images,
};
use pollster::block_on;

/// Two values per example, class and number, and what goes wrong on the way.
#[derive(Clone, Debug)]
struct Numbered {
    lens: Vec<usize>,
    broken: Option<(usize, usize)>,
    panics: bool,
    /// What a read takes at least, after so many.
    pause: Duration,
    paused_after: usize,
    reads: Arc<Reads>,
}

fn numbered(lens: &[usize]) -> Numbered {
    Numbered {
        lens: lens.to_vec(),
        broken: None,
        panics: false,
        pause: Duration::ZERO,
        paused_after: 0,
        reads: Arc::default(),
    }
}

/// Reads so far, by whatever thread.
#[derive(Debug, Default)]
struct Reads {
    count: Mutex<Count>,
    changed: Condvar,
}

#[derive(Debug, Default, Clone, Copy)]
struct Count {
    done: usize,
    allowed: usize,
    /// The first one that came before it was allowed.
    early: Option<usize>,
}

impl Reads {
    /// One more; how many there were before.
    fn add(&self) -> usize {
        let mut count = self.count.lock().unwrap();
        let before = count.done;
        count.done += 1;
        if count.done > count.allowed {
            count.early = count.early.or(Some(count.done));
        }
        self.changed.notify_all();
        before
    }

    fn count(&self) -> Count {
        *self.count.lock().unwrap()
    }

    fn allow(&self, reads: usize) {
        self.count.lock().unwrap().allowed = reads;
    }

    /// Until there have been so many, which takes as long as it takes.
    fn wait_for(&self, reads: usize) {
        const HOPELESS: Duration = Duration::from_secs(60);
        let count = self.count.lock().unwrap();
        let missing = |count: &mut Count| count.done < reads;
        let waited = self.changed.wait_timeout_while(count, HOPELESS, missing);
        let (count, timeout) = waited.unwrap();
        assert!(!timeout.timed_out(), "{count:?} instead of {reads} reads");
    }
}

impl Dataset for Numbered {
    fn class_count(&self) -> usize {
        self.lens.len()
    }
    fn class_name(&self, class: usize) -> String {
        class.to_string()
    }
    fn class_len(&self, class: usize) -> usize {
        self.lens.get(class).copied().unwrap_or(0)
    }
    fn image_shape(&self) -> ImageShape {
        ImageShape::new(1, 1, 2)
    }
    fn read(&self, class: usize, example: usize, out: &mut [f32]) -> Result<()> {
        if self.reads.add() >= self.paused_after {
            std::thread::sleep(self.pause);
        }
        if self.broken == Some((class, example)) {
            assert!(!self.panics, "torn page");
            return Err(Error::bad_data("read_numbered", "torn page"));
        }
        out.copy_from_slice(&[class as f32, example as f32]);
        Ok(())
    }
}

fn config(batch_size: usize, workers: usize) -> LoaderConfig {
    LoaderConfig {
        batch_size,
        workers,
        ..Default::default()
    }
}

/// Class and number of each image of the next `batches`.
fn seen(loader: &mut Loader, batches: usize) -> Vec<(usize, usize)> {
    let batches = block_on(take_images(loader, batches)).unwrap();
    batches
        .iter()
        .flat_map(|batch| {
            let images = batch.images.chunks(2).zip(&batch.labels);
            images.map(|(image, &label)| {
                assert_eq!(image[0], label as f32);
                (label, image[1] as usize)
            })
        })
        .collect()
}

fn all(lens: &[usize]) -> Vec<(usize, usize)> {
    let classes = lens.iter().enumerate();
    classes
        .flat_map(|(class, &len)| (0..len).map(move |example| (class, example)))
        .collect()
}

#[test]
fn batches_do_not_depend_on_workers_or_platform() {
    for workers in [0, 1, 3] {
        let found = block_on(digests(workers)).unwrap();
        assert_eq!(found, DIGESTS, "{workers} workers: {found:#x?}");
    }
}

#[test]
fn a_resumed_loader_gives_the_rest_of_the_epoch() {
    for workers in [0, 1, 3] {
        block_on(resumed_loaders_go_on(workers)).unwrap();
    }
}

#[test]
fn an_epoch_has_every_image_once_and_each_epoch_another_order() {
    let lens = [5, 0, 1, 7];
    for workers in [0, 2] {
        let mut loader = Loader::new(numbered(&lens), config(4, workers)).unwrap();
        assert_eq!(
            (loader.batches_per_epoch(), loader.example_count()),
            (4, 13)
        );
        let epochs = [(); 3].map(|()| seen(&mut loader, 4));
        for epoch in &epochs {
            assert_eq!(
                epoch.iter().copied().collect::<BTreeSet<_>>(),
                all(&lens).into_iter().collect()
            );
            assert_eq!(epoch.len(), 13);
            assert_ne!(*epoch, all(&lens));
        }
        assert!(epochs[0] != epochs[1] && epochs[1] != epochs[2]);
        assert_eq!((loader.state().epoch, loader.state().next_batch), (3, 0));

        let ordered = LoaderConfig {
            shuffle: false,
            ..config(4, workers)
        };
        let mut loader = Loader::new(numbered(&lens), ordered).unwrap();
        assert_eq!(seen(&mut loader, 4), all(&lens));

        let dropped = LoaderConfig {
            drop_last: true,
            ..config(4, workers)
        };
        let mut loader = Loader::new(numbered(&lens), dropped).unwrap();
        assert_eq!(loader.batches_per_epoch(), 3);
        let places = [(); 4].map(|()| {
            let LoaderState {
                epoch, next_batch, ..
            } = loader.state();
            (epoch, next_batch, block_on(loader.next()).unwrap().len())
        });
        assert_eq!(places, [(0, 0, 4), (0, 1, 4), (0, 2, 4), (1, 0, 4)]);
    }
}

#[test]
fn every_order_is_about_equally_likely_to_begin_with_each_image() {
    let mut first = [0; 6];
    for seed in 0..600 {
        let config = LoaderConfig {
            seed,
            ..config(1, 0)
        };
        let mut loader = Loader::new(numbered(&[6]), config).unwrap();
        first[seen(&mut loader, 1)[0].1] += 1;
    }
    assert!(
        first.iter().all(|&count| (60..=140).contains(&count)),
        "{first:?}"
    );
}

#[test]
fn a_bad_image_is_an_error_of_its_batch_only() {
    for (workers, panics) in [(0, false), (0, true), (2, false), (2, true)] {
        let set = Numbered {
            broken: Some((0, 5)),
            panics,
            ..numbered(&[12])
        };
        let config = LoaderConfig {
            shuffle: false,
            ..config(4, workers)
        };
        let mut loader = Loader::new(set, config).unwrap();
        let mut results = Vec::new();
        for _ in 0..6 {
            results.push(block_on(loader.next()));
        }
        let ends: Vec<_> = results
            .iter()
            .map(|r| r.as_ref().map(|b| b.images[1]).map_err(|e| e.to_string()))
            .collect();
        for place in [0, 2, 3, 5] {
            assert_eq!(ends[place], Ok([0.0, 4.0, 8.0][place % 3]));
        }
        for place in [1, 4] {
            let error = ends[place].as_ref().unwrap_err();
            assert!(error.contains("torn page"), "{error}");
            assert!(results[place].as_ref().unwrap_err().is_bad_input());
        }
        // The state is behind the bad batch, too.
        assert_eq!((loader.state().epoch, loader.state().next_batch), (2, 0));
    }
}

#[test]
fn workers_use_their_lead_and_stay_within_it() {
    const BATCH: usize = 5;
    const LEAD: usize = 4;
    let set = numbered(&[10_000]);
    let reads = set.reads.clone();
    let config = LoaderConfig {
        prefetch: LEAD,
        ..config(BATCH, 3)
    };
    let mut loader = Loader::new(set, config).unwrap();
    assert_eq!(reads.count().done, 0);
    for given in 1..=200 {
        // The batches that were given and the four ahead of them: these without being asked, and no more.
        reads.allow(BATCH * (given + LEAD));
        block_on(loader.next()).unwrap();
        reads.wait_for(BATCH * (given + LEAD));
    }
    drop(loader);
    assert_eq!(reads.count().early, None);
}

#[test]
fn workers_end_with_the_loader_at_the_image_they_are_at() {
    // A batch in no time, then one that takes 80 seconds at least, whose end nobody waits for.
    const BATCH: usize = 4000;
    let set = Numbered {
        pause: Duration::from_millis(20),
        paused_after: BATCH,
        ..numbered(&[10 * BATCH])
    };
    let reads = set.reads.clone();
    let mut loader = Loader::new(set, config(BATCH, 1)).unwrap();
    block_on(loader.next()).unwrap();
    reads.wait_for(BATCH + 1);
    drop(loader);
    assert!(reads.count().done < 2 * BATCH, "{:?}", reads.count());
    // The threads had the set, and are no more.
    assert_eq!(Arc::strong_count(&reads), 1);
}

#[test]
fn a_caller_that_stops_waiting_misses_nothing() {
    let set = Numbered {
        pause: Duration::from_millis(9),
        ..numbered(&[8])
    };
    let mut loader = Loader::new(
        set,
        LoaderConfig {
            shuffle: false,
            ..config(4, 0)
        },
    )
    .unwrap();
    {
        // A sleep is never shorter than asked for: long enough for a pause after each image.
        let mut next = std::pin::pin!(loader.next());
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(next.as_mut().poll(&mut context).is_pending());
        assert!(next.as_mut().poll(&mut context).is_pending());
    }
    assert_eq!(loader.state().next_batch, 0);
    assert_eq!(seen(&mut loader, 2), all(&[8]));
}

#[test]
fn configurations_and_states_out_of_range_are_errors_that_name_them() {
    let right = LoaderConfig::default();
    let bad = [
        (
            "batch_size",
            LoaderConfig {
                batch_size: 0,
                ..right
            },
        ),
        (
            "prefetch",
            LoaderConfig {
                prefetch: 0,
                ..right
            },
        ),
        (
            "workers",
            LoaderConfig {
                workers: 100_000,
                ..right
            },
        ),
        (
            "scale",
            LoaderConfig {
                augment: Some(RandomAffine {
                    scale: 2.0,
                    ..Default::default()
                }),
                ..right
            },
        ),
    ];
    for (name, config) in bad {
        let error = Loader::new(numbered(&[50]), config).unwrap_err();
        assert!(
            error.is_bad_input() && error.to_string().contains(name),
            "{error}"
        );
    }
    assert!(Loader::new(numbered(&[]), right).is_err());
    assert!(Loader::new(numbered(&[0, 0]), right).is_err());
    assert!(Loader::new(numbered(&[usize::MAX, usize::MAX]), right).is_err());
    let error = Loader::new(
        numbered(&[31]),
        LoaderConfig {
            drop_last: true,
            ..right
        },
    )
    .unwrap_err();
    assert!(error.to_string().contains("31"), "{error}");

    let mut loader = Loader::new(numbered(&[50]), right).unwrap();
    let state = loader.state();
    let foreign = [
        ("seed", LoaderState { seed: 1, ..state }),
        (
            "set",
            LoaderState {
                examples: 49,
                ..state
            },
        ),
        (
            "batch size",
            LoaderState {
                batch_size: 16,
                ..state
            },
        ),
        (
            "order",
            LoaderState {
                shuffle: false,
                ..state
            },
        ),
        (
            "length",
            LoaderState {
                next_batch: 2,
                ..state
            },
        ),
    ];
    for (name, state) in foreign {
        let error = loader.resume(state).unwrap_err();
        assert!(
            error.is_bad_input() && error.to_string().contains(name),
            "{error}"
        );
    }
    let text = serde_json::to_string(&state).unwrap();
    assert_eq!(serde_json::from_str::<LoaderState>(&text).unwrap(), state);
    assert_eq!(
        serde_json::from_str::<LoaderConfig>("{\"workers\": 1}").unwrap(),
        right
    );
    assert!(serde_json::from_str::<LoaderConfig>("{\"wrokers\": 1}").is_err());
    assert!(LoaderConfig::validation(7).validate().is_ok());
}

#[test]
fn episodes_are_those_of_the_sampler() {
    let set = numbered(&[4, 5, 6, 7]);
    let sampler = EpisodeSampler::new(
        Ways::new(3).unwrap(),
        Shots::new(1).unwrap(),
        Queries::new(2).unwrap(),
        9,
    );
    for workers in [0, 2] {
        let config = EpisodeLoaderConfig {
            episodes: 3,
            workers,
            ..Default::default()
        };
        let mut loader = EpisodeLoader::new(set.clone(), sampler.clone(), config).unwrap();
        let mut alone = sampler.clone();
        for number in 0..5 {
            assert_eq!(loader.state().sampler, alone.state());
            assert_eq!(loader.state().batches, number);
            let batch = block_on(loader.next()).unwrap();
            assert_eq!(batch, alone.sample_batch(&set, 3).unwrap());
        }
    }
    let few = EpisodeLoader::new(numbered(&[4, 2, 6]), sampler.clone(), Default::default());
    assert!(few.unwrap_err().to_string().contains("class 1 has too few"));
    let none = EpisodeLoaderConfig {
        episodes: 0,
        ..Default::default()
    };
    assert!(EpisodeLoader::new(set, sampler, none).is_err());
    let mut loader = episode_loader(0).unwrap();
    let mut state = loader.state();
    state.episodes = 5;
    assert!(loader.resume(state).unwrap_err().is_bad_input());
    assert!(image_loader(300).is_err());
}

#[test]
fn a_split_is_stratified_and_has_every_example_once() {
    let lens = [10, 1, 2, 0, 25];
    let set = numbered(&lens);
    let (train, validation) = split_examples(set.clone(), 0.2, 3).unwrap();
    let counts =
        |set: &Subset<Numbered>| (0..5).map(|class| set.class_len(class)).collect::<Vec<_>>();
    assert_eq!(
        (counts(&train), counts(&validation)),
        (vec![8, 1, 1, 0, 20], vec![2, 0, 1, 0, 5])
    );
    for (class, &len) in lens.iter().enumerate() {
        let both = [
            train.examples()[class].clone(),
            validation.examples()[class].clone(),
        ]
        .concat();
        assert_eq!(
            both.iter().copied().collect::<BTreeSet<_>>(),
            (0..len).collect()
        );
        assert_eq!(both.len(), len);
    }
    let mut image = [0.0; 2];
    validation.read(4, 1, &mut image).unwrap();
    assert_eq!(image, [4.0, validation.examples()[4][1] as f32]);
    assert!(
        validation.read(4, 5, &mut image).is_err() && validation.read(5, 0, &mut image).is_err()
    );

    let again = split_examples(set.clone(), 0.2, 3).unwrap();
    assert_eq!(again.0.examples(), train.examples());
    assert_ne!(
        split_examples(set.clone(), 0.2, 4).unwrap().0.examples(),
        train.examples()
    );
    for share in [0.0, 1.0, -1.0, f64::NAN] {
        assert!(split_examples(set.clone(), share, 0).is_err(), "{share}");
    }
    assert!(Subset::first(numbered(&[usize::MAX]), usize::MAX).is_err());
    assert!(Subset::new(set.clone(), vec![vec![0]; 4]).is_err());
    let error = Subset::new(set, vec![vec![], vec![1], vec![], vec![], vec![]]).unwrap_err();
    assert_eq!(error.found(), Some("1"));
}
