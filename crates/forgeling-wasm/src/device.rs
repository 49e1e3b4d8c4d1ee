//! Opening a device.

use forgeling::DeviceChoice;
use wasm_bindgen::prelude::*;

use crate::architecture::learner;
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

    /// Compiles what the network of `config` needs, which is as of [`ProtoNet::create`](crate::ProtoNet::create); calls
    /// `report` with `{done, total}` after each part.
    #[wasm_bindgen(js_name = warmUp)]
    pub async fn warm_up(&self, config: JsValue, report: js_sys::Function) -> JsResult<()> {
        let encoder = learner(&config)?.network.encoder();
        let mut thrown = Ok(());
        let work = self.0.warm_up(&encoder, |event| {
            let told = object(&event).and_then(|event| report.call1(&JsValue::NULL, &event));
            thrown = thrown.clone().and(told.map(drop));
        });
        work.await.map_err(failure)?;
        thrown
    }

    /// The memory it holds, and what fractions of its memory are fractions of.
    pub fn memory(&self) -> JsResult<JsValue> {
        let memory = object(&self.0.memory())?;
        js_sys::Reflect::set(
            &memory,
            &"limit".into(),
            &(self.0.memory_limit() as f64).into(),
        )?;
        Ok(memory)
    }

    /// Every adapter the browser gives out.
    pub async fn adapters(&self) -> JsResult<JsValue> {
        object(&forgeling::Device::adapters().await.0)
    }
}
