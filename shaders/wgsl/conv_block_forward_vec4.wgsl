// y[n, h, w, o] = sum_{k, l, i} x[n, h + k - 1, w + l - 1, i] packed[3 k + l, i, o], zero outside the image,
// and for every slot the mean, the sum of squared deviations and the count of each channel of its part of y.
// For inputs % 4 == 0. One invocation per 2x7 pixels and 4 channels at a time.
// shape = [images, height, width, inputs, channels, slots, ...].

@group(0) @binding(0) var<storage, read_write> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> packed: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> partials: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> shape: array<u32>;

var<workgroup> lane_moments: array<Moments, WORKGROUP_SIZE>;

// The pixels from one left of a tile's row to one right of it.
struct Inputs {
    x0: vec4<f32>,
    x1: vec4<f32>,
    x2: vec4<f32>,
    x3: vec4<f32>,
    x4: vec4<f32>,
    x5: vec4<f32>,
    x6: vec4<f32>,
    x7: vec4<f32>,
    x8: vec4<f32>,
}

// Zero outside the image; u32 wraps, so that a column left of it is outside too.
fn load(start: u32, stride: u32, column: u32, width: u32, row_inside: bool) -> vec4<f32> {
    let value = x[start + min(column, width - 1u) * stride];
    return select(vec4<f32>(), value, row_inside & (column < width));
}

fn load_row(start: u32, stride: u32, column: u32, width: u32, inside: bool) -> Inputs {
    return Inputs(
        load(start, stride, column - 1u, width, inside),
        load(start, stride, column, width, inside),
        load(start, stride, column + 1u, width, inside),
        load(start, stride, column + 2u, width, inside),
        load(start, stride, column + 3u, width, inside),
        load(start, stride, column + 4u, width, inside),
        load(start, stride, column + 5u, width, inside),
        load(start, stride, column + 6u, width, inside),
        load(start, stride, column + 7u, width, inside),
    );
}

// The weights of 4 inputs, a column each.
fn load_weights(start: u32, stride: u32) -> mat4x4<f32> {
    return mat4x4<f32>(
        packed[start],
        packed[start + stride],
        packed[start + 2u * stride],
        packed[start + 3u * stride],
    );
}

fn add_taps(sum: Row, x: Inputs, w0: mat4x4<f32>, w1: mat4x4<f32>, w2: mat4x4<f32>) -> Row {
    return Row(
        sum.p0 + w0 * x.x0 + w1 * x.x1 + w2 * x.x2,
        sum.p1 + w0 * x.x1 + w1 * x.x2 + w2 * x.x3,
        sum.p2 + w0 * x.x2 + w1 * x.x3 + w2 * x.x4,
        sum.p3 + w0 * x.x3 + w1 * x.x4 + w2 * x.x5,
        sum.p4 + w0 * x.x4 + w1 * x.x5 + w2 * x.x6,
        sum.p5 + w0 * x.x5 + w1 * x.x6 + w2 * x.x7,
        sum.p6 + w0 * x.x6 + w1 * x.x7 + w2 * x.x8,
    );
}

fn store_row(row: Row, start: u32, stride: u32, columns: u32) {
    y[start] = row.p0;
    if columns > 1u {
        y[start + 1u * stride] = row.p1;
    }
    if columns > 2u {
        y[start + 2u * stride] = row.p2;
    }
    if columns > 3u {
        y[start + 3u * stride] = row.p3;
    }
    if columns > 4u {
        y[start + 4u * stride] = row.p4;
    }
    if columns > 5u {
        y[start + 5u * stride] = row.p5;
    }
    if columns > 6u {
        y[start + 6u * stride] = row.p6;
    }
}

fn row_sum(row: Row, columns: u32) -> vec4<f32> {
    let zero = vec4<f32>();
    return row.p0
        + select(zero, row.p1, columns > 1u)
        + select(zero, row.p2, columns > 2u)
        + select(zero, row.p3, columns > 3u)
        + select(zero, row.p4, columns > 4u)
        + select(zero, row.p5, columns > 5u)
        + select(zero, row.p6, columns > 6u);
}

fn row_squares(row: Row, mean: vec4<f32>, columns: u32) -> vec4<f32> {
    let zero = vec4<f32>();
    return (row.p0 - mean) * (row.p0 - mean)
        + select(zero, (row.p1 - mean) * (row.p1 - mean), columns > 1u)
        + select(zero, (row.p2 - mean) * (row.p2 - mean), columns > 2u)
        + select(zero, (row.p3 - mean) * (row.p3 - mean), columns > 3u)
        + select(zero, (row.p4 - mean) * (row.p4 - mean), columns > 4u)
        + select(zero, (row.p5 - mean) * (row.p5 - mean), columns > 5u)
        + select(zero, (row.p6 - mean) * (row.p6 - mean), columns > 6u);
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let images = shape[0];
    let height = shape[1];
    let width = shape[2];
    let inputs = shape[3];
    let quads = (shape[4] + 3u) / 4u;
    let slots = shape[5];
    let tiles_x = (width + TILE_WIDTH - 1u) / TILE_WIDTH;
    let tiles_y = (height + TILE_HEIGHT - 1u) / TILE_HEIGHT;
    let at = place(workgroup, workgroups, local, quads);
    let busy = at.busy && at.slot < slots;
    let input_quads = inputs / 4u;

    var moments = Moments();
    let first = select(images * tiles_y * tiles_x, at.slot * at.lanes + at.lane, busy);
    for (var tile = first; tile < images * tiles_y * tiles_x; tile += slots * at.lanes) {
        let column = tile % tiles_x * TILE_WIDTH;
        let row = tile / tiles_x % tiles_y * TILE_HEIGHT;
        let image_row = tile / (tiles_x * tiles_y) * height;

        var top = Row();
        var bottom = Row();
        for (var k = 0u; k < 3u; k++) {
            let upper = row + k - 1u;
            let lower = row + k;
            let upper_start = (image_row + min(upper, height - 1u)) * width * input_quads;
            let lower_start = (image_row + min(lower, height - 1u)) * width * input_quads;
            for (var i = 0u; i < input_quads; i++) {
                let w0 = load_weights((3u * k * inputs + 4u * i) * quads + at.quad, quads);
                let w1 = load_weights(((3u * k + 1u) * inputs + 4u * i) * quads + at.quad, quads);
                let w2 = load_weights(((3u * k + 2u) * inputs + 4u * i) * quads + at.quad, quads);
                let u = load_row(upper_start + i, input_quads, column, width, upper < height);
                top = add_taps(top, u, w0, w1, w2);
                let l = load_row(lower_start + i, input_quads, column, width, lower < height);
                bottom = add_taps(bottom, l, w0, w1, w2);
            }
        }

        let columns = width - column;
        let start = ((image_row + row) * width + column) * quads + at.quad;
        store_row(top, start, quads, columns);
        let has_bottom = row + 1u < height;
        if has_bottom {
            store_row(bottom, start + width * quads, quads, columns);
        }

        let zero = vec4<f32>();
        let count = f32(min(columns, TILE_WIDTH) * select(1u, 2u, has_bottom));
        let sum = row_sum(top, columns) + select(zero, row_sum(bottom, columns), has_bottom);
        let mean = sum / count;
        let m2 = row_squares(top, mean, columns) + select(zero, row_squares(bottom, mean, columns), has_bottom);
        moments = merge(moments, Moments(mean, m2, count));
    }

    lane_moments[local] = moments;
    workgroupBarrier();
    if busy && at.lane == 0u {
        for (var lane = 1u; lane < at.lanes; lane++) {
            moments = merge(moments, lane_moments[local + lane * at.block]);
        }
        let start = at.slot * 3u * quads + at.quad;
        partials[start] = moments.mean;
        partials[start + quads] = moments.m2;
        partials[start + 2u * quads] = vec4<f32>(moments.count);
    }
}
