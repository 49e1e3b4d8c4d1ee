// out[n, h, w, o] = max over the 2x2 window of relu(gamma[o] (y - mean[o]) / sqrt(variance[o] + 1e-5) + beta[o])
// stats = [mean, variance, 1 / sqrt(variance + 1e-5)] in rows of row_of(channels), from the forward kernel's partials.
// Every workgroup merges the partials of its channels. One invocation per row of windows and 4 channels at
// a time, any number of workgroups. shape = [images, height, width, inputs, channels, slots, ...].

@group(0) @binding(0) var<storage, read_write> y: array<vec4<stored>>;
@group(0) @binding(1) var<storage, read_write> partials: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> gamma: array<f32>;
@group(0) @binding(3) var<storage, read_write> beta: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<stored>;
@group(0) @binding(5) var<storage, read_write> stats: array<f32>;
@group(0) @binding(6) var<storage, read_write> shape: array<u32>;

const EPSILON = 1e-5;

var<workgroup> lane_moments: array<Moments, WORKGROUP_SIZE>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let channels = shape[4];
    let quads = (channels + 3u) / 4u;
    let slots = shape[5];
    let at = place(workgroup, workgroups, local, quads);

    var moments = Moments();
    if at.busy {
        for (var slot = at.lane; slot < slots; slot += at.lanes) {
            let start = slot * 3u * quads + at.quad;
            let part = Moments(partials[start], partials[start + quads], partials[start + 2u * quads].x);
            moments = merge(moments, part);
        }
    }
    lane_moments[local] = moments;
    workgroupBarrier();
    if at.busy && at.lane == 0u {
        for (var lane = 1u; lane < min(at.lanes, slots); lane++) {
            moments = merge(moments, lane_moments[local + lane * at.block]);
        }
        lane_moments[local] = moments;
    }
    workgroupBarrier();
    if !at.busy {
        return;
    }
    let total = lane_moments[local % at.block];
    let variance = total.m2 / total.count;
    let inverse = 1.0 / sqrt(variance + EPSILON);
    if at.slot == 0u && at.lane == 0u {
        for (var i = 0u; i < min(channels - at.quad * 4u, 4u); i++) {
            let channel = at.quad * 4u + i;
            stats[channel] = total.mean[i];
            stats[row_of(channels) + channel] = variance[i];
            stats[2u * row_of(channels) + channel] = inverse[i];
        }
    }

    let c = channels_of(at.quad, channels);
    let scale = vec4<f32>(gamma[c.x], gamma[c.y], gamma[c.z], gamma[c.w]) * inverse;
    let shift = vec4<f32>(beta[c.x], beta[c.y], beta[c.z], beta[c.w]) - total.mean * scale;
    let rows = shape[0] * (shape[1] / 2u);
    for (var row = at.slot * at.lanes + at.lane; row < rows; row += at.slots * at.lanes) {
        pool_row(row, at.quad, scale, shift);
    }
}
