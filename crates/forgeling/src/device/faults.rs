//! What a GPU has complained about while nobody waited for it.
//!
//! A buffer that a driver has no memory for is reported to a handler, not to whoever asked for it. CubeCL's panics;
//! this one keeps the complaint for the next [`Readback`](super::Readback).

use std::sync::{Arc, Mutex};

use burn::tensor::wgpu::wgpu;

use super::lock;

/// The complaint that was not reported yet, and whether there was one ever.
#[derive(Debug, Default)]
struct Faults {
    untold: Option<String>,
    ever: bool,
}

static WATCHED: Mutex<Vec<(burn::tensor::Device, Arc<Mutex<Faults>>)>> = Mutex::new(Vec::new());

/// Keeps what `gpu` says of its memory. To be called once its tensors' device has computed, which sets a handler of its
/// own when it starts.
pub(super) fn watch(tensors: &burn::tensor::Device, gpu: &wgpu::Device) {
    let faults = Arc::new(Mutex::new(Faults::default()));
    lock(&WATCHED).push((tensors.clone(), faults.clone()));
    gpu.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
        if let Some(error) = note(&mut lock(&faults), error) {
            // As before: a fault of the program.
            panic!("wgpu error: {error}");
        }
    }));
}

/// Keeps an error if it is about memory; gives back any other.
fn note(faults: &mut Faults, error: wgpu::Error) -> Option<wgpu::Error> {
    match error {
        wgpu::Error::OutOfMemory { .. } => {
            faults.ever = true;
            faults.untold.get_or_insert_with(|| error.to_string());
            None
        }
        // What is done with a buffer that was not had is not valid either, whenever it is used again.
        wgpu::Error::Validation { .. } if faults.ever => {
            faults.untold.get_or_insert_with(|| error.to_string());
            None
        }
        _ => Some(error),
    }
}

/// The first complaint of the device since the last call.
pub(super) fn take(tensors: &burn::tensor::Device) -> Option<String> {
    let tensors = tensors.clone().inner();
    let watched = lock(&WATCHED);
    let (_, faults) = watched.iter().find(|(device, _)| *device == tensors)?;
    lock(faults).untold.take()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn validation() -> wgpu::Error {
        wgpu::Error::Validation {
            source: "a buffer".into(),
            description: "buffer with '' label is invalid".into(),
        }
    }

    #[test]
    fn memory_is_kept_with_what_follows_from_it_and_faults_of_the_program_are_not() {
        let mut faults = Faults::default();
        assert!(note(&mut faults, validation()).is_some());
        let memory = wgpu::Error::OutOfMemory {
            source: "allocation of a buffer".into(),
        };
        assert!(note(&mut faults, memory).is_none());
        assert!(note(&mut faults, validation()).is_none());
        let told = faults.untold.take().unwrap().to_lowercase();
        assert!(told.contains("memory"), "{told}");
        // The buffer may be used once more.
        assert!(note(&mut faults, validation()).is_none() && faults.untold.is_some());
    }
}
