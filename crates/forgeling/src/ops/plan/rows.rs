//! The operations on rows.

use super::{MemoryUse, SINGLE, Shaped, Simulation, misfit};
use crate::error::Result;
use crate::ops::cpu::gemm::ProductShape;
use crate::ops::launch::PART;
use crate::ops::matmul::splits;
use crate::ops::storage::Order;
use crate::ops::{Activation, EpisodeCounts};

fn matrix(operation: &'static str, x: &Shaped) -> Result<[usize; 2]> {
    x.shape
        .clone()
        .try_into()
        .map_err(|_| misfit(operation, "[rows, columns]", x))
}

impl Simulation {
    /// Parts into which the sums of a product are split.
    fn splits(&self, [rows, columns, inner]: [usize; 3], quads: bool, size: usize) -> usize {
        let shape = ProductShape {
            batch: 1,
            rows,
            inner,
            columns,
        };
        splits(shape, quads, size == SINGLE, self.heuristics)
    }

    /// A product, after whatever its sums are split into.
    fn product(&self, usage: MemoryUse, what: &str, sizes: [usize; 3], size: usize) -> Shaped {
        let [rows, columns, inner] = sizes;
        let quads = inner.is_multiple_of(4) && columns.is_multiple_of(4);
        let splits = self.splits(sizes, quads, size);
        let section = (rows * columns).next_multiple_of(PART);
        let parts = (splits > 1).then(|| self.scratch("parts", splits * section * SINGLE));
        let product = self.made(usage, what, &[rows, columns], size);
        drop(parts);
        product
    }

    /// [`linear`](crate::ops::linear) with `outputs` columns, and its parameters `weight` and `bias`.
    ///
    /// # Errors
    /// When the input has no rows and columns.
    pub fn linear(&self, x: Shaped, outputs: usize, activation: Activation) -> Result<Shaped> {
        let [rows, inputs] = matrix("linear", &x)?;
        let weight = self.parameter("weight", &[inputs, outputs]);
        let bias = self.parameter("bias", &[outputs]);
        let (x_node, x) = (x.node.clone(), x.detached());
        let size = x.size;
        let right = if size == SINGLE {
            weight.detached()
        } else {
            self.made(MemoryUse::Activations, "cast weight", &weight.shape, size)
        };
        let usage = MemoryUse::Activations;
        let output = self.product(usage, "output", [rows, outputs, inputs], size);
        let sum = match activation {
            Activation::None => None,
            Activation::Relu => Some(output.detached()),
            Activation::Gelu => self
                .recording
                .get()
                .then(|| self.like(&output, usage, "sum")),
        };
        let kept_sum = sum.map(|sum| self.keep(&sum));
        let kept_x = self.keep_node(&x, &x_node, Order::Plain);
        drop(x);
        let shared = kept_sum.clone().filter(|_| activation == Activation::Relu);
        let parents = [x_node.clone(), weight.node.clone(), bias.node.clone()];
        let path = self.path.borrow().join(".");
        let step = move |sim: &Self, grad: Shaped, grads: &mut super::tape::Gradients| {
            sim.part(&path, || {
                let mut grad = grad.detached();
                if let Some(kept) = kept_sum {
                    let sum = sim.unkeep(kept);
                    let before = sim.like(&grad, MemoryUse::Flow, "before activation");
                    drop(sum);
                    grad = before;
                }
                if x_node.is_some() {
                    let sizes = [rows, inputs, outputs];
                    let dx = sim.product(MemoryUse::Flow, "gradient of input", sizes, size);
                    grads.register(sim, &x_node, dx);
                }
                drop(right);
                let x = sim.unkeep(kept_x);
                let behind = (inputs * outputs).next_multiple_of(PART);
                let section = behind + outputs.next_multiple_of(PART);
                let quads = inputs.is_multiple_of(4) && outputs.is_multiple_of(4);
                let splits = sim.splits([inputs, outputs, rows], quads, SINGLE);
                let bytes = splits * section * SINGLE;
                let parts = (splits > 1).then(|| sim.scratch("parts", bytes));
                if parts.is_some() {
                    drop((x, grad));
                }
                let gradients = sim.made(MemoryUse::Gradients, "gradients", &[section], SINGLE);
                drop(parts);
                grads.register(sim, &weight.node, gradients.clone());
                grads.register(sim, &bias.node, gradients);
            });
        };
        let output = self.track(&parents.each_ref(), output, step);
        if let Some(kept) = shared {
            self.share(&kept, &output.node, Order::Plain);
        }
        Ok(output)
    }

    /// [`matmul`](crate::ops::matmul), of which only the forward pass is described.
    ///
    /// # Errors
    /// When the operands are no batches of matrices.
    pub(crate) fn matmul(&self, a: Shaped, b: Shaped) -> Result<Shaped> {
        let (&[batch, rows, inner], &[_, _, columns]) = (&a.shape[..], &b.shape[..]) else {
            return Err(misfit("matmul", "[batch, rows, columns]", &a));
        };
        let sizes = [batch * rows, columns, inner];
        let product = self.product(MemoryUse::Activations, "output", sizes, a.size);
        Ok(Shaped {
            shape: vec![batch, rows, columns],
            ..product
        })
    }

    /// [`layer_norm`](crate::ops::layer_norm), and its parameters `gamma` and `beta`.
    ///
    /// # Errors
    /// When the input has no rows and columns.
    pub fn layer_norm(&self, x: Shaped) -> Result<Shaped> {
        let [rows, width] = matrix("layer_norm", &x)?;
        let [gamma, beta] = ["gamma", "beta"].map(|name| self.parameter(name, &[width]));
        let (x_node, x) = (x.node.clone(), x.detached());
        let output = self.like(&x, MemoryUse::Activations, "normed");
        let statistics = self.buffer(MemoryUse::Activations, "statistics", rows * 2 * SINGLE);
        let kept = self.keep_node(&x, &x_node, Order::Plain);
        drop(x);
        let parents = [x_node.clone(), gamma.node.clone(), beta.node.clone()];
        let path = self.path.borrow().join(".");
        let step = move |sim: &Self, grad: Shaped, grads: &mut super::tape::Gradients| {
            sim.part(&path, || {
                let x = sim.unkeep(kept);
                let dx = sim.like(&x, MemoryUse::Flow, "gradient of input");
                let sums = [2 * width.next_multiple_of(PART)];
                let sums = sim.made(MemoryUse::Gradients, "sums", &sums, SINGLE);
                drop((x, statistics, grad));
                grads.register(sim, &x_node, dx);
                grads.register(sim, &gamma.node, sums.clone());
                grads.register(sim, &beta.node, sums);
            });
        };
        Ok(self.track(&parents.each_ref(), output, step))
    }

    /// [`attention`](crate::ops::attention) of query, key and value `[batch, heads, tokens, width]`.
    ///
    /// # Errors
    /// When they have another rank.
    pub fn attention(&self, query: Shaped, key: Shaped, value: Shaped) -> Result<Shaped> {
        let [batch, heads, queries, width] = query.shape[..] else {
            return Err(misfit("attention", "[batch, heads, tokens, width]", &query));
        };
        let keys = key.shape[2];
        let size = query.size;
        let padded = width.next_multiple_of(4);
        let of = move |tokens: usize| [batch, heads, tokens, padded];
        // Widths that are no multiple of four are filled up in a copy.
        let fill = move |sim: &Self, count: usize, tokens: usize| {
            let bytes = of(tokens).iter().product::<usize>() * size;
            let copy = || sim.scratch("filled up", bytes);
            (padded != width).then(|| (0..count).map(|_| copy()).collect::<Vec<_>>())
        };
        let nodes = [&query, &key, &value].map(|tensor| tensor.node.clone());
        let copies = [fill(self, 1, queries), fill(self, 2, keys)];
        let made = self.made(MemoryUse::Activations, "seen", &of(queries), size);
        drop(copies);
        let lse = batch * heads * queries * SINGLE;
        let lse = self.buffer(MemoryUse::Activations, "log-sum-exp", lse);
        let output = if padded == width {
            made
        } else {
            let shape = [batch, heads, queries, width];
            self.made(MemoryUse::Activations, "seen", &shape, size)
        };
        let kept = self.keep(&output);
        let inputs =
            [&query, &key, &value].map(|tensor| self.keep_node(tensor, &tensor.node, Order::Heads));
        drop((query, key, value));
        let parents = nodes.clone();
        let path = self.path.borrow().join(".");
        let step = move |sim: &Self, grad: Shaped, grads: &mut super::tape::Gradients| {
            sim.part(&path, || {
                let inputs = inputs.map(|kept| sim.unkeep(kept));
                let output = sim.unkeep(kept);
                let copies = [fill(sim, 3, queries), fill(sim, 2, keys)];
                let dq = sim.made(MemoryUse::Flow, "gradient of query", &of(queries), size);
                let both = 2 * of(keys).iter().product::<usize>();
                let both = sim.made(MemoryUse::Flow, "gradients of key, value", &[both], size);
                drop((inputs, output, copies, grad, lse));
                let [query, key, value] = nodes;
                let as_shape = |tensor: &Shaped, tokens: usize| Shaped {
                    shape: vec![batch, heads, tokens, width],
                    ..tensor.clone()
                };
                grads.register(sim, &query, as_shape(&dq, queries));
                drop(dq);
                grads.register(sim, &key, as_shape(&both, keys));
                grads.register(sim, &value, as_shape(&both, keys));
            });
        };
        Ok(self.track(&parents.each_ref(), output, step))
    }

    /// [`episode_logits`](crate::ops::episode_logits).
    ///
    /// # Errors
    /// When the features have no rows and columns.
    pub fn episode_logits(&self, features: Shaped, counts: EpisodeCounts) -> Result<Shaped> {
        let [_, width] = matrix("episode_logits", &features)?;
        let EpisodeCounts {
            episodes,
            ways,
            queries,
            ..
        } = counts;
        let (node, features) = (features.node.clone(), features.detached());
        let usage = MemoryUse::Activations;
        let prototypes = self.made(usage, "prototypes", &[episodes, ways, width], SINGLE);
        let shape = [episodes, ways * queries, ways];
        let logits = self.made(usage, "logits", &shape, SINGLE);
        let kept = features.detached();
        drop(features);
        let parent = node.clone();
        Ok(self.track(&[&parent], logits, move |sim, grad, grads| {
            let features = kept;
            let back = sim.like(&features, MemoryUse::Flow, "gradient of features");
            drop((features, prototypes, grad));
            grads.register(sim, &node, back);
        }))
    }

    /// [`softmax_cross_entropy`](crate::ops::softmax_cross_entropy).
    ///
    /// # Errors
    /// When the logits have no rows and columns.
    pub fn softmax_cross_entropy(&self, logits: Shaped) -> Result<Shaped> {
        matrix("softmax_cross_entropy", &logits)?;
        let node = logits.node.clone();
        let logits = self.output(logits.detached());
        let usage = MemoryUse::Activations;
        let gradient = self.made(usage, "gradient of loss", &logits.shape, SINGLE);
        let loss = self.made(usage, "loss", &[1], SINGLE);
        drop(logits);
        let parent = node.clone();
        Ok(self.track(&[&parent], loss, move |sim, _, grads| {
            grads.register(sim, &node, gradient);
        }))
    }
}
