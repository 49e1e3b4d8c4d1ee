// For every slot the mean, the sum of squared deviations and the count of each channel over its pixels of x.
// One invocation per channel and slot. shape = [pixels, channels, slots, ...].

@group(0) @binding(0) var<storage, read_write> x: array<stored>;
@group(0) @binding(1) var<storage, read_write> partials: array<f32>;
@group(0) @binding(2) var<storage, read_write> shape: array<u32>;

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
    // Rounded up, so that the last slots may be empty: a product of pixels and slots could exceed 32 bits.
    let each = (pixels + slots - 1u) / slots;
    let first = min(slot * each, pixels);
    let end = min(first + each, pixels);
    var sum = 0.0;
    for (var pixel = first; pixel < end; pixel++) {
        sum += f32(x[pixel * channels + channel]);
    }
    let count = f32(end - first);
    let mean = sum / max(count, 1.0);
    var squares = 0.0;
    for (var pixel = first; pixel < end; pixel++) {
        let deviation = f32(x[pixel * channels + channel]) - mean;
        squares += deviation * deviation;
    }
    let start = slot * 3u * channels + channel;
    partials[start] = mean;
    partials[start + channels] = squares;
    partials[start + 2u * channels] = count;
}
