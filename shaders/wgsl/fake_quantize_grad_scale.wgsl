// What each element adds to the gradient of its scale: dy (q - x / scale), of values that were cut off dy q
// One invocation per element. shape = [length, channels, inner, low, high] with low and high as bits of i32.

@group(0) @binding(0) var<storage, read_write> x: array<stored>;
@group(0) @binding(1) var<storage, read_write> scale: array<f32>;
@group(0) @binding(2) var<storage, read_write> dy: array<stored>;
@group(0) @binding(3) var<storage, read_write> added: array<f32>;
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
    let step = scale[index / shape[2] % shape[1]];
    let place = f32(x[index]) * (1.0 / step);
    let low = f32(bitcast<i32>(shape[3]));
    let high = f32(bitcast<i32>(shape[4]));
    let q = round(place);
    let inside = q >= low && q <= high;
    added[index] = f32(dy[index]) * (clamp(q, low, high) - select(0.0, place, inside));
}
