//! A module's values by name, and back.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Tensor, TensorData};

use crate::device::Readback;
use crate::error::{Error, Result};

/// One value of a module: trained or not, by its path.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedTensor {
    /// The path of field names, for example `blocks.0.weight`.
    pub name: String,
    /// Its sizes; empty for a scalar.
    pub shape: Vec<usize>,
    /// Row-major values.
    pub values: Vec<f32>,
}

/// Reads every float value of `module` from its device in one trip.
///
/// # Errors
/// When the device fails.
pub async fn collect<M: Module>(module: &M) -> Result<Vec<NamedTensor>> {
    let mut visitor = Collect {
        path: Vec::new(),
        found: Vec::new(),
        trip: Readback::new(),
    };
    module.visit(&mut visitor);
    let values = visitor.trip.run_all().await?;
    let found = visitor.found.into_iter().zip(values);
    Ok(found
        .map(|((name, shape), values)| NamedTensor {
            name,
            shape,
            values,
        })
        .collect())
}

/// Gives every float value of `module` the one of the same name in `tensors`.
///
/// # Errors
/// When a tensor is missing, left over, of another shape, or holds a value that is not finite. The
/// module is then dropped: there is no half-loaded one.
pub fn load<M: Module>(module: M, tensors: Vec<NamedTensor>) -> Result<M> {
    let mut mapper = Load {
        path: Vec::new(),
        tensors,
        problem: None,
    };
    let module = module.map(&mut mapper);
    if let Some(problem) = mapper.problem {
        return Err(problem);
    }
    match mapper.tensors.first() {
        Some(extra) => Err(
            Error::bad_data("load_weights", "a tensor the model does not have")
                .got(format!("'{}'", extra.name)),
        ),
        None => Ok(module),
    }
}

struct Collect {
    path: Vec<String>,
    found: Vec<(String, Vec<usize>)>,
    trip: Readback,
}

impl ModuleVisitor for Collect {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let tensor = param.val();
        self.found
            .push((self.path.join("."), tensor.dims().to_vec()));
        self.trip = std::mem::take(&mut self.trip).with(tensor);
    }
}

struct Load {
    path: Vec<String>,
    tensors: Vec<NamedTensor>,
    problem: Option<Error>,
}

impl Load {
    fn take(&mut self, shape: &[usize]) -> Result<NamedTensor> {
        const OPERATION: &str = "load_weights";
        let name = self.path.join(".");
        let Some(position) = self.tensors.iter().position(|tensor| tensor.name == name) else {
            return Err(Error::bad_data(
                OPERATION,
                format!("tensor '{name}' is missing"),
            ));
        };
        let tensor = self.tensors.swap_remove(position);
        if tensor.shape != shape {
            return Err(
                Error::bad_data(OPERATION, format!("tensor '{name}' has another shape"))
                    .expected(format!("{shape:?}"))
                    .got(format!("{:?}", tensor.shape)),
            );
        }
        if let Some(position) = tensor.values.iter().position(|value| !value.is_finite()) {
            return Err(Error::bad_data(
                OPERATION,
                format!("tensor '{name}' holds a value that is not finite"),
            )
            .got(format!("{} at {position}", tensor.values[position])));
        }
        Ok(tensor)
    }
}

impl ModuleMapper for Load {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let shape = param.val().dims();
        match self.take(&shape) {
            Ok(tensor) => {
                let trained = param.val().is_require_grad();
                param.map(|old| {
                    let data = TensorData::new(tensor.values, shape);
                    Tensor::from_data(data, &old.device()).set_require_grad(trained)
                })
            }
            Err(problem) => {
                self.problem.get_or_insert(problem);
                param
            }
        }
    }
}
