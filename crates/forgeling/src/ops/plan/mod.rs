//! What operations allocate, keep for the backward pass and free, told without any tensor.
//!
//! Each operation has a description here of the same name, made of the same launches in the same order with the sizes
//! that its kernels are given, and of what its tape keeps. So a network described by them says how much memory a
//! training step needs at most, and [`Ledger`](crate::device::Ledger)s learn what an operation asks for before it does.
//!
//! - `tally`: buffers that are only sizes, and the most of them.
//! - `tape`: which buffers live how long: burn's autodiff.
//! - `conv_block`, `images`, `rows`, `stock`: the operations.
//! - `optimizer`: the step that follows.
//!
//! This is what our implementations on GPUs do. Those on the CPU keep about the same, and use more scratch within an operation.

mod conv_block;
mod images;
mod optimizer;
mod rows;
mod stock;
mod tally;
mod tape;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

pub use self::images::{ConvSizes, NormSizes};
pub use self::optimizer::PlannedOptimizer;
pub use self::tally::MemoryUse;
use self::tally::{Buffer, Peak, Tally, WeakBuffer};
pub use self::tape::Shaped;
use self::tape::{Gradients, Node};
use super::heuristics::Heuristics;
use super::storage::{Order, WORTH_PACKING};
use crate::device::{Phase, admit};
use crate::error::{Error, Result};

/// Bytes of f32.
const SINGLE: usize = size_of::<f32>();

/// In what activations are computed and kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlannedPrecision {
    /// Computed and kept in f32. The default.
    #[default]
    F32,
    /// Computed and kept in f16, which takes shaders that have it.
    F16,
    /// Computed in f32, and kept for the backward pass in 16 bits each.
    Packed16,
}

type Run = Rc<dyn Fn(&Simulation, Shaped) -> Result<Shaped>>;

/// A part that is computed once more in the backward pass.
struct Segment {
    /// What the part is named after.
    path: Vec<String>,
    input: Shaped,
    output: Shaped,
    run: Run,
}

/// Whether a block whose input has so many numbers is computed once more, where the largest block's has so many. Plans
/// ask, too.
pub(crate) fn worth_cutting(size: usize, largest: usize) -> bool {
    2 * size > largest
}

/// A training step without tensors: networks describe themselves by calling the operations they are made of.
///
/// See [`Planned`](crate::nn::Planned) for who does, and [`MemoryPlan`](crate::nn::MemoryPlan) for what comes out.
pub struct Simulation {
    tally: Rc<Tally>,
    heuristics: Heuristics,
    precision: PlannedPrecision,
    checkpointing: bool,
    /// Numbers of the largest input of a block in this pass so far.
    largest: Cell<usize>,
    nodes: Cell<usize>,
    /// Whether operations go on the tape.
    recording: Cell<bool>,
    path: RefCell<Vec<String>>,
    parameters: RefCell<Vec<(String, Shaped)>>,
    segments: RefCell<Vec<Segment>>,
    /// What is packed already, by node and order.
    packed: RefCell<HashMap<(usize, Order), WeakBuffer>>,
    /// What norms found in this batch.
    statistics: RefCell<Vec<Buffer>>,
    optimizer: RefCell<optimizer::State>,
    /// Gradients of parameters that wait for the step, by the parameter's place.
    pending: RefCell<BTreeMap<usize, Shaped>>,
}

impl std::fmt::Debug for Simulation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Simulation")
            .field("precision", &self.precision)
            .field("checkpointing", &self.checkpointing)
            .finish_non_exhaustive()
    }
}

impl Simulation {
    pub(crate) fn new(
        precision: PlannedPrecision,
        checkpointing: bool,
        heuristics: Heuristics,
    ) -> Self {
        Self {
            tally: Rc::default(),
            heuristics,
            precision,
            checkpointing,
            largest: Cell::new(0),
            nodes: Cell::new(0),
            recording: Cell::new(true),
            path: RefCell::default(),
            parameters: RefCell::default(),
            segments: RefCell::default(),
            packed: RefCell::default(),
            statistics: RefCell::default(),
            optimizer: RefCell::default(),
            pending: RefCell::default(),
        }
    }

    /// A new buffer.
    fn buffer(&self, usage: MemoryUse, what: &str, bytes: usize) -> Buffer {
        let mut name = self.path.borrow().join(".");
        if !name.is_empty() {
            name.push('.');
        }
        name.push_str(what);
        self.tally
            .buffer(usage, name, bytes.next_multiple_of(4) as u64)
    }

    fn made(&self, usage: MemoryUse, what: &str, shape: &[usize], size: usize) -> Shaped {
        let bytes = shape.iter().product::<usize>() * size;
        Shaped {
            shape: shape.to_vec(),
            size,
            channels_last: false,
            buffer: self.buffer(usage, what, bytes),
            node: None,
        }
    }

    /// Another buffer for the values of `tensor`.
    fn like(&self, tensor: &Shaped, usage: MemoryUse, what: &str) -> Shaped {
        let channels_last = tensor.channels_last;
        let made = self.made(usage, what, &tensor.shape, tensor.size);
        Shaped {
            channels_last,
            ..made
        }
    }

    fn scratch(&self, what: &str, bytes: usize) -> Buffer {
        self.buffer(MemoryUse::Scratch, what, bytes)
    }

    /// A tensor that is there already: its values are not counted.
    pub(super) fn given<const D: usize>(&self, tensor: &Tensor<D>) -> Shaped {
        Shaped {
            shape: tensor.dims().to_vec(),
            size: tensor.dtype().size(),
            channels_last: true,
            buffer: self.tally.buffer(MemoryUse::Inputs, String::new(), 0),
            node: None,
        }
    }

    /// The parameter of this name in the part that is described now, f32 and trained.
    pub fn parameter(&self, name: &str, shape: &[usize]) -> Shaped {
        self.value(name, shape, true)
    }

    /// As [`parameter`](Self::parameter), of values that are not trained.
    pub fn constant(&self, name: &str, shape: &[usize]) -> Shaped {
        self.value(name, shape, false)
    }

    fn value(&self, name: &str, shape: &[usize], trained: bool) -> Shaped {
        let mut full = self.path.borrow().clone();
        full.push(name.to_string());
        let full = full.join(".");
        let mut parameters = self.parameters.borrow_mut();
        if let Some((_, known)) = parameters.iter().find(|(known, _)| *known == full) {
            return known.clone();
        }
        let made = self.made(MemoryUse::Parameters, name, shape, SINGLE);
        let made = if trained { self.leaf(made) } else { made };
        parameters.push((full, made.clone()));
        made
    }

    /// Runs a part of a network on its input: what [`Pass::block`](crate::nn::Pass::block) does.
    ///
    /// # Errors
    /// Those of `run`.
    pub fn block(
        &self,
        name: impl std::fmt::Display,
        input: Shaped,
        run: impl Fn(&Self, Shaped) -> Result<Shaped> + 'static,
    ) -> Result<Shaped> {
        let name = name.to_string();
        let named = move |sim: &Self, input| sim.part(&name, || run(sim, input));
        self.largest.set(self.largest.get().max(input.len()));
        if !self.checkpointing || !worth_cutting(input.len(), self.largest.get()) {
            return named(self, input);
        }
        let recording = self.recording.replace(false);
        let output = named(self, input.detached());
        self.recording.set(recording);
        let output = output?;
        let leaf = self.leaf(output.detached());
        self.segments.borrow_mut().push(Segment {
            path: self.path.borrow().clone(),
            input,
            output: leaf.clone(),
            run: Rc::new(named),
        });
        Ok(leaf)
    }

    /// Describes a part of a network, whose parameters and buffers are named after it.
    pub fn part<T>(&self, name: &str, run: impl FnOnce() -> T) -> T {
        self.path.borrow_mut().push(name.to_string());
        let output = run();
        self.path.borrow_mut().pop();
        output
    }

    /// The batch from the host, in the precision of this simulation.
    pub(crate) fn batch(&self, shape: &[usize]) -> Shaped {
        self.largest.set(0);
        self.made(MemoryUse::Inputs, "images", shape, self.size())
    }

    /// Bytes of a number of what activations are computed in.
    fn size(&self) -> usize {
        match self.precision {
            PlannedPrecision::F16 => 2,
            PlannedPrecision::F32 | PlannedPrecision::Packed16 => SINGLE,
        }
    }

    /// Values in what activations are computed in.
    pub fn input(&self, tensor: Shaped) -> Shaped {
        self.cast(tensor, self.size())
    }

    /// Values in f32, in which losses are computed.
    pub fn output(&self, tensor: Shaped) -> Shaped {
        self.cast(tensor, SINGLE)
    }

    /// The backward pass from `loss`; gradients of parameters are then pending.
    pub(crate) fn backward(&self, loss: Shaped) -> Result<()> {
        let mut roots = vec![self.backward_from(loss)];
        let segments = self.segments.take();
        for segment in segments.into_iter().rev() {
            self.again(segment, &mut roots)?;
        }
        let leaves: Vec<Shaped> = self
            .parameters
            .borrow()
            .iter()
            .map(|(_, p)| p.clone())
            .collect();
        for root in &mut roots {
            for (place, leaf) in leaves.iter().enumerate() {
                if let Some(gradient) = root.take(leaf) {
                    let earlier = self.pending.borrow_mut().remove(&place);
                    let sum = match earlier {
                        Some(earlier) => self.sum_of(earlier, gradient),
                        None => gradient,
                    };
                    self.pending.borrow_mut().insert(place, sum);
                }
            }
        }
        Ok(())
    }

    /// Computes a segment once more and goes on backward from there.
    fn again(&self, segment: Segment, roots: &mut Vec<Gradients>) -> Result<()> {
        let Segment {
            path,
            input,
            output,
            run,
        } = segment;
        let Some(gradient) = roots.iter_mut().find_map(|root| root.take(&output)) else {
            return Ok(());
        };
        drop(output);
        let tracked = input.is_tracked();
        let leaf = if tracked {
            self.leaf(input.detached())
        } else {
            input.clone()
        };
        // What norms find is not taken a second time.
        let found = self.statistics.borrow().len();
        self.path.replace(path);
        let output = run(self, leaf.clone());
        self.path.replace(Vec::new());
        let output = output?;
        self.statistics.borrow_mut().truncate(found);
        if !output.is_tracked() {
            return Ok(());
        }
        let root = self.seed(output, gradient);
        roots.push(self.backward_from(root));
        if tracked
            && let Some(last) = roots.last_mut()
            && let Some(gradient) = last.take(&leaf)
        {
            last.register(self, &input.node, gradient);
        }
        Ok(())
    }

    /// Names and shapes of the parameters so far, and whether they are trained.
    pub(crate) fn all_parameters(&self) -> Vec<(String, Vec<usize>, bool)> {
        let parameters = self.parameters.borrow();
        let each = parameters.iter().map(|(name, parameter)| {
            let trained = parameter.is_tracked();
            (name.clone(), parameter.shape.clone(), trained)
        });
        each.collect()
    }

    /// A buffer that numbers go through on their way to the host.
    pub(crate) fn read_back(&self, tensor: &Shaped) -> Shaped {
        self.like(tensor, MemoryUse::Scratch, "read back")
    }

    /// The same values without their origin, which is then not kept.
    pub(crate) fn untracked(&self, tensor: &Shaped) -> Shaped {
        tensor.detached()
    }

    /// Begins a phase.
    pub(crate) fn begin(&self, phase: Phase) {
        self.tally.begin(phase);
    }

    pub(crate) fn phases(&self) -> BTreeMap<Phase, u64> {
        self.tally.phases()
    }

    /// The most bytes in use, and what they were used for, by name.
    pub(crate) fn peak(&self) -> (u64, Vec<(MemoryUse, String, u64)>) {
        let Peak { bytes, by_name } = self.tally.peak();
        (bytes, by_name)
    }
}

/// What is kept for the backward pass, packed or as it is: `ops/storage/stored.rs`.
#[derive(Clone)]
struct Kept {
    tensor: Shaped,
    packed: bool,
}

impl Simulation {
    /// Whether so many numbers are kept in 16 bits.
    fn packs(&self, numbers: usize) -> bool {
        let packed = self.precision == PlannedPrecision::Packed16;
        packed && self.recording.get() && numbers >= WORTH_PACKING
    }

    /// Keeps a tensor of the tape for the backward pass; it is packed once for all who keep it in this order.
    fn keep_node(&self, tensor: &Shaped, node: &Option<Rc<Node>>, order: Order) -> Kept {
        if let Some(node) = node
            && self.packs(tensor.len())
        {
            let shared = self.packed.borrow();
            let known = shared.get(&(node.id, order)).and_then(WeakBuffer::upgrade);
            if let Some(buffer) = known {
                let tensor = Shaped {
                    buffer,
                    ..tensor.detached()
                };
                return Kept {
                    tensor,
                    packed: true,
                };
            }
        }
        let kept = self.keep(tensor);
        self.share(&kept, node, order);
        kept
    }

    /// Keeps a tensor for the backward pass.
    fn keep(&self, tensor: &Shaped) -> Kept {
        let packed = self.packs(tensor.len());
        let mut kept = tensor.detached();
        if packed {
            let copy = self.channels_last(tensor);
            let bytes = tensor.len() * 2;
            kept.buffer = self.buffer(MemoryUse::Activations, "packed", bytes);
            drop(copy);
        }
        Kept {
            tensor: kept,
            packed,
        }
    }

    /// Lets the operations to come keep what is kept already, as this node of the tape.
    fn share(&self, kept: &Kept, node: &Option<Rc<Node>>, order: Order) {
        if let (true, Some(node)) = (kept.packed, node) {
            let weak = kept.tensor.buffer.downgrade();
            self.packed.borrow_mut().insert((node.id, order), weak);
        }
    }

    /// What was kept, as the operation gave it.
    fn unkeep(&self, kept: Kept) -> Shaped {
        if !kept.packed {
            return kept.tensor;
        }
        let channels_last = kept.tensor.shape.len() == 4;
        let unpacked = self.like(&kept.tensor, MemoryUse::Scratch, "unpacked");
        Shaped {
            channels_last,
            ..unpacked
        }
    }
}

/// Asks the ledger that counts on this thread, if there is one, whether an operation fits that is described by `run`.
pub(super) fn admit_op(
    operation: &'static str,
    device: &burn::tensor::Device,
    run: impl FnOnce(&Simulation) -> Result<()>,
) -> Result<()> {
    admit(operation, device, || {
        let heuristics = Heuristics::of(device);
        let sim = Simulation::new(PlannedPrecision::F32, false, heuristics);
        // What cannot be described is refused by the operation itself.
        let _ = run(&sim);
        let parameters = sim.parameters.borrow();
        let there: u64 = parameters.iter().map(|(_, each)| each.buffer.bytes()).sum();
        sim.peak().0 - there
    })
}

/// An error of a description.
fn misfit(operation: &'static str, expected: impl std::fmt::Display, got: &Shaped) -> Error {
    Error::invalid(operation, "the input does not fit")
        .expected(expected)
        .got(format!("{:?}", got.shape))
}
