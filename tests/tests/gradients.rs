//! Gradients against central finite differences in f64.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{DType, Device as Tensors, Tensor, TensorData};
use forgeling::Readback;
use forgeling::data::Rng;
use forgeling::nn::{ConvBlock, Normalization, Pass};
use forgeling::ops::prototype_logits;
use forgeling_tests::{assert_close, devices, wave, waves};

/// `sum(weights * logits)` by the definition, in f64.
fn prototype_sum(
    query: &[f64],
    prototypes: &[f64],
    [episodes, queries, ways, features]: [usize; 4],
) -> f64 {
    let mut sum = 0.0;
    for e in 0..episodes {
        for q in 0..queries {
            for n in 0..ways {
                let distance: f64 = (0..features)
                    .map(|d| {
                        let a = query[(e * queries + q) * features + d];
                        let b = prototypes[(e * ways + n) * features + d];
                        (a - b) * (a - b)
                    })
                    .sum();
                sum -= f64::from(wave((e * queries + q) * ways + n, 3.0) as f32) * distance;
            }
        }
    }
    sum
}

fn central_differences(values: &[f64], f: impl Fn(&[f64]) -> f64) -> Vec<f32> {
    let step = 1e-4;
    (0..values.len())
        .map(|index| {
            let at = |offset: f64| {
                let mut moved = values.to_vec();
                moved[index] += offset;
                f(&moved)
            };
            ((at(step) - at(-step)) / (2.0 * step)) as f32
        })
        .collect()
}

#[test]
fn prototype_logits_gradients_are_those_of_the_definition() {
    let sizes = [2, 5, 3, 7];
    let [episodes, queries, ways, features] = sizes;
    let query = waves(episodes * queries * features, 1.0);
    let prototypes = waves(episodes * ways * features, 2.0);
    let wide = |values: &[f32]| values.iter().map(|v| f64::from(*v)).collect::<Vec<f64>>();
    let (q, p) = (wide(&query), wide(&prototypes));
    let expected_query = central_differences(&q, |q| prototype_sum(q, &p, sizes));
    let expected_prototypes = central_differences(&p, |p| prototype_sum(&q, p, sizes));

    for device in devices() {
        let tensors = device.autodiff();
        let make = |values: &[f32], shape: [usize; 3]| {
            Tensor::<3>::from_data(TensorData::new(values.to_vec(), shape), &tensors)
        };
        let query = make(&query, [episodes, queries, features]).require_grad();
        let prototypes = make(&prototypes, [episodes, ways, features]).require_grad();
        let weights = make(
            &waves(episodes * queries * ways, 3.0),
            [episodes, queries, ways],
        );
        let logits = prototype_logits(query.clone(), prototypes.clone()).unwrap();
        let gradients = (logits * weights).sum().backward();
        let trip = Readback::new()
            .with(query.grad(&gradients).unwrap())
            .with(prototypes.grad(&gradients).unwrap());
        let [got_query, got_prototypes] = pollster::block_on(trip.run()).unwrap();
        assert_close("grad query", &got_query, &expected_query, 1e-5);
        assert_close(
            "grad prototypes",
            &got_prototypes,
            &expected_prototypes,
            1e-5,
        );
    }
}

#[test]
fn only_one_input_needs_a_gradient() {
    for device in devices() {
        let tensors = device.autodiff();
        let query = Tensor::<3>::ones([1, 2, 3], &tensors).require_grad();
        let prototypes = Tensor::<3>::zeros([1, 4, 3], &tensors);
        let gradients = prototype_logits(query.clone(), prototypes.clone())
            .unwrap()
            .sum()
            .backward();
        // Each of the 4 distances contributes -2 (1 - 0).
        let [values] =
            pollster::block_on(Readback::new().with(query.grad(&gradients).unwrap()).run())
                .unwrap();
        assert_eq!(values, vec![-8.0; 6]);
        assert!(prototypes.grad(&gradients).is_none());
    }
}

/// Turns every value of a module into f64.
struct Widen;

impl ModuleMapper for Widen {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let trained = param.val().is_require_grad();
        param.map(|value| {
            let device = value.device();
            let data = value.into_data().convert::<f64>();
            Tensor::from_data(data, (&device, DType::F64)).set_require_grad(trained)
        })
    }
}

/// Adds `offset` to element `index` of the value with number `number`.
struct Nudge {
    number: usize,
    index: usize,
    offset: f64,
}

impl ModuleMapper for Nudge {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let here = self.number == 0;
        self.number = self.number.wrapping_sub(1);
        if !here {
            return param;
        }
        param.map(|value| {
            let (shape, device) = (value.shape(), value.device());
            let mut values = value.into_data().try_into_vec::<f64>().unwrap();
            values[self.index] += self.offset;
            Tensor::from_data(TensorData::new(values, shape), (&device, DType::F64)).require_grad()
        })
    }
}

/// The gradient of every value in the order of the module's fields, where there is one.
struct Gradients<'a>(&'a burn::tensor::Gradients, Vec<Option<Vec<f64>>>);

impl ModuleVisitor for Gradients<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let gradient = param.val().grad(self.0);
        self.1
            .push(gradient.map(|gradient| gradient.into_data().try_into_vec().unwrap()));
    }
}

#[test]
fn conv_block_gradients_equal_finite_differences() {
    let tensors = Tensors::flex().autodiff();
    let block = ConvBlock::new(2, 3, &mut Rng::new(5), &tensors).map(&mut Widen);
    let images: Vec<f64> = (0..3 * 2 * 6 * 5).map(|i| wave(i, 4.0)).collect();
    let loss = |block: &ConvBlock, normalization| {
        let input = TensorData::new(images.clone(), [3, 2, 6, 5]);
        let input = Tensor::<4>::from_data(input, (&tensors, DType::F64));
        let mut pass = Pass::new(normalization, &tensors);
        let output = block.forward(input, &mut pass).unwrap();
        let weights: Vec<f64> = (0..output.shape().num_elements())
            .map(|i| wave(i, 6.0))
            .collect();
        let weights = TensorData::new(weights, output.shape());
        (output * Tensor::from_data(weights, (&tensors, DType::F64))).sum()
    };
    for normalization in [Normalization::Batch, Normalization::Running] {
        let gradients = loss(&block, normalization).backward();
        let mut found = Gradients(&gradients, Vec::new());
        block.visit(&mut found);
        // Batch statistics cancel the bias, the second value; the last two are the running statistics.
        let trained: Vec<bool> = found.1.iter().map(Option::is_some).collect();
        let bias = normalization == Normalization::Running;
        assert_eq!(trained, [true, bias, true, true, false, false]);
        // Without a gradient, the loss must not depend on the value: that is the bias under batch statistics.
        let none = vec![0.0; 3];
        for (number, gradient) in found.1[..4].iter().enumerate() {
            let gradient = gradient.as_ref().unwrap_or(&none);
            for index in (0..gradient.len()).step_by(5) {
                let at = |offset| {
                    let moved = block.clone().map(&mut Nudge {
                        number,
                        index,
                        offset,
                    });
                    loss(&moved, normalization).into_scalar::<f64>()
                };
                let expected = (at(1e-6) - at(-1e-6)) / 2e-6;
                let error = (gradient[index] - expected).abs();
                assert!(
                    error < 1e-6 * (1.0 + expected.abs()),
                    "{normalization:?} {number}[{index}]: {} instead of {expected}",
                    gradient[index]
                );
            }
        }
    }
}
