//! The convolution block.

use burn::tensor::{DType, Shape};

use super::images::{images, row};
use super::tape::Gradients;
use super::{MemoryUse, SINGLE, Shaped, Simulation, misfit};
use crate::error::Result;
use crate::ops::conv_block::BlockPlan;
use crate::ops::launch::PART;
use crate::ops::storage::Order;

impl Simulation {
    /// [`conv_block`](crate::ops::conv_block) with `outputs` channels, and its parameters `weight`, `gamma` and `beta`,
    /// with the values that are there but not trained by it: `bias`, `running_mean` and `running_var`.
    ///
    /// # Errors
    /// When the input is no image, or smaller than 2×2.
    pub fn conv_block(&self, x: Shaped, outputs: usize) -> Result<Shaped> {
        let [batch, inputs, height, width] = images("conv_block", &x)?;
        if height < 2 || width < 2 || batch * inputs * outputs == 0 {
            return Err(misfit("conv_block", "images of at least 2×2", &x));
        }
        let weight = self.parameter("weight", &[outputs, inputs, 3, 3]);
        let [gamma, beta] = ["gamma", "beta"].map(|name| self.parameter(name, &[outputs]));
        for name in ["bias", "running_mean", "running_var"] {
            self.constant(name, &[outputs]);
        }
        let block = Block {
            images: [batch, inputs, height, width],
            outputs,
            padded: outputs.next_multiple_of(4),
            size: x.size,
            plan: BlockPlan::of(
                if x.size == SINGLE {
                    DType::F32
                } else {
                    DType::F16
                },
                &Shape::from(x.shape.clone()),
                &Shape::new([outputs, inputs, 3, 3]),
                self.heuristics,
            ),
        };
        let packs = self.packs(batch * outputs * height * width) && x.size == SINGLE;
        if packs {
            self.packed_block(block, x, [weight, gamma, beta])
        } else {
            self.full_block(block, x, [weight, gamma, beta])
        }
    }

    fn full_block(&self, block: Block, x: Shaped, parameters: [Shaped; 3]) -> Result<Shaped> {
        let Block {
            images: [batch, inputs, height, width],
            outputs,
            padded,
            size,
            ..
        } = block;
        let [weight, gamma, beta] = parameters;
        let (x_node, x) = (x.node.clone(), x.detached());
        let packed = self.packed_weight(&block);
        let copy = self.channels_last(&x);
        let of_images = |what, shape| self.image(MemoryUse::Activations, what, shape, size);
        let convolved = of_images("convolved", [batch, padded, height, width]);
        let partials = self.scratch("partials", block.plan.slots * 3 * padded * SINGLE);
        drop(copy);
        let output = of_images("output", block.output());
        let statistics = 3 * row(outputs) * SINGLE;
        let statistics = self.buffer(MemoryUse::Activations, "statistics", statistics);
        drop(partials);
        self.statistics.borrow_mut().push(statistics.clone());

        let parents = [&x_node, &weight.node, &gamma.node, &beta.node].map(Clone::clone);
        let kept_x = self.keep_node(&x, &x_node, Order::Images);
        drop(x);
        let path = self.path.borrow().join(".");
        let step = move |sim: &Self, grad: Shaped, grads: &mut Gradients| {
            sim.part(&path, || {
                let x = sim.unkeep(kept_x);
                let copy = sim.channels_last(&grad);
                let sums = sim.made(MemoryUse::Gradients, "sums", &[2 * row(outputs)], SINGLE);
                let flow = sim.like(&convolved, MemoryUse::Flow, "flow");
                drop((copy, convolved, grad));
                let dx = x_node.is_some().then(|| {
                    let shape = [batch, inputs, height, width];
                    sim.image(MemoryUse::Flow, "gradient of input", shape, size)
                });
                let copy = sim.channels_last(&x);
                let dweight = sim.like(&weight, MemoryUse::Gradients, "gradient of weight");
                drop((copy, x, flow, packed, statistics));
                if let Some(dx) = dx {
                    grads.register(sim, &x_node, dx);
                }
                grads.register(sim, &weight.node, dweight.detached());
                grads.register(sim, &gamma.node, sums.clone());
                grads.register(sim, &beta.node, sums);
            });
        };
        Ok(self.track(&parents.each_ref(), output, step))
    }

    /// With the convolution kept in 16 bits: `conv_block/gpu_packed.rs`.
    fn packed_block(&self, block: Block, x: Shaped, parameters: [Shaped; 3]) -> Result<Shaped> {
        let Block {
            images: [batch, inputs, height, width],
            outputs,
            padded,
            size,
            ..
        } = block;
        let [weight, gamma, beta] = parameters;
        let (x_node, x) = (x.node.clone(), x.detached());
        let pixels = height * width;
        let [_, _, half_height, half_width] = block.output();
        let windows = batch * half_height * half_width;
        let packed = self.packed_weight(&block);
        let copy = self.channels_last(&x);
        let bits = batch * pixels * padded * 2;
        let convolved = self.buffer(MemoryUse::Activations, "convolved, packed", bits);
        let peaks = self.scratch("peaks", windows * outputs * SINGLE);
        let group = block.group();
        let of_group = group * pixels * padded * SINGLE;
        let one = self.scratch("convolved, one group", of_group);
        let partials = block.plan.slots * 3 * padded * SINGLE;
        let partials = self.scratch("partials", partials);
        drop((one, copy));
        let output = self.image(MemoryUse::Activations, "output", block.output(), size);
        let statistics = 3 * row(outputs) * SINGLE;
        let statistics = self.buffer(MemoryUse::Activations, "statistics", statistics);
        drop((peaks, partials));
        self.statistics.borrow_mut().push(statistics.clone());

        let parents = [&x_node, &weight.node, &gamma.node, &beta.node].map(Clone::clone);
        let kept_output = self.keep(&output);
        let kept_x = self.keep_node(&x, &x_node, Order::Images);
        drop(x);
        let shared = kept_output.clone();
        let path = self.path.borrow().join(".");
        let step = move |sim: &Self, grad: Shaped, grads: &mut Gradients| {
            sim.part(&path, || {
                let unpacked = |what, numbers: usize| sim.scratch(what, group * numbers * SINGLE);
                let copy = sim.channels_last(&grad);
                let cut = sim.like(&grad, MemoryUse::Flow, "cut");
                let numbers = half_height * half_width * outputs;
                let one = kept_output
                    .packed
                    .then(|| unpacked("output, one group", numbers));
                drop((copy, grad, one, kept_output));
                let groups = batch.div_ceil(group);
                let length = 2 * row(outputs) * SINGLE;
                let parts = sim.scratch("parts of sums", groups * length);
                let one = unpacked("convolved, one group", pixels * padded);
                let sums = sim.made(MemoryUse::Gradients, "sums", &[2 * row(outputs)], SINGLE);
                drop((one, parts));
                let dx = x_node.is_some().then(|| {
                    let shape = [batch, inputs, height, width];
                    sim.image(MemoryUse::Flow, "gradient of input", shape, size)
                });
                let weights = weight.len().next_multiple_of(PART) * SINGLE;
                let parts = sim.scratch("parts of weight", groups * weights);
                let copy = (!kept_x.packed).then(|| sim.channels_last(&kept_x.tensor));
                let one = unpacked("convolved, one group", pixels * padded);
                let flow = unpacked("flow, one group", pixels * padded);
                drop(one);
                let one = kept_x
                    .packed
                    .then(|| unpacked("x, one group", pixels * inputs));
                drop((one, flow));
                let dweight = sim.like(&weight, MemoryUse::Gradients, "gradient of weight");
                drop((parts, copy, cut, kept_x, convolved, packed, statistics));
                if let Some(dx) = dx {
                    grads.register(sim, &x_node, dx);
                }
                grads.register(sim, &weight.node, dweight.detached());
                grads.register(sim, &gamma.node, sums.clone());
                grads.register(sim, &beta.node, sums);
            });
        };
        let output = self.track(&parents.each_ref(), output, step);
        self.share(&shared, &output.node, Order::Images);
        Ok(output)
    }

    fn packed_weight(&self, block: &Block) -> Shaped {
        let shape = [9 * block.images[1] * block.padded];
        self.made(MemoryUse::Activations, "packed weight", &shape, SINGLE)
    }
}

/// The sizes of a block.
struct Block {
    images: [usize; 4],
    outputs: usize,
    /// Channels as the convolution has them.
    padded: usize,
    /// Bytes of an activation.
    size: usize,
    plan: BlockPlan,
}

impl Block {
    fn output(&self) -> [usize; 4] {
        let [batch, _, height, width] = self.images;
        [batch, self.outputs, height / 2, width / 2]
    }

    /// Images that are computed at once where the convolution is packed.
    fn group(&self) -> usize {
        self.plan.group_images
    }
}
