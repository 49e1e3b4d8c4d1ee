// Count, mean and sum of squared deviations of four channels.
struct Moments {
    mean: vec4<f32>,
    m2: vec4<f32>,
    count: f32,
}

// Chan's formula: unlike a sum of squares it does not cancel.
fn merge(a: Moments, b: Moments) -> Moments {
    let count = a.count + b.count;
    let share = b.count / max(count, 1.0);
    let delta = b.mean - a.mean;
    return Moments(
        a.mean + delta * share,
        a.m2 + b.m2 + delta * delta * (a.count * share),
        count,
    );
}
