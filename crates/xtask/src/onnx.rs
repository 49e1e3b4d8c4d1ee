//! Exported networks in ONNX Runtime.

use crate::error::Result;
use crate::step::Step;
use crate::toolchain::python::ONNX;
use crate::workspace::Workspace;

/// Installs ONNX's checker and ONNX Runtime where they are missing, and tries exported networks in them.
pub fn run(workspace: &Workspace) -> Result<()> {
    let python = ONNX.ensure(workspace)?;
    // With the workspace's features, so that burn is not built again.
    Step::cargo()
        .dir(workspace.root())
        .args(["test", "--release", "--workspace", "--exclude", "xtask"])
        .args(["--test", "onnx"])
        .env("FORGELING_ONNX_PYTHON", python)
        .run()
}

/// Whether an earlier `cargo xtask onnx` has installed them.
pub fn is_installed(workspace: &Workspace) -> bool {
    ONNX.is_installed(workspace)
}
