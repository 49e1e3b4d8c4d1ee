//! Which instructions multiply.

use std::sync::OnceLock;

use super::packed::BLOCK;

/// Rows of a tile at most.
pub(super) const ROWS: usize = 8;

/// Sums of a tile.
pub(super) type Sums = [[i32; BLOCK]; ROWS];

/// What a tile is made of.
#[derive(Clone, Copy)]
pub(super) struct Tile<'a> {
    /// Bytes of activations.
    pub x: &'a [u8],
    /// Where each row begins in `x`, [`ROWS`] at most.
    pub rows: &'a [usize],
    /// Where each run begins in a row.
    pub runs: &'a [usize],
    /// Quads of a run.
    pub quads: usize,
    /// Of one block of outputs.
    pub weights: &'a [i8],
}

impl Tile<'_> {
    /// Whether all bytes that it names are there, which makes the kernels' reads sound.
    fn fits(&self) -> bool {
        let last = |places: &[usize]| places.iter().max().copied().unwrap_or(0);
        let end = last(self.rows) + last(self.runs) + 4 * self.quads;
        let weights = self.runs.len() * self.quads * 4 * BLOCK;
        end <= self.x.len() && weights <= self.weights.len() && self.rows.len() <= ROWS
    }
}

/// Instructions that multiply bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernel {
    /// AVX-512 VNNI.
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni,
    /// AVX-VNNI.
    #[cfg(target_arch = "x86_64")]
    AvxVnni,
    /// AVX2 on widened values.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// simd128 on widened values.
    #[cfg(target_arch = "wasm32")]
    Simd128,
    /// None in particular.
    Plain,
}

impl Kernel {
    /// Those of this machine, the fastest first.
    pub fn all() -> Vec<Self> {
        #[cfg(target_arch = "x86_64")]
        let vnni = is_x86_feature_detected!("avx512vnni") && is_x86_feature_detected!("avx512bw");
        let known = [
            #[cfg(target_arch = "x86_64")]
            (Self::Avx512Vnni, vnni),
            #[cfg(target_arch = "x86_64")]
            (Self::AvxVnni, is_x86_feature_detected!("avxvnni")),
            #[cfg(target_arch = "x86_64")]
            (Self::Avx2, is_x86_feature_detected!("avx2")),
            #[cfg(target_arch = "wasm32")]
            (Self::Simd128, true),
            (Self::Plain, true),
        ];
        let there = known.into_iter().filter(|(_, there)| *there);
        there.map(|(kernel, _)| kernel).collect()
    }

    /// Whether it multiplies four bytes in one step, and so much faster than numbers in f32.
    pub const fn is_fast(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni | Self::AvxVnni => true,
            _ => false,
        }
    }

    /// Whether it multiplies two widened bytes in one step.
    pub const fn is_widening(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => true,
            #[cfg(target_arch = "wasm32")]
            Self::Simd128 => true,
            _ => false,
        }
    }

    /// The sums of a tile's rows.
    pub(super) fn multiply(self, tile: &Tile<'_>, sums: &mut Sums) {
        assert!(tile.fits(), "a tile reads beyond its bytes");
        // SAFETY, of each: everything it reads is there, and `all` gives what the machine has.
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni => unsafe { super::x86::avx512_vnni(tile, sums) },
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni => unsafe { super::x86::avx_vnni(tile, sums) },
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { super::x86::avx2(tile, sums) },
            #[cfg(target_arch = "wasm32")]
            Self::Simd128 => unsafe { super::wasm::simd128(tile, sums) },
            Self::Plain => super::plain::multiply(tile, sums),
        }
    }
}

/// The fastest of this machine.
pub fn fastest() -> Kernel {
    static FASTEST: OnceLock<Kernel> = OnceLock::new();
    *FASTEST.get_or_init(|| Kernel::all()[0])
}
