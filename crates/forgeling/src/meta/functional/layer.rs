//! One layer.

use burn::tensor::Tensor;
use burn::tensor::activation::gelu;

use super::{Value, rows, stock};
use crate::error::{Error, Result};
use crate::nn::graph::Window;
use crate::nn::pool::{extended, mean_pool, mean_pool_grad};
use crate::ops::{
    Conv2dOptions, Statistics, conv2d, conv2d_grad_input, conv2d_grad_weight, norm_pool,
    norm_pool_grad, norm_pool_with,
};

const OPERATION: &str = "functional_layer";

/// A layer of a [`Program`](super::Program), with its sizes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Primitive {
    /// Convolution of maps. Parameters: weight `[outputs, inputs / groups, rows, columns]`, and bias `[outputs]` if there is
    /// one.
    Conv2d {
        /// Channels before.
        inputs: usize,
        /// Channels after.
        outputs: usize,
        /// Rows and columns of the kernel.
        kernel: [usize; 2],
        /// How it moves, for each task.
        options: Conv2dOptions,
        /// Whether a value is added to each channel.
        bias: bool,
    },
    /// So many rows of zeros below maps, and columns right.
    Extend([usize; 2]),
    /// Batch norm of maps. Parameters: gamma and beta `[channels]`.
    BatchNorm {
        /// Channels.
        channels: usize,
        /// What is added to variances.
        epsilon: f64,
    },
    /// Each row of values normalised by itself. Parameters: gamma and beta `[width]`.
    LayerNorm {
        /// Values of a row.
        width: usize,
        /// What is added to variances.
        epsilon: f64,
    },
    /// `max(0, x)`
    Relu,
    /// `min(max(0, x), 6)`
    Relu6,
    /// `x P(X <= x)` with a normal `X`.
    Gelu,
    /// The largest value of each window of maps.
    MaxPool(Window),
    /// The mean of each window of maps.
    MeanPool(Window),
    /// Batch norm, ReLU and 2×2 max pooling of maps in one operation, with gamma and beta `[channels]`: the same as the
    /// three, and faster.
    NormPool {
        /// Channels.
        channels: usize,
    },
    /// The mean of each channel of maps.
    GlobalAveragePool,
    /// Maps as rows.
    Flatten,
    /// The sum of all inputs.
    Add,
    /// The channels, or values, of all inputs one after the other.
    Concat,
    /// A layer of neurons; maps are flattened first. Parameters: weight `[inputs, outputs]`, and bias `[outputs]` if there
    /// is one.
    Linear {
        /// Numbers of a row before.
        inputs: usize,
        /// Numbers of a row after.
        outputs: usize,
        /// Whether a value is added to each.
        bias: bool,
    },
}

/// The products of a layer's Jacobian with a gradient: of each input that was asked for, and of each parameter.
pub(super) type Products = (Vec<Option<Value>>, Vec<Tensor<2>>);

impl Primitive {
    /// Values of each of the layer's parameters.
    pub fn parameters(self) -> Vec<usize> {
        let biased = |weight, outputs, bias: bool| match bias {
            true => vec![weight, outputs],
            false => vec![weight],
        };
        match self {
            Self::Conv2d {
                inputs,
                outputs,
                kernel: [rows, columns],
                options,
                bias,
            } => biased(
                outputs * (inputs / options.groups) * rows * columns,
                outputs,
                bias,
            ),
            Self::BatchNorm { channels, .. } | Self::NormPool { channels } => vec![channels; 2],
            Self::LayerNorm { width, .. } => vec![width; 2],
            Self::Linear {
                inputs,
                outputs,
                bias,
            } => biased(inputs * outputs, outputs, bias),
            _ => vec![],
        }
    }

    pub(super) fn is_norm(self) -> bool {
        matches!(self, Self::BatchNorm { .. } | Self::NormPool { .. })
    }

    /// The layer's output, with parameters `[tasks, values]`; of batch norm, also the statistics that it used: those
    /// given, or else the batch's own.
    ///
    /// # Errors
    /// When the inputs do not fit.
    pub(super) fn forward(
        self,
        inputs: &[Value],
        weights: &[Tensor<2>],
        tasks: usize,
        given: Option<&Statistics>,
    ) -> Result<(Value, Option<Statistics>)> {
        let input = inputs.first().cloned().ok_or_else(no_input)?;
        let output = match self {
            Self::Conv2d { bias, .. } => {
                let y = conv2d(
                    input.maps()?,
                    self.kernel(&weights[0]),
                    None,
                    self.options(tasks),
                )?;
                Value::Maps(match bias {
                    true => y + stock::per_channel(vector(&weights[1])),
                    false => y,
                })
            }
            Self::Extend(beyond) => Value::Maps(extended(input.maps()?, beyond)),
            Self::BatchNorm { epsilon, .. } => {
                let x = input.maps()?;
                let statistics = match given {
                    None => stock::moments(x.clone()),
                    Some(statistics) => statistics.clone(),
                };
                let [gamma, beta] = [0, 1].map(|index| vector(&weights[index]));
                let y = stock::normalize(x, gamma, beta, &statistics, epsilon);
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
            Self::LayerNorm { width, epsilon } => {
                let [gamma, beta] =
                    [0, 1].map(|index| weights[index].clone().reshape([tasks, 1, width]));
                Value::Rows(rows::layer_norm(input.rows(tasks)?, gamma, beta, epsilon))
            }
            Self::Relu => input.each(
                |x| x.clone() * stock::positive(x),
                |x| x.clone() * stock::positive(x),
            ),
            Self::Relu6 => input.each(stock::relu6, stock::relu6),
            Self::Gelu => input.each(gelu, gelu),
            Self::MaxPool(window) => Value::Maps(stock::max_pool(input.maps()?, window)?),
            Self::MeanPool(window) => Value::Maps(mean_pool(input.maps()?, window)?),
            Self::GlobalAveragePool => Value::Maps(stock::average_pool(input.maps()?)),
            Self::Flatten => Value::Rows(input.rows(tasks)?),
            Self::Add => {
                let mut sum = input;
                for other in &inputs[1..] {
                    sum = sum.plus(other.clone(), tasks)?;
                }
                sum
            }
            Self::Concat => Value::concatenated(inputs, tasks)?,
            Self::Linear { inputs, .. } => {
                let x = input.rows(tasks)?;
                if x.dims()[2] != inputs {
                    return Err(
                        Error::invalid(OPERATION, "the input does not fit the layer")
                            .expected(format!("[tasks, rows, {inputs}]"))
                            .got(format!("{:?}", x.dims())),
                    );
                }
                let (weight, bias) = self.neurons(weights);
                Value::Rows(rows::linear(x, weight, bias)?)
            }
        };
        Ok((output, None))
    }

    /// The products of the layer's Jacobian with `grad`: that of each input for which `of_inputs` says so, and of each
    /// parameter.
    ///
    /// # Errors
    /// When the gradient does not fit.
    pub(super) fn vjp(
        self,
        inputs: &[Value],
        weights: &[Tensor<2>],
        tasks: usize,
        grad: Value,
        of_inputs: &[bool],
    ) -> Result<Products> {
        let input = inputs.first().cloned().ok_or_else(no_input)?;
        let of_input = of_inputs.contains(&true);
        let one = |of_x: Option<Value>, own: Vec<Tensor<2>>| (vec![of_x], own);
        Ok(match self {
            Self::Conv2d { kernel, bias, .. } => {
                let (x, grad) = (input.maps()?, grad.maps()?);
                let options = self.options(tasks);
                let [_, _, height, width] = x.dims();
                let of_x = of_input.then(|| {
                    let weight = self.kernel(&weights[0]);
                    conv2d_grad_input(grad.clone(), weight, [height, width], options)
                });
                let of_weight = conv2d_grad_weight(x, grad.clone(), kernel, options)?;
                let mut own = vec![of_weight.reshape(weights[0].dims())];
                if bias {
                    own.push(stock::sum(grad).reshape(weights[1].dims()));
                }
                one(of_x.transpose()?.map(Value::Maps), own)
            }
            Self::Extend(_) => {
                let [_, _, height, width] = input.maps()?.dims();
                let of_x = grad.maps()?.narrow(2, 0, height).narrow(3, 0, width);
                one(Some(Value::Maps(of_x)), vec![])
            }
            Self::BatchNorm { epsilon, .. } => {
                let gamma = vector(&weights[0]);
                let (of_x, of_gamma, of_beta) =
                    stock::normalize_vjp(input.maps()?, gamma, grad.maps()?, epsilon);
                let like = |vector: Tensor<1>| vector.reshape(weights[0].dims());
                one(Some(Value::Maps(of_x)), vec![like(of_gamma), like(of_beta)])
            }
            Self::NormPool { .. } => {
                let [gamma, beta] = [0, 1].map(|index| vector(&weights[index]));
                let of = norm_pool_grad(input.maps()?, gamma, beta, grad.maps()?)?;
                let like = |vector: Tensor<1>| vector.reshape(weights[0].dims());
                one(
                    Some(Value::Maps(of.input)),
                    vec![like(of.gamma), like(of.beta)],
                )
            }
            Self::LayerNorm { width, epsilon } => {
                let gamma = weights[0].clone().reshape([tasks, 1, width]);
                let x = input.clone().rows(tasks)?;
                let grad = grad.rows(tasks)?;
                let [of_x, of_gamma, of_beta] = rows::layer_norm_vjp(x, gamma, grad, epsilon);
                let like = |vector: Tensor<3>| vector.reshape(weights[0].dims());
                one(
                    Some(Value::unflatten(of_x, &input)),
                    vec![like(of_gamma), like(of_beta)],
                )
            }
            Self::Relu => one(
                Some(input.along(grad, tasks, stock::positive, stock::positive)?),
                vec![],
            ),
            Self::Relu6 => {
                let slope = (stock::relu6_slope, stock::relu6_slope);
                one(Some(input.along(grad, tasks, slope.0, slope.1)?), vec![])
            }
            Self::Gelu => {
                let slope = (stock::gelu_slope, stock::gelu_slope);
                one(Some(input.along(grad, tasks, slope.0, slope.1)?), vec![])
            }
            Self::MaxPool(window) => {
                let of_x = stock::max_pool_vjp(&input.maps()?, grad.maps()?, window)?;
                one(Some(Value::Maps(of_x)), vec![])
            }
            Self::MeanPool(window) => {
                let of_x = mean_pool_grad(&input.maps()?, grad.maps()?, window)?;
                one(Some(Value::Maps(of_x)), vec![])
            }
            Self::GlobalAveragePool => {
                let x = input.maps()?;
                let grad = Value::unflatten_as(grad, &[x.dims()[0], x.dims()[1], 1, 1])?;
                one(Some(Value::Maps(stock::average_pool_vjp(&x, grad))), vec![])
            }
            Self::Flatten => one(Some(Value::unflatten(grad.rows(tasks)?, &input)), vec![]),
            Self::Add => {
                let each = of_inputs.iter().map(|&of| of.then(|| grad.clone()));
                (each.collect(), vec![])
            }
            Self::Concat => (
                Value::parted(&grad, inputs, tasks)?
                    .into_iter()
                    .map(Some)
                    .collect(),
                vec![],
            ),
            Self::Linear {
                inputs: width,
                outputs,
                bias,
            } => {
                let (weight, _) = self.neurons(weights);
                let x = input.clone().rows(tasks)?;
                let [of_x, of_weight, of_bias] = rows::linear_vjp(x, weight, grad.rows(tasks)?)?;
                let of_x = of_input.then(|| Value::unflatten(of_x, &input));
                let mut own = vec![of_weight.reshape([tasks, width * outputs])];
                if bias {
                    own.push(of_bias.reshape([tasks, outputs]));
                }
                one(of_x, own)
            }
        })
    }

    /// A convolution's weights of all tasks, `[tasks * outputs, inputs / groups, rows, columns]`.
    fn kernel(self, weight: &Tensor<2>) -> Tensor<4> {
        let Self::Conv2d {
            inputs,
            outputs,
            kernel: [rows, columns],
            options,
            ..
        } = self
        else {
            unreachable!("only convolutions have kernels");
        };
        let [tasks, _] = weight.dims();
        let sizes = [tasks * outputs, inputs / options.groups, rows, columns];
        weight.clone().reshape(sizes)
    }

    /// As many times its groups as there are tasks.
    fn options(self, tasks: usize) -> Conv2dOptions {
        let Self::Conv2d { options, .. } = self else {
            unreachable!("only convolutions have options");
        };
        Conv2dOptions {
            groups: tasks * options.groups,
            ..options
        }
    }

    /// Weight and bias of a layer of neurons.
    fn neurons(self, weights: &[Tensor<2>]) -> (Tensor<3>, Option<Tensor<3>>) {
        let Self::Linear {
            inputs,
            outputs,
            bias,
        } = self
        else {
            unreachable!("only these are neurons");
        };
        let [tasks, _] = weights[0].dims();
        let weight = weights[0].clone().reshape([tasks, inputs, outputs]);
        (
            weight,
            bias.then(|| weights[1].clone().reshape([tasks, 1, outputs])),
        )
    }
}

fn no_input() -> Error {
    Error::invalid(OPERATION, "a layer without an input")
}

/// `[tasks, channels]` as one vector of all tasks' channels.
fn vector(weight: &Tensor<2>) -> Tensor<1> {
    let [tasks, channels] = weight.dims();
    weight.clone().reshape([tasks * channels])
}
