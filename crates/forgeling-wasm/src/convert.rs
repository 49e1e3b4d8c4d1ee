//! Errors, options and results between Rust and JavaScript.

use forgeling::Error;
use js_sys::Reflect;
use serde::Serialize;
use serde::de::DeserializeOwned;
use wasm_bindgen::prelude::*;

/// What every exported function returns.
pub type JsResult<T> = Result<T, JsValue>;

/// A JavaScript `Error` with `code`, `operation`, `expected` and `got`.
pub fn failure(error: Error) -> JsValue {
    let value = js_sys::Error::new(&error.to_string());
    let entries = [
        ("code", Some(error.kind().code())),
        ("operation", Some(error.operation())),
        ("expected", error.expectation()),
        ("got", error.found()),
    ];
    for (key, entry) in entries {
        if let Some(entry) = entry {
            // Setting a property of a fresh Error cannot fail.
            let _ = Reflect::set(&value, &key.into(), &entry.into());
        }
    }
    value.into()
}

/// An options object as a Rust value; `undefined` and `null` give the defaults.
pub fn options<T: DeserializeOwned + Default>(value: &JsValue) -> JsResult<T> {
    if value.is_undefined() || value.is_null() {
        return Ok(T::default());
    }
    let wrong = |message: String| failure(Error::invalid("options", message));
    // JSON would turn NaN and infinity into null, which reads as "not given".
    if let Some(object) = value.dyn_ref::<js_sys::Object>() {
        for entry in js_sys::Object::values(object) {
            if entry.as_f64().is_some_and(|number| !number.is_finite()) {
                return Err(wrong("a number is not finite".into()));
            }
        }
    }
    let text = js_sys::JSON::stringify(value)
        .ok()
        .and_then(|text| text.as_string())
        .ok_or_else(|| wrong("the options are not a plain object".into()))?;
    serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))
}

/// A Rust value as a plain JavaScript object.
pub fn object(value: &impl Serialize) -> JsResult<JsValue> {
    let text = serde_json::to_string(value)
        .map_err(|error| failure(Error::bad_data("to_object", error.to_string())))?;
    js_sys::JSON::parse(&text)
}
