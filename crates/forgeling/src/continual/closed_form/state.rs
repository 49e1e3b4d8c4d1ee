//! A classifier in a checkpoint: its sums as bytes, so that it goes on with the same bits.

use std::sync::OnceLock;

use forgeling_cpu::double::elements;
use serde::{Deserialize, Serialize};

use super::sums::Sums;
use super::{ClosedForm, ClosedFormRule};
use crate::device::TensorDevice;
use crate::error::{Error, Result};
use crate::train::parts::{RunState, Sections};

/// All but the numbers.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    rule: ClosedFormRule,
    width: usize,
    classes: usize,
}

fn bad(message: impl Into<String>) -> Error {
    Error::bad_data("load_closed_form", message)
}

fn bytes_of<T>(values: &[T], bytes: impl Fn(&T) -> [u8; 8]) -> Vec<u8> {
    values.iter().flat_map(bytes).collect()
}

fn numbers<T>(
    from: &Sections,
    name: &str,
    count: usize,
    value: impl Fn([u8; 8]) -> T,
) -> Result<Vec<T>> {
    let bytes = from.bytes(name)?;
    let (words, rest) = bytes.as_chunks::<8>();
    if words.len() != count || !rest.is_empty() {
        return Err(bad(format!("'{name}' is not as long as it should be"))
            .expected(format!("{count} numbers of 8 bytes"))
            .got(format!("{} bytes", bytes.len())));
    }
    Ok(words.iter().map(|word| value(*word)).collect())
}

fn finite(from: &Sections, name: &str, count: usize) -> Result<Vec<f64>> {
    let values = numbers(from, name, count, f64::from_le_bytes)?;
    match values.iter().all(|value| value.is_finite()) {
        true => Ok(values),
        false => Err(bad(format!("'{name}' holds a value that is not finite"))),
    }
}

impl ClosedForm {
    fn kept(&self) -> Kept {
        Kept {
            rule: self.rule,
            width: self.width(),
            classes: self.classes(),
        }
    }
}

impl RunState for ClosedForm {
    fn save(&self, to: &mut Sections) -> Result<()> {
        to.set("closed form", &self.kept())?;
        let Sums {
            counts,
            rows,
            square,
            ..
        } = &self.sums;
        to.set_bytes("counts", bytes_of(counts, |count| count.to_le_bytes()));
        to.set_bytes("class rows", bytes_of(rows, |value| value.to_le_bytes()));
        to.set_bytes("square", bytes_of(square, |value| value.to_le_bytes()));
        Ok(())
    }

    /// An error leaves the classifier as it was.
    fn load(&mut self, from: &Sections, _device: &TensorDevice) -> Result<()> {
        let (own, other) = (self.kept(), from.get::<Kept>("closed form")?);
        if own != other {
            return Err(bad("the classifier is of another configuration")
                .expected(format!("{own:?}"))
                .got(format!("{other:?}")));
        }
        let sums = Sums {
            width: own.width,
            counts: numbers(from, "counts", own.classes, u64::from_le_bytes)?,
            rows: finite(from, "class rows", self.sums.rows.len())?,
            square: finite(from, "square", self.sums.square.len())?,
        };
        let counted = sums.counts.iter();
        if counted.fold(0u64, |sum, count| sum.saturating_add(*count)) > 1 << f64::MANTISSA_DIGITS {
            return Err(bad("'counts' holds more examples than can be counted"));
        }
        let squares = (0..own.width).filter_map(|place| sums.square.get(elements(place) + place));
        if squares.into_iter().any(|value| *value < 0.0) {
            return Err(bad("'square' holds a sum of squares below 0"));
        }
        (self.sums, self.fitted) = (sums, OnceLock::new());
        Ok(())
    }
}
