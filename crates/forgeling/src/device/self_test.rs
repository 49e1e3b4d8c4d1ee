//! Gradients on a GPU against the CPU, before the GPU is trusted.
//!
//! Drivers exist that compute wrongly without an error (burn issue 5162: NaN gradients on Metal). A few
//! milliseconds of work on small, odd sizes find them before a training run is wasted.

use burn::tensor::activation::softmax;
use burn::tensor::module::{batch_norm_train, conv2d};
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Gradients, Tensor, TensorData};

use super::Readback;
use crate::data::Rng;
use crate::error::Result;

/// Allowed difference, relative to the largest reference value: f32 sums of fewer than 100 terms in
/// another order stay far below it.
const TOLERANCE: f32 = 1e-3;

/// An input's gradient, flattened.
type Gradient<'a> = dyn Fn(&Gradients) -> Option<Tensor<1>> + 'a;

type Check = (&'static str, fn(&Device) -> Vec<Tensor<1>>);

const CHECKS: [Check; 4] = [
    ("conv2d", conv_gradients),
    ("matmul", matmul_gradients),
    ("batch_norm", batch_norm_gradients),
    ("softmax", softmax_gradients),
];

/// What `device` computes differently from the CPU, or `None` when they agree.
pub(super) async fn disagreement(device: &Device) -> Option<String> {
    let cpu = Device::flex();
    for (name, gradients) in CHECKS {
        let here = match read(gradients(&device.clone().autodiff())).await {
            Ok(values) => values,
            Err(error) => return Some(format!("{name}: {error}")),
        };
        let there = match read(gradients(&cpu.clone().autodiff())).await {
            Ok(values) => values,
            Err(error) => return Some(format!("{name} on the CPU: {error}")),
        };
        if let Some(problem) = compare(&here, &there) {
            return Some(format!("gradients of {name} {problem}"));
        }
    }
    None
}

async fn read(tensors: Vec<Tensor<1>>) -> Result<Vec<f32>> {
    let trip = tensors
        .into_iter()
        .fold(Readback::new(), |trip, t| trip.with(t));
    Ok(trip.run_all().await?.concat())
}

fn compare(values: &[f32], reference: &[f32]) -> Option<String> {
    if values.len() != reference.len() {
        return Some(format!(
            "have {} values instead of {}",
            values.len(),
            reference.len()
        ));
    }
    let scale = reference
        .iter()
        .fold(0.0f32, |max, value| max.max(value.abs()));
    // A NaN is worse than anything, wherever it stands.
    let worst = values
        .iter()
        .zip(reference)
        .map(|(value, reference)| (value - reference).abs())
        .fold(0.0f32, |max, error| {
            if max.is_nan() || error <= max {
                max
            } else {
                error
            }
        });
    if worst <= TOLERANCE * scale {
        None
    } else {
        Some(format!("differ from the CPU by {:.1e}", worst / scale))
    }
}

/// The same values on every device.
fn values<const D: usize>(seed: u64, shape: [usize; D], device: &Device) -> Tensor<D> {
    let mut rng = Rng::new(seed);
    let data: Vec<f32> = (0..shape.iter().product())
        .map(|_| rng.range(-1.0, 1.0))
        .collect();
    Tensor::from_data(TensorData::new(data, shape), device).require_grad()
}

/// Gradients of `sum(output²)` with respect to `inputs`.
fn gradients_of<const D: usize, const N: usize>(
    output: Tensor<D>,
    inputs: [&Gradient; N],
) -> Vec<Tensor<1>> {
    let gradients = output.powi_scalar(2).sum().backward();
    inputs
        .iter()
        .filter_map(|input| input(&gradients))
        .collect()
}

fn conv_gradients(device: &Device) -> Vec<Tensor<1>> {
    let x = values(1, [2, 3, 7, 5], device);
    let weight = values(2, [4, 3, 3, 3], device);
    let bias = values(3, [4], device);
    let options = ConvOptions::new([1, 1], [1, 1], [1, 1], 1);
    let y = conv2d(x.clone(), weight.clone(), Some(bias.clone()), options);
    gradients_of(
        y,
        [
            &|g| x.grad(g).map(|t| t.flatten(0, 3)),
            &|g| weight.grad(g).map(|t| t.flatten(0, 3)),
            &|g| bias.grad(g),
        ],
    )
}

fn matmul_gradients(device: &Device) -> Vec<Tensor<1>> {
    let a = values(4, [5, 11], device);
    let b = values(5, [11, 3], device);
    let y = a.clone().matmul(b.clone());
    gradients_of(
        y,
        [&|g| a.grad(g).map(|t| t.flatten(0, 1)), &|g| {
            b.grad(g).map(|t| t.flatten(0, 1))
        }],
    )
}

fn batch_norm_gradients(device: &Device) -> Vec<Tensor<1>> {
    let x = values(6, [3, 2, 5, 3], device);
    let gamma = values(7, [2], device);
    let beta = values(8, [2], device);
    let y = batch_norm_train(x.clone(), gamma.clone(), beta.clone(), 1e-5).output;
    // A cube, since the sum of squares of a normalised tensor hardly depends on it.
    gradients_of(
        y.clone() * y.clone() + y,
        [
            &|g| x.grad(g).map(|t| t.flatten(0, 3)),
            &|g| gamma.grad(g),
            &|g| beta.grad(g),
        ],
    )
}

fn softmax_gradients(device: &Device) -> Vec<Tensor<1>> {
    let x = values(9, [7, 5], device);
    gradients_of(
        softmax(x.clone() * 3.0, 1),
        [&|g| x.grad(g).map(|t| t.flatten(0, 1))],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_agrees_with_itself_and_gives_gradients() {
        let device = Device::flex().autodiff();
        for (name, gradients) in CHECKS {
            let values = pollster::block_on(read(gradients(&device))).unwrap();
            assert!(
                values.iter().any(|v| v.abs() > 1e-3),
                "{name} has no gradient to compare"
            );
            assert_eq!(compare(&values, &values), None);
        }
        assert_eq!(pollster::block_on(disagreement(&Device::flex())), None);
    }

    #[test]
    fn a_wrong_or_missing_value_is_found() {
        let reference = [1.0, -2.0, 0.5];
        assert_eq!(compare(&[1.0, -2.0005, 0.5], &reference), None);
        assert!(compare(&[1.0, -2.01, 0.5], &reference).is_some());
        for place in 0..3 {
            let mut values = reference;
            values[place] = f32::NAN;
            assert!(compare(&values, &reference).is_some(), "NaN at {place}");
        }
        assert!(compare(&[1.0, -2.0], &reference).is_some());
    }
}
