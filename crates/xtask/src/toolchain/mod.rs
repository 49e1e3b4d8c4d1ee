//! Installs what the other commands need, after looking whether it is there.

pub mod python;
pub mod rust_std;
pub mod system;
pub mod tools;
pub mod wasm_std;

use crate::error::Result;
use crate::npm::Npm;
use crate::workspace::Workspace;

/// Installs everything that `test` needs.
pub fn setup(workspace: &Workspace) -> Result<()> {
    system::ensure_vulkan()?;
    system::ensure_spirv_val()?;
    wasm_std::ensure(workspace)?;
    tools::ensure(workspace)?;
    system::Browser::ensure()?;
    Npm::ensure(workspace)?.install()?;
    eprintln!("everything is installed");
    Ok(())
}
