// The gradient of episode_logits with respect to the features, through the prototypes:
// of a query   grad_features = -2 sum_n grad[q, n] (query - prototype n)
// of a support  grad_features = 2 / shots sum_q grad[q, n] (query q - prototype n), n its class
// One invocation per element. shape = [episodes, ways, shots, queries, width].

@group(0) @binding(0) var<storage, read_write> features: array<stored>;
@group(0) @binding(1) var<storage, read_write> prototypes: array<f32>;
@group(0) @binding(2) var<storage, read_write> grad: array<f32>;
@group(0) @binding(3) var<storage, read_write> grad_features: array<stored>;
@group(0) @binding(4) var<storage, read_write> shape: array<u32>;

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
    let supports = episodes * ways * shots;
    if index >= (supports + episodes * ways * queries) * width {
        return;
    }
    let row = index / width;
    let d = index % width;

    var sum = 0.0;
    if row < supports {
        let group = row / shots;
        let way = group % ways;
        let prototype = prototypes[group * width + d];
        let first = group / ways * ways * queries;
        for (var q = first; q < first + ways * queries; q++) {
            sum += grad[q * ways + way] * (f32(features[(supports + q) * width + d]) - prototype);
        }
        sum *= 2.0 / f32(shots);
    } else {
        let query = row - supports;
        let episode = query / (ways * queries);
        let value = f32(features[index]);
        for (var n = 0u; n < ways; n++) {
            sum += grad[query * ways + n] * (value - prototypes[(episode * ways + n) * width + d]);
        }
        sum *= -2.0;
    }
    grad_features[index] = stored(sum);
}
