// With xhat = (x - mean) inverse and g = gamma dy:
//   dx = inverse (g - mean of g - xhat mean of (g xhat)), means over the row;
//   parameters = [dgamma, dbeta] in rows of row_of(width): dgamma = sum dy xhat, dbeta = sum dy, over all rows.
// The first workgroups take SIDE columns each, the others SIDE rows each; SIDE lanes share a column or a row. Both want
// two sums, so one barrier serves both. shape = [rows, width, ...].

@group(0) @binding(0) var<storage, read_write> x: array<stored>;
@group(0) @binding(1) var<storage, read_write> gamma: array<f32>;
@group(0) @binding(2) var<storage, read_write> statistics: array<f32>;
@group(0) @binding(3) var<storage, read_write> dy: array<stored>;
@group(0) @binding(4) var<storage, read_write> dx: array<stored>;
@group(0) @binding(5) var<storage, read_write> parameters: array<f32>;
@group(0) @binding(6) var<storage, read_write> shape: array<u32>;

const SIDE = 16u;
var<workgroup> parts: array<vec2<f32>, WORKGROUP_SIZE>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let rows = shape[0];
    let width = shape[1];
    let side = local % SIDE;
    let other = local / SIDE;
    let group = workgroup.y * workgroups.x + workgroup.x;
    let column_groups = (width + SIDE - 1u) / SIDE;
    let by_column = group < column_groups;
    let column = group * SIDE + side;
    let row = (group - column_groups) * SIDE + other;

    var sums = vec2<f32>();
    if by_column {
        let end = select(0u, rows, column < width);
        for (var r = other; r < end; r += SIDE) {
            let d = f32(dy[r * width + column]);
            sums += vec2<f32>(d * xhat(r, column), d);
        }
    } else {
        let end = select(0u, width, row < rows);
        for (var c = side; c < end; c += SIDE) {
            let g = f32(dy[row * width + c]) * gamma[c];
            sums += vec2<f32>(g * xhat(row, c), g);
        }
    }
    parts[local] = sums;
    workgroupBarrier();

    var total = vec2<f32>();
    for (var lane = 0u; lane < SIDE; lane++) {
        total += parts[select(other * SIDE + lane, lane * SIDE + side, by_column)];
    }
    if by_column {
        if other == 0u && column < width {
            parameters[column] = total.x;
            parameters[row_of(width) + column] = total.y;
        }
    } else if row < rows {
        let inverse = statistics[2u * row + 1u];
        let mean = total / f32(width);
        for (var c = side; c < width; c += SIDE) {
            let g = f32(dy[row * width + c]) * gamma[c];
            dx[row * width + c] = stored(inverse * (g - mean.y - xhat(row, c) * mean.x));
        }
    }
}

fn xhat(row: u32, column: u32) -> f32 {
    return (f32(x[row * shape[1] + column]) - statistics[2u * row]) * statistics[2u * row + 1u];
}
