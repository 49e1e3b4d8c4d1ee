//! Parameters of many shapes, with gradients that are known, for the optimizer's tests.

use burn::module::{Module, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device as Tensors, Tensor, TensorData};
use forgeling::Readback;
use forgeling::train::weights::collect;
use forgeling::train::{Adam, Sgd};

use super::ops_parity::tensor;
use super::values::assert_close;

/// Parameters of every rank the tests need, some of which are never given a gradient.
#[derive(Module, Debug)]
pub struct Bag {
    /// Trained.
    pub vectors: Vec<Param<Tensor<1>>>,
    /// Trained.
    pub matrix: Param<Tensor<2>>,
    /// Trained.
    pub kernel: Param<Tensor<4>>,
    /// Never trained.
    pub still: Param<Tensor<1>>,
}

/// Odd and distinct; more than one launch and more than two gather, with the matrix and the kernel.
pub const SIZES: [usize; 13] = [1, 63, 64, 65, 1000, 2, 127, 5, 129, 255, 3, 4099, 7];
/// Sizes of the matrix.
pub const MATRIX: [usize; 2] = [5, 13];
/// Sizes of the kernel.
pub const KERNEL: [usize; 4] = [3, 2, 3, 3];
/// How far two optimizers may be apart.
pub const TOLERANCE: f32 = 1e-5;

impl Bag {
    /// Vectors of these sizes and the rest.
    pub fn new(sizes: &[usize], device: &Tensors) -> Self {
        Self {
            vectors: (0..sizes.len())
                .map(|i| Param::from_tensor(tensor([sizes[i]], 1.0 + i as f64, device)))
                .collect(),
            matrix: Param::from_tensor(tensor(MATRIX, 30.0, device)),
            kernel: Param::from_tensor(tensor(KERNEL, 31.0, device)),
            still: Param::from_tensor(tensor([9], 32.0, device)),
        }
    }

    /// Gradients that are a function of `phase`, times `scale`.
    pub fn gradients(&self, phase: f64, scale: f64) -> GradientsParams {
        fn put<const D: usize>(
            out: &mut GradientsParams,
            param: &Param<Tensor<D>>,
            phase: f64,
            scale: f64,
        ) {
            let device = param.val().device().inner();
            out.register(param.id, tensor(param.val().dims(), phase, &device) * scale);
        }
        let mut out = GradientsParams::new();
        for (index, vector) in self.vectors.iter().enumerate() {
            put(&mut out, vector, phase + index as f64, scale);
        }
        put(&mut out, &self.matrix, phase + 0.3, scale);
        put(&mut out, &self.kernel, phase + 0.6, scale);
        out
    }

    /// Makes the last number of one of `gradients` `value`.
    pub fn spoil(&self, gradients: &mut GradientsParams, value: f32) {
        let dims = self.kernel.val().dims();
        let count = dims.iter().product();
        let mut values = vec![0.5; count];
        values[count - 1] = value;
        let data = TensorData::new(values, dims);
        let device = self.kernel.val().device().inner();
        gradients.register(self.kernel.id, Tensor::<4>::from_data(data, &device));
    }
}

/// Every value of `module`.
///
/// # Panics
/// When the device fails.
pub async fn values<M: Module>(module: &M) -> Vec<Vec<f32>> {
    let named = collect(module).await.unwrap();
    named.into_iter().map(|tensor| tensor.values).collect()
}

/// Whether each tensor of `got` is that of `expected`.
///
/// # Panics
/// When one is not.
pub fn assert_same(what: &str, got: &[Vec<f32>], expected: &[Vec<f32>], tolerance: f32) {
    assert_eq!(got.len(), expected.len());
    for (index, (got, expected)) in got.iter().zip(expected).enumerate() {
        assert_close(&format!("{what}, tensor {index}"), got, expected, tolerance);
    }
}

/// What the optimizers have in common.
pub trait Optimizer {
    /// One step.
    fn step(&mut self, rate: f64, bag: Bag, gradients: GradientsParams) -> Bag;
    /// Whether the last step was skipped, and how many were.
    fn skipped(&self) -> Option<Tensor<1>>;
}

impl Optimizer for Adam {
    fn step(&mut self, rate: f64, bag: Bag, gradients: GradientsParams) -> Bag {
        Adam::step(self, rate, bag, gradients)
    }

    fn skipped(&self) -> Option<Tensor<1>> {
        Adam::skipped(self)
    }
}

impl Optimizer for Sgd {
    fn step(&mut self, rate: f64, bag: Bag, gradients: GradientsParams) -> Bag {
        Sgd::step(self, rate, bag, gradients)
    }

    fn skipped(&self) -> Option<Tensor<1>> {
        Sgd::skipped(self)
    }
}

/// Five steps of ours on a [`Bag`].
///
/// # Panics
/// When anything fails.
pub async fn five_steps(mut optimizer: impl Optimizer, device: &Tensors) -> Vec<Vec<f32>> {
    let mut bag = Bag::new(&SIZES, device);
    for step in 1..=5 {
        let gradients = bag.gradients(100.0 * f64::from(step), 1.0 / f64::from(step));
        bag = optimizer.step(0.01, bag, gradients);
    }
    values(&bag).await
}

/// A step on a gradient that holds `value`, which is not finite, between two good ones: what came of it, and what of
/// the good ones alone.
///
/// # Panics
/// When the step is not skipped, or does not say so.
pub async fn spoiled_step<O: Optimizer>(
    new: impl Fn() -> O,
    value: f32,
    device: &Tensors,
) -> [Vec<Vec<f32>>; 2] {
    let (mut bag, mut optimizer) = (Bag::new(&SIZES, device), new());
    let (mut expected, mut good) = (bag.clone(), new());
    for phase in [1.0, 2.0] {
        let gradients = bag.gradients(phase, 1.0);
        bag = optimizer.step(0.01, bag, gradients);
        let gradients = expected.gradients(phase, 1.0);
        expected = good.step(0.01, expected, gradients);
        let mut gradients = bag.gradients(phase, 1.0);
        bag.spoil(&mut gradients, value);
        bag = optimizer.step(0.01, bag, gradients);
        let trip = Readback::new().with(optimizer.skipped().unwrap());
        let [flags] = trip.run().await.unwrap();
        assert_eq!(flags, [1.0, phase as f32], "{value}");
    }
    [values(&bag).await, values(&expected).await]
}
