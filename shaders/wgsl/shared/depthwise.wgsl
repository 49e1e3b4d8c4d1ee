// The body of depthwise convolutions: a row of target pixels of one channel gathers source pixels below some taps. Reads
// source_values, weight and bias and writes target_values, the bindings of the kernel.
// shape as in gather.wgsl, with groups for channels and the tiles of a row's phase.
const TILE = 4u;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let channels = shape[1];
    let width = shape[5];
    let goal = vec2<u32>(shape[6], shape[7]);
    let stride = vec2<u32>(shape[10], shape[11]);
    let padding = vec2<u32>(shape[12], shape[13]);

    // Backward, pixels a stride apart have the same taps: they make one phase of a row.
    let spread = select(vec2<u32>(1u), stride, TRANSPOSED);
    let step = select(stride, vec2<u32>(1u), TRANSPOSED);
    let onward = select(1u, 0xffffffffu, TRANSPOSED);
    let phases = min(spread.y, goal.y);
    let tiles = shape[15];
    let index = flat_index(workgroup, workgroups, local);
    let channel = index % channels;
    let tile = index / channels % tiles;
    let phase = index / (channels * tiles) % phases;
    let row = index / (channels * tiles * phases);
    if row >= shape[0] * goal.x {
        return;
    }
    let place = vec2<u32>(row % goal.x, phase) + padding;
    let first_tap = select(vec2<u32>(), place % stride, TRANSPOSED);
    // u32 wraps: rows above and columns left of the image are outside too.
    let forward = vec2<u32>(row % goal.x, 0u) * stride - padding;
    let origin = select(forward, place / stride, TRANSPOSED);
    let columns = vec4<u32>(tile * TILE) + vec4<u32>(0u, 1u, 2u, 3u);

    var sums = vec4<f32>();
    if shape[14] == 1u {
        sums = vec4<f32>(bias[channel]);
    }
    for (var k = first_tap.x; k < shape[8]; k += spread.x) {
        let y = origin.x + (k - first_tap.x) / spread.x * onward;
        if y >= shape[4] {
            continue;
        }
        let start = (row / goal.x * shape[4] + y) * width;
        for (var l = first_tap.y; l < shape[9]; l += spread.y) {
            let x = columns * step.y + (origin.y + (l - first_tap.y) / spread.y * onward);
            let inside = x < vec4<u32>(width);
            let at = (start + select(vec4<u32>(), x, inside)) * channels + channel;
            let values = vec4<stored>(source_values[at.x], source_values[at.y], source_values[at.z], source_values[at.w]);
            // Not a product with 0, which would spread NaN.
            sums += weight[(channel * shape[8] + k) * shape[9] + l] * select(vec4<f32>(), vec4<f32>(values), inside);
        }
    }
    let targets = columns * spread.y + phase;
    for (var i = 0u; i < TILE; i++) {
        if targets[i] < goal.y {
            target_values[(row * goal.y + targets[i]) * channels + channel] = stored(sums[i]);
        }
    }
}
