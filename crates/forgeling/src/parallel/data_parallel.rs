//! Several devices of one process.

use std::sync::Arc;
use std::thread::available_parallelism;

use burn::module::Module;

use super::actor::{Actor, Answer};
use super::replica::{Comparison, Replica, Stepped, apart};
use super::round::Halt;
use super::shares::Planner;
use super::{Local, ParallelConfig, ParallelEvent, ParallelStep, Shares, Work};
use crate::device::Device;
use crate::error::{Error, ErrorKind, Result};
use crate::train::{Batch, Optimizer};

const OPERATION: &str = "data_parallel";

/// A network in training on several devices of this process, each with a thread and a replica of its own. The devices may
/// be of different kinds. The CPU may be among them several times; its replicas divide the cores.
///
/// **Failures.** A device whose work gives an error of the device, or panics, trains no more: the step is done again
/// without it, from parameters that have not changed, or goes on without it where the gradients had been averaged
/// already. [`ParallelEvent::Dropped`] says so. There are no half steps: each replica that goes on has taken all of the
/// step, as have the others. When all fail at once, the step is an error and none is dropped. A device that hangs, hangs
/// the step.
///
/// **Results.** On CPU replicas they are the same bit for bit, whatever the timing, as long as the shares are; the
/// replicas' parameters are compared every [`check_every`](ParallelConfig::check_every) steps.
///
/// ```
/// use std::sync::Arc;
///
/// use burn::tensor::TensorData;
/// use forgeling::data::{ImageShape, ImageBatch};
/// use forgeling::nn::graph::Shape;
/// use forgeling::nn::zoo::MlpConfig;
/// use forgeling::nn::{Network, Normalization, Pass};
/// use forgeling::ops::softmax_cross_entropy;
/// use forgeling::parallel::{Contribution, DataParallel, ParallelConfig};
/// use forgeling::train::{Sgd, SgdConfig};
/// use forgeling::{Device, DeviceChoice};
///
/// # pollster::block_on(async {
/// let cpu = Device::open(DeviceChoice::Cpu).await?;
/// let config = MlpConfig { input: Shape::Values(2), hidden: vec![8], classes: 2 };
/// let mlp = Network::new(&config.graph()?, 0, &cpu);
/// let sgd = Sgd::new(SgdConfig::default())?;
/// let work = Arc::new(|mlp: &Network, share: ImageBatch, device: &Device| {
///     let examples = share.labels.len();
///     let x = TensorData::new(share.images, [examples, 2]);
///     let mut pass = Pass::new(Normalization::Batch, &device.autodiff());
///     let logits = mlp.forward_rows(pass.values(x), &mut pass)?;
///     let loss = softmax_cross_entropy(logits, &share.labels)?;
///     let gradients = pass.backward(loss.clone(), mlp)?;
///     Ok(Contribution { gradients, loss, metrics: vec![], examples, statistics: vec![] })
/// });
/// let batch = ImageBatch {
///     shape: ImageShape { channels: 1, height: 1, width: 2 },
///     images: vec![0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0],
///     labels: vec![0, 1, 1, 0],
/// };
/// let devices = [cpu.clone(), cpu];
/// let mut training = DataParallel::new(&mlp, &sgd, &devices, ParallelConfig::default())?;
/// let first = training.step(&work, &batch, 0.5)?;
/// assert_eq!(first.shares, [2, 2]);
/// for _ in 0..20 {
///     training.step(&work, &batch, 0.5)?;
/// }
/// assert!(training.step(&work, &batch, 0.5)?.loss < first.loss);
/// # Ok::<(), forgeling::Error>(()) }).unwrap();
/// ```
pub struct DataParallel<M: Module + 'static, O: Optimizer + 'static> {
    members: Vec<Member<M, O>>,
    planner: Planner,
    config: ParallelConfig,
    steps: usize,
}

struct Member<M, O> {
    /// Its place among the devices training began with.
    number: usize,
    name: String,
    is_cpu: bool,
    actor: Actor<Worker<M, O>>,
}

/// What a thread owns.
struct Worker<M, O> {
    replica: Replica<M, O>,
    /// Its way to the others; gone after a failure.
    group: Option<Local>,
}

/// How a step went for one replica.
enum Outcome {
    Stepped(Stepped),
    /// Nothing changed, because of this one or another.
    Halted(Halt),
    /// Others may have taken the step.
    Lost(Error),
}

impl<M: Module + 'static, O: Optimizer + 'static> DataParallel<M, O> {
    /// Replicas of `model` on `devices`, each with a clone of `optimizer`. An optimizer that has state keeps it on
    /// replicas whose device is the one it has worked on; on others it begins anew.
    ///
    /// # Errors
    /// When there is no device, a number of the configuration is out of range, the model trains nothing, or the system
    /// gives no threads.
    pub fn new(
        model: &M,
        optimizer: &O,
        devices: &[Device],
        config: ParallelConfig,
    ) -> Result<Self> {
        config.validate()?;
        if devices.is_empty() {
            return Err(Error::invalid(OPERATION, "no device").expected("1 or more"));
        }
        let cpus = devices.iter().filter(|device| device.is_cpu()).count();
        let cores = available_parallelism().map_or(1, usize::from);
        let threads = config.cpu_threads.unwrap_or((cores / cpus.max(1)).max(1));
        let mut members = Vec::new();
        for (number, device) in devices.iter().enumerate() {
            let model = model.clone().fork(&device.autodiff());
            let replica = Replica::new(model, optimizer.clone(), device.clone(), &config)?;
            let group = None;
            let name = format!("device {number} ({})", device.info().name);
            // One replica alone has the threads of the process, unless it is told otherwise.
            let alone = devices.len() == 1 && config.cpu_threads.is_none();
            let own = (device.is_cpu() && !alone).then_some(threads);
            members.push(Member {
                number,
                is_cpu: device.is_cpu(),
                actor: Actor::start(&name, own, Worker { replica, group })?,
                name,
            });
        }
        let shares = config.shares;
        let shares = shares.unwrap_or_else(|| Shares::for_devices(devices));
        let planner = Planner::new(shares, members.len());
        let parallel = Self {
            members,
            planner,
            config,
            steps: 0,
        };
        parallel.regroup();
        Ok(parallel)
    }

    /// Takes one step with learning rate `rate` on `batch`, whose examples the replicas share.
    ///
    /// # Errors
    /// When the batch is empty, when the work gives an error that is not the device's fault, when all devices fail, and
    /// when the replicas' parameters are not the same. Except in the last case nothing has changed then.
    pub fn step<B, W>(&mut self, work: &Arc<W>, batch: &B, rate: f64) -> Result<ParallelStep>
    where
        B: Batch + Send + 'static,
        W: Work<M, B, O> + Send + Sync + 'static,
    {
        self.step_each(|_| work.clone(), batch, rate)
    }

    /// As [`step`](Self::step), with work for each device by its place among those training began with.
    pub(super) fn step_each<B, W>(
        &mut self,
        work: impl Fn(usize) -> Arc<W>,
        batch: &B,
        rate: f64,
    ) -> Result<ParallelStep>
    where
        B: Batch + Send + 'static,
        W: Work<M, B, O> + Send + Sync + 'static,
    {
        if batch.is_empty() {
            return Err(Error::invalid(OPERATION, "the batch has no example").expected("1 or more"));
        }
        let mut events = Vec::new();
        loop {
            let (sizes, news) = self.planner.plan(batch.len());
            events.extend(news.map(|parts| ParallelEvent::Planned { parts }));
            let outcomes = self.attempt(&work, split(batch, &sizes), rate);
            let Some(stepped) = self.settle(outcomes, &mut events)? else {
                continue;
            };
            self.steps += 1;
            // A device may just have been dropped.
            if sizes.len() == self.members.len() {
                self.planner.learn(&sizes, &stepped.busy);
            }
            if self.steps.is_multiple_of(self.config.check_every) {
                events.extend(self.check()?);
            }
            return Ok(ParallelStep {
                loss: stepped.loss,
                metrics: stepped.metrics,
                examples: stepped.examples,
                finite: stepped.finite,
                shares: sizes,
                busy: stepped.busy,
                seconds: stepped.seconds,
                events,
            });
        }
    }

    /// Has all replicas take the step together.
    fn attempt<B, W>(
        &self,
        work: &impl Fn(usize) -> Arc<W>,
        shares: Vec<Option<B>>,
        rate: f64,
    ) -> Vec<Outcome>
    where
        B: Batch + Send + 'static,
        W: Work<M, B, O> + Send + Sync + 'static,
    {
        let ask = |(member, share): (&Member<M, O>, Option<B>)| {
            let work = work(member.number);
            member
                .actor
                .ask(move |worker| worker.step(&*work, share, rate))
        };
        let answers: Vec<Answer<Outcome>> = self.members.iter().zip(shares).map(ask).collect();
        let outcome = |answer: Answer<Outcome>| answer.wait().unwrap_or_else(Outcome::Lost);
        answers.into_iter().map(outcome).collect()
    }

    /// Drops those whose device failed. Gives what the step did, or nothing if it is to be done again.
    fn settle(
        &mut self,
        outcomes: Vec<Outcome>,
        events: &mut Vec<ParallelEvent>,
    ) -> Result<Option<Stepped>> {
        let mut done = None;
        let mut errors = Vec::new();
        for (place, outcome) in outcomes.into_iter().enumerate() {
            match outcome {
                Outcome::Stepped(stepped) => {
                    done.get_or_insert(stepped);
                }
                Outcome::Halted(Halt::Own(error)) | Outcome::Lost(error) => {
                    errors.push((place, error));
                }
                Outcome::Halted(Halt::Peer(_)) => {}
            }
        }
        if errors.is_empty() && done.is_some() {
            return Ok(done);
        }
        self.regroup();
        let repeated = done.is_none();
        if repeated {
            let all = errors.len() == self.members.len();
            let nobodys = |(_, error): &(usize, Error)| all || !error.is_device();
            if let Some(index) = errors.iter().position(nobodys) {
                return Err(errors.swap_remove(index).1);
            }
            if errors.is_empty() {
                let message = "the replicas lost each other";
                return Err(Error::new(ErrorKind::Device, OPERATION, message));
            }
        }
        for (place, error) in errors.into_iter().rev() {
            let member = self.members.remove(place);
            self.planner.remove(place);
            events.push(ParallelEvent::Dropped {
                device: member.number,
                name: member.name.clone(),
                reason: error.to_string(),
                repeated,
                remaining: self.members.len(),
            });
        }
        self.regroup();
        Ok(done)
    }

    /// Gives the replicas a new way to each other.
    fn regroup(&self) {
        let ranks = Local::group(self.members.len());
        for (member, rank) in self.members.iter().zip(ranks) {
            // The answer comes before that to whatever is asked next.
            drop(member.actor.ask(move |worker| worker.group = Some(rank)));
        }
    }

    /// Compares the parameters of all replicas now. Those that rounding has moved apart on devices of different kinds
    /// take those of the first.
    ///
    /// # Errors
    /// When they are farther apart than [`tolerance`](ParallelConfig::tolerance) allows, or, on the CPU alone, not the
    /// same bit for bit; when a device fails.
    pub fn check(&mut self) -> Result<Option<ParallelEvent>> {
        let exact = self.members.iter().all(|member| member.is_cpu);
        let tolerance = if exact { 0.0 } else { self.config.tolerance };
        let ask = |member: &Member<M, O>| {
            member.actor.ask(move |worker| {
                // A failure takes the way to the others with it, so that none of them waits.
                let mut group = worker.group.take();
                let found = match &mut group {
                    Some(group) => worker.replica.compare(group, tolerance),
                    None => Err(out_of_group()),
                };
                worker.group = group.filter(|_| found.is_ok());
                found
            })
        };
        let answers: Vec<_> = self.members.iter().map(ask).collect();
        let found: Vec<_> = answers.into_iter().map(|a| a.wait().flatten()).collect();
        let found: Result<Vec<Comparison>> = found.into_iter().collect();
        if found.is_err() {
            self.regroup();
        }
        Ok(match found?[0] {
            Comparison::Same => None,
            Comparison::Differ { rank, difference } if difference > tolerance => {
                return Err(apart(&self.members[rank].name, difference, tolerance));
            }
            Comparison::Differ { difference, .. } => {
                Some(ParallelEvent::Synchronized { difference })
            }
        })
    }

    /// How many devices train.
    pub fn devices(&self) -> usize {
        self.members.len()
    }

    /// The first replica as it is now, on its device, with its running statistics: what to save and to evaluate.
    ///
    /// # Errors
    /// When its thread is gone.
    pub fn model(&self) -> Result<M> {
        self.first(|_, replica| replica.model.clone())
    }

    /// The first replica's optimizer as it is now.
    ///
    /// # Errors
    /// When its thread is gone.
    pub fn optimizer(&self) -> Result<O> {
        self.first(|_, replica| replica.optimizer.clone())
    }

    /// What `read` makes of the first replica and its device's place among those training began with, in its thread.
    pub(super) fn first<R: Send + 'static>(
        &self,
        read: impl FnOnce(usize, &Replica<M, O>) -> R + Send + 'static,
    ) -> Result<R> {
        let Member { number, actor, .. } = &self.members[0];
        let number = *number;
        let answer = actor.ask(move |worker| read(number, &worker.replica));
        answer.wait()
    }

    /// Has every replica change its network and optimizer on its device, as when a checkpoint is loaded or the loss scale
    /// set; `change` is called in each replica's thread and must do the same everywhere.
    ///
    /// # Errors
    /// The first of `change`'s; some replicas may have changed then.
    pub fn change(
        &mut self,
        change: impl Fn(M, &mut O, &Device) -> Result<M> + Send + Sync + 'static,
    ) -> Result<()> {
        self.each(move |_, replica| {
            let model = replica.model.clone();
            replica.model = change(model, &mut replica.optimizer, &replica.device)?;
            Ok(())
        })
    }

    /// Does something with every replica in its thread, with its device's place among those training began with.
    ///
    /// # Errors
    /// The first of them; others may have been done then.
    pub(super) fn each(
        &mut self,
        act: impl Fn(usize, &mut Replica<M, O>) -> Result<()> + Send + Sync + 'static,
    ) -> Result<()> {
        let act = Arc::new(act);
        let ask = |member: &Member<M, O>| {
            let (act, number) = (act.clone(), member.number);
            let job = move |worker: &mut Worker<M, O>| act(number, &mut worker.replica);
            member.actor.ask(job)
        };
        let answers: Vec<_> = self.members.iter().map(ask).collect();
        let results: Vec<_> = answers.into_iter().map(|a| a.wait().flatten()).collect();
        results.into_iter().collect()
    }
}

/// Parts of these sizes, none where a size is 0.
fn split<B: Batch>(batch: &B, sizes: &[usize]) -> Vec<Option<B>> {
    let parts = batch.split(sizes).into_iter();
    parts
        .map(|part| (!part.is_empty()).then_some(part))
        .collect()
}

fn out_of_group() -> Error {
    Error::new(
        ErrorKind::Device,
        OPERATION,
        "the replica has no way to the others",
    )
}

impl<M: Module, O: Optimizer> Worker<M, O> {
    fn step<B, W: Work<M, B, O>>(&mut self, work: &W, share: Option<B>, rate: f64) -> Outcome {
        // A panic takes the way to the others with it, so that none of them waits.
        let Some(mut group) = self.group.take() else {
            return Outcome::Halted(Halt::Peer(out_of_group()));
        };
        let agreed = self.replica.agreed;
        match self.replica.step(&mut group, rate, work, share.map(Ok)) {
            Ok(stepped) => {
                self.group = Some(group);
                Outcome::Stepped(stepped)
            }
            Err(halt) if self.replica.agreed == agreed => Outcome::Halted(halt),
            Err(halt) => Outcome::Lost(halt.into_error()),
        }
    }
}
