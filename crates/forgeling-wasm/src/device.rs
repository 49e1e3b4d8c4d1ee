//! Opening a device.

use forgeling::DeviceChoice;
use wasm_bindgen::prelude::*;

use crate::convert::{JsResult, failure, object};

/// An opened device.
#[wasm_bindgen]
#[derive(Clone)]
pub struct Device(pub(crate) forgeling::Device);

/// Opens `"auto"`, `"cpu"`, `"gpu"` or `"gpu:N"`.
#[wasm_bindgen(js_name = openDevice)]
pub async fn open_device(choice: String) -> JsResult<Device> {
    let choice: DeviceChoice = choice.parse().map_err(failure)?;
    forgeling::Device::open(choice)
        .await
        .map(Device)
        .map_err(failure)
}

#[wasm_bindgen]
impl Device {
    /// `"cpu"`, `"discrete_gpu"`, `"integrated_gpu"`, `"virtual_gpu"`, `"software_gpu"` or `"other_gpu"`.
    #[wasm_bindgen(getter)]
    pub fn kind(&self) -> String {
        self.0.info().kind.name().into()
    }

    /// The adapter's name.
    #[wasm_bindgen(getter)]
    pub fn name(&self) -> String {
        self.0.info().name.clone()
    }

    /// `"flex"` or `"webgpu"`.
    #[wasm_bindgen(getter)]
    pub fn backend(&self) -> String {
        self.0.info().backend.clone()
    }

    /// Why this device was chosen.
    #[wasm_bindgen(getter)]
    pub fn reason(&self) -> String {
        self.0.reason().into()
    }

    /// Every adapter the browser gives out.
    pub async fn adapters(&self) -> JsResult<JsValue> {
        object(&forgeling::Device::adapters().await.0)
    }
}
