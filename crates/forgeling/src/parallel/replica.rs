//! A network, its optimizer and its part in a step.

use burn::module::Module;
use burn::optim::GradientsParams;
use web_time::Instant;

use super::flattened::{Which, collect, hash, load};
use super::round::{Halt, Ready, Round, all_finite, exchange, variances};
use super::{Buckets, Collective, Contribution, ParallelConfig, Reduction, Work};
use crate::device::{Device, Readback};
use crate::error::{Error, ErrorKind, Result};
use crate::nn::{BatchStatistics, absorb};
use crate::train::Optimizer;
use crate::train::parts::{Taken, gradients};

/// One of several that are to stay the same.
pub struct Replica<M, O> {
    pub model: M,
    pub optimizer: O,
    pub device: Device,
    buckets: Buckets,
    bucket_bytes: usize,
    /// Steps to which all ranks have agreed.
    pub agreed: u64,
}

/// What a step did, the same for all ranks except for the seconds.
pub struct Stepped {
    pub loss: f64,
    pub metrics: Vec<f64>,
    pub examples: usize,
    pub finite: bool,
    pub busy: Vec<f64>,
    pub seconds: f64,
}

/// What a comparison of all replicas found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Comparison {
    /// They are the same bit for bit.
    Same,
    /// One is farther from the first than the others, by this part of the first one's largest parameter. All of them have
    /// the first one's parameters now if that is no more than allowed.
    Differ { rank: usize, difference: f64 },
}

/// What a step came to, before it is known to be finite.
struct Moved<M, O> {
    model: M,
    /// What the optimizer had, where somebody wants to see it.
    gradients: Option<GradientsParams>,
    /// The optimizer before the step, where something else than the optimizer may end the step.
    optimizer: Option<O>,
}

impl<M: Module, O: Optimizer> Replica<M, O> {
    pub fn new(model: M, optimizer: O, device: Device, config: &ParallelConfig) -> Result<Self> {
        Ok(Self {
            buckets: Buckets::of(&model, config.bucket_bytes)?,
            bucket_bytes: config.bucket_bytes,
            model,
            optimizer,
            device,
            agreed: 0,
        })
    }

    /// One step of all ranks together, with this one's share, if it has one.
    ///
    /// Either all ranks take the optimizer's step or none does: they agree when all gradients have been read, which is
    /// when a device that was lost is noticed. After a halt the collective may be out of step and is to be dropped.
    pub fn step<C: Collective, B, W: Work<M, B, O>>(
        &mut self,
        collective: &mut C,
        rate: f64,
        work: &W,
        share: Option<Result<B>>,
    ) -> Result<Stepped, Halt> {
        let begun = Instant::now();
        let contribute = |share| work.contribute(&self.model, share, &self.device);
        let own = share.map(|share| share.and_then(contribute).and_then(checked));
        let mut stepped = if collective.size() == 1 {
            let own = own.unwrap_or_else(|| Err(no_examples()));
            let own = own.map_err(Halt::Own)?;
            self.alone(rate, work, own, begun).map_err(Halt::Own)?
        } else {
            self.together(collective, rate, work, own, begun)?
        };
        stepped.seconds = begun.elapsed().as_secs_f64();
        Ok(stepped)
    }

    /// A step of one rank, whose gradients stay on the device.
    fn alone<B, W: Work<M, B, O>>(
        &mut self,
        rate: f64,
        work: &W,
        own: Contribution,
        begun: Instant,
    ) -> Result<Stepped> {
        let mut trip = Readback::new().with(own.loss);
        trip = own.metrics.into_iter().fold(trip, Readback::with);
        let variances = variances(&own.statistics);
        let norms = variances.len();
        trip = variances.into_iter().fold(trip, Readback::with);
        let moved = self.moved(rate, work, own.gradients)?;
        let (mut read, skipped) = self.skipped(trip)?;
        let sound = all_finite(read.split_off(read.len() - norms));
        let means: Vec<f64> = read.iter().map(|mean| f64::from(mean[0])).collect();
        let finite = means[0].is_finite() && sound && !skipped;
        self.settle(work, moved, own.statistics, finite)?;
        self.agreed += 1;
        Ok(Stepped {
            loss: means[0],
            metrics: means[1..].to_vec(),
            examples: own.examples,
            finite,
            busy: vec![begun.elapsed().as_secs_f64()],
            seconds: 0.0,
        })
    }

    fn together<C: Collective, B, W: Work<M, B, O>>(
        &mut self,
        collective: &mut C,
        rate: f64,
        work: &W,
        own: Option<Result<Contribution>>,
        begun: Instant,
    ) -> Result<Stepped, Halt> {
        let ready = |own: Contribution| Ready::new(&self.buckets, &self.model, own);
        let own = own.map(|own| own.and_then(ready));
        let (own, header) = exchange(collective, &self.buckets, own)?;
        let round = Round::run(collective, &self.buckets, own.as_ref(), &header, begun)?;
        self.agreed += 1;
        let mut finite = round.finite;
        if finite {
            let device = self.device.tensors();
            let (rows, present) = (&round.rows, &header.present);
            let gradients = self.buckets.give(&self.model, device, rows, present);
            let moved = self.moved(rate, work, gradients).map_err(Halt::Own)?;
            // What all brought is finite; what a rule makes of it need not be.
            if work.changes().gradients {
                let (_, skipped) = self.skipped(Readback::new()).map_err(Halt::Own)?;
                finite = !skipped;
            }
            let statistics = own.map(|own| own.statistics).unwrap_or_default();
            let settled = self.settle(work, moved, statistics, finite);
            settled.map_err(Halt::Own)?;
        }
        Ok(Stepped {
            loss: round.means[0],
            metrics: round.means[1..].to_vec(),
            examples: header.examples as usize,
            finite,
            busy: round.busy,
            seconds: 0.0,
        })
    }

    /// Has the optimizer take a step, and gives what it makes of the model.
    fn moved<B, W: Work<M, B, O>>(
        &mut self,
        rate: f64,
        work: &W,
        mut gradients: GradientsParams,
    ) -> Result<Moved<M, O>> {
        let changes = work.changes();
        work.rule(&self.model, &mut gradients)?;
        // Not without need: what it keeps is changed in place where nobody else has it.
        let optimizer = changes.any().then(|| self.optimizer.clone());
        let model_changes = changes.model;
        let seen = model_changes.then(|| gradients::copy(&self.model, &gradients));
        let model = self.model.clone();
        Ok(Moved {
            model: self.optimizer.step(rate, model, gradients),
            gradients: seen,
            optimizer,
        })
    }

    /// Whether the optimizer left the parameters as they were, and what else is to be read.
    fn skipped(&self, trip: Readback) -> Result<(Vec<Vec<f32>>, bool)> {
        let skipped = self.optimizer.skipped();
        let trip = skipped.clone().into_iter().fold(trip, Readback::with);
        let mut read = cubecl_environment::future::block_on(trip.run_all())?;
        let skipped = skipped.and_then(|_| read.pop()).is_some_and(|s| s[0] > 0.0);
        Ok((read, skipped))
    }

    /// Goes on with what a step came to, or without it where that is not finite or another change fails.
    fn settle<B, W: Work<M, B, O>>(
        &mut self,
        work: &W,
        moved: Moved<M, O>,
        statistics: Vec<BatchStatistics>,
        finite: bool,
    ) -> Result<()> {
        let settled = match finite {
            true => self.changed(work, &moved, statistics).map(Some),
            false => Ok(None),
        };
        match settled {
            Ok(Some(model)) => {
                self.model = model;
                Ok(())
            }
            left => {
                if let Some(before) = moved.optimizer {
                    self.optimizer = before;
                }
                left.map(|_| ())
            }
        }
    }

    /// The model with the statistics of the norms, and what is done after the step.
    fn changed<B, W: Work<M, B, O>>(
        &mut self,
        work: &W,
        moved: &Moved<M, O>,
        statistics: Vec<BatchStatistics>,
    ) -> Result<M> {
        let mut model = absorb(moved.model.clone(), statistics)?;
        if let Some(gradients) = &moved.gradients {
            let before = &self.model;
            let taken = Taken { gradients, before };
            work.after(&taken, &mut model, &mut self.optimizer)?;
            self.buckets = Buckets::of(&model, self.bucket_bytes)?;
        }
        Ok(model)
    }

    /// Gives all ranks the values of rank 0.
    ///
    /// # Errors
    /// When the networks do not have the same shapes, a device fails or a rank is gone.
    pub fn follow_first<C: Collective>(&mut self, collective: &mut C) -> Result<()> {
        let signature = f64::from(self.buckets.signature());
        let mut extremes = [signature, -signature];
        collective.all_reduce(&mut extremes, Reduction::Max)?;
        if extremes[0] != -extremes[1] {
            return Err(Error::invalid(
                OPERATION,
                "the ranks do not have the same network",
            ));
        }
        for which in [Which::Trained, Which::Still] {
            self.broadcast(collective, which)?;
        }
        Ok(())
    }

    fn broadcast<C: Collective>(&mut self, collective: &mut C, which: Which) -> Result<()> {
        let mut values = collect(&self.model, which)?;
        collective.broadcast(&mut values)?;
        if collective.rank() > 0 {
            self.model = load(self.model.clone(), which, &values);
        }
        Ok(())
    }

    /// Compares the parameters of all ranks, and gives all the first one's where they are no farther than `tolerance` from
    /// these. Values that are not trained are the first one's afterwards.
    ///
    /// # Errors
    /// When a device fails or a rank is gone.
    pub fn compare<C: Collective>(
        &mut self,
        collective: &mut C,
        tolerance: f64,
    ) -> Result<Comparison> {
        let own = collect(&self.model, Which::Trained)?;
        let hash = hash(own.iter().map(|value| value.to_bits()));
        let halves = [hash >> 32, hash & 0xffff_ffff].map(|half| half as f64);
        let mut extremes = [halves[0], halves[1], -halves[0], -halves[1]];
        collective.all_reduce(&mut extremes, Reduction::Max)?;
        let mut found = Comparison::Same;
        if extremes[0] != -extremes[2] || extremes[1] != -extremes[3] {
            let mut first = own.clone();
            collective.broadcast(&mut first)?;
            let mut differences = vec![0.0; collective.size()];
            differences[collective.rank()] = distance(&own, &first);
            collective.all_reduce(&mut differences, Reduction::Max)?;
            let all = differences.into_iter().enumerate();
            let farthest = all.max_by(|a, b| a.1.total_cmp(&b.1));
            let (rank, difference) = farthest.unwrap_or((0, 0.0));
            found = Comparison::Differ { rank, difference };
            if difference > tolerance {
                return Ok(found);
            }
            self.model = load(self.model.clone(), Which::Trained, &first);
        }
        self.broadcast(collective, Which::Still)?;
        Ok(found)
    }
}

const OPERATION: &str = "replica";

/// The error of replicas that are too far from each other.
pub fn apart(name: &str, difference: f64, tolerance: f64) -> Error {
    let message = format!("{name} does not have the parameters of the first replica");
    Error::new(ErrorKind::Device, OPERATION, message)
        .expected(format!(
            "a difference of at most {tolerance:e} of the largest one"
        ))
        .got(format!("{difference:e}"))
}

/// The largest difference as a part of the largest number of `first`; infinite where one is not a number.
fn distance(own: &[f32], first: &[f32]) -> f64 {
    let largest = first.iter().fold(0f32, |most, value| most.max(value.abs()));
    let pairs = own.iter().zip(first);
    let farthest = pairs.fold(0.0, |most: f64, (own, first)| {
        let far = f64::from((own - first).abs());
        let same = own.to_bits() == first.to_bits();
        match (same, far.is_nan()) {
            (true, _) => most,
            (false, true) => f64::INFINITY,
            (false, false) => most.max(far),
        }
    });
    farthest / f64::from(largest.max(f32::MIN_POSITIVE))
}

fn no_examples() -> Error {
    Error::invalid(OPERATION, "the batch has no example").expected("1 or more")
}

fn checked(contribution: Contribution) -> Result<Contribution> {
    if contribution.examples == 0 {
        return Err(no_examples());
    }
    Ok(contribution)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_relative_and_never_hide_what_is_no_number() {
        assert_eq!(distance(&[1.0, 2.0], &[1.0, 2.0]), 0.0);
        assert_eq!(distance(&[1.0, -3.0], &[1.0, -4.0]), 0.25);
        assert_eq!(distance(&[f32::NAN], &[f32::NAN]), 0.0);
        assert_eq!(distance(&[f32::NAN], &[1.0]), f64::INFINITY);
        assert_eq!(distance(&[1.0, 1.0], &[1.0, f32::NAN]), f64::INFINITY);
    }
}
