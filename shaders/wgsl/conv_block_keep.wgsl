// What a block keeps of its convolution in 16 bits: halves = y as half_of says, two numbers a word; and of every 2x2
// window the value that max pooling takes after scale and shift, peaks[n, h / 2, w / 2, o] = max y, or min y where
// gamma[o] < 0. Where rounding makes a pixel equal to the one behind it that wins its window, it is moved by one step
// more, so that the same pixel wins among the rounded ones.
// One invocation per row of windows, the left out included, and 4 channels.
// shape = [images, height, width, channels, kind].

@group(0) @binding(0) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> gamma: array<f32>;
@group(0) @binding(2) var<storage, read_write> halves: array<vec2<u32>>;
@group(0) @binding(3) var<storage, read_write> peaks: array<f32>;
@group(0) @binding(4) var<storage, read_write> shape: array<u32>;

// The next half below; the one above where `falling`. Not beyond the largest, and not from what is not finite.
fn below(half: vec4<u32>, falling: vec4<bool>, kind: u32) -> vec4<u32> {
    let turned = half ^ select(vec4<u32>(), vec4<u32>(0x8000u), falling);
    let size = turned & vec4<u32>(0x7fffu);
    let largest = vec4<u32>(select(0x7bffu, 0x7f7fu, kind == BF16));
    let positive = turned == size;
    let stepped = select(turned + 1u, select(turned - 1u, vec4<u32>(0x8001u), size == vec4<u32>()), positive);
    let moved = select(turned, stepped, (size < largest) | (positive & (size == largest)));
    return moved ^ select(vec4<u32>(), vec4<u32>(0x8000u), falling);
}

fn equal(a: vec4<u32>, b: vec4<u32>) -> vec4<bool> {
    return (a == b) | (((a | b) & vec4<u32>(0x7fffu)) == vec4<u32>());
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let height = shape[1];
    let width = shape[2];
    let channels = shape[3];
    let kind = shape[4];
    let quads = (channels + 3u) / 4u;
    let out_height = height / 2u;
    let out_width = width / 2u;
    let index = flat_index(workgroup, workgroups, local);
    let quad = index % quads;
    let half_height = (height + 1u) / 2u;
    let image = index / quads / half_height;
    let row = index / quads % half_height;
    if image >= shape[0] {
        return;
    }
    let c = channels_of(quad, channels);
    let falling = vec4<f32>(gamma[c.x], gamma[c.y], gamma[c.z], gamma[c.w]) < vec4<f32>();

    let start = (image * height + row * 2u) * width;
    let has_lower = row * 2u + 1u < height;
    for (var column = 0u; column < (width + 1u) / 2u; column++) {
        let has_right = column * 2u + 1u < width;
        // Pixels outside the image read one inside, and are not written.
        let i0 = (start + 2u * column) * quads + quad;
        let i1 = i0 + select(0u, quads, has_right);
        let i2 = i0 + select(0u, width * quads, has_lower);
        let i3 = i2 + select(0u, quads, has_right);
        let y0 = y[i0];
        let y1 = y[i1];
        let y2 = y[i2];
        let y3 = y[i3];
        let v0 = select(y0, -y0, falling);
        let v1 = select(y1, -y1, falling);
        let v2 = select(y2, -y2, falling);
        let v3 = select(y3, -y3, falling);
        let is1 = larger(v1, v0);
        let best1 = select(v0, v1, is1);
        let is2 = larger(v2, best1);
        let best2 = select(best1, v2, is2);
        let is3 = larger(v3, best2);

        var h0 = half_of(y0, kind);
        var h1 = half_of(y1, kind);
        var h2 = half_of(y2, kind);
        let h3 = half_of(y3, kind);
        if has_right && has_lower {
            let winner = select(select(select(h0, h1, is1), h2, is2), h3, is3);
            // Only those before the winner win where they are equal.
            h0 = select(h0, below(h0, falling, kind), (is1 | is2 | is3) & equal(h0, winner));
            h1 = select(h1, below(h1, falling, kind), (is2 | is3) & equal(h1, winner));
            h2 = select(h2, below(h2, falling, kind), is3 & equal(h2, winner));
            let peak = select(select(select(y0, y1, is1), y2, is2), y3, is3);
            let first = ((image * out_height + row) * out_width + column) * channels + quad * 4u;
            for (var i = 0u; i < min(channels - quad * 4u, 4u); i++) {
                peaks[first + i] = peak[i];
            }
        }
        halves[i0] = words(h0);
        if has_right {
            halves[i1] = words(h1);
        }
        if has_lower {
            halves[i2] = words(h2);
        }
        if has_right && has_lower {
            halves[i3] = words(h3);
        }
    }
}
