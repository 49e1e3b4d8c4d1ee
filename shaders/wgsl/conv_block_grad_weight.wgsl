// dweight[o, i, k, l] = sum_{n, h, w} x[n, h + k - 1, w + l - 1, i] dy[n, h, w, o], zero outside the image
// For any number of inputs. One invocation per input, 4 channels, all 9 taps, and one of the lanes into which the
// rows of pixels are dealt; a workgroup covers `block` quads of channels and all pixels.
// shape = [images, height, width, inputs, channels, slots, block].

@group(0) @binding(0) var<storage, read_write> x: array<stored>;
@group(0) @binding(1) var<storage, read_write> dy: array<vec4<stored>>;
@group(0) @binding(2) var<storage, read_write> dweight: array<f32>;
@group(0) @binding(3) var<storage, read_write> shape: array<u32>;

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
    let zero = vec4<f32>();

    var s0 = zero;
    var s1 = zero;
    var s2 = zero;
    var s3 = zero;
    var s4 = zero;
    var s5 = zero;
    var s6 = zero;
    var s7 = zero;
    var s8 = zero;
    let rows = select(0u, images * height, busy);
    for (var row = lane; row < rows; row += lanes) {
        let has_upper = row % height > 0u;
        let has_lower = row % height + 1u < height;
        let stride = width * inputs;
        let start = row * stride + input;
        let upper = start - select(0u, stride, has_upper);
        let lower = start + select(0u, stride, has_lower);
        let dy_start = row * width * quads + quad;
        // x above, at and below the current pixel's row, in the columns before, at and after it.
        let exists = vec3<bool>(has_upper, true, has_lower);
        var left = vec3<f32>();
        var middle = select(vec3<f32>(), vec3<f32>(vec3<stored>(x[upper], x[start], x[lower])), exists);
        for (var column = 0u; column < width; column++) {
            let next = min(column + 1u, width - 1u) * inputs;
            let value = vec3<f32>(vec3<stored>(x[upper + next], x[start + next], x[lower + next]));
            let right = select(vec3<f32>(), value, exists & vec3<bool>(column + 1u < width));
            let d = vec4<f32>(dy[dy_start + column * quads]);
            s0 += left.x * d;
            s1 += middle.x * d;
            s2 += right.x * d;
            s3 += left.y * d;
            s4 += middle.y * d;
            s5 += right.y * d;
            s6 += left.z * d;
            s7 += middle.z * d;
            s8 += right.z * d;
            left = middle;
            middle = right;
        }
    }

    reduce(local, first_quad, input, 0u, s0, s1, s2);
    reduce(local, first_quad, input, 3u, s3, s4, s5);
    reduce(local, first_quad, input, 6u, s6, s7, s8);
}
