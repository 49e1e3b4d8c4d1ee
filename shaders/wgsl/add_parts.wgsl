// sums[i] = sum_part parts[part, i]
// One invocation per sum. shape = [sums, parts].

@group(0) @binding(0) var<storage, read_write> parts: array<f32>;
@group(0) @binding(1) var<storage, read_write> sums: array<f32>;
@group(0) @binding(2) var<storage, read_write> shape: array<u32>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let count = shape[0];
    let index = flat_index(workgroup, workgroups, local);
    if index >= count {
        return;
    }
    var sum = 0.0;
    for (var part = 0u; part < shape[1]; part++) {
        sum += parts[part * count + index];
    }
    sums[index] = sum;
}
