//! Counts the memory that reading inputs takes.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use forgeling::{Error, Result};

/// Counts the bytes in use and the most of them so far.
struct Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

fn count(size: usize) {
    let before = IN_USE.fetch_add(size, Ordering::Relaxed);
    PEAK.fetch_max(before + size, Ordering::Relaxed);
}

// SAFETY: all of it is the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Reads many inputs, one test at a time, since memory is counted for the whole process.
pub struct Trial {
    what: &'static str,
    most: usize,
    peak: usize,
    taken: usize,
    count: usize,
    _turn: MutexGuard<'static, ()>,
}

impl Trial {
    /// Of inputs of one kind, none of which may take more than `most` bytes.
    pub fn new(what: &'static str, most: usize) -> Self {
        static TURN: Mutex<()> = Mutex::new(());
        Self {
            what,
            most,
            peak: 0,
            taken: 0,
            count: 0,
            _turn: TURN.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// Reads an input: there must be an answer, within memory, and an error must be about the input.
    #[track_caller]
    pub fn read<T>(&mut self, read: impl FnOnce() -> Result<T>) -> Result<(), Error> {
        let before = IN_USE.load(Ordering::Relaxed);
        PEAK.store(before, Ordering::Relaxed);
        let answer = read().map(drop);
        let peak = PEAK.load(Ordering::Relaxed) - before;
        self.peak = self.peak.max(peak);
        let (what, number, most) = (self.what, self.count, self.most);
        assert!(
            peak <= most,
            "{what} {number} took {peak} bytes of memory, at most {most} are allowed; {answer:?}"
        );
        match &answer {
            Ok(()) => self.taken += 1,
            Err(error) => assert!(error.is_bad_input(), "{what} {number}: {error}"),
        }
        self.count += 1;
        answer
    }

    /// Says how it went. Some inputs must have been taken and some refused: otherwise they test nothing.
    pub fn end(self) {
        let Self {
            what,
            peak,
            taken,
            count,
            ..
        } = &self;
        println!("{what}: {count} inputs, {taken} taken, peak {peak} bytes");
        assert!(0 < *taken && taken < count, "{taken} of {count} taken");
    }
}

/// Says which input it was where reading one panics.
impl Drop for Trial {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("while reading {} {}", self.what, self.count);
        }
    }
}
