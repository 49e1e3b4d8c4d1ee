// Running statistics after a batch: running[0] = (1 - m) old mean + m (mean + bias),
// running[1] = (1 - m) old variance + m correction variance, in rows of row_of(channels).
// One invocation per channel. shape = [channels, bits of m, bits of correction].

@group(0) @binding(0) var<storage, read_write> old_mean: array<f32>;
@group(0) @binding(1) var<storage, read_write> old_variance: array<f32>;
@group(0) @binding(2) var<storage, read_write> bias: array<f32>;
@group(0) @binding(3) var<storage, read_write> mean: array<f32>;
@group(0) @binding(4) var<storage, read_write> variance: array<f32>;
@group(0) @binding(5) var<storage, read_write> running: array<f32>;
@group(0) @binding(6) var<storage, read_write> shape: array<u32>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let channels = shape[0];
    let momentum = bitcast<f32>(shape[1]);
    let correction = bitcast<f32>(shape[2]);
    let channel = flat_index(workgroup, workgroups, local);
    if channel >= channels {
        return;
    }
    let keep = 1.0 - momentum;
    running[channel] = keep * old_mean[channel] + momentum * (mean[channel] + bias[channel]);
    running[row_of(channels) + channel] =
        keep * old_variance[channel] + momentum * correction * variance[channel];
}
