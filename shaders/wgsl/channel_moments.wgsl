// moments = the mean of each channel, then its biased variance. shape as in wgsl/shared/cells.wgsl.

@group(0) @binding(0) var<storage, read_write> z: array<stored>;
@group(0) @binding(1) var<storage, read_write> moments: array<f32>;
@group(0) @binding(2) var<storage, read_write> shape: array<u32>;

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
    let found = moments_of(channel, at.y, at.z, select(0u, cell_count(), busy), local);
    if busy && at.y == 0u {
        moments[channel] = found.x;
        moments[channels + channel] = found.y;
    }
}
