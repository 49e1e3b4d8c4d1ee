//! Borders, and pooling of any window, and of colours, made of our own convolution, so that it is as differentiable as that, and the same
//! everywhere.

use burn::tensor::{DType, Tensor, TensorData};

use super::graph::{Luminance, Window};
use crate::error::Result;
use crate::ops::{Conv2dOptions, conv2d, conv2d_grad_input};

/// What lies beyond the border, smaller than anything that is finite and not at it.
const LOWEST: f64 = -3e38;
const LOWEST_F16: f64 = -65_504.0;

/// The values at each place of all windows, row by row of the window; beyond the border they are the lowest.
pub(crate) fn picks(x: Tensor<4>, window: Window) -> Result<Vec<Tensor<4>>> {
    let x = bordered(x, window.padding);
    let [_, channels, ..] = x.dims();
    let places = window.size[0] * window.size[1];
    let pick = |place: usize| {
        let weight = one_at(place, &x, channels, window);
        conv2d(x.clone(), weight, None, options(channels, window))
    };
    (0..places).map(pick).collect()
}

/// What [`picks`] gives back to its input, for the gradients of each place.
pub(crate) fn unpick(x: &Tensor<4>, grads: Vec<Tensor<4>>, window: Window) -> Result<Tensor<4>> {
    let [rows, columns] = window.padding;
    let [_, channels, height, width] = x.dims();
    let size = [height + 2 * rows, width + 2 * columns];
    let mut sum: Option<Tensor<4>> = None;
    for (place, grad) in grads.into_iter().enumerate() {
        let weight = one_at(place, x, channels, window);
        let part = conv2d_grad_input(grad, weight, size, options(channels, window))?;
        sum = Some(match sum {
            Some(sum) => sum + part,
            None => part,
        });
    }
    let whole = sum.unwrap_or_else(|| x.zeros_like());
    Ok(whole.narrow(2, rows, height).narrow(3, columns, width))
}

/// The largest value of each window. Where stock operations are there, one of them is faster.
#[cfg(feature = "composite")]
pub(crate) fn max_pool(x: Tensor<4>, window: Window) -> Result<Tensor<4>> {
    let options = burn::tensor::ops::MaxPoolOptions::new(window.size)
        .with_stride(window.stride)
        .with_padding(window.padding);
    Ok(burn::tensor::module::max_pool2d(x, options))
}

/// The largest value of each window.
#[cfg(not(feature = "composite"))]
pub(crate) fn max_pool(x: Tensor<4>, window: Window) -> Result<Tensor<4>> {
    largest(x, window)
}

#[cfg(any(test, not(feature = "composite")))]
fn largest(x: Tensor<4>, window: Window) -> Result<Tensor<4>> {
    let picks = picks(x, window)?.into_iter();
    Ok(picks
        .reduce(Tensor::max_pair)
        .expect("a window has a place"))
}

/// The mean of each window, zeros counting where it reaches beyond the maps: a convolution of each channel by itself.
pub(crate) fn mean_pool(x: Tensor<4>, window: Window) -> Result<Tensor<4>> {
    let (weight, options) = averaging(&x, window);
    conv2d(x, weight, None, options)
}

/// Each value has its share of the gradients of its windows.
pub(crate) fn mean_pool_grad(x: &Tensor<4>, grad: Tensor<4>, window: Window) -> Result<Tensor<4>> {
    let [_, _, height, width] = x.dims();
    let (weight, options) = averaging(x, window);
    conv2d_grad_input(grad, weight, [height, width], options)
}

/// How bright red, green and blue are, as a convolution: see [`Luminance`].
pub(crate) fn luminance(x: Tensor<4>, options: Luminance) -> Result<Tensor<4>> {
    let (weights, added) = options.weights();
    let on = (&x.device(), x.dtype());
    let weights = weights.map(|weight| weight as f32).to_vec();
    let weight = Tensor::from_data(TensorData::new(weights, [1, 3, 1, 1]), on);
    let bias = (added != 0.0).then(|| Tensor::full([1], added, on));
    conv2d(x, weight, bias, Conv2dOptions::default())
}

/// Each channel by itself, without a border.
fn options(channels: usize, window: Window) -> Conv2dOptions {
    Conv2dOptions {
        stride: window.stride,
        padding: [0, 0],
        groups: channels,
    }
}

fn averaging(x: &Tensor<4>, window: Window) -> (Tensor<4>, Conv2dOptions) {
    let [_, channels, ..] = x.dims();
    let [rows, columns] = window.size;
    let part = 1.0 / (rows * columns) as f64;
    let weight = Tensor::full([channels, 1, rows, columns], part, (&x.device(), x.dtype()));
    let options = Conv2dOptions {
        padding: window.padding,
        ..options(channels, window)
    };
    (weight, options)
}

/// A kernel for each channel that is 1 at a place of the window and 0 elsewhere.
fn one_at(place: usize, x: &Tensor<4>, channels: usize, window: Window) -> Tensor<4> {
    let [rows, columns] = window.size;
    let places = rows * columns;
    let values: Vec<f32> = (0..channels * places)
        .map(|index| f32::from(u8::from(index % places == place)))
        .collect();
    let data = TensorData::new(values, [channels, 1, rows, columns]);
    Tensor::from_data(data, (&x.device(), x.dtype()))
}

/// With so many rows of zeros below, and columns right.
pub(crate) fn extended(x: Tensor<4>, beyond: [usize; 2]) -> Tensor<4> {
    let mut x = x;
    for (axis, count) in [(2, beyond[0]), (3, beyond[1])] {
        if count > 0 {
            let mut sizes = x.dims();
            sizes[axis] = count;
            let zeros = Tensor::zeros(sizes, (&x.device(), x.dtype()));
            x = Tensor::cat(vec![x, zeros], axis);
        }
    }
    x
}

/// With so many rows above and below, and columns left and right, of the lowest value.
fn bordered(x: Tensor<4>, [rows, columns]: [usize; 2]) -> Tensor<4> {
    let lowest = match x.dtype() {
        DType::F16 => LOWEST_F16,
        _ => LOWEST,
    };
    let border = |x: &Tensor<4>, axis: usize, count: usize| {
        let mut sizes = x.dims();
        sizes[axis] = count;
        Tensor::<4>::full(sizes, lowest, (&x.device(), x.dtype()))
    };
    let mut x = x;
    for (axis, count) in [(2, rows), (3, columns)] {
        if count > 0 {
            let beyond = border(&x, axis, count);
            x = Tensor::cat(vec![beyond.clone(), x, beyond], axis);
        }
    }
    x
}

#[cfg(all(test, feature = "composite"))]
mod tests {
    use burn::tensor::{Device, Tolerance};

    use super::*;
    use crate::nn::graph::Graph;
    use crate::nn::{Network, Normalization, Pass};
    use crate::rng::Rng;

    #[test]
    fn pooling_is_that_of_burn() {
        let device = Device::flex().autodiff();
        let mut rng = Rng::new(2);
        // All below zero, so that a border of zeros would show.
        let values: Vec<f32> = (0..2 * 3 * 7 * 5).map(|_| rng.range(-2.0, -1.0)).collect();
        let data = TensorData::new(values, [2, 3, 7, 5]);
        for (size, stride, padding) in [
            ([3, 3], [2, 2], [1, 1]),
            ([2, 3], [1, 2], [1, 0]),
            ([2, 2], [2, 2], [0, 0]),
            ([1, 5], [3, 1], [0, 2]),
        ] {
            let window = Window {
                size,
                stride,
                padding,
            };
            let results = [largest, max_pool].map(|pool| {
                let x = Tensor::<4>::from_data(data.clone(), &device).require_grad();
                let y = pool(x.clone(), window).unwrap();
                let gradients = (y.clone() * y.clone()).sum().backward();
                let gradient = x.grad(&gradients).unwrap().into_data();
                (y.inner().into_data(), gradient)
            });
            assert_eq!(results[0], results[1], "{window:?}");
        }
        // Each value has a share of every window that it is in.
        let x = Tensor::<4>::from_data(data, &device);
        let window = Window {
            size: [2, 2],
            stride: [1, 1],
            padding: [0, 0],
        };
        let mean = mean_pool(x.clone(), window).unwrap();
        let part = |row: usize, column: usize| x.clone().narrow(2, row, 6).narrow(3, column, 4);
        let expected = (part(0, 0) + part(0, 1) + part(1, 0) + part(1, 1)) / 4.0;
        let apart = (mean - expected).abs().max().into_scalar::<f32>();
        assert!(apart < 1e-6, "{apart}");
    }

    #[test]
    fn colours_have_their_shares_of_luminance() {
        let device = Device::flex().autodiff();
        let text = r#"{ "input": [3, 1, 2], "layers": [{ "luminance": { "standard": "bt601" } }, "flatten"] }"#;
        let graph = Graph::from_json(text).unwrap();
        assert_eq!(Graph::from_json(&graph.to_json()).unwrap(), graph);
        assert_eq!(graph.trained_values(), 0);
        let network = Network::on(&graph, 0, &device);
        // Two images of two pixels, colour by colour.
        let values = vec![
            1.0f32, 0.0, 0.0, 1.0, 0.0, 0.0, 0.5, -1.0, 0.5, 2.0, 0.5, 4.0,
        ];
        let images = Tensor::from_data(TensorData::new(values, [2, 3, 1, 2]), &device);
        let images = images.require_grad();
        let mut pass = Pass::new(Normalization::Batch, &device);
        let grey = network.forward(images.clone(), &mut pass).unwrap();
        let expected = [0.299, 0.587, 0.5, -0.299 + 2.0 * 0.587 + 4.0 * 0.114];
        let found = grey.clone().inner().into_data();
        found.assert_approx_eq::<f32>(
            &TensorData::new(expected.to_vec(), [2, 2]),
            Tolerance::absolute(1e-6),
        );
        let weights = Tensor::<2>::from_data([[1.0, -2.0], [3.0, 0.5]], &device);
        let gradients = (grey * weights).sum().backward();
        let found = images.grad(&gradients).unwrap().into_data();
        let shares = [0.299, 0.587, 0.114];
        let expected: Vec<f32> = [[1.0, -2.0], [3.0, 0.5]]
            .into_iter()
            .flat_map(|flow| shares.map(|share| flow.map(|flow| flow * share)))
            .flatten()
            .collect();
        found.assert_approx_eq::<f32>(
            &TensorData::new(expected, [2, 3, 1, 2]),
            Tolerance::absolute(1e-6),
        );
        // The same pixels, standardised: what comes out is the luminance of what they were before.
        let usual = r#"{ "input": [3, 1, 2], "layers": ["luminance", "flatten"] }"#;
        let usual = Graph::from_json(usual).unwrap();
        let (mean, deviation) = ([0.5, -0.25, 0.75], [0.5, 2.0, 0.25]);
        let told = usual.clone().standardized(&mean, &deviation).unwrap();
        assert_eq!(Graph::from_json(&told.to_json()).unwrap(), told);
        assert!(!usual.to_json().contains("mean"));
        let plain: Vec<f32> = vec![1.0, 0.0, 0.0, 1.0, 0.0, 0.0];
        let changed = plain.iter().enumerate().map(|(place, value)| {
            let channel = place / 2;
            ((f64::from(*value) - mean[channel]) / deviation[channel]) as f32
        });
        let changed: Vec<f32> = changed.collect();
        for (graph, pixels) in [(usual.clone(), plain), (told, changed)] {
            let network = Network::on(&graph, 0, &device);
            let images = Tensor::from_data(TensorData::new(pixels, [1, 3, 1, 2]), &device);
            let mut pass = Pass::new(Normalization::Batch, &device);
            let found = network.forward(images, &mut pass).unwrap();
            found.inner().into_data().assert_approx_eq::<f32>(
                &TensorData::new(vec![0.2126, 0.7152], [1, 2]),
                Tolerance::absolute(1e-6),
            );
        }
        let few = usual.clone().standardized(&mean[..1], &deviation[..1]);
        assert!(few.unwrap_err().to_string().contains("3 means"));
        let zero = usual.standardized(&mean, &[0.0, 1.0, 1.0]);
        assert!(zero.unwrap_err().to_string().contains("'luminance1'"));
        let grey = r#"{ "input": [1, 1, 2], "layers": [{ "luminance": {}, "name": "grey" }] }"#;
        let error = Graph::from_json(grey).unwrap_err().to_string();
        assert!(
            error.contains("grey") && error.contains("red, green and blue"),
            "{error}"
        );
    }
}
