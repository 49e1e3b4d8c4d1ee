//! Every few-shot method in a browser: on the CPU as natively, and some on WebGPU too; and the operations that are theirs.
#![cfg(target_arch = "wasm32")]
#![recursion_limit = "256"]
#![allow(dead_code, reason = "not all that native tests share is used here")]

use std::collections::BTreeMap;

use forgeling::meta::Method;
use wasm_bindgen_test::{wasm_bindgen_test, wasm_bindgen_test_configure};

mod common;
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
use common::{cpu, everywhere, webgpu};
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
        let what = format!("{sizes:?}");
        let run = async |body, dtype, device: &Tensors| of_input(body, sizes, dtype, device).await;
        everywhere(&what, run).await;
        let run = async |body, dtype, device: &Tensors| of_weight(body, sizes, dtype, device).await;
        everywhere(&what, run).await;
    }
}

#[wasm_bindgen_test]
async fn gradients_of_the_norms_gradients_equal_their_reference() {
    for sizes in IMAGES {
        let what = format!("{sizes:?}");
        let run = async |body, dtype, device: &Tensors| moments(body, sizes, dtype, device).await;
        everywhere(&what, run).await;
        let run =
            async |body, dtype, device: &Tensors| pooled(body, sizes, dtype, device, true).await;
        everywhere(&what, run).await;
        let run = async |body, dtype, device: &Tensors| second(body, sizes, dtype, device).await;
        everywhere(&what, run).await;
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
