// The four channels of a quad. Those past the last, which only pad, repeat it.
fn channels_of(quad: u32, channels: u32) -> vec4<u32> {
    return min(vec4<u32>(quad * 4u) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(channels - 1u));
}

// A row of so many numbers may be bound by itself.
const PART = 64u;

// From one row of the statistics to the next.
fn row_of(channels: u32) -> u32 {
    return (channels + PART - 1u) / PART * PART;
}
