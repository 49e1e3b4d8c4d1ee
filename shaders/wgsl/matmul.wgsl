// out[e, m, n] = activation(sum_k a[e, m, k] b(e, k, n) + bias[n]), and kept = the same before the activation
// For any sizes, where b(e, k, n) = b[e * inner * columns + k * down + n * across]: transposed or not.
// One invocation per 8 rows and 4 columns, and per split of the inner dimension.
// shape = [batch, rows, columns, inner, splits, section, activation, flags, down, across].

@group(0) @binding(0) var<storage, read_write> a: array<stored>;
@group(0) @binding(1) var<storage, read_write> b: array<stored>;
@group(0) @binding(2) var<storage, read_write> bias: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<stored>;
@group(0) @binding(4) var<storage, read_write> kept: array<stored>;
@group(0) @binding(5) var<storage, read_write> shape: array<u32>;

// Each column for itself: a vector indexed by a variable is slow in software.
fn put(at: u32, columns: u32, y: vec4<f32>) {
    out[at] = stored(y.x);
    if columns > 1u {
        out[at + 1u] = stored(y.y);
    }
    if columns > 2u {
        out[at + 2u] = stored(y.z);
    }
    if columns > 3u {
        out[at + 3u] = stored(y.w);
    }
}

fn keep(at: u32, columns: u32, z: vec4<f32>) {
    kept[at] = stored(z.x);
    if columns > 1u {
        kept[at + 1u] = stored(z.y);
    }
    if columns > 2u {
        kept[at + 2u] = stored(z.z);
    }
    if columns > 3u {
        kept[at + 3u] = stored(z.w);
    }
}

fn store_quad(tile: Tile, offset: u32, sum: vec4<f32>) {
    let row = tile.row + offset;
    if row >= shape[1] {
        return;
    }
    let columns = shape[2] - tile.column;
    let at = tile.split * shape[5] + (tile.batch * shape[1] + row) * shape[2] + tile.column;
    if shape[4] > 1u {
        put(at, columns, sum);
        return;
    }
    var z = sum;
    if (shape[7] & HAS_BIAS) > 0u {
        let n = rows_from(tile.column, shape[2]);
        z += vec4<f32>(bias[n.x], bias[n.y], bias[n.z], bias[n.w]);
    }
    if (shape[7] & KEEP) > 0u {
        keep(at, columns, z);
    }
    put(at, columns, activate(z, shape[6]));
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let inner = shape[3];
    let tile = tile_at(flat_index(workgroup, workgroups, local), SCALAR_COLUMNS, inner);
    if !tile.exists {
        return;
    }
    let a_low = (tile.batch * shape[1] + rows_from(tile.row, shape[1])) * inner;
    let a_high = (tile.batch * shape[1] + rows_from(tile.row + 4u, shape[1])) * inner;
    let b_start = tile.batch * inner * shape[2] + rows_from(tile.column, shape[2]) * shape[9];

    // Column i holds row i of the tile.
    var low = mat4x4<f32>();
    var high = mat4x4<f32>();
    for (var k = tile.first; k < tile.end; k++) {
        let at = b_start + k * shape[8];
        let right = vec4<f32>(vec4<stored>(b[at.x], b[at.y], b[at.z], b[at.w]));
        let x = vec4<f32>(vec4<stored>(a[a_low.x + k], a[a_low.y + k], a[a_low.z + k], a[a_low.w + k]));
        let y = vec4<f32>(vec4<stored>(a[a_high.x + k], a[a_high.y + k], a[a_high.z + k], a[a_high.w + k]));
        low += mat4x4<f32>(right * x.x, right * x.y, right * x.z, right * x.w);
        high += mat4x4<f32>(right * y.x, right * y.y, right * y.z, right * y.w);
    }
    store_quad(tile, 0u, low[0]);
    store_quad(tile, 1u, low[1]);
    store_quad(tile, 2u, low[2]);
    store_quad(tile, 3u, low[3]);
    store_quad(tile, 4u, high[0]);
    store_quad(tile, 5u, high[1]);
    store_quad(tile, 6u, high[2]);
    store_quad(tile, 7u, high[3]);
}
