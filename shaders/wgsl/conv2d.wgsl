// y[n, h, w, o] = bias[o] + sum_{k, l, i} x[n, h s - p + k, w s - p + l, i] packed[g, k, l, i, o], zero outside the image
// One invocation per 8 target pixels and 4 target channels. shape as in wgsl/shared/gather.wgsl.

@group(0) @binding(0) var<storage, read_write> source_values: array<stored>;
@group(0) @binding(1) var<storage, read_write> packed: array<vec4<stored>>;
@group(0) @binding(2) var<storage, read_write> bias: array<f32>;
@group(0) @binding(3) var<storage, read_write> target_values: array<stored>;
@group(0) @binding(4) var<storage, read_write> shape: array<u32>;

const TRANSPOSED = false;
