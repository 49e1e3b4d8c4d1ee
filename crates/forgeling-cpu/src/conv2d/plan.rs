//! Forward and input gradient as the same thing: each target pixel gathers source pixels below some taps.
//!
//! In the gradient of a convolution of stride `s`, pixels a multiple of `s` apart are reached by the same taps: they make
//! one phase, and each phase is a convolution of stride 1 by its own taps. So nothing is multiplied with the zeros
//! that a transposed convolution would insert.

use super::ConvShape;
use super::frame::{Frame, Phase, Tap};

/// How the target pixels of a group of channels come from source pixels.
#[derive(Debug, Clone)]
pub struct Plan {
    pub images: usize,
    pub groups: usize,
    /// Source channels of a group.
    pub depth: usize,
    /// Target channels of a group.
    pub rows: usize,
    /// Rows and columns of a source image.
    pub source: [usize; 2],
    /// Rows and columns of a target image.
    pub target: [usize; 2],
    /// Target pixels from one position to the next.
    pub spread: [usize; 2],
    pub phases: Vec<Phase>,
    pub frame: Frame,
    /// Taps of the whole kernel.
    pub taps: usize,
    /// From the weight of one target channel to the next, and of one source channel.
    pub weight_steps: [usize; 2],
}

impl Plan {
    /// `y` from `x`.
    pub fn forward(shape: &ConvShape) -> Self {
        let [depth, rows] = shape.group();
        let taps = (0..shape.taps()).map(|index| {
            let place = [index / shape.kernel[1], index % shape.kernel[1]];
            Tap {
                index,
                at: [0, 1].map(|axis| place[axis] as isize - shape.padding[axis] as isize),
            }
        });
        let phases = vec![Phase {
            first: [0, 0],
            count: shape.out(),
            taps: taps.collect(),
        }];
        Self {
            images: shape.images,
            groups: shape.groups,
            depth,
            rows,
            source: shape.size,
            target: shape.out(),
            spread: [1, 1],
            frame: Frame::around(&phases, shape.stride),
            phases,
            taps: shape.taps(),
            weight_steps: [depth * shape.taps(), shape.taps()],
        }
    }

    /// `dx` from `dy`.
    pub fn input_gradient(shape: &ConvShape) -> Self {
        let [rows, depth] = shape.group();
        let mut phases = Vec::new();
        for y in 0..shape.stride[0].min(shape.size[0]) {
            for x in 0..shape.stride[1].min(shape.size[1]) {
                phases.push(gradient_phase(shape, [y, x]));
            }
        }
        Self {
            images: shape.images,
            groups: shape.groups,
            depth,
            rows,
            source: shape.out(),
            target: shape.size,
            spread: shape.stride,
            frame: Frame::around(&phases, [1, 1]),
            phases,
            taps: shape.taps(),
            weight_steps: [shape.taps(), rows * shape.taps()],
        }
    }

    /// Values of a target image of one group.
    pub const fn target_len(&self) -> usize {
        self.rows * self.target[0] * self.target[1]
    }
}

fn gradient_phase(shape: &ConvShape, first: [usize; 2]) -> Phase {
    let taps = (0..shape.taps()).filter_map(|index| {
        let place = [index / shape.kernel[1], index % shape.kernel[1]];
        let distance =
            [0, 1].map(|axis| (first[axis] + shape.padding[axis]) as isize - place[axis] as isize);
        let whole = |axis: usize| distance[axis].rem_euclid(shape.stride[axis] as isize) == 0;
        (whole(0) && whole(1)).then(|| Tap {
            index,
            at: [0, 1].map(|axis| distance[axis].div_euclid(shape.stride[axis] as isize)),
        })
    });
    Phase {
        first,
        count: [0, 1].map(|axis| (shape.size[axis] - first[axis]).div_ceil(shape.stride[axis])),
        taps: taps.collect(),
    }
}
