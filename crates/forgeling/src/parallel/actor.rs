//! A thread that owns something and does what it is asked to.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{Builder, JoinHandle};

use crate::error::{Error, ErrorKind, Result};

const OPERATION: &str = "device_thread";

type Job<T> = Box<dyn FnOnce(&mut T) + Send>;

/// A thread and the way to it.
pub struct Actor<T> {
    jobs: Option<Sender<Job<T>>>,
    thread: Option<JoinHandle<()>>,
}

/// What a job will give.
pub struct Answer<R>(Receiver<Result<R>>);

impl<T: Send + 'static> Actor<T> {
    /// Starts a thread that owns `value`. What it computes on the CPU is shared among so many threads of its own.
    ///
    /// # Errors
    /// When the system gives no threads.
    pub fn start(name: &str, threads: Option<usize>, mut value: T) -> Result<Self> {
        let failure = |cause: &dyn std::fmt::Display| {
            Error::new(ErrorKind::Device, OPERATION, format!("no thread: {cause}"))
        };
        let pool = Pool::new(name, threads).map_err(|cause| failure(&cause))?;
        let (jobs, received) = channel::<Job<T>>();
        let work = move || {
            for job in received {
                pool.run(|| job(&mut value));
            }
            // Tensors of a device that is lost may panic when they go.
            let _ = catch_unwind(AssertUnwindSafe(|| drop(value)));
        };
        let thread = Builder::new().name(name.into()).spawn(work);
        Ok(Self {
            jobs: Some(jobs),
            thread: Some(thread.map_err(|cause| failure(&cause))?),
        })
    }

    /// Has the thread do something. Does not wait.
    pub fn ask<R: Send + 'static>(
        &self,
        job: impl FnOnce(&mut T) -> R + Send + 'static,
    ) -> Answer<R> {
        let (reply, answer) = channel();
        let job: Job<T> = Box::new(move |value| {
            let result = catch_unwind(AssertUnwindSafe(|| job(value)));
            // Nobody may be waiting any more.
            let _ = reply.send(result.map_err(|panic| panicked(panic.as_ref())));
        });
        if let Some(jobs) = &self.jobs {
            // Where the thread is gone, the answer says so.
            let _ = jobs.send(job);
        }
        Answer(answer)
    }
}

impl<R> Answer<R> {
    /// Waits for what the job gave.
    ///
    /// # Errors
    /// When it panicked, or the thread is gone.
    pub fn wait(self) -> Result<R> {
        let gone = || Error::new(ErrorKind::Device, OPERATION, "the thread is gone");
        self.0.recv().unwrap_or_else(|_| Err(gone()))
    }
}

impl<T> Drop for Actor<T> {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn panicked(panic: &(dyn Any + Send)) -> Error {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let text = text.unwrap_or("of an unknown kind");
    Error::new(ErrorKind::Device, OPERATION, format!("a panic: {text}"))
}

/// The threads on which CPU operations of one replica run, instead of those that the whole process shares.
#[cfg(feature = "rayon")]
struct Pool(Option<rayon::ThreadPool>);

#[cfg(feature = "rayon")]
impl Pool {
    fn new(name: &str, threads: Option<usize>) -> Result<Self, rayon::ThreadPoolBuildError> {
        let name = name.to_owned();
        let pool = |threads| {
            rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .thread_name(move |index| format!("{name}, {index}"))
                .build()
        };
        Ok(Self(threads.map(pool).transpose()?))
    }

    fn run(&self, job: impl FnOnce() + Send) {
        match &self.0 {
            Some(pool) => pool.install(job),
            None => job(),
        }
    }
}

/// Without rayon, one thread does all.
#[cfg(not(feature = "rayon"))]
struct Pool;

#[cfg(not(feature = "rayon"))]
impl Pool {
    fn new(_name: &str, _threads: Option<usize>) -> Result<Self> {
        Ok(Self)
    }

    fn run(&self, job: impl FnOnce()) {
        job();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_keeps_its_value_and_outlives_a_panic() {
        let actor = Actor::start("counter", Some(1), 5).unwrap();
        let first = actor.ask(|count| {
            *count += 1;
            *count
        });
        assert_eq!(first.wait().unwrap(), 6);
        let error = actor.ask(|_| panic!("number {}", 7)).wait().unwrap_err();
        assert!(error.is_device() && error.to_string().contains("number 7"));
        assert_eq!(actor.ask(|count| *count).wait().unwrap(), 6);
    }
}
