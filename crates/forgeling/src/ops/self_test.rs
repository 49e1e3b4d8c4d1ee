//! Gradients on a GPU against the CPU, before the GPU is trusted.
//!
//! Drivers exist that compute wrongly without an error (burn issue 5162: NaN gradients on Metal). A few
//! milliseconds of work on small, odd sizes find them before a training run is wasted. What it compiles, training
//! finds compiled.

use burn::tensor::{Device as Tensors, Gradients, Tensor, TensorData};

use super::{
    Activation, AdamRule, Blend, Cohort, EpisodeCounts, RunningNorm, Scaling, Statistics,
    conv_block, conv_block_running, episode_logits, linear, running_statistics,
    softmax_cross_entropy, step,
};
use crate::device::{Readback, is_software};
use crate::error::Result;
use crate::rng::Rng;

/// Allowed difference, relative to the largest reference value: f32 sums of fewer than 200 terms in
/// another order stay far below it.
const TOLERANCE: f32 = 1e-3;

/// An input's gradient, flattened.
type Gradient<'a> = dyn Fn(&Gradients) -> Option<Tensor<1>> + 'a;

type Check = (&'static str, fn(&Tensors) -> Result<Vec<Tensor<1>>>);

/// What is compared on every GPU.
const CHECKS: &[Check] = &[
    ("conv_block", block_gradients),
    ("episode_logits", episode_gradients),
    ("adam", adam_step),
];

/// What is compared on hardware besides: a software GPU is the same program everywhere, and compiles for seconds.
/// Stock operations are among it where a composite may use them.
const HARDWARE_CHECKS: &[Check] = &[
    ("linear", layer_gradients),
    #[cfg(feature = "composite")]
    ("conv2d", stock::conv_gradients),
    #[cfg(feature = "composite")]
    ("matmul", stock::matmul_gradients),
    #[cfg(feature = "composite")]
    ("batch_norm", stock::batch_norm_gradients),
    #[cfg(feature = "composite")]
    ("softmax", stock::softmax_gradients),
];

/// What `device` computes differently from the CPU, or `None` when they agree.
pub(crate) async fn disagreement(device: &Tensors) -> Option<String> {
    let cpu = Tensors::flex();
    let more = if is_software(device) {
        &[]
    } else {
        HARDWARE_CHECKS
    };
    for &(name, results) in CHECKS.iter().chain(more) {
        let here = match read(results(&device.clone().autodiff())).await {
            Ok(values) => values,
            Err(error) => return Some(format!("{name}: {error}")),
        };
        let there = match read(results(&cpu.clone().autodiff())).await {
            Ok(values) => values,
            Err(error) => return Some(format!("{name} on the CPU: {error}")),
        };
        if let Some(problem) = compare(&here, &there) {
            return Some(format!("results of {name} {problem}"));
        }
    }
    None
}

async fn read(tensors: Result<Vec<Tensor<1>>>) -> Result<Vec<f32>> {
    let trip = tensors?
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
fn uniform<const D: usize>(seed: u64, shape: [usize; D], device: &Tensors) -> Tensor<D> {
    let mut rng = Rng::new(seed);
    let data: Vec<f32> = (0..shape.iter().product())
        .map(|_| rng.range(-1.0, 1.0))
        .collect();
    Tensor::from_data(TensorData::new(data, shape), device)
}

fn values<const D: usize>(seed: u64, shape: [usize; D], device: &Tensors) -> Tensor<D> {
    uniform(seed, shape, device).require_grad()
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

/// Two blocks, one on the other, with statistics of the batch, and what those move.
fn block_gradients(device: &Tensors) -> Result<Vec<Tensor<1>>> {
    let x = values(1, [3, 3, 7, 9], device);
    let weight = values(2, [8, 3, 3, 3], device);
    let (gamma, beta) = (values(3, [8], device), values(4, [8], device));
    let above = values(5, [5, 8, 3, 3], device);
    let [bias, scale, shift] = [6, 7, 8].map(|seed| values(seed, [5], device));
    let norm = RunningNorm {
        bias: bias.clone(),
        gamma: scale.clone(),
        beta: shift.clone(),
        mean: shift.clone().detach(),
        variance: scale.clone().detach() * scale.clone().detach(),
    };
    let block = conv_block(x.clone(), weight.clone(), gamma.clone(), beta.clone())?;
    let y = conv_block_running(block.output, above.clone(), norm)?;
    let batch = Statistics {
        mean: block.mean,
        variance: block.variance,
    };
    let blend = Blend {
        momentum: 0.1,
        correction: 1.25,
    };
    let moved = running_statistics(batch.clone(), beta.clone().detach(), batch, blend);
    let mut all = gradients_of(
        y,
        [
            &|g| x.grad(g).map(|t| t.flatten(0, 3)),
            &|g| weight.grad(g).map(|t| t.flatten(0, 3)),
            &|g| gamma.grad(g),
            &|g| beta.grad(g),
            &|g| above.grad(g).map(|t| t.flatten(0, 3)),
            &|g| bias.grad(g),
            &|g| scale.grad(g),
            &|g| shift.grad(g),
        ],
    );
    all.extend([moved.mean, moved.variance]);
    Ok(all)
}

fn episode_gradients(device: &Tensors) -> Result<Vec<Tensor<1>>> {
    let counts = EpisodeCounts {
        episodes: 2,
        ways: 3,
        shots: 2,
        queries: 1,
    };
    let x = values(9, [counts.rows(), 5], device);
    let logits = episode_logits(x.clone(), counts)?.reshape([6, 3]);
    let loss = softmax_cross_entropy(logits, &[0, 1, 2, 2, 1, 0])?;
    let gradients = gradients_of(loss, [&|g| x.grad(g).map(|t| t.flatten(0, 1))]);
    Ok(gradients)
}

/// Two tensors after two steps, the second with moments.
fn adam_step(device: &Tensors) -> Result<Vec<Tensor<1>>> {
    let of = |seed| {
        let device = device.clone().inner();
        [7, 130]
            .map(|length| uniform(seed, [length], &device))
            .to_vec()
    };
    let rule = AdamRule {
        rate: 0.01,
        betas: [0.9, 0.999],
        epsilon: 1e-8,
        weight_decay: 0.1,
    };
    let scaling = Scaling {
        clip_norm: Some(1.0),
        loss_scale: 2.0,
    };
    let cohort = Cohort {
        members: (0..of(10).len()).collect(),
        state: None,
    };
    let (parameters, cohorts) = step(&rule, scaling, vec![cohort], of(10), of(11));
    Ok(step(&rule, scaling, cohorts, parameters, of(12)).0)
}

/// A layer with bias and activation.
fn layer_gradients(device: &Tensors) -> Result<Vec<Tensor<1>>> {
    let x = values(13, [5, 12], device);
    let (weight, bias) = (values(14, [12, 8], device), values(15, [8], device));
    let y = linear(
        x.clone(),
        weight.clone(),
        Some(bias.clone()),
        Activation::Relu,
    )?;
    Ok(gradients_of(
        y,
        [
            &|g| x.grad(g).map(|t| t.flatten(0, 1)),
            &|g| weight.grad(g).map(|t| t.flatten(0, 1)),
            &|g| bias.grad(g),
        ],
    ))
}

#[cfg(feature = "composite")]
mod stock {
    //! burn's own operations.

    use burn::tensor::activation::softmax;
    use burn::tensor::module::{batch_norm_train, conv2d};
    use burn::tensor::ops::ConvOptions;
    use burn::tensor::{Device as Tensors, Tensor};

    use super::{gradients_of, values};
    use crate::error::Result;

    pub fn conv_gradients(device: &Tensors) -> Result<Vec<Tensor<1>>> {
        let x = values(1, [2, 3, 7, 5], device);
        let weight = values(2, [4, 3, 3, 3], device);
        let bias = values(3, [4], device);
        let options = ConvOptions::new([1, 1], [1, 1], [1, 1], 1);
        let y = conv2d(x.clone(), weight.clone(), Some(bias.clone()), options);
        Ok(gradients_of(
            y,
            [
                &|g| x.grad(g).map(|t| t.flatten(0, 3)),
                &|g| weight.grad(g).map(|t| t.flatten(0, 3)),
                &|g| bias.grad(g),
            ],
        ))
    }

    pub fn matmul_gradients(device: &Tensors) -> Result<Vec<Tensor<1>>> {
        let a = values(4, [5, 11], device);
        let b = values(5, [11, 3], device);
        let y = a.clone().matmul(b.clone());
        Ok(gradients_of(
            y,
            [&|g| a.grad(g).map(|t| t.flatten(0, 1)), &|g| {
                b.grad(g).map(|t| t.flatten(0, 1))
            }],
        ))
    }

    pub fn batch_norm_gradients(device: &Tensors) -> Result<Vec<Tensor<1>>> {
        let x = values(6, [3, 2, 5, 3], device);
        let gamma = values(7, [2], device);
        let beta = values(8, [2], device);
        let y = batch_norm_train(x.clone(), gamma.clone(), beta.clone(), 1e-5).output;
        // A cube, since the sum of squares of a normalised tensor hardly depends on it.
        Ok(gradients_of(
            y.clone() * y.clone() + y,
            [
                &|g| x.grad(g).map(|t| t.flatten(0, 3)),
                &|g| gamma.grad(g),
                &|g| beta.grad(g),
            ],
        ))
    }

    pub fn softmax_gradients(device: &Tensors) -> Result<Vec<Tensor<1>>> {
        let x = values(9, [7, 5], device);
        Ok(gradients_of(
            softmax(x.clone() * 3.0, 1),
            [&|g| x.grad(g).map(|t| t.flatten(0, 1))],
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_agrees_with_itself_and_gives_gradients() {
        let device = Tensors::flex().autodiff();
        for (name, results) in CHECKS.iter().chain(HARDWARE_CHECKS) {
            let values = pollster::block_on(read(results(&device))).unwrap();
            assert!(
                values.iter().any(|v| v.abs() > 1e-3),
                "{name} has nothing to compare"
            );
            assert_eq!(compare(&values, &values), None);
        }
        assert_eq!(pollster::block_on(disagreement(&Tensors::flex())), None);
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
