// out[n, h, w, o] = max over the 2x2 window of relu(gamma[o] (y - mean[o]) / sqrt(variance[o] + 1e-5) + beta[o])
// with the running mean and variance. One invocation per row of windows and 4 channels.
// shape = [images, height, width, inputs, channels, ...].

@group(0) @binding(0) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> mean: array<f32>;
@group(0) @binding(2) var<storage, read_write> variance: array<f32>;
@group(0) @binding(3) var<storage, read_write> gamma: array<f32>;
@group(0) @binding(4) var<storage, read_write> beta: array<f32>;
@group(0) @binding(5) var<storage, read_write> out: array<f32>;
@group(0) @binding(6) var<storage, read_write> shape: array<u32>;

const EPSILON = 1e-5;

// The largest of each 2x2 window of one row of windows, after scale and shift, and not below 0.
fn pool_row(row: u32, quad: u32, scale: vec4<f32>, shift: vec4<f32>) {
    let height = shape[1];
    let width = shape[2];
    let channels = shape[4];
    let quads = (channels + 3u) / 4u;
    let out_height = height / 2u;
    let out_width = width / 2u;
    let start = (row / out_height * height + row % out_height * 2u) * width;
    let count = min(channels - quad * 4u, 4u);
    for (var column = 0u; column < out_width; column++) {
        let upper = (start + 2u * column) * quads + quad;
        let lower = upper + width * quads;
        let a = y[upper] * scale + shift;
        let b = y[upper + quads] * scale + shift;
        let c = y[lower] * scale + shift;
        let d = y[lower + quads] * scale + shift;
        let ab = select(a, b, larger(b, a));
        let cd = select(c, d, larger(d, c));
        let best = select(ab, cd, larger(cd, ab));
        // Not max(), which may drop NaN.
        let value = select(best, vec4<f32>(), best < vec4<f32>());
        let first = (row * out_width + column) * channels + quad * 4u;
        out[first] = value.x;
        if count > 1u {
            out[first + 1u] = value.y;
        }
        if count > 2u {
            out[first + 2u] = value.z;
        }
        if count > 3u {
            out[first + 3u] = value.w;
        }
    }
}

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
    let spread = vec4<f32>(variance[c.x], variance[c.y], variance[c.z], variance[c.w]) + EPSILON;
    let scale = vec4<f32>(gamma[c.x], gamma[c.y], gamma[c.z], gamma[c.w]) / sqrt(spread);
    let middle = vec4<f32>(mean[c.x], mean[c.y], mean[c.z], mean[c.w]);
    let shift = vec4<f32>(beta[c.x], beta[c.y], beta[c.z], beta[c.w]) - middle * scale;
    pool_row(index / quads, quad, scale, shift);
}
