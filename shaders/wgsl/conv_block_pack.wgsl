// packed[tap, i, o] = weight[o, i, tap], and 0 where o only pads the channels to a multiple of 4
// One invocation per 4 output channels. shape = [images, height, width, inputs, channels, ...].

@group(0) @binding(0) var<storage, read_write> weight: array<f32>;
@group(0) @binding(1) var<storage, read_write> packed: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> shape: array<u32>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let inputs = shape[3];
    let channels = shape[4];
    let quads = (channels + 3u) / 4u;
    let index = flat_index(workgroup, workgroups, local);
    if index >= 9u * inputs * quads {
        return;
    }
    let quad = index % quads;
    let input = index / quads % inputs;
    let tap = index / (quads * inputs);

    let start = channels_of(quad, channels) * (inputs * 9u) + vec4<u32>(input * 9u + tap);
    let values = vec4<f32>(weight[start.x], weight[start.y], weight[start.z], weight[start.w]);
    let exists = vec4<u32>(quad * 4u) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(channels);
    packed[index] = select(vec4<f32>(), values, exists);
}
