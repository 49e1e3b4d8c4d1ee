// dy = gamma / sqrt(variance + 1e-5) (dz - dbeta / m - xhat dgamma / m), m = all images height width, with xhat, z and
// dz as in conv_block_backward_reduce; 0 where channels only pad. Pixels that an odd height or width leaves out of
// the windows have dz = 0. One invocation per row of windows, the left out included, and 4 channels.
// shape = [images, height, width, inputs, channels, slots, block, _, _, all images, whether dout is 0 already where ReLU
// cut off].

@group(0) @binding(0) var<storage, read_write> y: array<vec4<stored>>;
@group(0) @binding(1) var<storage, read_write> stats: array<f32>;
@group(0) @binding(2) var<storage, read_write> gamma: array<f32>;
@group(0) @binding(3) var<storage, read_write> beta: array<f32>;
@group(0) @binding(4) var<storage, read_write> dout: array<stored>;
@group(0) @binding(5) var<storage, read_write> sums: array<f32>;
@group(0) @binding(6) var<storage, read_write> dy: array<vec4<stored>>;
@group(0) @binding(7) var<storage, read_write> shape: array<u32>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let images = shape[0];
    let height = shape[1];
    let width = shape[2];
    let channels = shape[4];
    let quads = (channels + 3u) / 4u;
    let out_height = height / 2u;
    let out_width = width / 2u;
    let index = flat_index(workgroup, workgroups, local);
    let quad = index % quads;
    let half_height = (height + 1u) / 2u;
    let image = index / quads / half_height;
    let row = index / quads % half_height;
    if image >= images {
        return;
    }

    let c = channels_of(quad, channels);
    let i = c + vec4<u32>(2u * row_of(channels));
    let mean = vec4<f32>(stats[c.x], stats[c.y], stats[c.z], stats[c.w]);
    let inverse = vec4<f32>(stats[i.x], stats[i.y], stats[i.z], stats[i.w]);
    let scale = vec4<f32>(gamma[c.x], gamma[c.y], gamma[c.z], gamma[c.w]);
    let shift = vec4<f32>(beta[c.x], beta[c.y], beta[c.z], beta[c.w]);
    let b = c + vec4<u32>(row_of(channels));
    let pixels = f32(shape[9] * height * width);
    let dgamma = vec4<f32>(sums[c.x], sums[c.y], sums[c.z], sums[c.w]) / pixels;
    let dbeta = vec4<f32>(sums[b.x], sums[b.y], sums[b.z], sums[b.w]) / pixels;
    let factor = scale * inverse;
    let zero = vec4<f32>();
    let exists = vec4<u32>(quad * 4u) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(channels);

    let start = (image * height + row * 2u) * width;
    let has_lower = row * 2u + 1u < height;
    for (var column = 0u; column < (width + 1u) / 2u; column++) {
        let has_right = column * 2u + 1u < width;
        // Pixels outside the image read one inside, and are not written.
        let i0 = (start + 2u * column) * quads + quad;
        let i1 = i0 + select(0u, quads, has_right);
        let i2 = i0 + select(0u, width * quads, has_lower);
        let i3 = i2 + select(0u, quads, has_right);
        let x0 = (vec4<f32>(y[i0]) - mean) * inverse;
        let x1 = (vec4<f32>(y[i1]) - mean) * inverse;
        let x2 = (vec4<f32>(y[i2]) - mean) * inverse;
        let x3 = (vec4<f32>(y[i3]) - mean) * inverse;
        let z0 = scale * x0 + shift;
        let z1 = scale * x1 + shift;
        let z2 = scale * x2 + shift;
        let z3 = scale * x3 + shift;
        let is1 = larger(z1, z0);
        let best1 = select(z0, z1, is1);
        let is2 = larger(z2, best1);
        let best2 = select(best1, z2, is2);
        let is3 = larger(z3, best2);
        let best = select(best2, z3, is3);

        var dz = zero;
        if has_right && has_lower {
            let g = c + vec4<u32>(((image * out_height + row) * out_width + column) * channels);
            let gradient = vec4<f32>(vec4<stored>(dout[g.x], dout[g.y], dout[g.z], dout[g.w]));
            dz = select(gradient, zero, (best <= zero) & vec4<bool>(shape[10] == 0u));
        }
        let dz0 = select(dz, zero, is1 | is2 | is3);
        let dz1 = select(select(zero, dz, is1), zero, is2 | is3);
        let dz2 = select(select(zero, dz, is2), zero, is3);
        let dz3 = select(zero, dz, is3);
        dy[i0] = vec4<stored>(select(zero, factor * (dz0 - dbeta - x0 * dgamma), exists));
        if has_right {
            dy[i1] = vec4<stored>(select(zero, factor * (dz1 - dbeta - x1 * dgamma), exists));
        }
        if has_lower {
            dy[i2] = vec4<stored>(select(zero, factor * (dz2 - dbeta - x2 * dgamma), exists));
        }
        if has_right && has_lower {
            dy[i3] = vec4<stored>(select(zero, factor * (dz3 - dbeta - x3 * dgamma), exists));
        }
    }
}
