// The gradients of norm_pool_grad's vectors, which have the gradients v[0] and v[1] in each channel. With x, g, sigma and
// numbers as there: dgrad = v[0] x + v[1] at the pixels that count, dz = v[0] (g - mean(g) - x mean(g x)) / sigma.
// One invocation per cell and channel. shape as in wgsl/shared/cells.wgsl.

@group(0) @binding(0) var<storage, read_write> z: array<stored>;
@group(0) @binding(1) var<storage, read_write> grad: array<stored>;
@group(0) @binding(2) var<storage, read_write> numbers: array<f32>;
@group(0) @binding(3) var<storage, read_write> v: array<f32>;
@group(0) @binding(4) var<storage, read_write> dz: array<stored>;
@group(0) @binding(5) var<storage, read_write> dgrad: array<stored>;
@group(0) @binding(6) var<storage, read_write> shape: array<u32>;

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
    let norm = norm_of(channel);
    let values = values_of(cell);
    let counts = route_of(cell, values, norm.scale, norm.shift);
    let x = (values - norm.mean) * norm.inverse;
    let slope = v[channel];
    write(cell, slope * norm.inverse * (flow_of(cell, counts) - norm.m1 - x * norm.m2));
    if cell.whole {
        let there = select(vec4<f32>(), slope * x + v[channels + channel], counts);
        dgrad[cell.window] = stored(there.x + there.y + there.z + there.w);
    }
}
