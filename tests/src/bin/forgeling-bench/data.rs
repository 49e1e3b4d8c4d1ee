//! The batches that all implementations of a workload train on, drawn before the clock starts.

use forgeling::Result;
use forgeling::data::{
    Dataset, EpisodeBatch, EpisodeSampler, Glyphs, Queries, Rng, Shots, Split, Ways,
};

/// Batches that recur, so that a loss that falls shows that an implementation learns.
const BATCHES: usize = 4;

/// Episodes of 5 ways, 5 shots and 15 queries.
pub struct Episodes {
    /// Episodes of a step.
    pub episodes: usize,
    pub batches: Vec<EpisodeBatch>,
}

impl Episodes {
    pub fn draw(episodes: usize) -> Result<Self> {
        let glyphs = Glyphs::new(0, Split::Train, 1000)?;
        let mut sampler = EpisodeSampler::new(Ways::DEFAULT, Shots::DEFAULT, Queries::DEFAULT, 0);
        let batches = (0..BATCHES)
            .map(|_| sampler.sample_batch(&glyphs, episodes))
            .collect::<Result<_>>()?;
        Ok(Self { episodes, batches })
    }

    /// Each batch's support, then its queries.
    pub fn values(&self) -> impl Iterator<Item = f32> {
        let images = |batch: &EpisodeBatch| [batch.support.clone(), batch.query.clone()].concat();
        self.batches.iter().flat_map(images)
    }
}

/// Ten classes of drawn characters, of the size of MNIST's digits.
pub struct Digits {
    pub batches: Vec<DigitBatch>,
}

pub struct DigitBatch {
    /// `[128, 784]`
    pub images: Vec<f32>,
    pub labels: Vec<u8>,
}

impl Digits {
    pub const BATCH: usize = 128;
    pub const PIXELS: usize = 784;
    pub const CLASSES: usize = 10;

    pub fn draw() -> Result<Self> {
        let glyphs = Glyphs::new(0, Split::Train, Self::CLASSES)?;
        let mut rng = Rng::new(0);
        let batches = (0..BATCHES)
            .map(|_| {
                let mut batch = DigitBatch {
                    images: vec![0.0; Self::BATCH * Self::PIXELS],
                    labels: Vec::new(),
                };
                for image in batch.images.chunks_exact_mut(Self::PIXELS) {
                    let class = rng.below(Self::CLASSES);
                    glyphs.read(class, rng.below(glyphs.class_len(class)), image)?;
                    batch.labels.push(class as u8);
                }
                Ok(batch)
            })
            .collect::<Result<_>>()?;
        Ok(Self { batches })
    }

    /// Each batch's images, then its labels.
    pub fn values(&self) -> impl Iterator<Item = f32> {
        self.batches.iter().flat_map(|batch| {
            let labels = batch.labels.iter().copied().map(f32::from);
            batch.images.iter().copied().chain(labels)
        })
    }
}

/// Ten classes of drawn characters as colour images.
pub struct Pictures {
    /// Images of a batch.
    pub batch: usize,
    /// Their height and width.
    pub size: usize,
    pub batches: Vec<PictureBatch>,
}

pub struct PictureBatch {
    /// `[batch, 3, size, size]`
    pub images: Vec<f32>,
    pub labels: Vec<usize>,
}

impl Pictures {
    pub const CHANNELS: usize = 3;
    pub const CLASSES: usize = 10;

    pub fn draw(batch: usize, size: usize, batches: usize) -> Result<Self> {
        let glyphs = Glyphs::new(0, Split::Train, Self::CLASSES)?.with_size(size)?;
        let mut rng = Rng::new(0);
        let mut picture = vec![0.0; size * size];
        let mut drawn = Vec::new();
        for _ in 0..batches {
            let mut of_batch = PictureBatch {
                images: Vec::new(),
                labels: Vec::new(),
            };
            for _ in 0..batch {
                let class = rng.below(Self::CLASSES);
                glyphs.read(class, rng.below(glyphs.class_len(class)), &mut picture)?;
                for _ in 0..Self::CHANNELS {
                    let tint = rng.range(0.2, 1.0);
                    let tinted = picture.iter().map(|value| tint * value);
                    of_batch.images.extend(tinted);
                }
                of_batch.labels.push(class);
            }
            drawn.push(of_batch);
        }
        Ok(Self {
            batch,
            size,
            batches: drawn,
        })
    }

    /// Each batch's images, then its labels.
    pub fn values(&self) -> impl Iterator<Item = f32> {
        self.batches.iter().flat_map(|batch| {
            let labels = batch.labels.iter().map(|label| *label as f32);
            batch.images.iter().copied().chain(labels)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_have_the_sizes_that_the_peers_expect() {
        let episodes = Episodes::draw(2).unwrap();
        assert_eq!(episodes.values().count(), BATCHES * 2 * 5 * (5 + 15) * 784);
        let pictures = Pictures::draw(8, 48, 2).unwrap();
        assert_eq!(pictures.values().count(), 2 * 8 * (3 * 48 * 48 + 1));
        let digits = Digits::draw().unwrap();
        assert_eq!(digits.values().count(), BATCHES * 128 * (784 + 1));
        assert!(digits.batches[0].labels.iter().all(|label| *label < 10));
    }
}
