// distances[e, q, n] = factor sum_d (a[e, q, d] - b[e, n, d])^2
// One invocation per distance. shape = [batch, rows, others, features, factor as bits].

@group(0) @binding(0) var<storage, read_write> a: array<stored>;
@group(0) @binding(1) var<storage, read_write> b: array<stored>;
@group(0) @binding(2) var<storage, read_write> distances: array<f32>;
@group(0) @binding(3) var<storage, read_write> shape: array<u32>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let batch = shape[0];
    let rows = shape[1];
    let others = shape[2];
    let features = shape[3];
    let index = flat_index(workgroup, workgroups, local);
    if index >= batch * rows * others {
        return;
    }
    let other = index % others;
    let row = index / others;
    let a_start = row * features;
    let b_start = (row / rows * others + other) * features;

    var sum = 0.0;
    for (var d = 0u; d < features; d++) {
        let difference = f32(a[a_start + d]) - f32(b[b_start + d]);
        sum += difference * difference;
    }
    distances[index] = bitcast<f32>(shape[4]) * sum;
}
