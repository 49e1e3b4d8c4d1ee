// dweight[part, c, k, l] = sum_{n, h, w} x[n, h s - p + k, w s - p + l, c] dy[n, h, w, c], zero outside the image, over
// the rows of dy that belong to the part. One invocation per channel, BLOCK taps of a row of the kernel, and part.
// shape as in wgsl/shared/outer.wgsl, with groups for channels.

@group(0) @binding(0) var<storage, read_write> x: array<stored>;
@group(0) @binding(1) var<storage, read_write> dy: array<stored>;
@group(0) @binding(2) var<storage, read_write> dweight: array<f32>;
@group(0) @binding(3) var<storage, read_write> shape: array<u32>;

const BLOCK = 5u;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let channels = shape[1];
    let height = shape[4];
    let width = shape[5];
    let parts = shape[14];
    let blocks = (shape[9] + BLOCK - 1u) / BLOCK;
    let index = flat_index(workgroup, workgroups, local);
    let channel = index % channels;
    let tap = index / channels % blocks * BLOCK;
    let k = index / (channels * blocks) % shape[8];
    let part = index / (channels * blocks * shape[8]);
    if part >= parts {
        return;
    }
    let count = min(shape[9] - tap, BLOCK);
    let rows = shape[0] * shape[6];
    // Rows of a part, rounded up: a product of both could exceed 32 bits.
    let each = (rows + parts - 1u) / parts;
    var sums = vec4<f32>();
    var last = 0.0;
    for (var row = part * each; row < min((part + 1u) * each, rows); row++) {
        // u32 wraps: rows above and columns left of the image are outside too.
        let y = row % shape[6] * shape[10] + k - shape[12];
        if y >= height {
            continue;
        }
        let start = (row / shape[6] * height + y) * width;
        for (var column = 0u; column < shape[7]; column++) {
            let flow = f32(dy[(row * shape[7] + column) * channels + channel]);
            let first = column * shape[11] + tap - shape[13];
            let columns = vec4<u32>(first) + vec4<u32>(0u, 1u, 2u, 3u);
            let inside = columns < vec4<u32>(width);
            let at = (start + select(vec4<u32>(), columns, inside)) * channels + channel;
            let values = vec4<f32>(vec4<stored>(x[at.x], x[at.y], x[at.z], x[at.w]));
            sums += flow * select(vec4<f32>(), values, inside);
            if count == BLOCK && first + 4u < width {
                last += flow * f32(x[(start + first + 4u) * channels + channel]);
            }
        }
    }
    let place = ((part * channels + channel) * shape[8] + k) * shape[9] + tap;
    for (var i = 0u; i < min(count, 4u); i++) {
        dweight[place + i] = sums[i];
    }
    if count == BLOCK {
        dweight[place + 4u] = last;
    }
}
