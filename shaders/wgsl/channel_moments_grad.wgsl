// dz = (grad of the mean + 2 grad of the variance (z - mean)) / pixels, where moments and grad have a row for the means
// and one for the variances. One invocation per value. shape as in wgsl/shared/cells.wgsl.

@group(0) @binding(0) var<storage, read_write> z: array<stored>;
@group(0) @binding(1) var<storage, read_write> moments: array<f32>;
@group(0) @binding(2) var<storage, read_write> grad: array<f32>;
@group(0) @binding(3) var<storage, read_write> dz: array<stored>;
@group(0) @binding(4) var<storage, read_write> shape: array<u32>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let channels = shape[3];
    let index = flat_index(workgroup, workgroups, local);
    if index >= shape[0] * shape[1] * shape[2] * channels {
        return;
    }
    let channel = index % channels;
    let deviation = f32(z[index]) - moments[channel];
    let flow = grad[channel] + 2.0 * grad[channels + channel] * deviation;
    dz[index] = stored(flow / (f32(shape[0]) * f32(shape[1] * shape[2])));
}
