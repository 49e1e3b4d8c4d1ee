//! Model files in fewer bits: smaller, whole or an error, and what was measured is what they hold.

use forgeling::compress::{QuantizationConfig, quantize};
use forgeling::data::ImageBatch;
use forgeling::nn::Network;
use forgeling::nn::catalog::{MODELS, ModelConfig};
use forgeling::train::weights::{NamedTensor, collect, load};
use forgeling::train::{CrossEntropy, ModelDescription, SavedNetwork, Storage};
use forgeling_tests::waves;
use pollster::block_on;

use crate::catalog::saved;
use crate::common::{answers, cpu, narrow, stirred};

const STORAGES: [Storage; 4] = [Storage::F32, Storage::F16, Storage::Bf16, Storage::Int4];

fn bytes(saved: &SavedNetwork) -> Vec<u8> {
    block_on(saved.to_bytes()).unwrap()
}

fn sorted(network: &Network) -> Vec<NamedTensor> {
    let mut all = block_on(collect(network)).unwrap();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

/// Enough weights for the rest not to count.
fn wide(model: &str, width: usize) -> Network {
    let mut config = ModelConfig::new(model).unwrap();
    config.options.insert("width".into(), width);
    stirred(&config.graph().unwrap(), &cpu())
}

fn in_8_bits(network: &Network) -> Network {
    let device = cpu();
    let shape = network.graph().image_shape();
    let batch = ImageBatch {
        shape,
        images: waves(4 * shape.len(), 0.5),
        labels: vec![0, 1, 2, 1],
    };
    let (config, batches) = (QuantizationConfig::default(), [batch]);
    let found = quantize(network, &config, &CrossEntropy, &batches, &device);
    block_on(found).unwrap().network
}

#[test]
fn what_is_stored_is_what_was_rounded() {
    let device = cpu();
    for (index, entry) in MODELS.iter().enumerate() {
        let network = stirred(&narrow(entry.name), &device);
        let network = match index % 3 {
            0 => in_8_bits(&network),
            _ => network,
        };
        for storage in STORAGES {
            let name = format!("{} in {storage}", entry.name);
            let whole = saved(&network);
            let stored = block_on(whole.clone().stored_as(storage)).unwrap();
            let file = bytes(&stored);
            let back = SavedNetwork::from_bytes(&file, &device).unwrap();
            assert_eq!(back.storage, storage, "{name}");
            assert_eq!(back.network.graph(), network.graph(), "{name}");
            assert_eq!(sorted(&back.network), sorted(&stored.network), "{name}");
            let valid = burn::module::Module::valid(&back.network);
            assert_eq!(
                answers(&valid, &device),
                answers(&stored.network, &device),
                "{name}"
            );
            // Once rounded, nothing changes any more.
            assert!(bytes(&back) == file, "{name}");
            // Values that training left are rounded on their way into the file.
            let unrounded = SavedNetwork { storage, ..whole };
            assert!(bytes(&unrounded) == file, "{name}");
            assert_eq!(
                ModelDescription::from_bytes(&file).unwrap().storage,
                storage
            );
        }
    }
}

/// nncf #1038, tfmot #760.
#[test]
fn files_shrink_as_they_should() {
    for (model, width) in [("conv4", 96), ("vit", 96)] {
        let network = wide(model, width);
        let length = |network: &Network, storage: Storage| {
            let stored = block_on(saved(network).stored_as(storage)).unwrap();
            bytes(&stored).len() as f64
        };
        let whole = length(&network, Storage::F32);
        let small = in_8_bits(&network);
        let ratios = [
            whole / length(&network, Storage::F16),
            whole / length(&network, Storage::Bf16),
            whole / length(&network, Storage::Int4),
            whole / length(&small, Storage::F32),
            whole / length(&small, Storage::F16),
        ];
        let least = [1.95, 1.95, 6.0, 3.4, 3.6];
        for (ratio, least) in ratios.iter().zip(least) {
            assert!(*ratio > least, "{model}: {ratios:?}");
        }
    }
}

#[test]
fn hostile_files_are_errors_that_name_the_tensor() {
    let device = cpu();
    let network = in_8_bits(&wide("mlp", 40));
    let stored = block_on(saved(&network).stored_as(Storage::F16)).unwrap();
    let file = bytes(&stored);
    for cut in [1, 7, 100, file.len() / 3, file.len() / 2, file.len() - 1] {
        let error = SavedNetwork::from_bytes(&file[..cut], &device).unwrap_err();
        assert!(error.is_bad_input(), "cut at {cut}: {error}");
    }
    // A scale of 0, which lies somewhere as f32.
    let scales = sorted(&network);
    let scale = scales
        .iter()
        .find(|tensor| tensor.name == "hidden.weight_scale")
        .or_else(|| {
            scales
                .iter()
                .find(|tensor| tensor.name.ends_with("weight_scale"))
        })
        .unwrap();
    let needle = scale.values[0].to_le_bytes();
    let place = file.windows(4).position(|four| four == needle).unwrap();
    for bad in [0.0f32, -1.0, f32::NAN] {
        let mut wrong = file.clone();
        wrong[place..place + 4].copy_from_slice(&bad.to_le_bytes());
        let error = SavedNetwork::from_bytes(&wrong, &device).unwrap_err();
        let weight = scale.name.trim_end_matches("_scale");
        assert!(error.to_string().contains(weight), "{error}");
    }
}

#[test]
fn a_value_beyond_f16_is_named_and_bf16_holds_it() {
    let device = cpu();
    let mut tensors = sorted(&wide("mlp", 40));
    let name = tensors
        .iter_mut()
        .find(|tensor| tensor.name.ends_with(".bias"))
        .map(|tensor| {
            tensor.values[1] = 65_520.0;
            tensor.name.clone()
        });
    let graph = wide("mlp", 40).graph().clone();
    let network = load(Network::on(&graph, 0, device.tensors()), tensors).unwrap();
    let error = block_on(saved(&network).stored_as(Storage::F16)).unwrap_err();
    let said = error.to_string();
    assert!(
        said.contains(&name.unwrap()) && said.contains("65504"),
        "{said}"
    );
    assert!(block_on(saved(&network).stored_as(Storage::Bf16)).is_ok());
}
