// grad_input[i] = grad[i] activation'(kept[i]), where kept is the value before GELU, after ReLU
// One invocation per element. shape = [length, activation].

@group(0) @binding(0) var<storage, read_write> kept: array<stored>;
@group(0) @binding(1) var<storage, read_write> grad: array<stored>;
@group(0) @binding(2) var<storage, read_write> grad_input: array<stored>;
@group(0) @binding(3) var<storage, read_write> shape: array<u32>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let index = flat_index(workgroup, workgroups, local);
    if index >= shape[0] {
        return;
    }
    let value = f32(kept[index]);
    // Not a product: where ReLU cut off, an infinite gradient ends too.
    let dead = shape[1] == RELU && value <= 0.0;
    let factor = slope(vec4<f32>(value), shape[1]).x;
    grad_input[index] = stored(select(f32(grad[index]) * factor, 0.0, dead));
}
