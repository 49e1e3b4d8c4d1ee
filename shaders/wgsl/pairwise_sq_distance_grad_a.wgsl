// grad_a[e, q, d] = 2 factor sum_n grad[e, q, n] (a[e, q, d] - b[e, n, d])
// One invocation per element of the gradient. shape = [batch, rows, others, features, factor as bits].

@group(0) @binding(0) var<storage, read_write> a: array<stored>;
@group(0) @binding(1) var<storage, read_write> b: array<stored>;
@group(0) @binding(2) var<storage, read_write> grad: array<f32>;
@group(0) @binding(3) var<storage, read_write> grad_a: array<stored>;
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
    if index >= batch * rows * features {
        return;
    }
    let d = index % features;
    let row = index / features;
    let first_other = row / rows * others;
    let value = f32(a[index]);

    var sum = 0.0;
    for (var n = 0u; n < others; n++) {
        sum += grad[row * others + n] * (value - f32(b[(first_other + n) * features + d]));
    }
    grad_a[index] = stored(2.0 * bitcast<f32>(shape[4]) * sum);
}
