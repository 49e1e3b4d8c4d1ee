// Mean and biased variance of a channel over all cells, for all of its lanes. The deviations are from a mean that is
// rounded; what they sum to mends both.
fn moments_of(channel: u32, first: u32, lanes: u32, end: u32, local: u32) -> vec2<f32> {
    let count = pixel_count();
    var sum = vec4<f32>();
    for (var i = first; i < end; i += lanes) {
        sum += values_of(cell_of(i, channel));
    }
    let about = dot(over_lanes(sum, local), vec4<f32>(1.0)) / count;
    var deviations = vec4<f32>();
    var squares = 0.0;
    for (var i = first; i < end; i += lanes) {
        let cell = cell_of(i, channel);
        let d = select(vec4<f32>(), values_of(cell) - about, cell.there);
        deviations += d;
        squares += dot(d, d);
    }
    let totals = over_lanes(vec4<f32>(dot(deviations, vec4<f32>(1.0)), squares, 0.0, 0.0), local);
    let rest = totals.x / count;
    return vec2<f32>(about + rest, totals.y / count - rest * rest);
}
