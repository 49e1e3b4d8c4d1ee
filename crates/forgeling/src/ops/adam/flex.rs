//! Adam on the CPU back end: tensor by tensor, in order, so that the same bits come every time.

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::tensor::{Device, Tensor, TensorData};
use forgeling_shaders::cpu::{AdamFactors, adam_update};

use super::AdamNumbers;
use crate::ops::flex::{tensor, with_values};

#[derive(Debug, Clone)]
pub(crate) struct State {
    /// First and second moments of each tensor.
    moments: Vec<[Vec<f32>; 2]>,
    steps: u64,
    last_skipped: bool,
    skipped: u64,
}

impl State {
    pub fn skipped(&self) -> Tensor<1> {
        let values = vec![f32::from(self.last_skipped), self.skipped as f32];
        Tensor::from_data(TensorData::new(values, [2]), &Device::flex())
    }
}

fn primitive(tensor: Tensor<1>) -> FlexTensor {
    tensor
        .try_into_primitive::<Flex>()
        .expect("the caller checked that the tensor is on the CPU")
}

pub(super) fn step(
    state: Option<State>,
    parameters: Vec<Tensor<1>>,
    gradients: Vec<Tensor<1>>,
    numbers: &AdamNumbers,
) -> (Vec<Tensor<1>>, State) {
    let mut state = state.unwrap_or_else(|| State {
        moments: parameters
            .iter()
            .map(|tensor| [(); 2].map(|()| vec![0.0; tensor.dims()[0]]))
            .collect(),
        steps: 0,
        last_skipped: false,
        skipped: 0,
    });
    let gradients: Vec<FlexTensor> = gradients.into_iter().map(primitive).collect();
    let inverse = (1.0 / numbers.loss_scale) as f32;
    let (mut squares, mut finite) = (0.0, true);
    for gradient in &gradients {
        with_values([gradient], |[values]| {
            let (sum, all) = sum_of_squares(values, inverse);
            squares += sum;
            finite &= all;
        });
    }
    let mut clip = 1.0;
    if let Some(limit) = numbers.clip_norm {
        // As on GPUs, where the sum is an f32.
        finite &= (squares as f32).is_finite();
        clip = (limit / (squares.sqrt() + 1e-6)).min(1.0) as f32;
    }
    state.last_skipped = !finite;
    if !finite {
        state.skipped += 1;
        return (parameters, state);
    }

    state.steps += 1;
    let correction = |logarithm: f64| -libm::expm1(state.steps as f64 * logarithm);
    let [correction1, correction2] = numbers.logarithms().map(correction);
    let factors = AdamFactors {
        scales: [inverse, clip],
        keep: numbers.keep() as f32,
        step: (numbers.rate / correction1) as f32,
        root: correction2.sqrt() as f32,
        beta1: [numbers.betas[0] as f32, (1.0 - numbers.betas[0]) as f32],
        beta2: [numbers.betas[1] as f32, (1.0 - numbers.betas[1]) as f32],
        epsilon: numbers.epsilon as f32,
    };
    let all = parameters
        .into_iter()
        .zip(&gradients)
        .zip(&mut state.moments);
    let updated = all
        .map(|((parameter, gradient), [first, second])| {
            let parameter = primitive(parameter);
            let values = with_values([&parameter, gradient], |[values, gradient]| {
                // A new vector: someone else may hold the old values.
                let mut values = values.to_vec();
                update(&mut values, gradient, first, second, &factors);
                values
            });
            let length = values.len();
            Tensor::from_primitive::<Flex>(tensor(values, [length]))
        })
        .collect();
    (updated, state)
}

// The instructions of `S` are what the body is compiled with; it names none itself.
#[allow(clippy::extra_unused_type_parameters)]
#[macerator::with_simd]
fn update<S: macerator::Simd>(
    parameters: &mut [f32],
    gradients: &[f32],
    first: &mut [f32],
    second: &mut [f32],
    factors: &AdamFactors,
) {
    adam_update(parameters, gradients, first, second, factors);
}

/// The sum of the squares of `scale * values`, in eight lanes, and whether they are all finite.
fn sum_of_squares(values: &[f32], scale: f32) -> (f64, bool) {
    let mut lanes = [0f64; 8];
    let mut finite = true;
    let (chunks, rest) = values.as_chunks::<8>();
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            let value = scale * value;
            *lane += f64::from(value) * f64::from(value);
            finite &= value.is_finite();
        }
    }
    let mut sum: f64 = lanes.iter().sum();
    for value in rest {
        let value = scale * value;
        sum += f64::from(value) * f64::from(value);
        finite &= value.is_finite();
    }
    (sum, finite)
}
