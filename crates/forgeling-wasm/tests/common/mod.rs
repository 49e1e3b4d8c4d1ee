//! The devices of a browser, and what is compared on all of them.

use burn::tensor::{DType, Device as Tensors};
use forgeling::{Device, DeviceChoice};
use wasm_bindgen_test::console_log;

use crate::ops_parity::{Body, Results, assert_same};

pub async fn cpu() -> Device {
    Device::open(DeviceChoice::Cpu).await.unwrap()
}

/// The browser's adapter; the tests' browser is started with SwiftShader, so there must be one.
pub async fn webgpu() -> Device {
    Device::open(DeviceChoice::GpuIndex(0)).await.unwrap()
}

/// Both devices in f32, and WebGPU in f16 where its shaders have it.
async fn bodies_to_test() -> Vec<(Device, DType)> {
    let mut bodies = vec![(cpu().await, DType::F32), (webgpu().await, DType::F32)];
    let f16 = webgpu().await.info().f16;
    console_log!("f16 in shaders: {f16}");
    if f16 {
        bodies.push((webgpu().await, DType::F16));
    }
    bodies
}

/// Whether our own implementation gives what the reference on the CPU gives, on all devices and in all precisions.
pub async fn everywhere(what: &str, run: impl AsyncFn(Body, DType, &Tensors) -> Results) {
    let flex = Tensors::flex().autodiff();
    for (device, dtype) in bodies_to_test().await {
        let expected = run(Body::Reference, dtype, &flex).await;
        let got = run(Body::Own, dtype, &device.autodiff()).await;
        let name = format!("{what} of {dtype:?} on {}", device.info().name);
        assert_same(&got, &expected, dtype, &name);
    }
}
