// The gradients of batch norm with pooling. With x = (z - mean) / sigma and g the values of grad at the pixels that count
// in their windows and 0 elsewhere: dz = gamma / sigma (g - mean(g) - x mean(g x)), and of each channel a row each of
// vectors = [sum g x, sum g] and numbers = [sum g x, sum g, mean, variance, gamma, beta].
// shape as in wgsl/shared/cells.wgsl.

@group(0) @binding(0) var<storage, read_write> z: array<stored>;
@group(0) @binding(1) var<storage, read_write> gamma: array<f32>;
@group(0) @binding(2) var<storage, read_write> beta: array<f32>;
@group(0) @binding(3) var<storage, read_write> grad: array<stored>;
@group(0) @binding(4) var<storage, read_write> dz: array<stored>;
@group(0) @binding(5) var<storage, read_write> vectors: array<f32>;
@group(0) @binding(6) var<storage, read_write> numbers: array<f32>;
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
    let moments = moments_of(channel, at.y, at.z, end, local);
    let mean = moments.x;
    let sigma = sqrt(moments.y + EPSILON);
    let scale = gamma[channel] / sigma;
    let shift = beta[channel] - mean * scale;

    var totals = vec4<f32>();
    for (var i = at.y; i < end; i += at.z) {
        let cell = cell_of(i, channel);
        let values = values_of(cell);
        let flow = flow_of(cell, route_of(cell, values, scale, shift));
        totals += vec4<f32>(dot(flow, values - mean), dot(flow, vec4<f32>(1.0)), 0.0, 0.0);
    }
    let sum = over_lanes(totals, local);
    let of_gamma = sum.x / sigma;
    let of_beta = sum.y;
    if busy && at.y == 0u {
        vectors[channel] = of_gamma;
        vectors[channels + channel] = of_beta;
        numbers[channel] = of_gamma;
        numbers[channels + channel] = of_beta;
        numbers[2u * channels + channel] = mean;
        numbers[3u * channels + channel] = moments.y;
        numbers[4u * channels + channel] = gamma[channel];
        numbers[5u * channels + channel] = beta[channel];
    }
    let slope = of_gamma / pixel_count() / sigma;
    let constant = of_beta / pixel_count();
    for (var i = at.y; i < end; i += at.z) {
        let cell = cell_of(i, channel);
        let values = values_of(cell);
        let flow = flow_of(cell, route_of(cell, values, scale, shift));
        write(cell, scale * (flow - constant - (values - mean) * slope));
    }
}
