// For any number of channels: one source channel at a time. Reads source_values and packed, the bindings of the kernel.
fn source(at: u32, inside: bool) -> f32 {
    return select(0.0, f32(source_values[at]), inside);
}

fn add_pixels(sums: Sums, below: Sources, channel: u32, weight: vec4<f32>) -> Sums {
    return Sums(
        sums.p0 + weight * source(below.at.x + channel, below.inside.x),
        sums.p1 + weight * source(below.at.y + channel, below.inside.y),
        sums.p2 + weight * source(below.at.z + channel, below.inside.z),
        sums.p3 + weight * source(below.at.w + channel, below.inside.w),
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
    for (var i = 0u; i < depth; i++) {
        let weight = vec4<f32>(packed[weights + i * quads]);
        *low = add_pixels(*low, low_sources, first + i, weight);
        *high = add_pixels(*high, high_sources, first + i, weight);
    }
}
