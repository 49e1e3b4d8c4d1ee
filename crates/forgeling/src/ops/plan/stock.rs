//! The operations of burn that networks use between ours.

use super::{MemoryUse, SINGLE, Shaped, Simulation};
use crate::ops::storage::Order;

impl Simulation {
    /// Whether channels-last and in order are the same for this tensor.
    pub(super) fn lies_either_way(tensor: &Shaped) -> bool {
        match tensor.shape[..] {
            [_, channels, height, width] => channels == 1 || height * width == 1,
            _ => true,
        }
    }

    /// `a + b` of equal shapes, in place if nothing else holds one of them.
    pub(super) fn sum_of(&self, a: Shaped, b: Shaped) -> Shaped {
        if a.buffer.is_unique() {
            return Shaped { node: None, ..a };
        }
        if b.buffer.is_unique() {
            return Shaped { node: None, ..b };
        }
        let usage = if a.size == SINGLE && a.shape.len() == 1 {
            MemoryUse::Gradients
        } else {
            MemoryUse::Flow
        };
        self.like(&a, usage, "sum")
    }

    /// `a + b` of equal shapes.
    pub fn add(&self, a: Shaped, b: Shaped) -> Shaped {
        let nodes = [a.node.clone(), b.node.clone()];
        let (a, b) = (Shaped { node: None, ..a }, Shaped { node: None, ..b });
        let sum = if a.buffer.is_unique() {
            a
        } else if b.buffer.is_unique() {
            b
        } else {
            self.like(&a, MemoryUse::Activations, "sum")
        };
        let [left, right] = nodes;
        let parents = [left.clone(), right.clone()];
        self.track(&[&parents[0], &parents[1]], sum, move |sim, grad, grads| {
            grads.register(sim, &left, grad.clone());
            grads.register(sim, &right, grad);
        })
    }

    /// `a + b`, where `b` has the values of one row of `a` and is repeated.
    pub fn add_repeated(&self, a: Shaped, b: Shaped) -> Shaped {
        let nodes = [a.node.clone(), b.node.clone()];
        let a = Shaped { node: None, ..a };
        let b = b.detached();
        let sum = if a.buffer.is_unique() {
            a
        } else {
            self.like(&a, MemoryUse::Activations, "sum")
        };
        let [left, right] = nodes;
        let parents = [left.clone(), right.clone()];
        self.track(&[&parents[0], &parents[1]], sum, move |sim, grad, grads| {
            grads.register(sim, &left, grad.clone());
            if right.is_some() {
                let of_row = sim.like(&b, MemoryUse::Gradients, "sum");
                drop(grad);
                grads.register(sim, &right, of_row);
            }
        })
    }

    /// The same values in another shape; those of images that lie channels-last are copied.
    pub fn reshape(&self, tensor: Shaped, shape: &[usize]) -> Shaped {
        debug_assert_eq!(tensor.len(), shape.iter().product::<usize>());
        let node = tensor.node.clone();
        let copied = tensor.channels_last && !Self::lies_either_way(&tensor);
        let before = tensor.shape.clone();
        let reshaped = if copied {
            self.made(MemoryUse::Activations, "in order", shape, tensor.size)
        } else {
            Shaped {
                shape: shape.to_vec(),
                channels_last: false,
                node: None,
                ..tensor.clone()
            }
        };
        drop(tensor);
        let parent = node.clone();
        self.track(&[&parent], reshaped, move |sim, grad, grads| {
            let grad = sim.reshape(grad.detached(), &before);
            grads.register(sim, &node, grad);
        })
    }

    /// A copy of the values in another order, as a permutation that is then reshaped makes it.
    pub fn permuted_copy(&self, tensor: Shaped, shape: &[usize]) -> Shaped {
        let node = tensor.node.clone();
        let copy = self.made(MemoryUse::Activations, "permuted", shape, tensor.size);
        let before = tensor.detached();
        drop(tensor);
        let shape = before.shape.clone();
        let (size, parent) = (before.size, node.clone());
        drop(before);
        self.track(&[&parent], copy, move |sim, grad, grads| {
            let back = sim.made(MemoryUse::Flow, "permuted", &shape, size);
            drop(grad);
            grads.register(sim, &node, back);
        })
    }

    /// The mean over some of the dimensions: what is left has `shape`.
    pub fn mean(&self, tensor: Shaped, shape: &[usize]) -> Shaped {
        let node = tensor.node.clone();
        let (before, size) = (tensor.shape.clone(), tensor.size);
        let mean = self.made(MemoryUse::Activations, "mean", shape, size);
        drop(tensor);
        let parent = node.clone();
        self.track(&[&parent], mean, move |sim, grad, grads| {
            let spread = sim.made(MemoryUse::Flow, "mean", &before, size);
            drop(grad);
            grads.register(sim, &node, spread);
        })
    }

    /// The values in so many bytes each.
    pub(super) fn cast(&self, tensor: Shaped, size: usize) -> Shaped {
        if tensor.size == size {
            return tensor;
        }
        let node = tensor.node.clone();
        let (before, usage) = (tensor.size, MemoryUse::Activations);
        let mut cast = self.made(usage, "cast", &tensor.shape, size);
        cast.channels_last = tensor.channels_last;
        drop(tensor);
        let parent = node.clone();
        self.track(&[&parent], cast, move |sim, grad, grads| {
            let mut back = sim.made(MemoryUse::Flow, "cast", &grad.shape, before);
            back.channels_last = grad.channels_last;
            drop(grad);
            grads.register(sim, &node, back);
        })
    }

    /// A root from which a backward pass goes on with a gradient that is known: `ops/seed.rs`.
    pub(super) fn seed(&self, tensor: Shaped, gradient: Shaped) -> Shaped {
        let node = tensor.node.clone();
        let root = self.made(MemoryUse::Activations, "root", &[1], tensor.size);
        drop(tensor);
        let parent = node.clone();
        self.track(&[&parent], root, move |sim, _, grads| {
            grads.register(sim, &node, gradient);
        })
    }
}

impl Simulation {
    /// A function of each value, which is kept for the backward pass.
    pub fn activated(&self, x: Shaped) -> Shaped {
        let node = x.node.clone();
        let output = self.like(&x, MemoryUse::Activations, "activated");
        let kept = x.detached();
        drop(x);
        let parent = node.clone();
        self.track(&[&parent], output, move |sim, grad, grads| {
            let flow = sim.like(&kept, MemoryUse::Flow, "activated");
            drop((kept, grad));
            grads.register(sim, &node, flow);
        })
    }

    /// Values cut off below and above: where they were is kept for the backward pass, in 32 bits each time.
    pub fn clamped(&self, x: Shaped) -> Shaped {
        let node = x.node.clone();
        let bytes = x.len() * SINGLE;
        let places = [0, 1].map(|_| self.buffer(MemoryUse::Activations, "places", bytes));
        let output = self.like(&x, MemoryUse::Activations, "clamped");
        drop(x);
        let parent = node.clone();
        self.track(&[&parent], output, move |sim, grad, grads| {
            let flow = sim.like(&grad, MemoryUse::Flow, "clamped");
            drop((places, grad));
            grads.register(sim, &node, flow);
        })
    }

    /// Values rounded to the steps of so many scales, as [`fake_quantize`](crate::ops::fake_quantize) does.
    pub fn fake_quantized(&self, x: Shaped, channels: usize) -> Shaped {
        let scale = self.parameter("scale", &[channels]);
        let (node, x) = (x.node.clone(), x.detached());
        let output = self.like(&x, MemoryUse::Activations, "rounded");
        let kept = self.keep_node(&x, &node, Order::Plain);
        drop(x);
        let parents = [node.clone(), scale.node.clone()];
        self.track(&parents.each_ref(), output, move |sim, grad, grads| {
            let x = sim.unkeep(kept);
            let flow = sim.like(&x, MemoryUse::Flow, "rounded");
            drop((x, grad));
            grads.register(sim, &node, flow);
        })
    }

    /// Windows of maps, of which the places of the largest values may be kept.
    pub fn pooled(&self, x: Shaped, shape: &[usize], places: bool) -> Shaped {
        let node = x.node.clone();
        let output = self.made(MemoryUse::Activations, "pooled", shape, x.size);
        let bytes = shape.iter().product::<usize>() * SINGLE;
        let places = places.then(|| self.buffer(MemoryUse::Activations, "places", bytes));
        let kept = x.detached();
        drop(x);
        let parent = node.clone();
        self.track(&[&parent], output, move |sim, grad, grads| {
            let flow = sim.like(&kept, MemoryUse::Flow, "pooled");
            drop((kept, places, grad));
            grads.register(sim, &node, flow);
        })
    }

    /// Maps with so many rows of zeros below, and columns right.
    pub fn extended(&self, x: Shaped, beyond: [usize; 2]) -> Shaped {
        let mut x = x;
        for (axis, count) in [(2, beyond[0]), (3, beyond[1])] {
            if count > 0 {
                let mut shape = x.shape.clone();
                shape[axis] = count;
                let zeros = self.made(MemoryUse::Activations, "zeros", &shape, x.size);
                shape[axis] += x.shape[axis];
                x = self.joined(vec![x, zeros], &shape);
            }
        }
        x
    }

    /// A copy of some of the values, as attention makes of columns of what goes in.
    pub fn part_of(&self, all: Shaped, shape: &[usize]) -> Shaped {
        let node = all.node.clone();
        let (before, size) = (all.shape.clone(), all.size);
        let part = self.made(MemoryUse::Activations, "part", shape, size);
        drop(all);
        let parent = node.clone();
        self.track(&[&parent], part, move |sim, grad, grads| {
            let whole = sim.made(MemoryUse::Flow, "part", &before, size);
            drop(grad);
            grads.register(sim, &node, whole);
        })
    }

    /// A weighted sum of tensors of one shape, whose weights come of `logits`, one each.
    pub fn mixed(&self, all: Vec<Shaped>, logits: Shaped) -> Shaped {
        let parts: Vec<_> = all.iter().map(|x| (x.node.clone(), x.detached())).collect();
        let parents: Vec<_> = all.iter().map(|x| x.node.clone()).collect();
        drop(all);
        let first = &parts[0].1;
        let mixed = self.like(first, MemoryUse::Activations, "mixed");
        // Each product is added to the sum of those before.
        drop(self.like(first, MemoryUse::Activations, "product"));
        let parents = parents.iter().chain([&logits.node]);
        let parents: Vec<_> = parents.cloned().collect();
        let parents: Vec<_> = parents.iter().collect();
        self.track(&parents, mixed, move |sim, grad, grads| {
            for (node, x) in parts {
                drop(sim.like(&x, MemoryUse::Flow, "product"));
                let flow = sim.like(&x, MemoryUse::Flow, "mixed");
                grads.register(sim, &node, flow);
            }
            drop(grad);
            let of_logits = sim.like(&logits, MemoryUse::Gradients, "gradient of logits");
            grads.register(sim, &logits.node, of_logits);
        })
    }

    /// Tensors side by side.
    pub fn joined(&self, all: Vec<Shaped>, shape: &[usize]) -> Shaped {
        let size = all.first().map_or(SINGLE, |first| first.size);
        let output = self.made(MemoryUse::Activations, "joined", shape, size);
        let parts = all
            .iter()
            .map(|part| (part.node.clone(), part.shape.clone()));
        let parts: Vec<_> = parts.collect();
        drop(all);
        let parents: Vec<_> = parts.iter().map(|(node, _)| node.clone()).collect();
        let parents: Vec<_> = parents.iter().collect();
        self.track(&parents, output, move |sim, grad, grads| {
            for (node, shape) in parts {
                let part = sim.made(MemoryUse::Flow, "joined", &shape, size);
                grads.register(sim, &node, part);
            }
            drop(grad);
        })
    }
}
