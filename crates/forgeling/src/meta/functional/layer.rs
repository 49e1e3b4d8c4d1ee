//! One layer.

use burn::tensor::Tensor;

use super::{rows, stock};
use crate::error::{Error, Result};
use crate::ops::{
    Conv2dOptions, Statistics, conv2d, conv2d_grad_input, conv2d_grad_weight, norm_pool,
    norm_pool_grad, norm_pool_with,
};

const OPERATION: &str = "functional_layer";

/// What goes through a network.
#[derive(Debug, Clone)]
pub enum Value {
    /// `[rows, tasks * channels, height, width]`
    Maps(Tensor<4>),
    /// `[tasks, rows, values]`
    Rows(Tensor<3>),
}

/// A layer of a [`Network`](super::Network), with its sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer {
    /// 3×3 convolution of maps, padding 1, without bias. Parameter: weight `[outputs, inputs, 3, 3]`.
    Conv2d {
        /// Channels before.
        inputs: usize,
        /// Channels after.
        outputs: usize,
    },
    /// Batch norm of maps. Parameters: gamma and beta `[channels]`.
    BatchNorm {
        /// Channels.
        channels: usize,
    },
    /// `max(0, x)`
    Relu,
    /// 2×2 max pooling of maps; odd sizes are rounded down.
    MaxPool,
    /// Batch norm, ReLU and 2×2 max pooling of maps in one operation, with gamma and beta `[channels]`: the same as the
    /// three, and faster.
    NormPool {
        /// Channels.
        channels: usize,
    },
    /// The mean of each channel of maps.
    GlobalAveragePool,
    /// A layer of neurons; maps are flattened first. Parameters: weight `[inputs, outputs]`, bias `[outputs]`.
    Linear {
        /// Numbers of a row before.
        inputs: usize,
        /// Numbers of a row after.
        outputs: usize,
    },
}

impl Layer {
    /// Values of each of the layer's parameters.
    pub fn parameters(self) -> Vec<usize> {
        match self {
            Self::Conv2d { inputs, outputs } => vec![outputs * inputs * 9],
            Self::BatchNorm { channels } | Self::NormPool { channels } => vec![channels; 2],
            Self::Relu | Self::MaxPool | Self::GlobalAveragePool => vec![],
            Self::Linear { inputs, outputs } => vec![inputs * outputs, outputs],
        }
    }

    pub(super) fn is_norm(self) -> bool {
        matches!(self, Self::BatchNorm { .. } | Self::NormPool { .. })
    }

    /// The layer's output, with parameters `[tasks, values]`; of batch norm, also the statistics that it used: those
    /// given, or else the batch's own.
    ///
    /// # Errors
    /// When the input does not fit.
    pub(super) fn forward(
        self,
        input: Value,
        weights: &[Tensor<2>],
        given: Option<&Statistics>,
    ) -> Result<(Value, Option<Statistics>)> {
        let output = match self {
            Self::Conv2d { .. } => {
                let weight = self.kernel(&weights[0]);
                Value::Maps(conv2d(
                    input.maps()?,
                    weight,
                    None,
                    convolution(&weights[0]),
                )?)
            }
            Self::BatchNorm { .. } => {
                let x = input.maps()?;
                let statistics = match given {
                    None => stock::moments(x.clone()),
                    Some(statistics) => statistics.clone(),
                };
                let [gamma, beta] = [0, 1].map(|index| vector(&weights[index]));
                let y = stock::normalize(x, gamma, beta, &statistics);
                return Ok((Value::Maps(y), Some(statistics)));
            }
            Self::NormPool { .. } => {
                let z = input.maps()?;
                let [gamma, beta] = [0, 1].map(|index| vector(&weights[index]));
                let (y, statistics) = match given {
                    None => norm_pool(z, gamma, beta)?,
                    Some(statistics) => {
                        let y = norm_pool_with(z, gamma, beta, statistics)?;
                        (y, statistics.clone())
                    }
                };
                return Ok((Value::Maps(y), Some(statistics)));
            }
            Self::Relu => match input {
                Value::Maps(x) => Value::Maps(x.clone() * stock::positive(x)),
                Value::Rows(x) => Value::Rows(x.clone() * stock::positive(x)),
            },
            Self::MaxPool => Value::Maps(stock::max_pool(input.maps()?)),
            Self::GlobalAveragePool => Value::Maps(stock::average_pool(input.maps()?)),
            Self::Linear { inputs, outputs } => {
                let [tasks, _] = weights[0].dims();
                let x = input.rows(tasks)?;
                if x.dims()[2] != inputs {
                    return Err(
                        Error::invalid(OPERATION, "the input does not fit the layer")
                            .expected(format!("[tasks, rows, {inputs}]"))
                            .got(format!("{:?}", x.dims())),
                    );
                }
                let [weight, bias] = linear_parameters(weights, [inputs, outputs]);
                Value::Rows(rows::linear(x, weight, bias)?)
            }
        };
        Ok((output, None))
    }

    /// The products of the layer's Jacobian with `grad`: that of the input, if `of_input`, and of each parameter.
    ///
    /// # Errors
    /// When the gradient does not fit.
    pub(super) fn vjp(
        self,
        input: &Value,
        weights: &[Tensor<2>],
        grad: Value,
        of_input: bool,
    ) -> Result<(Option<Value>, Vec<Tensor<2>>)> {
        Ok(match self {
            Self::Conv2d { .. } => {
                let (x, grad) = (input.clone().maps()?, grad.maps()?);
                let options = convolution(&weights[0]);
                let [_, _, height, width] = x.dims();
                let of_x = of_input.then(|| {
                    let weight = self.kernel(&weights[0]);
                    conv2d_grad_input(grad.clone(), weight, [height, width], options)
                });
                let of_weight = conv2d_grad_weight(x, grad.clone(), [3, 3], options)?;
                let of_x = of_x.transpose()?.map(Value::Maps);
                (of_x, vec![of_weight.reshape(weights[0].dims())])
            }
            Self::BatchNorm { .. } => {
                let gamma = vector(&weights[0]);
                let (of_x, of_gamma, of_beta) =
                    stock::normalize_vjp(input.clone().maps()?, gamma, grad.maps()?);
                let like = |vector: Tensor<1>| vector.reshape(weights[0].dims());
                (Some(Value::Maps(of_x)), vec![like(of_gamma), like(of_beta)])
            }
            Self::NormPool { .. } => {
                let [gamma, beta] = [0, 1].map(|index| vector(&weights[index]));
                let of = norm_pool_grad(input.clone().maps()?, gamma, beta, grad.maps()?)?;
                let like = |vector: Tensor<1>| vector.reshape(weights[0].dims());
                (
                    Some(Value::Maps(of.input)),
                    vec![like(of.gamma), like(of.beta)],
                )
            }
            Self::Relu => {
                let of_x = match (input.clone(), grad) {
                    (Value::Rows(x), grad) => {
                        let [tasks, ..] = x.dims();
                        Value::Rows(grad.rows(tasks)? * stock::positive(x))
                    }
                    (Value::Maps(x), grad) => Value::Maps(grad.maps()? * stock::positive(x)),
                };
                (Some(of_x), vec![])
            }
            Self::MaxPool => {
                let of_x = stock::max_pool_vjp(&input.clone().maps()?, grad.maps()?);
                (Some(Value::Maps(of_x)), vec![])
            }
            Self::GlobalAveragePool => {
                let of_x = stock::average_pool_vjp(&input.clone().maps()?, grad.maps()?);
                (Some(Value::Maps(of_x)), vec![])
            }
            Self::Linear { inputs, outputs } => {
                let [tasks, _] = weights[0].dims();
                let [weight, _] = linear_parameters(weights, [inputs, outputs]);
                let x = input.clone().rows(tasks)?;
                let [of_x, of_weight, of_bias] = rows::linear_vjp(x, weight, grad.rows(tasks)?)?;
                let of_x = of_input.then(|| Value::unflatten(of_x, input));
                let flat = of_weight.reshape([tasks, inputs * outputs]);
                (of_x, vec![flat, of_bias.reshape([tasks, outputs])])
            }
        })
    }

    /// A convolution's weights of all tasks, `[tasks * outputs, inputs, 3, 3]`.
    fn kernel(self, weight: &Tensor<2>) -> Tensor<4> {
        let Self::Conv2d { inputs, outputs } = self else {
            unreachable!("only convolutions have kernels");
        };
        let [tasks, _] = weight.dims();
        weight.clone().reshape([tasks * outputs, inputs, 3, 3])
    }
}

/// As many groups as there are tasks.
fn convolution(weight: &Tensor<2>) -> Conv2dOptions {
    Conv2dOptions {
        stride: [1, 1],
        padding: [1, 1],
        groups: weight.dims()[0],
    }
}

/// `[tasks, channels]` as one vector of all tasks' channels.
fn vector(weight: &Tensor<2>) -> Tensor<1> {
    let [tasks, channels] = weight.dims();
    weight.clone().reshape([tasks * channels])
}

fn linear_parameters(weights: &[Tensor<2>], [inputs, outputs]: [usize; 2]) -> [Tensor<3>; 2] {
    let [tasks, _] = weights[0].dims();
    [
        weights[0].clone().reshape([tasks, inputs, outputs]),
        weights[1].clone().reshape([tasks, 1, outputs]),
    ]
}

impl Value {
    /// Maps, as they are.
    ///
    /// # Errors
    /// When these are rows.
    pub fn maps(self) -> Result<Tensor<4>> {
        match self {
            Self::Maps(maps) => Ok(maps),
            Self::Rows(rows) => Err(Error::invalid(OPERATION, "the layer takes maps")
                .expected("[rows, tasks * channels, height, width]")
                .got(format!("{:?}", rows.dims()))),
        }
    }

    /// Rows as they are, maps flattened: channel after channel.
    ///
    /// # Errors
    /// When the channels of maps are not a multiple of `tasks`.
    pub fn rows(self, tasks: usize) -> Result<Tensor<3>> {
        match self {
            Self::Rows(rows) => Ok(rows),
            Self::Maps(maps) => {
                let [rows, channels, height, width] = maps.dims();
                if channels % tasks != 0 {
                    return Err(
                        Error::invalid(OPERATION, "the maps are not those of all tasks")
                            .expected(format!("a multiple of {tasks} channels"))
                            .got(channels),
                    );
                }
                let values = channels / tasks * height * width;
                Ok(maps.reshape([rows, tasks, values]).swap_dims(0, 1))
            }
        }
    }

    /// Rows in the form of `like`.
    fn unflatten(rows: Tensor<3>, like: &Self) -> Self {
        match like {
            Self::Rows(_) => Self::Rows(rows),
            Self::Maps(maps) => Self::Maps(rows.swap_dims(0, 1).reshape(maps.dims())),
        }
    }
}
