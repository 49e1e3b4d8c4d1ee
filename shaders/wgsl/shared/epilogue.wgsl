// Writes four columns of one row of a product: with bias and activation, or, where the inner dimension is split, the
// sum as it is into the split's section.
// Reads bias and shape = [batch, rows, columns, inner, splits, section, activation, flags, ...], writes out and kept,
// the bindings of the kernel that it belongs to.
const HAS_BIAS = 1u;
const KEEP = 2u;

fn store_quad(tile: Tile, offset: u32, sum: vec4<f32>) {
    let row = tile.row + offset;
    if row >= shape[1] {
        return;
    }
    let at = (tile.split * shape[5] + (tile.batch * shape[1] + row) * shape[2] + tile.column) / 4u;
    if shape[4] > 1u {
        out[at] = vec4<stored>(sum);
        return;
    }
    var z = sum;
    if (shape[7] & HAS_BIAS) > 0u {
        z += bias[tile.column / 4u];
    }
    if (shape[7] & KEEP) > 0u {
        kept[at] = vec4<stored>(z);
    }
    out[at] = vec4<stored>(activate(z, shape[6]));
}

fn store_tile(tile: Tile, low: mat4x4<f32>, high: mat4x4<f32>) {
    store_quad(tile, 0u, low[0]);
    store_quad(tile, 1u, low[1]);
    store_quad(tile, 2u, low[2]);
    store_quad(tile, 3u, low[3]);
    store_quad(tile, 4u, high[0]);
    store_quad(tile, 5u, high[1]);
    store_quad(tile, 6u, high[2]);
    store_quad(tile, 7u, high[3]);
}
