// packed[g, tap, i, m] = weight[g outputs + m, i, tap], or if shape[4] is 1
// packed[g, tap, o, m] = weight[g outputs + o, m, tap]; 0 where m only pads to a multiple of 4
// One invocation per 4 values. shape = [groups, inputs and outputs of a group, taps, transposed].

@group(0) @binding(0) var<storage, read_write> weight: array<f32>;
@group(0) @binding(1) var<storage, read_write> packed: array<vec4<stored>>;
@group(0) @binding(2) var<storage, read_write> shape: array<u32>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let inputs = shape[1];
    let outputs = shape[2];
    let taps = shape[3];
    let transposed = shape[4] == 1u;
    let rows = select(outputs, inputs, transposed);
    let depth = select(inputs, outputs, transposed);
    let quads = (rows + 3u) / 4u;
    let index = flat_index(workgroup, workgroups, local);
    if index >= shape[0] * taps * depth * quads {
        return;
    }
    let quad = index % quads;
    let channel = index / quads % depth;
    let tap = index / (quads * depth) % taps;
    let group = index / (quads * depth * taps);
    let all = channels_of(quad, rows);
    let output = select(all, vec4<u32>(channel), transposed);
    let input = select(vec4<u32>(channel), all, transposed);
    let start = ((group * outputs + output) * inputs + input) * taps + tap;
    let values = vec4<f32>(weight[start.x], weight[start.y], weight[start.z], weight[start.w]);
    let exists = vec4<u32>(quad * 4u) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(rows);
    packed[index] = vec4<stored>(select(vec4<f32>(), values, exists));
}
