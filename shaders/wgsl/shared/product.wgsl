// One tile of 8 rows and some columns of a batched product, and which part of the inner dimension is summed for it.
// Reads shape = [batch, rows, columns, inner, splits, section, ...], the binding of the kernel that it belongs to.
const TILE_ROWS = 8u;
// Where values are read one by one.
const SCALAR_COLUMNS = 4u;

struct Tile {
    batch: u32,
    row: u32,
    column: u32,
    split: u32,
    // Counted in what the kernel sums at once.
    first: u32,
    end: u32,
    exists: bool,
}

// Tiles of `width` columns; the inner dimension is summed in `steps` steps.
fn tile_at(index: u32, width: u32, steps: u32) -> Tile {
    let column_tiles = (shape[2] + width - 1u) / width;
    let row_tiles = (shape[1] + TILE_ROWS - 1u) / TILE_ROWS;
    let splits = shape[4];
    let above = index / column_tiles;
    let split = above / row_tiles % splits;
    let batch = above / (row_tiles * splits);
    let share = (steps + splits - 1u) / splits;
    let first = min(split * share, steps);
    return Tile(
        batch,
        above % row_tiles * TILE_ROWS,
        index % column_tiles * width,
        split,
        first,
        min(first + share, steps),
        batch < shape[0],
    );
}

// The first row of a tile and those after it; what lies past the last row repeats it.
fn rows_from(row: u32, count: u32) -> vec4<u32> {
    return min(vec4<u32>(row) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(count - 1u));
}
