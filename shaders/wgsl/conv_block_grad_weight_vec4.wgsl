// dweight[o, i, k, l] = sum_{n, h, w} x[n, h + k - 1, w + l - 1, i] dy[n, h, w, o], zero outside the image
// For inputs % 4 == 0. One invocation per 4 inputs, 4 channels and one k, so 3 taps, and one of the lanes into which
// the rows of pixels are dealt; a workgroup covers `block` quads of channels and all pixels.
// shape = [images, height, width, inputs, channels, slots, block].

@group(0) @binding(0) var<storage, read_write> x: array<vec4<stored>>;
@group(0) @binding(1) var<storage, read_write> dy: array<vec4<stored>>;
@group(0) @binding(2) var<storage, read_write> dweight: array<f32>;
@group(0) @binding(3) var<storage, read_write> shape: array<u32>;

fn outer(channels: vec4<f32>, inputs: vec4<f32>) -> mat4x4<f32> {
    return mat4x4<f32>(channels * inputs.x, channels * inputs.y, channels * inputs.z, channels * inputs.w);
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
    let input_quads = inputs / 4u;
    let k = group / blocks % 3u;
    let input = group / (blocks * 3u);
    let busy = quad < quads && lane < lanes && input < input_quads;

    var s0 = mat4x4<f32>();
    var s1 = mat4x4<f32>();
    var s2 = mat4x4<f32>();
    let rows = select(0u, images * height, busy);
    for (var row = lane; row < rows; row += lanes) {
        let x_row = row % height + k - 1u;
        if x_row >= height {
            continue;
        }
        let x_start = (row + k - 1u) * width * input_quads + input;
        let dy_start = row * width * quads + quad;
        var left = vec4<f32>();
        var middle = vec4<f32>(x[x_start]);
        for (var column = 0u; column < width - 1u; column++) {
            let right = vec4<f32>(x[x_start + (column + 1u) * input_quads]);
            let d = vec4<f32>(dy[dy_start + column * quads]);
            s0 += outer(d, left);
            s1 += outer(d, middle);
            s2 += outer(d, right);
            left = middle;
            middle = right;
        }
        let d = vec4<f32>(dy[dy_start + (width - 1u) * quads]);
        s0 += outer(d, left);
        s1 += outer(d, middle);
    }

    reduce(local, first_quad, input * 4u, 3u * k, s0[0], s1[0], s2[0]);
    reduce(local, first_quad, input * 4u + 1u, 3u * k, s0[1], s1[1], s2[1]);
    reduce(local, first_quad, input * 4u + 2u, 3u * k, s0[2], s1[2], s2[2]);
    reduce(local, first_quad, input * 4u + 3u, 3u * k, s0[3], s1[3], s2[3]);
}
