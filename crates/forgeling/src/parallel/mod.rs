//! The same training on several devices of one machine, and on several machines.
//!
//! Every device holds a *replica*: the whole network and its optimizer. A step splits a batch into shares, each replica
//! computes the gradients of its share, the gradients are averaged, weighted with the shares' examples, and every
//! replica takes the same optimizer step. So all replicas stay the same, and training is that on one device with the
//! whole batch, up to the order of sums. Li et al., *PyTorch Distributed: Experiences on Accelerating Data Parallel
//! Training*, 2020 (arXiv 2006.15704).
//!
//! - [`DataParallel`]: a thread for each device of this process; one that fails is dropped, and training goes on.
//! - [`Distributed`]: one process for each device, over a [`Collective`]: `Mpi` (cargo feature `mpi`) or [`Local`].
//! - [`Trainer::fit_on_devices`](crate::train::Trainer::fit_on_devices) and
//!   [`fit_as_rank`](crate::train::Trainer::fit_as_rank): whole runs of training on either.
//! - [`Work`]: what the gradients of a share are; [`Contribution`]: these and the share's loss.
//! - [`Shares`]: into which parts a [`Batch`](crate::train::Batch) is split.
//! - [`Buckets`]: the gradients of a network as few long rows of numbers.
//! - [`ParallelEvent`]: what happened on the way.
//!
//! **Batch norm** sees the share, not the batch, as in PyTorch's `DistributedDataParallel` without `SyncBatchNorm`: each
//! replica normalizes with statistics of its own share, and the running statistics are those of the first replica, which
//! [`DataParallel::model`] returns. Shares of few examples therefore train differently from a whole batch; a share should
//! have as many as one would train with on one device.
//!
//! **What overlaps**: automatic differentiation hands out all gradients when the backward pass has ended, so nothing is
//! sent during that pass. A bucket is read from its device while the one before it is summed.

mod actor;
mod buckets;
mod collective;
mod contribution;
mod data_parallel;
mod distributed;
mod event;
mod fit;
mod flattened;
mod local;
#[cfg(feature = "mpi")]
mod mpi;
mod replica;
mod round;
mod shares;

pub use buckets::Buckets;
pub use collective::{Collective, Reduction};
pub use contribution::{Contribution, Work};
pub use data_parallel::DataParallel;
pub use distributed::Distributed;
pub use event::{ParallelEvent, ParallelStep};
pub use local::Local;
#[cfg(feature = "mpi")]
pub use mpi::Mpi;
pub use shares::Shares;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// How replicas work together.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ParallelConfig {
    /// How a batch is split. Default `None`: equally among devices of one kind, by speed among others.
    pub shares: Option<Shares>,
    /// Bytes of gradients that are sent together. Default 25 MB, as in PyTorch.
    pub bucket_bytes: usize,
    /// Steps from one comparison of the replicas' parameters to the next. Default 100.
    pub check_every: usize,
    /// How far the parameters of devices of different kinds may be apart, as a part of the largest one, before that is
    /// an error; nearer ones take those of the first replica. CPU replicas of one process must be the same bit for bit.
    /// Default 1e-4.
    pub tolerance: f64,
    /// Threads of each CPU replica of a process. Default `None`: as many as share the cores.
    pub cpu_threads: Option<usize>,
}

impl Default for ParallelConfig {
    fn default() -> Self {
        Self {
            shares: None,
            bucket_bytes: 25_000_000,
            check_every: 100,
            tolerance: 1e-4,
            cpu_threads: None,
        }
    }
}

impl ParallelConfig {
    /// Checks the numbers.
    ///
    /// # Errors
    /// When an interval, a bucket or the number of threads is zero, or the tolerance is negative or not a number.
    pub fn validate(&self) -> Result<()> {
        const OPERATION: &str = "parallel_config";
        let every = match self.shares {
            Some(Shares::BySpeed { every }) => every,
            _ => 1,
        };
        let counts = [
            ("shares.every", every),
            ("bucket_bytes", self.bucket_bytes),
            ("check_every", self.check_every),
            ("cpu_threads", self.cpu_threads.unwrap_or(1)),
        ];
        for (name, count) in counts {
            if count == 0 {
                return Err(Error::invalid(OPERATION, format!("{name} is zero"))
                    .expected("at least 1")
                    .got(0));
            }
        }
        if !(self.tolerance >= 0.0 && self.tolerance.is_finite()) {
            return Err(Error::invalid(OPERATION, "tolerance is out of range")
                .expected("a number of at least 0")
                .got(self.tolerance));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_out_of_range_are_errors_that_name_them() {
        let right = ParallelConfig::default();
        assert!(right.validate().is_ok());
        let shares = Some(Shares::BySpeed { every: 0 });
        let bad = [
            ("every", ParallelConfig { shares, ..right }),
            (
                "bucket_bytes",
                ParallelConfig {
                    bucket_bytes: 0,
                    ..right
                },
            ),
            (
                "check_every",
                ParallelConfig {
                    check_every: 0,
                    ..right
                },
            ),
            (
                "cpu_threads",
                ParallelConfig {
                    cpu_threads: Some(0),
                    ..right
                },
            ),
            (
                "tolerance",
                ParallelConfig {
                    tolerance: f64::NAN,
                    ..right
                },
            ),
        ];
        for (name, config) in bad {
            let error = config.validate().unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
        }
    }
}
