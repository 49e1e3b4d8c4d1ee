// dx[n, h, w, i] = sum_{k, l, o} dy[n, h + k - 1, w + l - 1, o] packed[8 - 3 k - l, i, o], zero outside the image
// One invocation per 2x7 pixels and 4 inputs. shape = [images, height, width, inputs, channels, ...].

@group(0) @binding(0) var<storage, read_write> dy: array<vec4<stored>>;
@group(0) @binding(1) var<storage, read_write> packed: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> dx: array<stored>;
@group(0) @binding(3) var<storage, read_write> shape: array<u32>;

// The pixels from one left of a tile's row to one right of it.
struct Gradients {
    d0: vec4<f32>,
    d1: vec4<f32>,
    d2: vec4<f32>,
    d3: vec4<f32>,
    d4: vec4<f32>,
    d5: vec4<f32>,
    d6: vec4<f32>,
    d7: vec4<f32>,
    d8: vec4<f32>,
}

// Zero outside the image; u32 wraps, so that a column left of it is outside too.
fn load(start: u32, stride: u32, column: u32, width: u32, row_inside: bool) -> vec4<f32> {
    let value = vec4<f32>(dy[start + min(column, width - 1u) * stride]);
    return select(vec4<f32>(), value, row_inside & (column < width));
}

fn load_row(start: u32, stride: u32, column: u32, width: u32, inside: bool) -> Gradients {
    return Gradients(
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

// The weights of 4 inputs, a column each, so that `gradient * weights` sums over 4 channels. Inputs past
// the last repeat it; what comes of them is not stored.
fn load_weights(start: u32, inputs: vec4<u32>) -> mat4x4<f32> {
    return mat4x4<f32>(
        packed[start + inputs.x],
        packed[start + inputs.y],
        packed[start + inputs.z],
        packed[start + inputs.w],
    );
}

fn add_taps(sum: Row, d: Gradients, w0: mat4x4<f32>, w1: mat4x4<f32>, w2: mat4x4<f32>) -> Row {
    return Row(
        sum.p0 + d.d0 * w0 + d.d1 * w1 + d.d2 * w2,
        sum.p1 + d.d1 * w0 + d.d2 * w1 + d.d3 * w2,
        sum.p2 + d.d2 * w0 + d.d3 * w1 + d.d4 * w2,
        sum.p3 + d.d3 * w0 + d.d4 * w1 + d.d5 * w2,
        sum.p4 + d.d4 * w0 + d.d5 * w1 + d.d6 * w2,
        sum.p5 + d.d5 * w0 + d.d6 * w1 + d.d7 * w2,
        sum.p6 + d.d6 * w0 + d.d7 * w1 + d.d8 * w2,
    );
}

fn store(value: vec4<f32>, start: u32, count: u32) {
    dx[start] = stored(value.x);
    if count > 1u {
        dx[start + 1u] = stored(value.y);
    }
    if count > 2u {
        dx[start + 2u] = stored(value.z);
    }
    if count > 3u {
        dx[start + 3u] = stored(value.w);
    }
}

fn store_row(row: Row, start: u32, stride: u32, columns: u32, count: u32) {
    store(row.p0, start, count);
    if columns > 1u {
        store(row.p1, start + 1u * stride, count);
    }
    if columns > 2u {
        store(row.p2, start + 2u * stride, count);
    }
    if columns > 3u {
        store(row.p3, start + 3u * stride, count);
    }
    if columns > 4u {
        store(row.p4, start + 4u * stride, count);
    }
    if columns > 5u {
        store(row.p5, start + 5u * stride, count);
    }
    if columns > 6u {
        store(row.p6, start + 6u * stride, count);
    }
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
    let input_quads = (inputs + 3u) / 4u;
    let tiles_x = (width + TILE_WIDTH - 1u) / TILE_WIDTH;
    let tiles_y = (height + TILE_HEIGHT - 1u) / TILE_HEIGHT;
    let index = flat_index(workgroup, workgroups, local);
    let tile = index / input_quads;
    if tile >= images * tiles_y * tiles_x {
        return;
    }
    let input = index % input_quads * 4u;
    let offsets = channels_of(index % input_quads, inputs) * quads;
    let column = tile % tiles_x * TILE_WIDTH;
    let row = tile / tiles_x % tiles_y * TILE_HEIGHT;
    let image_row = tile / (tiles_x * tiles_y) * height;
    let tap = inputs * quads;

    var top = Row();
    var bottom = Row();
    for (var k = 0u; k < 3u; k++) {
        let upper = row + k - 1u;
        let lower = row + k;
        let upper_start = (image_row + min(upper, height - 1u)) * width * quads;
        let lower_start = (image_row + min(lower, height - 1u)) * width * quads;
        let taps = (6u - 3u * k) * tap;
        for (var o = 0u; o < quads; o++) {
            let w0 = load_weights(taps + 2u * tap + o, offsets);
            let w1 = load_weights(taps + tap + o, offsets);
            let w2 = load_weights(taps + o, offsets);
            let a = load_row(upper_start + o, quads, column, width, upper < height);
            top = add_taps(top, a, w0, w1, w2);
            let b = load_row(lower_start + o, quads, column, width, lower < height);
            bottom = add_taps(bottom, b, w0, w1, w2);
        }
    }

    let start = ((image_row + row) * width + column) * inputs + input;
    store_row(top, start, inputs, width - column, inputs - input);
    if row + 1u < height {
        store_row(bottom, start + width * inputs, inputs, width - column, inputs - input);
    }
}
