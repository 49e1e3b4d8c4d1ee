// Reads y and shape and writes out, the bindings of the kernel that it belongs to.
// The largest of each 2x2 window of one row of windows, after scale and shift, and not below 0.
fn pool_row(row: u32, quad: u32, scale: vec4<f32>, shift: vec4<f32>) {
    let height = shape[1];
    let width = shape[2];
    let channels = shape[4];
    let quads = (channels + 3u) / 4u;
    let out_height = height / 2u;
    let out_width = width / 2u;
    let start = (row / out_height * height + row % out_height * 2u) * width;
    let count = min(channels - quad * 4u, 4u);
    for (var column = 0u; column < out_width; column++) {
        let upper = (start + 2u * column) * quads + quad;
        let lower = upper + width * quads;
        let a = vec4<f32>(y[upper]) * scale + shift;
        let b = vec4<f32>(y[upper + quads]) * scale + shift;
        let c = vec4<f32>(y[lower]) * scale + shift;
        let d = vec4<f32>(y[lower + quads]) * scale + shift;
        let ab = select(a, b, larger(b, a));
        let cd = select(c, d, larger(d, c));
        let best = select(ab, cd, larger(cd, ab));
        // Not max(), which may drop NaN.
        let value = select(best, vec4<f32>(), best < vec4<f32>());
        let first = (row * out_width + column) * channels + quad * 4u;
        out[first] = stored(value.x);
        if count > 1u {
            out[first + 1u] = stored(value.y);
        }
        if count > 2u {
            out[first + 2u] = stored(value.z);
        }
        if count > 3u {
            out[first + 3u] = stored(value.w);
        }
    }
}
