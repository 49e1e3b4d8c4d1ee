//! A tape of operations on tensors that are only shapes: burn's autodiff with sizes for values.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;

use super::tally::Buffer;
use super::{MemoryUse, Simulation};

/// A tensor of a [`Simulation`]: a shape, what its values take, and where they came from.
#[derive(Clone)]
pub struct Shaped {
    pub(super) shape: Vec<usize>,
    /// Bytes of a value.
    pub(super) size: usize,
    /// Whether images lie channels-last, whatever their shape says.
    pub(super) channels_last: bool,
    pub(super) buffer: Buffer,
    pub(super) node: Option<Rc<Node>>,
}

impl std::fmt::Debug for Shaped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Shaped({:?} of {} bytes)", self.shape, self.size)
    }
}

impl Shaped {
    /// The shape.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The same without its origin.
    pub(super) fn detached(&self) -> Self {
        Self {
            node: None,
            ..self.clone()
        }
    }

    pub(super) fn is_tracked(&self) -> bool {
        self.node.is_some()
    }
}

type Step = Box<dyn FnOnce(&Simulation, Shaped, &mut Gradients)>;

/// Where a tensor came from.
pub(super) struct Node {
    pub(super) id: usize,
    /// The longest way to a leaf.
    depth: usize,
    parents: Vec<Rc<Node>>,
    /// `None` for leaves, and once it was gone.
    step: RefCell<Option<Step>>,
    leaf: bool,
}

/// Gradients by node.
#[derive(Default)]
pub(super) struct Gradients(HashMap<usize, Shaped>);

impl Gradients {
    /// Adds to the gradient of a tensor, if it is tracked.
    pub fn register(&mut self, sim: &Simulation, node: &Option<Rc<Node>>, gradient: Shaped) {
        let Some(node) = node else {
            return;
        };
        let sum = match self.0.remove(&node.id) {
            Some(old) => sim.sum_of(gradient, old),
            None => gradient,
        };
        self.0.insert(node.id, sum);
    }

    pub fn take(&mut self, tensor: &Shaped) -> Option<Shaped> {
        self.0.remove(&tensor.node.as_ref()?.id)
    }
}

impl Simulation {
    fn node(&self, parents: Vec<Rc<Node>>, step: Option<Step>) -> Rc<Node> {
        let id = self.nodes.get();
        self.nodes.set(id + 1);
        let below = parents.iter().map(|parent| parent.depth + 1).max();
        Rc::new(Node {
            id,
            depth: below.unwrap_or(0),
            parents,
            leaf: step.is_none(),
            step: RefCell::new(step),
        })
    }

    /// The same values as a leaf of the tape.
    pub(super) fn leaf(&self, tensor: Shaped) -> Shaped {
        Shaped {
            node: Some(self.node(Vec::new(), None)),
            ..tensor
        }
    }

    /// `output` of an operation on `inputs`, whose gradients `step` registers. If none of them is tracked, neither is
    /// the output, and the step is forgotten with what it keeps.
    pub(super) fn track(
        &self,
        inputs: &[&Option<Rc<Node>>],
        output: Shaped,
        step: impl FnOnce(&Self, Shaped, &mut Gradients) + 'static,
    ) -> Shaped {
        let parents: Vec<Rc<Node>> = inputs.iter().filter_map(|node| (*node).clone()).collect();
        if parents.is_empty() || !self.recording.get() {
            return output;
        }
        Shaped {
            node: Some(self.node(parents, Some(Box::new(step)))),
            ..output
        }
    }

    /// Runs all steps from `root` down, each as soon as all that depends on it has run.
    pub(super) fn backward_from(&self, root: Shaped) -> Gradients {
        let mut gradients = Gradients::default();
        let Some(node) = root.node.clone() else {
            return gradients;
        };
        let ones = self.like(&root, MemoryUse::Flow, "one");
        drop(root);
        gradients.0.insert(node.id, ones);
        let mut levels: BTreeMap<usize, Vec<Rc<Node>>> = BTreeMap::new();
        let (mut seen, mut queue) = (HashSet::from([node.id]), vec![node]);
        let mut index = 0;
        while let Some(node) = queue.get(index).cloned() {
            index += 1;
            for parent in &node.parents {
                if !parent.leaf && seen.insert(parent.id) {
                    queue.push(parent.clone());
                }
            }
            levels.entry(node.depth).or_default().push(node);
        }
        drop(queue);
        while let Some((_, level)) = levels.pop_last() {
            for node in level {
                let step = node.step.borrow_mut().take();
                if let (Some(step), Some(gradient)) = (step, gradients.0.remove(&node.id)) {
                    step(self, gradient, &mut gradients);
                }
            }
        }
        gradients
    }
}
