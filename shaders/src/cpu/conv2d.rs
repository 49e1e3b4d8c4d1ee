//! General convolution step by step, as the shaders take it: plain loops, to be compared with.
//!
//! Activations are channels-last.

/// Sizes of a convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvShape {
    /// Images.
    pub images: usize,
    /// Groups of channels, each convolved by itself.
    pub groups: usize,
    /// Channels of the input, those of all groups.
    pub inputs: usize,
    /// Channels of the output, those of all groups.
    pub outputs: usize,
    /// Rows and columns of an image.
    pub size: [usize; 2],
    /// Rows and columns of the kernel.
    pub kernel: [usize; 2],
    /// Pixels from one place of the kernel to the next.
    pub stride: [usize; 2],
    /// Zeros before the first and after the last row and column.
    pub padding: [usize; 2],
}

impl ConvShape {
    /// Rows and columns of the output. The kernel must fit into the padded image.
    pub fn out(&self) -> [usize; 2] {
        [0, 1].map(|axis| {
            let padded = self.size[axis] + 2 * self.padding[axis];
            (padded - self.kernel[axis]) / self.stride[axis] + 1
        })
    }

    /// Places of the kernel.
    pub const fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// Channels of the input and of the output of one group.
    pub const fn group(&self) -> [usize; 2] {
        [self.inputs / self.groups, self.outputs / self.groups]
    }

    /// Calls `f` with every pixel of the output, every tap that lies inside the image there, and the pixel of the
    /// input below it.
    fn for_taps(&self, mut f: impl FnMut(usize, usize, usize)) {
        let [height, width] = self.out();
        for pixel in 0..self.images * height * width {
            let (image, row, column) = (
                pixel / (height * width),
                pixel / width % height,
                pixel % width,
            );
            for tap in 0..self.taps() {
                let y = row * self.stride[0] + tap / self.kernel[1];
                let x = column * self.stride[1] + tap % self.kernel[1];
                let inside = |at: usize, axis: usize| {
                    let at = at.checked_sub(self.padding[axis])?;
                    (at < self.size[axis]).then_some(at)
                };
                if let (Some(y), Some(x)) = (inside(y, 0), inside(x, 1)) {
                    f(pixel, tap, (image * self.size[0] + y) * self.size[1] + x);
                }
            }
        }
    }
}

/// `packed[g, tap, i, m] = weight[g outputs + m, i, tap]`, or with `transposed`
/// `packed[g, tap, o, m] = weight[g outputs + o, m, tap]`; 0 where `m` only pads to a multiple of 4.
///
/// # Panics
/// When a slice is shorter than `shape` says, as all functions here.
pub fn conv2d_pack(weight: &[f32], packed: &mut [f32], shape: ConvShape, transposed: bool) {
    let [inputs, outputs] = shape.group();
    let [depth, rows] = if transposed {
        [outputs, inputs]
    } else {
        [inputs, outputs]
    };
    let (taps, padded) = (shape.taps(), rows.next_multiple_of(4));
    for (index, packed) in packed[..shape.groups * taps * depth * padded]
        .iter_mut()
        .enumerate()
    {
        let row = index % padded;
        let channel = index / padded % depth;
        let tap = index / (padded * depth) % taps;
        let group = index / (padded * depth * taps);
        let [output, input] = if transposed {
            [channel, row]
        } else {
            [row, channel]
        };
        *packed = if row < rows {
            weight[((group * outputs + output) * inputs + input) * taps + tap]
        } else {
            0.0
        };
    }
}

/// `y[p, o] = bias[o] + sum_{tap, i} x[stride p + tap - padding, i] packed[g, tap, i, o]`; no bias if it is empty.
pub fn conv2d(x: &[f32], packed: &[f32], bias: &[f32], y: &mut [f32], shape: ConvShape) {
    let [inputs, outputs] = shape.group();
    let padded = outputs.next_multiple_of(4);
    let [height, width] = shape.out();
    for (index, y) in y[..shape.images * height * width * shape.outputs]
        .iter_mut()
        .enumerate()
    {
        *y = bias.get(index % shape.outputs).copied().unwrap_or(0.0);
    }
    shape.for_taps(|pixel, tap, below| {
        for channel in 0..shape.outputs {
            let (group, output) = (channel / outputs, channel % outputs);
            for input in 0..inputs {
                let weight =
                    packed[((group * shape.taps() + tap) * inputs + input) * padded + output];
                y[pixel * shape.outputs + channel] +=
                    x[below * shape.inputs + group * inputs + input] * weight;
            }
        }
    });
}

/// `dx[stride p + tap - padding, i] = sum_{p, tap, o} dy[p, o] packed[g, tap, o, i]`, with weights packed `transposed`.
pub fn conv2d_grad_input(dy: &[f32], packed: &[f32], dx: &mut [f32], shape: ConvShape) {
    let [inputs, outputs] = shape.group();
    let padded = inputs.next_multiple_of(4);
    dx[..shape.images * shape.size[0] * shape.size[1] * shape.inputs].fill(0.0);
    shape.for_taps(|pixel, tap, below| {
        for channel in 0..shape.outputs {
            let (group, output) = (channel / outputs, channel % outputs);
            for input in 0..inputs {
                let weight =
                    packed[((group * shape.taps() + tap) * outputs + output) * padded + input];
                dx[below * shape.inputs + group * inputs + input] +=
                    dy[pixel * shape.outputs + channel] * weight;
            }
        }
    });
}

/// `dweight[o, i, tap] = sum_p x[stride p + tap - padding, i] dy[p, o]`
pub fn conv2d_grad_weight(x: &[f32], dy: &[f32], dweight: &mut [f32], shape: ConvShape) {
    let [inputs, outputs] = shape.group();
    dweight[..shape.outputs * inputs * shape.taps()].fill(0.0);
    shape.for_taps(|pixel, tap, below| {
        for channel in 0..shape.outputs {
            let group = channel / outputs;
            for input in 0..inputs {
                dweight[(channel * inputs + input) * shape.taps() + tap] += dy
                    [pixel * shape.outputs + channel]
                    * x[below * shape.inputs + group * inputs + input];
            }
        }
    });
}

/// `dbias[o] = sum_p dy[p, o]`
pub fn conv2d_grad_bias(dy: &[f32], dbias: &mut [f32], shape: ConvShape) {
    let [height, width] = shape.out();
    dbias[..shape.outputs].fill(0.0);
    for pixel in dy
        .chunks_exact(shape.outputs)
        .take(shape.images * height * width)
    {
        for (sum, value) in dbias.iter_mut().zip(pixel) {
            *sum += value;
        }
    }
}

/// `sums[i] = sum_part parts[part, i]`; `sizes` are the numbers of sums and of parts.
pub fn add_parts(parts: &[f32], sums: &mut [f32], sizes: [usize; 2]) {
    let [count, all] = sizes;
    sums[..count].fill(0.0);
    for part in parts.chunks_exact(count).take(all) {
        for (sum, value) in sums.iter_mut().zip(part) {
            *sum += value;
        }
    }
}
