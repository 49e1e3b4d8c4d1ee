// prototypes[e, n, d] = mean_k features[(e ways + n) shots + k, d]
// One invocation per element. shape = [episodes, ways, shots, queries, width].

@group(0) @binding(0) var<storage, read_write> features: array<stored>;
@group(0) @binding(1) var<storage, read_write> prototypes: array<f32>;
@group(0) @binding(2) var<storage, read_write> shape: array<u32>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let episodes = shape[0];
    let ways = shape[1];
    let shots = shape[2];
    let width = shape[4];
    let index = flat_index(workgroup, workgroups, local);
    if index >= episodes * ways * width {
        return;
    }
    let start = index / width * shots * width + index % width;
    var sum = 0.0;
    for (var k = 0u; k < shots; k++) {
        sum += f32(features[start + k * width]);
    }
    prototypes[index] = sum / f32(shots);
}
