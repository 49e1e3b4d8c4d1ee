// Whether a pixel of a 2x2 window replaces the best before it: ties keep the first, NaN always wins.
// NaN is told by its bits, since compilers drop `candidate != candidate`.
fn larger(candidate: vec4<f32>, best: vec4<f32>) -> vec4<bool> {
    let bits = bitcast<vec4<u32>>(candidate) & vec4<u32>(0x7fffffffu);
    return (candidate > best) | (bits > vec4<u32>(0x7f800000u));
}
