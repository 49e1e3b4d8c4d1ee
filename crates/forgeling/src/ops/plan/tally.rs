//! Buffers that are only sizes, and what they come to.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};

use serde::{Deserialize, Serialize};

use crate::device::Phase;

/// What a buffer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemoryUse {
    /// Parameters and running statistics.
    Parameters,
    /// What the optimizer keeps from step to step.
    Optimizer,
    /// Gradients of parameters.
    Gradients,
    /// The batch.
    Inputs,
    /// Results of the forward pass and what is kept of it for the backward pass.
    Activations,
    /// Gradients of activations.
    Flow,
    /// What one operation needs for itself.
    Scratch,
}

impl MemoryUse {
    /// The name used in JSON and JavaScript.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Parameters => "parameters",
            Self::Optimizer => "optimizer",
            Self::Gradients => "gradients",
            Self::Inputs => "inputs",
            Self::Activations => "activations",
            Self::Flow => "flow",
            Self::Scratch => "scratch",
        }
    }
}

/// A buffer of so many bytes that is given or, with a negative sign, taken back.
struct Event {
    phase: Phase,
    what: usize,
    bytes: i64,
}

/// All that was allocated and freed, in its order.
#[derive(Default)]
pub(super) struct Tally {
    events: RefCell<Vec<Event>>,
    names: RefCell<BTreeMap<(MemoryUse, String), usize>>,
    phase: Cell<Option<Phase>>,
}

/// A buffer that may be gone.
pub(super) struct WeakBuffer(Weak<Piece>);

impl WeakBuffer {
    pub fn upgrade(&self) -> Option<Buffer> {
        self.0.upgrade().map(Buffer)
    }
}

/// A buffer without memory: clones share it, and it is freed with the last of them.
#[derive(Clone)]
pub(crate) struct Buffer(Rc<Piece>);

struct Piece {
    tally: Rc<Tally>,
    what: usize,
    bytes: u64,
}

impl Buffer {
    pub fn bytes(&self) -> u64 {
        self.0.bytes
    }

    pub(super) fn downgrade(&self) -> WeakBuffer {
        WeakBuffer(Rc::downgrade(&self.0))
    }

    /// Whether nothing else holds it, so that its values may be overwritten.
    pub fn is_unique(&self) -> bool {
        Rc::strong_count(&self.0) == 1
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.tally.note(self.what, -(self.bytes as i64));
    }
}

/// What was in use when the most was.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Peak {
    pub bytes: u64,
    /// By use and name, without those of no bytes.
    pub by_name: Vec<(MemoryUse, String, u64)>,
}

impl Tally {
    pub fn begin(&self, phase: Phase) {
        self.phase.set(Some(phase));
    }

    pub fn buffer(self: &Rc<Self>, usage: MemoryUse, name: String, bytes: u64) -> Buffer {
        let mut names = self.names.borrow_mut();
        let next = names.len();
        let what = *names.entry((usage, name)).or_insert(next);
        self.note(what, bytes as i64);
        Buffer(Rc::new(Piece {
            tally: self.clone(),
            what,
            bytes,
        }))
    }

    fn note(&self, what: usize, bytes: i64) {
        if bytes != 0 {
            let phase = self.phase.get().unwrap_or(Phase::Data);
            let event = Event { phase, what, bytes };
            self.events.borrow_mut().push(event);
        }
    }

    /// The most in use in each phase that was gone through.
    pub fn phases(&self) -> BTreeMap<Phase, u64> {
        let mut peaks = BTreeMap::new();
        let mut in_use = 0i64;
        for event in self.events.borrow().iter() {
            // What was there at the phase's beginning counts too.
            let peak: &mut i64 = peaks.entry(event.phase).or_insert(in_use);
            in_use += event.bytes;
            *peak = (*peak).max(in_use);
        }
        let unsigned = |(phase, peak): (Phase, i64)| (phase, peak as u64);
        peaks.into_iter().map(unsigned).collect()
    }

    /// What was in use when the most was.
    pub fn peak(&self) -> Peak {
        let events = self.events.borrow();
        let (mut in_use, mut most, mut end) = (0i64, 0i64, 0);
        for (index, event) in events.iter().enumerate() {
            in_use += event.bytes;
            if in_use > most {
                (most, end) = (in_use, index + 1);
            }
        }
        let names = self.names.borrow();
        let mut held = vec![0i64; names.len()];
        for event in &events[..end] {
            held[event.what] += event.bytes;
        }
        let used = names.iter().filter(|(_, what)| held[**what] > 0);
        Peak {
            bytes: most as u64,
            by_name: used
                .map(|((usage, name), what)| (*usage, name.clone(), held[*what] as u64))
                .collect(),
        }
    }
}
