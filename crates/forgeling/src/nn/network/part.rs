//! The values of an item of the schedule, with the names that they have in the network.

use std::sync::Arc;

use burn::module::{Module, ModuleMapper, ModuleVisitor};

use super::Values;
use crate::device::TensorDevice;

/// What one node holds.
#[derive(Debug, Clone)]
pub struct Held {
    /// The node's place in the graph.
    pub node: usize,
    /// The node's name.
    pub name: Arc<str>,
    /// Its values.
    pub values: Values,
}

/// What the nodes hold that run one after the other as an item of the schedule.
#[derive(Debug, Clone, Default)]
pub struct Part(pub Vec<Held>);

/// What burn calls the containers of names.
const CONTAINER: &str = "Struct:Network";

impl Part {
    /// What a node holds, if it is of this part.
    pub fn of(&self, node: usize) -> Option<&Values> {
        self.0
            .iter()
            .find(|held| held.node == node)
            .map(|held| &held.values)
    }

    fn each(self, mut change: impl FnMut(Values) -> Values) -> Self {
        let changed = |held: Held| Held {
            values: change(held.values),
            ..held
        };
        Self(self.0.into_iter().map(changed).collect())
    }
}

impl Module for Part {
    fn collect_devices(&self, devices: Vec<TensorDevice>) -> Vec<TensorDevice> {
        let all = self.0.iter();
        all.fold(devices, |devices, held| {
            held.values.collect_devices(devices)
        })
    }

    fn fork(self, device: &TensorDevice) -> Self {
        self.each(|values| values.fork(device))
    }

    fn to_device(self, device: &TensorDevice) -> Self {
        self.each(|values| values.to_device(device))
    }

    fn train(self) -> Self {
        self.each(Module::train)
    }

    fn valid(&self) -> Self {
        let valid = |held: &Held| Held {
            node: held.node,
            name: held.name.clone(),
            values: held.values.valid(),
        };
        Self(self.0.iter().map(valid).collect())
    }

    fn materialize(self) -> Self {
        self.each(Module::materialize)
    }

    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        for held in &self.0 {
            for part in held.name.split('.') {
                visitor.enter_module(part, CONTAINER);
            }
            held.values.visit(visitor);
            for part in held.name.rsplit('.') {
                visitor.exit_module(part, CONTAINER);
            }
        }
    }

    fn map<M: ModuleMapper>(self, mapper: &mut M) -> Self {
        let changed = |held: Held| {
            for part in held.name.split('.') {
                mapper.enter_module(part, CONTAINER);
            }
            let values = held.values.map(mapper);
            for part in held.name.rsplit('.') {
                mapper.exit_module(part, CONTAINER);
            }
            Held { values, ..held }
        };
        Self(self.0.into_iter().map(changed).collect())
    }
}
