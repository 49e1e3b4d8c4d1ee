//! Work that is planned in order, done by threads in any order, and delivered in order.

use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use web_time::Instant;

use crate::device::yield_now;
use crate::error::{Error, ErrorKind, Result};

const OPERATION: &str = "load_batch";

/// How long a batch is rendered in one go where there are no workers: half of the time that a page has for a frame.
const TURN: Duration = Duration::from_millis(8);

/// Makes an item from a job, part by part. Shared by all workers.
pub(super) trait Source: Send + Sync + 'static {
    /// What says which item to make.
    type Job: Send + 'static;
    /// What is made.
    type Item: Send + 'static;

    /// Room for the item, and of how many parts it is made.
    fn begin(&self, job: &Self::Job) -> Result<(Self::Item, usize)>;

    /// Makes one part.
    fn part(&self, job: &Self::Job, item: &mut Self::Item, part: usize) -> Result<()>;
}

/// Says what is to be made next. A clone goes on by itself.
pub(super) trait Plan: Clone {
    type Job;
    /// Where the plan stands.
    type State: Clone;

    /// The next job. After an error, too, the plan stands behind it, unless nothing can follow.
    fn next(&mut self) -> Result<Self::Job>;

    fn state(&self) -> Self::State;
}

/// Items in the order of their plan.
pub(super) struct Pipeline<P: Plan, S: Source<Job = P::Job>> {
    plan: P,
    source: Arc<S>,
    workers: usize,
    prefetch: usize,
    /// From the first item on, if threads can be started.
    crew: Option<Crew<P::State, S>>,
}

impl<P: Plan, S: Source<Job = P::Job>> Pipeline<P, S> {
    pub(super) fn new(plan: P, source: S, workers: usize, prefetch: usize) -> Self {
        Self {
            plan,
            source: Arc::new(source),
            workers,
            prefetch,
            crew: None,
        }
    }

    /// What makes the items, before anyone else has it.
    pub(super) fn source(&mut self) -> Option<&mut S> {
        Arc::get_mut(&mut self.source)
    }

    /// The plan behind the last item that was delivered.
    pub(super) fn state(&self) -> P::State {
        let delivered = self.crew.as_ref().and_then(|crew| crew.delivered.clone());
        delivered.unwrap_or_else(|| self.plan.state())
    }

    /// Goes on with another plan; what was made ahead is dropped.
    pub(super) fn replace(&mut self, plan: P) {
        self.crew = None;
        self.plan = plan;
    }

    /// The plan, which is ahead of [`Self::state`].
    pub(super) fn plan(&self) -> &P {
        &self.plan
    }

    /// The next item. Without workers it is made here, with pauses in which others run; a caller that stops waiting for
    /// it gets the same item next time.
    pub(super) async fn next(&mut self) -> Result<S::Item> {
        if self.workers > 0 && self.crew.is_none() {
            let crew = Crew::start(&self.source, self.workers, self.prefetch, self.plan.state());
            match crew {
                Some(crew) => self.crew = Some(crew),
                // As in a browser.
                None => self.workers = 0,
            }
        }
        if let Some(crew) = &mut self.crew {
            return crew.next(&mut self.plan);
        }
        let mut plan = self.plan.clone();
        let made = match plan.next() {
            Ok(job) => make_here(&*self.source, &job).await,
            Err(error) => Err(error),
        };
        self.plan = plan;
        made
    }
}

/// Threads at work, and what they have to do.
struct Crew<T, S: Source> {
    /// `None` only while being dropped.
    jobs: Option<SyncSender<(u64, S::Job)>>,
    made: Receiver<(u64, Result<S::Item>)>,
    /// What came before its turn.
    early: BTreeMap<u64, Result<S::Item>>,
    /// Numbers of the next job to be given out and of the next item to be delivered.
    given: u64,
    next: u64,
    prefetch: usize,
    /// Where the plan stood behind each job that was given out.
    states: VecDeque<T>,
    /// Where the plan stood behind the last item that was delivered.
    delivered: Option<T>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl<T: Clone, S: Source> Crew<T, S> {
    /// `None` where no thread can be started.
    fn start(source: &Arc<S>, workers: usize, prefetch: usize, state: T) -> Option<Self> {
        // At most `prefetch` jobs are under way, so that nobody ever waits for room in a channel.
        let (jobs, waiting) = sync_channel::<(u64, S::Job)>(prefetch);
        let (send, made) = sync_channel(prefetch);
        let waiting = Arc::new(Mutex::new(waiting));
        let stop = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        for index in 0..workers {
            let (source, waiting) = (source.clone(), waiting.clone());
            let (send, stop) = (send.clone(), stop.clone());
            let work = move || {
                loop {
                    let job = waiting
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .recv();
                    let Ok((number, job)) = job else { return };
                    let item = make(&*source, &job, &stop);
                    if stop.load(Ordering::Relaxed) || send.send((number, item)).is_err() {
                        return;
                    }
                }
            };
            match Builder::new().name(format!("loader {index}")).spawn(work) {
                Ok(thread) => threads.push(thread),
                Err(_) => break,
            }
        }
        (!threads.is_empty()).then(|| Self {
            jobs: Some(jobs),
            made,
            early: BTreeMap::new(),
            given: 0,
            next: 0,
            prefetch,
            states: VecDeque::new(),
            delivered: Some(state),
            stop,
            threads,
        })
    }

    fn next<P>(&mut self, plan: &mut P) -> Result<S::Item>
    where
        P: Plan<Job = S::Job, State = T>,
    {
        self.give_out(plan);
        let number = self.next;
        let item = loop {
            if let Some(item) = self.early.remove(&number) {
                break item;
            }
            match self.made.recv() {
                Ok((other, item)) => drop(self.early.insert(other, item)),
                Err(_) => break Err(gone()),
            }
        };
        self.next += 1;
        self.delivered = self.states.pop_front();
        // The workers go on while the caller uses the item.
        self.give_out(plan);
        item
    }

    fn give_out<P>(&mut self, plan: &mut P)
    where
        P: Plan<Job = S::Job, State = T>,
    {
        while self.given - self.next < self.prefetch as u64 {
            match plan.next() {
                Ok(job) => {
                    let sent = self.jobs.as_ref().map(|jobs| jobs.send((self.given, job)));
                    if !matches!(sent, Some(Ok(()))) {
                        self.early.insert(self.given, Err(gone()));
                    }
                }
                Err(error) => drop(self.early.insert(self.given, Err(error))),
            }
            self.states.push_back(plan.state());
            self.given += 1;
        }
    }
}

impl<T, S: Source> Drop for Crew<T, S> {
    /// Ends the threads, which finish the image they are at.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.jobs = None;
        for thread in self.threads.drain(..) {
            // Panics of its own were caught.
            let _ = thread.join();
        }
    }
}

fn gone() -> Error {
    Error::new(ErrorKind::Cancelled, OPERATION, "the workers are gone")
}

/// Makes a whole item, unless told to stop.
fn make<S: Source>(source: &S, job: &S::Job, stop: &AtomicBool) -> Result<S::Item> {
    guarded(|| {
        let (mut item, parts) = source.begin(job)?;
        for part in 0..parts {
            if stop.load(Ordering::Relaxed) {
                return Err(gone());
            }
            source.part(job, &mut item, part)?;
        }
        Ok(item)
    })
}

/// Makes a whole item with pauses.
async fn make_here<S: Source>(source: &S, job: &S::Job) -> Result<S::Item> {
    let (mut item, parts) = guarded(|| source.begin(job))?;
    let mut since = Instant::now();
    for part in 0..parts {
        guarded(|| source.part(job, &mut item, part))?;
        if since.elapsed() >= TURN {
            yield_now().await;
            since = Instant::now();
        }
    }
    Ok(item)
}

/// What `work` returns, or an error that says what it panicked with.
fn guarded<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let message = format!("the dataset panicked: {}", words(&*panic));
        Err(Error::bad_data(OPERATION, message))
    })
}

fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("without words")
}
