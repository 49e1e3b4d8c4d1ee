//! How ranks average their gradients.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use burn::module::Module;
use burn::tensor::Tensor;
use cubecl_environment::future::block_on;
use web_time::Instant;

use super::buckets::Taken;
use super::{Buckets, Collective, Contribution, Reduction};
use crate::device::Readback;
use crate::error::{Error, ErrorKind, Result};
use crate::nn::BatchStatistics;

/// Why a step was given up before anything changed.
#[derive(Debug)]
pub enum Halt {
    /// This rank failed.
    Own(Error),
    /// Another one did.
    Peer(Error),
}

impl Halt {
    pub fn into_error(self) -> Error {
        match self {
            Self::Own(error) | Self::Peer(error) => error,
        }
    }
}

const OPERATION: &str = "average_gradients";

/// What a rank has to bring.
pub struct Ready {
    taken: Taken,
    /// Loss and metrics.
    means: Vec<Tensor<1>>,
    /// Of batch norms.
    variances: Vec<Tensor<1>>,
    examples: usize,
    pub statistics: Vec<BatchStatistics>,
}

impl Ready {
    pub fn new<M: Module>(buckets: &Buckets, model: &M, own: Contribution) -> Result<Self> {
        let mut means = vec![own.loss];
        means.extend(own.metrics);
        Ok(Self {
            taken: buckets.take(model, own.gradients)?,
            means,
            variances: variances(&own.statistics),
            examples: own.examples,
            statistics: own.statistics,
        })
    }

    /// Begins to read a bucket, with the means and variances if it is the first.
    fn read(&self, buckets: &Buckets, bucket: usize) -> Reading {
        let mut trip = Readback::new();
        if bucket == 0 {
            let beside = self.means.iter().chain(&self.variances).cloned();
            trip = beside.fold(trip, Readback::with);
        }
        Reading::start(self.taken.read(buckets, bucket, trip))
    }
}

/// What is to be read of a batch's statistics, to see that they are finite.
pub fn variances(statistics: &[BatchStatistics]) -> Vec<Tensor<1>> {
    statistics.iter().map(BatchStatistics::variance).collect()
}

/// Whether all of these are.
pub fn all_finite(rows: impl IntoIterator<Item = Vec<f32>>) -> bool {
    rows.into_iter().flatten().all(f32::is_finite)
}

/// What all ranks together bring.
pub struct Header {
    /// In all.
    pub examples: f64,
    /// Loss and metrics.
    means: usize,
    /// For each parameter whether any rank has a gradient.
    pub present: Vec<bool>,
}

/// Tells all ranks what the others bring, and whether one failed.
pub fn exchange<C: Collective>(
    collective: &mut C,
    buckets: &Buckets,
    own: Option<Result<Ready>>,
) -> Result<(Option<Ready>, Header), Halt> {
    const FIXED: usize = 4;
    let mut numbers = vec![0.0; FIXED + buckets.parameters()];
    match &own {
        Some(Ok(own)) => {
            numbers[1] = own.examples as f64;
            numbers[2] = 1.0;
            numbers[3] = own.means.len() as f64;
            let present = numbers[FIXED..].iter_mut().zip(own.taken.present());
            present.for_each(|(number, present)| *number = f64::from(u8::from(present)));
        }
        Some(Err(_)) => numbers[0] = 1.0,
        None => {}
    }
    let reduced = collective.all_reduce(&mut numbers, Reduction::Sum);
    reduced.map_err(Halt::Peer)?;
    if numbers[0] > 0.0 {
        return Err(failure(collective, own.and_then(Result::err)));
    }
    let own = own.transpose().map_err(Halt::Own)?;
    let (examples, contributors) = (numbers[1], numbers[2]);
    if contributors == 0.0 {
        return Err(Halt::Own(
            Error::invalid(OPERATION, "the batch has no example").expected("1 or more"),
        ));
    }
    let means = numbers[3] / contributors;
    let own_means = own.as_ref().map_or(means, |own| own.means.len() as f64);
    if own_means != means {
        return Err(Halt::Own(
            Error::invalid(OPERATION, "the shares do not have equally many metrics")
                .got(own_means - 1.0),
        ));
    }
    let header = Header {
        examples,
        means: means as usize,
        present: numbers[FIXED..].iter().map(|count| *count > 0.0).collect(),
    };
    Ok((own, header))
}

/// What to say where ranks have failed, `own` being what this one has to say. The others learn what the first of them says.
fn failure<C: Collective>(collective: &mut C, own: Option<Error>) -> Halt {
    const KINDS: [ErrorKind; 7] = [
        ErrorKind::InvalidArgument,
        ErrorKind::BadData,
        ErrorKind::Io,
        ErrorKind::Device,
        ErrorKind::OutOfMemory,
        ErrorKind::Diverged,
        ErrorKind::Cancelled,
    ];
    const LETTERS: usize = 400;
    let rank = collective.rank() as f64;
    let mut first = [own.as_ref().map_or(f64::INFINITY, |_| rank)];
    let told = collective.all_reduce(&mut first, Reduction::Min);
    let mut letters = vec![0.0; 1 + LETTERS];
    if let Some(own) = own.as_ref().filter(|_| first[0] == rank) {
        let kind = KINDS.iter().position(|kind| *kind == own.kind());
        let text = own.to_string();
        let bytes = text.bytes().map(f64::from);
        let numbers = kind.into_iter().map(|kind| kind as f64).chain(bytes);
        letters
            .iter_mut()
            .zip(numbers)
            .for_each(|(to, from)| *to = from);
    }
    let told = told.and_then(|()| collective.all_reduce(&mut letters, Reduction::Sum));
    match (own, told) {
        (Some(own), _) => Halt::Own(own),
        (None, Err(error)) => Halt::Peer(error),
        (None, Ok(())) => {
            let bytes = letters[1..].iter().map(|letter| *letter as u8);
            let bytes: Vec<u8> = bytes.take_while(|byte| *byte != 0).collect();
            let text = String::from_utf8_lossy(&bytes);
            let kind = KINDS.get(letters[0] as usize).copied();
            let message = format!("rank {} failed: {text}", first[0]);
            Halt::Peer(Error::new(
                kind.unwrap_or(ErrorKind::Device),
                OPERATION,
                message,
            ))
        }
    }
}

/// Averaged gradients and means.
pub struct Round {
    /// A row for each bucket.
    pub rows: Vec<Vec<f32>>,
    /// Loss and metrics.
    pub means: Vec<f64>,
    /// Whether the loss, all gradients and all batch norms' variances are.
    pub finite: bool,
    /// Seconds in which each rank computed.
    pub busy: Vec<f64>,
}

impl Round {
    /// Averages what all ranks bring, and sees to it that none failed.
    pub fn run<C: Collective>(
        collective: &mut C,
        buckets: &Buckets,
        own: Option<&Ready>,
        header: &Header,
        begun: Instant,
    ) -> Result<Self, Halt> {
        let weight = own.map_or(0.0, |own| own.examples as f64 / header.examples);
        let mut means = vec![0.0; header.means];
        let (mut busy, mut failed, mut finite, mut sound) = (0.0, None, true, true);
        let mut rows = Vec::with_capacity(buckets.count());
        let mut reading = own.map(|own| own.read(buckets, 0));
        for (bucket, length) in buckets.lengths().into_iter().enumerate() {
            let read = reading.take().map(Reading::finish).transpose();
            // What is read next is on its way while this is summed.
            if bucket + 1 < buckets.count() && read.is_ok() && failed.is_none() {
                reading = own.map(|own| own.read(buckets, bucket + 1));
            }
            let mut row = match (own, read) {
                (Some(own), Ok(Some(mut read))) => {
                    if bucket == 0 {
                        busy = begun.elapsed().as_secs_f64();
                        let first = read.drain(..header.means).zip(&mut means);
                        first.for_each(|(own, mean)| *mean = weight * f64::from(own[0]));
                        sound = all_finite(read.drain(..own.variances.len()));
                    }
                    buckets.fill(bucket, &own.taken, read, weight as f32)
                }
                (_, read) => {
                    failed = read.err().or(failed);
                    vec![0.0; length]
                }
            };
            collective.all_reduce_sum(&mut row).map_err(Halt::Peer)?;
            finite &= row.iter().fold(true, |all, value| all & value.is_finite());
            rows.push(row);
        }
        // `[failures, ranks with a variance that is not finite, seconds of each rank.., means..]`
        const FIXED: usize = 2;
        let first = FIXED + collective.size();
        let mut numbers = vec![0.0; first];
        numbers[0] = f64::from(u8::from(failed.is_some()));
        numbers[1] = f64::from(u8::from(!sound));
        numbers[FIXED + collective.rank()] = busy;
        numbers.extend(means);
        let reduced = collective.all_reduce(&mut numbers, Reduction::Sum);
        reduced.map_err(Halt::Peer)?;
        if numbers[0] > 0.0 {
            return Err(failure(collective, failed));
        }
        let means = numbers.split_off(first);
        Ok(Self {
            finite: finite && means[0].is_finite() && numbers[1] == 0.0,
            rows,
            means,
            busy: numbers.split_off(FIXED),
        })
    }
}

type Rows = Result<Vec<Vec<f32>>>;

/// Values that are on their way from a device.
enum Reading {
    Done(Rows),
    Pending(Pin<Box<dyn Future<Output = Rows>>>),
}

impl Reading {
    fn start(trip: Readback) -> Self {
        let mut values: Pin<Box<dyn Future<Output = Rows>>> = Box::pin(trip.run_all());
        // A future does nothing until it is asked for the first time; then the device begins.
        let mut context = Context::from_waker(Waker::noop());
        match values.as_mut().poll(&mut context) {
            Poll::Ready(rows) => Self::Done(rows),
            Poll::Pending => Self::Pending(values),
        }
    }

    fn finish(self) -> Rows {
        match self {
            Self::Done(rows) => rows,
            Self::Pending(values) => block_on(values),
        }
    }
}
