//! Batches that must be the same on every platform, whoever renders them.

use forgeling::Result;
use forgeling::data::{
    EpisodeBatch, EpisodeLoader, EpisodeLoaderConfig, EpisodeSampler, Glyphs, ImageBatch, Loader,
    LoaderConfig, Queries, RandomAffine, Shots, Split, Subset, Ways,
};

/// [`digests`] of both loaders; what matters is that no platform and no number of workers changes them.
pub const DIGESTS: [u64; 2] = [0x5579_500c_ae48_33cb, 0xe00e_f4da_c4cb_d202];

/// 7 classes of 5 glyphs of 13 × 13 in batches of 8, shuffled and augmented: 5 batches an epoch, the last one of 3.
pub fn image_loader(workers: usize) -> Result<Loader> {
    let glyphs = Glyphs::new(3, Split::Train, 7)?.with_size(13)?;
    let config = LoaderConfig {
        batch_size: 8,
        workers,
        prefetch: 3,
        augment: Some(RandomAffine::default()),
        seed: 11,
        ..Default::default()
    };
    Loader::new(Subset::first(glyphs, 5)?, config)
}

/// Batches of two episodes of 3 ways, 2 shots and 1 query.
pub fn episode_loader(workers: usize) -> Result<EpisodeLoader> {
    let glyphs = Glyphs::new(3, Split::Train, 7)?.with_size(13)?;
    let sampler = EpisodeSampler::new(Ways::new(3)?, Shots::new(2)?, Queries::new(1)?, 5);
    let config = EpisodeLoaderConfig {
        episodes: 2,
        workers,
        prefetch: 3,
        augment: Some(RandomAffine::default()),
        seed: 11,
    };
    EpisodeLoader::new(glyphs, sampler, config)
}

/// The next `count` batches.
///
/// # Errors
/// As [`Loader::next`].
pub async fn take_images(loader: &mut Loader, count: usize) -> Result<Vec<ImageBatch>> {
    let mut batches = Vec::new();
    for _ in 0..count {
        batches.push(loader.next().await?);
    }
    Ok(batches)
}

/// The next `count` batches.
///
/// # Errors
/// As [`EpisodeLoader::next`].
pub async fn take_episodes(loader: &mut EpisodeLoader, count: usize) -> Result<Vec<EpisodeBatch>> {
    let mut batches = Vec::new();
    for _ in 0..count {
        batches.push(loader.next().await?);
    }
    Ok(batches)
}

/// FNV-1a of the bits of what both loaders give first.
///
/// # Errors
/// When a batch cannot be made.
pub async fn digests(workers: usize) -> Result<[u64; 2]> {
    let mut images = Fnv::default();
    for batch in take_images(&mut image_loader(workers)?, 12).await? {
        images.numbers(&batch.labels);
        images.values(&batch.images);
    }
    let mut episodes = Fnv::default();
    for batch in take_episodes(&mut episode_loader(workers)?, 4).await? {
        episodes.numbers(&batch.classes);
        episodes.values(&batch.support);
        episodes.values(&batch.query);
    }
    Ok([images.0, episodes.0])
}

/// Loaders that stop after each of the first batches and go on from their state give what follows there.
///
/// # Errors
/// When a batch cannot be made.
///
/// # Panics
/// When they do not.
pub async fn resumed_loaders_go_on(workers: usize) -> Result<()> {
    let whole = take_images(&mut image_loader(0)?, 12).await?;
    for stop in [0, 1, 4, 5, 7] {
        let mut first = image_loader(workers)?;
        take_images(&mut first, stop).await?;
        let mut second = image_loader(workers)?;
        // So that there is something ahead to be dropped.
        take_images(&mut second, 2).await?;
        second.resume(first.state())?;
        assert_eq!(second.state(), first.state());
        let rest = take_images(&mut second, 12 - stop).await?;
        assert!(
            rest == whole[stop..],
            "{workers} workers, stopped at {stop}"
        );
    }
    let whole = take_episodes(&mut episode_loader(0)?, 6).await?;
    for stop in [0, 1, 4] {
        let mut first = episode_loader(workers)?;
        take_episodes(&mut first, stop).await?;
        let mut second = episode_loader(workers)?;
        take_episodes(&mut second, 2).await?;
        second.resume(first.state())?;
        let rest = take_episodes(&mut second, 6 - stop).await?;
        assert!(
            rest == whole[stop..],
            "{workers} workers, stopped at {stop}"
        );
    }
    Ok(())
}

struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    fn word(&mut self, word: u32) {
        for byte in word.to_le_bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    fn values(&mut self, values: &[f32]) {
        values.iter().for_each(|value| self.word(value.to_bits()));
    }

    fn numbers(&mut self, numbers: &[usize]) {
        numbers.iter().for_each(|&number| self.word(number as u32));
    }
}
