//! What `build.rs` translates for Vulkan, tried by the validator of those who define it.

use std::io::{self, Write as _};
use std::path::Path;
use std::process::Command;

use forgeling_shaders::ALL;

#[test]
fn every_variant_is_valid_spirv() {
    let validator = || Command::new("spirv-val");
    if validator().arg("--version").output().is_err() {
        // Not by a macro, whose text is kept from sight when a test passes.
        let _ = writeln!(
            io::stderr(),
            "skipped every_variant_is_valid_spirv: there is no program spirv-val (Debian: spirv-tools)"
        );
        return;
    }
    let folder = Path::new(env!("OUT_DIR")).join("spirv");
    let mut refused = Vec::new();
    for kernel in ALL {
        let variants: &[&str] = if kernel.half {
            &["f32", "f16"]
        } else {
            &["f32"]
        };
        for variant in variants {
            for vulkan in ["vulkan1.0", "vulkan1.3"] {
                let module = folder.join(format!("{}.{variant}.{vulkan}.spv", kernel.name));
                assert!(module.is_file(), "{}", module.display());
                let judged = validator()
                    .args(["--target-env", vulkan])
                    .arg(&module)
                    .output()
                    .unwrap();
                if !judged.status.success() {
                    let reason = String::from_utf8_lossy(&judged.stderr).into_owned();
                    refused.push(format!(
                        "{} in {variant} for {vulkan}: {reason}",
                        kernel.name
                    ));
                }
            }
        }
    }
    assert!(refused.is_empty(), "{}", refused.join("\n"));
}
