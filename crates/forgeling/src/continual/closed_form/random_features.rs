//! Random features.

use forgeling_cpu::gemm::{End, Matrices, ProductShape, product};
use serde::{Deserialize, Serialize};

use super::sums::zeros;
use crate::device::TensorDevice;
use crate::error::{Error, Result};
use crate::rng::Rng;
use crate::train::parts::{RunState, Sections};

const OPERATION: &str = "random_features";

/// Features of features that are drawn once and never trained: `h = relu(x R)`, where `R` `[inputs, width]` is normal with
/// standard deviation `1 / √inputs`.
///
/// McDonnell et al., "RanPAC: random projections and pre-trained models for continual learning", NeurIPS 2023, whose
/// standard deviation is 1; this one keeps the scale of the inputs. In RanDumb (Prabhu et al., "Random representations
/// outperform online continually learned representations", NeurIPS 2024) they are random Fourier features, `√(2 / width)
/// cos(x W + b)`, whose kernel's width has to be chosen for the data; on MNIST, up to 2,000 of either do equally well with
/// the classifiers of [`ClosedForm`](super::ClosedForm).
///
/// `R` follows from the seed, with the same bits on every platform, so that a checkpoint holds the seed alone.
///
/// ```
/// use forgeling::continual::RandomFeatures;
///
/// let random = RandomFeatures::new(4, 1000, 7)?;
/// let features = random.apply(&[0.0, 1.0, 0.5, -1.0])?;
/// let positive = features.iter().filter(|value| **value > 0.0).count();
/// assert!(features.len() == 1000 && (450..550).contains(&positive));
/// # Ok::<(), forgeling::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct RandomFeatures {
    config: Config,
    /// `R`
    matrix: Vec<f32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    inputs: usize,
    width: usize,
    seed: u64,
}

impl RandomFeatures {
    /// `width` features of `inputs` values.
    ///
    /// # Errors
    /// When a size is zero, or the two are too large or do not fit in memory.
    pub fn new(inputs: usize, width: usize, seed: u64) -> Result<Self> {
        let Some(values @ 1..) = inputs.checked_mul(width) else {
            let message = "a size is zero or too large";
            return Err(Error::invalid(OPERATION, message)
                .expected("one or more inputs and features whose weights can be counted")
                .got(format!("{inputs} inputs, {width} features")));
        };
        let mut matrix = zeros(values)?;
        let (mut rng, deviation) = (Rng::new(seed), 1.0 / (inputs as f32).sqrt());
        matrix
            .iter_mut()
            .for_each(|value| *value = deviation * rng.normal());
        let config = Config {
            inputs,
            width,
            seed,
        };
        Ok(Self { config, matrix })
    }

    /// The features of each row: `[rows, inputs]` to `[rows, width]`, in f32. How many rows there are at once changes
    /// nothing.
    ///
    /// # Errors
    /// When these are not whole rows.
    pub fn apply(&self, rows: &[f32]) -> Result<Vec<f32>> {
        let Config { inputs, width, .. } = self.config;
        if !rows.len().is_multiple_of(inputs) {
            return Err(Error::invalid(OPERATION, "inputs are not whole rows")
                .expected(format!("rows of {inputs} values"))
                .got(format!("{} values", rows.len())));
        }
        let shape = ProductShape {
            batch: 1,
            rows: rows.len() / inputs,
            inner: inputs,
            columns: width,
        };
        let end = End {
            relu: true,
            ..Default::default()
        };
        let (left, right) = (
            Matrices::new(rows, inputs),
            Matrices::new(&self.matrix, width),
        );
        let mut features = vec![0.0; shape.rows * width];
        product(shape, left, right, end, &mut features);
        Ok(features)
    }

    /// Values of a row that goes in.
    pub fn inputs(&self) -> usize {
        self.config.inputs
    }

    /// Features of a row that comes out.
    pub fn width(&self) -> usize {
        self.config.width
    }

    /// What all of it follows from.
    pub fn seed(&self) -> u64 {
        self.config.seed
    }
}

impl RunState for RandomFeatures {
    fn save(&self, to: &mut Sections) -> Result<()> {
        to.set("random features", &self.config)
    }

    /// There is nothing to load; an error where what was saved was learned on other features.
    fn load(&mut self, from: &Sections, _device: &TensorDevice) -> Result<()> {
        let other: Config = from.get("random features")?;
        match other == self.config {
            true => Ok(()),
            false => Err(
                Error::bad_data("load_random_features", "these are other features")
                    .expected(format!("{:?}", self.config))
                    .got(format!("{other:?}")),
            ),
        }
    }
}
