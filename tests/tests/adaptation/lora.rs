//! Adapters by themselves.

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{DType, Device as Tensors, Tensor, TensorData};
use forgeling::data::Rng;
use forgeling::nn::zoo::Conv4Config;
use forgeling::nn::{Counts, Lora, Network, Normalization, Pass, Values, absorb};
use forgeling::train::weights::collect;
use forgeling_tests::networks::{conv, features, with_change};
use forgeling_tests::{assert_close, devices, gpus, wave, waves};

/// The nodes that have adapters.
const BLOCKS: [&str; 2] = ["blocks.0", "blocks.1"];

fn images(device: &Tensors) -> Tensor<4> {
    let values = TensorData::new(waves(3 * 2 * 81, 1.0), [3, 2, 9, 9]);
    Tensor::from_data(values, device)
}

fn conv4(device: &Tensors) -> Network {
    let config = Conv4Config {
        channels: 2,
        filters: 5,
        blocks: 2,
        size: 9,
        ..Default::default()
    };
    Network::on(&config.graph().unwrap(), 4, device)
}

/// Running statistics and `up` of some values, as if trained.
fn trained(device: &Tensors) -> Network {
    let conv4 = conv4(device);
    let (_, statistics) = features(&conv4, images(device), Normalization::Batch).unwrap();
    let conv4 = absorb(conv4, statistics).unwrap();
    let mut adapted = conv4.adapted(3, 6.0, 7).unwrap();
    for (index, block) in BLOCKS.into_iter().enumerate() {
        let values = waves(5 * 3, index as f64)
            .into_iter()
            .map(|value| 0.3 * value);
        let values = TensorData::new(values.collect::<Vec<f32>>(), [5 * 3]);
        let values = Tensor::from_data(values, device);
        adapted = with_change(adapted, &format!("{block}.lora.up"), |_| values);
    }
    adapted
}

/// The adapter of a block.
fn lora<'a>(adapted: &'a Network, block: &str) -> &'a Lora {
    conv(adapted, block).lora.as_ref().unwrap()
}

fn read<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().convert::<f32>().try_into_vec().unwrap()
}

#[test]
fn merged_adapters_give_the_same_features() {
    for device in devices() {
        let adapted = trained(device.tensors());
        let merged = adapted.merged().unwrap();
        let images = || images(device.tensors());
        let (found, statistics) = features(&adapted, images(), Normalization::Batch).unwrap();
        assert!(statistics.is_empty(), "running statistics only");
        let found = read(found);
        let running = |network: &Network| {
            let (features, _) = features(network, images(), Normalization::Running).unwrap();
            read(features)
        };
        assert_eq!(found, running(&merged), "{}", device.info().name);
        // Without adapters they are others.
        let plain = adapted.clone().with_values(|_, values| match values {
            Values::Conv(mut values) => {
                values.lora = None;
                Values::Conv(values)
            }
            other => other,
        });
        let largest = |a: &[f32], b: &[f32]| {
            a.iter()
                .zip(b)
                .map(|(a, b)| (a - b).abs())
                .fold(0.0, f32::max)
        };
        assert!(largest(&found, &running(&plain)) > 0.01);
        // A change that is zero is none.
        let none = plain.clone().adapted(2, 2.0, 0).unwrap().merged().unwrap();
        assert_eq!(running(&none), running(&plain));
    }
}

#[test]
fn a_merged_weight_is_the_sum_that_the_paper_has() {
    let adapted = trained(&Tensors::flex());
    let merged = adapted.merged().unwrap();
    for block in BLOCKS {
        let lora = lora(&adapted, block);
        let [up, down] = [&lora.up, &lora.down].map(|factor| read(factor.val()));
        let columns = down.len() / 3;
        let mut expected = read(conv(&adapted, block).weight.val());
        for (place, weight) in expected.iter_mut().enumerate() {
            let (row, column) = (place / columns, place % columns);
            let products = (0..3).map(|r| up[3 * row + r] * down[columns * r + column]);
            *weight += 6.0 / 3.0 * products.sum::<f32>();
        }
        let merged = read(conv(&merged, block).weight.val());
        assert_close("weight", &merged, &expected, 1e-5);
    }
}

#[test]
fn only_adapters_have_gradients_and_what_is_merged_is_not_frozen() {
    let device = Tensors::flex().autodiff();
    let adapted = trained(&device);
    let mut pass = Pass::new(Normalization::Batch, &device).checkpointing(true);
    let loss = adapted.features(images(&device), &mut pass).unwrap().sum();
    let gradients = pass.backward(loss, &adapted).unwrap();
    assert_eq!(gradients.len(), 2 * 2, "up and down of two blocks");
    assert_eq!(Counts::of(&adapted).trained, 3 * (5 + 18) + 3 * (5 + 45));

    let merged = adapted.merged().unwrap();
    let mut pass = Pass::new(Normalization::Batch, &device);
    let loss = merged.features(images(&device), &mut pass).unwrap().sum();
    assert_eq!(pass.backward(loss, &merged).unwrap().len(), 2 * 3);
    let names = |module: &Network| -> Vec<String> {
        let all = pollster::block_on(collect(module)).unwrap();
        all.into_iter().map(|tensor| tensor.name).collect()
    };
    assert_eq!(names(&merged), names(&conv4(&device)));
}

/// Turns every value of a module into f64.
struct Widen;

impl ModuleMapper for Widen {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let trained = param.val().is_require_grad();
        param.map(|value| {
            let to = (&value.device(), DType::F64);
            Tensor::from_data(value.into_data(), to).set_require_grad(trained)
        })
    }
}

/// The first block in double precision, whose factors are these.
fn block(up: &[f64], down: &[f64], device: &Tensors) -> Network {
    let adapted = trained(device);
    let first = adapted.up_to(adapted.ends()[0]).map(&mut Widen);
    let factor = |values: &[f64]| {
        let data = TensorData::new(values.to_vec(), [values.len()]);
        Tensor::from_data(data, (device, DType::F64))
    };
    let first = with_change(first, "blocks.0.lora.up", |_| factor(up));
    with_change(first, "blocks.0.lora.down", |_| factor(down))
}

fn loss(block: &Network, device: &Tensors) -> Tensor<1> {
    let x: Vec<f64> = (0..3 * 2 * 81).map(|place| wave(place, 1.0)).collect();
    let x = Tensor::from_data(TensorData::new(x, [3, 2, 9, 9]), (device, DType::F64));
    let mut pass = Pass::new(Normalization::Batch, device).computing_in(DType::F64);
    let y = block.features(x, &mut pass).unwrap();
    let factors: Vec<f64> = (0..y.shape().num_elements())
        .map(|place| wave(place, 2.0))
        .collect();
    let factors = Tensor::from_data(TensorData::new(factors, y.dims()), (device, DType::F64));
    (y * factors).sum()
}

#[test]
fn gradients_of_adapters_are_finite_differences() {
    const STEP: f64 = 1e-6;
    let (inner, device) = (Tensors::flex(), Tensors::flex().autodiff());
    let values = [(15, 3.0), (54, 4.0)].map(|(count, phase)| -> Vec<f64> {
        (0..count).map(|place| 0.3 * wave(place, phase)).collect()
    });
    let value = |[up, down]: &[Vec<f64>; 2]| -> f64 {
        let loss = loss(&block(up, down, &inner), &inner);
        loss.into_data()
            .convert::<f64>()
            .try_into_vec::<f64>()
            .unwrap()[0]
    };
    let tracked = block(&values[0], &values[1], &device);
    let gradients = loss(&tracked, &device).backward();
    let lora = lora(&tracked, BLOCKS[0]);
    let [up, down] = [&lora.up, &lora.down].map(|param| {
        let gradient = param.val().grad(&gradients).unwrap();
        gradient
            .into_data()
            .convert::<f64>()
            .try_into_vec::<f64>()
            .unwrap()
    });
    for (factor, found) in [up, down].into_iter().enumerate() {
        let largest = found.iter().fold(0f64, |most, g| most.max(g.abs()));
        assert!(largest > 0.01, "{largest}");
        for (place, found) in found.into_iter().enumerate() {
            let at = |offset: f64| {
                let mut moved = values.clone();
                moved[factor][place] += offset;
                value(&moved)
            };
            let expected = (at(STEP) - at(-STEP)) / (2.0 * STEP);
            assert!(
                (found - expected).abs() < 1e-6 * largest,
                "{factor} {place}: {found} {expected}"
            );
        }
    }
}

#[test]
fn gradients_of_adapters_agree_on_every_device() {
    let gradients = |device: &Tensors| {
        let adapted = trained(device);
        let mut pass = Pass::new(Normalization::Batch, device);
        let maps = adapted.features(images(device), &mut pass).unwrap();
        let factors =
            Tensor::from_data(TensorData::new(waves(3 * 5 * 4, 2.0), maps.dims()), device);
        let gradients = (maps * factors).sum().backward();
        let loras = BLOCKS.into_iter().map(|block| lora(&adapted, block));
        let factors = loras.flat_map(|lora| [lora.up.val(), lora.down.val()]);
        let read = |factor: Tensor<2>| read(factor.grad(&gradients).unwrap());
        factors.map(read).collect::<Vec<_>>()
    };
    let expected = gradients(&Tensors::flex().autodiff());
    for device in gpus() {
        for (got, expected) in gradients(&device.autodiff()).iter().zip(&expected) {
            assert_close(&device.info().name, got, expected, 1e-4);
        }
    }
}

#[test]
fn bad_sizes_are_errors() {
    let device = Tensors::flex();
    let mut rng = Rng::new(0);
    for (sizes, rank, alpha) in [([0, 3], 1, 1.0), ([3, 3], 0, 1.0), ([3, 3], 1, -1.0)] {
        let error = Lora::new(sizes, rank, alpha, &mut rng, &device).unwrap_err();
        assert!(error.is_bad_input(), "{error}");
    }
    let narrow = Lora::new([5, 17], 1, 1.0, &mut rng, &device).unwrap();
    let adapted = trained(&device).with_values(|_, values| match values {
        Values::Conv(mut values) => {
            values.lora = Some(narrow.clone());
            Values::Conv(values)
        }
        other => other,
    });
    assert!(adapted.merged().unwrap_err().is_bad_input());
    let frozen = adapted.valid();
    let mut pass = Pass::new(Normalization::Running, &device);
    assert!(frozen.features(images(&device), &mut pass).is_err());
}
