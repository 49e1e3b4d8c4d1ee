//! The WGSL kernels of forgeling.
//!
//! Each kernel is one file in `wgsl/`; `build.rs` composes it with its shared pieces, validates it with
//! naga against the limits every WebGPU device has (256 invocations, 8 storage buffers), translates it for
//! Vulkan, Metal and DX12, and generates a [`Kernel`] with its bindings. What launches them, what the CPU runs instead and
//! the composite reference that both are compared with are in the crate `forgeling`.

#![deny(missing_docs)]

/// How activations are stored. Sums and parameters are f32 whatever it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Storage {
    /// 4 bytes each.
    F32,
    /// 2 bytes each, on devices with WebGPU's `shader-f16`.
    F16,
}

impl Storage {
    const fn prelude(self) -> &'static str {
        match self {
            Self::F32 => include_str!("../wgsl/shared/stored_f32.wgsl"),
            Self::F16 => include_str!("../wgsl/shared/stored_f16.wgsl"),
        }
    }
}

/// A validated compute kernel with its metadata.
#[derive(Debug)]
pub struct Kernel {
    /// The file's name without its ending.
    pub name: &'static str,
    text: &'static str,
    /// The files that make up the text, with the number of their lines.
    files: &'static [(&'static str, usize)],
    /// Whether there is a variant for [`Storage::F16`].
    pub half: bool,
    /// The names of the storage buffers in the order of their bindings; the last is `shape`.
    pub bindings: &'static [&'static str],
    /// Invocations in one workgroup, all along x.
    pub workgroup_size: u32,
}

/// Numbers from the beginning of one part of a buffer to that of the next are a multiple of this, so that a part may be
/// bound by itself: bindings begin at multiples of 256 bytes.
pub const PART: usize = channels::PART;

/// WebGPU's limit on workgroups along one dimension.
const MAX_WORKGROUPS: u32 = 65_535;

impl Kernel {
    /// The composed WGSL text of a variant; its entry point is `main`. `None` when there is no such variant.
    pub fn source(&self, storage: Storage) -> Option<String> {
        let exists = self.half || storage == Storage::F32;
        exists.then(|| format!("{}{}", storage.prelude(), self.text))
    }

    /// The file below `shaders/`, and the line in it, of a line of [`Self::source`], both counted from 1.
    pub fn place(&self, storage: Storage, line: usize) -> (&'static str, usize) {
        let mut line = line.saturating_sub(storage.prelude().lines().count());
        for &(file, lines) in self.files {
            if line <= lines {
                return (file, line);
            }
            line -= lines;
        }
        (self.name, line)
    }

    /// The grid of workgroups `(x, y, 1)` that gives at least `invocations` invocations.
    ///
    /// Kernels spread over x and y find their place with `flat_index` of `wgsl/shared/index.wgsl`.
    /// `None` when even a full grid does not suffice, or when the index would not fit in 32 bits.
    pub fn grid(&self, invocations: usize) -> Option<[u32; 3]> {
        self.spread(invocations.div_ceil(self.workgroup_size as usize))
    }

    /// The grid `(x, y, 1)` of at least `groups` workgroups, with the limits of [`Self::grid`].
    pub fn spread(&self, groups: usize) -> Option<[u32; 3]> {
        let groups = u32::try_from(groups).ok()?;
        let x = groups.clamp(1, MAX_WORKGROUPS);
        let y = groups.div_ceil(x).max(1);
        let invocations_in_grid = u64::from(x) * u64::from(y) * u64::from(self.workgroup_size);
        (y <= MAX_WORKGROUPS && invocations_in_grid <= u64::from(u32::MAX)).then_some([x, y, 1])
    }
}

include!(concat!(env!("OUT_DIR"), "/kernels.rs"));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grid_covers_every_invocation_and_respects_limits() {
        for invocations in [0, 1, 63, 64, 65, 4_194_240, 4_194_241, 100_000_007] {
            let [x, y, z] = PAIRWISE_SQ_DISTANCE.grid(invocations).unwrap();
            assert!(x <= MAX_WORKGROUPS && y <= MAX_WORKGROUPS && z == 1);
            assert!(
                x as usize * y as usize * 64 >= invocations,
                "{invocations}: {x} x {y}"
            );
        }
        assert_eq!(PAIRWISE_SQ_DISTANCE.grid(usize::MAX), None);
    }

    #[test]
    fn a_line_is_found_in_its_file() {
        for storage in [Storage::F32, Storage::F16] {
            let source = CONV_BLOCK_NORMALIZE.source(storage).unwrap();
            for (number, line) in source
                .lines()
                .enumerate()
                .skip(storage.prelude().lines().count())
            {
                let (file, number) = CONV_BLOCK_NORMALIZE.place(storage, number + 1);
                let text = std::fs::read_to_string(file).unwrap();
                let size = CONV_BLOCK_NORMALIZE.workgroup_size;
                let expected = text.lines().nth(number - 1).unwrap();
                assert_eq!(
                    line,
                    expected.replace("WORKGROUP_SIZE", &format!("{size}u"))
                );
            }
        }
    }

    #[test]
    fn metadata_names_the_bindings_in_order() {
        assert_eq!(
            PAIRWISE_SQ_DISTANCE.bindings,
            ["a", "b", "distances", "shape"]
        );
        let files = std::fs::read_dir("wgsl").unwrap();
        let kernels = files.filter(|file| file.as_ref().unwrap().path().is_file());
        assert_eq!(ALL.len(), kernels.count());
    }
}
