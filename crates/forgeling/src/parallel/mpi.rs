//! Ranks that are processes, on one machine or many, over MPI.

use std::io::Write;

use mpi::Threading;
use mpi::collective::SystemOperation;
use mpi::environment::Universe;
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, CommunicatorCollectives, Root};

use super::{Collective, Reduction};
use crate::error::{Error, ErrorKind, Result};

/// A rank among the processes that `mpirun` started.
///
/// **Ending.** Call [`finish`](Self::finish) when all is done. A rank whose `Mpi` is dropped before, because of an error or
/// a panic, aborts the whole job: otherwise it would wait in `MPI_Finalize` for ranks that wait for it. When a rank is
/// killed, `mpirun` ends the others. In each case `mpirun` fails, and no rank is left waiting. MPI's own errors, such as a
/// broken connection, abort the job as well: that is MPI's default, which stays, since the bindings do not look at what
/// MPI's functions return.
///
/// All functions must be called from the thread that called [`start`](Self::start).
pub struct Mpi {
    world: SimpleCommunicator,
    universe: Option<Universe>,
}

impl Mpi {
    /// Starts MPI. Without `mpirun` there is one rank.
    ///
    /// # Errors
    /// When MPI was started before in this process.
    pub fn start() -> Result<Self> {
        let started = mpi::initialize_with_threading(Threading::Funneled);
        let (universe, _) = started.ok_or_else(|| {
            Error::new(
                ErrorKind::Device,
                "mpi",
                "MPI was started before in this process",
            )
        })?;
        Ok(Self {
            world: universe.world(),
            universe: Some(universe),
        })
    }

    /// Waits for all ranks, then ends MPI.
    pub fn finish(mut self) {
        self.world.barrier();
        self.universe = None;
    }
}

impl Drop for Mpi {
    fn drop(&mut self) {
        if self.universe.is_some() {
            let rank = self.world.rank();
            let line = format!("rank {rank} ended before the others, which ends the job\n");
            // At once, since other ranks write to the same place; that it cannot be written changes nothing.
            let _ = std::io::stderr().write_all(line.as_bytes());
            self.world.abort(1);
        }
    }
}

impl Collective for Mpi {
    fn rank(&self) -> usize {
        self.world.rank() as usize
    }

    fn size(&self) -> usize {
        self.world.size() as usize
    }

    fn all_reduce_sum(&mut self, values: &mut [f32]) -> Result<()> {
        let own = values.to_vec();
        let sum = SystemOperation::sum();
        self.world.all_reduce_into(&own[..], values, sum);
        Ok(())
    }

    fn all_reduce(&mut self, values: &mut [f64], reduction: Reduction) -> Result<()> {
        let own = values.to_vec();
        let operation = match reduction {
            Reduction::Sum => SystemOperation::sum(),
            Reduction::Min => SystemOperation::min(),
            Reduction::Max => SystemOperation::max(),
        };
        self.world.all_reduce_into(&own[..], values, operation);
        Ok(())
    }

    fn broadcast(&mut self, values: &mut [f32]) -> Result<()> {
        self.world.process_at_rank(0).broadcast_into(values);
        Ok(())
    }

    fn barrier(&mut self) -> Result<()> {
        self.world.barrier();
        Ok(())
    }
}
