// out = relu(gamma[o] (peaks - mean[o]) / sqrt(variance[o] + 1e-5) + beta[o]), where peaks[n, h / 2, w / 2, o] is what max
// pooling takes of each window, and stats = [mean, variance, 1 / sqrt(variance + 1e-5)] in rows of row_of(channels), from
// the forward kernel's partials. Every workgroup merges the partials of its channels. One invocation per window and 4
// channels at a time, any number of workgroups. shape = [images, height, width, inputs, channels, slots, ...].

@group(0) @binding(0) var<storage, read_write> peaks: array<f32>;
@group(0) @binding(1) var<storage, read_write> partials: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> gamma: array<f32>;
@group(0) @binding(3) var<storage, read_write> beta: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;
@group(0) @binding(5) var<storage, read_write> stats: array<f32>;
@group(0) @binding(6) var<storage, read_write> shape: array<u32>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let channels = shape[4];
    let at = place(workgroup, workgroups, local, (channels + 3u) / 4u);
    let total = merge_partials(at, local);
    if !at.busy {
        return;
    }
    let norm = norm_of(total, at, channels);
    let windows = shape[0] * (shape[1] / 2u) * (shape[2] / 2u);
    let count = min(channels - at.quad * 4u, 4u);
    for (var window = at.slot * at.lanes + at.lane; window < windows; window += at.slots * at.lanes) {
        let first = window * channels + at.quad * 4u;
        for (var i = 0u; i < count; i++) {
            let value = peaks[first + i] * norm.scale[i] + norm.shift[i];
            // Not max(), which may drop NaN.
            out[first + i] = select(value, 0.0, value < 0.0);
        }
    }
}
