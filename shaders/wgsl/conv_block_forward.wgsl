// y[n, h, w, o] = sum_{k, l, i} x[n, h + k - 1, w + l - 1, i] packed[3 k + l, i, o], zero outside the image,
// and for every slot the mean, the sum of squared deviations and the count of each channel of its part of y.
// For any number of inputs. One invocation per 2x7 pixels and 4 channels at a time. Images are dealt to groups of slots,
// so that a launch for each group gives what one for all of them gives.
// shape = [images, height, width, inputs, channels, slots, block, images of a group, slots of a group, ...].

@group(0) @binding(0) var<storage, read_write> x: array<stored>;
@group(0) @binding(1) var<storage, read_write> packed: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<stored>>;
@group(0) @binding(3) var<storage, read_write> partials: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> shape: array<u32>;

var<workgroup> lane_moments: array<Moments, WORKGROUP_SIZE>;

// The pixels from one left of a tile's row to one right of it.
struct Inputs {
    x0: f32,
    x1: f32,
    x2: f32,
    x3: f32,
    x4: f32,
    x5: f32,
    x6: f32,
    x7: f32,
    x8: f32,
}

// Zero outside the image; u32 wraps, so that a column left of it is outside too.
fn load(start: u32, stride: u32, column: u32, width: u32, row_inside: bool) -> f32 {
    let value = f32(x[start + min(column, width - 1u) * stride]);
    return select(0.0, value, row_inside & (column < width));
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

fn add_taps(sum: Row, x: Inputs, w0: vec4<f32>, w1: vec4<f32>, w2: vec4<f32>) -> Row {
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
    y[start] = vec4<stored>(row.p0);
    if columns > 1u {
        y[start + 1u * stride] = vec4<stored>(row.p1);
    }
    if columns > 2u {
        y[start + 2u * stride] = vec4<stored>(row.p2);
    }
    if columns > 3u {
        y[start + 3u * stride] = vec4<stored>(row.p3);
    }
    if columns > 4u {
        y[start + 4u * stride] = vec4<stored>(row.p4);
    }
    if columns > 5u {
        y[start + 5u * stride] = vec4<stored>(row.p5);
    }
    if columns > 6u {
        y[start + 6u * stride] = vec4<stored>(row.p6);
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

    var moments = Moments();
    let group = at.slot / shape[8];
    let end = min((group + 1u) * shape[7], images) * tiles_y * tiles_x;
    let tiles = select(0u, end, busy);
    let first = group * shape[7] * tiles_y * tiles_x + at.slot % shape[8] * at.lanes + at.lane;
    for (var tile = first; tile < tiles; tile += shape[8] * at.lanes) {
        let column = tile % tiles_x * TILE_WIDTH;
        let row = tile / tiles_x % tiles_y * TILE_HEIGHT;
        let image_row = tile / (tiles_x * tiles_y) * height;

        var top = Row();
        var bottom = Row();
        let tap = inputs * quads;
        // The four rows of x around the tile; those outside the image read one inside, and count as zero.
        let rows = min(vec4<u32>(row) + vec4<u32>(0u, 1u, 2u, 3u) - 1u, vec4<u32>(height - 1u));
        let starts = (vec4<u32>(image_row) + rows) * (width * inputs);
        for (var i = 0u; i < inputs; i++) {
            let w = i * quads + at.quad;
            let w0 = packed[w];
            let w1 = packed[w + tap];
            let w2 = packed[w + 2u * tap];
            let w3 = packed[w + 3u * tap];
            let w4 = packed[w + 4u * tap];
            let w5 = packed[w + 5u * tap];
            let w6 = packed[w + 6u * tap];
            let w7 = packed[w + 7u * tap];
            let w8 = packed[w + 8u * tap];
            let a = load_row(starts.x + i, inputs, column, width, row > 0u);
            top = add_taps(top, a, w0, w1, w2);
            let b = load_row(starts.y + i, inputs, column, width, true);
            top = add_taps(top, b, w3, w4, w5);
            bottom = add_taps(bottom, b, w0, w1, w2);
            let c = load_row(starts.z + i, inputs, column, width, row + 1u < height);
            top = add_taps(top, c, w6, w7, w8);
            bottom = add_taps(bottom, c, w3, w4, w5);
            let d = load_row(starts.w + i, inputs, column, width, row + 2u < height);
            bottom = add_taps(bottom, d, w6, w7, w8);
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
