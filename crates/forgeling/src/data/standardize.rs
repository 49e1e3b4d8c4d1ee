//! Columns of a table brought to mean 0 and variance 1.

use serde::{Deserialize, Serialize};

use super::table::TableSet;
use crate::error::{Error, Result};

const OPERATION: &str = "standardize";

/// Mean and standard deviation of each column of a table, by which rows are standardised: `(x - mean) / deviation`.
///
/// The constants are those of the rows to train on; rows to test with are standardised by the same ones.
///
/// ```
/// use forgeling::data::TableSet;
/// # fn main() -> forgeling::Result<()> {
/// let train = TableSet::from_rows(1, &["low", "low", "high"], &[1.0, 2.0, 6.0])?;
/// let (train, constants) = train.standardized()?;
/// assert_eq!(constants.mean, [3.0]);
/// let test = TableSet::from_rows(1, &["low"], &[3.0])?;
/// let test = test.standardized_by(&constants)?;
/// # assert_eq!(train.features(), test.features());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Standardization {
    /// Of each column.
    pub mean: Vec<f64>,
    /// Of each column, with the number of rows as divisor. 1 for a column that is the same in every row, which thus
    /// becomes 0.
    pub deviation: Vec<f64>,
}

impl Standardization {
    /// Standardises rows, one after the other.
    ///
    /// # Errors
    /// When these are not whole rows, or a value becomes too large to be a number; the rows are then worthless.
    pub fn apply(&self, rows: &mut [f32]) -> Result<()> {
        let features = self.mean.len();
        if features == 0 || self.deviation.len() != features || !rows.len().is_multiple_of(features)
        {
            return Err(Error::invalid(
                OPERATION,
                "the rows have other columns than the constants",
            )
            .expected(format!("rows of {features} numbers"))
            .got(format!("{} numbers", rows.len())));
        }
        for (index, row) in rows.chunks_exact_mut(features).enumerate() {
            let constants = self.mean.iter().zip(&self.deviation);
            for (value, (mean, deviation)) in row.iter_mut().zip(constants) {
                *value = ((f64::from(*value) - mean) / deviation) as f32;
                if !value.is_finite() {
                    let message = format!("row {index} has a value that is too large");
                    return Err(Error::bad_data(OPERATION, message));
                }
            }
        }
        Ok(())
    }
}

impl TableSet {
    /// The table with columns of mean 0 and variance 1 over all its rows, and the constants that did it.
    ///
    /// # Errors
    /// When the table has no row.
    pub fn standardized(&self) -> Result<(Self, Standardization)> {
        let rows = || {
            self.rows
                .iter()
                .flat_map(|rows| rows.chunks_exact(self.features))
        };
        let count = rows().count();
        if count == 0 {
            return Err(Error::invalid(OPERATION, "the table has no row"));
        }
        let average = |value: &dyn Fn(usize, f64) -> f64| {
            let mut sums = vec![0.0; self.features];
            for row in rows() {
                for (column, (sum, &x)) in sums.iter_mut().zip(row).enumerate() {
                    *sum += value(column, f64::from(x));
                }
            }
            sums.iter()
                .map(|sum| sum / count as f64)
                .collect::<Vec<f64>>()
        };
        let mean = average(&|_, x| x);
        let variance = average(&|column, x| (x - mean[column]) * (x - mean[column]));
        let mut first = rows();
        let first = first.next().expect("there is a row");
        // A mean that is rounded leaves a column of equal values with a tiny variance.
        let same = |column: usize| rows().all(|row| row[column] == first[column]);
        let deviation =
            variance.iter().enumerate().map(
                |(column, variance)| {
                    if same(column) { 1.0 } else { variance.sqrt() }
                },
            );
        let constants = Standardization {
            deviation: deviation.collect(),
            mean,
        };
        Ok((self.standardized_by(&constants)?, constants))
    }

    /// The table, standardised by the constants of another one.
    ///
    /// # Errors
    /// As [`Standardization::apply`].
    pub fn standardized_by(&self, constants: &Standardization) -> Result<Self> {
        let mut table = self.clone();
        if constants.mean.len() != self.features {
            return Err(Error::invalid(
                OPERATION,
                "the table has other columns than the constants",
            )
            .expected(constants.mean.len())
            .got(self.features));
        }
        table
            .rows
            .iter_mut()
            .try_for_each(|rows| constants.apply(rows))?;
        Ok(table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Dataset;

    #[test]
    fn columns_have_mean_0_and_variance_1() {
        let names = ["a", "b", "a", "b"];
        // The mean of a column of 0.1s is not 0.1.
        let values = [1.0, 0.1, -7.0, 2.0, 0.1, 9.0, 3.0, 0.1, -1.0, 6.0, 0.1, 3.0];
        let table = TableSet::from_rows(3, &names, &values).unwrap();
        let (table, constants) = table.standardized().unwrap();
        assert_eq!(constants.mean[0], 3.0);
        // The squares of -2, -1, 0 and 3 add up to 14.
        assert!((constants.deviation[0] - 3.5f64.sqrt()).abs() < 1e-12);
        let mut rows = Vec::new();
        for (class, example) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let mut row = [9.0; 3];
            table.read(class, example, &mut row).unwrap();
            rows.push(row);
        }
        for column in [0, 2] {
            let values = || rows.iter().map(|row| row[column]);
            assert!(values().sum::<f32>().abs() < 1e-6);
            assert!((values().map(|x| x * x).sum::<f32>() - 4.0).abs() < 1e-5);
        }
        assert!(rows.iter().all(|row| row[1].abs() < 1e-6), "{rows:?}");
    }

    #[test]
    fn other_columns_empty_tables_and_overflow_are_errors() {
        let table =
            |values: &[f32]| TableSet::from_rows(1, &vec!["a"; values.len()], values).unwrap();
        let (_, constants) = table(&[0.0, 1e-30]).standardized().unwrap();
        let message = table(&[1e30]).standardized_by(&constants).unwrap_err();
        assert!(message.to_string().contains("too large"), "{message}");
        assert!(table(&[]).standardized().unwrap_err().is_bad_input());
        let wide = TableSet::from_rows(2, &["a"], &[1.0, 2.0]).unwrap();
        assert!(wide.standardized_by(&constants).unwrap_err().is_bad_input());
    }
}
