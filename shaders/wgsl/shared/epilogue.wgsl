// Writes a tile of a product: with bias and activation, or, where the inner dimension is split, the sums as they are into
// the split's section.
// Reads bias and shape = [batch, rows, columns, inner, splits, section, activation, flags, ...], writes out and kept,
// the bindings of the kernel that it belongs to.

fn store_quad(tile: Tile, row_offset: u32, column_offset: u32, sum: vec4<f32>) {
    let row = tile.row + row_offset;
    let column = tile.column + column_offset;
    if row >= shape[1] || column >= shape[2] {
        return;
    }
    let at = (tile.split * shape[5] + (tile.batch * shape[1] + row) * shape[2] + column) / 4u;
    if shape[4] > 1u {
        out[at] = vec4<stored>(sum);
        return;
    }
    var z = sum;
    if (shape[7] & HAS_BIAS) > 0u {
        z += bias[column / 4u];
    }
    if (shape[7] & KEEP) > 0u {
        kept[at] = vec4<stored>(z);
    }
    out[at] = vec4<stored>(activate(z, shape[6]));
}

fn store_block(tile: Tile, row_offset: u32, column_offset: u32, sums: mat4x4<f32>) {
    store_quad(tile, row_offset, column_offset, sums[0]);
    store_quad(tile, row_offset + 1u, column_offset, sums[1]);
    store_quad(tile, row_offset + 2u, column_offset, sums[2]);
    store_quad(tile, row_offset + 3u, column_offset, sums[3]);
}

fn store_tile(tile: Tile, sums: Sums) {
    store_block(tile, 0u, 0u, sums.upper);
    store_block(tile, 4u, 0u, sums.lower);
    store_block(tile, 0u, 4u, sums.upper_right);
    store_block(tile, 4u, 4u, sums.lower_right);
}
