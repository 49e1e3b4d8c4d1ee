// y = maxpool2(relu(scale z + shift)) of windows of 2x2 pixels. One invocation per window and channel.
// shape as in wgsl/shared/cells.wgsl.

@group(0) @binding(0) var<storage, read_write> z: array<stored>;
@group(0) @binding(1) var<storage, read_write> scale: array<f32>;
@group(0) @binding(2) var<storage, read_write> shift: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<stored>;
@group(0) @binding(4) var<storage, read_write> shape: array<u32>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let channels = shape[3];
    let index = flat_index(workgroup, workgroups, local);
    let cell_index = index / channels;
    if cell_index >= cell_count() {
        return;
    }
    let channel = index % channels;
    let cell = cell_of(cell_index, channel);
    if !cell.whole {
        return;
    }
    let values = values_of(cell);
    let line = scale[channel] * values + shift[channel];
    let counts = route_of(cell, values, scale[channel], shift[channel]);
    // Not a product with 0, which would spread NaN.
    let best = select(vec4<f32>(), line, counts);
    y[cell.window] = stored(best.x + best.y + best.z + best.w);
}
