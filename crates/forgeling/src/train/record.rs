//! What an optimizer keeps, by the names of parameters.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::weights::NamedTensor;
use crate::error::{Error, Result};
use crate::ops::Snapshot;

/// What of an optimizer changes, for checkpoints: [`Adam::state`](super::Adam::state) and
/// [`Sgd::state`](super::Sgd::state). It belongs to no device, and to no run of the program: parameters are told by
/// their names, as [`weights::collect`](super::weights::collect) gives them.
#[derive(Debug, Clone, PartialEq)]
pub struct OptimizerRecord {
    /// All but the moments.
    pub summary: OptimizerSummary,
    /// The moments of each parameter, in its shape: `NAME.mean` and `NAME.square` of Adam, `NAME.velocity` of SGD with
    /// a momentum.
    pub moments: Vec<NamedTensor>,
}

/// What an [`OptimizerRecord`] holds besides moments.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptimizerSummary {
    /// Names of the parameters that had gradients in the last step.
    pub parameters: Vec<String>,
    /// Steps that were taken.
    pub steps: u64,
    /// Whether the last one was skipped.
    pub last_skipped: bool,
    /// How many were.
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

impl OptimizerRecord {
    pub(super) fn new(
        parameters: Vec<Place>,
        kinds: &[&str],
        snapshot: Snapshot,
        loss_scale: f64,
    ) -> Self {
        let mut moments = Vec::new();
        for (place, values) in parameters.iter().zip(snapshot.moments) {
            moments.extend(kinds.iter().zip(values).map(|(kind, values)| NamedTensor {
                name: format!("{}.{kind}", place.name),
                shape: place.shape.clone(),
                values,
            }));
        }
        Self {
            summary: OptimizerSummary {
                parameters: parameters.into_iter().map(|place| place.name).collect(),
                steps: snapshot.steps,
                last_skipped: snapshot.last_skipped,
                skipped: snapshot.skipped,
                loss_scale,
            },
            moments,
        }
    }

    /// Which parameters of `module` it is about, in the order in which they are visited, and what it says of them.
    pub(super) fn fit<M: Module>(
        self,
        operation: &'static str,
        kinds: &[&str],
        module: &M,
    ) -> Result<(Vec<Place>, Snapshot)> {
        let bad = |message: String| Error::bad_data(operation, message);
        let summary = self.summary;
        let named: BTreeSet<&String> = summary.parameters.iter().collect();
        if named.len() < summary.parameters.len() {
            return Err(bad("a parameter is named twice".into()));
        }
        let mut places = places(module);
        places.retain(|place| named.contains(&place.name));
        let there: BTreeSet<&String> = places.iter().map(|place| &place.name).collect();
        if let Some(name) = named.difference(&there).next() {
            return Err(bad(format!("the model has no parameter '{name}'")));
        }
        if there.len() < places.len() {
            return Err(bad("two parameters of the model have one name".into()));
        }
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
        let mut moments = Vec::with_capacity(places.len());
        for place in &places {
            let of_place: Result<Vec<_>> = kinds.iter().map(|kind| take(place, kind)).collect();
            moments.push(of_place?);
        }
        if let Some(name) = tensors.keys().next() {
            return Err(bad(format!(
                "a moment '{name}' that this optimizer has not"
            )));
        }
        if places.is_empty() && (summary.steps > 0 || summary.skipped > 0) {
            return Err(bad("steps without a parameter".into()).got(summary.steps));
        }
        let snapshot = Snapshot {
            moments,
            steps: summary.steps,
            last_skipped: summary.last_skipped,
            skipped: summary.skipped,
        };
        Ok((places, snapshot))
    }
}

/// The parameters of `module` with these ids and shapes, in this order.
pub(super) fn names<M: Module>(
    operation: &'static str,
    module: &M,
    ids: &[(ParamId, Vec<usize>)],
) -> Result<Vec<Place>> {
    let places = places(module).into_iter();
    let mut places: HashMap<ParamId, Place> = places.map(|place| (place.id, place)).collect();
    let other = || {
        Error::invalid(
            operation,
            "the module is not the one that the optimizer moved",
        )
    };
    let mut find = |(id, shape): &(ParamId, Vec<usize>)| {
        let place = places.remove(id).filter(|place| place.shape == *shape);
        place.ok_or_else(other)
    };
    ids.iter().map(&mut find).collect()
}

/// All float parameters that hold a number at least, each where it is found first.
fn places<M: Module>(module: &M) -> Vec<Place> {
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
