//! What there is to convolve.

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

    /// Whether each channel has a kernel of its own and gives one channel.
    pub const fn is_depthwise(&self) -> bool {
        self.groups == self.inputs && self.inputs == self.outputs
    }
}
