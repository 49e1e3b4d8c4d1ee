//! Every few-shot method in a browser: on the CPU as natively, and some on WebGPU too.
#![cfg(target_arch = "wasm32")]
#![recursion_limit = "256"]

use std::collections::BTreeMap;

use forgeling::meta::Method;
use forgeling::{Device, DeviceChoice};
use wasm_bindgen_test::{wasm_bindgen_test, wasm_bindgen_test_configure};

#[path = "../../../tests/src/methods.rs"]
mod methods;

use methods::{assert_losses, losses};

wasm_bindgen_test_configure!(run_in_browser);

/// Those that are to train on WebGPU as well.
const ON_GPU: [Method; 4] = [
    Method::ProtoNet,
    Method::FoMaml,
    Method::Reptile,
    Method::Anil,
];

fn golden() -> BTreeMap<String, Vec<f64>> {
    serde_json::from_str(include_str!("../../../tests/golden/methods.json")).unwrap()
}

#[wasm_bindgen_test]
async fn every_method_trains_on_the_cpu_as_natively() {
    let golden = golden();
    let cpu = Device::open(DeviceChoice::Cpu).await.unwrap();
    for method in Method::ALL {
        let found = losses(method, &cpu).await.unwrap();
        assert_losses(&found, &golden[method.name()], method.name());
    }
}

#[wasm_bindgen_test]
async fn some_methods_train_on_webgpu_as_natively() {
    let golden = golden();
    let gpu = Device::open(DeviceChoice::GpuIndex(0)).await.unwrap();
    for method in ON_GPU {
        let found = losses(method, &gpu).await.unwrap();
        assert_losses(
            &found,
            &golden[method.name()],
            &format!("{method} on WebGPU"),
        );
    }
}
