// The four channels of a quad. Those past the last, which only pad, repeat it.
fn channels_of(quad: u32, channels: u32) -> vec4<u32> {
    return min(vec4<u32>(quad * 4u) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(channels - 1u));
}

// From one row of the statistics to the next: so many numbers that a row may be bound by itself.
fn row_of(channels: u32) -> u32 {
    return (channels + 63u) / 64u * 64u;
}
