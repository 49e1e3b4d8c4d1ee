//! Images with a border, so that every tap of every position reads a value.
//!
//! Where positions are `s` columns apart, every `s`-th column lies side by side: the pixels below one tap are then
//! neighbours in memory for neighbouring positions.

use std::ops::{Deref, DerefMut, Range};

/// A place of the kernel.
#[derive(Debug, Clone, Copy)]
pub struct Tap {
    /// Which weight.
    pub index: usize,
    /// Where its source pixel lies, seen from the position times the step.
    pub at: [isize; 2],
}

/// Target pixels that are reached by the same taps.
#[derive(Debug, Clone)]
pub struct Phase {
    /// The first target pixel.
    pub first: [usize; 2],
    /// Rows and columns of pixels.
    pub count: [usize; 2],
    pub taps: Vec<Tap>,
}

/// Values behind a buffer that vectors may reach over its end.
pub const SLACK: usize = 64;

/// Where the pixels of a channel lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// The first source row and column that are kept; negative where there is a border.
    low: [isize; 2],
    /// Rows kept.
    rows: usize,
    /// Columns of each residue of the step.
    columns: usize,
    /// Source pixels from one position to the next.
    step: [usize; 2],
}

/// Neighbouring positions whose pixels are neighbours too.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    /// The first position.
    pub position: usize,
    /// Where its pixel lies, before the tap's offset.
    pub base: usize,
    pub length: usize,
}

impl Frame {
    /// What the taps of all phases read.
    pub fn around(phases: &[Phase], step: [usize; 2]) -> Self {
        let [rows, columns] = [0, 1].map(|axis| {
            let reach = |phase: &Phase, tap: &Tap| {
                let last = (phase.count[axis] - 1) * step[axis];
                [tap.at[axis], tap.at[axis] + last as isize]
            };
            let all = phases
                .iter()
                .flat_map(|phase| phase.taps.iter().map(|tap| reach(phase, tap)));
            all.reduce(|a, b| [a[0].min(b[0]), a[1].max(b[1])])
                .unwrap_or([0, 0])
        });
        Self {
            low: [rows[0], columns[0]],
            rows: (rows[1] - rows[0] + 1) as usize,
            columns: ((columns[1] - columns[0] + 1) as usize).div_ceil(step[1]),
            step,
        }
    }

    /// Values from one row to the next.
    pub const fn row(&self) -> usize {
        self.columns * self.step[1]
    }

    /// Rows of one channel.
    pub const fn rows(&self) -> usize {
        self.rows
    }

    /// Rows from one position to the next.
    pub const fn step(&self) -> usize {
        self.step[0]
    }

    /// Values of one channel.
    pub const fn plane(&self) -> usize {
        self.rows * self.row()
    }

    /// Where a tap's pixel lies, seen from its position's.
    pub fn offset(&self, tap: &Tap) -> usize {
        let [y, x] = [0, 1].map(|axis| (tap.at[axis] - self.low[axis]) as usize);
        y * self.row() + x % self.step[1] * self.columns + x / self.step[1]
    }

    /// The positions of some rows of `images` images, from one to the next of which there are `stride` values.
    pub fn runs(
        &self,
        rows: Range<usize>,
        columns: usize,
        images: usize,
        stride: usize,
    ) -> Vec<Run> {
        let from_row_to_row = self.step[0] * self.row();
        let first = rows.start * from_row_to_row;
        // Without a border rows lie one behind the other.
        let [rows, columns] = if from_row_to_row == columns {
            [1, rows.len() * columns]
        } else {
            [rows.len(), columns]
        };
        (0..images * rows)
            .map(|row| Run {
                position: row * columns,
                base: first + row / rows * stride + row % rows * from_row_to_row,
                length: columns,
            })
            .collect()
    }

    /// Copies rows of the frame of the channels of one image, `[channel, row, column]`, into `values`; borders are left as
    /// they are.
    pub fn fill(&self, image: &[f32], size: [usize; 2], rows: Range<usize>, values: &mut [f32]) {
        let planes = image.chunks_exact(size[0] * size[1]);
        for (plane, values) in planes.zip(values.chunks_exact_mut(self.plane())) {
            self.fill_rows(plane, size, rows.clone(), values);
        }
    }

    /// As [`fill`](Self::fill), of one channel.
    pub fn fill_rows(
        &self,
        plane: &[f32],
        [height, width]: [usize; 2],
        rows: Range<usize>,
        values: &mut [f32],
    ) {
        let kept = |low: isize, high: isize, size: usize| {
            let end = high.clamp(0, size as isize);
            low.max(0).min(end) as usize..end as usize
        };
        let [top, left] = self.low;
        let rows = kept(top + rows.start as isize, top + rows.end as isize, height);
        let columns = kept(left, left + self.row() as isize, width);
        let first = (columns.start as isize - left) as usize;
        let source = |y: usize| &plane[y * width..][columns.clone()];
        let row = |y: usize| (y as isize - top) as usize * self.row();
        if self.step[1] == 1 {
            for y in rows {
                values[row(y) + first..][..columns.len()].copy_from_slice(source(y));
            }
            return;
        }
        for (offset, x) in (first..).take(self.step[1].min(columns.len())).enumerate() {
            let at = x % self.step[1] * self.columns + x / self.step[1];
            for y in rows.clone() {
                every(
                    &source(y)[offset..],
                    self.step[1],
                    &mut values[row(y) + at..],
                );
            }
        }
    }

    /// Rows of the frame that positions of the first `count` rows see through taps at these offsets.
    pub fn seen(&self, count: usize, offsets: &[usize]) -> usize {
        let deepest = offsets.iter().max().map_or(0, |last| last / self.row());
        self.rows.min((count - 1) * self.step[0] + deepest + 1)
    }
}

/// Positions that large images are cut into, about: few enough for the cache.
const BAND_POSITIONS: usize = 1024;

/// Rows of positions that are worked on one after the other: all of a small image, bands of a large one, each of which
/// begins at a multiple of 16 positions.
pub fn bands([rows, columns]: [usize; 2]) -> impl Iterator<Item = Range<usize>> {
    let mut band = rows.max(1);
    if rows * columns >= 2 * BAND_POSITIONS {
        let whole = 16 >> columns.trailing_zeros().min(4);
        band = BAND_POSITIONS.div_ceil(columns).next_multiple_of(whole);
    }
    let starts = (0..rows).step_by(band);
    starts.map(move |first| first..rows.min(first + band))
}

/// Copies every `step`-th value.
fn every(source: &[f32], step: usize, target: &mut [f32]) {
    if step == 2 {
        // A loop that compilers make vectors of.
        let (pairs, rest) = source.as_chunks::<2>();
        for (value, pair) in target.iter_mut().zip(pairs) {
            *value = pair[0];
        }
        if let [last] = rest {
            target[pairs.len()] = *last;
        }
        return;
    }
    for (value, source) in target.iter_mut().zip(source.iter().step_by(step)) {
        *value = *source;
    }
}

/// Zeros that begin where a vector does, so that vectors do not straddle the lines of the cache.
pub struct Aligned {
    values: Vec<f32>,
    start: usize,
}

impl Aligned {
    pub fn new(length: usize) -> Self {
        let values = vec![0.0; length + 16];
        let start = values.as_ptr().align_offset(64).min(16);
        Self { values, start }
    }
}

impl Default for Aligned {
    fn default() -> Self {
        Self::new(0)
    }
}

impl Aligned {
    /// At least so many values: the old ones if they suffice, zeros otherwise.
    pub fn reserve(&mut self, length: usize) {
        if self.len() < length {
            *self = Self::new(length);
        }
    }
}

impl Deref for Aligned {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.values[self.start..]
    }
}

impl DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.values[self.start..]
    }
}
