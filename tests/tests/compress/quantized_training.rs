//! Training that sees the rounding: it makes up for what rounding costs, its scales learn for as long as they are to, and it
//! goes on from where it was.

use std::ops::ControlFlow;

use burn::module::Module;
use burn::tensor::{Tensor, TensorData};

use forgeling::Device;
use forgeling::compress::{
    LearnedScales, Observer, QuantizationConfig, QuantizedTraining, WeightScale, quantize,
    train_quantized,
};
use forgeling::nn::{Network, Normalization, Pass};
use forgeling::train::parts::Method;
use forgeling::train::weights::{NamedTensor, collect};
use forgeling::train::{
    CrossEntropy, Distillation, DistillationConfig, Epochs, Run, Source, TrainEvent, TrainSummary,
    Trainer,
};
use forgeling_tests::checkpoints::Memory;
use pollster::block_on;

use crate::common::cpu;
use crate::gradual::{accuracy, config, glyphs, manager, trained};

/// In 8 bits with ranges from one batch, and then with scales so coarse that rounding shows.
fn coarse(network: &Network, device: &Device, by: f32) -> Network {
    let batch = block_on(glyphs(false, 3).next()).unwrap().unwrap();
    let config = QuantizationConfig {
        observer: Observer::MinMax,
        weights: WeightScale::MaxAbs,
        ..Default::default()
    };
    let batches = [batch];
    let small = quantize(network, &config, &CrossEntropy, &batches, device);
    let small = block_on(small).unwrap().network;
    let mut tensors = block_on(collect(&small)).unwrap();
    for tensor in &mut tensors {
        if tensor.name.ends_with("weight_scale") {
            tensor.values.iter_mut().for_each(|scale| *scale *= by);
        }
    }
    let there = Network::new(small.graph(), 0, device);
    forgeling::train::weights::load(there, tensors).unwrap()
}

fn scales(network: &Network) -> Vec<NamedTensor> {
    let all = block_on(collect(network)).unwrap().into_iter();
    all.filter(|tensor| tensor.name.ends_with("scale"))
        .collect()
}

fn keep_on(_: &TrainEvent) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn train(
    network: &mut Network,
    device: &Device,
    source: &mut Epochs,
    teacher: Option<&mut Distillation>,
    training: &QuantizedTraining,
) -> forgeling::Result<TrainSummary> {
    let method = teacher.map(|teacher| teacher as &mut dyn Method<_, _>);
    let manager = manager(device);
    block_on(train_quantized(
        network,
        manager,
        &CrossEntropy,
        source,
        method,
        training,
        keep_on,
    ))
}

#[test]
fn training_makes_up_for_the_rounding() {
    let device = cpu();
    let network = trained(&device);
    let whole = accuracy(&network, &device);
    let fine = accuracy(&coarse(&network, &device, 1.0), &device);
    assert!(fine > whole - 0.02, "{fine} of {whole}");
    // Weights of three values: little is left of 8 bits.
    let mut small = coarse(&network, &device, 110.0);
    let before = accuracy(&small, &device);
    let start = scales(&small);
    let mut teacher = Distillation::new(&network, DistillationConfig::default()).unwrap();
    let mut source = glyphs(false, 5);
    let training = QuantizedTraining {
        training: config(6, 1e-3),
        learning_epochs: 4,
        scale_rate: 1e-2,
    };
    let trained = train(
        &mut small,
        &device,
        &mut source,
        Some(&mut teacher),
        &training,
    );
    assert_eq!(trained.unwrap().epochs, 6);
    let after = accuracy(&small, &device);
    // 93 % become 41 and, trained, 86.
    assert!(before < whole - 0.3, "{before} of {whole}");
    assert!(after > whole - 0.12, "{before} became {after} of {whole}");
    let end = scales(&small);
    let moved = start.iter().zip(&end).filter(|(a, b)| a != b).count();
    assert_eq!(moved, start.len(), "scales that never learned");
    assert!(
        end.iter()
            .all(|tensor| tensor.values.iter().all(|scale| *scale > 0.0))
    );
}

/// What was trained in floats is what multiplies bytes.
#[test]
fn the_trained_network_answers_alike_in_bytes() {
    let device = cpu();
    let mut small = coarse(&trained(&device), &device, 2.0);
    let mut source = glyphs(false, 5);
    let training = QuantizedTraining {
        training: config(2, 1e-3),
        ..Default::default()
    };
    let run = train(&mut small, &device, &mut source, None, &training);
    run.unwrap();
    let (mut all, mut others) = (0, 0);
    let mut held_out = glyphs(true, 0);
    while let Some(batch) = block_on(held_out.next()).unwrap() {
        let answers = |network: &Network, device: &burn::tensor::Device| {
            let mut pass = Pass::new(Normalization::Running, device);
            let shape = batch.shape;
            let sizes = [
                batch.labels.len(),
                shape.channels,
                shape.height,
                shape.width,
            ];
            let images = TensorData::new(batch.images.clone(), sizes);
            let logits = network
                .forward(Tensor::from_data(images, device), &mut pass)
                .unwrap();
            let classes: Vec<i64> = logits.argmax(1).into_data().iter::<i64>().collect();
            classes
        };
        let floats = answers(&small, &device.autodiff());
        let bytes = answers(&small.valid(), device.tensors());
        all += floats.len();
        others += floats.iter().zip(&bytes).filter(|(a, b)| a != b).count();
    }
    assert!(all >= 300 && others * 200 <= all, "{others} of {all}");
}

#[test]
fn scales_stay_after_their_epochs_and_are_no_parameters_of_others() {
    let device = cpu();
    let network = coarse(&trained(&device), &device, 1.0);
    let learned = |learning_epochs: usize| {
        let mut small = network.clone();
        let training = QuantizedTraining {
            training: config(2, 1e-3),
            learning_epochs,
            ..Default::default()
        };
        let mut source = glyphs(false, 5);
        let run = train(&mut small, &device, &mut source, None, &training);
        run.unwrap();
        small
    };
    assert_eq!(scales(&learned(0)), scales(&network));
    let [one, two] = [1, 2].map(|epochs| scales(&learned(epochs)));
    assert_ne!(one, scales(&network));
    assert_ne!(one, two);
    // A plain training leaves them as they are.
    let mut plain = network.clone();
    let mut trainer = Trainer::new(config(1, 1e-3), manager(&device)).unwrap();
    let mut source = glyphs(false, 5);
    block_on(trainer.fit(&mut plain, &CrossEntropy, Run::on(&mut source), keep_on)).unwrap();
    assert_eq!(scales(&plain), scales(&network));
    let weights = |network: &Network| block_on(collect(network)).unwrap();
    assert_ne!(weights(&plain), weights(&network));
}

#[test]
fn learning_goes_on_after_a_pause() {
    let device = cpu();
    let network = LearnedScales::tracked(coarse(&trained(&device), &device, 4.0), true);
    let run = |kept: &mut Memory, epochs: usize| {
        let mut small = network.clone();
        let mut learning = LearnedScales::new(1e-2, 2).unwrap();
        let mut trainer = Trainer::new(config(epochs, 1e-3), manager(&device)).unwrap();
        let mut source = glyphs(false, 1);
        let run = Run::on(&mut source)
            .with_method(&mut learning)
            .saved_in(kept);
        block_on(trainer.fit(&mut small, &CrossEntropy, run, keep_on)).unwrap();
        block_on(collect(&small)).unwrap()
    };
    let mut kept = Memory::default();
    run(&mut kept, 1);
    assert_eq!(run(&mut kept, 3), run(&mut Memory::default(), 3));
}

#[test]
fn numbers_out_of_range_and_plain_networks_are_refused() {
    for rate in [0.0, -1.0, 2.0, f64::NAN] {
        assert!(LearnedScales::new(rate, 1).unwrap_err().is_bad_input());
    }
    let device = cpu();
    let mut plain = trained(&device);
    let before = block_on(collect(&plain)).unwrap();
    let mut source = glyphs(false, 1);
    let training = QuantizedTraining::default();
    let run = train(&mut plain, &device, &mut source, None, &training);
    assert!(run.unwrap_err().to_string().contains("8 bits"));
    assert_eq!(block_on(collect(&plain)).unwrap(), before);
}
