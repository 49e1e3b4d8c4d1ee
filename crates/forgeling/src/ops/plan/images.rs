//! The operations on images.

use super::tally::Buffer;
use super::{MemoryUse, SINGLE, Shaped, Simulation, misfit};
use crate::error::Result;
use crate::ops::batch_norm::slots;
use crate::ops::conv2d::{ConvShape, weight_parts};
use crate::ops::launch::PART;
use crate::ops::storage::Order;

/// Of a general convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvSizes {
    /// Output channels.
    pub outputs: usize,
    /// Rows and columns of the kernel.
    pub kernel: [usize; 2],
    /// Step along each axis.
    pub stride: [usize; 2],
    /// Zeros on each side.
    pub padding: [usize; 2],
    /// Groups of channels.
    pub groups: usize,
}

/// Of a batch norm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NormSizes {
    /// Whether ReLU follows.
    pub cuts: bool,
}

pub(super) fn row(channels: usize) -> usize {
    channels.next_multiple_of(PART)
}

/// The sizes of images.
pub(super) fn images(operation: &'static str, x: &Shaped) -> Result<[usize; 4]> {
    x.shape
        .clone()
        .try_into()
        .map_err(|_| misfit(operation, "[batch, channels, height, width]", x))
}

impl Simulation {
    /// A copy in channels-last order, unless the images lie so.
    pub(super) fn channels_last(&self, x: &Shaped) -> Option<Buffer> {
        let copied = !x.channels_last && !Self::lies_either_way(x);
        copied.then(|| self.scratch("channels last", x.len() * x.size))
    }

    pub(super) fn image(
        &self,
        usage: MemoryUse,
        what: &str,
        shape: [usize; 4],
        size: usize,
    ) -> Shaped {
        Shaped {
            channels_last: true,
            ..self.made(usage, what, &shape, size)
        }
    }

    /// [`conv2d`](crate::ops::conv2d) without a bias, and its parameter `weight`.
    ///
    /// # Errors
    /// When the input is no image or smaller than the kernel.
    pub fn conv2d(&self, x: Shaped, sizes: ConvSizes) -> Result<Shaped> {
        let [batch, inputs, height, width] = images("conv2d", &x)?;
        let ConvSizes {
            outputs,
            kernel,
            stride,
            padding,
            groups,
        } = sizes;
        let out = |axis: usize, side: usize| {
            let room = (side + 2 * padding[axis]).checked_sub(kernel[axis])?;
            Some(room / stride[axis] + 1)
        };
        let (Some(out_height), Some(out_width)) = (out(0, height), out(1, width)) else {
            return Err(misfit("conv2d", "an image that the kernel fits into", &x));
        };
        let (depth, taps) = (inputs / groups, kernel[0] * kernel[1]);
        let weight = self.parameter("weight", &[outputs, depth, kernel[0], kernel[1]]);
        let (x_node, x) = (x.node.clone(), x.detached());
        let size = x.size;
        let conv = ConvShape {
            images: batch,
            groups,
            inputs,
            outputs,
            size: [height, width],
            kernel,
            stride,
            padding,
        };
        let pack = move |sim: &Self, depth: usize, rows: usize| {
            let quads = groups * taps * depth * rows.div_ceil(4);
            let packed = !conv.is_depthwise();
            packed.then(|| sim.scratch("packed weight", 4 * quads * size))
        };
        let packed = pack(self, depth, outputs / groups);
        let copy = self.channels_last(&x);
        let shape = [batch, outputs, out_height, out_width];
        let output = self.image(MemoryUse::Activations, "convolved", shape, size);
        drop((copy, packed));

        let kept = self.keep_node(&x, &x_node, Order::Images);
        drop(x);
        let parents = [x_node.clone(), weight.node.clone()];
        let path = self.path.borrow().join(".");
        let parts = weight_parts(&conv, self.heuristics);
        let step = move |sim: &Self, grad: Shaped, grads: &mut super::tape::Gradients| {
            sim.part(&path, || {
                let x = sim.unkeep(kept);
                let copies = [sim.channels_last(&x), sim.channels_last(&grad)];
                let bytes = parts * weight.len() * SINGLE;
                let partial = (parts > 1).then(|| sim.scratch("parts of weight", bytes));
                let given = if partial.is_some() {
                    // They are added up in a second launch.
                    drop((x, copies));
                    None
                } else {
                    Some((x, copies))
                };
                let dweight = sim.like(&weight, MemoryUse::Gradients, "gradient of weight");
                drop((given, partial));
                grads.register(sim, &weight.node, dweight.detached());
                if x_node.is_some() {
                    let packed = pack(sim, outputs / groups, depth);
                    let copy = sim.channels_last(&grad);
                    let shape = [batch, inputs, height, width];
                    let dx = sim.image(MemoryUse::Flow, "gradient of input", shape, size);
                    drop((packed, copy));
                    grads.register(sim, &x_node, dx);
                }
            });
        };
        Ok(self.track(&parents.each_ref(), output, step))
    }

    /// [`batch_norm`](crate::ops::batch_norm), and its parameters `gamma` and `beta`, with the values that are there but
    /// not trained: `running_mean` and `running_var`.
    ///
    /// # Errors
    /// When the input is no image.
    pub fn batch_norm(
        &self,
        x: Shaped,
        residual: Option<Shaped>,
        sizes: NormSizes,
    ) -> Result<Shaped> {
        let [batch, channels, height, width] = images("batch_norm", &x)?;
        let [gamma, beta] = ["gamma", "beta"].map(|name| self.parameter(name, &[channels]));
        for name in ["running_mean", "running_var"] {
            self.constant(name, &[channels]);
        }
        let (x_node, x) = (x.node.clone(), x.detached());
        let residual_node = residual.as_ref().and_then(|residual| residual.node.clone());
        let copy = self.channels_last(&x);
        let pixels = batch * height * width;
        let slots = slots(pixels, self.heuristics);
        let partials = self.scratch("partials", slots * 3 * channels * SINGLE);
        let statistics = self.buffer(
            MemoryUse::Activations,
            "statistics",
            3 * row(channels) * SINGLE,
        );
        drop(partials);
        let other = residual
            .as_ref()
            .map(|residual| self.channels_last(residual));
        let shape = [batch, channels, height, width];
        let output = self.image(MemoryUse::Activations, "normed", shape, x.size);
        drop((copy, other, residual));
        self.statistics.borrow_mut().push(statistics.clone());

        let parents = [
            x_node.clone(),
            gamma.node.clone(),
            beta.node.clone(),
            residual_node.clone(),
        ];
        let kept_x = self.keep_node(&x, &x_node, Order::Images);
        let kept_output = sizes.cuts.then(|| self.keep(&output));
        drop(x);
        let shared = kept_output.clone();
        let path = self.path.borrow().join(".");
        let step = move |sim: &Self, grad: Shaped, grads: &mut super::tape::Gradients| {
            sim.part(&path, || {
                let output = kept_output.map(|kept| sim.unkeep(kept));
                let x = sim.unkeep(kept_x);
                let copies = [sim.channels_last(&x), sim.channels_last(&grad)];
                let partials = sim.scratch("partials", slots * 2 * row(channels) * SINGLE);
                let flow = if sizes.cuts {
                    sim.image(MemoryUse::Flow, "flow", shape, x.size)
                } else {
                    grad.detached()
                };
                drop(output);
                let sums = sim.made(MemoryUse::Gradients, "sums", &[2 * row(channels)], SINGLE);
                drop(partials);
                let dx = sim.image(MemoryUse::Flow, "gradient of input", shape, x.size);
                drop((copies, x, statistics, grad));
                grads.register(sim, &x_node, dx);
                grads.register(sim, &gamma.node, sums.clone());
                grads.register(sim, &beta.node, sums);
                grads.register(sim, &residual_node, flow);
            });
        };
        let output = self.track(&parents.each_ref(), output, step);
        if let Some(kept) = shared {
            self.share(&kept, &output.node, Order::Images);
        }
        Ok(output)
    }
}
