// halves[i] = x[2 i] and x[2 i + 1] in 16 bits each, the first in the lower ones, as half_of says
// One invocation per two words, of which the second, and the last one's upper half, may not exist.
// shape = [length of x, kind].

@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> halves: array<u32>;
@group(0) @binding(2) var<storage, read_write> shape: array<u32>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let length = shape[0];
    let first = flat_index(workgroup, workgroups, local) * 4u;
    if first >= length {
        return;
    }
    let at = vec4<u32>(first) + vec4<u32>(0u, 1u, 2u, 3u);
    let i = min(at, vec4<u32>(length - 1u));
    let values = select(vec4<f32>(), vec4<f32>(x[i.x], x[i.y], x[i.z], x[i.w]), at < vec4<u32>(length));
    let pair = words(half_of(values, shape[1]));
    halves[first / 2u] = pair.x;
    if at.z < length {
        halves[first / 2u + 1u] = pair.y;
    }
}
