// Activations by number: 0 none, 1 ReLU, 2 GELU.
const RELU = 1u;
const GELU = 2u;

// The normal distribution's probability below z: Abramowitz and Stegun 7.1.26, within 1e-7.
fn normal(z: vec4<f32>) -> vec4<f32> {
    let t = 1.0 / (1.0 + 0.3275911 * 0.70710678 * abs(z));
    let series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
    let tail = 0.5 * series * exp(-0.5 * z * z);
    return select(1.0 - tail, tail, z < vec4<f32>());
}

// NaN stays NaN.
fn activate(z: vec4<f32>, activation: u32) -> vec4<f32> {
    if activation == RELU {
        return select(z, vec4<f32>(), z <= vec4<f32>());
    }
    if activation == GELU {
        return z * normal(z);
    }
    return z;
}

// The derivative; `kept` is the value before GELU, after ReLU.
fn slope(kept: vec4<f32>, activation: u32) -> vec4<f32> {
    if activation == RELU {
        return select(vec4<f32>(1.0), vec4<f32>(), kept <= vec4<f32>());
    }
    if activation == GELU {
        return normal(kept) + kept * 0.39894228 * exp(-0.5 * kept * kept);
    }
    return vec4<f32>(1.0);
}
