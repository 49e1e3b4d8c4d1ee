// x[2 i] and x[2 i + 1] = the lower and the upper 16 bits of halves[i], as of_half says
// One invocation per two words, of which the second, and the last one's upper half, may not exist.
// shape = [length of x, kind].

@group(0) @binding(0) var<storage, read_write> halves: array<u32>;
@group(0) @binding(1) var<storage, read_write> x: array<f32>;
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
    let word = first / 2u;
    let last = (length - 1u) / 2u;
    let values = of_half(halves_of(vec2<u32>(halves[word], halves[min(word + 1u, last)])), shape[1]);
    for (var i = 0u; i < min(length - first, 4u); i++) {
        x[first + i] = values[i];
    }
}
