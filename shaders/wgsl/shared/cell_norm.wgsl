// Reads numbers, as wgsl/norm_pool_grad.wgsl has written them.

struct Norm {
    mean: f32,
    // 1 / sigma
    inverse: f32,
    // gamma / sigma, and what the line adds.
    scale: f32,
    shift: f32,
    // mean(g) and mean(g x)
    m1: f32,
    m2: f32,
}

fn norm_of(channel: u32) -> Norm {
    let channels = shape[3];
    let mean = numbers[2u * channels + channel];
    let sigma = sqrt(numbers[3u * channels + channel] + EPSILON);
    let scale = numbers[4u * channels + channel] / sigma;
    let shift = numbers[5u * channels + channel] - mean * scale;
    let count = pixel_count();
    return Norm(mean, 1.0 / sigma, scale, shift, numbers[channels + channel] / count, numbers[channel] / count);
}
