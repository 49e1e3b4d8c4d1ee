//! What goes through a program.

use burn::tensor::Tensor;

use crate::error::{Error, Result};

const OPERATION: &str = "functional_layer";

/// What goes through a program.
#[derive(Debug, Clone)]
pub enum Value {
    /// `[rows, tasks * channels, height, width]`
    Maps(Tensor<4>),
    /// `[tasks, rows, values]`
    Rows(Tensor<3>),
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

    /// Maps as they are, rows as maps of one pixel.
    pub fn channels(self) -> Tensor<4> {
        match self {
            Self::Maps(maps) => maps,
            Self::Rows(rows) => {
                let [tasks, batch, values] = rows.dims();
                let maps = [batch, tasks * values, 1, 1];
                rows.swap_dims(0, 1).reshape(maps)
            }
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
    pub(super) fn unflatten(rows: Tensor<3>, like: &Self) -> Self {
        match like {
            Self::Rows(_) => Self::Rows(rows),
            Self::Maps(maps) => Self::Maps(rows.swap_dims(0, 1).reshape(maps.dims())),
        }
    }

    /// As maps of these sizes.
    pub(super) fn unflatten_as(self, sizes: &[usize; 4]) -> Result<Tensor<4>> {
        match self {
            Self::Maps(maps) => Ok(maps),
            Self::Rows(rows) => Ok(rows.swap_dims(0, 1).reshape(*sizes)),
        }
    }

    pub(super) fn each(
        self,
        maps: impl FnOnce(Tensor<4>) -> Tensor<4>,
        rows: impl FnOnce(Tensor<3>) -> Tensor<3>,
    ) -> Self {
        match self {
            Self::Maps(x) => Self::Maps(maps(x)),
            Self::Rows(x) => Self::Rows(rows(x)),
        }
    }

    /// `grad` times the slope at each of these values.
    pub(super) fn along(
        self,
        grad: Self,
        tasks: usize,
        maps: impl FnOnce(Tensor<4>) -> Tensor<4>,
        rows: impl FnOnce(Tensor<3>) -> Tensor<3>,
    ) -> Result<Self> {
        Ok(match self {
            Self::Maps(x) => {
                let sizes = x.dims();
                Self::Maps(grad.unflatten_as(&sizes)? * maps(x))
            }
            Self::Rows(x) => Self::Rows(grad.rows(tasks)? * rows(x)),
        })
    }

    /// `self + other`, in the form of `self`.
    ///
    /// # Errors
    /// When maps are not those of all tasks.
    pub(super) fn plus(self, other: Self, tasks: usize) -> Result<Self> {
        Ok(match (self, other) {
            (Self::Maps(a), Self::Maps(b)) => Self::Maps(a + b),
            (Self::Rows(a), b) => Self::Rows(a + b.rows(tasks)?),
            (Self::Maps(a), Self::Rows(b)) => {
                let sizes = a.dims();
                Self::Maps(a + b.swap_dims(0, 1).reshape(sizes))
            }
        })
    }

    /// Channels of maps, or values of rows, one after the other, task by task.
    pub(super) fn concatenated(all: &[Self], tasks: usize) -> Result<Self> {
        if all.iter().any(|value| matches!(value, Self::Rows(_))) {
            let rows = all.iter().map(|value| value.clone().rows(tasks));
            return Ok(Self::Rows(Tensor::cat(
                rows.collect::<Result<Vec<_>>>()?,
                2,
            )));
        }
        let mut parts = Vec::with_capacity(all.len());
        for value in all {
            parts.push(by_task(value.clone().maps()?, tasks));
        }
        let sizes = all[0].clone().maps()?.dims();
        let joined: Tensor<4> = Tensor::cat(parts, 2);
        let channels = joined.dims()[2];
        Ok(Self::Maps(joined.reshape([
            sizes[0],
            tasks * channels,
            sizes[2],
            sizes[3],
        ])))
    }

    /// The parts of a gradient that belong to each of `all`, as [`concatenated`](Self::concatenated) puts them.
    pub(super) fn parted(grad: &Self, all: &[Self], tasks: usize) -> Result<Vec<Self>> {
        let mut start = 0;
        let mut parts = Vec::with_capacity(all.len());
        for value in all {
            parts.push(match (grad, value) {
                (Self::Maps(grad), Self::Maps(maps)) => {
                    let [rows, channels, height, width] = maps.dims();
                    let own = channels / tasks;
                    let part = by_task(grad.clone(), tasks).narrow(2, start, own);
                    start += own;
                    Self::Maps(part.reshape([rows, channels, height, width]))
                }
                (grad, value) => {
                    let own = value.clone().rows(tasks)?.dims()[2];
                    let part = grad.clone().rows(tasks)?.narrow(2, start, own);
                    start += own;
                    Self::unflatten(part, value)
                }
            });
        }
        Ok(parts)
    }
}

/// `[rows, tasks * channels, height, width]` as `[rows, tasks, channels, height * width]`.
fn by_task(maps: Tensor<4>, tasks: usize) -> Tensor<4> {
    let [rows, channels, height, width] = maps.dims();
    maps.reshape([rows, tasks, channels / tasks, height * width])
}
