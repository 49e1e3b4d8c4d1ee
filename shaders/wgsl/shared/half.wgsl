// Numbers in 16 bits, four at a time: f16 where kind is 0, bf16 (the upper half of an f32) where it is 1. Rounded to the
// nearest, ties to even; what is too large becomes infinite, NaN stays NaN, and what is not 0 becomes the smallest number
// rather than 0: what ReLU let through can be told. By integers, since pack2x16float leaves open how it rounds and what
// becomes of values that f16 does not have.
const BF16 = 1u;

fn half_of(values: vec4<f32>, kind: u32) -> vec4<u32> {
    let bits = bitcast<vec4<u32>>(values);
    let sign = (bits >> vec4<u32>(16u)) & vec4<u32>(0x8000u);
    let size = bits & vec4<u32>(0x7fffffffu);
    let nan = size > vec4<u32>(0x7f800000u);
    let least = min(size, vec4<u32>(1u));
    if kind == BF16 {
        let even = (size >> vec4<u32>(16u)) & vec4<u32>(1u);
        let rounded = (size + 0x7fffu + even) >> vec4<u32>(16u);
        return sign | select(max(rounded, least), vec4<u32>(0x7fc0u), nan);
    }
    let even = (size >> vec4<u32>(13u)) & vec4<u32>(1u);
    let normal = min((size + 0xfffu + even - 0x38000000u) >> vec4<u32>(13u), vec4<u32>(0x7c00u));
    // Beside 0.5, f32 has the steps of f16's subnormals.
    let small = bitcast<vec4<u32>>(bitcast<vec4<f32>>(size) + 0.5) - 0x3f000000u;
    let number = select(normal, small, size < vec4<u32>(0x38800000u));
    return sign | select(max(number, least), vec4<u32>(0x7e00u), nan);
}

fn of_half(halves: vec4<u32>, kind: u32) -> vec4<f32> {
    if kind == BF16 {
        return bitcast<vec4<f32>>(halves << vec4<u32>(16u));
    }
    let sign = (halves & vec4<u32>(0x8000u)) << vec4<u32>(16u);
    let size = halves & vec4<u32>(0x7fffu);
    let small = bitcast<vec4<u32>>(vec4<f32>(size) * 5.9604644775390625e-8);
    // The exponent's offset; infinity and NaN have the largest exponent of all.
    let offset = select(vec4<u32>(0x38000000u), vec4<u32>(0x70000000u), size >= vec4<u32>(0x7c00u));
    let number = (size << vec4<u32>(13u)) + offset;
    return bitcast<vec4<f32>>(sign | select(number, small, size < vec4<u32>(0x400u)));
}

// Two words: the first and third in the lower bits.
fn words(halves: vec4<u32>) -> vec2<u32> {
    return halves.xz | (halves.yw << vec2<u32>(16u));
}

fn halves_of(words: vec2<u32>) -> vec4<u32> {
    let lower = words & vec2<u32>(0xffffu);
    let upper = words >> vec2<u32>(16u);
    return vec4<u32>(lower.x, upper.x, lower.y, upper.y);
}
