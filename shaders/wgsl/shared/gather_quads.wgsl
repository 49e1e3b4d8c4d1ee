// For depth % 4 == 0: four source channels at a time. Reads source_values and packed, the bindings of the kernel.
fn source(at: u32, inside: bool) -> vec4<f32> {
    return select(vec4<f32>(), vec4<f32>(source_values[at]), inside);
}

fn add_pixels(sums: Sums, below: Sources, quad: u32, weights: mat4x4<f32>) -> Sums {
    return Sums(
        sums.p0 + weights * source(below.at.x / 4u + quad, below.inside.x),
        sums.p1 + weights * source(below.at.y / 4u + quad, below.inside.y),
        sums.p2 + weights * source(below.at.z / 4u + quad, below.inside.z),
        sums.p3 + weights * source(below.at.w / 4u + quad, below.inside.w),
    );
}

fn add_channels(
    low: ptr<function, Sums>,
    high: ptr<function, Sums>,
    low_sources: Sources,
    high_sources: Sources,
    first: u32,
    weights: u32,
    depth: u32,
    quads: u32,
) {
    for (var i = 0u; i < depth; i += 4u) {
        let start = weights + i * quads;
        let four = mat4x4<f32>(
            vec4<f32>(packed[start]),
            vec4<f32>(packed[start + quads]),
            vec4<f32>(packed[start + 2u * quads]),
            vec4<f32>(packed[start + 3u * quads]),
        );
        *low = add_pixels(*low, low_sources, (first + i) / 4u, four);
        *high = add_pixels(*high, high_sources, (first + i) / 4u, four);
    }
}
