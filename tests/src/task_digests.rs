//! Tasks that must be the same on every platform.

use forgeling::Result;
use forgeling::data::tasks::{EpisodeTasks, SineTasks, UnevenConfig, UnevenTasks};
use forgeling::data::{
    EpisodeSampler, Glyphs, Queries, RandomAffine, Rotated, Shots, Split, Subset, TableSet,
    Targets, Task, TaskSource, Ways,
};

/// What [`digests`] gives, on any platform.
pub const DIGESTS: [u64; 4] = [
    0x1724_a9fb_6088_0b35,
    0xe5d2_2fd7_fac1_2fc6,
    0x074c_9819_0678_ffb2,
    0xa965_9fd4_b31d_eebf,
];

/// 7 classes of 6 glyphs of 13 × 13.
pub type Set = Subset<Glyphs>;

/// A [`Set`].
///
/// # Errors
/// None.
pub fn glyphs() -> Result<Set> {
    Subset::first(Glyphs::new(3, Split::Train, 7)?.with_size(13)?, 6)
}

/// Augmented episodes of 3 ways, 2 shots and 1 query, of glyphs turned by quarters.
///
/// # Errors
/// None.
pub fn even() -> Result<EpisodeTasks<Rotated<Set>>> {
    let sampler = EpisodeSampler::new(Ways::new(3)?, Shots::new(2)?, Queries::new(1)?, 5);
    EpisodeTasks::new(
        Rotated::new(glyphs()?)?,
        sampler,
        Some(RandomAffine::default()),
        11,
    )
}

/// Augmented episodes of 2 to 4 ways, 1 to 3 shots and 1 to 2 queries.
///
/// # Errors
/// None.
pub fn uneven() -> Result<UnevenTasks<Set>> {
    let config = UnevenConfig {
        ways: 2..=4,
        shots: 1..=3,
        queries: 1..=2,
        augment: Some(RandomAffine::default()),
        seed: 5,
    };
    UnevenTasks::new(glyphs()?, config)
}

/// Episodes of 2 ways, 1 shot and 1 query of a standardised table.
///
/// # Errors
/// None.
pub fn tabular() -> Result<EpisodeTasks<TableSet>> {
    let names = ["a", "b", "c", "a", "b", "c", "a"];
    let values: Vec<f32> = (0..21).map(|n| (n * n % 17) as f32).collect();
    let (table, _) = TableSet::from_rows(3, &names, &values)?.standardized()?;
    let sampler = EpisodeSampler::new(Ways::new(2)?, Shots::new(1)?, Queries::new(1)?, 5);
    EpisodeTasks::new(table, sampler, None, 0)
}

/// Waves.
///
/// # Errors
/// None.
pub fn waves() -> Result<SineTasks> {
    SineTasks::new(Default::default())
}

/// A digest of the first five tasks of each source: FNV-1a over all bits.
///
/// # Errors
/// None.
pub fn digests() -> Result<[u64; 4]> {
    Ok([
        digest(&mut even()?)?,
        digest(&mut uneven()?)?,
        digest(&mut tabular()?)?,
        digest(&mut waves()?)?,
    ])
}

fn digest(source: &mut dyn TaskSource) -> Result<u64> {
    let mut digest = 0xcbf2_9ce4_8422_2325;
    for _ in 0..5 {
        let task = source.next_task()?.expect("there is no end");
        for word in words(&task) {
            for byte in word.to_le_bytes() {
                digest = (digest ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
            }
        }
    }
    Ok(digest)
}

/// All that a task is, in 32 bits each.
fn words(task: &Task) -> Vec<u32> {
    let mut words = vec![task.outputs() as u32];
    for side in [task.support(), task.query()] {
        words.extend(side.inputs.iter().map(|value| value.to_bits()));
        match &side.targets {
            Targets::Classes(classes) => words.extend(classes.iter().map(|&class| class as u32)),
            Targets::Values(values) => words.extend(values.iter().map(|value| value.to_bits())),
        }
    }
    if let Some(plan) = task.plan() {
        let lists = plan.support.iter().chain(&plan.query).flatten();
        words.extend(
            plan.classes
                .iter()
                .chain(lists)
                .map(|&number| number as u32),
        );
    }
    words
}
