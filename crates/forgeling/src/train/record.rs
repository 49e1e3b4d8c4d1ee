//! What an optimizer keeps, by the names of parameters.

use std::collections::{BTreeMap, BTreeSet};

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::weights::NamedTensor;
use crate::error::{Error, Result};

/// What of an optimizer changes, for checkpoints: [`Adam::state`](super::Adam::state) and
/// [`Sgd::state`](super::Sgd::state). It belongs to no device, and to no run of the program: parameters are known by
/// their names, as [`weights::collect`](super::weights::collect) gives them.
#[derive(Debug, Clone, PartialEq)]
pub struct OptimizerRecord {
    /// All but the moments.
    pub summary: OptimizerCounts,
    /// The moments of each parameter, in its shape: `NAME.mean` and `NAME.square` of Adam, `NAME.velocity` of SGD with
    /// a momentum.
    pub moments: Vec<NamedTensor>,
}

/// What an [`OptimizerRecord`] holds besides moments.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptimizerCounts {
    /// How many steps each parameter has taken, by its name, skipped ones not counted.
    pub parameters: BTreeMap<String, u64>,
    /// Whether the last step was skipped.
    pub last_skipped: bool,
    /// How many steps were skipped.
    pub skipped: u64,
    /// What gradients are divided by.
    pub loss_scale: f64,
}

/// A parameter of a module.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Place {
    pub name: String,
    pub id: ParamId,
    pub shape: Vec<usize>,
}

/// What is kept of a parameter.
pub(super) struct Entry {
    pub place: Place,
    /// One for each kind of moment.
    pub moments: Vec<Vec<f32>>,
    pub steps: u64,
}

impl OptimizerRecord {
    /// `skipped` says whether the last step was, and how many were.
    pub(super) fn new(
        entries: Vec<Entry>,
        kinds: &[&str],
        (last_skipped, skipped): (bool, u64),
        loss_scale: f64,
    ) -> Self {
        let mut moments = Vec::new();
        let mut parameters = BTreeMap::new();
        for Entry {
            place,
            moments: values,
            steps,
        } in entries
        {
            moments.extend(kinds.iter().zip(values).map(|(kind, values)| NamedTensor {
                name: format!("{}.{kind}", place.name),
                shape: place.shape.clone(),
                values,
            }));
            parameters.insert(place.name, steps);
        }
        Self {
            summary: OptimizerCounts {
                parameters,
                last_skipped,
                skipped,
                loss_scale,
            },
            moments,
        }
    }

    /// What it says of which parameters of `module`, in the order in which they are visited.
    pub(super) fn fit<M: Module>(
        self,
        operation: &'static str,
        kinds: &[&str],
        module: &M,
    ) -> Result<Vec<Entry>> {
        let bad = |message: String| Error::bad_data(operation, message);
        let mut named = self.summary.parameters;
        let mut tensors: BTreeMap<String, NamedTensor> = BTreeMap::new();
        for tensor in self.moments {
            if let Some(twice) = tensors.insert(tensor.name.clone(), tensor) {
                return Err(bad(format!("moment '{}' is there twice", twice.name)));
            }
        }
        let mut take = |place: &Place, kind: &&str| {
            let name = format!("{}.{kind}", place.name);
            let Some(tensor) = tensors.remove(&name) else {
                return Err(bad(format!("moment '{name}' is missing")));
            };
            let length: usize = place.shape.iter().product();
            if tensor.shape != place.shape || tensor.values.len() != length {
                return Err(bad(format!("moment '{name}' has another shape"))
                    .expected(format!("{:?}", place.shape))
                    .got(format!("{:?}", tensor.shape)));
            }
            if !tensor.values.iter().all(|value| value.is_finite()) {
                return Err(bad(format!(
                    "moment '{name}' holds a value that is not finite"
                )));
            }
            Ok(tensor.values)
        };
        let (mut entries, mut names) = (Vec::new(), BTreeSet::new());
        for place in places(module) {
            if names.contains(&place.name) {
                return Err(bad("two parameters of the model have one name".into()));
            }
            let Some(steps) = named.remove(&place.name) else {
                continue;
            };
            names.insert(place.name.clone());
            let moments: Result<Vec<_>> = kinds.iter().map(|kind| take(&place, kind)).collect();
            let moments = moments?;
            entries.push(Entry {
                place,
                moments,
                steps,
            });
        }
        if let Some(name) = named.keys().next() {
            return Err(bad(format!("the model has no parameter '{name}'")));
        }
        if let Some(name) = tensors.keys().next() {
            return Err(bad(format!(
                "a moment '{name}' that this optimizer has not"
            )));
        }
        if entries.is_empty() && self.summary.skipped > 0 {
            let problem = bad("skipped steps without a parameter".into());
            return Err(problem.got(self.summary.skipped));
        }
        Ok(entries)
    }
}

/// All float parameters that hold a number at least, each where it is found first.
pub(super) fn places<M: Module>(module: &M) -> Vec<Place> {
    let mut visitor = Places::default();
    module.visit(&mut visitor);
    visitor.found
}

#[derive(Default)]
struct Places {
    path: Vec<String>,
    found: Vec<Place>,
    seen: BTreeSet<u64>,
}

impl ModuleVisitor for Places {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let shape = param.val().dims().to_vec();
        if shape.iter().product::<usize>() > 0 && self.seen.insert(param.id.val()) {
            self.found.push(Place {
                name: self.path.join("."),
                id: param.id,
                shape,
            });
        }
    }
}
