// dweight[part, o, i, k, l] = sum_{n, h, w} x[n, h s - p + k, w s - p + l, i] dy[n, h, w, o], zero outside the image, over
// the rows of dy that belong to the part. For any number of channels. One invocation per 8 inputs, 8 outputs, one tap
// and one part. shape as in wgsl/shared/outer.wgsl.

@group(0) @binding(0) var<storage, read_write> x: array<stored>;
@group(0) @binding(1) var<storage, read_write> dy: array<stored>;
@group(0) @binding(2) var<storage, read_write> dweight: array<f32>;
@group(0) @binding(3) var<storage, read_write> shape: array<u32>;

// Channels past the last repeat it; what comes of them is not stored.
fn inputs_at(start: u32, first: u32, count: u32) -> vec4<f32> {
    let at = start + min(vec4<u32>(first) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(count - 1u));
    return vec4<f32>(vec4<stored>(x[at.x], x[at.y], x[at.z], x[at.w]));
}

fn flow_at(start: u32, first: u32, count: u32) -> vec4<f32> {
    let at = start + min(vec4<u32>(first) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(count - 1u));
    return vec4<f32>(vec4<stored>(dy[at.x], dy[at.y], dy[at.z], dy[at.w]));
}
