//! The operations of a pickle.

use std::collections::HashMap;

use super::super::{bad, shown};
use super::{Function, Pickle, Place, Storage, Tensor, Value, function};
use crate::error::{Error, Result};

/// More than the checkpoints of any model this library is made for; one of ResNet-50 has about 10,000.
const MOST_VALUES: usize = 1 << 19;
/// Of the name of a module or function.
const LONGEST_NAME: usize = 200;

/// The machine that a pickle is a program for.
pub(super) struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    values: Vec<Value>,
    stack: Vec<Place>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: HashMap<u32, Place>,
    /// Entries of dictionaries that were made of lists.
    copied: usize,
}

impl<'a> Machine<'a> {
    /// At the beginning of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            values: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
            copied: 0,
        }
    }

    /// Runs to the end.
    pub fn run(mut self) -> Result<Pickle> {
        while self.step()? {}
        let root = self.pop()?;
        Ok(Pickle {
            values: self.values,
            root,
            length: self.at,
        })
    }

    /// Takes one operation; whether there is another.
    fn step(&mut self) -> Result<bool> {
        let operation = self.byte()?;
        match operation {
            b'.' => return Ok(false),
            // The version of the protocol, and frames, which say nothing that is needed.
            0x80 => {
                self.take(1)?;
            }
            0x95 => {
                self.take(8)?;
            }
            b'(' => self.marks.push(self.stack.len()),
            b'0' => {
                self.pop()?;
            }
            b'1' => {
                self.since_mark()?;
            }
            b'N' | 0x88 | 0x89 => self.push(Value::Other)?,
            b'K' => {
                let number = self.byte()?;
                self.push(Value::Int(number.into()))?;
            }
            b'M' => {
                let number = u16::from_le_bytes(self.array()?);
                self.push(Value::Int(number.into()))?;
            }
            b'J' => {
                let number = i32::from_le_bytes(self.array()?);
                self.push(Value::Int(number.into()))?;
            }
            0x8a => self.long()?,
            b'G' => {
                self.take(8)?;
                self.push(Value::Other)?;
            }
            b'X' | b'T' => {
                let length = u32::from_le_bytes(self.array()?);
                self.text(length as usize)?;
            }
            0x8c | b'U' => {
                let length = self.byte()?;
                self.text(length.into())?;
            }
            b'}' => self.push(Value::Dict(Vec::new()))?,
            b']' | b')' => self.push(Value::Items(Vec::new()))?,
            b't' => {
                let items = self.since_mark()?;
                self.push(Value::Items(items))?;
            }
            0x85..=0x87 => {
                let count = usize::from(operation - 0x84);
                let items = self.last(count)?;
                self.push(Value::Items(items))?;
            }
            b'a' => {
                let item = self.pop()?;
                self.items()?.push(item);
            }
            b'e' => {
                let items = self.since_mark()?;
                self.items()?.extend(items);
            }
            b's' => {
                let entry = self.last(2)?;
                self.set(&entry)?;
            }
            b'u' => {
                let entries = self.since_mark()?;
                self.set(&entries)?;
            }
            b'q' => {
                let key = self.byte()?;
                self.remember(key.into())?;
            }
            b'r' => {
                let key = u32::from_le_bytes(self.array()?);
                self.remember(key)?;
            }
            0x94 => self.remember(self.memo.len() as u32)?,
            b'h' => {
                let key = self.byte()?;
                self.recall(key.into())?;
            }
            b'j' => {
                let key = u32::from_le_bytes(self.array()?);
                self.recall(key)?;
            }
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.push(Value::Function(function(module, name)?))?;
            }
            0x93 => {
                let named = self.last(2)?;
                let (Value::Text(module), Value::Text(name)) =
                    (&self.values[named[0]], &self.values[named[1]])
                else {
                    return Err(bad(
                        "the pickle names a function by something other than text",
                    ));
                };
                let function = function(module.as_bytes(), name.as_bytes())?;
                self.push(Value::Function(function))?;
            }
            b'Q' => {
                let told = self.pop()?;
                let storage = self.storage(told)?;
                self.push(Value::Storage(storage))?;
            }
            b'R' => self.call()?,
            b'b' => self.attributes()?,
            other => {
                return Err(bad(
                    "the pickle holds an operation that torch.save does not write for tensors",
                )
                .got(format!("{other:#04x} at {}", self.at - 1)));
            }
        }
        Ok(true)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let rest = &self.bytes[self.at..];
        let Some(taken) = rest.get(..length) else {
            return Err(bad("the pickle is cut off")
                .expected(format!("{length} bytes at {}", self.at))
                .got(rest.len()));
        };
        self.at += length;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// Up to the end of the line.
    fn line(&mut self) -> Result<&'a [u8]> {
        let rest = &self.bytes[self.at..];
        let rest = &rest[..rest.len().min(LONGEST_NAME)];
        let Some(length) = rest.iter().position(|byte| *byte == b'\n') else {
            return Err(bad("the pickle names a function without an end").got(shown(rest)));
        };
        self.at += length + 1;
        Ok(&rest[..length])
    }

    fn text(&mut self, length: usize) -> Result<()> {
        let bytes = self.take(length)?;
        let text = std::str::from_utf8(bytes)
            .map_err(|_| bad("the pickle holds a text that is not UTF-8").got(shown(bytes)))?;
        self.push(Value::Text(text.into()))
    }

    /// A whole number of any size; one beyond 64 bits is nothing that tensors need.
    fn long(&mut self) -> Result<()> {
        let length = self.byte()?;
        let bytes = self.take(length.into())?;
        let value = match bytes {
            [] => Value::Int(0),
            [.., last] if bytes.len() <= 8 => {
                let mut number = [if last & 0x80 == 0 { 0 } else { 0xff }; 8];
                number[..bytes.len()].copy_from_slice(bytes);
                Value::Int(i64::from_le_bytes(number))
            }
            _ => Value::Other,
        };
        self.push(value)
    }

    fn push(&mut self, value: Value) -> Result<()> {
        if self.values.len() >= MOST_VALUES {
            return Err(too_many());
        }
        self.stack.push(self.values.len());
        self.values.push(value);
        Ok(())
    }

    fn pop(&mut self) -> Result<Place> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.pop() {
            Some(place) if self.stack.len() >= floor => Ok(place),
            _ => Err(bad("the pickle takes what is not there").got(format!("at {}", self.at))),
        }
    }

    /// The last ones, in their order.
    fn last(&mut self, count: usize) -> Result<Vec<Place>> {
        let mut items = Vec::with_capacity(count);
        for _ in 0..count {
            items.push(self.pop()?);
        }
        items.reverse();
        Ok(items)
    }

    fn since_mark(&mut self) -> Result<Vec<Place>> {
        match self.marks.pop() {
            Some(mark) if mark <= self.stack.len() => Ok(self.stack.split_off(mark)),
            _ => Err(bad(
                "the pickle takes what follows a mark that is not there",
            )),
        }
    }

    fn top(&self) -> Result<Place> {
        let top = self.stack.last().copied();
        top.ok_or_else(|| bad("the pickle takes what is not there").got(format!("at {}", self.at)))
    }

    fn items(&mut self) -> Result<&mut Vec<Place>> {
        let top = self.top()?;
        match &mut self.values[top] {
            Value::Items(items) => Ok(items),
            _ => Err(bad("the pickle appends to what is no list")),
        }
    }

    /// Names and values in turns, into the dictionary at the top.
    fn set(&mut self, entries: &[Place]) -> Result<()> {
        let top = self.top()?;
        let (pairs, rest) = entries.as_chunks::<2>();
        match &mut self.values[top] {
            Value::Dict(dict) if rest.is_empty() => {
                dict.extend(pairs.iter().map(|&[key, value]| (key, value)));
                Ok(())
            }
            _ => Err(bad("the pickle sets entries of what is no dictionary")),
        }
    }

    fn remember(&mut self, key: u32) -> Result<()> {
        let top = self.top()?;
        self.memo.insert(key, top);
        Ok(())
    }

    fn recall(&mut self, key: u32) -> Result<()> {
        let place = self.memo.get(&key).copied();
        let place = place.ok_or_else(|| bad("the pickle recalls what it did not keep").got(key))?;
        self.stack.push(place);
        Ok(())
    }

    /// `("storage", class, key, location, length)`, as torch says where numbers are; old files add a view of it or none.
    fn storage(&self, told: Place) -> Result<Storage> {
        let unknown = || bad("the pickle refers to something other than a storage");
        let Value::Items(items) = &self.values[told] else {
            return Err(unknown());
        };
        let ([what, class, key, _, length] | [what, class, key, _, length, _]) = items[..] else {
            return Err(unknown());
        };
        let is_view = items
            .get(5)
            .is_some_and(|view| !matches!(self.values[*view], Value::Other));
        match (
            &self.values[what],
            &self.values[class],
            &self.values[key],
            &self.values[length],
        ) {
            (
                Value::Text(what),
                Value::Function(Function::Storage(number)),
                Value::Text(name),
                Value::Int(length),
            ) if what == "storage" && name.len() <= LONGEST_NAME && !is_view => Ok(Storage {
                number: *number,
                key,
                length: usize::try_from(*length)
                    .map_err(|_| bad("a storage claims a negative length").got(*length))?,
            }),
            _ => Err(unknown()),
        }
    }

    /// A call of one of the functions that are known.
    fn call(&mut self) -> Result<()> {
        let (arguments, called) = (self.pop()?, self.pop()?);
        let (Value::Function(function), Value::Items(arguments)) =
            (&self.values[called], &self.values[arguments])
        else {
            return Err(bad("the pickle calls what is no function"));
        };
        let value = match (function, &arguments[..]) {
            (Function::OrderedDict, []) => Value::Dict(Vec::new()),
            // As Python 2 wrote it.
            (Function::OrderedDict, [pairs]) => {
                let pairs = self.pairs(*pairs)?;
                self.copied += pairs.len();
                Value::Dict(pairs)
            }
            (Function::RebuildTensor, &[storage, offset, shape, strides, ..]) => {
                Value::Tensor(Tensor {
                    storage,
                    offset,
                    shape,
                    strides,
                })
            }
            (Function::RebuildParameter, [tensor, ..])
                if matches!(self.values[*tensor], Value::Tensor(_)) =>
            {
                self.stack.push(*tensor);
                return Ok(());
            }
            (function, _) => {
                let message =
                    "the pickle calls a function with other arguments than torch.save does";
                return Err(bad(message).got(format!("{function:?} of {}", arguments.len())));
            }
        };
        self.push(value)
    }

    fn pairs(&self, list: Place) -> Result<Vec<(Place, Place)>> {
        let other = || bad("the pickle makes a dictionary of something other than pairs");
        let Value::Items(items) = &self.values[list] else {
            return Err(other());
        };
        if self.copied + items.len() > MOST_VALUES {
            return Err(too_many());
        }
        let pair = |place: &Place| match &self.values[*place] {
            Value::Items(pair) if pair.len() == 2 => Ok((pair[0], pair[1])),
            _ => Err(other()),
        };
        items.iter().map(pair).collect()
    }

    /// A dictionary of weights says the versions of its modules, too, which nothing here depends on.
    fn attributes(&mut self) -> Result<()> {
        self.pop()?;
        let top = self.top()?;
        match &self.values[top] {
            Value::Dict(_) => Ok(()),
            _ => Err(bad("the pickle sets attributes of what is no dictionary")),
        }
    }
}

fn too_many() -> Error {
    bad("the pickle holds too many values").expected(format!("at most {MOST_VALUES}"))
}
