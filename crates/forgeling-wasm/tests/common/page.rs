//! What a page hands over and gets back, as plain values.

use forgeling_wasm::{Device, open_device};
use js_sys::{JSON, Reflect};
use serde_json::Value;
use wasm_bindgen::prelude::*;

pub async fn device(choice: &str) -> Device {
    let opened = open_device(choice.into()).await;
    opened.unwrap_or_else(|_| panic!("{choice} opens"))
}

pub fn object(value: &Value) -> JsValue {
    JSON::parse(&value.to_string()).unwrap()
}

pub fn plain(value: &JsValue) -> Value {
    let text = JSON::stringify(value).unwrap();
    serde_json::from_str(&text.as_string().unwrap()).unwrap()
}

pub fn text(error: &JsValue, key: &str) -> String {
    let value = Reflect::get(error, &key.into()).unwrap();
    value.as_string().unwrap_or_default()
}
