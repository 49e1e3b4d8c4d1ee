//! Several processes, each with a device.

use std::ops::Range;

use burn::module::Module;

use super::replica::{Comparison, Replica, apart};
use super::shares::Planner;
use super::{Collective, ParallelConfig, ParallelEvent, ParallelStep, Shares, Work};
use crate::device::Device;
use crate::error::Result;
use crate::train::{Optimizer, ranges};

/// This rank's part of a training in which every rank is a process with a device: start one for each device, on as many
/// machines as there are.
///
/// Of several GPUs of a machine each rank opens its own, by the number among its machine's ranks that `mpirun` gives it
/// (OpenMPI: `OMPI_COMM_WORLD_LOCAL_RANK`). Ranks on the CPUs of one machine should not each start as many threads as there
/// are cores: set `RAYON_NUM_THREADS`.
///
/// All ranks draw their data from the same seed, and each reads only its slice of the global batch. Rank 0 writes what is
/// to be written.
///
/// **Failures.** When a rank's work fails, no rank takes the step, and every rank has an error, which names the rank; none
/// waits for ever. A rank that ends without more ado ends the job: see `Mpi`. Nobody takes its place, so save the first
/// rank's network every few steps and start anew from there.
pub struct Distributed<M, O, C> {
    replica: Replica<M, O>,
    collective: C,
    planner: Planner,
    config: ParallelConfig,
    steps: usize,
}

impl<M: Module, O: Optimizer, C: Collective> Distributed<M, O, C> {
    /// A replica with the values that rank 0's `model` has. Shares are equal unless the configuration says otherwise. All
    /// ranks must have the same configuration.
    ///
    /// # Errors
    /// When a number of the configuration is out of range, the model trains nothing or is another one than that of the
    /// other ranks, a device fails or a rank is gone.
    pub fn new(
        model: &M,
        optimizer: &O,
        device: &Device,
        mut collective: C,
        config: ParallelConfig,
    ) -> Result<Self> {
        config.validate()?;
        let model = model.clone().fork(&device.autodiff());
        let mut replica = Replica::new(model, optimizer.clone(), device.clone(), &config)?;
        replica.follow_first(&mut collective)?;
        let shares = config.shares.unwrap_or(Shares::Equal);
        Ok(Self {
            planner: Planner::new(shares, collective.size()),
            replica,
            collective,
            config,
            steps: 0,
        })
    }

    /// Takes one step with learning rate `rate` on a batch of `examples`, the same number on all ranks. `read` gives this
    /// rank's slice of it, the examples with these numbers.
    ///
    /// # Errors
    /// When this rank or another one fails: nothing has changed then. When the ranks' parameters are not the same.
    pub fn step<B, W: Work<M, B, O>>(
        &mut self,
        work: &W,
        examples: usize,
        read: impl FnOnce(Range<usize>) -> Result<B>,
        rate: f64,
    ) -> Result<ParallelStep> {
        let (sizes, news) = self.planner.plan(examples);
        let range = ranges(&sizes)[self.collective.rank()].clone();
        let share = (!range.is_empty()).then(|| read(range));
        let collective = &mut self.collective;
        let stepped = self.replica.step(collective, rate, work, share);
        let stepped = stepped.map_err(|halt| halt.into_error())?;
        self.planner.learn(&sizes, &stepped.busy);
        self.steps += 1;
        let mut events: Vec<_> = news
            .map(|parts| ParallelEvent::Planned { parts })
            .into_iter()
            .collect();
        if self.steps.is_multiple_of(self.config.check_every) {
            events.extend(self.check()?);
        }
        Ok(ParallelStep {
            loss: stepped.loss,
            metrics: stepped.metrics,
            examples: stepped.examples,
            finite: stepped.finite,
            shares: sizes,
            busy: stepped.busy,
            seconds: stepped.seconds,
            events,
        })
    }

    /// Compares the parameters of all ranks now; those that rounding has moved apart take those of rank 0. Machines of
    /// different kinds round differently, so that some distance is always allowed.
    ///
    /// # Errors
    /// When they are farther apart than [`tolerance`](ParallelConfig::tolerance) allows, when a device fails or a rank is
    /// gone.
    pub fn check(&mut self) -> Result<Option<ParallelEvent>> {
        let tolerance = self.config.tolerance;
        match self.replica.compare(&mut self.collective, tolerance)? {
            Comparison::Same => Ok(None),
            Comparison::Differ { rank, difference } if difference > tolerance => {
                Err(apart(&format!("rank {rank}"), difference, tolerance))
            }
            Comparison::Differ { difference, .. } => {
                Ok(Some(ParallelEvent::Synchronized { difference }))
            }
        }
    }

    /// Whether this is rank 0, which writes.
    pub fn is_first(&self) -> bool {
        self.collective.rank() == 0
    }

    /// This rank's replica as it is now, with its running statistics, which on rank 0 are the ones to keep.
    pub fn model(&self) -> &M {
        &self.replica.model
    }

    /// This rank's optimizer as it is now.
    pub fn optimizer(&self) -> &O {
        &self.replica.optimizer
    }

    /// Changes network and optimizer, as when a checkpoint is loaded or the loss scale set. All ranks must do the same.
    ///
    /// # Errors
    /// Those of `change`; nothing has changed in the network then.
    pub fn change(&mut self, change: impl FnOnce(M, &mut O) -> Result<M>) -> Result<()> {
        let model = self.replica.model.clone();
        self.replica.model = change(model, &mut self.replica.optimizer)?;
        Ok(())
    }

    /// The way to the other ranks, which is needed to end.
    pub fn into_collective(self) -> C {
        self.collective
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use burn::module::Param;
    use burn::optim::GradientsParams;
    use burn::tensor::Tensor;

    use super::*;
    use crate::device::DeviceChoice;
    use crate::error::Error;
    use crate::nn::graph::Shape;
    use crate::nn::zoo::MlpConfig;
    use crate::nn::{Network, Values};
    use crate::parallel::{Contribution, Local};
    use crate::train::{Sgd, SgdConfig};

    fn all<R: Send>(size: usize, f: impl Fn(Local) -> R + Sync) -> Vec<R> {
        thread::scope(|scope| {
            let f = &f;
            let ranks = Local::group(size).into_iter();
            let threads: Vec<_> = ranks.map(|rank| scope.spawn(move || f(rank))).collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        })
    }

    fn start(rank: Local) -> Distributed<Network, Sgd, Local> {
        let device = cubecl_environment::future::block_on(Device::open(DeviceChoice::Cpu));
        let device = device.unwrap();
        let config = MlpConfig {
            input: Shape::Values(3),
            hidden: vec![],
            classes: 2,
        };
        let (graph, seed) = (config.graph().unwrap(), rank.rank() as u64);
        let mlp = Network::new(&graph, seed, &device);
        let sgd = Sgd::new(SgdConfig::default()).unwrap();
        Distributed::new(&mlp, &sgd, &device, rank, ParallelConfig::default()).unwrap()
    }

    fn bias(mlp: &Network) -> &Param<Tensor<1>> {
        match mlp.values(0) {
            Some(Values::Linear(layer)) => layer.bias.as_ref().unwrap(),
            other => panic!("no layer: {other:?}"),
        }
    }

    /// The first numbers' loss is their own.
    fn work(mlp: &Network, share: Vec<usize>, device: &Device) -> Result<Contribution> {
        let mut gradients = GradientsParams::new();
        let ones = Tensor::<1>::ones([2], device.tensors()) * share[0] as f64;
        gradients.register(bias(mlp).id, ones);
        Ok(Contribution {
            gradients,
            loss: Tensor::from_data([share[0] as f32], device.tensors()),
            metrics: Vec::new(),
            examples: share.len(),
            statistics: Vec::new(),
        })
    }

    #[test]
    fn ranks_begin_with_the_first_ones_values_and_read_their_slices() {
        let results = all(3, |rank| {
            let mut training = start(rank);
            let before = bias(training.model()).val().into_data();
            let read = |range: Range<usize>| Ok(range.collect::<Vec<usize>>());
            let step = training.step(&work, 7, read, 1.0).unwrap();
            let after = bias(training.model()).val().into_data();
            assert_eq!((step.shares, step.examples), (vec![3, 2, 2], 7));
            // Shares that begin with 0, 3 and 5.
            assert!((step.loss - (2.0 * 3.0 + 2.0 * 5.0) / 7.0).abs() < 1e-6);
            assert_eq!(training.check().unwrap(), None);
            (before, after)
        });
        assert_eq!(results[0], results[1]);
        assert_eq!(results[0], results[2]);
        assert_ne!(results[0].0, results[0].1);
    }

    #[test]
    fn every_rank_learns_what_failed_and_nothing_changes() {
        let errors = all(3, |rank| {
            let own = rank.rank();
            let mut training = start(rank);
            let before = bias(training.model()).val().into_data();
            let read = |range: Range<usize>| match own {
                1 => Err(Error::bad_data("read", "the file is torn")),
                _ => Ok(range.collect::<Vec<usize>>()),
            };
            let error = training.step(&work, 7, read, 1.0).unwrap_err();
            assert_eq!(bias(training.model()).val().into_data(), before);
            error
        });
        for error in &errors {
            assert_eq!(error.kind(), crate::ErrorKind::BadData);
            assert!(error.to_string().contains("the file is torn"), "{error}");
        }
        assert!(errors[2].to_string().contains("rank 1 failed"));
    }
}
