// y = gamma (x - mean) / sqrt(variance + epsilon) + beta, and if there is one plus residual, and if asked for not below 0 and
// not above 6
// One invocation per value. shape = [pixels, channels, slots, whether there is a residual, 1 if ReLU follows and 2 if ReLU6
// does, bits of epsilon].

@group(0) @binding(0) var<storage, read_write> x: array<stored>;
@group(0) @binding(1) var<storage, read_write> stats: array<f32>;
@group(0) @binding(2) var<storage, read_write> gamma: array<f32>;
@group(0) @binding(3) var<storage, read_write> beta: array<f32>;
@group(0) @binding(4) var<storage, read_write> residual: array<stored>;
@group(0) @binding(5) var<storage, read_write> y: array<stored>;
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
    let inverse = stats[2u * row_of(channels) + channel];
    var value = gamma[channel] * ((f32(x[index]) - stats[channel]) * inverse) + beta[channel];
    if shape[3] == 1u {
        value += f32(residual[index]);
    }
    // Not max() and min(), which may drop NaN.
    value = select(value, 0.0, shape[4] != 0u && value < 0.0);
    y[index] = stored(select(value, 6.0, shape[4] == 2u && value > 6.0));
}
