//! Small matrix products, of which the right matrix and the result lie in rows padded to whole vectors.

use macerator::{Scalar, Simd, Vector, vload_unaligned, vstore_unaligned};

/// Numbers of a vector on this machine.
#[macerator::with_simd]
pub fn lanes<S: Simd>() -> usize {
    f32::lanes::<S>()
}

/// The left matrix, read one number at a time: element `(i, k)` lies at `i * row + k * inner`.
#[derive(Clone, Copy)]
pub struct Left<'a> {
    pub values: &'a [f32],
    pub row: usize,
    pub inner: usize,
}

/// `c[i, j] = sum_k a[i, k] b[k, j]` for `[rows, inner, columns]`, added to what is there if `add`.
///
/// Rows of `b` and `c` are `width` long, of which the first `columns` are read and written; both are multiples of
/// [`lanes`].
#[inline(always)]
pub fn multiply<S: Simd>(
    a: Left<'_>,
    b: &[f32],
    c: &mut [f32],
    sizes: [usize; 3],
    width: usize,
    add: bool,
) {
    let [rows, inner, columns] = sizes;
    if sizes.contains(&0) {
        return;
    }
    let lanes = f32::lanes::<S>();
    assert!(columns.is_multiple_of(lanes) && columns <= width);
    assert!(a.values.len() > (rows - 1) * a.row + (inner - 1) * a.inner);
    assert!(b.len() >= (inner - 1) * width + columns && c.len() >= (rows - 1) * width + columns);
    let mut row = 0;
    // SAFETY: all that is read and written was checked just now.
    unsafe {
        while row < rows {
            let left = a.values.as_ptr().add(row * a.row);
            let out = c.as_mut_ptr().add(row * width);
            let strides = [a.row, a.inner, width];
            let sizes = [inner, columns];
            row += if lanes >= 16 && rows - row >= 8 {
                some_rows::<S, 8>(left, b.as_ptr(), out, sizes, strides, add)
            } else if rows - row >= 4 {
                some_rows::<S, 4>(left, b.as_ptr(), out, sizes, strides, add)
            } else {
                some_rows::<S, 1>(left, b.as_ptr(), out, sizes, strides, add)
            };
        }
    }
}

/// `R` rows; returns their number.
#[inline(always)]
unsafe fn some_rows<S: Simd, const R: usize>(
    a: *const f32,
    b: *const f32,
    c: *mut f32,
    sizes: [usize; 2],
    strides: [usize; 3],
    add: bool,
) -> usize {
    let [inner, columns] = sizes;
    let lanes = f32::lanes::<S>();
    let mut column = 0;
    while column < columns {
        let vectors = (columns - column) / lanes;
        unsafe {
            let (b, c) = (b.add(column), c.add(column));
            // Four lanes come with sixteen registers and, mostly, without fused multiplication and addition.
            column += lanes
                * if vectors >= 3 && lanes >= 8 {
                    tile::<S, R, 3>(a, b, c, inner, strides, add)
                } else if vectors >= 2 {
                    tile::<S, R, 2>(a, b, c, inner, strides, add)
                } else {
                    tile::<S, R, 1>(a, b, c, inner, strides, add)
                };
        }
    }
    R
}

/// `R` rows of `V` vectors, held in registers; returns the number of vectors.
#[inline(always)]
unsafe fn tile<S: Simd, const R: usize, const V: usize>(
    a: *const f32,
    mut b: *const f32,
    c: *mut f32,
    inner: usize,
    strides: [usize; 3],
    add: bool,
) -> usize {
    let lanes = f32::lanes::<S>();
    let [row, step, width] = strides;
    let zero = 0f32.splat::<S>();
    let mut sums = [[zero; V]; R];
    unsafe {
        if add {
            for (r, sums) in sums.iter_mut().enumerate() {
                for (v, sum) in sums.iter_mut().enumerate() {
                    *sum = vload_unaligned::<S, f32>(c.add(r * width + v * lanes));
                }
            }
        }
        for k in 0..inner {
            let mut values: [Vector<S, f32>; V] = [zero; V];
            for (v, value) in values.iter_mut().enumerate() {
                *value = vload_unaligned::<S, f32>(b.add(v * lanes));
            }
            for (r, sums) in sums.iter_mut().enumerate() {
                let factor = (*a.add(r * row + k * step)).splat::<S>();
                for (sum, value) in sums.iter_mut().zip(values) {
                    *sum = value.mul_add(factor, *sum);
                }
            }
            b = b.wrapping_add(width);
        }
        for (r, sums) in sums.into_iter().enumerate() {
            for (v, sum) in sums.into_iter().enumerate() {
                vstore_unaligned(c.add(r * width + v * lanes), sum);
            }
        }
    }
    V
}
