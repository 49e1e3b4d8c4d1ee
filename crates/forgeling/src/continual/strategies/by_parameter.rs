//! A tensor for each parameter of a network.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{DType, Tensor};

use crate::device::TensorDevice;
use crate::error::{Error, Result};
use crate::nn::Network;
use crate::train::parts::Sections;

const OPERATION: &str = "by_parameter";

/// A tensor in f32 for each of some parameters of a network, such as their importance or their values at some time. They are
/// flattened, not tracked, and stay on the network's device.
#[derive(Debug, Clone, Default)]
pub struct ByParameter(BTreeMap<String, Tensor<1>>);

impl ByParameter {
    /// The values of all parameters that are trained. There is none where the network is not on a device with autodiff.
    pub fn trained(network: &Network) -> Self {
        Self::collect(network, None, |parameter| {
            parameter.trained.then_some(parameter.value)
        })
    }

    /// All values that the network holds, the running statistics of norms included.
    pub fn all(network: &Network) -> Self {
        Self::collect(network, None, |parameter| Some(parameter.value))
    }

    /// The gradients of the parameters that have one.
    pub fn gradients(network: &Network, gradients: &GradientsParams) -> Self {
        Self::collect(network, Some(gradients), |parameter| parameter.gradient)
    }

    fn collect(
        network: &Network,
        gradients: Option<&GradientsParams>,
        which: impl Fn(Parameter<'_>) -> Option<Tensor<1>>,
    ) -> Self {
        let mut all = BTreeMap::new();
        each(network, gradients, |parameter| {
            let name = parameter.name.to_string();
            if let Some(found) = which(parameter) {
                all.insert(name, plain(found));
            }
        });
        Self(all)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Of how many parameters there is one.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// That of the parameter with this name, `node.field`.
    pub fn get(&self, name: &str) -> Option<&Tensor<1>> {
        self.0.get(name)
    }

    /// All names with their tensors, in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor<1>)> {
        self.0.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// Bytes on the device.
    pub fn bytes(&self) -> u64 {
        let all = self.0.values();
        all.map(|tensor| 4 * tensor.shape().num_elements() as u64)
            .sum()
    }

    /// Adds to that of a parameter, or begins with this.
    pub(super) fn add(&mut self, name: &str, more: Tensor<1>) {
        let sum = match self.0.remove(name) {
            Some(sum) => sum + more,
            None => more,
        };
        self.set(name, sum);
    }

    /// Puts that of a parameter in the place of the one there may be.
    pub(super) fn set(&mut self, name: &str, tensor: Tensor<1>) {
        self.0.insert(name.to_string(), tensor);
    }

    /// What `function` makes of each.
    pub(super) fn map(self, mut function: impl FnMut(&str, Tensor<1>) -> Tensor<1>) -> Self {
        let changed = self.0.into_iter().map(|(name, tensor)| {
            let tensor = function(&name, tensor);
            (name, tensor)
        });
        Self(changed.collect())
    }

    /// The sum with others; a parameter that only one of them has is as there.
    pub(super) fn plus(mut self, others: Self) -> Self {
        for (name, tensor) in others.0 {
            self.add(&name, tensor);
        }
        self
    }

    /// `network` with these values in the place of its own.
    pub(super) fn put_into(&self, network: Network) -> Result<Network> {
        let mut put = Put {
            path: Vec::new(),
            values: self,
            put: 0,
        };
        let network = network.map(&mut put);
        match put.put == self.len() {
            true => Ok(network),
            false => Err(misfit(self.len(), put.put)),
        }
    }

    /// Puts all of it where [`load`](Self::load) finds it under `kind`.
    pub(super) fn save(&self, kind: &str, to: &mut Sections) -> Result<()> {
        let names: Vec<&String> = self.0.keys().collect();
        to.set(kind, &names)?;
        for (name, tensor) in &self.0 {
            to.set_tensor(&place(kind, name), tensor.clone());
        }
        Ok(())
    }

    pub(super) fn load(kind: &str, from: &Sections, device: &TensorDevice) -> Result<Self> {
        let names: Vec<String> = from.get(kind)?;
        let tensor = |name: String| {
            let tensor = from.tensor(&place(kind, &name), device)?;
            Ok((name, tensor))
        };
        Ok(Self(names.into_iter().map(tensor).collect::<Result<_>>()?))
    }
}

/// The name of a parameter's tensor in a checkpoint.
fn place(kind: &str, name: &str) -> String {
    format!("{kind} {name}")
}

/// An error where parameters of a strategy are not those of the network.
pub(super) fn misfit(expected: usize, got: usize) -> Error {
    let message = "the network has not the parameters, in name and size, that it had before";
    Error::invalid(OPERATION, message)
        .expected(format!("all {expected} of them"))
        .got(got)
}

/// In f32 and not tracked.
fn plain(tensor: Tensor<1>) -> Tensor<1> {
    let tensor = tensor.without_autodiff();
    match tensor.dtype() {
        DType::F32 => tensor,
        _ => tensor.cast(DType::F32),
    }
}

/// A parameter of a network, flattened.
pub(super) struct Parameter<'a> {
    /// `node.field`
    pub name: &'a str,
    /// Its value, tracked as it is in the network.
    pub value: Tensor<1>,
    pub trained: bool,
    /// Where gradients are looked through and one of them is the parameter's.
    pub gradient: Option<Tensor<1>>,
}

/// Shows all parameters of a network, with their gradients if some are given.
pub(super) fn each(
    network: &Network,
    gradients: Option<&GradientsParams>,
    act: impl FnMut(Parameter<'_>),
) {
    network.visit(&mut Each {
        path: Vec::new(),
        gradients,
        act,
    });
}

struct Each<'a, F> {
    path: Vec<String>,
    gradients: Option<&'a GradientsParams>,
    act: F,
}

impl<F: FnMut(Parameter<'_>)> ModuleVisitor for Each<'_, F> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = param.val();
        let length = value.shape().num_elements();
        let gradient = self.gradients.and_then(|all| all.get::<D>(param.id));
        (self.act)(Parameter {
            name: &self.path.join("."),
            trained: value.is_require_grad(),
            value: value.reshape([length]),
            gradient: gradient.map(|gradient| gradient.reshape([length])),
        });
    }
}

struct Put<'a> {
    path: Vec<String>,
    values: &'a ByParameter,
    put: usize,
}

impl ModuleMapper for Put<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let shape = param.val().dims();
        let length: usize = shape.iter().product();
        match self.values.get(&self.path.join(".")) {
            Some(value) if value.dims() == [length] => {
                self.put += 1;
                param.map(|_| value.clone().reshape(shape))
            }
            _ => param,
        }
    }
}
