// dbias[part, o] = sum_p dy[p, o] over the pixels that belong to the part
// One invocation per channel and part. shape = [pixels, channels, parts].

@group(0) @binding(0) var<storage, read_write> dy: array<stored>;
@group(0) @binding(1) var<storage, read_write> dbias: array<f32>;
@group(0) @binding(2) var<storage, read_write> shape: array<u32>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let pixels = shape[0];
    let channels = shape[1];
    let parts = shape[2];
    let index = flat_index(workgroup, workgroups, local);
    if index >= channels * parts {
        return;
    }
    let part = index / channels;
    // Pixels of a part, rounded up: a product of both could exceed 32 bits.
    let each = (pixels + parts - 1u) / parts;
    var sum = 0.0;
    for (var pixel = part * each; pixel < min((part + 1u) * each, pixels); pixel++) {
        sum += f32(dy[pixel * channels + index % channels]);
    }
    dbias[index] = sum;
}
