//! Networks run and looked into: what comes out of them in a pass of its own, and what they hold, by the names of their nodes.

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::Tensor;
use forgeling::Result;
use forgeling::nn::{
    BatchNorm, BatchStatistics, ConvValues, LinearValues, Network, Normalization, Pass, Values,
};

/// The outputs of images, and what the norms found in them.
///
/// # Errors
/// When the images do not fit the network.
pub fn outputs(
    network: &Network,
    images: Tensor<4>,
    normalization: Normalization,
) -> Result<(Tensor<2>, Vec<BatchStatistics>)> {
    let mut pass = Pass::new(normalization, &images.device());
    let outputs = network.forward(images, &mut pass)?;
    Ok((outputs, pass.take_statistics()))
}

/// The outputs of rows of values, with running statistics.
///
/// # Errors
/// When the rows do not fit the network.
pub fn outputs_of_rows(network: &Network, rows: Tensor<2>) -> Result<Tensor<2>> {
    let mut pass = Pass::new(Normalization::Running, &rows.device());
    network.forward_rows(rows, &mut pass)
}

/// The features of images, flat, and what the norms found in them.
///
/// # Errors
/// When the images do not fit the network.
pub fn features(
    network: &Network,
    images: Tensor<4>,
    normalization: Normalization,
) -> Result<(Tensor<2>, Vec<BatchStatistics>)> {
    let mut pass = Pass::new(normalization, &images.device());
    let maps = network.features(images, &mut pass)?;
    Ok((maps.flatten(1, 3), pass.take_statistics()))
}

fn values<'a>(network: &'a Network, node: &str) -> &'a Values {
    let place = network.graph().find(node);
    let values = place.and_then(|place| network.values(place));
    values.unwrap_or_else(|| panic!("'{node}' holds nothing"))
}

/// What a convolution holds.
///
/// # Panics
/// When there is none of this name.
pub fn conv<'a>(network: &'a Network, node: &str) -> &'a ConvValues {
    match values(network, node) {
        Values::Conv(values) => values,
        other => panic!("'{node}' is no convolution: {other:?}"),
    }
}

/// What a batch norm holds.
///
/// # Panics
/// When there is none of this name.
pub fn norm<'a>(network: &'a Network, node: &str) -> &'a BatchNorm {
    match values(network, node) {
        Values::BatchNorm(values) => values,
        other => panic!("'{node}' is no batch norm: {other:?}"),
    }
}

/// What a layer of neurons holds.
///
/// # Panics
/// When there is none of this name.
pub fn neurons<'a>(network: &'a Network, node: &str) -> &'a LinearValues {
    match values(network, node) {
        Values::Linear(values) => values,
        other => panic!("'{node}' is no layer of neurons: {other:?}"),
    }
}

/// The module with `change` of the value of this name, which is given flat; it is trained if it was.
///
/// # Panics
/// When there is no such value.
pub fn with_change<M: Module>(
    module: M,
    name: &str,
    change: impl FnOnce(Tensor<1>) -> Tensor<1>,
) -> M {
    let mut mapper = Change {
        name,
        path: Vec::new(),
        change: Some(change),
    };
    let module = module.map(&mut mapper);
    assert!(mapper.change.is_none(), "there is no '{name}'");
    module
}

struct Change<'a, F> {
    name: &'a str,
    path: Vec<String>,
    change: Option<F>,
}

impl<F: FnOnce(Tensor<1>) -> Tensor<1>> ModuleMapper for Change<'_, F> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if self.path.join(".") != self.name {
            return param;
        }
        let Some(change) = self.change.take() else {
            panic!("'{}' is there twice", self.name);
        };
        let trained = param.val().is_require_grad();
        param.map(|value| {
            let shape = value.dims();
            let flat = value.reshape([shape.iter().product::<usize>()]);
            let changed = change(flat).reshape(shape);
            changed.detach().set_require_grad(trained)
        })
    }
}
