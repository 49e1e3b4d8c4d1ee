//! What one trainer holds of a device, kept within its budget.

use std::cell::{Cell, RefCell};
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use cubecl::MemoryScope;

use super::memory::on_gpu;
use super::{Device, MemoryBudget, lock};
use crate::error::{Error, ErrorKind, Result};

/// The account of one trainer's bytes on one device, and the budget they are kept within.
///
/// Work belongs to the trainer whose ledger was [entered](Self::enter) on the thread that does it: what the device's
/// memory grows by in the meantime is the trainer's, on a GPU as far as it was allocated on this thread, whose tensors
/// lie in pools of their own. So trainers may share a device, each within its own budget, by turns on one thread or on
/// several threads.
///
/// While it is entered, operations ask before they allocate, and an operation that does not fit is an error of
/// [`is_out_of_memory`](crate::Error::is_out_of_memory); the device stays usable. The backward pass cannot fail half-way:
/// what does not fit there is noted, and [`check`](Self::check) tells it afterwards. Without a ledger nothing is counted,
/// and nothing costs time.
///
/// A device is asked what it holds as rarely as it can be: in between, what our own operations allocate is added up as if
/// nothing were freed, and only when that sum comes near the budget the device is asked again. What burn's own
/// operations allocate is seen then too, so a trainer may exceed its budget by some of those before it knows.
///
/// ```
/// use burn::tensor::Tensor;
/// use forgeling::device::{Ledger, MemoryBudget};
/// use forgeling::ops::{Activation, linear};
/// use forgeling::{Device, DeviceChoice};
///
/// # pollster::block_on(async {
/// let device = Device::open(DeviceChoice::Cpu).await?;
/// let ledger = Ledger::new(&device, MemoryBudget::bytes(1_000_000)?)?;
/// let of = |rows| linear(
///     Tensor::ones([rows, 8], device.tensors()),
///     Tensor::ones([8, 1000], device.tensors()),
///     None,
///     Activation::None,
/// );
/// let _entered = ledger.enter();
/// assert!(of(100).is_ok());
/// assert!(of(1000).unwrap_err().is_out_of_memory());
/// # Ok::<(), forgeling::Error>(()) }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct Ledger(Arc<Account>);

#[derive(Debug)]
struct Account {
    device: Device,
    budget: u64,
    /// Bytes of large buffers on the host that belong to this account.
    host: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What belongs to the account beside what [`Account::raw`] tells.
    offset: i64,
    /// In use when the device was last asked.
    seen: u64,
    /// Allocated by our own operations since.
    since: u64,
    /// Allocated by our own operations in all.
    flow: u64,
    /// What the device said last.
    raw: u64,
    peak: u64,
    overrun: Option<Overrun>,
}

/// What did not fit, where it could not be refused.
#[derive(Debug, Clone)]
struct Overrun {
    bytes: u64,
    in_use: u64,
}

thread_local! {
    /// The ledgers entered on this thread, the last one being the one that counts.
    static ENTERED: RefCell<Vec<Ledger>> = const { RefCell::new(Vec::new()) };
    /// How often a ledger was left on this thread.
    static EPOCH: Cell<u64> = const { Cell::new(0) };
}

/// The ledger that counts on this thread now.
fn current() -> Option<Ledger> {
    ENTERED.with_borrow(|entered| entered.last().cloned())
}

impl Account {
    /// The bytes that can be asked for: on a GPU those of this thread, on the CPU those of this account.
    fn raw(&self) -> u64 {
        match on_gpu(self.device.tensors(), MemoryScope::CurrentStream) {
            Some([in_use, _]) => in_use,
            None => self.host.load(Ordering::Relaxed),
        }
    }

    fn look(&self, state: &mut State) -> u64 {
        self.seen(state, self.raw())
    }

    /// Notes what the device says.
    fn seen(&self, state: &mut State, raw: u64) -> u64 {
        if !self.device.is_cpu() {
            self.device.seen(raw);
        }
        state.raw = raw;
        state.seen = raw.saturating_add_signed(state.offset);
        state.since = 0;
        state.peak = state.peak.max(state.seen);
        state.seen
    }

    /// Whether so many bytes more fit; asks the device only if that is in doubt.
    fn fits(&self, state: &mut State, bytes: u64) -> bool {
        let free = self.budget.saturating_sub(state.seen);
        let wanted = state.since.saturating_add(bytes);
        // The CPU's account costs nothing to look at.
        if !self.device.is_cpu() && wanted <= free && state.since <= free / 2 {
            return true;
        }
        let in_use = self.look(state);
        in_use.saturating_add(bytes) <= self.budget
    }

    fn refusal(&self, operation: &'static str, bytes: u64, in_use: u64) -> Error {
        let free = self.budget.saturating_sub(in_use);
        Error::new(
            ErrorKind::OutOfMemory,
            operation,
            "the memory budget does not suffice",
        )
        .expected(format!(
            "at most {free} bytes, since {in_use} of the budget's {} are in use",
            self.budget
        ))
        .got(format!("{bytes} bytes"))
    }
}

impl Ledger {
    /// The account of a trainer that holds nothing yet.
    ///
    /// # Errors
    /// As [`MemoryBudget::resolve`].
    pub fn new(device: &Device, budget: MemoryBudget) -> Result<Self> {
        Ok(Self(Arc::new(Account {
            budget: budget.resolve(device)?,
            device: device.clone(),
            host: AtomicU64::new(0),
            state: Mutex::default(),
        })))
    }

    /// The device it is about.
    pub fn device(&self) -> &Device {
        &self.0.device
    }

    /// The budget in bytes.
    pub fn budget(&self) -> u64 {
        self.0.budget
    }

    /// Bytes that the trainer holds.
    pub fn in_use(&self) -> u64 {
        let mut state = lock(&self.0.state);
        if self.counts() || self.0.device.is_cpu() {
            self.0.look(&mut state);
        }
        state.seen
    }

    /// The most bytes that the trainer was seen to hold.
    pub fn peak(&self) -> u64 {
        lock(&self.0.state).peak
    }

    /// Says what the trainer holds while it does nothing: the bytes of its parameters, moments and pending gradients.
    ///
    /// What is allocated inside and dropped outside, or the other way round, makes the account drift on a GPU; a
    /// trainer that says what it knows to hold before every step has it right again. Not while it is entered.
    pub fn set_held(&self, bytes: u64) {
        let mut state = lock(&self.0.state);
        state.offset = if self.0.device.is_cpu() {
            bytes as i64 - self.0.host.load(Ordering::Relaxed) as i64
        } else {
            bytes as i64
        };
        state.seen = bytes;
        state.peak = state.peak.max(bytes);
    }

    /// Counts what this thread does from here on as the trainer's, until the guard is dropped. The guard must not live
    /// across an `await`, where other work may run: [`attach`](Self::attach) is for that. Of ledgers entered one inside
    /// the other, the inner one counts, and the outer one does not.
    #[must_use = "the ledger is left again when this is dropped"]
    pub fn enter(&self) -> Entered {
        let left = (!self.counts()).then(|| (self.clone(), self.begin(None)));
        Entered {
            left,
            _of_this_thread: PhantomData,
        }
    }

    /// A future whose work is counted as the trainer's, however often others run in between.
    pub fn attach<F: Future>(&self, future: F) -> Attached<F> {
        Attached {
            ledger: self.clone(),
            future: Box::pin(future),
            waiting: None,
        }
    }

    /// Whether so many bytes more fit into the budget. They are not counted: they will be when they are allocated.
    ///
    /// # Errors
    /// When they do not; it is [out of memory](crate::Error::is_out_of_memory), and says what was wanted and what is
    /// in use.
    pub fn admit(&self, operation: &'static str, bytes: u64) -> Result<()> {
        let mut state = lock(&self.0.state);
        if self.0.fits(&mut state, bytes) {
            return Ok(());
        }
        Err(self.0.refusal(operation, bytes, state.seen))
    }

    /// Whether all that could not be refused beforehand has fitted too, since the last call.
    ///
    /// # Errors
    /// When it has not, as [`admit`](Self::admit).
    pub fn check(&self, operation: &'static str) -> Result<()> {
        let overrun = lock(&self.0.state).overrun.take();
        match overrun {
            None => Ok(()),
            Some(Overrun { bytes, in_use }) => Err(self.0.refusal(operation, bytes, in_use)),
        }
    }

    /// Whether this is the ledger that counts on this thread.
    fn counts(&self) -> bool {
        ENTERED.with_borrow(|entered| entered.last().is_some_and(|last| last.is(self)))
    }

    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Begins to count on this thread, which holds `known` or what the device says, and gives that.
    fn begin(&self, known: Option<u64>) -> u64 {
        let raw = {
            let mut state = lock(&self.0.state);
            let raw = known.unwrap_or_else(|| self.0.raw());
            if !self.0.device.is_cpu() {
                state.offset -= raw as i64;
            }
            self.0.seen(&mut state, raw);
            raw
        };
        ENTERED.with_borrow_mut(|entered| entered.push(self.clone()));
        raw
    }

    /// Ends what began when the thread held `before`. It holds `known` now, or what the device says; that is given.
    fn end(&self, before: u64, known: Option<u64>) -> u64 {
        let raw = {
            let mut state = lock(&self.0.state);
            let raw = known.unwrap_or_else(|| self.0.raw());
            self.0.seen(&mut state, raw);
            if !self.0.device.is_cpu() {
                state.offset += raw as i64;
            }
            raw
        };
        let grown = raw as i64 - before as i64;
        ENTERED.with_borrow_mut(|entered| {
            let place = entered.iter().rposition(|other| other.is(self));
            let outer = place.and_then(|place| {
                entered.remove(place);
                entered.get(place.checked_sub(1)?)
            });
            // What is the inner one's is not the outer one's.
            if let Some(outer) = outer
                && !outer.0.device.is_cpu()
                && outer.0.device.tensors() == self.0.device.tensors()
            {
                lock(&outer.0.state).offset -= grown;
            }
        });
        EPOCH.set(EPOCH.get() + 1);
        raw
    }

    /// What the device said last.
    fn last(&self) -> u64 {
        lock(&self.0.state).raw
    }

    /// Bytes that operations of ours have allocated for it so far.
    fn flow(&self) -> u64 {
        lock(&self.0.state).flow
    }

    /// Notes that an operation of ours has allocated, where it was too late to refuse.
    fn allocated(&self, bytes: u64) {
        let mut state = lock(&self.0.state);
        let fits = self.0.fits(&mut state, bytes);
        if !fits && state.overrun.is_none() {
            let in_use = state.seen;
            state.overrun = Some(Overrun { bytes, in_use });
        }
        state.since += bytes;
        state.flow += bytes;
    }

    /// The one that counts large buffers on the host now.
    pub(super) fn of_host() -> Option<Self> {
        current().filter(|ledger| ledger.0.device.is_cpu())
    }

    pub(super) fn host_grows(&self, bytes: u64) {
        self.allocated(bytes);
        let now = self.0.host.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let mut state = lock(&self.0.state);
        state.peak = state.peak.max(now.saturating_add_signed(state.offset));
    }

    pub(super) fn host_shrinks(&self, bytes: u64) {
        self.0.host.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// A ledger counts on this thread as long as this lives.
#[derive(Debug)]
pub struct Entered {
    /// What is to be left, and what the thread held before; `None` if it counted already.
    left: Option<(Ledger, u64)>,
    /// Not to be sent to another thread.
    _of_this_thread: PhantomData<*const ()>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        if let Some((ledger, before)) = &self.left {
            ledger.end(*before, None);
        }
    }
}

/// A future of one trainer, see [`Ledger::attach`].
#[derive(Debug)]
pub struct Attached<F> {
    ledger: Ledger,
    future: Pin<Box<F>>,
    /// While nothing but waiting is done: what this thread held, and its [`EPOCH`].
    waiting: Option<(u64, u64)>,
}

impl<F: Future> Future for Attached<F> {
    type Output = F::Output;

    // Asking a device parks the thread until it answers, which may swallow the wake-up of a future that was polled
    // before. So a future that waits is not followed by questions, unless it is polled once more.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        if self.ledger.counts() {
            return self.future.as_mut().poll(context);
        }
        let ledger = self.ledger.clone();
        let still = |&(_, epoch): &(u64, u64)| epoch == EPOCH.get();
        let known = self.waiting.take().filter(still).map(|(raw, _)| raw);
        let before = ledger.begin(known);
        // Left also if the future panics.
        let mut entered = Polled {
            ledger: &ledger,
            before,
            after: None,
        };
        let flow = ledger.flow();
        let polled = self.future.as_mut().poll(context);
        let only_waited = polled.is_pending() && known.is_some() && flow == ledger.flow();
        if only_waited {
            entered.after = Some(before);
        }
        drop(entered);
        if polled.is_pending() {
            if !only_waited {
                context.waker().wake_by_ref();
            }
            let raw = if only_waited { before } else { ledger.last() };
            self.waiting = Some((raw, EPOCH.get()));
        }
        polled
    }
}

/// Leaves the ledger again.
struct Polled<'a> {
    ledger: &'a Ledger,
    before: u64,
    /// What the thread holds then, if that is known.
    after: Option<u64>,
}

impl Drop for Polled<'_> {
    fn drop(&mut self) {
        self.ledger.end(self.before, self.after);
    }
}

/// Asks the ledger that counts on this thread, if there is one for `device`, whether an operation fits. `bytes` is
/// only asked for then.
pub(crate) fn admit(
    operation: &'static str,
    device: &burn::tensor::Device,
    bytes: impl FnOnce() -> u64,
) -> Result<()> {
    match current() {
        Some(ledger) if *ledger.0.device.tensors() == device.clone().inner() => {
            ledger.admit(operation, bytes())
        }
        _ => Ok(()),
    }
}

/// Notes that a launch has allocated so many bytes on a GPU.
pub(crate) fn allocated(bytes: u64) {
    if let Some(ledger) = current().filter(|ledger| !ledger.0.device.is_cpu()) {
        ledger.allocated(bytes);
    }
}
