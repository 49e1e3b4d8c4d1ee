// The body of convolutions: every target pixel gathers source pixels below some taps. Calls `add_channels`, which
// belongs to the kernel, as do packed, bias, target_values and shape.
// shape = [images, groups, depth, rows, source height, source width, target height, target width, kernel rows,
// kernel columns, stride 0, stride 1, padding 0, padding 1, whether there is a bias, tiles of a phase], `depth`
// source channels and `rows` target channels of a group.
const TILE = 8u;

// Four target pixels: the row of their image among all source rows, their position, and whether they exist.
struct Pixels {
    image: vec4<u32>,
    y: vec4<u32>,
    x: vec4<u32>,
    exists: vec4<bool>,
}

// Sums of four channels of four pixels.
struct Sums {
    p0: vec4<f32>,
    p1: vec4<f32>,
    p2: vec4<f32>,
    p3: vec4<f32>,
}

// Where four source pixels lie, and whether they lie inside the image.
struct Sources {
    at: vec4<u32>,
    inside: vec4<bool>,
}

fn pixels_of(first: u32, rows: u32, columns: u32) -> Pixels {
    let index = vec4<u32>(first) + vec4<u32>(0u, 1u, 2u, 3u);
    let exists = index < vec4<u32>(shape[0] * rows * columns);
    let kept = select(vec4<u32>(), index, exists);
    let row = kept / columns;
    return Pixels(row / rows, row % rows, kept % columns, exists);
}

// u32 wraps, so that rows above and columns left of the image are outside too.
fn sources_of(pixels: Pixels, step_y: u32, step_x: u32, y: u32, x: u32, channels: u32) -> Sources {
    let height = vec4<u32>(shape[4]);
    let width = vec4<u32>(shape[5]);
    let row = pixels.y * step_y + y;
    let column = pixels.x * step_x + x;
    let inside = (row < height) & (column < width);
    let kept = select(vec4<u32>(), (pixels.image * shape[4] + row) * shape[5] + column, inside);
    return Sources(kept * channels, inside);
}

fn store(value: vec4<f32>, start: u32, count: u32) {
    target_values[start] = stored(value.x);
    if count > 1u {
        target_values[start + 1u] = stored(value.y);
    }
    if count > 2u {
        target_values[start + 2u] = stored(value.z);
    }
    if count > 3u {
        target_values[start + 3u] = stored(value.w);
    }
}

fn store_pixels(sums: Sums, pixels: Pixels, first_y: u32, first_x: u32, step_y: u32, step_x: u32, channel: u32, count: u32) {
    let y = pixels.y * step_y + first_y;
    let x = pixels.x * step_x + first_x;
    let start = ((pixels.image * shape[6] + y) * shape[7] + x) * (shape[1] * shape[3]) + channel;
    if pixels.exists.x {
        store(sums.p0, start.x, count);
    }
    if pixels.exists.y {
        store(sums.p1, start.y, count);
    }
    if pixels.exists.z {
        store(sums.p2, start.z, count);
    }
    if pixels.exists.w {
        store(sums.p3, start.w, count);
    }
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let groups = shape[1];
    let depth = shape[2];
    let rows = shape[3];
    let quads = (rows + 3u) / 4u;
    let tiles = shape[15];
    let index = flat_index(workgroup, workgroups, local);
    let quad = index % quads;
    let group = index / quads % groups;
    let tile = index / (quads * groups) % tiles;
    let phase = index / (quads * groups * tiles);

    // Forward, the pixels of a tap lie a stride apart. Backward, pixels a stride apart have the same taps and make one
    // phase, in which the pixels of a tap are neighbours, and those of later taps come earlier.
    let stride = vec2<u32>(shape[10], shape[11]);
    let padding = vec2<u32>(shape[12], shape[13]);
    let goal = vec2<u32>(shape[6], shape[7]);
    let phases = select(vec2<u32>(1u), min(stride, goal), TRANSPOSED);
    if phase >= phases.x * phases.y {
        return;
    }
    let first = vec2<u32>(phase / phases.y, phase % phases.y);
    let spread = select(vec2<u32>(1u), stride, TRANSPOSED);
    let step = select(stride, vec2<u32>(1u), TRANSPOSED);
    let count = (goal - first + spread - 1u) / spread;
    let first_tap = select(vec2<u32>(), (first + padding) % stride, TRANSPOSED);
    let origin = select(vec2<u32>() - padding, (first + padding) / stride, TRANSPOSED);
    let onward = select(1u, 0xffffffffu, TRANSPOSED);

    let low = pixels_of(tile * TILE, count.x, count.y);
    let high = pixels_of(tile * TILE + 4u, count.x, count.y);
    let channel = group * rows + quad * 4u;
    let channels = min(rows - quad * 4u, 4u);
    var start = vec4<f32>();
    if shape[14] == 1u {
        let last = group * rows + rows - 1u;
        let at = min(vec4<u32>(channel) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(last));
        start = vec4<f32>(bias[at.x], bias[at.y], bias[at.z], bias[at.w]);
    }
    var low_sums = Sums(start, start, start, start);
    var high_sums = Sums(start, start, start, start);
    for (var k = first_tap.x; k < shape[8]; k += spread.x) {
        let y = origin.x + (k - first_tap.x) / spread.x * onward;
        for (var l = first_tap.y; l < shape[9]; l += spread.y) {
            let x = origin.y + (l - first_tap.y) / spread.y * onward;
            let weights = ((group * shape[8] + k) * shape[9] + l) * depth * quads + quad;
            let low_sources = sources_of(low, step.x, step.y, y, x, groups * depth);
            let high_sources = sources_of(high, step.x, step.y, y, x, groups * depth);
            add_channels(&low_sums, &high_sums, low_sources, high_sources, group * depth, weights, depth, quads);
        }
    }
    store_pixels(low_sums, low, first.x, first.y, spread.x, spread.y, channel, channels);
    store_pixels(high_sums, high, first.x, first.y, spread.x, spread.y, channel, channels);
}
