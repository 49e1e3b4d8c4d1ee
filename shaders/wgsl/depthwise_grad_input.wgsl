// dx[n, h s - p + k, w s - p + l, c] = sum_{h, w, k, l} dy[n, h, w, c] weight[c, k, l]; the bias is not read
// One invocation per 4 target pixels of a row's phase and channel. shape as in wgsl/shared/depthwise.wgsl.

@group(0) @binding(0) var<storage, read_write> source_values: array<stored>;
@group(0) @binding(1) var<storage, read_write> weight: array<f32>;
@group(0) @binding(2) var<storage, read_write> bias: array<f32>;
@group(0) @binding(3) var<storage, read_write> target_values: array<stored>;
@group(0) @binding(4) var<storage, read_write> shape: array<u32>;

const TRANSPOSED = true;
