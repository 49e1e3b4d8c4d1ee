// grad_b[e, n, d] = -2 factor sum_q grad[e, q, n] (a[e, q, d] - b[e, n, d])
// One invocation per element of the gradient. shape = [batch, rows, others, features, factor as bits].

@group(0) @binding(0) var<storage, read_write> a: array<stored>;
@group(0) @binding(1) var<storage, read_write> b: array<stored>;
@group(0) @binding(2) var<storage, read_write> grad: array<f32>;
@group(0) @binding(3) var<storage, read_write> grad_b: array<stored>;
@group(0) @binding(4) var<storage, read_write> shape: array<u32>;

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
    if index >= batch * others * features {
        return;
    }
    let d = index % features;
    let above = index / features;
    let first_row = above / others * rows;
    let other = above % others;
    let value = f32(b[index]);

    var sum = 0.0;
    for (var q = 0u; q < rows; q++) {
        let row = first_row + q;
        sum += grad[row * others + other] * (f32(a[row * features + d]) - value);
    }
    grad_b[index] = stored(-2.0 * bitcast<f32>(shape[4]) * sum);
}
