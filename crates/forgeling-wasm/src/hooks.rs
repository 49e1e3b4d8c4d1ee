//! What training asks of the page between two steps.

use std::cell::RefCell;
use std::ops::ControlFlow;

use forgeling::train::{Checkpoint, Checkpoints};
use forgeling::{Error, ErrorKind, Result};
use js_sys::{Function, Promise, Uint8Array};
use serde::Serialize;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

use crate::convert::object;

/// The page's turn: `pace` gives a promise, which is waited for.
pub async fn turn(pace: &Function) -> Result<()> {
    let told = pace.call0(&JsValue::NULL);
    let waited = match told.map(JsValue::dyn_into::<Promise>) {
        Ok(Ok(promise)) => JsFuture::from(promise).await.map(drop),
        Ok(Err(_)) => Ok(()),
        Err(thrown) => Err(thrown),
    };
    waited.map_err(|thrown| refused("fit", &thrown))
}

/// Tells the page of an event; whether training goes on.
pub fn tell(report: &Function, event: &impl Serialize) -> ControlFlow<()> {
    let event = object(event).and_then(|event| report.call1(&JsValue::NULL, &event));
    // What cannot be reported must not go on unseen.
    match event {
        Ok(stop) if !stop.is_truthy() => ControlFlow::Continue(()),
        _ => ControlFlow::Break(()),
    }
}

/// Checkpoints that the page keeps.
pub struct InPage<'a> {
    /// Those it has, the latest first, with where each is.
    pub found: Vec<(String, Uint8Array)>,
    /// Called with a step and bytes; gives where they are.
    pub save: Option<&'a Function>,
    /// The latest.
    pub last: &'a RefCell<Option<Uint8Array>>,
}

impl Checkpoints for InPage<'_> {
    fn latest(&mut self) -> Result<(Option<Checkpoint>, Vec<String>)> {
        let mut damaged = Vec::new();
        for (place, bytes) in self.found.drain(..) {
            match Checkpoint::decode(&bytes.to_vec()) {
                Ok(checkpoint) => {
                    *self.last.borrow_mut() = Some(bytes);
                    return Ok((Some(checkpoint), damaged));
                }
                Err(error) => damaged.push(format!("{place}: {error}")),
            }
        }
        Ok((None, damaged))
    }

    fn save(&mut self, checkpoint: &Checkpoint) -> Result<String> {
        let bytes = Uint8Array::from(&checkpoint.encode()?[..]);
        let place = match self.save {
            None => "memory".into(),
            Some(save) => {
                let step = JsValue::from(checkpoint.step as f64);
                let place = save.call2(&JsValue::NULL, &step, &bytes);
                let place = place.map_err(|thrown| refused("save_checkpoint", &thrown))?;
                place.as_string().unwrap_or_default()
            }
        };
        *self.last.borrow_mut() = Some(bytes);
        Ok(place)
    }
}

/// What a function of the page has thrown.
fn refused(operation: &'static str, thrown: &JsValue) -> Error {
    let text = match thrown.dyn_ref::<js_sys::Error>() {
        Some(error) => String::from(error.message()),
        None => format!("{thrown:?}"),
    };
    Error::new(ErrorKind::Io, operation, text)
}
