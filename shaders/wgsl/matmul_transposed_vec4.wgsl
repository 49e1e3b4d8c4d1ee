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
    let tile = tile_at(flat_index(workgroup, workgroups, local), TILE_COLUMNS, quads);
    if !tile.exists {
        return;
    }
    let a_upper = (tile.batch * shape[1] + rows_from(tile.row, shape[1])) * quads;
    let a_lower = (tile.batch * shape[1] + rows_from(tile.row + 4u, shape[1])) * quads;
    let b_left = (tile.batch * shape[2] + rows_from(tile.column, shape[2])) * quads;
    let b_right = (tile.batch * shape[2] + rows_from(tile.column + 4u, shape[2])) * quads;

    var sums = Sums();
    for (var k = tile.first; k < tile.end; k++) {
        let upper = mat4x4<f32>(
            vec4<f32>(a[a_upper.x + k]),
            vec4<f32>(a[a_upper.y + k]),
            vec4<f32>(a[a_upper.z + k]),
            vec4<f32>(a[a_upper.w + k]),
        );
        let lower = mat4x4<f32>(
            vec4<f32>(a[a_lower.x + k]),
            vec4<f32>(a[a_lower.y + k]),
            vec4<f32>(a[a_lower.z + k]),
            vec4<f32>(a[a_lower.w + k]),
        );
        let left = transpose(mat4x4<f32>(
            vec4<f32>(b[b_left.x + k]),
            vec4<f32>(b[b_left.y + k]),
            vec4<f32>(b[b_left.z + k]),
            vec4<f32>(b[b_left.w + k]),
        ));
        let right = transpose(mat4x4<f32>(
            vec4<f32>(b[b_right.x + k]),
            vec4<f32>(b[b_right.y + k]),
            vec4<f32>(b[b_right.z + k]),
            vec4<f32>(b[b_right.w + k]),
        ));
        sums.upper += left * upper;
        sums.lower += left * lower;
        sums.upper_right += right * upper;
        sums.lower_right += right * lower;
    }
    store_tile(tile, sums);
}
