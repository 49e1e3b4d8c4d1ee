//! What a driver says of shaders.

use burn::tensor::wgpu::wgpu;
use forgeling_shaders::{ALL, Kernel, Storage};

/// A compiler's complaint: line, counted from 1, and text.
type Complaint = (Option<usize>, String);

/// The first of our kernels that `device` does not compile, with file, line and message.
pub(super) async fn refused(device: &wgpu::Device, f16: bool) -> Option<String> {
    let storages = if f16 {
        &[Storage::F32, Storage::F16][..]
    } else {
        &[Storage::F32]
    };
    // All of them are on their way before the first answer is waited for.
    let mut answers = Vec::new();
    for &kernel in ALL {
        for &storage in storages {
            if let Some(source) = kernel.source(storage) {
                answers.push((kernel, storage, compile(device, kernel.name, &source)));
            }
        }
    }
    let mut first = None;
    for (kernel, storage, answer) in answers {
        if let Some(complaint) = answer.await {
            first.get_or_insert_with(|| describe(kernel, storage, complaint));
        }
    }
    first
}

fn describe(kernel: &Kernel, storage: Storage, (line, message): Complaint) -> String {
    match line {
        Some(line) => {
            let (file, line) = kernel.place(storage, line);
            format!("shaders/{file}:{line} ({storage:?}): {message}")
        }
        None => format!("{} ({storage:?}): {message}", kernel.name),
    }
}

/// Begins to compile `source`; the first error comes later.
pub(super) fn compile(
    device: &wgpu::Device,
    name: &str,
    source: &str,
) -> impl Future<Output = Option<Complaint>> + use<> {
    let scope = device.push_error_scope(wgpu::ErrorFilter::Validation);
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: Some(name),
        source: wgpu::ShaderSource::Wgsl(source.into()),
    });
    let failure = scope.pop();
    async move {
        let info = module.get_compilation_info().await;
        let failure = failure.await;
        let error = info
            .messages
            .into_iter()
            .find(|message| message.message_type == wgpu::CompilationMessageType::Error);
        match error {
            Some(error) => {
                let line = error.location.map(|place| place.line_number as usize);
                Some((line, error.message))
            }
            None => failure.map(|error| (None, error.to_string())),
        }
    }
}
