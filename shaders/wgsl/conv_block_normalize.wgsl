// out[n, h, w, o] = max over the 2x2 window of relu(gamma[o] (y - mean[o]) / sqrt(variance[o] + 1e-5) + beta[o])
// stats = [mean, variance, 1 / sqrt(variance + 1e-5)] in rows of row_of(channels), from the forward kernel's partials.
// Every workgroup merges the partials of its channels. One invocation per row of windows and 4 channels at
// a time, any number of workgroups. shape = [images, height, width, inputs, channels, slots, ...].

@group(0) @binding(0) var<storage, read_write> y: array<vec4<stored>>;
@group(0) @binding(1) var<storage, read_write> partials: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> gamma: array<f32>;
@group(0) @binding(3) var<storage, read_write> beta: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<stored>;
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
    let rows = shape[0] * (shape[1] / 2u);
    for (var row = at.slot * at.lanes + at.lane; row < rows; row += at.slots * at.lanes) {
        pool_row(row, at.quad, norm.scale, norm.shift);
    }
}
