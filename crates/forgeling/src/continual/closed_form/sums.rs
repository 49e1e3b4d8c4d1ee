//! What is kept of all examples that came.

use forgeling_cpu::double::elements;

use crate::error::{Error, ErrorKind, Result};

/// Examples counted, and sums or means of them; which, the rule says.
#[derive(Debug, Clone)]
pub struct Sums {
    /// Features of a row.
    pub width: usize,
    /// Examples of each class.
    pub counts: Vec<u64>,
    /// A row of each class, `[classes, width]`.
    pub rows: Vec<f64>,
    /// The lower triangle of a symmetric matrix of this width, row by row; empty where the rule needs none.
    pub square: Vec<f64>,
}

fn refused(message: &str) -> Error {
    Error::invalid("closed_form", message)
}

/// So many zeros.
///
/// # Errors
/// When there is no memory for them.
pub fn zeros<T: Clone + Default>(count: usize) -> Result<Vec<T>> {
    let mut values = Vec::new();
    values.try_reserve_exact(count).map_err(|_| {
        let message = "there is no memory for what is kept";
        Error::new(ErrorKind::OutOfMemory, "closed_form", message)
            .expected(format!("room for {count} numbers"))
    })?;
    values.resize(count, T::default());
    Ok(values)
}

impl Sums {
    /// Of nothing. With a matrix or without.
    ///
    /// # Errors
    /// When a size is zero or too large.
    pub fn new(width: usize, classes: usize, square: bool) -> Result<Self> {
        let rows = width.checked_mul(classes);
        let squares = match square {
            true => width
                .checked_add(1)
                .and_then(|next| width.checked_mul(next)),
            false => Some(0),
        };
        let (Some(rows @ 1..), Some(squares)) = (rows, squares) else {
            return Err(refused("a size is zero or too large")
                .expected("one or more features and classes whose sums can be counted")
                .got(format!("{width} features, {classes} classes")));
        };
        Ok(Self {
            width,
            rows: zeros(rows)?,
            square: zeros(squares / 2)?,
            counts: vec![0; classes],
        })
    }

    /// Whether these are finite values in whole rows.
    ///
    /// # Errors
    /// When not.
    pub fn check_rows(&self, features: &[f32]) -> Result<()> {
        if !features.len().is_multiple_of(self.width) {
            return Err(refused("features are not whole rows")
                .expected(format!("rows of {} values", self.width))
                .got(format!("{} values", features.len())));
        }
        match features.iter().position(|value| !value.is_finite()) {
            None => Ok(()),
            Some(place) => Err(refused("a feature is not finite")
                .expected("finite values")
                .got(format!("{} in row {}", features[place], place / self.width))),
        }
    }

    /// Whether these are rows with a label each that is in range.
    ///
    /// # Errors
    /// When not.
    pub fn check(&self, features: &[f32], labels: &[usize]) -> Result<()> {
        if labels.len().checked_mul(self.width) != Some(features.len()) {
            return Err(refused("there is not a row of features for each label")
                .expected(format!("{} rows of {} values", labels.len(), self.width))
                .got(format!("{} values", features.len())));
        }
        if let Some(label) = labels.iter().find(|label| **label >= self.counts.len()) {
            return Err(refused("a label is out of range")
                .expected(format!("a label below {}", self.counts.len()))
                .got(label));
        }
        self.check_rows(features)
    }

    /// The row of a class.
    pub fn row(&self, class: usize) -> &[f64] {
        &self.rows[class * self.width..][..self.width]
    }

    /// How many examples came.
    pub fn examples(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Bytes of all of it.
    pub fn bytes(&self) -> u64 {
        let values = self.counts.len() + self.rows.len() + self.square.len();
        (values * size_of::<f64>()) as u64
    }

    /// `factor square + diagonal I`
    pub fn scaled(&self, factor: f64, diagonal: f64) -> Vec<f64> {
        let mut matrix: Vec<f64> = self.square.iter().map(|value| factor * value).collect();
        for place in 0..self.width {
            matrix[elements(place) + place] += diagonal;
        }
        matrix
    }
}
