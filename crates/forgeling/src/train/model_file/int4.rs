//! Weights in four bits: groups of 32 whole numbers with a scale.

use burn::tensor::bf16;

/// Weights that have a scale together: neighbours along the inputs of one output.
pub(super) const GROUP: usize = 32;
const LARGEST: f64 = 7.0;
/// The scales that are tried are the largest, less 0 to 12 of its 32nds.
const TRIED: u8 = 13;
const PARTS: f32 = 32.0;

/// Where the weights of each output lie: those of a layer of neurons, `[inputs, outputs]`, or of a convolution, `[filters,
/// channels of a group, rows, columns]`.
pub(super) struct Rows {
    pub outputs: usize,
    /// Weights of each output.
    pub inputs: usize,
    output_step: usize,
    input_step: usize,
}

impl Rows {
    /// `None` where the shape is none of these, holds nothing or too much to count.
    pub fn of(shape: &[usize]) -> Option<Self> {
        let (outputs, inputs, output_step, input_step) = match *shape {
            [inputs, outputs] => (outputs, inputs, 1, outputs),
            [outputs, channels, rows, columns] => {
                let inputs = channels.checked_mul(rows)?.checked_mul(columns)?;
                (outputs, inputs, inputs, 1)
            }
            _ => return None,
        };
        outputs.checked_mul(inputs).filter(|&all| all > 0)?;
        Some(Self {
            outputs,
            inputs,
            output_step,
            input_step,
        })
    }

    /// Bytes of each output.
    pub fn bytes(&self) -> usize {
        self.inputs.div_ceil(2)
    }

    /// Scales of each output.
    pub fn groups(&self) -> usize {
        self.inputs.div_ceil(GROUP)
    }

    fn place(&self, output: usize, input: usize) -> usize {
        output * self.output_step + input * self.input_step
    }
}

/// Whether a shape is one of weights with a whole group for each output: fewer are hardly smaller in four bits.
pub(in crate::train) fn has_whole_groups(shape: &[usize]) -> bool {
    Rows::of(shape).is_some_and(|rows| rows.inputs >= GROUP)
}

/// The weights of each output, two a byte, the first in the lower four bits, in two's complement; the last four bits of an
/// odd number are 0. Then the scales of its groups.
pub(super) fn pack(rows: &Rows, values: &[f32]) -> (Vec<u8>, Vec<bf16>) {
    let mut bytes = vec![0; rows.outputs * rows.bytes()];
    let mut scales = Vec::with_capacity(rows.outputs * rows.groups());
    for (output, row) in bytes.chunks_mut(rows.bytes()).enumerate() {
        for (group, bytes) in row.chunks_mut(GROUP / 2).enumerate() {
            let inputs = group * GROUP..rows.inputs.min((group + 1) * GROUP);
            let weights: Vec<f32> = inputs
                .map(|input| values[rows.place(output, input)])
                .collect();
            let scale = best_scale(&weights);
            scales.push(scale);
            for (place, &weight) in weights.iter().enumerate() {
                let bits = rounded(weight, scale.to_f64()) as i8 as u8 & 0xf;
                bytes[place / 2] |= bits << (place % 2 * 4);
            }
        }
    }
    (bytes, scales)
}

/// The weights in the order of their shape; the bytes and scales fit it.
pub(super) fn unpack(rows: &Rows, bytes: &[u8], scales: &[f32]) -> Vec<f32> {
    let mut values = vec![0.0; rows.outputs * rows.inputs];
    for output in 0..rows.outputs {
        for input in 0..rows.inputs {
            let byte = bytes[output * rows.bytes() + input / 2];
            // Moved up, then down again with its sign.
            let whole = (byte << (4 - input % 2 * 4)) as i8 >> 4;
            let scale = scales[output * rows.groups() + input / GROUP];
            values[rows.place(output, input)] = f32::from(whole) * scale;
        }
    }
    values
}

/// The scale with the least squared error. That of weights which were rounded before is found again, and is the first to be
/// tried: the largest of them is 7.
fn best_scale(weights: &[f32]) -> bf16 {
    let largest = weights.iter().fold(0.0f32, |most, w| most.max(w.abs()));
    // Smaller scales would be 0 to devices without subnormal numbers.
    if largest < f32::MIN_POSITIVE {
        return bf16::ONE;
    }
    let mut best = (f64::INFINITY, bf16::ONE);
    for tried in 0..TRIED {
        let scale = largest / LARGEST as f32 * (1.0 - f32::from(tried) / PARTS);
        let scale = bf16::from_f32(scale.max(f32::MIN_POSITIVE));
        let size = scale.to_f64();
        let error = |&weight: &f32| (f64::from(weight) - rounded(weight, size) * size).powi(2);
        let error: f64 = weights.iter().map(error).sum();
        if error < best.0 {
            best = (error, scale);
        }
    }
    best.1
}

fn rounded(weight: f32, scale: f64) -> f64 {
    let whole = (f64::from(weight) / scale).round_ties_even();
    whole.clamp(-LARGEST, LARGEST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn weights(count: usize, seed: u64) -> Vec<f32> {
        let mut rng = Rng::new(seed);
        (0..count).map(|_| rng.normal()).collect()
    }

    /// The least squared error of a group by the rule of [`super::super::Packing::Int4`], with every whole number tried.
    fn least_error(group: &[f32]) -> f64 {
        let largest = group.iter().fold(0.0f32, |most, w| most.max(w.abs()));
        let candidates = (0..=12).map(|k| {
            let scale = f64::from(largest / 7.0 * ((32 - k) as f32 / 32.0));
            // The nearest number of eight bits.
            let step = 2f64.powi(scale.log2().floor() as i32 - 7);
            (scale / step).round_ties_even() * step
        });
        let errors = candidates.map(|scale| {
            let error = |w: f32| {
                let errors = (-7..=7).map(|q| (f64::from(w) - f64::from(q) * scale).powi(2));
                errors.fold(f64::INFINITY, f64::min)
            };
            group.iter().map(|&w| error(w)).sum()
        });
        errors.fold(f64::INFINITY, f64::min)
    }

    fn error(before: &[f32], after: &[f32]) -> f64 {
        let pairs = before.iter().zip(after);
        pairs
            .map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2))
            .sum()
    }

    fn read(rows: &Rows, values: &[f32]) -> Vec<f32> {
        let (bytes, scales) = pack(rows, values);
        assert_eq!(bytes.len(), rows.outputs * rows.inputs.div_ceil(2));
        assert_eq!(scales.len(), rows.outputs * rows.inputs.div_ceil(32));
        let scales: Vec<f32> = scales.iter().map(|scale| scale.to_f32()).collect();
        unpack(rows, &bytes, &scales)
    }

    #[test]
    fn each_group_has_the_least_error_of_its_candidates() {
        for (seed, shape) in [
            &[64, 3][..],
            &[75, 5],
            &[31, 4],
            &[1, 2],
            &[5, 7, 3, 3],
            &[3, 8, 2, 2],
        ]
        .into_iter()
        .enumerate()
        {
            let values = weights(shape.iter().product(), seed as u64);
            let rows = Rows::of(shape).unwrap();
            let found = read(&rows, &values);
            // The rows by themselves, by the shape and not by our steps.
            let outputs = if shape.len() == 2 { shape[1] } else { shape[0] };
            let row = |all: &[f32], output: usize| -> Vec<f32> {
                match shape.len() {
                    2 => all.iter().skip(output).step_by(outputs).copied().collect(),
                    _ => all.chunks(all.len() / outputs).nth(output).unwrap().into(),
                }
            };
            for output in 0..outputs {
                let (before, after) = (row(&values, output), row(&found, output));
                for (before, after) in before.chunks(32).zip(after.chunks(32)) {
                    let (error, least) = (error(before, after), least_error(before));
                    assert!((error - least).abs() <= 1e-9 * least + 1e-15, "{shape:?}");
                }
            }
            assert_eq!(read(&rows, &found), found, "{shape:?} once more");
        }
    }

    #[test]
    fn a_smaller_scale_than_the_largest_weight_has_is_better() {
        let values = weights(32 * 200, 9);
        let rows = Rows::of(&[32 * 200, 1]).unwrap();
        let found = error(&values, &read(&rows, &values));
        let largest = values.chunks(32).flat_map(|group| {
            let scale = group.iter().fold(0.0f32, |most, w| most.max(w.abs())) / 7.0;
            group
                .iter()
                .map(move |w| (w / scale).round_ties_even() * scale)
        });
        let simple = error(&values, &largest.collect::<Vec<_>>());
        let power: f64 = values.iter().map(|w| f64::from(*w).powi(2)).sum();
        assert!(found < 0.95 * simple, "{found} {simple}");
        assert!(found < 0.02 * power, "{found} {power}");
    }

    #[test]
    fn the_first_of_two_is_in_the_lower_half_and_zeros_have_scale_1() {
        let rows = Rows::of(&[3, 1]).unwrap();
        let (bytes, scales) = pack(&rows, &[7.0, -1.0, -7.0]);
        assert_eq!((bytes, scales), (vec![0xf7, 0x09], vec![bf16::ONE]));
        let zeros = [0.0, f32::MIN_POSITIVE / 2.0, 0.0];
        assert_eq!(pack(&rows, &zeros), (vec![0; 2], vec![bf16::ONE]));
        // Weights near the least and the greatest numbers stay so, too.
        for weights in [
            [1.2e-38, -3e-38, 2e-38],
            [1e-37, 3e-38, -2e-37],
            [3e38, -1e38, 3.3e38],
        ] {
            let once = read(&rows, &weights);
            assert!(once.iter().all(|w| w.is_finite()) && once.iter().any(|w| *w != 0.0));
            assert_eq!(read(&rows, &once), once);
        }
    }

    #[test]
    fn shapes_that_hold_no_weights_or_too_many_have_no_rows() {
        for shape in [
            &[][..],
            &[64],
            &[0, 8],
            &[8, 0],
            &[8, 8, 8],
            &[usize::MAX, 2],
            &[2, usize::MAX, 2, 1],
            &[1, 0, usize::MAX, 3],
        ] {
            assert!(Rows::of(shape).is_none(), "{shape:?}");
        }
        assert!(has_whole_groups(&[32, 1]) && !has_whole_groups(&[31, 9]));
        assert!(has_whole_groups(&[1, 4, 2, 4]) && !has_whole_groups(&[64, 3, 3, 3]));
    }
}
