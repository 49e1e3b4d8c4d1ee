//! The gradients of a network as few long rows of numbers.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::{Tensor, TensorData};

use crate::device::{Readback, TensorDevice};
use crate::error::{Error, Result};

const OPERATION: &str = "gradient_buckets";

/// Which parameters of a network lie where in rows of bounded size.
///
/// The parameters are those that are trained. They lie in the opposite of the order in which the module has them, which
/// is about the order in which a backward pass comes to them. A parameter that is larger than a bucket has one of its own.
///
/// ```
/// use burn::optim::GradientsParams;
/// use forgeling::nn::Network;
/// use forgeling::nn::graph::Shape;
/// use forgeling::nn::zoo::MlpConfig;
/// use forgeling::parallel::Buckets;
/// use forgeling::{Device, DeviceChoice};
///
/// # pollster::block_on(async {
/// let device = Device::open(DeviceChoice::Cpu).await?;
/// let config = MlpConfig { input: Shape::Values(5), hidden: vec![7], classes: 3 };
/// let mlp = Network::new(&config.graph()?, 0, &device);
/// let buckets = Buckets::of(&mlp, 128)?;
/// assert_eq!(buckets.lengths(), [3 + 21 + 7, 35]);
/// # Ok::<(), forgeling::Error>(()) }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct Buckets {
    /// In the order of the buckets.
    slots: Vec<Slot>,
    /// The slots of each bucket.
    ranges: Vec<Range<usize>>,
}

#[derive(Debug, Clone)]
struct Slot {
    id: ParamId,
    shape: Vec<usize>,
    length: usize,
}

/// Gradients taken apart: a flat one for each slot that has one.
pub(super) struct Taken(Vec<Option<Tensor<1>>>);

impl Buckets {
    /// Buckets of at most `bytes` for the trained parameters of `module`.
    ///
    /// # Errors
    /// When a bucket does not hold a number, or nothing is trained.
    pub fn of<M: Module>(module: &M, bytes: usize) -> Result<Self> {
        let most = bytes / size_of::<f32>();
        if most == 0 {
            return Err(Error::invalid(OPERATION, "a bucket holds no number")
                .expected("at least 4 bytes")
                .got(bytes));
        }
        let mut find = Find::default();
        module.visit(&mut find);
        let mut slots = find.slots;
        slots.reverse();
        if slots.is_empty() {
            return Err(Error::invalid(OPERATION, "the module trains no parameter")
                .expected("a module on a device with automatic differentiation"));
        }
        let mut ranges: Vec<Range<usize>> = Vec::new();
        let mut room = 0;
        for (index, slot) in slots.iter().enumerate() {
            match ranges.last_mut() {
                Some(range) if slot.length <= room => {
                    range.end = index + 1;
                    room -= slot.length;
                }
                _ => {
                    ranges.push(index..index + 1);
                    room = most.saturating_sub(slot.length);
                }
            }
        }
        Ok(Self { slots, ranges })
    }

    /// Numbers in each bucket.
    pub fn lengths(&self) -> Vec<usize> {
        let length = |range: &Range<usize>| self.slots[range.clone()].iter().map(|s| s.length);
        self.ranges.iter().map(|r| length(r).sum()).collect()
    }

    /// How many buckets there are.
    pub fn count(&self) -> usize {
        self.ranges.len()
    }

    /// How many parameters there are.
    pub fn parameters(&self) -> usize {
        self.slots.len()
    }

    /// A number that two layouts share where their buckets and shapes are the same, in every process.
    pub(super) fn signature(&self) -> u32 {
        let mut numbers: Vec<u32> = Vec::new();
        for range in &self.ranges {
            numbers.push(range.len() as u32);
            for slot in &self.slots[range.clone()] {
                numbers.push(slot.shape.len() as u32);
                numbers.extend(slot.shape.iter().map(|&side| side as u32));
            }
        }
        super::flattened::hash(numbers) as u32
    }

    /// Takes the gradients of `module` apart.
    ///
    /// # Errors
    /// When a gradient does not have its parameter's shape.
    pub(super) fn take<M: Module>(&self, module: &M, gradients: GradientsParams) -> Result<Taken> {
        let mut take = Take {
            gradients,
            flat: HashMap::new(),
            wrong: None,
        };
        module.visit(&mut take);
        match take.wrong {
            Some(wrong) => Err(wrong),
            None => {
                let slots = self.slots.iter();
                Ok(Taken(slots.map(|s| take.flat.remove(&s.id)).collect()))
            }
        }
    }

    /// The numbers of a bucket, after the trip that [`Taken::read`] made, each times `weight`; zeros where a parameter has
    /// no gradient.
    pub(super) fn fill(
        &self,
        bucket: usize,
        taken: &Taken,
        read: Vec<Vec<f32>>,
        weight: f32,
    ) -> Vec<f32> {
        let mut read = read.into_iter();
        let range = self.ranges[bucket].clone();
        let slots = &self.slots[range.clone()];
        // A bucket of one parameter is what was read.
        if let ([_], [Some(_)]) = (slots, &taken.0[range.clone()]) {
            let mut row = read.next().unwrap_or_default();
            row.iter_mut().for_each(|value| *value *= weight);
            return row;
        }
        let mut row = Vec::with_capacity(slots.iter().map(|s| s.length).sum());
        for (slot, gradient) in slots.iter().zip(&taken.0[range]) {
            let end = row.len() + slot.length;
            if gradient.is_some() {
                let values = read.next().unwrap_or_default();
                row.extend(values.into_iter().map(|value| value * weight));
            }
            row.resize(end, 0.0);
        }
        row
    }

    /// Gradients of `module` on `device` from all buckets, of those parameters that are `present`.
    pub(super) fn give<M: Module>(
        &self,
        module: &M,
        device: &TensorDevice,
        rows: &[Vec<f32>],
        present: &[bool],
    ) -> GradientsParams {
        let mut places = HashMap::new();
        for (range, row) in self.ranges.iter().zip(rows) {
            let mut start = 0;
            for index in range.clone() {
                let slot = &self.slots[index];
                if present[index] {
                    places.insert(slot.id, &row[start..start + slot.length]);
                }
                start += slot.length;
            }
        }
        let mut give = Give {
            places,
            device,
            gradients: GradientsParams::new(),
        };
        module.visit(&mut give);
        give.gradients
    }
}

impl Taken {
    /// For each parameter whether it has a gradient.
    pub fn present(&self) -> impl Iterator<Item = bool> {
        self.0.iter().map(Option::is_some)
    }

    /// Adds the gradients of a bucket to what is to be read.
    pub fn read(&self, buckets: &Buckets, bucket: usize, trip: Readback) -> Readback {
        let gradients = self.0[buckets.ranges[bucket].clone()].iter().flatten();
        gradients.fold(trip, |trip, gradient| trip.with(gradient.clone()))
    }
}

#[derive(Default)]
struct Find {
    seen: HashSet<ParamId>,
    slots: Vec<Slot>,
}

impl ModuleVisitor for Find {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = param.val();
        // A parameter may be found in two places.
        if value.is_require_grad() && self.seen.insert(param.id) {
            let shape = value.dims().to_vec();
            self.slots.push(Slot {
                id: param.id,
                length: shape.iter().product(),
                shape,
            });
        }
    }
}

struct Take {
    gradients: GradientsParams,
    flat: HashMap<ParamId, Tensor<1>>,
    wrong: Option<Error>,
}

impl ModuleVisitor for Take {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(gradient) = self.gradients.remove::<D>(param.id) else {
            return;
        };
        let (expected, got) = (param.val().dims(), gradient.dims());
        if got != expected {
            let message = "a gradient does not have its parameter's shape";
            let wrong = Error::invalid(OPERATION, message)
                .expected(format!("{expected:?}"))
                .got(format!("{got:?}"));
            self.wrong.get_or_insert(wrong);
            return;
        }
        let length: usize = got.iter().product();
        let gradient = gradient.without_autodiff().reshape([length]);
        self.flat.insert(param.id, gradient);
    }
}

struct Give<'a> {
    places: HashMap<ParamId, &'a [f32]>,
    device: &'a TensorDevice,
    gradients: GradientsParams,
}

impl ModuleVisitor for Give<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(values) = self.places.remove(&param.id) {
            let data = TensorData::new(values.to_vec(), param.val().dims());
            let gradient = Tensor::<D>::from_data(data, self.device);
            self.gradients.register(param.id, gradient);
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Distribution;
    use cubecl_environment::future::block_on;

    use super::*;
    use crate::nn::graph::Shape;
    use crate::nn::zoo::MlpConfig;
    use crate::nn::{LinearValues, Network, Values};

    fn mlp() -> Network {
        let config = MlpConfig {
            input: Shape::Values(5),
            hidden: vec![7, 4],
            classes: 3,
        };
        let graph = config.graph().unwrap();
        Network::on(&graph, 0, &TensorDevice::flex().autodiff())
    }

    fn layer<'a>(mlp: &'a Network, name: &str) -> &'a LinearValues {
        let place = mlp.graph().find(name).unwrap();
        let Some(Values::Linear(values)) = mlp.values(place) else {
            panic!("'{name}' is no layer of neurons");
        };
        values
    }

    #[test]
    fn buckets_go_backwards_and_keep_to_their_size() {
        // [5, 7], [7], [7, 4], [4], [4, 3], [3]
        let lengths = |bytes| Buckets::of(&mlp(), bytes).unwrap().lengths();
        assert_eq!(lengths(25_000_000), [3 + 12 + 4 + 28 + 7 + 35]);
        assert_eq!(lengths(4 * 19), [3 + 12 + 4, 28, 7, 35]);
        assert_eq!(lengths(4), [3, 12, 4, 28, 7, 35]);
        assert!(Buckets::of(&mlp(), 3).unwrap_err().is_bad_input());
        let graph = MlpConfig::default().graph().unwrap();
        let still = Network::on(&graph, 0, &TensorDevice::flex());
        assert!(Buckets::of(&still, 4).unwrap_err().is_bad_input());
        assert_eq!(
            Buckets::of(&mlp(), 40).unwrap().signature(),
            Buckets::of(&mlp(), 40).unwrap().signature()
        );
        assert_ne!(
            Buckets::of(&mlp(), 40).unwrap().signature(),
            Buckets::of(&mlp(), 80).unwrap().signature()
        );
    }

    #[test]
    fn gradients_come_back_times_their_weight_and_missing_ones_stay_away() {
        let mlp = mlp();
        let device = TensorDevice::flex();
        for bytes in [4, 4 * 19, 1 << 20] {
            let buckets = Buckets::of(&mlp, bytes).unwrap();
            let mut gradients = GradientsParams::new();
            let weight_id = layer(&mlp, "layers.0").weight.id;
            let bias_id = layer(&mlp, "layers.2").bias.as_ref().unwrap().id;
            let weight = Tensor::<2>::random([5, 7], Distribution::Default, &device);
            let bias = Tensor::<1>::random([3], Distribution::Default, &device);
            gradients.register(weight_id, weight.clone());
            gradients.register(bias_id, bias.clone());
            let taken = buckets.take(&mlp, gradients).unwrap();
            let present: Vec<bool> = taken.present().collect();
            assert_eq!(present, [true, false, false, false, false, true]);
            let rows: Vec<Vec<f32>> = (0..buckets.count())
                .map(|bucket| {
                    let read = taken.read(&buckets, bucket, Readback::new()).run_all();
                    buckets.fill(bucket, &taken, block_on(read).unwrap(), 0.5)
                })
                .collect();
            let lengths: Vec<usize> = rows.iter().map(Vec::len).collect();
            assert_eq!(lengths, buckets.lengths());
            let mut back = buckets.give(&mlp, &device, &rows, &present);
            assert_eq!(back.len(), 2);
            let got = back.remove::<2>(weight_id).unwrap();
            assert_eq!(got.into_data(), (weight * 0.5).into_data());
            let got = back.remove::<1>(bias_id).unwrap();
            assert_eq!(got.into_data(), (bias * 0.5).into_data());
        }
    }

    #[test]
    fn a_gradient_of_another_shape_is_an_error() {
        let mlp = mlp();
        let buckets = Buckets::of(&mlp, 100).unwrap();
        let mut gradients = GradientsParams::new();
        gradients.register(
            layer(&mlp, "layers.0").weight.id,
            Tensor::<2>::zeros([7, 5], &TensorDevice::flex()),
        );
        let error = buckets.take(&mlp, gradients).err().unwrap();
        assert!(error.to_string().contains("[5, 7]"), "{error}");
    }
}
