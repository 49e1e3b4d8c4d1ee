//! Every few-shot method in a browser: on the CPU as natively, and some on WebGPU too; and the operations that are theirs.
#![cfg(target_arch = "wasm32")]
#![recursion_limit = "256"]
#![allow(dead_code, reason = "not all that native tests share is used here")]

use std::collections::BTreeMap;

use forgeling::meta::Method;
use forgeling::{Device, DeviceChoice};
use wasm_bindgen_test::{wasm_bindgen_test, wasm_bindgen_test_configure};

#[path = "../../../tests/src/conv_parity.rs"]
mod conv_parity;
#[path = "../../../tests/src/methods.rs"]
mod methods;
#[path = "../../../tests/src/ops_parity.rs"]
mod ops_parity;
#[path = "../../../tests/src/second_order.rs"]
mod second_order;
#[path = "../../../tests/src/spd_parity.rs"]
mod spd_parity;
#[path = "../../../tests/src/values.rs"]
mod values;

use burn::tensor::{DType, Device as Tensors};
use conv_parity::CONVOLUTIONS;
use methods::{assert_losses, losses};
use ops_parity::{Body, assert_same};
use second_order::{IMAGES, moments, of_input, of_weight, pooled, second};
use spd_parity::{SPD_SIZES, inverse};

wasm_bindgen_test_configure!(run_in_browser);

/// Those that are to train on WebGPU as well.
const ON_GPU: [Method; 4] = [
    Method::ProtoNet,
    Method::FoMaml,
    Method::Reptile,
    Method::Anil,
];

async fn cpu() -> Device {
    Device::open(DeviceChoice::Cpu).await.unwrap()
}

/// The browser's adapter; the tests' browser is started with SwiftShader, so there must be one.
async fn webgpu() -> Device {
    Device::open(DeviceChoice::GpuIndex(0)).await.unwrap()
}

/// Both devices in f32, and WebGPU in f16 where its shaders have it.
async fn bodies_to_test() -> Vec<(Device, DType)> {
    let mut bodies = vec![(cpu().await, DType::F32), (webgpu().await, DType::F32)];
    if webgpu().await.info().f16 {
        bodies.push((webgpu().await, DType::F16));
    }
    bodies
}

fn golden() -> BTreeMap<String, Vec<f64>> {
    serde_json::from_str(include_str!("../../../tests/golden/methods.json")).unwrap()
}

#[wasm_bindgen_test]
async fn every_method_trains_on_the_cpu_as_natively() {
    let golden = golden();
    let cpu = cpu().await;
    for method in Method::ALL {
        let found = losses(method, &cpu).await.unwrap();
        assert_losses(&found, &golden[method.name()], method.name());
    }
}

#[wasm_bindgen_test]
async fn some_methods_train_on_webgpu_as_natively() {
    let golden = golden();
    let gpu = webgpu().await;
    for method in ON_GPU {
        let found = losses(method, &gpu).await.unwrap();
        assert_losses(
            &found,
            &golden[method.name()],
            &format!("{method} on WebGPU"),
        );
    }
}

#[wasm_bindgen_test]
async fn gradients_of_the_convolutions_gradients_equal_their_reference() {
    for sizes in CONVOLUTIONS {
        for (device, dtype) in bodies_to_test().await {
            let (flex, own) = (Tensors::flex().autodiff(), device.autodiff());
            let name = format!("{sizes:?} of {dtype:?} on {}", device.info().name);
            let expected = of_input(Body::Reference, sizes, dtype, &flex).await;
            let got = of_input(Body::Own, sizes, dtype, &own).await;
            assert_same(&got, &expected, dtype, &name);
            let expected = of_weight(Body::Reference, sizes, dtype, &flex).await;
            let got = of_weight(Body::Own, sizes, dtype, &own).await;
            assert_same(&got, &expected, dtype, &name);
        }
    }
}

#[wasm_bindgen_test]
async fn gradients_of_the_norms_gradients_equal_their_reference() {
    for sizes in IMAGES {
        for (device, dtype) in bodies_to_test().await {
            let (flex, own) = (Tensors::flex().autodiff(), device.autodiff());
            let name = format!("{sizes:?} of {dtype:?} on {}", device.info().name);
            let expected = moments(Body::Reference, sizes, dtype, &flex).await;
            let got = moments(Body::Own, sizes, dtype, &own).await;
            assert_same(&got, &expected, dtype, &name);
            let expected = pooled(Body::Reference, sizes, dtype, &flex, true).await;
            let got = pooled(Body::Own, sizes, dtype, &own, true).await;
            assert_same(&got, &expected, dtype, &name);
            let expected = second(Body::Reference, sizes, dtype, &flex).await;
            let got = second(Body::Own, sizes, dtype, &own).await;
            assert_same(&got, &expected, dtype, &name);
        }
    }
}

#[wasm_bindgen_test]
async fn inverses_equal_their_reference_on_cpu_and_webgpu() {
    let flex = Tensors::flex().autodiff();
    for device in [cpu().await, webgpu().await] {
        for sizes in SPD_SIZES {
            let got = inverse(Body::Own, sizes, &device.autodiff()).await;
            let expected = inverse(Body::Reference, sizes, &flex).await;
            let what = format!("{sizes:?} on {}", device.info().name);
            assert_same(&got, &expected, DType::F32, &what);
        }
    }
}
