//! Adapters by themselves.

use burn::module::{Module, Param};
use burn::tensor::{DType, Device as Tensors, Tensor, TensorData};
use forgeling::data::Rng;
use forgeling::nn::{
    Conv4, Conv4Config, ConvBlock, Lora, LoraBlock, LoraConv4, Normalization, Pass,
};
use forgeling::train::weights::collect;
use forgeling_tests::{assert_close, devices, gpus, wave, waves};

const CONFIG: Conv4Config = Conv4Config {
    channels: 2,
    filters: 5,
    blocks: 2,
    size: 9,
    seed: 4,
};

fn images(device: &Tensors) -> Tensor<4> {
    let values = TensorData::new(waves(3 * 2 * 81, 1.0), [3, 2, 9, 9]);
    Tensor::from_data(values, device)
}

/// Running statistics and `up` of some values, as if trained.
fn trained(device: &Tensors) -> LoraConv4 {
    let conv4 = Conv4::new(&CONFIG, device).unwrap();
    let (_, statistics) = conv4.forward(images(device), Normalization::Batch).unwrap();
    let mut adapted = LoraConv4::new(conv4.absorb(statistics), 3, 6.0, 7).unwrap();
    for (index, block) in adapted.blocks.iter_mut().enumerate() {
        let values = waves(5 * 3, index as f64)
            .into_iter()
            .map(|value| 0.3 * value);
        let values = TensorData::new(values.collect::<Vec<f32>>(), [5, 3]);
        block.lora.up = Param::from_tensor(Tensor::from_data(values, device));
    }
    adapted
}

fn read<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().convert::<f32>().try_into_vec().unwrap()
}

#[test]
fn merged_adapters_give_the_same_features() {
    for device in devices() {
        let adapted = trained(device.tensors());
        let merged = adapted.merged().unwrap();
        let mut pass = Pass::new(Normalization::Batch, device.tensors());
        let features = adapted
            .maps_with(images(device.tensors()), &mut pass)
            .unwrap();
        assert!(pass.take_statistics().is_empty(), "running statistics only");
        let features = read(features);
        let running = |conv4: &Conv4| {
            let (features, _) = conv4
                .forward(images(device.tensors()), Normalization::Running)
                .unwrap();
            read(features)
        };
        assert_eq!(features, running(&merged), "{}", device.info().name);
        // Without adapters they are others.
        let plain = Conv4 {
            blocks: adapted
                .blocks
                .iter()
                .map(|block| block.block.clone())
                .collect(),
        };
        let largest = |a: &[f32], b: &[f32]| {
            a.iter()
                .zip(b)
                .map(|(a, b)| (a - b).abs())
                .fold(0.0, f32::max)
        };
        assert!(largest(&features, &running(&plain)) > 0.01);
        // A change that is zero is none.
        let none = LoraConv4::new(plain.clone(), 2, 2.0, 0)
            .unwrap()
            .merged()
            .unwrap();
        assert_eq!(running(&none), running(&plain));
    }
}

#[test]
fn a_merged_weight_is_the_sum_that_the_paper_has() {
    let adapted = trained(&Tensors::flex());
    let merged = adapted.merged().unwrap();
    for (block, merged) in adapted.blocks.iter().zip(&merged.blocks) {
        let [up, down] = [&block.lora.up, &block.lora.down].map(|factor| read(factor.val()));
        let columns = down.len() / 3;
        let mut expected = read(block.block.weight.val());
        for (place, weight) in expected.iter_mut().enumerate() {
            let (row, column) = (place / columns, place % columns);
            let products = (0..3).map(|r| up[3 * row + r] * down[columns * r + column]);
            *weight += 6.0 / 3.0 * products.sum::<f32>();
        }
        assert_close("weight", &read(merged.weight.val()), &expected, 1e-5);
    }
}

#[test]
fn only_adapters_have_gradients_and_what_is_merged_is_not_frozen() {
    let device = Tensors::flex().autodiff();
    let adapted = trained(&device);
    let mut pass = Pass::new(Normalization::Batch, &device).checkpointing(true);
    let loss = adapted.maps_with(images(&device), &mut pass).unwrap().sum();
    let gradients = pass.backward(loss, &adapted).unwrap();
    assert_eq!(gradients.len(), 2 * 2, "up and down of two blocks");
    assert_eq!(adapted.parameter_count(), 3 * (5 + 18) + 3 * (5 + 45));

    let merged = adapted.merged().unwrap();
    let mut pass = Pass::new(Normalization::Batch, &device);
    let loss = merged.maps_with(images(&device), &mut pass).unwrap().sum();
    assert_eq!(pass.backward(loss, &merged).unwrap().len(), 2 * 3);
    let names = |module: &Conv4| -> Vec<String> {
        let all = pollster::block_on(collect(module)).unwrap();
        all.into_iter().map(|tensor| tensor.name).collect()
    };
    assert_eq!(
        names(&merged),
        names(&Conv4::new(&CONFIG, &device).unwrap())
    );
}

/// A block in double precision, whose factors are these.
fn block(up: &[f64], down: &[f64], device: &Tensors) -> LoraBlock {
    let to = (device, DType::F64);
    let mut made = trained(device).blocks.remove(0);
    fn wide<const D: usize>(param: &Param<Tensor<D>>, to: (&Tensors, DType)) -> Param<Tensor<D>> {
        let data = param.val().into_data();
        Param::from_tensor(Tensor::from_data(data, to)).set_require_grad(false)
    }
    made.block = ConvBlock {
        weight: wide(&made.block.weight, to),
        bias: wide(&made.block.bias, to),
        gamma: wide(&made.block.gamma, to),
        beta: wide(&made.block.beta, to),
        running_mean: wide(&made.block.running_mean, to),
        running_var: wide(&made.block.running_var, to),
    };
    let factor = |values: &[f64], dims: [usize; 2]| {
        let data = TensorData::new(values.to_vec(), dims);
        Param::from_tensor(Tensor::from_data(data, to))
    };
    made.lora.up = factor(up, [5, 3]);
    made.lora.down = factor(down, [3, 18]);
    made
}

fn loss(block: &LoraBlock, device: &Tensors) -> Tensor<1> {
    let x: Vec<f64> = (0..3 * 2 * 81).map(|place| wave(place, 1.0)).collect();
    let x = Tensor::from_data(TensorData::new(x, [3, 2, 9, 9]), (device, DType::F64));
    let mut pass = Pass::new(Normalization::Batch, device).computing_in(DType::F64);
    let y = block.forward_with(x, &mut pass).unwrap();
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
    let [up, down] = [&tracked.lora.up, &tracked.lora.down].map(|param| {
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
        let maps = adapted.maps_with(images(device), &mut pass).unwrap();
        let factors =
            Tensor::from_data(TensorData::new(waves(3 * 5 * 4, 2.0), maps.dims()), device);
        let gradients = (maps * factors).sum().backward();
        let blocks = adapted.blocks.iter();
        let factors = blocks.flat_map(|block| [block.lora.up.val(), block.lora.down.val()]);
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
    let mut adapted = trained(&device);
    adapted.blocks[0].lora = Lora::new([5, 17], 1, 1.0, &mut rng, &device).unwrap();
    assert!(adapted.merged().unwrap_err().is_bad_input());
    let frozen = adapted.valid();
    let mut pass = Pass::new(Normalization::Running, &device);
    assert!(frozen.maps_with(images(&device), &mut pass).is_err());
}
