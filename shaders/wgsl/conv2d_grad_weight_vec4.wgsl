// dweight[part, o, i, k, l] = sum_{n, h, w} x[n, h s - p + k, w s - p + l, i] dy[n, h, w, o], zero outside the image, over
// the rows of dy that belong to the part. For inputs % 4 == 0 and outputs % 4 == 0, of a group. One invocation per
// 8 inputs, 8 outputs, one tap and one part. shape as in wgsl/shared/outer.wgsl.

@group(0) @binding(0) var<storage, read_write> x: array<vec4<stored>>;
@group(0) @binding(1) var<storage, read_write> dy: array<vec4<stored>>;
@group(0) @binding(2) var<storage, read_write> dweight: array<f32>;
@group(0) @binding(3) var<storage, read_write> shape: array<u32>;

// Channels past the last repeat some before; what comes of them is not stored.
fn inputs_at(start: u32, first: u32, count: u32) -> vec4<f32> {
    return vec4<f32>(x[(start + min(first, count - 4u)) / 4u]);
}

fn flow_at(start: u32, first: u32, count: u32) -> vec4<f32> {
    return vec4<f32>(dy[(start + min(first, count - 4u)) / 4u]);
}
