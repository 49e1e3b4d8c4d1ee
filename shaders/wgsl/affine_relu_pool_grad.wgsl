// With g the values of grad at the pixels that count in their windows and 0 elsewhere: dz = g scale, and
// sums = [sum g z, sum g] of each channel, in rows of row_of(channels). shape as in wgsl/shared/cells.wgsl.

@group(0) @binding(0) var<storage, read_write> z: array<stored>;
@group(0) @binding(1) var<storage, read_write> scale: array<f32>;
@group(0) @binding(2) var<storage, read_write> shift: array<f32>;
@group(0) @binding(3) var<storage, read_write> grad: array<stored>;
@group(0) @binding(4) var<storage, read_write> dz: array<stored>;
@group(0) @binding(5) var<storage, read_write> sums: array<f32>;
@group(0) @binding(6) var<storage, read_write> shape: array<u32>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let channels = shape[3];
    let at = lane_of(workgroup, workgroups, local);
    let busy = at.x < channels;
    let channel = min(at.x, channels - 1u);
    let end = select(0u, cell_count(), busy);
    let slope = scale[channel];
    let constant = shift[channel];
    var totals = vec4<f32>();
    for (var i = at.y; i < end; i += at.z) {
        let cell = cell_of(i, channel);
        let values = values_of(cell);
        let flow = flow_of(cell, route_of(cell, values, slope, constant));
        totals += vec4<f32>(dot(flow, values), dot(flow, vec4<f32>(1.0)), 0.0, 0.0);
        write(cell, flow * slope);
    }
    let sum = over_lanes(totals, local);
    if busy && at.y == 0u {
        sums[channel] = sum.x;
        sums[row_of(channels) + channel] = sum.y;
    }
}
