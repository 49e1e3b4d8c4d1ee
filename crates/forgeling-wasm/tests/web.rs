//! In a browser: the same episodes, losses, glyphs and gradients as natively, on the CPU and on WebGPU.
#![cfg(target_arch = "wasm32")]
#![recursion_limit = "256"]

#[path = "../../../tests/src/bag.rs"]
mod bag;
#[path = "../../../tests/src/blocks_parity.rs"]
mod blocks_parity;
mod common;
#[path = "../../../tests/src/conv_parity.rs"]
mod conv_parity;
#[path = "web/int8.rs"]
mod int8;
#[path = "../../../tests/src/linear_parity.rs"]
mod linear_parity;
#[path = "../../../tests/src/loading.rs"]
mod loading;
#[path = "../../../tests/src/memory_budget.rs"]
mod memory_budget;
#[path = "../../../tests/src/memory_leak.rs"]
mod memory_leak;
#[path = "../../../tests/src/memory_models.rs"]
mod memory_models;
#[path = "../../../tests/src/memory_saving.rs"]
mod memory_saving;
#[allow(dead_code, reason = "not all that native tests share is used here")]
#[path = "../../../tests/src/networks.rs"]
mod networks;
#[path = "../../../tests/src/ops_parity.rs"]
mod ops_parity;
#[path = "../../../tests/src/parity.rs"]
mod parity;
#[path = "../../../tests/src/profiling.rs"]
mod profiling;
#[path = "../../../tests/src/resuming.rs"]
mod resuming;
#[path = "../../../tests/src/storage_parity.rs"]
mod storage_parity;
#[path = "../../../tests/src/task_digests.rs"]
mod task_digests;
#[path = "../../../tests/src/values.rs"]
mod values;

use blocks_parity::{ATTENTION_OPTIONS, ATTENTION_SIZES, NORM_SIZES, attend, norm};
use burn::tensor::Device as Tensors;
use common::{cpu, everywhere, webgpu};
use conv_parity::{
    AFTER, CHANNELS, CONVOLUTIONS, NORMS, batch_normed, convolution, depthwise_convolutions, moved,
    normalized,
};
use forgeling::data::{Glyphs, Split};
use forgeling::device::profile::GpuTiming;
use forgeling::meta::{EpisodeTrainer, FitConfig, Learner};
use forgeling::nn::zoo::Conv4Config;
use forgeling::train::{Adam, AdamConfig, Sgd, SgdConfig};
use forgeling::{Device, DeviceChoice};
use js_sys::Reflect;
use linear_parity::{ENDS, LAYER_SIZES, PRODUCT_SIZES, layer, products};
use ops_parity::{
    BLOCK_SIZES, EPISODE_SIZES, block, distances, episode_loss, logits, logits_with_itself,
    running_block,
};
use serde_json::Value;
use sha2::{Digest, Sha256};
use storage_parity::{FORMATS, OPERATIONS, come_back, numbers, rounded, ties};
use wasm_bindgen::JsValue;
use wasm_bindgen_test::{console_log, wasm_bindgen_test, wasm_bindgen_test_configure};

wasm_bindgen_test_configure!(run_in_browser);

#[wasm_bindgen_test]
fn tasks_are_those_of_every_platform() {
    assert_eq!(task_digests::digests().unwrap(), task_digests::DIGESTS);
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
async fn batches_are_those_of_every_platform() {
    // There are no threads to have two workers.
    for workers in [0, 2] {
        assert_eq!(loading::digests(workers).await.unwrap(), loading::DIGESTS);
        loading::resumed_loaders_go_on(workers).await.unwrap();
    }
}

#[wasm_bindgen_test]
async fn profiles_say_what_was_done() {
    for device in [cpu().await, webgpu().await] {
        for gpu in [GpuTiming::Spans, GpuTiming::Kernels] {
            let profile = profiling::figures_agree(&device, gpu).await;
            console_log!("{gpu:?}: {profile}");
        }
    }
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
        let run = async |body, dtype, device: &Tensors| logits(body, sizes, dtype, device).await;
        everywhere(&format!("{sizes:?}"), run).await;
    }
}

#[wasm_bindgen_test]
async fn a_tensor_may_be_compared_with_itself() {
    let run = async |body, dtype, device: &Tensors| {
        logits_with_itself(body, [2, 5, 7], dtype, device).await
    };
    everywhere("it", run).await;
}

#[wasm_bindgen_test]
async fn the_episodes_loss_equals_its_reference_on_cpu_and_webgpu() {
    for sizes in EPISODE_SIZES {
        let run =
            async |body, dtype, device: &Tensors| episode_loss(body, sizes, dtype, device).await;
        everywhere(&format!("{sizes:?}"), run).await;
    }
}

#[wasm_bindgen_test]
async fn the_block_equals_its_reference_on_cpu_and_webgpu() {
    for sizes in BLOCK_SIZES {
        let run = async |body, dtype, device: &Tensors| block(body, sizes, dtype, device).await;
        everywhere(&format!("{sizes:?}"), run).await;
    }
}

#[wasm_bindgen_test]
async fn the_running_block_equals_its_reference_on_cpu_and_webgpu() {
    for sizes in BLOCK_SIZES {
        let run =
            async |body, dtype, device: &Tensors| running_block(body, sizes, dtype, device).await;
        everywhere(&format!("{sizes:?}"), run).await;
    }
}

#[wasm_bindgen_test]
async fn layer_norm_equals_its_reference_on_cpu_and_webgpu() {
    for sizes in NORM_SIZES {
        let run = async |body, dtype, device: &Tensors| norm(body, sizes, dtype, device).await;
        everywhere(&format!("{sizes:?}"), run).await;
    }
}

#[wasm_bindgen_test]
async fn a_shader_that_does_not_compile_is_an_error_with_its_place() {
    let device = webgpu().await;
    device
        .check_shader("own.wgsl", values::SHADER)
        .await
        .unwrap();
    let bad = values::SHADER.replace("flow:", "flaw:");
    let error = device.check_shader("own.wgsl", &bad).await.unwrap_err();
    assert!(error.to_string().contains("own.wgsl:6"), "{error}");
    device
        .check_shader("own.wgsl", values::SHADER)
        .await
        .unwrap();
}

#[wasm_bindgen_test]
async fn attention_equals_its_reference_on_cpu_and_webgpu() {
    for sizes in ATTENTION_SIZES {
        for options in ATTENTION_OPTIONS {
            let run = async |body, dtype, device: &Tensors| {
                attend(body, sizes, options, dtype, device).await
            };
            everywhere(&format!("{sizes:?} {options:?}"), run).await;
        }
    }
}

#[wasm_bindgen_test]
async fn the_convolution_equals_its_reference_on_cpu_and_webgpu() {
    for sizes in CONVOLUTIONS.into_iter().chain(depthwise_convolutions()) {
        let run =
            async |body, dtype, device: &Tensors| convolution(body, sizes, dtype, device).await;
        everywhere(&format!("{sizes:?}"), run).await;
    }
}

#[wasm_bindgen_test]
async fn a_norm_in_evaluation_equals_its_reference_on_cpu_and_webgpu() {
    let all = CONVOLUTIONS.into_iter().chain(depthwise_convolutions());
    for (sizes, kind) in all.zip(AFTER.into_iter().cycle()) {
        let run = async |body, _, device: &Tensors| {
            // Nothing is differentiated.
            normalized(body, sizes, kind, &device.clone().inner()).await
        };
        everywhere(&format!("{sizes:?}, {kind:?}"), run).await;
    }
}

#[wasm_bindgen_test]
async fn batch_norm_equals_its_reference_on_cpu_and_webgpu() {
    for sizes in NORMS {
        let run =
            async |body, dtype, device: &Tensors| batch_normed(body, sizes, dtype, device).await;
        everywhere(&format!("{sizes:?}"), run).await;
    }
    for channels in CHANNELS {
        let run = async |body, _, device: &Tensors| moved(body, channels, device).await;
        everywhere(&format!("statistics of {channels}"), run).await;
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
    let encoder = config.graph().unwrap();
    let mut losses = Vec::new();
    for device in [cpu().await, webgpu().await] {
        let mut model = Learner::protonet(&encoder, 0, &device).unwrap();
        let mut trainer = EpisodeTrainer::new(FitConfig::default()).unwrap();
        for _ in 0..3 {
            losses.push(trainer.step(&mut model, &glyphs).await.unwrap().loss);
        }
        let bytes = model.to_bytes().await.unwrap();
        assert_eq!(
            Learner::from_bytes(&bytes, &device)
                .unwrap()
                .history()
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
    optimizer_goes_on_on_another_device(adam).await;
    optimizer_goes_on_on_another_device(sgd).await;
}

async fn optimizer_goes_on_on_another_device<O: resuming::Resumable>(new: impl Fn() -> O) {
    let (cpu, gpu) = (cpu().await.autodiff(), webgpu().await.autodiff());
    for (first, second) in [(&cpu, &cpu), (&cpu, &gpu), (&gpu, &cpu), (&gpu, &gpu)] {
        let [expected, got] = resuming::continued(&new, first, second).await;
        bag::assert_same("resumed", &got, &expected, bag::TOLERANCE);
    }
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
async fn products_and_distances_equal_their_reference_on_cpu_and_webgpu() {
    for sizes in LAYER_SIZES {
        for end in ENDS {
            let run =
                async |body, dtype, device: &Tensors| layer(body, sizes, end, dtype, device).await;
            everywhere(&format!("{sizes:?} {end:?}"), run).await;
        }
    }
    for sizes in PRODUCT_SIZES {
        let run = async |body, dtype, device: &Tensors| products(body, sizes, dtype, device).await;
        everywhere(&format!("{sizes:?}"), run).await;
    }
    for sizes in [[1, 1, 1, 1], [3, 7, 5, 11], [1, 13, 20, 257]] {
        let run = async |body, dtype, device: &Tensors| distances(body, sizes, dtype, device).await;
        everywhere(&format!("distances {sizes:?}"), run).await;
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
        let counts = (mlp.trained_values().unwrap(), mlp.buffer_values().unwrap());
        assert_eq!(counts, ((197 * 24 + 25 * 13 + 14 * 4) as f64, 0.0));
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

#[wasm_bindgen_test]
async fn stored_activations_change_gradients_a_little() {
    for device in [cpu().await, webgpu().await] {
        let (name, tensors) = (&device.info().name, device.autodiff());
        for operation in OPERATIONS {
            operation.check(&tensors, name).await;
        }
    }
    let expected = ties(None, &cpu().await.autodiff()).await;
    for device in [cpu().await, webgpu().await] {
        for (storage, tolerance) in FORMATS {
            let name = format!("{storage:?} on {}", device.info().name);
            let got = come_back(&numbers(), storage, &device.autodiff()).await;
            assert_eq!(got, rounded(&numbers(), storage), "{name}");
            let got = ties(Some(storage), &device.autodiff()).await;
            values::assert_close(&name, &got, &expected, tolerance);
        }
    }
}

#[wasm_bindgen_test]
async fn budgets_are_kept_by_turns_on_cpu_and_webgpu() {
    for device in [cpu().await, webgpu().await] {
        memory_budget::refuses_and_goes_on(&device).await;
        memory_budget::takes_turns(&device).await;
        if !device.is_cpu() {
            memory_budget::tells_of_the_backward_pass(&device).await;
        }
    }
}

/// In one round, or as many as `FORGELING_MEMORY_ROUNDS` says when this is compiled. A line of the benchmark's table is
/// printed for each way, and one for each other network that is small enough.
#[wasm_bindgen_test]
async fn sixteen_bits_and_checkpoints_save_memory() {
    let rounds = option_env!("FORGELING_MEMORY_ROUNDS").map_or(1, |rounds| rounds.parse().unwrap());
    let device = webgpu().await;
    let plain = memory_models::models().into_iter();
    let plain = plain.filter(|model| model.small).map(|model| (model, 1));
    let saving = memory_models::savings(true).into_iter();
    for (model, ways) in saving.map(|model| (model, usize::MAX)).chain(plain) {
        let savings = memory_saving::compare(&model, ways, rounds, &device, &js_sys::Date::now);
        let savings = savings.await;
        for line in memory_saving::lines(&savings, &device) {
            console_log!("{line}");
        }
        savings.iter().for_each(memory_saving::Saving::check);
    }
}

/// 200 steps, or as many as `FORGELING_LEAK_STEPS` says when this is compiled; a line of the benchmark's table is printed
/// for each device.
#[wasm_bindgen_test]
async fn memory_does_not_grow_with_steps() {
    let steps = option_env!("FORGELING_LEAK_STEPS").map_or(200, |steps| steps.parse().unwrap());
    for device in [webgpu().await, cpu().await] {
        let growth = memory_leak::grow(&device, steps, &js_sys::Date::now).await;
        console_log!("{}", growth.line(&device));
        memory_leak::assert_flat(&growth, &device.info().name);
    }
}
