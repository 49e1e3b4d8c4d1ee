//! Values in f64, and difference quotients.

use burn::tensor::{DType, Device as Tensors, Tensor, TensorData};
use forgeling_tests::wave;

/// In f64, where difference quotients are exact to many digits.
pub fn double<const D: usize>(values: &[f64], shape: [usize; D], device: &Tensors) -> Tensor<D> {
    let data = TensorData::new(values.to_vec(), shape);
    Tensor::from_data(data, (device, DType::F64))
}

pub fn points(count: usize, phase: f64) -> Vec<f64> {
    (0..count).map(|index| wave(index, phase)).collect()
}

pub fn doubles<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.into_data().try_into_vec().unwrap()
}

/// Whether all values are the same but for `1e-6` of the largest.
pub fn assert_near(name: &str, got: &[f64], expected: &[f64]) {
    assert_eq!(got.len(), expected.len(), "{name}: lengths differ");
    let scale = expected.iter().fold(1e-3, |max: f64, v| max.max(v.abs()));
    for (index, (got, expected)) in got.iter().zip(expected).enumerate() {
        let error = (got - expected).abs() / scale;
        assert!(
            error <= 1e-6,
            "{name}[{index}]: {got} instead of {expected}"
        );
    }
}

/// `(f(x + h) - f(x - h)) / 2h` for each of the values.
pub fn quotients(values: &[f64], f: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    let step = 1e-4;
    (0..values.len())
        .map(|index| {
            let at = |offset: f64| {
                let mut moved = values.to_vec();
                moved[index] += offset;
                f(&moved)
            };
            (at(step) - at(-step)) / (2.0 * step)
        })
        .collect()
}
