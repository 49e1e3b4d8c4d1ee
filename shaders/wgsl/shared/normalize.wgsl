// Reads partials, gamma, beta and shape and writes stats, the bindings of the kernel that it belongs to.

var<workgroup> lane_moments: array<Moments, WORKGROUP_SIZE>;

// The moments of all slots, for every invocation of a workgroup.
fn merge_partials(at: Place, local: u32) -> Moments {
    let quads = (shape[4] + 3u) / 4u;
    let slots = shape[5];
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
    return lane_moments[local % at.block];
}

struct Norm {
    scale: vec4<f32>,
    shift: vec4<f32>,
}

// Scale and shift of a quad's channels; the first workgroup of them writes their statistics.
fn norm_of(total: Moments, at: Place, channels: u32) -> Norm {
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
    return Norm(scale, shift);
}
