//! Rows of plain numbers with a class each.

use std::collections::BTreeMap;

use super::dataset::{Dataset, check_read};
use crate::error::{Error, Result};
use crate::image_shape::ImageShape;

/// Rows of numbers in memory, grouped into named classes: what is called tabular data. A row is an image of one channel
/// and one row, `[1, 1, features]`, but its values may be any finite ones.
///
/// ```
/// use forgeling::data::{Dataset, TableSet};
/// # fn main() -> forgeling::Result<()> {
/// let set = TableSet::from_rows(2, &["cold", "warm", "cold"], &[-4.0, 80.0, 21.5, 40.0, 3.0, 75.0])?;
/// assert_eq!((set.class_name(0), set.class_len(0)), ("cold".into(), 2));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct TableSet {
    pub(super) features: usize,
    names: Vec<String>,
    /// The rows of each class, one after the other.
    pub(super) rows: Vec<Vec<f32>>,
}

impl TableSet {
    /// One class per different name, in order of first appearance; `values` holds one row of `features` numbers after the
    /// other, and `names` the class of each.
    ///
    /// # Errors
    /// When a row has no number, `values` does not hold exactly `names.len()` rows, or a value is not finite.
    pub fn from_rows<S: AsRef<str>>(features: usize, names: &[S], values: &[f32]) -> Result<Self> {
        const OPERATION: &str = "table_from_rows";
        if features == 0 {
            let error = Error::invalid(OPERATION, "a row has no number");
            return Err(error.expected("1 or more features").got(0));
        }
        if names.len().checked_mul(features) != Some(values.len()) {
            return Err(
                Error::invalid(OPERATION, "there must be one name for each row")
                    .expected(format!("{} rows of {features} numbers", names.len()))
                    .got(format!("{} numbers", values.len())),
            );
        }
        let mut classes = BTreeMap::new();
        let mut set = Self {
            features,
            names: Vec::new(),
            rows: Vec::new(),
        };
        for (index, (name, row)) in names.iter().zip(values.chunks(features)).enumerate() {
            if let Some(value) = row.iter().find(|value| !value.is_finite()) {
                let message = format!("row {index} has a value that is not finite");
                return Err(Error::bad_data(OPERATION, message).got(value));
            }
            let class = *classes.entry(name.as_ref()).or_insert(set.names.len());
            if class == set.names.len() {
                set.names.push(name.as_ref().to_owned());
                set.rows.push(Vec::new());
            }
            set.rows[class].extend_from_slice(row);
        }
        Ok(set)
    }

    /// Numbers of a row.
    pub fn features(&self) -> usize {
        self.features
    }
}

impl Dataset for TableSet {
    fn class_count(&self) -> usize {
        self.names.len()
    }

    fn class_name(&self, class: usize) -> String {
        let name = self.names.get(class).cloned();
        name.unwrap_or_else(|| format!("class {class}"))
    }

    fn class_len(&self, class: usize) -> usize {
        let rows = self.rows.get(class);
        rows.map_or(0, |rows| rows.len() / self.features)
    }

    fn image_shape(&self) -> ImageShape {
        ImageShape::new(1, 1, self.features)
    }

    fn read(&self, class: usize, example: usize, out: &mut [f32]) -> Result<()> {
        check_read(self, class, example, out)?;
        let start = example * self.features;
        out.copy_from_slice(&self.rows[class][start..start + self.features]);
        Ok(())
    }
}
