//! Sizes of a convolution block, and how its images are shared out to threads.

use std::ops::Range;

use super::planes::Planes;

/// Sizes of a block's input and output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockShape {
    pub images: usize,
    /// Channels of the input.
    pub input: usize,
    /// Channels of the output.
    pub output: usize,
    pub height: usize,
    pub width: usize,
}

/// Positions of one channel that are worked on together: few enough to stay in the cache.
const CHUNK_POSITIONS: usize = 1024;
/// Tasks of one pass at most. A number of its own, since sums are taken in the order of the tasks and must not
/// depend on the machine.
const MOST_TASKS: usize = 32;

impl BlockShape {
    pub const fn pixels(self) -> usize {
        self.height * self.width
    }

    pub const fn pooled(self) -> [usize; 2] {
        [self.height / 2, self.width / 2]
    }

    pub const fn input_len(self) -> usize {
        self.images * self.input * self.pixels()
    }

    pub const fn convolved_len(self) -> usize {
        self.images * self.output * self.pixels()
    }

    pub const fn output_len(self) -> usize {
        let [height, width] = self.pooled();
        self.images * self.output * height * width
    }

    pub const fn planes(self, images: usize) -> Planes {
        Planes {
            images,
            height: self.height,
            width: self.width,
        }
    }

    /// Images of a chunk.
    pub fn chunk(self) -> usize {
        let most = (CHUNK_POSITIONS / ((self.height + 1) * (self.width + 1))).max(1);
        // An even number of equal chunks, so that two threads finish together.
        let chunks = self.images.div_ceil(most).next_multiple_of(2);
        self.images.div_ceil(chunks)
    }

    /// The images of each task: whole chunks.
    pub fn tasks(self) -> Vec<Range<usize>> {
        let chunk = self.chunk();
        let chunks = self.images.div_ceil(chunk);
        let tasks = chunks.min(MOST_TASKS);
        let border = |task: usize| (task * chunks / tasks * chunk).min(self.images);
        (0..tasks)
            .map(|task| border(task)..border(task + 1))
            .collect()
    }
}

/// Cuts `values` into the parts that belong to each task, `per_image` values an image.
pub fn split<'a, T>(
    values: &'a mut [T],
    tasks: &[Range<usize>],
    per_image: usize,
) -> Vec<&'a mut [T]> {
    let mut rest = values;
    let mut parts = Vec::with_capacity(tasks.len());
    for task in tasks {
        let (part, after) = rest.split_at_mut(task.len() * per_image);
        parts.push(part);
        rest = after;
    }
    parts
}
