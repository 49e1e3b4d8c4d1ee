//! Which class's exemplars an example is nearest to.

use burn::tensor::{Tensor, TensorData};

use super::PASS;
use crate::continual::ContinualBatch;
use crate::continual::head::{images_of, mask};
use crate::error::{Error, Result};
use crate::nn::{Network, Pass};
use crate::train::Batch;

/// Shorter features are not scaled up to length 1.
const SHORTEST: f32 = 1e-12;

/// The features of images, `[images, features]`, in f32 and of length 1.
pub(super) fn features<'m>(
    model: &'m Network,
    images: TensorData,
    pass: &mut Pass<'m>,
) -> Result<Tensor<2>> {
    let maps = model.features(pass.values(images), pass)?;
    Ok(of_length_one(pass.output(maps.flatten(1, 3))))
}

fn of_length_one(rows: Tensor<2>) -> Tensor<2> {
    let norms = (rows.clone() * rows.clone()).sum_dim(1).sqrt();
    rows / norms.clamp_min(SHORTEST)
}

/// The mean feature of each class's exemplars, scaled to length 1.
#[derive(Debug)]
pub(super) struct Means {
    /// `[classes, features]`
    means: Tensor<2>,
    /// Which classes have exemplars.
    known: Vec<bool>,
}

impl Means {
    /// Of exemplars as the network sees them.
    pub fn of<'m>(
        model: &'m Network,
        exemplars: &ContinualBatch,
        classes: usize,
        pass: &mut Pass<'m>,
    ) -> Result<Self> {
        let mut known = vec![false; classes];
        let mut sums: Option<Tensor<2>> = None;
        for start in (0..exemplars.len()).step_by(PASS) {
            let part = exemplars.part(start..exemplars.len().min(start + PASS));
            let rows = part.len();
            let mut of_class = vec![0.0f32; classes * rows];
            for (row, label) in part.images.labels.iter().enumerate() {
                of_class[label * rows + row] = 1.0;
                known[*label] = true;
            }
            let found = features(model, images_of(&part), pass)?;
            let of_class = TensorData::new(of_class, [classes, rows]);
            let of_class = Tensor::<2>::from_data(of_class, &found.device());
            let sum = of_class.matmul(found);
            sums = Some(match sums {
                Some(sums) => sums + sum,
                None => sum,
            });
        }
        let Some(sums) = sums else {
            return Err(Error::invalid("icarl", "no class has an exemplar"));
        };
        // The mean scaled to length 1 is the sum scaled to length 1.
        let means = of_length_one(sums);
        Ok(Self { means, known })
    }

    /// Minus the squared distances of features `[rows, features]` from the means, `[rows, classes]`.
    pub fn scores(&self, features: Tensor<2>) -> Tensor<2> {
        let means = self.means.clone();
        let square = |rows: Tensor<2>| (rows.clone() * rows).sum_dim(1);
        let scores = features.clone().matmul(means.clone().transpose()) * 2.0
            - square(features)
            - square(means).transpose();
        mask(scores, |_, class| self.known[class])
    }
}
