// For every slot the sums over its pixels of dz xhat, then of dz, where dz is dy, or with an activation 0 where that cut y off;
// dz itself is written with one only, and y only read then.
// One invocation per channel and slot. shape as in wgsl/batch_norm.wgsl.

@group(0) @binding(0) var<storage, read_write> x: array<stored>;
@group(0) @binding(1) var<storage, read_write> stats: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<stored>;
@group(0) @binding(3) var<storage, read_write> dy: array<stored>;
@group(0) @binding(4) var<storage, read_write> partials: array<f32>;
@group(0) @binding(5) var<storage, read_write> dz: array<stored>;
@group(0) @binding(6) var<storage, read_write> shape: array<u32>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let pixels = shape[0];
    let channels = shape[1];
    let slots = shape[2];
    let index = flat_index(workgroup, workgroups, local);
    if index >= channels * slots {
        return;
    }
    let channel = index % channels;
    let slot = index / channels;
    let each = (pixels + slots - 1u) / slots;
    let row = row_of(channels);
    let mean = stats[channel];
    let inverse = stats[2u * row + channel];
    var dgamma = 0.0;
    var dbeta = 0.0;
    for (var pixel = slot * each; pixel < min((slot + 1u) * each, pixels); pixel++) {
        let at = pixel * channels + channel;
        var flow = f32(dy[at]);
        if shape[4] != 0u {
            let value = f32(y[at]);
            flow = select(flow, 0.0, value <= 0.0 || (shape[4] == 2u && value >= 6.0));
            dz[at] = stored(flow);
        }
        dgamma += flow * ((f32(x[at]) - mean) * inverse);
        dbeta += flow;
    }
    let start = slot * 2u * row + channel;
    partials[start] = dgamma;
    partials[start + row] = dbeta;
}
