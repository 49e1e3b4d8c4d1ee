// stats = [mean, variance, 1 / sqrt(variance + epsilon)] of each channel, from the partials of all slots.
// One invocation per channel. shape as in wgsl/batch_norm.wgsl.

@group(0) @binding(0) var<storage, read_write> partials: array<f32>;
@group(0) @binding(1) var<storage, read_write> stats: array<f32>;
@group(0) @binding(2) var<storage, read_write> shape: array<u32>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let channels = shape[1];
    let channel = flat_index(workgroup, workgroups, local);
    if channel >= channels {
        return;
    }
    var count = 0.0;
    var mean = 0.0;
    var squares = 0.0;
    for (var slot = 0u; slot < shape[2]; slot++) {
        // Chan's formula: unlike a sum of squares it does not cancel.
        let start = slot * 3u * channels + channel;
        let added = partials[start + 2u * channels];
        let all = count + added;
        let share = added / max(all, 1.0);
        let delta = partials[start] - mean;
        mean += delta * share;
        squares += partials[start + channels] + delta * delta * (count * share);
        count = all;
    }
    let variance = squares / count;
    let row = row_of(channels);
    stats[channel] = mean;
    stats[row + channel] = variance;
    stats[2u * row + channel] = 1.0 / sqrt(variance + bitcast<f32>(shape[5]));
}
