//! Composes every kernel variant from `wgsl/`, validates it with naga and writes its metadata as Rust.
//!
//! A kernel that does not compile, breaks a limit of phones, binds a buffer in another order than
//! declared or cannot be translated for Vulkan, Metal and DX12 stops the build here instead of failing
//! silently in a browser or on a machine that nobody tested.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use naga::back::{hlsl, msl, spv};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, Module, StorageAccess};

/// What every WebGPU device gives, phones included.
const MAX_INVOCATIONS: u32 = 256;
const MAX_STORAGE_BUFFERS: usize = 8;
const MAX_WORKGROUP_BYTES: u32 = 16_384;

/// The oldest and the newest SPIR-V that wgpu asks for, with spirv-val's names of the Vulkan versions that take them.
const SPIRV: &[((u8, u8), &str)] = &[((1, 0), "vulkan1.0"), ((1, 6), "vulkan1.3")];
/// Of macOS 11, the first on Apple's own processors.
const METAL: (u8, u8) = (2, 3);

/// What a variant calls `stored`, the type of the activations; sums and parameters are f32 in all variants.
#[derive(Clone, Copy)]
enum Storage {
    F32,
    F16,
}

impl Storage {
    /// What `Kernel::source` puts before the text.
    const fn prelude(self) -> &'static str {
        match self {
            Self::F32 => include_str!("wgsl/shared/stored_f32.wgsl"),
            Self::F16 => include_str!("wgsl/shared/stored_f16.wgsl"),
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
        }
    }

    fn capabilities(self) -> Capabilities {
        match self {
            Self::F32 => Capabilities::empty(),
            Self::F16 => Capabilities::SHADER_FLOAT16,
        }
    }

    /// All that a module for Vulkan may need of a device.
    const fn spirv_capabilities(self) -> &'static [spv::Capability] {
        match self {
            Self::F32 => &[spv::Capability::Shader],
            Self::F16 => &[spv::Capability::Shader, spv::Capability::Float16],
        }
    }

    /// What DX12 has everywhere, and what it has where there is f16.
    const fn shader_model(self) -> hlsl::ShaderModel {
        match self {
            Self::F32 => hlsl::ShaderModel::V5_1,
            Self::F16 => hlsl::ShaderModel::V6_2,
        }
    }
}

/// One kernel: a file in `wgsl/`, the shared pieces it needs, its workgroup size and its variants.
struct Declared {
    name: &'static str,
    shared: &'static [&'static str],
    workgroup_size: u32,
    variants: &'static [Storage],
}

/// A kernel of one variant, which knows f32 only.
const fn single(
    name: &'static str,
    shared: &'static [&'static str],
    workgroup_size: u32,
) -> Declared {
    Declared {
        name,
        shared,
        workgroup_size,
        variants: &[Storage::F32],
    }
}

/// A kernel that reads or writes `stored` values, in f32 and in f16.
const fn kernel(
    name: &'static str,
    shared: &'static [&'static str],
    workgroup_size: u32,
) -> Declared {
    Declared {
        variants: &[Storage::F32, Storage::F16],
        ..single(name, shared, workgroup_size)
    }
}

/// What layers of perceptrons share.
const LAYER: &[&str] = &[
    "index",
    "product",
    "quads",
    "activation",
    "flags",
    "epilogue",
];

const KERNELS: &[Declared] = &[
    single("optimizer_gather", &["finite", "channels"], 64),
    single("adam", &["finite", "optimizer"], 64),
    single("sgd", &["finite", "optimizer"], 64),
    kernel("batch_norm_partials", &["index"], 64),
    single("batch_norm_statistics", &["index", "channels"], 64),
    kernel("batch_norm", &["index", "channels"], 64),
    kernel("batch_norm_grad_partials", &["index", "channels"], 64),
    kernel("batch_norm_grad", &["index", "channels"], 64),
    single("add_parts", &["index"], 64),
    kernel("conv2d_pack", &["index", "channels"], 64),
    kernel("conv2d", &["index", "gather", "gather_scalars"], 64),
    kernel("conv2d_vec4", &["index", "gather", "gather_quads"], 64),
    kernel(
        "conv2d_grad_input",
        &["index", "gather", "gather_scalars"],
        64,
    ),
    kernel(
        "conv2d_grad_input_vec4",
        &["index", "gather", "gather_quads"],
        64,
    ),
    kernel("conv2d_grad_weight", &["index", "outer"], 64),
    kernel("conv2d_grad_weight_vec4", &["index", "outer"], 64),
    kernel("conv2d_grad_bias", &["index"], 64),
    kernel("depthwise", &["index", "depthwise"], 64),
    kernel("depthwise_grad_input", &["index", "depthwise"], 64),
    kernel("depthwise_grad_weight", &["index"], 64),
    kernel("attention", &["attention"], 64),
    kernel("attention_grad_query", &["attention"], 64),
    kernel("attention_grad_key_value", &["attention"], 64),
    single("conv_block_pack", &["index", "channels"], 64),
    kernel("conv_block_forward", &["place", "moments", "row"], 64),
    kernel(
        "conv_block_normalize",
        &[
            "place",
            "moments",
            "window",
            "channels",
            "pool",
            "epsilon",
            "normalize",
        ],
        64,
    ),
    single(
        "conv_block_normalize_peaks",
        &["place", "moments", "channels", "epsilon", "normalize"],
        64,
    ),
    single(
        "conv_block_keep",
        &["index", "window", "channels", "half"],
        64,
    ),
    kernel(
        "conv_block_normalize_running",
        &["index", "window", "channels", "pool", "epsilon"],
        64,
    ),
    kernel("conv_block_backward_reduce", &["window", "channels"], 128),
    kernel(
        "conv_block_backward_activation",
        &["index", "window", "channels"],
        64,
    ),
    kernel("conv_block_grad_input", &["index", "row", "channels"], 64),
    kernel("conv_block_grad_weight", &["lanes"], 64),
    kernel("conv_block_grad_weight_vec4", &["lanes"], 64),
    kernel(
        "channel_moments",
        &["window", "cells", "over_lanes", "cell_moments"],
        128,
    ),
    kernel("channel_moments_grad", &["index"], 64),
    kernel("affine_relu_pool", &["index", "window", "cells"], 64),
    kernel(
        "affine_relu_pool_grad",
        &["window", "cells", "cell_flow", "over_lanes", "channels"],
        128,
    ),
    kernel(
        "norm_pool_grad",
        &[
            "window",
            "cells",
            "cell_flow",
            "over_lanes",
            "cell_moments",
            "epsilon",
        ],
        128,
    ),
    kernel(
        "norm_pool_second",
        &[
            "window",
            "cells",
            "cell_flow",
            "epsilon",
            "cell_norm",
            "over_lanes",
        ],
        128,
    ),
    kernel(
        "norm_pool_second_vectors",
        &[
            "index",
            "window",
            "cells",
            "cell_flow",
            "epsilon",
            "cell_norm",
        ],
        64,
    ),
    kernel("episode_prototypes", &["index"], 64),
    kernel("episode_logits", &["index"], 64),
    kernel("episode_logits_grad", &["index"], 64),
    kernel("layer_norm", &["index"], 64),
    kernel("layer_norm_backward", &["channels"], 256),
    kernel("fake_quantize", &["index"], 64),
    kernel("fake_quantize_backward", &["index"], 64),
    kernel("fake_quantize_grad_scale", &["index"], 64),
    single("softmax_cross_entropy", &[], 256),
    kernel("matmul", &["index", "product", "activation", "flags"], 64),
    kernel("matmul_vec4", LAYER, 64),
    kernel("matmul_transposed_vec4", LAYER, 64),
    kernel("matmul_grad_right", &["index", "product"], 64),
    kernel("matmul_grad_right_vec4", &["index", "product", "quads"], 64),
    single("matmul_reduce", &["index", "activation", "flags"], 64),
    kernel("activation_grad", &["index", "activation"], 64),
    single("pack_half", &["index", "half"], 64),
    single("unpack_half", &["index", "half"], 64),
    single("spd_inverse", &[], 64),
    single("running_statistics", &["index", "channels"], 64),
    kernel("pairwise_sq_distance", &["index"], 64),
    kernel("pairwise_sq_distance_grad_a", &["index"], 64),
    kernel("pairwise_sq_distance_grad_b", &["index"], 64),
];

fn main() {
    println!("cargo::rerun-if-changed=wgsl");
    println!("cargo::rerun-if-changed=build.rs");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let spirv = out.join("spirv");
    renew(&spirv).unwrap_or_else(|error| panic!("{}: {error}", spirv.display()));
    let mut generated = String::new();
    let mut constants = BTreeMap::new();
    for kernel in KERNELS {
        let pieces = pieces(kernel);
        for (path, text) in &pieces {
            let name = Path::new(path).file_stem().expect("a file's path");
            for constant in constants_of(text) {
                let known: &mut BTreeSet<_> = constants.entry(name.to_owned()).or_default();
                known.insert(constant);
            }
        }
        let text = compose(kernel, &pieces);
        let mut bindings = Vec::new();
        for &storage in kernel.variants {
            let source = format!("{}{text}", storage.prelude());
            let (module, info) = parse(kernel, storage, &source);
            bindings = validate(kernel, &module);
            let name = format!("{}.{}", kernel.name, storage.name());
            translate(&module, &info, storage, &spirv.join(&name))
                .unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        emit(&mut generated, kernel, &pieces, &text, &bindings);
    }
    let names: Vec<_> = KERNELS
        .iter()
        .map(|k| format!("&{}", k.name.to_uppercase()))
        .collect();
    let _ = writeln!(
        generated,
        "/// Every kernel of this package.\npub static ALL: &[&Kernel] = &[{}];",
        names.join(", ")
    );
    for (name, constants) in constants {
        let (module, constants) = (name.display(), String::from_iter(constants));
        let _ = writeln!(
            generated,
            "/// Constants of `{module}.wgsl`.\npub mod {module} {{\n{constants}}}"
        );
    }
    fs::write(out.join("kernels.rs"), generated).expect("OUT_DIR is writable");
}

/// Makes `folder` empty, so that nothing stays of a kernel that is gone.
fn renew(folder: &Path) -> io::Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    fs::create_dir(folder)
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("shaders/{path}: {error}"))
}

/// The files of a kernel and their texts.
fn pieces(kernel: &Declared) -> Vec<(String, String)> {
    let shared = kernel.shared.iter().map(|piece| format!("shared/{piece}"));
    shared
        .chain([kernel.name.to_owned()])
        .map(|name| {
            let path = format!("wgsl/{name}.wgsl");
            let text = read(&path);
            assert!(
                text.ends_with('\n'),
                "shaders/{path}: no newline at the end"
            );
            (path, text)
        })
        .collect()
}

/// A file's numbers as constants of Rust, which need not be told twice then.
fn constants_of(text: &str) -> impl Iterator<Item = String> {
    text.lines().filter_map(|line| {
        let declared = line.strip_prefix("const ")?.strip_suffix(';')?;
        let (name, value) = declared.split_once(" = ")?;
        let (kind, value) = match value.strip_suffix('u') {
            Some(value) => ("usize", value),
            None => ("f64", value),
        };
        value.parse::<f64>().ok()?;
        Some(format!(
            "    /// `{name}`.\n    pub const {name}: {kind} = {value};\n"
        ))
    })
}

fn compose(kernel: &Declared, pieces: &[(String, String)]) -> String {
    let source: String = pieces.iter().map(|(_, text)| text.as_str()).collect();
    source.replace("WORKGROUP_SIZE", &format!("{}u", kernel.workgroup_size))
}

/// The module, after naga has accepted it.
fn parse(kernel: &Declared, storage: Storage, source: &str) -> (Module, ModuleInfo) {
    let module = naga::front::wgsl::parse_str(source)
        .unwrap_or_else(|error| panic!("{}", error.emit_to_string_with_path(source, kernel.name)));
    let info = Validator::new(ValidationFlags::all(), storage.capabilities())
        .validate(&module)
        .unwrap_or_else(|error| panic!("{}", error.emit_to_string_with_path(source, kernel.name)));
    (module, info)
}

/// Translates a variant into the languages of the native GPU interfaces, as wgpu does when the kernel is launched.
/// Of these SPIR-V alone has a validator that runs on any machine: it is left beside `path` for a test.
fn translate(
    module: &Module,
    info: &ModuleInfo,
    storage: Storage,
    path: &Path,
) -> Result<(), Box<dyn Error>> {
    for &(version, vulkan) in SPIRV {
        let options = spv::Options {
            lang_version: version,
            capabilities: Some(storage.spirv_capabilities().iter().copied().collect()),
            ..spv::Options::default()
        };
        let words = spv::write_vec(module, info, &options, None)?;
        let bytes: Vec<u8> = words.into_iter().flat_map(u32::to_le_bytes).collect();
        fs::write(path.with_added_extension(format!("{vulkan}.spv")), bytes)?;
    }

    let options = msl::Options {
        lang_version: METAL,
        ..msl::Options::default()
    };
    let (_, metal) = msl::write_string(module, info, &options, &msl::PipelineOptions::default())?;
    // A module may be translated without an entry point that cannot be.
    for entry in metal.entry_point_names {
        entry?;
    }

    let options = hlsl::Options {
        shader_model: storage.shader_model(),
        ..hlsl::Options::default()
    };
    let pipeline = hlsl::PipelineOptions::default();
    let mut text = String::new();
    let dx12 = hlsl::Writer::new(&mut text, &options, &pipeline).write(module, info, None)?;
    for entry in dx12.entry_point_names {
        entry?;
    }
    Ok(())
}

/// The names of the bindings in order, after the module has kept to what the runtime expects.
fn validate(kernel: &Declared, module: &Module) -> Vec<String> {
    let name = kernel.name;
    let entry = &module.entry_points[0];
    assert_eq!(module.entry_points.len(), 1, "{name}: one entry point");
    assert_eq!(entry.name, "main", "{name}: the entry point is `main`");
    assert_eq!(
        entry.workgroup_size,
        [kernel.workgroup_size, 1, 1],
        "{name}: workgroup size"
    );
    assert!(
        kernel.workgroup_size <= MAX_INVOCATIONS,
        "{name}: too many invocations"
    );

    let workgroup_bytes: u32 = module
        .global_variables
        .iter()
        .filter(|(_, variable)| variable.space == AddressSpace::WorkGroup)
        .map(|(_, variable)| module.types[variable.ty].inner.size(module.to_ctx()))
        .sum();
    assert!(
        workgroup_bytes <= MAX_WORKGROUP_BYTES,
        "{name}: {workgroup_bytes} bytes of workgroup memory"
    );

    let mut bindings: Vec<(u32, String)> = module
        .global_variables
        .iter()
        .filter_map(|(_, variable)| {
            let binding = variable.binding.as_ref()?;
            // The runtime binds everything so; another access would fail at launch.
            let expected = AddressSpace::Storage {
                access: StorageAccess::LOAD | StorageAccess::STORE,
            };
            assert_eq!(
                variable.space, expected,
                "{name}: bindings are var<storage, read_write>"
            );
            assert_eq!(binding.group, 0, "{name}: bindings are in group 0");
            Some((binding.binding, variable.name.clone().unwrap_or_default()))
        })
        .collect();
    bindings.sort_unstable();
    assert!(
        bindings.len() <= MAX_STORAGE_BUFFERS,
        "{name}: too many storage buffers"
    );
    assert!(
        bindings.iter().enumerate().all(|(i, b)| b.0 as usize == i),
        "{name}: bindings have gaps"
    );
    assert_eq!(
        bindings.last().map(|b| b.1.as_str()),
        Some("shape"),
        "{name}: `shape` is bound last"
    );
    bindings.into_iter().map(|binding| binding.1).collect()
}

fn emit(
    generated: &mut String,
    kernel: &Declared,
    pieces: &[(String, String)],
    text: &str,
    bindings: &[String],
) {
    let files: Vec<(&str, usize)> = pieces
        .iter()
        .map(|(path, text)| (path.as_str(), text.lines().count()))
        .collect();
    let _ = writeln!(
        generated,
        "/// `wgsl/{name}.wgsl`, workgroups of {size}.\n\
         pub static {constant}: Kernel = Kernel {{\n    name: {name:?},\n    text: {text:?},\n    files: &{files:?},\n    \
         bindings: &{bindings:?},\n    workgroup_size: {size},\n    half: {half},\n}};",
        name = kernel.name,
        constant = kernel.name.to_uppercase(),
        size = kernel.workgroup_size,
        half = kernel.variants.len() > 1,
    );
}
