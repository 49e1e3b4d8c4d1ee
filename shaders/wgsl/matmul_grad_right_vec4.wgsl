// grad_right[e, k, n] = sum_m a[e, m, k] grad[e, m, n], and from `sums` of its section on, if that is not 0,
// sum_{m} grad[0, m, n]
// For rows (of the result) and columns % 4 == 0. One invocation per 8 rows and 4 columns, and per split of the sum.
// shape = [batch, rows, columns, inner, splits, section, sums], where inner counts m.

@group(0) @binding(0) var<storage, read_write> a: array<vec4<stored>>;
@group(0) @binding(1) var<storage, read_write> grad: array<vec4<stored>>;
@group(0) @binding(2) var<storage, read_write> grad_right: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> shape: array<u32>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let rows = shape[1];
    let a_stride = rows / 4u;
    let stride = shape[2] / 4u;
    let inner = shape[3];
    let tile = tile_at(flat_index(workgroup, workgroups, local), inner);
    if !tile.exists {
        return;
    }
    let first_low = tile.batch * inner * a_stride + tile.row / 4u;
    let first_high = tile.batch * inner * a_stride + min(tile.row / 4u + 1u, a_stride - 1u);
    let first_grad = tile.batch * inner * stride + tile.column / 4u;

    // Column i holds row i of the tile.
    var low = mat4x4<f32>();
    var high = mat4x4<f32>();
    var sum = vec4<f32>();
    for (var m = tile.first; m < tile.end; m++) {
        let g = vec4<f32>(grad[first_grad + m * stride]);
        let x = vec4<f32>(a[first_low + m * a_stride]);
        let y = vec4<f32>(a[first_high + m * a_stride]);
        low += mat4x4<f32>(g * x.x, g * x.y, g * x.z, g * x.w);
        high += mat4x4<f32>(g * y.x, g * y.y, g * y.z, g * y.w);
        sum += g;
    }

    let section = tile.split * shape[5] / 4u;
    let at = section + (tile.batch * rows + tile.row) * stride + tile.column / 4u;
    grad_right[at] = low[0];
    grad_right[at + stride] = low[1];
    grad_right[at + 2u * stride] = low[2];
    grad_right[at + 3u * stride] = low[3];
    if tile.row + 4u < rows {
        grad_right[at + 4u * stride] = high[0];
        grad_right[at + 5u * stride] = high[1];
        grad_right[at + 6u * stride] = high[2];
        grad_right[at + 7u * stride] = high[3];
    }
    if shape[6] > 0u && tile.row == 0u {
        grad_right[section + (shape[6] + tile.column) / 4u] = sum;
    }
}
