// dweight[o, i, k, l] = sum_{n, h, w} x[n, h + k - 1, w + l - 1, i] dy[n, h, w, o], zero outside the image
// One invocation per input, 4 channels, all 9 taps, and one of the lanes into which the tiles of 2x7 pixels are dealt;
// a workgroup covers `block` quads of channels and all pixels.
// shape = [images, height, width, inputs, channels, slots, block].

@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> dy: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> dweight: array<f32>;
@group(0) @binding(3) var<storage, read_write> shape: array<u32>;

const PARTS = 3u;
var<workgroup> parts: array<vec4<f32>, WORKGROUP_SIZE * PARTS>;

// Sums a, b and c, which belong to three taps from `tap` on, over the lanes, and writes the sums.
fn reduce(local: u32, first_quad: u32, input: u32, tap: u32, a: vec4<f32>, b: vec4<f32>, c: vec4<f32>) {
    let inputs = shape[3];
    let channels = shape[4];
    let block = shape[6];
    let lanes = WORKGROUP_SIZE / block;
    parts[local * PARTS] = a;
    parts[local * PARTS + 1u] = b;
    parts[local * PARTS + 2u] = c;
    workgroupBarrier();
    for (var i = local; i < 12u * block; i += WORKGROUP_SIZE) {
        let part = i / 4u;
        var sum = 0.0;
        for (var lane = 0u; lane < lanes; lane++) {
            sum += parts[lane * block * PARTS + part][i % 4u];
        }
        let channel = (first_quad + part / PARTS) * 4u + i % 4u;
        if channel < channels && input < inputs {
            dweight[(channel * inputs + input) * 9u + tap + part % PARTS] = sum;
        }
    }
    workgroupBarrier();
}

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
    let value = x[start + min(column, width - 1u) * stride];
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

fn load_gradient(start: u32, stride: u32, column: u32, width: u32, inside: bool) -> vec4<f32> {
    let value = dy[start + min(column, width - 1u) * stride];
    return select(vec4<f32>(), value, inside & (column < width));
}

fn load_gradients(start: u32, stride: u32, column: u32, width: u32, inside: bool) -> Row {
    return Row(
        load_gradient(start, stride, column, width, inside),
        load_gradient(start, stride, column + 1u, width, inside),
        load_gradient(start, stride, column + 2u, width, inside),
        load_gradient(start, stride, column + 3u, width, inside),
        load_gradient(start, stride, column + 4u, width, inside),
        load_gradient(start, stride, column + 5u, width, inside),
        load_gradient(start, stride, column + 6u, width, inside),
    );
}

// The sums for the three taps of one row of the weights.
struct Taps {
    left: vec4<f32>,
    middle: vec4<f32>,
    right: vec4<f32>,
}

fn add_row(sum: Taps, x: Inputs, d: Row) -> Taps {
    return Taps(
        sum.left + d.p0 * x.x0 + d.p1 * x.x1 + d.p2 * x.x2 + d.p3 * x.x3 + d.p4 * x.x4 + d.p5 * x.x5 + d.p6 * x.x6,
        sum.middle + d.p0 * x.x1 + d.p1 * x.x2 + d.p2 * x.x3 + d.p3 * x.x4 + d.p4 * x.x5 + d.p5 * x.x6 + d.p6 * x.x7,
        sum.right + d.p0 * x.x2 + d.p1 * x.x3 + d.p2 * x.x4 + d.p3 * x.x5 + d.p4 * x.x6 + d.p5 * x.x7 + d.p6 * x.x8,
    );
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
    let block = shape[6];
    let blocks = (quads + block - 1u) / block;
    let group = workgroup.y * workgroups.x + workgroup.x;
    let first_quad = group % blocks * block;
    let quad = first_quad + local % block;
    let lane = local / block;
    let lanes = WORKGROUP_SIZE / block;
    let input = group / blocks;
    let busy = quad < quads && lane < lanes && input < inputs;
    let tiles_x = (width + TILE_WIDTH - 1u) / TILE_WIDTH;
    let tiles_y = (height + TILE_HEIGHT - 1u) / TILE_HEIGHT;

    var k0 = Taps();
    var k1 = Taps();
    var k2 = Taps();
    let tiles = select(0u, images * tiles_y * tiles_x, busy);
    for (var tile = lane; tile < tiles; tile += lanes) {
        let column = tile % tiles_x * TILE_WIDTH;
        let row = tile / tiles_x % tiles_y * TILE_HEIGHT;
        let start = (tile / (tiles_x * tiles_y) * height + row) * width;
        let has_upper = row > 0u;
        let has_bottom = row + 1u < height;
        let has_lower = row + 2u < height;
        let x_start = start * inputs + input;
        let x_stride = width * inputs;
        let upper = x_start - select(0u, x_stride, has_upper);
        let bottom = x_start + select(0u, x_stride, has_bottom);
        let lower = bottom + select(0u, x_stride, has_lower);
        let d_start = start * quads + quad;
        let d_bottom = d_start + select(0u, width * quads, has_bottom);

        let p = load_gradients(d_start, quads, column, width, true);
        let a = load_row(upper, inputs, column, width, has_upper);
        k0 = add_row(k0, a, p);
        let b = load_row(x_start, inputs, column, width, true);
        k1 = add_row(k1, b, p);
        let c = load_row(bottom, inputs, column, width, has_bottom);
        k2 = add_row(k2, c, p);
        let q = load_gradients(d_bottom, quads, column, width, has_bottom);
        k0 = add_row(k0, b, q);
        k1 = add_row(k1, c, q);
        let d = load_row(lower, inputs, column, width, has_lower);
        k2 = add_row(k2, d, q);
    }

    reduce(local, first_quad, input, 0u, k0.left, k0.middle, k0.right);
    reduce(local, first_quad, input, 3u, k1.left, k1.middle, k1.right);
    reduce(local, first_quad, input, 6u, k2.left, k2.middle, k2.right);
}
