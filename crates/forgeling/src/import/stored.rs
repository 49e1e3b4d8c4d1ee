//! Tensors as they lie in a file.

use burn::tensor::{bf16, f16};

use super::{bad, shown};
use crate::error::Result;

/// What a tensor's numbers are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Number {
    F16,
    Bf16,
    F32,
    F64,
    /// Whole numbers and whatever else no weights are, with their bytes.
    Other(u8),
}

impl Number {
    /// Bytes of each.
    pub fn bytes(self) -> usize {
        match self {
            Self::F16 | Self::Bf16 => 2,
            Self::F32 => 4,
            Self::F64 => 8,
            Self::Other(bytes) => bytes.into(),
        }
    }
}

/// A view of numbers in a file.
#[derive(Debug, Clone)]
pub(super) struct StoredTensor<'a> {
    pub name: String,
    pub shape: Vec<usize>,
    number: Number,
    data: &'a [u8],
    offset: usize,
    strides: Vec<usize>,
}

impl<'a> StoredTensor<'a> {
    /// A view of `data`, whose offset and strides are in numbers.
    ///
    /// # Errors
    /// When it reaches beyond the data, or has more numbers than they are: few bytes must not become many.
    pub fn view(
        name: String,
        (number, data): (Number, &'a [u8]),
        offset: usize,
        shape: Vec<usize>,
        strides: Vec<usize>,
    ) -> Result<Self> {
        let held = data.len() / number.bytes().max(1);
        let length = shape
            .iter()
            .try_fold(1usize, |all, size| all.checked_mul(*size));
        // One behind the last number.
        let end = match length {
            Some(0) => Some(offset),
            _ => shape
                .iter()
                .zip(&strides)
                .try_fold(offset, |last, (size, stride)| {
                    last.checked_add(size.saturating_sub(1).checked_mul(*stride)?)
                })
                .and_then(|last| last.checked_add(1)),
        };
        let fits = |wanted: Option<usize>| wanted.is_some_and(|wanted| wanted <= held);
        if strides.len() != shape.len() || !fits(length) || !fits(end) {
            let name = shown(name.as_bytes());
            return Err(bad(format!("tensor '{name}' reaches beyond its numbers"))
                .expected(format!("at most {held}"))
                .got(format!("{shape:?} at {offset} with strides {strides:?}")));
        }
        // Of one number, the step to the next is anything.
        let stride = |(size, stride): (&usize, usize)| if *size > 1 { stride } else { 0 };
        let strides = shape.iter().zip(strides).map(stride).collect();
        Ok(Self {
            name,
            shape,
            number,
            data,
            offset,
            strides,
        })
    }

    /// As [`view`](Self::view), of all numbers in their order.
    pub fn whole(name: String, numbers: (Number, &'a [u8]), shape: Vec<usize>) -> Result<Self> {
        let mut strides = vec![1usize; shape.len()];
        for axis in (1..shape.len()).rev() {
            strides[axis - 1] = strides[axis].saturating_mul(shape[axis]);
        }
        Self::view(name, numbers, 0, shape, strides)
    }

    /// Whether its numbers have a fraction, as weights do.
    pub fn is_float(&self) -> bool {
        !matches!(self.number, Number::Other(_))
    }

    /// The numbers, row by row; of what is not float, nothing.
    pub fn values(&self) -> Vec<f32> {
        let data = self.data;
        match self.number {
            Number::F16 => self.gather(data, |bytes| f16::from_le_bytes(bytes).to_f32()),
            Number::Bf16 => self.gather(data, |bytes| bf16::from_le_bytes(bytes).to_f32()),
            Number::F32 => self.gather(data, f32::from_le_bytes),
            Number::F64 => self.gather(data, |bytes| f64::from_le_bytes(bytes) as f32),
            Number::Other(_) => Vec::new(),
        }
    }

    fn gather<const N: usize>(&self, data: &[u8], read: impl Fn([u8; N]) -> f32) -> Vec<f32> {
        let (numbers, _) = data.as_chunks::<N>();
        let length: usize = self.shape.iter().product();
        let mut values = Vec::with_capacity(length);
        let mut index = vec![0; self.shape.len()];
        let mut place = self.offset;
        for _ in 0..length {
            values.push(read(numbers[place]));
            // To the next number: the last axis that is not at its end goes on, those behind it begin anew.
            for axis in (0..index.len()).rev() {
                index[axis] += 1;
                place += self.strides[axis];
                if index[axis] < self.shape[axis] {
                    break;
                }
                place -= self.strides[axis] * self.shape[axis];
                index[axis] = 0;
            }
        }
        values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_are_read_by_their_strides() {
        let bytes: Vec<u8> = (0..12u16)
            .flat_map(|n| f32::from(n).to_le_bytes())
            .collect();
        let view = |offset, shape: &[usize], strides: &[usize]| {
            let numbers = (Number::F32, &bytes[..]);
            StoredTensor::view("t".into(), numbers, offset, shape.into(), strides.into())
        };
        // Transposed, and without the first column.
        let tensor = view(1, &[2, 3], &[1, 4]).unwrap();
        assert_eq!(tensor.values(), [1.0, 5.0, 9.0, 2.0, 6.0, 10.0]);
        assert_eq!(view(7, &[], &[]).unwrap().values(), [7.0]);
        let single = view(2, &[1, 2], &[usize::MAX, 3]).unwrap();
        assert_eq!(single.values(), [2.0, 5.0]);
        assert!(view(12, &[0, 5], &[5, 1]).unwrap().values().is_empty());
        for (offset, shape, strides) in [
            (2, &[2, 3][..], &[1, 5][..]),
            (12, &[], &[]),
            (13, &[0], &[1]),
            // The same number many times.
            (0, &[13], &[0]),
            (0, &[1 << 40, 1 << 40], &[0, 0]),
            (0, &[1 << 40, 1 << 40, 0], &[0, 0, 0]),
            (0, &[2], &[usize::MAX]),
            (0, &[2], &[]),
        ] {
            let error = view(offset, shape, strides).unwrap_err();
            assert!(error.to_string().contains("'t' reaches beyond"), "{error}");
        }
    }

    #[test]
    fn numbers_of_every_width_become_f32() {
        let of = |number, bytes: &[u8]| {
            let tensor = StoredTensor::whole("t".into(), (number, bytes), vec![2]).unwrap();
            tensor.values()
        };
        let expected = [1.5, -2.0];
        assert_eq!(of(Number::F16, &[0x00, 0x3e, 0x00, 0xc0]), expected);
        assert_eq!(of(Number::Bf16, &[0xc0, 0x3f, 0x00, 0xc0]), expected);
        let wide: Vec<u8> = [1.5f64, -2.0]
            .iter()
            .flat_map(|n| n.to_le_bytes())
            .collect();
        assert_eq!(of(Number::F64, &wide), expected);
        assert!(of(Number::Other(1), &[1, 2]).is_empty());
    }
}
