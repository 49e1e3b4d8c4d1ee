//! In a browser: the same episodes, losses, glyphs and gradients as natively, on the CPU and on WebGPU.
#![cfg(target_arch = "wasm32")]
#![recursion_limit = "256"]

#[path = "../../../tests/src/bag.rs"]
mod bag;
#[path = "../../../tests/src/linear_parity.rs"]
mod linear_parity;
#[path = "../../../tests/src/ops_parity.rs"]
mod ops_parity;
#[path = "../../../tests/src/parity.rs"]
mod parity;
#[path = "../../../tests/src/values.rs"]
mod values;

use burn::tensor::{DType, Device as Tensors};
use forgeling::data::{Glyphs, Split};
use forgeling::meta::{EpisodeTrainer, FitConfig, ProtoNet};
use forgeling::nn::Conv4Config;
use forgeling::train::{Adam, AdamConfig, Sgd, SgdConfig};
use forgeling::{Device, DeviceChoice};
use js_sys::Reflect;
use linear_parity::{ENDS, LAYER_SIZES, PRODUCT_SIZES, layer, products};
use ops_parity::{
    BLOCK_SIZES, Body, EPISODE_SIZES, assert_same, block, distances, episode_loss, logits,
};
use serde_json::Value;
use sha2::{Digest, Sha256};
use wasm_bindgen::JsValue;
use wasm_bindgen_test::{console_log, wasm_bindgen_test, wasm_bindgen_test_configure};

wasm_bindgen_test_configure!(run_in_browser);

async fn cpu() -> Device {
    Device::open(DeviceChoice::Cpu).await.unwrap()
}

/// The browser's adapter; the tests' browser is started with SwiftShader, so there must be one.
async fn webgpu() -> Device {
    Device::open(DeviceChoice::GpuIndex(0)).await.unwrap()
}

#[wasm_bindgen_test]
fn glyphs_have_the_bytes_of_every_platform() {
    let digest: String = Sha256::digest(Glyphs::golden_bytes().unwrap())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(
        digest,
        include_str!("../../../tests/golden/glyphs.sha256").trim()
    );
}

#[wasm_bindgen_test]
async fn episodes_and_losses_are_those_of_every_platform() {
    let golden: Value =
        serde_json::from_str(include_str!("../../../tests/golden/native_web.json")).unwrap();
    let order: Vec<usize> = serde_json::from_value(golden["order"].clone()).unwrap();
    assert_eq!(parity::episode_order().unwrap(), order);
    let expected: Vec<f64> = serde_json::from_value(golden["losses"].clone()).unwrap();
    parity::assert_follows(&parity::losses().await.unwrap(), &expected);
}

#[wasm_bindgen_test]
async fn the_device_says_why_it_is_what_it_is() {
    let automatic = Device::open(DeviceChoice::Auto).await.unwrap();
    console_log!("{}", automatic.reason());
    assert!(
        automatic.is_cpu(),
        "a software adapter is not taken by itself"
    );
    assert!(
        automatic.reason().contains("ignored"),
        "{}",
        automatic.reason()
    );
    let (adapters, absence) = Device::adapters().await;
    assert_eq!((adapters.len(), absence), (1, None));
    assert!(
        Device::open(DeviceChoice::GpuIndex(77))
            .await
            .unwrap_err()
            .is_device()
    );
    let gpu = webgpu().await;
    assert_eq!(gpu.info().backend, "webgpu");
}

#[wasm_bindgen_test]
async fn the_logits_equal_their_reference_on_cpu_and_webgpu() {
    for sizes in [[1, 1, 1, 1], [3, 7, 5, 11], [2, 75, 5, 64]] {
        let flex = Tensors::flex().autodiff();
        let expected = logits(Body::Reference, sizes, &flex).await;
        for device in [cpu().await, webgpu().await] {
            let got = logits(Body::Own, sizes, &device.autodiff()).await;
            let name = format!("{sizes:?} on {}", device.info().name);
            assert_same(&got, &expected, &name);
        }
    }
}

#[wasm_bindgen_test]
async fn the_episodes_loss_equals_its_reference_on_cpu_and_webgpu() {
    for sizes in EPISODE_SIZES {
        let flex = Tensors::flex().autodiff();
        let expected = episode_loss(Body::Reference, sizes, &flex).await;
        for device in [cpu().await, webgpu().await] {
            let got = episode_loss(Body::Own, sizes, &device.autodiff()).await;
            let name = format!("{sizes:?} on {}", device.info().name);
            assert_same(&got, &expected, &name);
        }
    }
}

#[wasm_bindgen_test]
async fn the_block_equals_its_reference_on_cpu_and_webgpu() {
    for sizes in BLOCK_SIZES {
        let flex = Tensors::flex().autodiff();
        let expected = block(Body::Reference, sizes, &flex).await;
        for device in [cpu().await, webgpu().await] {
            let got = block(Body::Own, sizes, &device.autodiff()).await;
            let name = format!("{sizes:?} on {}", device.info().name);
            assert_same(&got, &expected, &name);
        }
    }
}

#[wasm_bindgen_test]
async fn webgpu_trains_as_the_cpu_does_and_saves() {
    let glyphs = Glyphs::new(0, Split::Train, 50)
        .unwrap()
        .with_size(16)
        .unwrap();
    let config = Conv4Config {
        filters: 4,
        blocks: 3,
        size: 16,
        ..Default::default()
    };
    let mut losses = Vec::new();
    for device in [cpu().await, webgpu().await] {
        let mut model = ProtoNet::new(&config, &device).unwrap();
        let mut trainer = EpisodeTrainer::new(FitConfig::default()).unwrap();
        for _ in 0..3 {
            losses.push(trainer.step(&mut model, &glyphs).await.unwrap().loss);
        }
        let bytes = model.to_bytes().await.unwrap();
        assert_eq!(
            ProtoNet::from_bytes(&bytes, &device)
                .unwrap()
                .summary()
                .episodes,
            3
        );
    }
    for ((cpu, gpu), tolerance) in losses[..3].iter().zip(&losses[3..]).zip([1e-4, 1e-2, 3e-2]) {
        assert!((cpu - gpu).abs() < tolerance * cpu, "{losses:?}");
    }
}

#[wasm_bindgen_test]
async fn errors_reach_javascript_with_their_code() {
    let device = forgeling_wasm::open_device("cpu".into())
        .await
        .unwrap_or_else(|_| panic!("the CPU opens"));
    let text = |value: &JsValue, key: &str| Reflect::get(value, &key.into()).unwrap().as_string();
    let unknown = forgeling_wasm::open_device("cuda".into())
        .await
        .err()
        .unwrap();
    assert_eq!(text(&unknown, "code").as_deref(), Some("invalid_argument"));
    assert_eq!(text(&unknown, "operation").as_deref(), Some("parse_device"));
    let options = js_sys::JSON::parse("{\"filterz\": 3}").unwrap();
    let misspelt = forgeling_wasm::ProtoNet::create(&device, options)
        .err()
        .unwrap();
    assert!(text(&misspelt, "message").unwrap().contains("filterz"));
    let garbage = forgeling_wasm::ProtoNet::load(&device, vec![1, 2, 3])
        .await
        .err()
        .unwrap();
    assert_eq!(text(&garbage, "code").as_deref(), Some("bad_data"));
}

#[wasm_bindgen_test]
async fn the_optimizers_give_the_same_and_skip_what_is_not_finite() {
    let adam = || {
        Adam::new(AdamConfig {
            weight_decay: 0.1,
            clip_norm: Some(2.0),
            ..Default::default()
        })
        .unwrap()
    };
    let sgd = || {
        Sgd::new(SgdConfig {
            momentum: 0.9,
            nesterov: true,
            weight_decay: 0.1,
            clip_norm: Some(2.0),
        })
        .unwrap()
    };
    optimizer_gives_the_same(adam).await;
    optimizer_gives_the_same(sgd).await;
}

async fn optimizer_gives_the_same<O: bag::Optimizer>(new: impl Fn() -> O) {
    let expected = bag::five_steps(new(), &cpu().await.autodiff()).await;
    for device in [cpu().await, webgpu().await] {
        let device = device.autodiff();
        let got = bag::five_steps(new(), &device).await;
        bag::assert_same("steps", &got, &expected, bag::TOLERANCE);
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let [got, expected] = bag::spoiled_step(&new, value, &device).await;
            assert_eq!(got, expected, "{value}");
        }
    }
}

#[wasm_bindgen_test]
async fn products_equal_their_reference_on_cpu_and_webgpu() {
    let flex = Tensors::flex().autodiff();
    for device in [cpu().await, webgpu().await] {
        let (name, device) = (device.info().name.clone(), device.autodiff());
        for sizes in LAYER_SIZES {
            for end in ENDS {
                let got = layer(Body::Own, sizes, end, DType::F32, &device).await;
                let expected = layer(Body::Reference, sizes, end, DType::F32, &flex).await;
                assert_same(&got, &expected, &format!("{sizes:?} {end:?} on {name}"));
            }
        }
        for sizes in PRODUCT_SIZES {
            let got = products(Body::Own, sizes, DType::F32, &device).await;
            let expected = products(Body::Reference, sizes, DType::F32, &flex).await;
            assert_same(&got, &expected, &format!("{sizes:?} on {name}"));
        }
        for sizes in [[1, 1, 1, 1], [3, 7, 5, 11], [1, 13, 20, 257]] {
            let got = distances(Body::Own, sizes, &device).await;
            let expected = distances(Body::Reference, sizes, &flex).await;
            assert_same(&got, &expected, &format!("{sizes:?} on {name}"));
        }
    }
}

#[wasm_bindgen_test]
async fn a_perceptron_learns_alike_on_cpu_and_webgpu() {
    let data = forgeling_wasm::Dataset::glyphs(0, "train", 4, 14).unwrap();
    let mut images = Vec::new();
    for example in 0..5 {
        for class in 0..4 {
            images.extend(data.image(class, example).unwrap());
        }
    }
    let labels: Vec<u32> = (0..20).map(|row| row % 4).collect();
    let mut all = Vec::new();
    for choice in ["cpu", "gpu:0"] {
        let device = forgeling_wasm::open_device(choice.into()).await;
        let device = device.unwrap_or_else(|_| panic!("{choice} opens"));
        let options = r#"{"inputs": 196, "hidden": [24, 13], "classes": 4, "seed": 1}"#;
        let config = || js_sys::JSON::parse(options).unwrap();
        let mlp = forgeling_wasm::Mlp::create(&device, config()).unwrap();
        assert_eq!(mlp.parameter_count().unwrap(), 197 * 24 + 25 * 13 + 14 * 4);
        let mut losses = Vec::new();
        for _ in 0..30 {
            let step = mlp.train_step(images.clone(), labels.clone(), 1e-2);
            losses.push(step.await.unwrap());
        }
        assert!(losses[29] < 0.1 * losses[0], "{losses:?}");
        assert_eq!(mlp.classify(images.clone()).await.unwrap(), labels);
        all.push(losses);

        let wrong = mlp.train_step(vec![0.0; 195], vec![0], 1e-2).await;
        let code = Reflect::get(&wrong.unwrap_err(), &"code".into()).unwrap();
        assert_eq!(code.as_string().as_deref(), Some("invalid_argument"));
    }
    for (cpu, gpu) in all[0][..5].iter().zip(&all[1]) {
        assert!((cpu - gpu).abs() < 1e-3 * cpu, "{all:?}");
    }
}
