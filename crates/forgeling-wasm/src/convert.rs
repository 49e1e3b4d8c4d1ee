//! Errors, options and results between Rust and JavaScript.

use forgeling::Error;
use js_sys::Reflect;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
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
    match json(value)? {
        None => Ok(T::default()),
        Some(text) => serde_json::from_str(&text).map_err(|error| wrong(error.to_string())),
    }
}

/// An options object whose keys, also those of objects inside it, are written in the library's `snake_case`. Only what
/// `model` says stays as it is: a graph is camelCase in the library too, and holds names of the user's own.
pub fn tree(value: &JsValue) -> JsResult<Map<String, Value>> {
    let value = match json(value)? {
        None => return Ok(Map::new()),
        Some(text) => serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?,
    };
    let Value::Object(mut entries) = value else {
        return Err(wrong("the options are not a plain object".into()));
    };
    let model = entries.remove("model");
    let mut entries = snake(entries).map_err(failure)?;
    entries.extend(model.map(|model| ("model".into(), model)));
    Ok(entries)
}

/// A part of an options object as a Rust value.
pub fn parse<T: DeserializeOwned>(value: Value) -> JsResult<T> {
    serde_json::from_value(value).map_err(|error| wrong(error.to_string()))
}

fn wrong(message: String) -> JsValue {
    failure(Error::invalid("options", message))
}

fn json(value: &JsValue) -> JsResult<Option<String>> {
    if value.is_undefined() || value.is_null() {
        return Ok(None);
    }
    // An object that holds itself ends here.
    let text = js_sys::JSON::stringify(value).ok();
    let text = text.and_then(|text| text.as_string());
    let text = text.ok_or_else(|| wrong("the options are not a plain object".into()))?;
    if !finite(value, 0) {
        return Err(wrong("a number is not finite".into()));
    }
    Ok(Some(text))
}

/// JSON would turn NaN and infinity into null, which reads as "not given".
fn finite(value: &JsValue, depth: usize) -> bool {
    /// Reading JSON refuses what is deeper.
    const DEEPEST: usize = 128;
    if let Some(number) = value.as_f64() {
        return number.is_finite();
    }
    let object = value.dyn_ref::<js_sys::Object>();
    object.filter(|_| depth < DEEPEST).is_none_or(|object| {
        js_sys::Object::values(object)
            .iter()
            .all(|entry| finite(&entry, depth + 1))
    })
}

/// `{"microBatch": 1}` as `{"micro_batch": 1}`.
fn snake(entries: Map<String, Value>) -> Result<Map<String, Value>, Error> {
    let entries = entries.into_iter().map(|(key, value)| {
        if key.contains('_') {
            let message = format!("unknown option '{key}'");
            return Err(Error::invalid("options", message).expected("camelCase"));
        }
        Ok((snake_key(&key), snake_value(value)?))
    });
    entries.collect()
}

fn snake_value(value: Value) -> Result<Value, Error> {
    Ok(match value {
        Value::Object(entries) => Value::Object(snake(entries)?),
        Value::Array(values) => Value::Array(
            values
                .into_iter()
                .map(snake_value)
                .collect::<Result<_, _>>()?,
        ),
        other => other,
    })
}

fn snake_key(key: &str) -> String {
    let mut snake = String::new();
    for letter in key.chars() {
        if letter.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

/// A Rust value as a plain JavaScript object.
pub fn object(value: &impl Serialize) -> JsResult<JsValue> {
    let text = serde_json::to_string(value)
        .map_err(|error| failure(Error::bad_data("to_object", error.to_string())))?;
    js_sys::JSON::parse(&text)
}
