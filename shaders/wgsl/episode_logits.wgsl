// logits[e, q, n] = -sum_d (features[first + e ways queries + q, d] - prototypes[e, n, d])^2, where the queries lie
// behind the support, first = episodes ways shots.
// One invocation per logit. shape = [episodes, ways, shots, queries, width].

@group(0) @binding(0) var<storage, read_write> features: array<stored>;
@group(0) @binding(1) var<storage, read_write> prototypes: array<f32>;
@group(0) @binding(2) var<storage, read_write> logits: array<f32>;
@group(0) @binding(3) var<storage, read_write> shape: array<u32>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let episodes = shape[0];
    let ways = shape[1];
    let shots = shape[2];
    let queries = shape[3];
    let width = shape[4];
    let index = flat_index(workgroup, workgroups, local);
    if index >= episodes * ways * queries * ways {
        return;
    }
    let row = index / ways;
    let episode = row / (ways * queries);
    let query = (episodes * ways * shots + row) * width;
    let prototype = (episode * ways + index % ways) * width;

    var sum = 0.0;
    for (var d = 0u; d < width; d++) {
        let difference = f32(features[query + d]) - prototypes[prototype + d];
        sum += difference * difference;
    }
    logits[index] = -sum;
}
