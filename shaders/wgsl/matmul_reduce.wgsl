// out[i] = activation(sum_s parts[s * section + i] + bias[i % columns]), and kept = the same before the activation
// The end of a product whose inner dimension was split. One invocation per element of the result.
// shape = [length, columns, splits, section, activation, flags].

@group(0) @binding(0) var<storage, read_write> parts: array<f32>;
@group(0) @binding(1) var<storage, read_write> bias: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<storage, read_write> kept: array<f32>;
@group(0) @binding(4) var<storage, read_write> shape: array<u32>;

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
    var z = 0.0;
    for (var split = 0u; split < shape[2]; split++) {
        z += parts[split * shape[3] + index];
    }
    if (shape[5] & HAS_BIAS) > 0u {
        z += bias[index % shape[1]];
    }
    if (shape[5] & KEEP) > 0u {
        kept[index] = z;
    }
    out[index] = activate(vec4<f32>(z), shape[4]).x;
}
