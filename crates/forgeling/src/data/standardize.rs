//! Columns of a table, or channels of images, brought to mean 0 and variance 1.

use serde::{Deserialize, Serialize};

use super::dataset::Dataset;
use super::table::TableSet;
use crate::error::{Error, Result};
use crate::image_shape::ImageShape;

const OPERATION: &str = "standardize";

/// Mean and standard deviation of each column of a table, or each channel of images, by which they are standardised:
/// `(x - mean) / deviation`.
///
/// The constants are those of the examples to train on; those to test with are standardised by the same ones. A
/// [`SavedNetwork`](crate::train::SavedNetwork) keeps those of its images.
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
    /// Of each column or channel.
    pub mean: Vec<f64>,
    /// Of each column or channel, with the number of its values as divisor. 1 where all of them are the same, which thus
    /// become 0.
    pub deviation: Vec<f64>,
}

/// Values of images as whole numbers, so that their sums are exact and no order changes them: 2^-40 apart, far less than
/// the 1/255 of images in bytes. 2^48 squares of them fit into 128 bits.
const STEPS: f64 = (1u64 << 40) as f64;

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

    /// What the encoders that were trained on ImageNet take, as torchvision has it: red, green and blue.
    pub fn imagenet() -> Self {
        Self {
            mean: vec![0.485, 0.456, 0.406],
            deviation: vec![0.229, 0.224, 0.225],
        }
    }

    /// Mean and deviation of each channel over all pixels of all images, which are read once. The order of images changes
    /// no bit.
    ///
    /// # Errors
    /// When there is no image, one cannot be read, or a value is not within 0 and 1.
    pub fn of_images(data: &(impl Dataset + ?Sized)) -> Result<Self> {
        let shape = data.image_shape();
        let mut sums = vec![Sums::default(); shape.channels];
        let (mut image, mut count) = (vec![0.0; shape.len()], 0u64);
        for class in 0..data.class_count() {
            for example in 0..data.class_len(class) {
                data.read(class, example, &mut image)?;
                count += 1;
                let planes = image.chunks_exact(shape.height * shape.width);
                for (sums, plane) in sums.iter_mut().zip(planes) {
                    plane.iter().try_for_each(|&value| sums.add(value))?;
                }
            }
        }
        if count == 0 {
            return Err(Error::invalid(OPERATION, "there is no image").expected("at least one"));
        }
        let pixels = count as f64 * (shape.height * shape.width) as f64;
        let (mean, deviation) = sums.iter().map(|sums| sums.moments(pixels)).unzip();
        Ok(Self { mean, deviation })
    }

    /// Checks that images of `shape` can be standardised.
    ///
    /// # Errors
    /// When they have other channels than the constants, or these are not finite, or a deviation is not above 0.
    pub fn check_channels(&self, shape: ImageShape) -> Result<()> {
        let found = (self.mean.len(), self.deviation.len());
        if found != (shape.channels, shape.channels) {
            let message = "the images have other channels than the constants";
            return Err(Error::invalid(OPERATION, message)
                .expected(format!("{} means and deviations", shape.channels))
                .got(format!("{} and {}", found.0, found.1)));
        }
        let usable = self.mean.iter().all(|mean| mean.is_finite())
            && (self.deviation.iter()).all(|&deviation| deviation > 0.0 && deviation.is_finite());
        if !usable {
            return Err(Error::bad_data(OPERATION, "a constant cannot be used")
                .expected("finite means, and finite deviations above 0")
                .got(format!("{:?} and {:?}", self.mean, self.deviation)));
        }
        Ok(())
    }

    /// Standardises the channels of images of `shape`, `[image, channel, row, column]`.
    ///
    /// # Errors
    /// As [`check_channels`](Self::check_channels), when these are not whole images, or a value becomes too large to be a
    /// number; the images are then worthless.
    pub fn apply_to_images(&self, shape: ImageShape, images: &mut [f32]) -> Result<()> {
        self.check_channels(shape)?;
        if shape.is_empty() || !images.len().is_multiple_of(shape.len()) {
            return Err(Error::invalid(OPERATION, "not whole images")
                .expected(format!("images of {shape}"))
                .got(format!("{} values", images.len())));
        }
        let constants = self.mean.iter().zip(&self.deviation).cycle();
        let planes = images.chunks_exact_mut(shape.height * shape.width);
        for (plane, (mean, deviation)) in planes.zip(constants) {
            for value in plane {
                *value = ((f64::from(*value) - mean) / deviation) as f32;
                if !value.is_finite() {
                    return Err(Error::bad_data(
                        OPERATION,
                        "an image has a value that is too large",
                    ));
                }
            }
        }
        Ok(())
    }
}

/// Exact sums over a channel.
#[derive(Debug, Clone, Default)]
struct Sums {
    values: u128,
    squares: u128,
    /// The least and the largest value, once there is one.
    range: Option<(u64, u64)>,
}

impl Sums {
    fn add(&mut self, value: f32) -> Result<()> {
        if !(0.0..=1.0).contains(&value) {
            return Err(
                Error::bad_data(OPERATION, "an image has a value out of range")
                    .expected("0 to 1")
                    .got(value),
            );
        }
        let steps = (f64::from(value) * STEPS).round() as u64;
        self.values += u128::from(steps);
        self.squares += u128::from(steps) * u128::from(steps);
        let (least, most) = self.range.unwrap_or((steps, steps));
        self.range = Some((least.min(steps), most.max(steps)));
        Ok(())
    }

    /// Mean and deviation of so many values.
    fn moments(&self, count: f64) -> (f64, f64) {
        let mean = self.values as f64 / count / STEPS;
        let variance = self.squares as f64 / count / STEPS / STEPS - mean * mean;
        // Rounding leaves a channel of equal values with a tiny variance.
        let varied = self.range.is_some_and(|(least, most)| least < most);
        let deviation = variance.max(0.0).sqrt();
        (
            mean,
            if varied && deviation > 0.0 {
                deviation
            } else {
                1.0
            },
        )
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
    use crate::data::ImageSet;

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

    fn colours(pixels: &[f32]) -> ImageSet {
        let names: Vec<String> = (0..pixels.len() / 6)
            .map(|image| image.to_string())
            .collect();
        ImageSet::from_f32(ImageShape::new(3, 1, 2), &names, pixels).unwrap()
    }

    #[test]
    fn constants_of_images_are_those_computed_by_hand_in_any_order() {
        // Red is 0, 1, 1, 1; green 0.2 throughout; blue 0, 0.6, 0.6, 0.
        let first = [0.0, 1.0, 0.2, 0.2, 0.0, 0.6];
        let second = [1.0, 1.0, 0.2, 0.2, 0.6, 0.0];
        let constants = Standardization::of_images(&colours(&[first, second].concat())).unwrap();
        let close = |found: &[f64], wanted: [f64; 3]| {
            let pairs = found.iter().zip(wanted);
            pairs.for_each(|(found, wanted)| assert!((found - wanted).abs() < 1e-7, "{found}"));
        };
        close(&constants.mean, [0.75, 0.2, 0.3]);
        close(&constants.deviation, [0.1875f64.sqrt(), 1.0, 0.3]);
        let turned = Standardization::of_images(&colours(&[second, first].concat())).unwrap();
        assert_eq!(constants, turned);

        let many: Vec<f32> = (0..6 * 101)
            .map(|i| (i * 37 % 256) as f32 / 255.0)
            .collect();
        let mut images: Vec<&[f32]> = many.chunks_exact(6).collect();
        let forwards = Standardization::of_images(&colours(&many)).unwrap();
        images.reverse();
        assert_eq!(
            Standardization::of_images(&colours(&images.concat())).unwrap(),
            forwards
        );

        let mut images = [first, second].concat();
        constants
            .apply_to_images(ImageShape::new(3, 1, 2), &mut images)
            .unwrap();
        let red = [images[0], images[1], images[6], images[7]];
        let side = 0.1875f32.sqrt();
        for (found, wanted) in red.iter().zip([-0.75, 0.25, 0.25, 0.25]) {
            assert!((found - wanted / side).abs() < 1e-6, "{found}");
        }
        assert!(
            images[2].abs() < 1e-6 && (images[4] + 1.0).abs() < 1e-6,
            "{images:?}"
        );
    }

    #[test]
    fn constants_that_do_not_fit_images_are_errors() {
        let shape = ImageShape::new(3, 1, 2);
        let imagenet = Standardization::imagenet();
        let error = imagenet
            .check_channels(ImageShape::new(1, 1, 2))
            .unwrap_err();
        assert!(error.to_string().contains("3 and 3"), "{error}");
        let mut image = [0.5; 6];
        assert!(imagenet.apply_to_images(shape, &mut image[..5]).is_err());
        for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let mut wrong = imagenet.clone();
            wrong.deviation[1] = bad;
            assert!(
                wrong
                    .apply_to_images(shape, &mut image)
                    .unwrap_err()
                    .is_bad_input()
            );
        }
        let tiny = Standardization {
            deviation: vec![1e-300; 3],
            ..imagenet
        };
        let error = tiny.apply_to_images(shape, &mut image).unwrap_err();
        assert!(error.to_string().contains("too large"), "{error}");
        let none = ImageSet::new(shape).unwrap();
        assert!(
            Standardization::of_images(&none)
                .unwrap_err()
                .is_bad_input()
        );
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
