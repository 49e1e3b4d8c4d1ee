//! Batches in parts that fit into memory.

use serde::{Deserialize, Serialize};

use crate::device::Device;
use crate::error::{Error, Result};

/// How a batch is dealt out.
///
/// A batch of `N` examples goes through the network in parts of `n_1, .., n_k`, each at most the micro-batch, whose
/// mean losses are `l_i`. The mean loss of the batch is their mean weighted by examples, and so is its gradient:
///
/// `l = sum_i n_i / N l_i`, `grad l = sum_i n_i / N grad l_i`
///
/// So the loss of part `i` is multiplied with [its share](Self::shares) `n_i / N` before its backward pass, and
/// gradients are added up. Were every part weighted alike, the examples of a last part that is smaller would count for
/// more than the others. All of it equals one pass over the whole batch up to rounding, but for batch norm, which
/// normalises each part by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MicroBatch {
    /// Examples of the whole batch.
    pub batch: usize,
    /// Examples of a part at most.
    pub size: usize,
}

impl MicroBatch {
    /// A batch in parts of at most `size`.
    ///
    /// # Errors
    /// When a size is zero.
    pub fn new(batch: usize, size: usize) -> Result<Self> {
        if batch == 0 || size == 0 {
            return Err(Error::invalid("micro_batch", "a size of zero")
                .expected("at least 1 example in a batch and in its parts")
                .got(format!("{size} of {batch}")));
        }
        let size = size.min(batch);
        Ok(Self { batch, size })
    }

    /// Passes whose gradients are added up before a step.
    pub fn passes(self) -> usize {
        self.batch.div_ceil(self.size)
    }

    /// Examples of each part, which differ by one at most.
    pub fn parts(self) -> Vec<usize> {
        even_parts(self.batch, self.size)
    }

    /// What the loss of each part is multiplied with; 1 in all.
    pub fn shares(self) -> Vec<f64> {
        let whole = self.batch as f64;
        self.parts()
            .into_iter()
            .map(|part| part as f64 / whole)
            .collect()
    }
}

/// `total` in as few parts of at most `most` as there can be, whose sizes differ by one at most.
pub(crate) fn even_parts(total: usize, most: usize) -> Vec<usize> {
    let parts = total.div_ceil(most.max(1)).max(1);
    (0..parts)
        .map(|index| total / parts + usize::from(index < total % parts))
        .collect()
}

/// How many examples to try next, on a device from which what the last attempt left is gone, where `tried` at once gave
/// `problem`: half as many, rounded up.
///
/// # Errors
/// `problem`, where fewer would not help.
pub(crate) fn fewer(problem: Error, tried: usize, device: &Device) -> Result<usize> {
    if !problem.is_out_of_memory() || tried <= 1 {
        return Err(problem);
    }
    device.cleanup();
    Ok(tried.div_ceil(2))
}

/// What [`find_micro_batch`] has found.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundMicroBatch<T> {
    /// How the batch is dealt out.
    pub micro_batch: MicroBatch,
    /// What the attempt that succeeded gave.
    pub value: T,
    /// Sizes that did not fit, from first to last.
    pub refused: Vec<usize>,
}

/// Tries ever smaller micro-batches until one fits into memory: first `start` examples, for example what
/// [`MemoryPlan::largest_batch`](crate::nn::MemoryPlan::largest_batch) admits, or the whole batch; then half as many each
/// time, rounded up, down to 1.
///
/// `attempt` is a step on so many examples on `device`, which is rid of what it leaves where it fails. It runs as often as it takes, so
/// whatever it changes for good it must change last.
///
/// # Errors
/// When a size is zero, what `attempt` says where it is not [out of memory](crate::Error::is_out_of_memory), and that of
/// the last attempt if not even one example fits.
pub async fn find_micro_batch<T>(
    batch: usize,
    start: usize,
    device: &Device,
    mut attempt: impl AsyncFnMut(MicroBatch) -> Result<T>,
) -> Result<FoundMicroBatch<T>> {
    let mut micro_batch = MicroBatch::new(batch, start)?;
    let mut refused = Vec::new();
    loop {
        match attempt(micro_batch).await {
            Ok(value) => {
                return Ok(FoundMicroBatch {
                    micro_batch,
                    value,
                    refused,
                });
            }
            Err(problem) => {
                let tried = micro_batch.size;
                micro_batch.size = fewer(problem, tried, device)?;
                refused.push(tried);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::DeviceChoice;
    use crate::error::ErrorKind;

    fn cpu() -> Device {
        pollster::block_on(Device::open(DeviceChoice::Cpu)).unwrap()
    }

    fn search(batch: usize, start: usize, most: usize) -> Result<FoundMicroBatch<usize>> {
        let attempt = async |micro: MicroBatch| {
            if micro.size > most {
                return Err(Error::new(ErrorKind::OutOfMemory, "step", "too much"));
            }
            Ok(micro.size)
        };
        pollster::block_on(find_micro_batch(batch, start, &cpu(), attempt))
    }

    #[test]
    fn parts_are_even_and_few() {
        assert_eq!(even_parts(10, 4), [4, 3, 3]);
        assert_eq!(even_parts(10, 10), [10]);
        assert_eq!(even_parts(10, 99), [10]);
        assert_eq!(even_parts(3, 1), [1, 1, 1]);
        assert_eq!(even_parts(0, 4), [0]);
    }

    #[test]
    fn sizes_are_halved_until_one_fits() {
        let found = search(100, 100, 13).unwrap();
        assert_eq!((found.value, &found.refused[..]), (13, &[100, 50, 25][..]));
        assert_eq!(found.micro_batch.passes(), 8);
        assert_eq!(search(100, 40, 100).unwrap().micro_batch.size, 40);
        assert_eq!(search(7, 1000, 7).unwrap().micro_batch.passes(), 1);
        assert_eq!(search(5, 5, 1).unwrap().micro_batch.parts(), [1; 5]);
    }

    #[test]
    fn other_errors_and_the_last_one_end_the_search() {
        assert!(search(8, 8, 0).unwrap_err().is_out_of_memory());
        assert!(search(0, 1, 1).unwrap_err().is_bad_input());
        assert!(search(1, 0, 1).unwrap_err().is_bad_input());
        let mut tries = 0;
        let found = pollster::block_on(find_micro_batch(8, 8, &cpu(), async |_| {
            tries += 1;
            Err::<(), _>(Error::invalid("step", "wrong"))
        }));
        assert!(found.unwrap_err().is_bad_input() && tries == 1);
    }

    #[test]
    fn parts_make_up_the_batch_and_shares_make_up_one() {
        for (batch, size) in [(1, 1), (10, 3), (10, 5), (10, 10), (17, 16), (3, 9)] {
            let micro = MicroBatch::new(batch, size).unwrap();
            let parts = micro.parts();
            assert_eq!(parts.iter().sum::<usize>(), batch);
            assert_eq!(parts.len(), micro.passes());
            assert!(parts.iter().all(|part| (1..=size).contains(part)));
            assert!((micro.shares().iter().sum::<f64>() - 1.0).abs() < 1e-12);
            // The mean of all is the weighted mean of the parts' means.
            let values: Vec<f64> = (0..batch).map(|i| (i * i) as f64).collect();
            let (mut rest, mut mean) = (&values[..], 0.0);
            for (part, share) in parts.into_iter().zip(micro.shares()) {
                let (these, others) = rest.split_at(part);
                rest = others;
                mean += share * these.iter().sum::<f64>() / part as f64;
            }
            let whole = values.iter().sum::<f64>() / batch as f64;
            assert!((mean - whole).abs() < 1e-9 * whole.max(1.0));
        }
    }
}
