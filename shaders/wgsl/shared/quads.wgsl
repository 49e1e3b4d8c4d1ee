// A tile of 8 rows and 8 columns in four matrices, each of whose columns holds four columns of one row of the tile:
// reading a value from memory costs more than keeping so many sums.
const TILE_COLUMNS = 8u;

struct Sums {
    // Rows 0 to 3 and 4 to 7 of the first four columns, then of the others.
    upper: mat4x4<f32>,
    lower: mat4x4<f32>,
    upper_right: mat4x4<f32>,
    lower_right: mat4x4<f32>,
}
