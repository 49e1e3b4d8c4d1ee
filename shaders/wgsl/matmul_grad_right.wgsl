// grad_right[e, k, n] = sum_m a[e, m, k] grad[e, m, n], and from `sums` of its section on, if that is not 0,
// sum_{m} grad[0, m, n]
// For any sizes. One invocation per 8 rows and 4 columns, and per split of the sum.
// shape = [batch, rows, columns, inner, splits, section, sums], where inner counts m.

@group(0) @binding(0) var<storage, read_write> a: array<stored>;
@group(0) @binding(1) var<storage, read_write> grad: array<stored>;
@group(0) @binding(2) var<storage, read_write> grad_right: array<f32>;
@group(0) @binding(3) var<storage, read_write> shape: array<u32>;

// Each column for itself: a vector indexed by a variable is slow in software.
fn put(at: u32, columns: u32, y: vec4<f32>) {
    grad_right[at] = y.x;
    if columns > 1u {
        grad_right[at + 1u] = y.y;
    }
    if columns > 2u {
        grad_right[at + 2u] = y.z;
    }
    if columns > 3u {
        grad_right[at + 3u] = y.w;
    }
}

fn store_quad(tile: Tile, offset: u32, sum: vec4<f32>) {
    let row = tile.row + offset;
    if row < shape[1] {
        let at = tile.split * shape[5] + (tile.batch * shape[1] + row) * shape[2] + tile.column;
        put(at, shape[2] - tile.column, sum);
    }
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let rows = shape[1];
    let columns = shape[2];
    let inner = shape[3];
    let tile = tile_at(flat_index(workgroup, workgroups, local), SCALAR_COLUMNS, inner);
    if !tile.exists {
        return;
    }
    let first_low = tile.batch * inner * rows + rows_from(tile.row, rows);
    let first_high = tile.batch * inner * rows + rows_from(tile.row + 4u, rows);
    let first_grad = tile.batch * inner * columns + rows_from(tile.column, columns);

    // Column i holds row i of the tile.
    var low = mat4x4<f32>();
    var high = mat4x4<f32>();
    var sum = vec4<f32>();
    for (var m = tile.first; m < tile.end; m++) {
        let i = first_low + m * rows;
        let j = first_high + m * rows;
        let n = first_grad + m * columns;
        let g = vec4<f32>(vec4<stored>(grad[n.x], grad[n.y], grad[n.z], grad[n.w]));
        let x = vec4<f32>(vec4<stored>(a[i.x], a[i.y], a[i.z], a[i.w]));
        let y = vec4<f32>(vec4<stored>(a[j.x], a[j.y], a[j.z], a[j.w]));
        low += mat4x4<f32>(g * x.x, g * x.y, g * x.z, g * x.w);
        high += mat4x4<f32>(g * y.x, g * y.y, g * y.z, g * y.w);
        sum += g;
    }
    store_quad(tile, 0u, low[0]);
    store_quad(tile, 1u, low[1]);
    store_quad(tile, 2u, low[2]);
    store_quad(tile, 3u, low[3]);
    store_quad(tile, 4u, high[0]);
    store_quad(tile, 5u, high[1]);
    store_quad(tile, 6u, high[2]);
    store_quad(tile, 7u, high[3]);
    if shape[6] > 0u && tile.row == 0u {
        put(tile.split * shape[5] + shape[6] + tile.column, columns - tile.column, sum);
    }
}
