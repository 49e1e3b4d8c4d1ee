// logits[e, q, n] = -sum_d (query[e, q, d] - prototypes[e, n, d])^2
// One invocation per logit. shape = [episodes, queries, ways, features].

@group(0) @binding(0) var<storage, read_write> query: array<stored>;
@group(0) @binding(1) var<storage, read_write> prototypes: array<stored>;
@group(0) @binding(2) var<storage, read_write> logits: array<f32>;
@group(0) @binding(3) var<storage, read_write> shape: array<u32>;

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
    if index >= episodes * queries * ways {
        return;
    }
    let way = index % ways;
    let row = index / ways;
    let episode = row / queries;
    let query_start = row * features;
    let prototype_start = (episode * ways + way) * features;

    var sum = 0.0;
    for (var d = 0u; d < features; d++) {
        let difference = f32(query[query_start + d]) - f32(prototypes[prototype_start + d]);
        sum += difference * difference;
    }
    logits[index] = -sum;
}
