//! Random numbers that are the same on every platform.
//!
//! xoshiro256++ (Blackman and Vigna, "Scrambled linear pseudorandom number generators", 2021), seeded by
//! SplitMix64. Floating-point values use additions, products, square roots and `libm` only, so no
//! platform's own mathematics can change a bit.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The finalizer of SplitMix64: a bijection that spreads every input bit over the output.
pub(crate) fn mix64(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// One step of SplitMix64, which turns any 64-bit seed into well-mixed words.
pub fn split_mix64(state: &mut u64) -> u64 {
    *state = state.wrapping_add(GOLDEN);
    mix64(*state)
}

/// The whole state of an [`Rng`], for checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RngState(pub [u64; 4]);

/// A seeded generator of random numbers; not for cryptography.
///
/// ```
/// use forgeling::data::Rng;
/// let mut rng = Rng::new(7);
/// let die = rng.below(6);
/// assert!(die < 6);
/// assert_eq!(Rng::new(7).below(6), die);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RngState", into = "RngState")]
pub struct Rng {
    words: [u64; 4],
}

impl Rng {
    /// A generator whose four words are the first four outputs of SplitMix64 on `seed`.
    pub fn new(seed: u64) -> Self {
        let mut state = seed;
        Self {
            words: std::array::from_fn(|_| split_mix64(&mut state)),
        }
    }

    /// An independent generator numbered `stream`. `self` does not advance, so the same state and number
    /// always give the same stream.
    #[must_use]
    pub fn fork(&self, stream: u64) -> Self {
        let mut key = mix64(stream.wrapping_add(GOLDEN));
        for word in self.words {
            key = mix64(key ^ word).wrapping_add(GOLDEN);
        }
        let mut words = self.words.map(|word| mix64(word ^ split_mix64(&mut key)));
        if words == [0; 4] {
            words[0] = 1;
        }
        Self { words }
    }

    /// The next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        let s = &mut self.words;
        let result = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let shifted = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= shifted;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// A uniform integer in `0..n` without bias (Lemire's method); 0 where `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        let n = n as u64;
        if n == 0 {
            return 0;
        }
        let mut product = u128::from(self.next_u64()) * u128::from(n);
        if (product as u64) < n {
            let unfair = n.wrapping_neg() % n;
            while (product as u64) < unfair {
                product = u128::from(self.next_u64()) * u128::from(n);
            }
        }
        (product >> 64) as usize
    }

    /// A uniform value in `[0, 1)` with 53 random bits.
    pub fn unit_f64(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// A uniform value in `[0, 1)` with 24 random bits.
    pub fn unit_f32(&mut self) -> f32 {
        (self.next_u64() >> 40) as f32 * (1.0 / (1u32 << 24) as f32)
    }

    /// A uniform value between `lo` and `hi`.
    pub fn range(&mut self, lo: f32, hi: f32) -> f32 {
        lo + (hi - lo) * self.unit_f32()
    }

    /// A value from the standard normal distribution (Box and Muller, 1958). The second value of the pair is
    /// dropped, so that four words are the whole state.
    pub fn normal(&mut self) -> f32 {
        let radius = (-2.0 * libm::log(1.0 - self.unit_f64())).sqrt();
        let angle = std::f64::consts::TAU * self.unit_f64();
        (radius * libm::cos(angle)) as f32
    }

    /// Puts `items` into a random order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = self.below(last + 1);
            items.swap(last, other);
        }
    }

    /// `k` different numbers of `0..n` in random order, in time and memory that depend on `k` only.
    ///
    /// # Errors
    ///
    /// If `k` exceeds `n`.
    pub fn choose_distinct(&mut self, n: usize, k: usize) -> Result<Vec<usize>> {
        if k > n {
            return Err(
                Error::invalid("choose_distinct", "cannot draw so many without repeating")
                    .expected(format!("at most {n}"))
                    .got(k),
            );
        }
        // A Fisher-Yates shuffle of which only the displaced places are kept.
        let mut displaced = BTreeMap::new();
        let mut chosen = Vec::with_capacity(k);
        for place in 0..k {
            let pick = place + self.below(n - place);
            let here = displaced.get(&place).copied().unwrap_or(place);
            chosen.push(displaced.insert(pick, here).unwrap_or(pick));
        }
        Ok(chosen)
    }

    /// The state, from which [`Rng::from_state`] goes on with the next value.
    pub fn state(&self) -> RngState {
        RngState(self.words)
    }

    /// A generator that goes on where `state` was taken.
    ///
    /// # Errors
    ///
    /// If all words are zero, from which the generator would only ever give zeros.
    pub fn from_state(state: RngState) -> Result<Self> {
        if state.0 == [0; 4] {
            return Err(Error::bad_data(
                "restore_rng",
                "a state of zeros only is not a state of the generator",
            ));
        }
        Ok(Self { words: state.0 })
    }
}

impl From<Rng> for RngState {
    fn from(rng: Rng) -> Self {
        rng.state()
    }
}

impl TryFrom<RngState> for Rng {
    type Error = Error;

    fn try_from(state: RngState) -> Result<Self> {
        Self::from_state(state)
    }
}
