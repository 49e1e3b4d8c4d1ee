// grad_right[e, k, n] = sum_m a[e, m, k] grad[e, m, n], and from `sums` of its section on, if that is not 0,
// sum_{m} grad[0, m, n]
// For rows (of the result) and columns % 4 == 0. One invocation per 8 rows and 8 columns, and per split of the sum.
// shape = [batch, rows, columns, inner, splits, section, sums], where inner counts m.

@group(0) @binding(0) var<storage, read_write> a: array<vec4<stored>>;
@group(0) @binding(1) var<storage, read_write> grad: array<vec4<stored>>;
@group(0) @binding(2) var<storage, read_write> grad_right: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> shape: array<u32>;

fn store_quad(tile: Tile, row_offset: u32, column_offset: u32, sum: vec4<f32>) {
    let row = tile.row + row_offset;
    let column = tile.column + column_offset;
    if row < shape[1] && column < shape[2] {
        let at = tile.split * shape[5] + (tile.batch * shape[1] + row) * shape[2] + column;
        grad_right[at / 4u] = sum;
    }
}

fn store_block(tile: Tile, row_offset: u32, column_offset: u32, sums: mat4x4<f32>) {
    store_quad(tile, row_offset, column_offset, sums[0]);
    store_quad(tile, row_offset + 1u, column_offset, sums[1]);
    store_quad(tile, row_offset + 2u, column_offset, sums[2]);
    store_quad(tile, row_offset + 3u, column_offset, sums[3]);
}

fn outer(columns: vec4<f32>, rows: vec4<f32>) -> mat4x4<f32> {
    return mat4x4<f32>(columns * rows.x, columns * rows.y, columns * rows.z, columns * rows.w);
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let a_stride = shape[1] / 4u;
    let stride = shape[2] / 4u;
    let inner = shape[3];
    let tile = tile_at(flat_index(workgroup, workgroups, local), TILE_COLUMNS, inner);
    if !tile.exists {
        return;
    }
    // The last quad of rows or columns may have no neighbour.
    let a_upper = tile.batch * inner * a_stride + tile.row / 4u;
    let a_lower = tile.batch * inner * a_stride + min(tile.row / 4u + 1u, a_stride - 1u);
    let g_left = tile.batch * inner * stride + tile.column / 4u;
    let g_right = tile.batch * inner * stride + min(tile.column / 4u + 1u, stride - 1u);

    var sums = Sums();
    var left_sum = vec4<f32>();
    var right_sum = vec4<f32>();
    var m = tile.first;
    // Four at a time, which spares the sums most of their way to and from memory where they do not fit the registers.
    for (; m + 4u <= tile.end; m += 4u) {
        let x = m * a_stride;
        let upper = transpose(mat4x4<f32>(
            vec4<f32>(a[a_upper + x]),
            vec4<f32>(a[a_upper + x + a_stride]),
            vec4<f32>(a[a_upper + x + 2u * a_stride]),
            vec4<f32>(a[a_upper + x + 3u * a_stride]),
        ));
        let lower = transpose(mat4x4<f32>(
            vec4<f32>(a[a_lower + x]),
            vec4<f32>(a[a_lower + x + a_stride]),
            vec4<f32>(a[a_lower + x + 2u * a_stride]),
            vec4<f32>(a[a_lower + x + 3u * a_stride]),
        ));
        let g = m * stride;
        let left = mat4x4<f32>(
            vec4<f32>(grad[g_left + g]),
            vec4<f32>(grad[g_left + g + stride]),
            vec4<f32>(grad[g_left + g + 2u * stride]),
            vec4<f32>(grad[g_left + g + 3u * stride]),
        );
        let right = mat4x4<f32>(
            vec4<f32>(grad[g_right + g]),
            vec4<f32>(grad[g_right + g + stride]),
            vec4<f32>(grad[g_right + g + 2u * stride]),
            vec4<f32>(grad[g_right + g + 3u * stride]),
        );
        sums.upper += left * upper;
        sums.lower += left * lower;
        sums.upper_right += right * upper;
        sums.lower_right += right * lower;
        left_sum += left[0] + left[1] + left[2] + left[3];
        right_sum += right[0] + right[1] + right[2] + right[3];
    }
    for (; m < tile.end; m++) {
        let upper = vec4<f32>(a[a_upper + m * a_stride]);
        let lower = vec4<f32>(a[a_lower + m * a_stride]);
        let left = vec4<f32>(grad[g_left + m * stride]);
        let right = vec4<f32>(grad[g_right + m * stride]);
        sums.upper += outer(left, upper);
        sums.lower += outer(left, lower);
        sums.upper_right += outer(right, upper);
        sums.lower_right += outer(right, lower);
        left_sum += left;
        right_sum += right;
    }

    store_block(tile, 0u, 0u, sums.upper);
    store_block(tile, 4u, 0u, sums.lower);
    store_block(tile, 0u, 4u, sums.upper_right);
    store_block(tile, 4u, 4u, sums.lower_right);
    if shape[6] > 0u && tile.row == 0u {
        let at = (tile.split * shape[5] + shape[6] + tile.column) / 4u;
        grad_right[at] = left_sum;
        if tile.column + 4u < shape[2] {
            grad_right[at + 1u] = right_sum;
        }
    }
}
