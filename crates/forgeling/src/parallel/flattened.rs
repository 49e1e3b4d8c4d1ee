//! All values of a network in one row, and back.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Tensor, TensorData};
use cubecl_environment::future::block_on;

use crate::device::Readback;
use crate::error::Result;
use crate::train::in_place_of;

/// Which values of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// Trained parameters.
    Trained,
    /// Others, such as running statistics.
    Still,
}

impl Which {
    fn takes<const D: usize>(self, value: &Tensor<D>) -> bool {
        value.is_require_grad() == (self == Self::Trained)
    }
}

/// The values one after the other, in the module's order.
pub fn collect<M: Module>(module: &M, which: Which) -> Result<Vec<f32>> {
    let mut collect = Collect {
        which,
        trip: Readback::new(),
        found: false,
    };
    module.visit(&mut collect);
    if !collect.found {
        return Ok(Vec::new());
    }
    Ok(block_on(collect.trip.run_all())?.concat())
}

/// The module with other values, as many as [`collect`] gives.
pub fn load<M: Module>(module: M, which: Which, values: &[f32]) -> M {
    module.map(&mut Load {
        which,
        rest: values,
    })
}

/// A number that tells rows of numbers apart, bit by bit. It is not made against forgery.
pub fn hash(numbers: impl IntoIterator<Item = u32>) -> u64 {
    // Fowler, Noll and Vo's function, word by word instead of byte by byte, and rotated so that high bits come down.
    let step = |hash: u64, number: u32| {
        let mixed = (hash ^ u64::from(number)).wrapping_mul(0x0000_0100_0000_01b3);
        mixed.rotate_left(23)
    };
    numbers.into_iter().fold(0xcbf2_9ce4_8422_2325, step)
}

struct Collect {
    which: Which,
    trip: Readback,
    found: bool,
}

impl ModuleVisitor for Collect {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = param.val();
        if self.which.takes(&value) {
            self.trip = std::mem::take(&mut self.trip).with(value);
            self.found = true;
        }
    }
}

struct Load<'a> {
    which: Which,
    rest: &'a [f32],
}

impl ModuleMapper for Load<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let old = param.val();
        if !self.which.takes(&old) {
            return param;
        }
        let (values, rest) = self.rest.split_at(old.dims().iter().product());
        self.rest = rest;
        let data = TensorData::new(values.to_vec(), old.dims());
        param.map(|old| {
            let new = Tensor::<D>::from_data(data, &old.device().inner());
            in_place_of(&old, new.cast(old.dtype()))
        })
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::nn::Network;
    use crate::nn::zoo::Conv4Config;

    #[test]
    fn values_come_back_and_stay_trained() {
        let new = |seed| {
            let config = Conv4Config {
                filters: 3,
                blocks: 2,
                ..Default::default()
            };
            Network::on(&config.graph().unwrap(), seed, &Device::flex().autodiff())
        };
        let (one, mut other) = (new(1), new(2));
        for which in [Which::Trained, Which::Still] {
            let mut values = collect(&one, which).unwrap();
            values[0] = 7.5;
            other = load(other, which, &values);
            assert_eq!(collect(&other, which).unwrap(), values);
        }
        let trained = collect(&other, Which::Trained).unwrap();
        assert_eq!(trained.len() as u64, other.graph().trained_values());
        assert_eq!(collect(&other, Which::Still).unwrap().len(), 2 * 2 * 3);
    }

    #[test]
    fn every_bit_changes_the_hash() {
        let numbers: Vec<u32> = (0..1000).map(|n| n * 7919).collect();
        let expected = hash(numbers.iter().copied());
        for place in [0, 1, 500, 998, 999] {
            for bit in 0..32 {
                let mut other = numbers.clone();
                other[place] ^= 1 << bit;
                assert_ne!(hash(other), expected);
            }
        }
        let mut swapped = numbers.clone();
        swapped.swap(3, 4);
        assert_ne!(hash(swapped), expected);
    }
}
