//! How the values of tensors lie in a file.

use std::borrow::Cow;
use std::collections::BTreeMap;

use burn::tensor::{bf16, f16};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors, View};

use super::int4::{self, Rows};
use super::{F32View, LOAD, SAVE, bad, f32s, not_whole};
use crate::error::{Error, Result};
use crate::ops::weight_bytes;
use crate::train::weights::NamedTensor;

/// What the name of a tensor's scales has behind the tensor's.
const SCALES: &str = ".scales";

/// For the name of each tensor in int8: the name of the tensor that holds its scales, and along which of its axes they are.
pub type Int8Scales = BTreeMap<String, (String, usize)>;

/// The shapes of tensors in int4 by their names.
pub(super) type Shapes = BTreeMap<String, Vec<usize>>;

/// How a file stores the values of a tensor.
#[derive(Debug, Clone, PartialEq)]
pub enum Packing {
    /// As they are.
    F32,
    /// As the nearest f16, ties to even: 11 significant bits, up to 65504.
    F16,
    /// As the nearest bf16, ties to even: 8 significant bits, up to 3.39e38.
    Bf16,
    /// Weights `w` of a layer of neurons `[inputs, outputs]` or of a convolution `[filters, channels of a group, rows,
    /// columns]` as whole numbers `q` of four bits with a scale `s` (bf16) for each group of 32 along the inputs of an output:
    ///
    /// ```text
    /// q = round_ties_even(w / s) within -7 and 7, read as q s
    /// s = the candidate with the least sum of (w - q s)^2; the largest of equals
    /// candidates: bf16(max|w| / 7 (1 - k / 32)), k = 0 ... 12, but at least 2^-126; 1 where max|w| is below that
    /// ```
    ///
    /// That is 4.5 bits a weight. Two's complement, two a byte, the first in the lower half, as in ONNX.
    Int4,
    /// As whole numbers `q = round_ties_even(value (1 / s))` within -127 and 127, read as `q s`, with a scale for each index
    /// along an axis, as [`fake_quantize`](crate::ops::fake_quantize) rounds weights. The file does not hold these scales by themselves: they are the values of another tensor of the network, which
    /// is stored as [`F32`](Self::F32), or has only values that its own packing leaves as they are. Then `q` survives reading and
    /// writing.
    Int8 {
        /// `s`, positive and finite.
        scales: Vec<f32>,
        /// The axis.
        axis: usize,
    },
}

impl Packing {
    /// The values that a reader of the file finds: those of `tensor`, rounded. Rounding them again leaves them as they are.
    ///
    /// # Errors
    /// When a value is not finite or too large, when int4 is not for this shape, or when the scales do not fit it or are not
    /// positive and finite.
    pub fn rounded(&self, tensor: &NamedTensor) -> Result<Vec<f32>> {
        let stored = self.stored(tensor)?;
        Ok(stored.map_or_else(|| tensor.values.clone(), |stored| stored.values))
    }

    /// `None` for f32.
    fn stored(&self, tensor: &NamedTensor) -> Result<Option<Stored>> {
        let NamedTensor {
            name,
            shape,
            values,
        } = tensor;
        if values.iter().any(|value| !value.is_finite()) {
            let message = "the model holds a value that is not finite";
            return Err(Error::bad_data(SAVE, message).got(format!("in '{name}'")));
        }
        let stored = match self {
            Self::F32 => return Ok(None),
            Self::F16 => Stored::halves(tensor, Dtype::F16, |value| f16::from_f32(value).to_bits()),
            Self::Bf16 => {
                Stored::halves(tensor, Dtype::BF16, |value| bf16::from_f32(value).to_bits())
            }
            Self::Int4 => {
                let rows = Rows::of(shape).ok_or_else(|| unfit(SAVE, name, shape))?;
                let (bytes, scales) = int4::pack(&rows, values);
                let sizes: Vec<f32> = scales.iter().map(|scale| scale.to_f32()).collect();
                let values = int4::unpack(&rows, &bytes, &sizes);
                let shape = vec![rows.outputs, rows.bytes()];
                let scales = scales.iter().flat_map(|scale| scale.to_le_bytes());
                let scales = Entry::Packed {
                    dtype: Dtype::BF16,
                    shape: vec![rows.outputs, rows.groups()],
                    bytes: scales.collect(),
                };
                Stored::new(Dtype::U8, shape, bytes, values, Some(scales))
            }
            Self::Int8 { scales, axis } => {
                let run = run(shape, *axis, scales).ok_or_else(|| misfit(SAVE, tensor, scales))?;
                let whole = weight_bytes(values, scales, run).into_iter();
                let bytes: Vec<u8> = whole.map(i8::cast_unsigned).collect();
                let values = scaled(&bytes, run, scales);
                Stored::new(Dtype::I8, shape.clone(), bytes, values, None)
            }
        };
        if let Some(place) = stored.values.iter().position(|value| !value.is_finite()) {
            let message = format!("tensor '{name}' holds a value that is too large to be stored");
            let expected = match self {
                Self::F16 => "at most 65504, as f16 has",
                _ => "at most 3.38e38",
            };
            return Err(Error::bad_data(SAVE, message)
                .expected(expected)
                .got(format!("{} at {place}", values[place])));
        }
        Ok(Some(stored))
    }
}

/// What a file holds of a tensor, and what is read from there.
struct Stored {
    packed: Entry<'static>,
    values: Vec<f32>,
    scales: Option<Entry<'static>>,
}

impl Stored {
    fn new(
        dtype: Dtype,
        shape: Vec<usize>,
        bytes: Vec<u8>,
        values: Vec<f32>,
        scales: Option<Entry<'static>>,
    ) -> Self {
        let packed = Entry::Packed {
            dtype,
            shape,
            bytes,
        };
        Self {
            packed,
            values,
            scales,
        }
    }

    fn halves(tensor: &NamedTensor, dtype: Dtype, bits: fn(f32) -> u16) -> Self {
        let halves = tensor.values.iter();
        let bytes: Vec<u8> = halves
            .flat_map(|&value| bits(value).to_le_bytes())
            .collect();
        let values = floats(dtype, &bytes).unwrap_or_default();
        Self::new(dtype, tensor.shape.clone(), bytes, values, None)
    }
}

/// A tensor of a file that is being written.
pub(super) enum Entry<'a> {
    Values(F32View<'a>),
    Packed {
        dtype: Dtype,
        shape: Vec<usize>,
        bytes: Vec<u8>,
    },
}

impl View for Entry<'_> {
    fn dtype(&self) -> Dtype {
        match self {
            Self::Values(view) => view.dtype(),
            Self::Packed { dtype, .. } => *dtype,
        }
    }

    fn shape(&self) -> &[usize] {
        match self {
            Self::Values(view) => view.shape(),
            Self::Packed { shape, .. } => shape,
        }
    }

    fn data(&self) -> Cow<'_, [u8]> {
        match self {
            Self::Values(view) => view.data(),
            Self::Packed { bytes, .. } => Cow::Borrowed(bytes),
        }
    }

    fn data_len(&self) -> usize {
        match self {
            Self::Values(view) => view.data_len(),
            Self::Packed { bytes, .. } => bytes.len(),
        }
    }
}

/// The tensors of a file by their names, and the shapes of those in int4.
pub(super) fn entries<'a>(
    tensors: &'a [NamedTensor],
    packing: &dyn Fn(&NamedTensor) -> Packing,
) -> Result<(Vec<(String, Entry<'a>)>, Shapes)> {
    let (mut entries, mut shapes) = (Vec::new(), Shapes::new());
    for tensor in tensors {
        let name = tensor.name.clone();
        let Some(stored) = packing(tensor).stored(tensor)? else {
            entries.push((name, Entry::Values(F32View(tensor))));
            continue;
        };
        if let Some(scales) = stored.scales {
            let scales_name = name.clone() + SCALES;
            if tensors.iter().any(|other| other.name == scales_name) {
                let message = format!("tensor '{scales_name}' is there twice");
                return Err(Error::bad_data(SAVE, message));
            }
            entries.push((scales_name, scales));
            shapes.insert(name.clone(), tensor.shape.clone());
        }
        entries.push((name, stored.packed));
    }
    Ok((entries, shapes))
}

/// The tensors of a file's bytes.
pub(super) fn tensors(
    bytes: &[u8],
    shapes: &Shapes,
    int8: &Int8Scales,
) -> Result<Vec<NamedTensor>> {
    let file = SafeTensors::deserialize(bytes).map_err(not_whole)?;
    for name in shapes.keys() {
        find(&file, name)?;
    }
    let is_packed = |name: &str| shapes.contains_key(name);
    let mut tensors = Vec::new();
    for (name, view) in file.tensors() {
        if name.strip_suffix(SCALES).is_some_and(is_packed) {
            continue;
        }
        let mut tensor = NamedTensor {
            name,
            shape: view.shape().to_vec(),
            values: Vec::new(),
        };
        if let Some(shape) = shapes.get(&tensor.name) {
            tensor.shape.clone_from(shape);
            tensor.values = int4_values(&file, &tensor, &view)?;
        } else if let Some((name, axis)) = int8.get(&tensor.name)
            && view.dtype() == Dtype::I8
        {
            let scales = values(name, &find(&file, name)?)?;
            let run = run(&tensor.shape, *axis, &scales);
            let run = run.ok_or_else(|| misfit(LOAD, &tensor, &scales))?;
            tensor.values = scaled(view.data(), run, &scales);
        } else {
            tensor.values = values(&tensor.name, &view)?;
        }
        tensors.push(tensor);
    }
    Ok(tensors)
}

/// The values of a tensor in int4 of this name and shape.
fn int4_values(
    file: &SafeTensors<'_>,
    tensor: &NamedTensor,
    view: &TensorView<'_>,
) -> Result<Vec<f32>> {
    let NamedTensor { name, shape, .. } = tensor;
    let rows = Rows::of(shape).ok_or_else(|| unfit(LOAD, name, shape))?;
    let scales_name = name.clone() + SCALES;
    let scales = find(file, &scales_name)?;
    for (name, view, dtype, width) in [
        (name, view, Dtype::U8, rows.bytes()),
        (&scales_name, &scales, Dtype::BF16, rows.groups()),
    ] {
        let expected = [rows.outputs, width];
        if view.dtype() != dtype || view.shape() != expected {
            let message = format!("tensor '{name}' does not fit a weight of {shape:?} in int4");
            return Err(bad(message)
                .expected(format!("{dtype:?} {expected:?}"))
                .got(format!("{:?} {:?}", view.dtype(), view.shape())));
        }
    }
    let scales = values(&scales_name, &scales)?;
    if !are_scales(&scales) {
        return Err(misfit(LOAD, tensor, &scales));
    }
    Ok(int4::unpack(&rows, view.data(), &scales))
}

fn find<'a>(file: &SafeTensors<'a>, name: &str) -> Result<TensorView<'a>> {
    let found = file.tensor(name);
    found.map_err(|_| bad(format!("tensor '{name}' is missing")))
}

fn values(name: &str, view: &TensorView<'_>) -> Result<Vec<f32>> {
    floats(view.dtype(), view.data()).ok_or_else(|| {
        bad(format!("tensor '{name}' has another dtype"))
            .expected("F32, F16 or BF16")
            .got(format!("{:?}", view.dtype()))
    })
}

fn floats(dtype: Dtype, bytes: &[u8]) -> Option<Vec<f32>> {
    let (halves, _) = bytes.as_chunks::<2>();
    let halves = halves.iter().copied();
    Some(match dtype {
        Dtype::F32 => f32s(bytes),
        Dtype::F16 => halves
            .map(|half| f16::from_le_bytes(half).to_f32())
            .collect(),
        Dtype::BF16 => halves
            .map(|half| bf16::from_le_bytes(half).to_f32())
            .collect(),
        _ => return None,
    })
}

/// How many values in a row have one scale; `None` where the scales are not positive ones, one for each index along the axis.
fn run(shape: &[usize], axis: usize, scales: &[f32]) -> Option<usize> {
    let fits = shape.get(axis) == Some(&scales.len()) && are_scales(scales);
    let behind = || shape[axis + 1..].iter();
    fits.then(|| {
        behind()
            .fold(1, |all: usize, &size| all.saturating_mul(size))
            .max(1)
    })
}

fn are_scales(scales: &[f32]) -> bool {
    scales.iter().all(|scale| scale.is_finite() && *scale > 0.0)
}

/// What whole numbers stand for.
fn scaled(bytes: &[u8], run: usize, scales: &[f32]) -> Vec<f32> {
    let runs = bytes.chunks(run).zip(scales.iter().cycle());
    runs.flat_map(|(bytes, scale)| bytes.iter().map(move |&byte| f32::from(byte as i8) * scale))
        .collect()
}

fn unfit(operation: &'static str, name: &str, shape: &[usize]) -> Error {
    Error::bad_data(
        operation,
        format!("tensor '{name}' has no weights for int4"),
    )
    .expected("2 or 4 sizes, none of them 0")
    .got(format!("{shape:?}"))
}

fn misfit(operation: &'static str, tensor: &NamedTensor, scales: &[f32]) -> Error {
    let NamedTensor { name, shape, .. } = tensor;
    let message = format!("the scales do not fit tensor '{name}' of {shape:?}");
    let wrong = scales.iter().find(|scale| !are_scales(&[**scale]));
    let error = Error::bad_data(operation, message).expected("one for each channel, all above 0");
    match wrong {
        Some(wrong) => error.got(wrong),
        None => error.got(format!("{} scales", scales.len())),
    }
}
