//! Ranks that are threads of one process.

use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};

use super::{Collective, Reduction};
use crate::error::{Error, ErrorKind, Result};

const OPERATION: &str = "local_collective";

/// A rank among threads of this process.
///
/// Sums are made in the order of the ranks, whatever the timing, so that they are the same bit for bit every time. Each
/// rank sums a part of the numbers. A rank that is dropped is gone: whoever waits for it then has an error.
///
/// ```
/// use forgeling::parallel::{Collective, Local};
///
/// let ranks = Local::group(3);
/// std::thread::scope(|threads| {
///     for mut rank in ranks {
///         threads.spawn(move || {
///             let mut values = [rank.rank() as f32, 1.0];
///             rank.all_reduce_sum(&mut values).unwrap();
///             assert_eq!(values, [3.0, 3.0]);
///         });
///     }
/// });
/// ```
#[derive(Debug)]
pub struct Local {
    rank: usize,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    meeting: Mutex<Meeting>,
    met: Condvar,
    /// What each rank brings.
    brought: Vec<RwLock<Vec<f32>>>,
    /// The part of the sum that each rank makes.
    sums: Vec<RwLock<Vec<f32>>>,
}

/// Where all ranks bring a few numbers and take the outcome away.
#[derive(Debug)]
struct Meeting {
    /// How many have been held.
    held: u64,
    present: usize,
    brought: Vec<Vec<f64>>,
    outcome: Option<Arc<[f64]>>,
    gone: bool,
}

impl Local {
    /// All ranks of a group, in order.
    pub fn group(size: usize) -> Vec<Self> {
        let rows = || (0..size).map(|_| RwLock::default()).collect();
        let shared = Arc::new(Shared {
            meeting: Mutex::new(Meeting {
                held: 0,
                present: 0,
                brought: vec![Vec::new(); size],
                outcome: None,
                gone: false,
            }),
            met: Condvar::new(),
            brought: rows(),
            sums: rows(),
        });
        let rank = |rank| Self {
            rank,
            shared: shared.clone(),
        };
        (0..size).map(rank).collect()
    }

    fn meeting(&self) -> MutexGuard<'_, Meeting> {
        let meeting = self.shared.meeting.lock();
        meeting.unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings numbers; when all have, each gets the outcome or none does.
    fn meet(&self, brings: &[f64], reduction: Reduction) -> Result<Arc<[f64]>> {
        let gone = || Error::new(ErrorKind::Device, OPERATION, "a rank is gone");
        let mut meeting = self.meeting();
        if meeting.gone {
            return Err(gone());
        }
        meeting.brought[self.rank] = brings.to_vec();
        meeting.present += 1;
        if meeting.present == self.size() {
            meeting.outcome = reduce(&meeting.brought, reduction);
            meeting.present = 0;
            meeting.held += 1;
            self.shared.met.notify_all();
        } else {
            let number = meeting.held;
            // Who has met has the outcome, even if somebody left right afterwards.
            while meeting.held == number {
                if meeting.gone {
                    return Err(gone());
                }
                let woken = self.shared.met.wait(meeting);
                meeting = woken.unwrap_or_else(PoisonError::into_inner);
            }
        }
        meeting.outcome.clone().ok_or_else(|| {
            Error::invalid(OPERATION, "the ranks do not have equally many numbers")
                .got(brings.len())
        })
    }

    /// Sees to it that all ranks have so many numbers.
    fn agree(&self, length: usize) -> Result<()> {
        let length = length as f64;
        let extremes = self.meet(&[length, -length], Reduction::Max)?;
        if extremes[0] != -extremes[1] {
            return Err(
                Error::invalid(OPERATION, "the ranks do not have equally many numbers")
                    .expected(extremes[0])
                    .got(length),
            );
        }
        Ok(())
    }

    /// The part of `length` numbers that a rank sums.
    fn part(&self, rank: usize, length: usize) -> Range<usize> {
        let each = length.div_ceil(self.size());
        (rank * each).min(length)..((rank + 1) * each).min(length)
    }
}

fn reduce(brought: &[Vec<f64>], reduction: Reduction) -> Option<Arc<[f64]>> {
    let (first, others) = brought.split_first()?;
    let mut outcome = first.clone();
    for row in others {
        if row.len() != outcome.len() {
            return None;
        }
        let pairs = outcome.iter_mut().zip(row);
        pairs.for_each(|(all, own)| *all = reduction.of(*all, *own));
    }
    Some(outcome.into())
}

fn fill(row: &RwLock<Vec<f32>>, values: &[f32]) {
    let mut row = row.write().unwrap_or_else(PoisonError::into_inner);
    row.clear();
    row.extend_from_slice(values);
}

impl Collective for Local {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.shared.brought.len()
    }

    fn all_reduce_sum(&mut self, values: &mut [f32]) -> Result<()> {
        if self.size() == 1 {
            return Ok(());
        }
        let shared = self.shared.clone();
        fill(&shared.brought[self.rank], values);
        self.agree(values.len())?;
        let read = |row: &'_ RwLock<Vec<f32>>, range: Range<usize>, f: &mut dyn FnMut(&[f32])| {
            f(&row.read().unwrap_or_else(PoisonError::into_inner)[range]);
        };
        {
            let range = self.part(self.rank, values.len());
            let sum = shared.sums[self.rank].write();
            let mut sum = sum.unwrap_or_else(PoisonError::into_inner);
            sum.clear();
            sum.resize(range.len(), 0.0);
            for (rank, row) in shared.brought.iter().enumerate() {
                read(row, range.clone(), &mut |row| {
                    if rank == 0 {
                        sum.copy_from_slice(row);
                    } else {
                        sum.iter_mut().zip(row).for_each(|(sum, own)| *sum += own);
                    }
                });
            }
        }
        // Rows are written again only after a meeting to which all come when they have read.
        self.barrier()?;
        for (rank, sum) in shared.sums.iter().enumerate() {
            let range = self.part(rank, values.len());
            read(sum, 0..range.len(), &mut |sum| {
                values[range.clone()].copy_from_slice(sum);
            });
        }
        Ok(())
    }

    fn all_reduce(&mut self, values: &mut [f64], reduction: Reduction) -> Result<()> {
        values.copy_from_slice(&self.meet(values, reduction)?);
        Ok(())
    }

    fn broadcast(&mut self, values: &mut [f32]) -> Result<()> {
        if self.rank == 0 {
            fill(&self.shared.brought[0], values);
        }
        self.agree(values.len())?;
        if self.rank > 0 {
            let row = self.shared.brought[0].read();
            values.copy_from_slice(&row.unwrap_or_else(PoisonError::into_inner));
        }
        self.barrier()
    }

    fn barrier(&mut self) -> Result<()> {
        self.meet(&[], Reduction::Sum).map(drop)
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        self.meeting().gone = true;
        self.shared.met.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn all<R: Send>(size: usize, f: impl Fn(Local) -> R + Sync) -> Vec<R> {
        thread::scope(|scope| {
            let f = &f;
            let started = Local::group(size)
                .into_iter()
                .map(|rank| scope.spawn(move || f(rank)));
            let threads: Vec<_> = started.collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        })
    }

    #[test]
    fn sums_are_in_the_order_of_ranks_every_time() {
        // Numbers whose sum depends on its order.
        let value = |rank: usize, index: usize| {
            ((rank * 37 + index * 11) % 97) as f32 * 1e-3 + 1e4f32.powi(rank as i32 % 3)
        };
        for length in [0, 1, 3, 1001] {
            let expected: Vec<f32> = (0..length)
                .map(|index| (1..5).fold(value(0, index), |sum, rank| sum + value(rank, index)))
                .collect();
            for _ in 0..20 {
                for got in all(5, |mut rank| {
                    let mut values: Vec<f32> = (0..length).map(|i| value(rank.rank(), i)).collect();
                    rank.all_reduce_sum(&mut values).unwrap();
                    values
                }) {
                    assert_eq!(got, expected);
                }
            }
        }
    }

    #[test]
    fn extremes_and_broadcasts_reach_all() {
        for (rank, got) in all(4, |mut rank| {
            let own = rank.rank() as f64;
            let (mut low, mut high) = ([own, -own], [own, -own]);
            rank.all_reduce(&mut low, Reduction::Min).unwrap();
            rank.all_reduce(&mut high, Reduction::Max).unwrap();
            let mut values = [own as f32 + 5.0; 3];
            rank.broadcast(&mut values).unwrap();
            rank.barrier().unwrap();
            (low, high, values)
        })
        .into_iter()
        .enumerate()
        {
            assert_eq!(got, ([0.0, -3.0], [3.0, 0.0], [5.0; 3]), "rank {rank}");
        }
    }

    #[test]
    fn who_waits_for_a_rank_that_is_gone_has_an_error() {
        let results = all(3, |mut rank| {
            let mut values = [1.0];
            rank.all_reduce_sum(&mut values).unwrap();
            if rank.rank() == 1 {
                return None;
            }
            Some(rank.all_reduce_sum(&mut values))
        });
        for result in results.into_iter().flatten() {
            assert!(result.unwrap_err().is_device());
        }
    }

    #[test]
    fn other_lengths_are_errors_for_all() {
        for result in all(2, |mut rank| {
            let mut values = vec![0.0; 3 + rank.rank()];
            let many = rank.all_reduce_sum(&mut values).unwrap_err();
            let mut values = vec![0.0; 3 + rank.rank()];
            let few = rank.all_reduce(&mut values, Reduction::Sum).unwrap_err();
            (many.is_bad_input(), few.is_bad_input())
        }) {
            assert_eq!(result, (true, true));
        }
    }
}
