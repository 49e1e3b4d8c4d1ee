//! Losses and statistics.

use forgeling_shaders::PART;

/// `loss = -1/rows sum_r log softmax(logits[r])[label r]` and its gradient `(softmax(logits[r]) - onehot) / rows`;
/// `shape` is `[rows, classes, labels..]`.
///
/// # Panics
/// When a slice is shorter than `shape` says, or a label is not below `classes`.
pub fn softmax_cross_entropy(logits: &[f32], loss: &mut [f32], grad: &mut [f32], shape: &[usize]) {
    let (rows, classes, labels) = (shape[0], shape[1], &shape[2..]);
    let share = 1.0 / rows as f32;
    let mut total = 0.0;
    for (row, &label) in labels[..rows].iter().enumerate() {
        let logits = &logits[row * classes..][..classes];
        let grad = &mut grad[row * classes..][..classes];
        let largest = logits.iter().fold(f32::NEG_INFINITY, |max, v| max.max(*v));
        let mut sum = 0.0;
        for (power, logit) in grad.iter_mut().zip(logits) {
            *power = (logit - largest).exp();
            sum += *power;
        }
        for value in grad.iter_mut() {
            *value = *value / sum * share;
        }
        grad[label] -= share;
        total += sum.ln() + largest - logits[label];
    }
    loss[0] = total * share;
}

/// Running statistics after a batch: `running[0] = (1 - m) old_mean + m (mean + bias)` and
/// `running[1] = (1 - m) old_variance + m correction variance`, in rows of a multiple of [`PART`]. `shape` is the number of
/// channels and the bits of `m` and `correction`.
///
/// # Panics
/// When a slice is shorter than `shape` says.
pub fn running_statistics(
    old_mean: &[f32],
    old_variance: &[f32],
    bias: &[f32],
    mean: &[f32],
    variance: &[f32],
    running: &mut [f32],
    shape: [usize; 3],
) {
    let channels = shape[0];
    let [momentum, correction] = [shape[1], shape[2]].map(|bits| f32::from_bits(bits as u32));
    let keep = 1.0 - momentum;
    let row = channels.next_multiple_of(PART);
    for channel in 0..channels {
        running[channel] = keep * old_mean[channel] + momentum * (mean[channel] + bias[channel]);
        running[row + channel] =
            keep * old_variance[channel] + momentum * correction * variance[channel];
    }
}
