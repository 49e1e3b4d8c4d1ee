// sums = [dgamma, dbeta] in rows of row_of(channels): dgamma[o] = sum dz[., o] xhat[., o], dbeta[o] = sum dz[., o], where
// xhat = (y - mean) / sqrt(variance + 1e-5), z = gamma xhat + beta, and dz is dout at the first largest z of its
// window if that is above 0, else 0. One workgroup per 4 channels, whose invocations take rows of windows in turn.
// shape = [images, height, width, inputs, channels, slots, block, _, _, all images, whether dout is 0 already where ReLU
// cut off].

@group(0) @binding(0) var<storage, read_write> y: array<vec4<stored>>;
@group(0) @binding(1) var<storage, read_write> stats: array<f32>;
@group(0) @binding(2) var<storage, read_write> gamma: array<f32>;
@group(0) @binding(3) var<storage, read_write> beta: array<f32>;
@group(0) @binding(4) var<storage, read_write> dout: array<stored>;
@group(0) @binding(5) var<storage, read_write> sums: array<f32>;
@group(0) @binding(6) var<storage, read_write> shape: array<u32>;

var<workgroup> lane_gamma: array<vec4<f32>, WORKGROUP_SIZE>;
var<workgroup> lane_beta: array<vec4<f32>, WORKGROUP_SIZE>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let height = shape[1];
    let width = shape[2];
    let channels = shape[4];
    let quads = (channels + 3u) / 4u;
    let out_height = height / 2u;
    let out_width = width / 2u;
    let quad = workgroup.y * workgroups.x + workgroup.x;

    let c = channels_of(quad, channels);
    let i = c + vec4<u32>(2u * row_of(channels));
    let mean = vec4<f32>(stats[c.x], stats[c.y], stats[c.z], stats[c.w]);
    let inverse = vec4<f32>(stats[i.x], stats[i.y], stats[i.z], stats[i.w]);
    let scale = vec4<f32>(gamma[c.x], gamma[c.y], gamma[c.z], gamma[c.w]);
    let shift = vec4<f32>(beta[c.x], beta[c.y], beta[c.z], beta[c.w]);

    var dgamma = vec4<f32>();
    var dbeta = vec4<f32>();
    let rows = select(0u, shape[0] * out_height, quad < quads);
    for (var row = local; row < rows; row += WORKGROUP_SIZE) {
        let start = (row / out_height * height + row % out_height * 2u) * width;
        for (var column = 0u; column < out_width; column++) {
            let upper = (start + 2u * column) * quads + quad;
            let lower = upper + width * quads;
            var best = (vec4<f32>(y[upper]) - mean) * inverse;
            var z = scale * best + shift;
            let x1 = (vec4<f32>(y[upper + quads]) - mean) * inverse;
            let z1 = scale * x1 + shift;
            best = select(best, x1, larger(z1, z));
            z = select(z, z1, larger(z1, z));
            let x2 = (vec4<f32>(y[lower]) - mean) * inverse;
            let z2 = scale * x2 + shift;
            best = select(best, x2, larger(z2, z));
            z = select(z, z2, larger(z2, z));
            let x3 = (vec4<f32>(y[lower + quads]) - mean) * inverse;
            let z3 = scale * x3 + shift;
            best = select(best, x3, larger(z3, z));
            z = select(z, z3, larger(z3, z));

            let g = c + vec4<u32>((row * out_width + column) * channels);
            let gradient = vec4<f32>(vec4<stored>(dout[g.x], dout[g.y], dout[g.z], dout[g.w]));
            let dead = (z <= vec4<f32>()) & vec4<bool>(shape[10] == 0u);
            let dz = select(gradient, vec4<f32>(), dead);
            dgamma += dz * best;
            dbeta += dz;
        }
    }

    lane_gamma[local] = dgamma;
    lane_beta[local] = dbeta;
    workgroupBarrier();
    if local == 0u && quad < quads {
        for (var other = 1u; other < WORKGROUP_SIZE; other++) {
            dgamma += lane_gamma[other];
            dbeta += lane_beta[other];
        }
        for (var i = 0u; i < min(channels - quad * 4u, 4u); i++) {
            sums[quad * 4u + i] = dgamma[i];
            sums[row_of(channels) + quad * 4u + i] = dbeta[i];
        }
    }
}
