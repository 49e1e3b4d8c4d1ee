// out[n, h, w, o] = max over the 2x2 window of relu(gamma[o] (y - mean[o]) / sqrt(variance[o] + 1e-5) + beta[o])
// with the running mean and variance, and stats = [mean, variance, 1 / sqrt(variance + 1e-5)] in rows of row_of(channels),
// as the backward kernels read them. One invocation per row of windows and 4 channels.
// shape = [images, height, width, inputs, channels, ...].

@group(0) @binding(0) var<storage, read_write> y: array<vec4<stored>>;
@group(0) @binding(1) var<storage, read_write> mean: array<f32>;
@group(0) @binding(2) var<storage, read_write> variance: array<f32>;
@group(0) @binding(3) var<storage, read_write> gamma: array<f32>;
@group(0) @binding(4) var<storage, read_write> beta: array<f32>;
@group(0) @binding(5) var<storage, read_write> out: array<stored>;
@group(0) @binding(6) var<storage, read_write> stats: array<f32>;
@group(0) @binding(7) var<storage, read_write> shape: array<u32>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let channels = shape[4];
    let quads = (channels + 3u) / 4u;
    let index = flat_index(workgroup, workgroups, local);
    if index >= shape[0] * (shape[1] / 2u) * quads {
        return;
    }
    let quad = index % quads;
    let c = channels_of(quad, channels);
    let spread = vec4<f32>(variance[c.x], variance[c.y], variance[c.z], variance[c.w]);
    let inverse = 1.0 / sqrt(spread + EPSILON);
    let scale = vec4<f32>(gamma[c.x], gamma[c.y], gamma[c.z], gamma[c.w]) * inverse;
    let middle = vec4<f32>(mean[c.x], mean[c.y], mean[c.z], mean[c.w]);
    let shift = vec4<f32>(beta[c.x], beta[c.y], beta[c.z], beta[c.w]) - middle * scale;
    if index < quads {
        for (var i = 0u; i < min(channels - quad * 4u, 4u); i++) {
            let channel = quad * 4u + i;
            stats[channel] = middle[i];
            stats[row_of(channels) + channel] = spread[i];
            stats[2u * row_of(channels) + channel] = inverse[i];
        }
    }
    pool_row(index / quads, quad, scale, shift);
}
