//! A pickle as `torch.save` writes it, read without running anything.
//!
//! A pickle is a program for a machine with a stack, and may call any function of Python. This reader knows the operations
//! that build dictionaries, lists, tuples, numbers and text, and of all functions the few that tensors are made with,
//! whose arguments it keeps instead of calling them. Everything else is refused by its name.
//!
//! Values stand in one list and refer to each other by their place in it, so that nothing is copied, however often it is
//! used, and nothing is walked by recursion, however deep it is nested.

mod machine;

use machine::Machine;

use super::stored::Number;
use super::{bad, shown};
use crate::error::Result;

/// Axes of a tensor.
const MOST_AXES: usize = 8;

/// The place of a value.
pub(super) type Place = usize;

/// What a pickle builds.
#[derive(Debug)]
pub(super) enum Value {
    /// A number, a truth or nothing, of which only whole numbers are used.
    Int(i64),
    Other,
    Text(String),
    /// A tuple or a list.
    Items(Vec<Place>),
    Dict(Vec<(Place, Place)>),
    Function(Function),
    Storage(Storage),
    Tensor(Tensor),
}

/// What may be named.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Function {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    Storage(Number),
}

/// The numbers that tensors are views of, which stand elsewhere in the file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Storage {
    pub number: Number,
    /// Of a text.
    pub key: Place,
    pub length: usize,
}

/// A view of a storage. Offset and strides are in numbers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tensor {
    pub storage: Place,
    pub offset: Place,
    pub shape: Place,
    pub strides: Place,
}

/// A pickle that was read.
#[derive(Debug)]
pub(super) struct Pickle {
    pub values: Vec<Value>,
    pub root: Place,
    /// Bytes that it takes.
    pub length: usize,
}

impl Pickle {
    /// Reads the pickle at the beginning of `bytes`.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        Machine::new(bytes).run()
    }

    /// What a dictionary holds under a name.
    pub fn entry(&self, dict: Place, name: &str) -> Option<Place> {
        let Value::Dict(entries) = &self.values[dict] else {
            return None;
        };
        let named = |&&(key, _): &&(Place, Place)| matches!(&self.values[key], Value::Text(text) if text == name);
        entries.iter().find(named).map(|&(_, value)| value)
    }

    /// A text.
    pub fn text(&self, place: Place) -> Result<&str> {
        match &self.values[place] {
            Value::Text(text) => Ok(text),
            _ => Err(bad("a name is no text")),
        }
    }

    /// A storage.
    pub fn storage(&self, place: Place) -> Result<Storage> {
        match self.values[place] {
            Value::Storage(storage) => Ok(storage),
            _ => Err(bad("a tensor is made of something other than a storage")),
        }
    }

    /// A size or an offset.
    pub fn size(&self, place: Place) -> Result<usize> {
        let size = match &self.values[place] {
            Value::Int(size) => usize::try_from(*size).ok(),
            _ => None,
        };
        size.ok_or_else(|| bad("a tensor has a size that is not a whole number from 0"))
    }

    /// The sizes or strides of all axes.
    pub fn sizes(&self, place: Place) -> Result<Vec<usize>> {
        match &self.values[place] {
            Value::Items(sizes) if sizes.len() <= MOST_AXES => {
                sizes.iter().map(|size| self.size(*size)).collect()
            }
            _ => Err(bad("a tensor has sizes that are not a list of numbers")
                .expected(format!("at most {MOST_AXES} axes"))),
        }
    }
}

/// The function of this name. A name is refused where it stands, called or not: nothing that tensors are made with needs
/// any other.
fn function(module: &[u8], name: &[u8]) -> Result<Function> {
    let number = |bytes: u8| Function::Storage(Number::Other(bytes));
    Ok(match (module, name) {
        (b"collections", b"OrderedDict") => Function::OrderedDict,
        (b"torch._utils", b"_rebuild_tensor" | b"_rebuild_tensor_v2") => Function::RebuildTensor,
        (b"torch._utils", b"_rebuild_parameter") => Function::RebuildParameter,
        (b"torch", b"FloatStorage") => Function::Storage(Number::F32),
        (b"torch", b"HalfStorage") => Function::Storage(Number::F16),
        (b"torch", b"BFloat16Storage") => Function::Storage(Number::Bf16),
        (b"torch", b"DoubleStorage") => Function::Storage(Number::F64),
        (b"torch", b"LongStorage") => number(8),
        (b"torch", b"IntStorage") => number(4),
        (b"torch", b"ShortStorage") => number(2),
        (b"torch", b"CharStorage" | b"ByteStorage" | b"BoolStorage") => number(1),
        _ => {
            let message =
                "the file asks for code of Python, which is not run; save model.state_dict() alone";
            let asked = format!("{}.{}", shown(module), shown(name));
            return Err(bad(message).expected("tensors in dictionaries").got(asked));
        }
    })
}
