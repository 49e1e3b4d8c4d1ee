//! A network in a checkpoint.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::Tensor;
use serde_json::Value;

use crate::device::TensorDevice;
use crate::error::{Error, Result};
use crate::nn::Network;
use crate::nn::graph::Graph;
use crate::train::parts::Sections;

const GRAPH: &str = "graph";

/// Puts a network, or that there is none.
pub(super) fn save(network: Option<&Network>, to: &mut Sections) -> Result<()> {
    let graph = network.map(|network| Value::from(network.graph().clone()));
    to.set(GRAPH, &graph)?;
    if let Some(network) = network {
        let path = Vec::new();
        network.visit(&mut Put { path, to });
    }
    Ok(())
}

/// The network that [`save`] put, untracked.
pub(super) fn load(from: &Sections, device: &TensorDevice) -> Result<Option<Network>> {
    let Some(graph) = from.get::<Option<Value>>(GRAPH)? else {
        return Ok(None);
    };
    let device = device.clone().inner();
    let mut take = Take {
        path: Vec::new(),
        from,
        problem: None,
    };
    let network = Network::on(&Graph::try_from(graph)?, 0, &device).map(&mut take);
    match take.problem {
        Some(problem) => Err(problem),
        None => Ok(Some(network.valid())),
    }
}

struct Put<'a> {
    path: Vec<String>,
    to: &'a mut Sections,
}

impl ModuleVisitor for Put<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.to.set_tensor(&self.path.join("."), param.val());
    }
}

struct Take<'a> {
    path: Vec<String>,
    from: &'a Sections,
    problem: Option<Error>,
}

impl ModuleMapper for Take<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (name, shape) = (self.path.join("."), param.val().dims());
        let found = self.from.tensor::<D>(&name, &param.val().device());
        match found {
            Ok(tensor) if tensor.dims() == shape => param.map(|_| tensor),
            Ok(tensor) => {
                let message = format!("'{name}' of a kept network has another shape");
                let problem = Error::bad_data("load_network", message)
                    .expected(format!("{shape:?}"))
                    .got(format!("{:?}", tensor.dims()));
                self.problem.get_or_insert(problem);
                param
            }
            Err(problem) => {
                self.problem.get_or_insert(problem);
                param
            }
        }
    }
}
