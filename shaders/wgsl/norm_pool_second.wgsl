// The gradients of norm_pool_grad's dz, which has the gradient u. With x, g, sigma and numbers as there,
// s = gamma / sigma, m1 = mean(g), m2 = mean(g x), q = mean(u x) and A = mean(u g) - m1 mean(u) - m2 q:
//   dgrad = s (u - mean(u) - x q) at the pixels that count, dgamma = pixels A / sigma, and
//   dz = (c - mean(c) - x mean(c x) - s A x) / sigma with c = -s (g q + u m2).
// shape as in wgsl/shared/cells.wgsl.

@group(0) @binding(0) var<storage, read_write> z: array<stored>;
@group(0) @binding(1) var<storage, read_write> grad: array<stored>;
@group(0) @binding(2) var<storage, read_write> numbers: array<f32>;
@group(0) @binding(3) var<storage, read_write> u: array<stored>;
@group(0) @binding(4) var<storage, read_write> dz: array<stored>;
@group(0) @binding(5) var<storage, read_write> dgamma: array<f32>;
@group(0) @binding(6) var<storage, read_write> dgrad: array<stored>;
@group(0) @binding(7) var<storage, read_write> shape: array<u32>;

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
    let norm = norm_of(channel);
    let count = pixel_count();

    var totals = vec4<f32>();
    for (var i = at.y; i < end; i += at.z) {
        let cell = cell_of(i, channel);
        let values = values_of(cell);
        let flow = flow_of(cell, route_of(cell, values, norm.scale, norm.shift));
        let inflow = inflow_of(cell);
        totals += vec4<f32>(
            dot(inflow, vec4<f32>(1.0)),
            dot(inflow, values - norm.mean),
            dot(inflow, flow),
            0.0,
        );
    }
    let sum = over_lanes(totals, local) / count;
    let mean = sum.x;
    let q = sum.y * norm.inverse;
    let a = sum.z - norm.m1 * mean - norm.m2 * q;
    if busy && at.y == 0u {
        dgamma[channel] = count * a * norm.inverse;
    }

    let s = norm.scale;
    let by_flow = -s * q * norm.inverse;
    let by_inflow = -s * norm.m2 * norm.inverse;
    let by_z = s * (2.0 * norm.m2 * q - a) * norm.inverse * norm.inverse;
    let constant = s * (norm.m1 * q + mean * norm.m2) * norm.inverse;
    for (var i = at.y; i < end; i += at.z) {
        let cell = cell_of(i, channel);
        let values = values_of(cell);
        let counts = route_of(cell, values, s, norm.shift);
        let inflow = inflow_of(cell);
        let away = values - norm.mean;
        write(cell, by_inflow * inflow + by_z * away + constant + by_flow * flow_of(cell, counts));
        if cell.whole {
            let there = select(vec4<f32>(), s * (inflow - mean - away * (norm.inverse * q)), counts);
            dgrad[cell.window] = stored(there.x + there.y + there.z + there.w);
        }
    }
}

fn inflow_of(cell: Cell) -> vec4<f32> {
    let p = cell.places;
    return select(vec4<f32>(), vec4<f32>(vec4<stored>(u[p.x], u[p.y], u[p.z], u[p.w])), cell.there);
}
