// y[n, h, w, c] = bias[c] + sum_{k, l} x[n, h s - p + k, w s - p + l, c] weight[c, k, l], zero outside the image
// One invocation per 4 target pixels of a row and channel. shape as in wgsl/shared/depthwise.wgsl.

@group(0) @binding(0) var<storage, read_write> source_values: array<stored>;
@group(0) @binding(1) var<storage, read_write> weight: array<f32>;
@group(0) @binding(2) var<storage, read_write> bias: array<f32>;
@group(0) @binding(3) var<storage, read_write> target_values: array<stored>;
@group(0) @binding(4) var<storage, read_write> shape: array<u32>;

const TRANSPOSED = false;
