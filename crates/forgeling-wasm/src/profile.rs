//! Profiling what a page does.

use forgeling::device::profile::{ProfileConfig, Profiler};
use js_sys::Reflect;
use wasm_bindgen::prelude::*;

use crate::Device;
use crate::convert::{JsResult, failure, object, options};

/// A profiler that runs until it is finished or freed.
#[wasm_bindgen]
pub struct Profiling(Profiler);

#[wasm_bindgen]
impl Profiling {
    /// Begins; `config` may have `gpu` (`"off"`, `"spans"`, `"kernels"`) and `memory` (`"off"`, `"spans"`, `"launches"`).
    pub fn start(device: &Device, config: JsValue) -> JsResult<Profiling> {
        let config: ProfileConfig = options(&config)?;
        Profiler::start(&device.0, config)
            .map(Self)
            .map_err(failure)
    }

    /// Ends: the profile as an object, with the text of a Chrome trace file as `trace` and a table as `table`.
    pub async fn finish(self) -> JsResult<JsValue> {
        let profile = self.0.finish().await;
        let found = object(&profile)?;
        Reflect::set(&found, &"trace".into(), &profile.to_chrome_trace().into())?;
        Reflect::set(&found, &"table".into(), &profile.to_string().into())?;
        Ok(found)
    }
}
