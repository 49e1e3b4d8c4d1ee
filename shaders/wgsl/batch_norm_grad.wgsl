// dx = gamma / sqrt(variance + epsilon) (dz - dbeta / m - xhat dgamma / m), m the number of pixels, sums = [dgamma, dbeta]
// One invocation per value. shape as in wgsl/batch_norm.wgsl.

@group(0) @binding(0) var<storage, read_write> x: array<stored>;
@group(0) @binding(1) var<storage, read_write> stats: array<f32>;
@group(0) @binding(2) var<storage, read_write> gamma: array<f32>;
@group(0) @binding(3) var<storage, read_write> dz: array<stored>;
@group(0) @binding(4) var<storage, read_write> sums: array<f32>;
@group(0) @binding(5) var<storage, read_write> dx: array<stored>;
@group(0) @binding(6) var<storage, read_write> shape: array<u32>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let channels = shape[1];
    let index = flat_index(workgroup, workgroups, local);
    if index >= shape[0] * channels {
        return;
    }
    let channel = index % channels;
    let row = row_of(channels);
    let inverse = stats[2u * row + channel];
    let normal = (f32(x[index]) - stats[channel]) * inverse;
    let mean = (sums[row + channel] + normal * sums[channel]) / f32(shape[0]);
    dx[index] = stored(gamma[channel] * inverse * (f32(dz[index]) - mean));
}
