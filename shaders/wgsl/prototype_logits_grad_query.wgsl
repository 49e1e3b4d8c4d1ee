// grad_query[e, q, d] = -2 sum_n grad[e, q, n] (query[e, q, d] - prototypes[e, n, d])
// One invocation per element of the gradient. shape = [episodes, queries, ways, features].

@group(0) @binding(0) var<storage, read_write> query: array<stored>;
@group(0) @binding(1) var<storage, read_write> prototypes: array<stored>;
@group(0) @binding(2) var<storage, read_write> grad: array<f32>;
@group(0) @binding(3) var<storage, read_write> grad_query: array<stored>;
@group(0) @binding(4) var<storage, read_write> shape: array<u32>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let episodes = shape[0];
    let queries = shape[1];
    let ways = shape[2];
    let features = shape[3];
    let index = flat_index(workgroup, workgroups, local);
    if index >= episodes * queries * features {
        return;
    }
    let d = index % features;
    let row = index / features;
    let episode = row / queries;
    let value = f32(query[index]);

    var sum = 0.0;
    for (var n = 0u; n < ways; n++) {
        sum += grad[row * ways + n] * (value - f32(prototypes[(episode * ways + n) * features + d]));
    }
    grad_query[index] = stored(-2.0 * sum);
}
