//! A number in 16 bits, as `wgsl/shared/half.wgsl` has it too.

/// A number as f16, rounded to the nearest, ties to even; infinite beyond f16's largest, 65504, and NaN if it is. What is
/// not 0 does not become 0 either, but the smallest number of its sign: what ReLU let through can be told.
#[inline(always)]
pub fn f16_of(value: f32) -> u16 {
    let bits = value.to_bits();
    let size = bits & 0x7fff_ffff;
    let normal = (size.wrapping_add(0xfff + (size >> 13 & 1))).wrapping_sub(0x3800_0000) >> 13;
    // Beside 0.5, f32 has the steps of f16's subnormals.
    let small = (f32::from_bits(size) + 0.5)
        .to_bits()
        .wrapping_sub(0x3f00_0000);
    let number = if size < 0x3880_0000 {
        small
    } else {
        normal.min(0x7c00)
    };
    let number = if size > 0x7f80_0000 {
        0x7e00
    } else {
        number.max(u32::from(size > 0))
    };
    (bits >> 16 & 0x8000 | number) as u16
}

/// The number that an f16 stands for.
#[inline(always)]
pub fn of_f16(half: u16) -> f32 {
    let size = u32::from(half & 0x7fff);
    let sign = u32::from(half & 0x8000) << 16;
    let small = (size as f32 * (1.0 / 16_777_216.0)).to_bits();
    // The exponent's offset; infinity and NaN have the largest exponent of all.
    let offset = if size >= 0x7c00 {
        0x7000_0000
    } else {
        0x3800_0000
    };
    let number = if size < 0x400 {
        small
    } else {
        (size << 13).wrapping_add(offset)
    };
    f32::from_bits(sign | number)
}

/// A number as bf16, the upper half of an f32, rounded to the nearest, ties to even; NaN stays NaN, and what is not 0 does
/// not become 0.
#[inline(always)]
pub fn bf16_of(value: f32) -> u16 {
    let bits = value.to_bits();
    let size = bits & 0x7fff_ffff;
    let rounded = size.wrapping_add(0x7fff + (size >> 16 & 1)) >> 16;
    let number = if size > 0x7f80_0000 {
        0x7fc0
    } else {
        rounded.max(u32::from(size > 0))
    };
    (bits >> 16 & 0x8000 | number) as u16
}

/// The number that a bf16 stands for.
#[inline(always)]
pub fn of_bf16(half: u16) -> f32 {
    f32::from_bits(u32::from(half) << 16)
}

/// The half below another one; the one above where `falling`. Not beyond the largest, and not from what is not finite.
#[inline(always)]
pub fn below(half: u16, falling: bool, kind: usize) -> u16 {
    let turn = if falling { 0x8000 } else { 0 };
    let turned = half ^ turn;
    let size = turned & 0x7fff;
    let largest = if kind == 1 { 0x7f7f } else { 0x7bff };
    let moved = match (turned == size, size) {
        (true, 0) => 0x8001,
        (true, size) if size <= largest => turned - 1,
        (false, size) if size < largest => turned + 1,
        _ => turned,
    };
    moved ^ turn
}

/// Whether two halves are the same number.
#[inline(always)]
pub const fn equal(a: u16, b: u16) -> bool {
    a == b || (a | b) & 0x7fff == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_numbers_of_their_own() {
        for bits in 0..=u16::MAX {
            for (there, back) in [
                (of_f16(bits), f16_of as fn(f32) -> u16),
                (of_bf16(bits), bf16_of),
            ] {
                let again = back(there);
                assert!(
                    again == bits || there.is_nan() && again & 0x7fff > 0x7c00,
                    "{bits:x}"
                );
            }
        }
    }

    #[test]
    fn rounding_is_to_the_nearest_and_ties_to_even() {
        // A half and its neighbour, and what lies between.
        for bits in 0..0x7bff_u16 {
            let (low, high) = (of_f16(bits), of_f16(bits + 1));
            let middle = (low + high) / 2.0;
            let even = if bits % 2 == 0 { bits } else { bits + 1 };
            assert_eq!(f16_of(middle), even.max(1), "{middle}");
            assert_eq!(f16_of(f32::from_bits(middle.to_bits() - 1)), bits.max(1));
            assert_eq!(
                f16_of(-f32::from_bits(middle.to_bits() + 1)),
                0x8000 | (bits + 1)
            );
        }
        for bits in 0..0x7f7f_u16 {
            let middle = f32::from_bits(u32::from(bits) << 16 | 0x8000);
            let even = if bits % 2 == 0 { bits } else { bits + 1 };
            assert_eq!(bf16_of(middle), even.max(1), "{middle}");
            assert_eq!(
                bf16_of(-f32::from_bits(middle.to_bits() + 1)),
                0x8000 | (bits + 1)
            );
        }
        assert_eq!(
            [65519.9, 65520.0, -1e30].map(f16_of),
            [0x7bff, 0x7c00, 0xfc00]
        );
        assert_eq!(
            [0.0, -0.0, 1e-30, -1e-30].map(f16_of),
            [0, 0x8000, 1, 0x8001]
        );
        assert_eq!([f32::INFINITY, f32::MAX].map(bf16_of), [0x7f80, 0x7f80]);
        assert!(
            [f16_of(f32::NAN), f16_of(-f32::NAN)]
                .iter()
                .all(|half| of_f16(*half).is_nan())
        );
        assert!(of_bf16(bf16_of(f32::from_bits(0x7f80_0001))).is_nan());
    }

    #[test]
    fn the_half_below_is_the_next_one() {
        for (kind, largest, of) in [
            (0, 0x7bff_u16, of_f16 as fn(u16) -> f32),
            (1, 0x7f7f, of_bf16),
        ] {
            for bits in (0..=largest).chain(0x8000..0x8000 | largest) {
                let lower = below(bits, false, kind);
                assert!(equal(below(lower, true, kind), bits), "{bits:x}");
                let (low, high) = (of(lower), of(below(bits ^ 0x8000, true, kind)));
                assert!(
                    low < of(bits) && low.is_finite() && high == -low,
                    "{bits:x}"
                );
            }
            let ends = [0x8000 | largest, largest + 1, 0x8000 | (largest + 1)];
            assert_eq!(ends.map(|bits| below(bits, false, kind)), ends);
        }
    }
}
