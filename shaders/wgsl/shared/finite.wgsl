// By bits: compilers for GPUs may assume that there is no NaN and drop `x != x`.
fn infinite_or_nan(value: vec4<f32>) -> bool {
    return any((bitcast<vec4<u32>>(value) & vec4<u32>(0x7f800000u)) == vec4<u32>(0x7f800000u));
}
