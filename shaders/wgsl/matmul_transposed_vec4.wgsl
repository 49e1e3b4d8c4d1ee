// out[e, m, n] = activation(sum_k a[e, m, k] b[e, n, k] + bias[n]), and kept = the same before the activation
// As matmul_vec4, with b transposed: the gradient of a product's left side.
// shape = [batch, rows, columns, inner, splits, section, activation, flags, ...].

@group(0) @binding(0) var<storage, read_write> a: array<vec4<stored>>;
@group(0) @binding(1) var<storage, read_write> b: array<vec4<stored>>;
@group(0) @binding(2) var<storage, read_write> bias: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> out: array<vec4<stored>>;
@group(0) @binding(4) var<storage, read_write> kept: array<vec4<stored>>;
@group(0) @binding(5) var<storage, read_write> shape: array<u32>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let quads = shape[3] / 4u;
    let tile = tile_at(flat_index(workgroup, workgroups, local), quads);
    if !tile.exists {
        return;
    }
    let a_low = (tile.batch * shape[1] + rows_from(tile.row, shape[1])) * quads;
    let a_high = (tile.batch * shape[1] + rows_from(tile.row + 4u, shape[1])) * quads;
    let b_rows = (tile.batch * shape[2] + rows_from(tile.column, shape[2])) * quads;

    // Column i holds row i of the tile.
    var low = mat4x4<f32>();
    var high = mat4x4<f32>();
    for (var k = tile.first; k < tile.end; k++) {
        let right = transpose(mat4x4<f32>(
            vec4<f32>(b[b_rows.x + k]),
            vec4<f32>(b[b_rows.y + k]),
            vec4<f32>(b[b_rows.z + k]),
            vec4<f32>(b[b_rows.w + k]),
        ));
        low += right * mat4x4<f32>(
            vec4<f32>(a[a_low.x + k]),
            vec4<f32>(a[a_low.y + k]),
            vec4<f32>(a[a_low.z + k]),
            vec4<f32>(a[a_low.w + k]),
        );
        high += right * mat4x4<f32>(
            vec4<f32>(a[a_high.x + k]),
            vec4<f32>(a[a_high.y + k]),
            vec4<f32>(a[a_high.z + k]),
            vec4<f32>(a[a_high.w + k]),
        );
    }
    store_tile(tile, low, high);
}
